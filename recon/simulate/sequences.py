"""Simulated care-room sequences with known ground truth, each drawn from one integer seed.

A sequence has a room, a camera in a corner of its ceiling, and one to four persons moved by motion capture: walking,
lying and sitting in bed or on the floor, getting up, being cared for.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from motion.body import Body, load_body
from motion.clips.transforms import check_body
from motion.errors import InputError
from motion.sequence import LABELS, MotionSequence
from recon.simulate import cameras, layout, people, performances, render
from recon.simulate.annotate import PRESENT_SHARE
from recon.simulate.film import film
from recon.simulate.people import Stage
from recon.simulate.records import SimulateConfig, Simulated
from recon.teton import IMAGE_SIDES

PEOPLE_SHARES = (0.25, 0.4, 0.25, 0.1)  # of sequences with 1, 2, 3 and 4 persons
DEFAULT_CONFIG = SimulateConfig()
RANGES = {
    "num_people": (1, 4),
    "num_frames": (1, 10_000),
    "fps": (0.1, 240),
    "tilt": (0, 75),
    "field_of_view": (30, 130),
}
ROOM_TRIES = 60  # attempts at a room that shows its floor and holds the persons
FREE_SHARES = (0.05, 0.4)  # of free movers: with DeepMimic's clips of care, with any other clips
FLOOR_SHARE = 0.06  # of the picture that must show the floor


def simulate(
    seed: int,
    config: SimulateConfig = DEFAULT_CONFIG,
    motions: Sequence[MotionSequence] | None = None,
) -> Simulated:
    """Simulate the sequence of this seed; the same seed and config give the same sequence.

    Persons of `motions` replace the clips of those who move about freely; None uses DeepMimic's. Raises InputError for
    a config out of range, for motions without a person who is valid throughout, and when no room holds the persons.
    """
    _check(config)
    body, rng = load_body(), np.random.default_rng(seed)
    movers = _movers(motions, config, body)
    free = FREE_SHARES[config.all_clips or motions is not None]
    count = config.num_people or 1 + int(rng.choice(len(PEOPLE_SHARES), p=PEOPLE_SHARES))
    for _ in range(ROOM_TRIES):
        stage = _stage(rng, config, movers, free, body)
        if (stage.outline.labels == LABELS.index("floor")).mean() < FLOOR_SHARE:
            continue
        cast = people.populate(rng, stage, count)
        if len(cast) < count:
            continue
        stage = replace(stage, room=people.tuck_in(rng, stage, cast))
        simulated = film(rng, stage, cast, f"simulated/{seed:06d}")
        if (simulated.seen.max(axis=1) >= PRESENT_SHARE).all():
            return simulated
    raise InputError(f"no room of seed {seed} holds {count} people before its camera, expected fewer or another view")


def _check(config: SimulateConfig) -> None:
    """Raise InputError for a config out of range."""
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
    """Collect every person who is valid in all frames, of the motions or of DeepMimic's clips."""
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
    """Draw a room and its camera."""
    corner = int(rng.integers(4))
    room = layout.build_room(rng, corner)
    room, camera = cameras.hang(rng, room, corner, config.image_size, config.tilt, config.field_of_view)
    return Stage(room, camera, body, config.fps, config.num_frames, render.Outline.of(room, camera), movers, free)
