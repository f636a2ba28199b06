"""A small evaluator with random weights, and a motion for it."""

import numpy as np
import pytest
import torch

from motion.body import Body, load_body
from motion.evaluator import ActionClassifier, ClassifierConfig, Evaluator, EvaluatorNetwork
from motion.evaluator.classifier_training import fit
from motion.features import Moments, Normalizer, encode_sequence
from motion.sequence import MotionSequence
from tests.helpers.classifiers import SCHEDULE, clip
from tests.helpers.clips import motion
from tests.helpers.evaluators import CONFIG


@pytest.fixture(scope="session")
def evaluator() -> Evaluator:
    torch.manual_seed(1)
    return Evaluator(EvaluatorNetwork(CONFIG), "0123456789ab")


@pytest.fixture(scope="session")
def dance(body: Body) -> MotionSequence:
    return motion(body)


@pytest.fixture(scope="session")
def data() -> tuple[list[MotionSequence], list[np.ndarray], Normalizer]:
    """Make clips, their persons' labels and the normalizer; every fourth person has no label."""
    body = load_body()
    clips = [clip(body, seed % 2, seed) for seed in range(16)]
    labels = [np.array([seed % 2, -1 if seed % 4 > 1 else seed % 2]) for seed in range(16)]
    frames = torch.cat([encode_sequence(each).flatten(0, 1) for each in clips])
    return clips, labels, Moments.of(frames).normalizer()


@pytest.fixture(scope="session")
def trained(data: tuple[list[MotionSequence], list[np.ndarray], Normalizer]) -> ActionClassifier:
    config = ClassifierConfig(names=("standing", "lying"), width=16, layers=1, heads=2)
    return fit(config, SCHEDULE, *data, steps=60, learning_rate=1e-2)
