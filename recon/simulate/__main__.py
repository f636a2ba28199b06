"""Render annotated care rooms with known ground truth as a Teton tree.

python -m recon.simulate --output rooms --count 20 --seed 0
"""

from dataclasses import dataclass, field
from pathlib import Path

import tyro
from tqdm import tqdm

from motion.errors import InputError, command_line
from motion.sequence import read_motions
from motion.skeleton import KEYPOINT_SETS
from recon.simulate.annotate import CLEAN, NOISY
from recon.simulate.records import SimulateConfig
from recon.simulate.sequences import simulate
from recon.simulate.storage import write
from recon.teton import FEWEST_FRAMES, FPS_RANGE


@dataclass(frozen=True)
class Job:
    """Command that renders annotated sequences of care rooms as a Teton tree, with the ground truth beside each.

    For example: python -m recon.simulate --output rooms --count 20 --seed 0
    """

    output: Path
    """Folder of the tree; each sequence lands in OUTPUT/simulated/room-SEED/…, its ground truth in truth/ there."""
    count: int = 1
    """Number of sequences; those that an earlier call finished are not rendered again."""
    seed: int = 0
    """Seed of the first sequence; the following ones take seed + 1, seed + 2, ….

    The networks that ship were trained on rooms of seeds below 10,000 and do better there.
    """
    keypoints: str = "coco17"
    """Keypoint set that is annotated: coco17, openpose25, blazepose33 or smpl24."""
    noisy: bool = False
    """Annotate with errors: 5 pixels of noise, 10 % outliers, 3 % missing keypoints, left and right swapped in 2 %."""
    depth: bool = False
    """Write measured depth, too, as of an RGB-D camera without errors; reconstruction then uses no network for it."""
    motions: str | None = None
    """Parquet folder or file of motions for the persons who move about freely; without it, DeepMimic's clips."""
    config: tyro.conf.OmitArgPrefixes[SimulateConfig] = field(default_factory=SimulateConfig)


def run(job: Job) -> None:
    """Render the sequences that are missing; a sequence counts as finished once its truth/motion.parquet exists.

    Raises InputError for an unknown keypoint set, a negative seed, and for fewer frames or a lower rate than a Teton
    tree may have.
    """
    if job.keypoints not in KEYPOINT_SETS:
        raise InputError(f"keypoints is {job.keypoints!r}, expected one of {', '.join(KEYPOINT_SETS)}")
    if job.seed < 0:
        raise InputError(f"--seed is {job.seed}, expected 0 or more")
    if job.config.num_frames < FEWEST_FRAMES or job.config.fps < FPS_RANGE[0]:
        raise InputError(
            f"{job.config.num_frames} frames at {job.config.fps:g} fps are asked for, expected {FEWEST_FRAMES} or more "
            f"at {FPS_RANGE[0]:g} fps or more, as a Teton tree has"
        )
    motions = None if job.motions is None else read_motions(job.motions)
    for seed in tqdm(range(job.seed, job.seed + job.count), desc="render"):
        folder = job.output / "simulated" / f"room-{seed:06d}" / "2026-01-01" / "2026-01-01T00-00-00"
        if not (folder / "truth" / "motion.parquet").exists():
            names, noise = KEYPOINT_SETS[job.keypoints], NOISY if job.noisy else CLEAN
            write(simulate(seed, job.config, motions), folder, names, noise, seed, job.depth)


if __name__ == "__main__":
    command_line.run(run, Job, __doc__)
