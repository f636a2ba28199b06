"""Action classifiers with random weights, noisy motions for them, and guidance by them."""

import math

import roma
import torch
from torch import Tensor, nn

from motion.body import Body
from motion.diffusion import cosine_schedule
from motion.evaluator import ActionClassifier, ClassifierConfig
from motion.guidance import ClassifierGuidance
from motion.sequence import MotionSequence
from tests.helpers.clips import UPRIGHT, simulated, smooth_pose

CONFIG = ClassifierConfig(names=("one", "two", "three"), num_features=6, width=16, layers=2, heads=2)
SCHEDULE = cosine_schedule()


STANDING, LYING = 0, 1


def random_classifier(config: ClassifierConfig = CONFIG) -> ActionClassifier:
    """Build a classifier in double precision whose steps and layers matter: as made, all layers are identities."""
    torch.manual_seed(0)
    network = ActionClassifier(config).double().eval().requires_grad_(False)
    nn.init.normal_(network.modulation.weight, std=0.3)
    return network


def noised(batch: int = 2, persons: int = 3, frames: int = 10) -> tuple[Tensor, Tensor, Tensor]:
    """Draw x_t, t and valid frames."""
    x_t = torch.randn(batch, persons, frames, CONFIG.num_features, dtype=torch.float64)
    valid = torch.ones(batch, persons, frames, dtype=torch.bool)
    valid[0, 1, 7:], valid[0, 2] = False, False
    return x_t, torch.arange(batch) * 300 + 200, valid


def guidance(classifier: nn.Module, valid: Tensor, labels: Tensor, scale: float = 1.0) -> ClassifierGuidance:
    scales, start, stop = (torch.full((len(valid),), value) for value in (scale, 0.0, 1.0))
    return ClassifierGuidance(classifier, SCHEDULE, valid, labels, scales, start, stop)


def clip(body: Body, action: int, seed: int) -> MotionSequence:
    """Move two persons a little while they stand, or while they lie on their backs."""
    generator = torch.Generator().manual_seed(seed)
    pose = smooth_pose(2, 20, 0.2, generator)
    down = torch.tensor([0.0, -math.pi / 2, 0.0]) if action == LYING else torch.zeros(3)
    height = torch.tensor([0.0, 0.0, 0.2 if action == LYING else 0.9])
    orient = roma.rotvec_to_rotmat(down) @ UPRIGHT @ pose[:, :, 0]
    somewhere = torch.tensor([1.0, 1.0, 0.1]) * torch.randn(2, 1, 3, generator=generator)
    transl = height + somewhere.expand(-1, 20, -1)
    return simulated(body, transl, orient, pose[:, :, 1:], torch.zeros(2, 10), id=f"{action}/{seed}")
