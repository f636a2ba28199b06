"""Measure how faithfully joints become a posed body: `python -m tests.benchmarks joints` writes results/joints.md.

All clips of the sources beside the repo are taken, each with the joints that mean the same in SMPL. Directions are
those of the bones between them and of the lines across hips and shoulders; joint errors are taken with the middles of
the hips laid on each other; jitter is the mean acceleration of these joints over the source's. Turns of the limbs about
themselves are compared with DeepMimic's own rotations.
"""

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import roma
import torch

from motion.body import load_body
from motion.datasets import deepmimic
from motion.datasets.joint_fitting import fit_joints
from motion.kinematics import pose_from_joints
from motion.skeleton import JOINT
from tests.benchmarks.labelled import shared_data
from tests.helpers.sources.positions import SOURCES, degrees_apart, directions, hips, jitter, pick

RESULTS = Path(__file__).parent / "results" / "joints.md"
BODY = load_body()
LIMBS = ("hip", "knee", "ankle", "shoulder", "elbow")


def measure(name: str, root: Path) -> str:
    """Measure one source: one row of the table."""
    found = []
    for positions, names in replace(SOURCES[name], every=1).clips(root):
        posed = pick(fit_joints(positions, names, BODY).joints(BODY), names)
        angle = degrees_apart(directions(posed, names), directions(positions, names)).mean()
        apart = posed - hips(posed, names)[:, :, None] - positions + hips(positions, names)[:, :, None]
        found.append((float(angle), 1000 * float(apart.norm(dim=-1).mean()), jitter(posed) / jitter(positions)))
    angles, errors, ratios = np.array(found).T
    assert angles.mean() < 4
    assert ratios.mean() < 1.1
    columns = [
        f"{values.mean():.{digits}f} ({values.max():.{digits}f})"
        for values, digits in zip((angles, errors, ratios), (2, 0, 3), strict=True)
    ]
    return f"| {name} | {len(found)} | {' | '.join(columns)} |"


def limb_errors() -> list[str]:
    """Compute the mean angle between the rotations of pybullet_data's clips and those found from their joints."""
    rest = BODY.rest_joints(torch.zeros(10))
    apart = []
    for clip in deepmimic.list_clips():
        sequence = deepmimic.read_clip(clip, BODY)
        body_pose = pose_from_joints(torch.from_numpy(sequence.joints)[0], rest)[:, 1:]
        own = torch.from_numpy(sequence.body_pose)[0]
        apart.append(roma.rotmat_geodesic_distance(body_pose, own).rad2deg().mean(dim=0))
    mean = torch.stack(apart).mean(dim=0)
    return [f"{limb} {(mean[JOINT[f'left_{limb}'] - 1] + mean[JOINT[f'right_{limb}'] - 1]) / 2:.1f}°" for limb in LIMBS]


def main() -> None:
    """Measure every source and write the table."""
    root = shared_data()
    rows = [measure(name, root) for name in SOURCES]
    RESULTS.write_text(
        "# Joints of real motion to a posed body\n\n"
        f"{date.today()}; `python -m tests.benchmarks joints`; means over the clips (worst clip).\n\n"
        "| source | clips | bone directions, ° | joint error, mm | jitter ÷ source's |\n|---|---|---|---|---|\n"
        + "\n".join(rows)
        + f"\n\nRotations against DeepMimic's own, mean: {', '.join(limb_errors())}\n"
    )


if __name__ == "__main__":
    main()
