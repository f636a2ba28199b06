"""Speed of fitting persons to their keypoints in optimisation mode: 2 persons, 100 frames, the shipped pose prior."""

import math
import time
from dataclasses import replace

import torch

from motion.body import load_body
from motion.skeleton import KEYPOINT_SETS
from recon.fitting import fit
from recon.people import People
from recon.pose_prior import load_prior
from tests.helpers.fitted_motions import FIELDS, both, clip, disturbed, observed, standing_at

FRAMES = 100
PLACES = {"walk": (-0.5, 3.5), "getup_faceup": (0.5, 4.0)}


def fit_person_frames_per_s() -> float:
    """Measure persons times frames a second, from a start 25 degrees and 25 cm off."""
    body, prior = load_body(), load_prior()
    pair = both(*(standing_at(_to_and_fro(clip(name, 10.0)), *at) for name, at in PLACES.items()))
    start = disturbed(pair, 0, math.radians(15), 0.15)
    seen = observed(pair, KEYPOINT_SETS["coco17"], key_frames=12)
    began = time.perf_counter()
    fit(seen, start, body, prior)
    return pair.valid.numel() / (time.perf_counter() - began)


def _to_and_fro(people: People) -> People:
    """Play the clip forwards and backwards until `FRAMES` are full."""
    last = people.valid.shape[1] - 1
    frames = last - (torch.arange(FRAMES) % (2 * last) - last).abs()
    moving = [field for field in FIELDS if field != "betas"]
    return replace(people, **{field: getattr(people, field)[:, frames] for field in moving})


if __name__ == "__main__":
    print(f"{fit_person_frames_per_s():.1f} person-frames/s")
