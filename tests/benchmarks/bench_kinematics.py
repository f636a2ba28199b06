"""Time joints to rotations on this machine: `python -m tests.benchmarks kinematics` writes results/kinematics.md.

`pose_from_joints` alone, and `fit_joints` with shape fitting and forward kinematics around it, on random smooth motion:
a short clip, many at once, and a long one. Every figure is the median of `REPEATS` runs with the spread beside it.
"""

import statistics
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import torch

from motion.body import load_body
from motion.datasets.joint_fitting import fit_joints
from motion.kinematics import pose_from_joints
from motion.rotations import matrix_from_axis_angle
from motion.skeleton import JOINT_NAMES
from motion.smpl_parameters import SmplParameters
from tests.benchmarks.results_file import cores

RESULTS = Path(__file__).parent / "results" / "kinematics.md"
REPEATS = 5
CLIPS = ((1, 200), (32, 200), (1, 20_000))  # how many at once, and their frames
WANTED = 20_000  # frames a second


def rates(frames: int, run: Callable[[], object]) -> list[float]:
    """Measure frames per second in `REPEATS` runs after one to warm up."""
    taken = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        run()
        taken.append(frames / (time.perf_counter() - start))
    return taken[1:]


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f}–{max(values):,.0f})"


def main() -> None:
    """Time short, many and long clips and write the table."""
    body = load_body()
    found = {}
    for clips, frames in CLIPS:
        betas = torch.zeros(clips, 10)
        rest = body.rest_joints(betas)
        time_line = torch.linspace(0, frames / 30, frames)[:, None, None]
        pose = matrix_from_axis_angle(0.5 * torch.sin(time_line + 6 * torch.rand(clips, 1, 24, 3)))
        joints = SmplParameters(torch.zeros(clips, frames, 3), pose[:, :, 0], pose[:, :, 1:], betas).joints(body)
        found[clips, frames] = (
            rates(clips * frames, partial(pose_from_joints, joints, rest)),
            rates(clips * frames, partial(fit_joints, joints, JOINT_NAMES, body)),
        )
    rows = [
        f"| {n} × {frames:,} | {spread(inverse)} | {spread(fit)} |" for (n, frames), (inverse, fit) in found.items()
    ]
    machine = f"{cores()}, torch {torch.__version__}, {torch.get_num_threads()} threads"
    table = (
        "# Joints to rotations, frames per second\n\n"
        f"{date.today()}, {machine}; `python -m tests.benchmarks kinematics`; median (least–greatest) of {REPEATS}.\n\n"
        "| clips × frames | `pose_from_joints` | `fit_joints` |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    )
    print(table)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(table)
    assert statistics.median(found[CLIPS[-1]][0]) >= WANTED


if __name__ == "__main__":
    main()
