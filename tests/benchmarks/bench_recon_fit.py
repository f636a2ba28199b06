"""Speed of fitting persons to their keypoints: one sequence after the other, and sixteen together.

Optimisation mode, the shipped pose prior, on one core; a sequence has 2 persons and 100 frames.
"""

import math
import time
from dataclasses import replace

import torch

from motion.body import load_body
from motion.skeleton import KEYPOINT_SETS
from recon.fitting import fit, fit_together
from recon.observations import Observations
from recon.people import People
from recon.pose_prior import load_prior
from tests.helpers.fitted_motions import FIELDS, both, clip, disturbed, observed, standing_at

SEQUENCES, FRAMES = 16, 100
PLACES = {"walk": (-0.5, 3.5), "getup_faceup": (0.5, 4.0)}


def fit_person_frames_per_s() -> tuple[float, float]:
    """Measure persons times frames a second, of sequences one after the other (half before, half after) and together.

    The starts are 15 degrees and 15 cm off. Raises AssertionError where anyone is elsewhere when fitted with others.
    """
    body, prior = load_body(), load_prior()
    seen, starts = problems(SEQUENCES)
    half, began = SEQUENCES // 2, time.perf_counter()
    alone = [fit(*each, body, prior) for each in zip(seen[:half], starts[:half], strict=True)]
    first = time.perf_counter()
    together = fit_together(seen, starts, body, prior)
    second = time.perf_counter()
    alone += [fit(*each, body, prior) for each in zip(seen[half:], starts[half:], strict=True)]
    spent = time.perf_counter() - second + first - began
    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one.people.transl, other.people.transl)
    person_frames = sum(start.valid.numel() for start in starts)
    return person_frames / spent, person_frames / (second - first)


def problems(sequences: int) -> tuple[list[Observations], list[People]]:
    """Observe two persons, and disturb them as often as there are to be sequences."""
    pair = both(*(standing_at(_to_and_fro(clip(name, 10.0)), *at) for name, at in PLACES.items()))
    starts = [disturbed(pair, seed, math.radians(15), 0.15) for seed in range(sequences)]
    return [observed(pair, KEYPOINT_SETS["coco17"], key_frames=12)] * sequences, starts


def _to_and_fro(people: People) -> People:
    """Play the clip forwards and backwards until `FRAMES` are full."""
    last = people.valid.shape[1] - 1
    frames = last - (torch.arange(FRAMES) % (2 * last) - last).abs()
    moving = [field for field in FIELDS if field != "betas"]
    return replace(people, **{field: getattr(people, field)[:, frames] for field in moving})


if __name__ == "__main__":
    alone, together = fit_person_frames_per_s()
    print(
        f"{alone:.1f} person-frames/s one after the other, {together:.1f} together, {together / alone:.2f} times that"
    )
