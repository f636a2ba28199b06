"""Small motions made in code, for tests that need a MotionSequence."""

from typing import Any

import numpy as np
import roma
import torch
from torch import Tensor

from motion.body import Body
from motion.rotations import matrix_from_axis_angle
from motion.sequence import MotionSequence
from motion.smpl_parameters import SmplParameters

UPRIGHT = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # SMPL's axes, facing +x


def simulated(body: Body, transl: Tensor, orient: Tensor, pose: Tensor, betas: Tensor, **others: Any) -> MotionSequence:
    """Build the record of these parameters; persons are valid throughout unless `others` say otherwise."""
    people, frames = transl.shape[:2]
    values = {
        "id": "clip",
        "source": "simulated",
        "split": "train",
        "fps": 20.0,
        "valid": np.ones((people, frames), dtype=np.bool_),
        "person_class": np.ones(people, dtype=np.int8),
        "action": np.zeros((people, frames), dtype=np.int8),
    }
    return MotionSequence(**SmplParameters(transl, orient, pose, betas).posed_arrays(body), **values | others)


def random_clip(body: Body, persons: int = 2, frames: int = 7, seed: int = 0, name: str = "clip") -> MotionSequence:
    """Draw random but consistent poses of persons of random shape."""
    generator = torch.Generator().manual_seed(seed)
    betas = 0.5 * torch.randn(persons, 10, generator=generator)
    transl = torch.randn(persons, frames, 3, generator=generator)
    global_orient = _rotations(generator, persons, frames)
    body_pose = _rotations(generator, persons, frames, 23)
    return simulated(
        *(body, transl, global_orient, body_pose, betas),
        id=name,
        person_class=np.full(persons, 2, dtype=np.int8),
        action=np.full((persons, frames), 6, dtype=np.int8),
        texts=["a person moves", "somebody moves"],
        scene_id="room",
        provenance={"seed": str(seed)},
    )


def _rotations(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return roma.rotvec_to_rotmat(torch.randn(*shape, 3, generator=generator))


def smooth_pose(persons: int, frames: int, size: float, generator: torch.Generator) -> Tensor:
    """Draw 24 rotations a frame (person frame 24 3 3) that swing slowly, by about `size` radians a joint."""
    time = torch.linspace(0, 2, frames)[:, None, None]
    middle, swing, phase = torch.randn(3, persons, 1, 24, 3, generator=generator)
    return matrix_from_axis_angle(size * (middle + swing * torch.sin(time + phase)))


def motion(body: Body, frames: int = 41, seed: int = 0, lean: tuple[float, float, float] = (0, 0, 0)) -> MotionSequence:
    """Move two persons whose every rotation and position is a slow sine; person 0 starts turned by `lean`."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(frames) / 20
    swing = torch.sin(2 * time[None, :, None, None] + 6 * torch.rand(2, 1, 24, 1, generator=generator))
    pose = roma.rotvec_to_rotmat(0.4 * swing * torch.randn(2, 1, 24, 3, generator=generator))
    turn = roma.rotvec_to_rotmat(torch.tensor(lean, dtype=torch.float32))
    orient = turn @ UPRIGHT @ pose[:, :, 0]
    transl = torch.randn(2, 1, 3, generator=generator) + torch.stack([time, torch.sin(time), 0 * time], dim=-1)
    betas = 0.5 * torch.randn(2, 10, generator=generator)
    action = np.tile(np.arange(frames) // 10 % 13, (2, 1)).astype(np.int8)
    return simulated(body, transl, orient, pose[:, :, 1:], betas, id="made/up", action=action)


def assert_consistent(sequence: MotionSequence, body: Body) -> None:
    """Assert that forward kinematics of the parameters gives the joints."""
    np.testing.assert_allclose(sequence.parameters.joints(body).numpy(), sequence.joints, atol=1e-5)
