"""Small motions made in code, for tests that need a MotionSequence."""

import numpy as np
import roma
import torch

from motion.body import Body
from motion.sequence import MotionSequence


def random_clip(body: Body, persons: int = 2, frames: int = 7, seed: int = 0, name: str = "clip") -> MotionSequence:
    """Random but consistent poses of persons of random shape."""
    generator = torch.Generator().manual_seed(seed)
    betas = 0.5 * torch.randn(persons, 10, generator=generator)
    transl = torch.randn(persons, frames, 3, generator=generator)
    global_orient = _rotations(generator, persons, frames)
    body_pose = _rotations(generator, persons, frames, 23)
    return MotionSequence(
        id=name,
        source="simulated",
        split="train",
        fps=20.0,
        transl=transl.numpy(),
        global_orient=global_orient.numpy(),
        body_pose=body_pose.numpy(),
        betas=betas.numpy(),
        joints=body.joints(transl, global_orient, body_pose, betas).numpy(),
        body=body.name,
        valid=np.ones((persons, frames), dtype=np.bool_),
        person_class=np.full(persons, 2, dtype=np.int8),
        action=np.full((persons, frames), 6, dtype=np.int8),
        texts=["a person moves", "somebody moves"],
        scene_id="room",
        provenance={"seed": str(seed)},
    )


def _rotations(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return roma.rotvec_to_rotmat(torch.randn(*shape, 3, generator=generator))
