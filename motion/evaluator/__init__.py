"""Evaluators that embed captions and motions in one space: ours, InterCLIP, HumanML3D's; and the action classifier."""

from motion.evaluator.action_classifier import (
    CLASSIFIER_FILE,
    ActionClassifier,
    Classifier,
    ClassifierConfig,
    classifier_bytes,
    load_classifier,
)
from motion.evaluator.carescene import EVALUATOR_FILE, Evaluator, evaluator_bytes
from motion.evaluator.contrastive import contrastive_loss
from motion.evaluator.loading import load_evaluator
from motion.evaluator.motion_features import mirror_features, motion_features
from motion.evaluator.network import EvaluatorConfig, EvaluatorNetwork
from motion.evaluator.protocol import Protocol, TextMotionEvaluator

__all__ = [
    "CLASSIFIER_FILE",
    "EVALUATOR_FILE",
    "ActionClassifier",
    "Classifier",
    "ClassifierConfig",
    "Evaluator",
    "EvaluatorConfig",
    "EvaluatorNetwork",
    "Protocol",
    "TextMotionEvaluator",
    "classifier_bytes",
    "contrastive_loss",
    "evaluator_bytes",
    "load_classifier",
    "load_evaluator",
    "mirror_features",
    "motion_features",
]
