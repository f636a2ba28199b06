"""Marks of persons in a frame that has no mask: their boxes, and the surroundings of their visible keypoints."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from motion.errors import InputError
from recon.teton.annotations import MOST_PERSONS, PERSON_LABEL, Track

SOMEONE = PERSON_LABEL + MOST_PERSONS - 1
"""Label of pixels that may show a person, any of them or none."""
VISIBLE = 0.5  # score of a keypoint that is seen
LIMB_SHARE = 0.02  # of a box' diagonal: half of a forearm's width


def draw_people(tracks: Sequence[Track], frame: int, image_size: tuple[int, int]) -> UInt8[np.ndarray, "height width"]:
    """Draw the label image of a frame: SOMEONE in the boxes, PERSON_LABEL + k near visible keypoints of person k.

    Where keypoints of two persons are near, it is SOMEONE. Raises InputError for more persons than there are labels.
    """
    if len(tracks) >= MOST_PERSONS:
        raise InputError(f"{len(tracks)} persons are annotated without masks, expected at most {MOST_PERSONS - 1}")
    width, height = image_size
    labels = np.zeros((height, width), dtype=np.uint8)
    here = [(label, track) for label, track in enumerate(tracks, start=PERSON_LABEL) if track.present[frame]]
    for _, track in here:
        x0, y0, x1, y1 = np.clip(track.boxes[frame], 0, None).round().astype(int)
        labels[y0:y1, x0:x1] = SOMEONE
    for label, track in here:
        radius = max(1.0, LIMB_SHARE * float(np.linalg.norm(track.boxes[frame, 2:] - track.boxes[frame, :2])))
        for x, y, score in track.keypoints[frame]:
            if score >= VISIBLE:
                _stamp(labels, float(x), float(y), radius, label)
    return labels


def _stamp(labels: UInt8[np.ndarray, "height width"], x: float, y: float, radius: float, label: int) -> None:
    """Draw a disc in place; what another person's keypoint has marked becomes SOMEONE."""
    height, width = labels.shape
    x0, y0 = max(0, round(x - radius)), max(0, round(y - radius))
    x1, y1 = min(width, round(x + radius) + 1), min(height, round(y + radius) + 1)
    if x0 >= x1 or y0 >= y1:
        return
    rows, columns = np.ogrid[y0:y1, x0:x1]
    near = (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
    part = labels[y0:y1, x0:x1]
    others = near & (part >= PERSON_LABEL) & (part != label) & (part != SOMEONE)
    part[near] = label
    part[others] = SOMEONE
