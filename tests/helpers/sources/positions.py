"""Joint positions of the sources beside the repo, and what is measured on them: metres, the Z-up world."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from motion.skeleton import BONES, JOINT, JOINT_NAMES

SIDES = (("left", "l", "L"), ("right", "r", "R"))
LEGS_AND_ARMS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
TO_WORLD = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


def sided(pattern: str, *names: str) -> dict[str, str]:
    """Map a source's names of the legs' and arms' joints to SMPL's; {s} is left, {l} l and {L} L in `pattern`s."""
    joints = (*LEGS_AND_ARMS, "foot", "collar")
    return {
        pattern.format(name, s=side, l=small, L=large): f"{side}_{joint}"
        for side, small, large in SIDES
        for joint, name in zip(joints, names, strict=False)
    }


@dataclass(frozen=True)
class Source:
    """Clips of one source beside the repo: SMPL's names of some of its joints, and which clips to take."""

    file: str
    names: dict[str, str]
    every: int = 1

    def clips(self, root: Path) -> Iterator[tuple[Tensor, list[str]]]:
        """Read positions (1 frame joint 3) in the Z-up world, and SMPL's names."""
        archive = np.load(root / self.file)
        if isinstance(archive, np.ndarray):
            yield torch.from_numpy(archive).float()[None] @ TO_WORLD.T, list(JOINT_NAMES[: archive.shape[1]])
            return
        own = archive["joint_names"].tolist()
        at = [own.index(name) for name in self.names]
        for key in [key for key in archive.files if "|pos" in key][:: self.every]:
            yield torch.from_numpy(archive[key][:, at]).float()[None] @ TO_WORLD.T, list(self.names.values())


SOURCES = {
    "deepmimic": Source(
        "deepmimic/deepmimic_positions.npz",
        {"chest": "spine1", "neck": "neck"} | sided("{s}_{}", *LEGS_AND_ARMS),
    ),
    "bandai_namco": Source(
        "bandai_namco/bandai_namco_30fps.npz",
        {"Neck": "neck", "Head": "head"}
        | sided("{}_{L}", "UpperLeg", "LowerLeg", "Foot", "UpperArm", "LowerArm", "Hand", "Toes", "Shoulder"),
        every=25,
    ),
    "cmu": Source(
        "cmu_8actions/cmu_8actions_60fps.npz",
        {"upperback": "spine1", "upperneck": "neck", "head": "head"}
        | sided("{l}{}", "femur", "tibia", "foot", "humerus", "radius", "wrist", "toes"),
        every=3,
    ),
    "cmu_salsa": Source(
        "cmu_salsa_pairs/cmu_salsa_pairs_60fps.npz",
        {"abdomen": "spine1", "neck": "neck", "head": "head"}
        | sided("{l}{}", "Thigh", "Shin", "Foot", "Shldr", "ForeArm", "Hand", "Foot_end"),
    ),
    "humanml3d": Source("humanml3d_sample/new_joints_012314.npy", {}),
}


def pick(joints: Tensor, names: list[str]) -> Tensor:
    return joints[:, :, [JOINT[name] for name in names]]


def directions(joints: Tensor, names: list[str]) -> Tensor:
    """Compute unit vectors of all bones with both ends in `names`, and of the lines across hips and shoulders."""
    pairs = [(JOINT_NAMES[a], JOINT_NAMES[b]) for a, b in BONES]
    pairs += [("left_hip", "right_hip"), ("left_shoulder", "right_shoulder")]
    ends = [(names.index(a), names.index(b)) for a, b in pairs if a in names and b in names]
    return torch.nn.functional.normalize(torch.stack([joints[:, :, b] - joints[:, :, a] for a, b in ends]), dim=-1)


def degrees_apart(a: Tensor, b: Tensor) -> Tensor:
    return (2 * torch.asin(((a - b).norm(dim=-1) / 2).clamp_max(1))).rad2deg()


def hips(joints: Tensor, names: list[str]) -> Tensor:
    return (joints[:, :, names.index("left_hip")] + joints[:, :, names.index("right_hip")]) / 2


def jitter(joints: Tensor) -> float:
    return float(joints.diff(n=2, dim=1).norm(dim=-1).mean())
