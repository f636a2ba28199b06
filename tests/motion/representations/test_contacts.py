"""Foot contacts in the field's formats."""

import torch

from motion.representations import encode_262, encode_263, encode_286
from tests.helpers.representations import turning_clip


def test_contacts_of_a_planted_and_a_lifted_foot() -> None:
    """The left toes stay on the floor while the heel rises above 12 cm at last; the right foot hovers, then moves."""
    clip = turning_clip(persons=1, frames=4, fps=20.0, turns=0)
    joints = torch.from_numpy(clip.joints[:, :1]).repeat(1, 4, 1, 1)
    joints[..., 2] += 1 - joints[..., 2].min()
    joints[..., 10, 2] = 0
    joints[..., 7, 2] = torch.tensor([0.10, 0.10, 0.11, 0.135])
    joints[..., [8, 11], 2] = torch.tensor([0.28, 0.22])
    joints[:, 2:, [8, 11], 0] += 0.1
    rotations, body_pose = torch.zeros(1, 4, 21, 6), torch.eye(3).expand(1, 4, 23, 3, 3)
    assert encode_263(joints[..., :22, :])[0, :, -4:].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1]]
    assert encode_262(joints[..., :22, :], rotations)[0, :, -4:].tolist() == 3 * [[1, 1, 0, 0]]
    assert encode_286(joints, body_pose)[0, :, -4:].tolist() == [4 * [0], *2 * [[1, 1, 0, 0]], [0, 1, 0, 0]]
