"""Rendered care rooms with known ground truth, in memory or as Teton trees (DESIGN section 5).

    python -m recon.simulate --output rooms --count 20 --seed 0

A room, a camera in a corner of its ceiling, and one to four people who are moved by motion capture: walking, lying
and sitting in bed or on the floor, getting up, cared for. Everything follows from an integer seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import tyro
from tqdm import tqdm

from motion.body import Body, load_body
from motion.datasets.unify import check_body
from motion.errors import InputError
from motion.sequence import LABELS, MotionSequence, read_motions
from motion.skeleton import KEYPOINT_SETS
from recon.simulation import cameras, layout, people, performances, render
from recon.simulation.annotate import CLEAN, NOISY, PRESENT, AnnotationNoise, annotate
from recon.simulation.film import film
from recon.simulation.people import Stage
from recon.simulation.records import SimulateConfig, Simulated
from recon.simulation.storage import Truth, read_truth, write
from recon.teton import FEWEST_FRAMES, FPS_RANGE, IMAGE_SIDES

__all__ = [
    "CLEAN", "NOISY", "AnnotationNoise", "SimulateConfig", "Simulated", "Truth", "annotate", "read_truth", "simulate",
    "write",
]  # fmt: skip

PEOPLE_SHARES = (0.25, 0.4, 0.25, 0.1)  # of sequences with 1, 2, 3 and 4 people
DEFAULT = SimulateConfig()
RANGES = {
    "num_people": (1, 4),
    "num_frames": (1, 10_000),
    "fps": (0.1, 240),
    "tilt": (0, 75),
    "field_of_view": (30, 130),
}
ROOMS = 60  # tries at a room that shows its floor and holds the people
FREE_SHARES = (0.05, 0.4)  # of people who move by any clip: among DeepMimic's of care, among others
FLOOR_SHARE = 0.06  # of the picture, at least


def simulate(
    seed: int,
    config: SimulateConfig = DEFAULT,
    motions: Sequence[MotionSequence] | None = None,
) -> Simulated:
    """The sequence of this seed. People of `motions` take the place of the clips of those who move about freely."""
    _check(config)
    body, rng = load_body(), np.random.default_rng(seed)
    movers = _movers(motions, config, body)
    free = FREE_SHARES[config.all_clips or motions is not None]
    count = config.num_people or 1 + int(rng.choice(len(PEOPLE_SHARES), p=PEOPLE_SHARES))
    for _ in range(ROOMS):
        stage = _stage(rng, config, movers, free, body)
        if (stage.outline.labels == LABELS.index("floor")).mean() < FLOOR_SHARE:
            continue
        cast = people.populate(rng, stage, count)
        if len(cast) < count:
            continue
        stage = replace(stage, room=people.tuck_in(rng, stage, cast))
        simulated = film(rng, stage, cast, f"simulated/{seed:06d}")
        if (simulated.seen.max(axis=1) >= PRESENT).all():
            return simulated
    raise InputError(f"no room of seed {seed} holds {count} people before its camera, expected fewer or another view")


def _check(config: SimulateConfig) -> None:
    for name, (low, high) in RANGES.items():
        value = getattr(config, name)
        if value is not None and not low <= value <= high:
            raise InputError(f"{name} of a simulation is {value}, expected {low:g} to {high:g}")
    low, high = IMAGE_SIDES
    if not all(low <= side <= high for side in config.image_size):
        raise InputError(f"image_size of a simulation is {config.image_size}, expected {low} to {high} pixels a side")


def _movers(
    motions: Sequence[MotionSequence] | None, config: SimulateConfig, body: Body
) -> tuple[tuple[MotionSequence, int], ...]:
    """Every person of the motions who is there all the time, or of the clips that suit."""
    if motions is None:
        clips = performances.clips(body)
        motions = list(clips.values()) if config.all_clips else [clips[name] for name in performances.CARE]
    for motion in motions:
        check_body(motion, body)
    movers = tuple((m, person) for m in motions for person in range(m.num_persons) if m.valid[person].all())
    if not movers:
        raise InputError(
            f"none of {len(motions)} motions has a person who is valid in all frames, expected one to move"
        )
    return movers


def _stage(
    rng: np.random.Generator,
    config: SimulateConfig,
    movers: tuple[tuple[MotionSequence, int], ...],
    free: float,
    body: Body,
) -> Stage:
    corner = int(rng.integers(4))
    room = layout.build_room(rng, corner)
    room, camera = cameras.hang(rng, room, corner, config.image_size, config.tilt, config.field_of_view)
    return Stage(room, camera, body, config.fps, config.num_frames, render.Outline.of(room, camera), movers, free)


@dataclass(frozen=True)
class Job:
    """Renders annotated sequences of care rooms as a Teton tree, with the truth beside each.

    For example: python -m recon.simulate --output rooms --count 20 --seed 0
    """

    output: Path
    count: int = 1
    seed: int = 0
    """Of the first sequence; the others count on from it."""
    keypoints: str = "coco17"
    """coco17, openpose25, blazepose33 or smpl24."""
    noisy: bool = False
    """Annotations with errors: 5 pixels of noise, 10 % outliers, some missing, some swapped."""
    motions: str | None = None
    """Parquet of motions for those who move about freely; DeepMimic's clips if not given."""
    config: tyro.conf.OmitArgPrefixes[SimulateConfig] = field(default_factory=SimulateConfig)


def run(job: Job) -> None:
    """Render what is not there yet: a sequence of a seed is whole once its truth is."""
    if job.keypoints not in KEYPOINT_SETS:
        raise InputError(f"keypoints is {job.keypoints!r}, expected one of {', '.join(KEYPOINT_SETS)}")
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
            write(simulate(seed, job.config, motions), folder, names, noise, seed)


def main() -> None:
    try:
        run(tyro.cli(Job))
    except InputError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
