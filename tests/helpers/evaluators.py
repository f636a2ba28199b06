"""A small evaluator with random weights, and motions for it."""

from dataclasses import replace

import torch

from motion.evaluator import Evaluator, EvaluatorConfig
from motion.sequence import MotionSequence

CONFIG = EvaluatorConfig(width=32, layers=2, heads=2, feedforward=64, dim=16, dropout=0.0)
PEOPLE = ("joints", "valid", "transl", "global_orient", "body_pose", "betas", "person_class", "action")


def only(sequence: MotionSequence, persons: list[int]) -> MotionSequence:
    return replace(sequence, **{name: getattr(sequence, name)[persons] for name in PEOPLE})


def embed(evaluator: Evaluator, *motions: MotionSequence) -> torch.Tensor:
    return evaluator.embed_motions(motions)
