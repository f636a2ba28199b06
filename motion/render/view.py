"""Camera of a picture: the parallel projection, the moments that are shown, and what is too large to show.

World: Z up, floor z = 0, metres; pixels count from the picture's left upper corner.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from motion.clips.transforms import heading
from motion.errors import InputError
from motion.sequence import MotionSequence

ELEVATION, AZIMUTH = math.radians(16), math.radians(28)
MARGIN_M = 0.3  # around the joints: the mesh reaches beyond them, by a head or a hand
NARROWEST = 320  # pixels, for the caption
GAP_M = 0.18  # between the poses of a strip
FARTHEST_M = 200.0  # from the origin; what reaches beyond is in another unit, and would need millions of floor lines


@dataclass(frozen=True)
class View:
    """Parallel projection: pixel = scale * (right, down) · point - corner."""

    axes: Float[np.ndarray, "3 3"]
    """World directions as rows: right, down, forward (into the picture)."""
    scale: float
    """Pixels per metre."""
    corner: Float[np.ndarray, "2"]
    """Picture's left upper corner in scaled coordinates, pixels."""
    size: tuple[int, int]
    """Width and height in pixels."""

    @classmethod
    def around(
        cls, points: Float[np.ndarray, "*batch 3"], axes: Float[np.ndarray, "3 3"], widest: int, highest: int
    ) -> "View":
        """Fit the view along `axes` to all points and their places on the floor, as large as the two sides allow.

        The picture has the shape of what it shows: it is as wide or as high as it may be, and the other side follows,
        though the width leaves room for a caption.
        """
        above = points.reshape(-1, 3)
        flat = np.concatenate([above, above * np.array([1, 1, 0])]) @ axes[:2].T
        low, high = flat.min(axis=0) - MARGIN_M, flat.max(axis=0) + MARGIN_M
        scale = float((np.array([widest, highest]) / (high - low)).min())
        width, height = np.ceil(scale * (high - low) - 1e-6).astype(int).tolist()
        size = (max(width, min(NARROWEST, widest)), height)
        return cls(axes, scale, (scale * (low + high) - size) / 2, size)

    def enlarged(self, factor: int) -> "View":
        """Return the same view in more pixels, by a whole factor."""
        size = (factor * self.size[0], factor * self.size[1])
        return View(self.axes, factor * self.scale, factor * self.corner, size)

    def window(self, points: Float[np.ndarray, "*batch 3"]) -> tuple["View", tuple[int, int]]:
        """Cut out the part of the picture that holds all points; returns it and its left upper corner in pixels."""
        pixels = self.project(points).reshape(-1, 2)
        low = np.clip(np.floor(pixels.min(axis=0)) - 1, 0, np.array(self.size) - 1).astype(int)
        high = np.clip(np.ceil(pixels.max(axis=0)) + 1, low + 1, self.size).astype(int)
        left, top = low.tolist()
        width, height = (high - low).tolist()
        return View(self.axes, self.scale, self.corner + low, (width, height)), (left, top)

    def project(self, points: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 2"]:
        """Project world points (m) to pixels."""
        return self.scale * points @ self.axes[:2].T - self.corner

    def rays(self) -> Float[np.ndarray, "pixel 6"]:
        """Compute origin (beyond all that is seen) and direction of the ray through each pixel's corner, row by row."""
        down, right = np.indices(self.size[::-1], dtype=np.float32).reshape(2, -1)
        pixels = (np.stack([right, down], axis=-1) + self.corner) / self.scale
        origins = pixels @ self.axes[:2] - 2 * FARTHEST_M * self.axes[2]
        return np.concatenate([origins, np.broadcast_to(self.axes[2], origins.shape)], axis=-1).astype(np.float32)


def camera_axes(sequence: MotionSequence) -> Float[np.ndarray, "3 3"]:
    """Compute camera axes for which person 0 starts facing right and a little towards the viewer."""
    start = int(sequence.valid[0].argmax())
    x, y = heading(sequence.joints[0, start], sequence.global_orient[0, start])
    cos, sin = math.cos(AZIMUTH), math.sin(AZIMUTH)
    right = np.array([cos * x - sin * y, sin * x + cos * y, 0.0])
    level = np.cross([0.0, 0.0, 1.0], right)  # into the picture, before the camera is tilted down
    forward = math.cos(ELEVATION) * level - np.array([0.0, 0.0, math.sin(ELEVATION)])
    return np.stack([right, np.cross(forward, right), forward])


def shown_frames(sequence: MotionSequence) -> Int[np.ndarray, " frame"]:
    """Find the frames where a person is valid.

    Raises InputError where there is none, or where one is too large or too far away to be shown.
    """
    shown = np.flatnonzero(sequence.valid.any(axis=0))
    if not len(shown):
        raise InputError(f"{sequence.id}: no person is valid in any frame, so there is nothing to draw")
    farthest = float(np.abs(sequence.joints[sequence.valid]).max())
    if farthest > FARTHEST_M:
        raise InputError(
            f"{sequence.id}: reaches {farthest:.3g} m from the origin, expected at most {FARTHEST_M:g} m: "
            "are its numbers in metres?"
        )
    return shown


def moments(sequence: MotionSequence, frames: int) -> Int[np.ndarray, " moment"]:
    """Choose evenly spaced frames, first and last among them, from those where a person is valid."""
    if frames < 1:
        raise InputError(f"{sequence.id}: cannot draw {frames} frames, expected 1 or more")
    shown = shown_frames(sequence)
    return shown[np.unique(np.linspace(0, len(shown) - 1, frames).round().astype(int))]


def side_by_side(
    points: Float[np.ndarray, "person moment point 3"],
    shown: Bool[np.ndarray, "person moment"],
    axes: Float[np.ndarray, "3 3"],
) -> Float[np.ndarray, "moment 3"]:
    """Compute the shift of each moment along the picture's right axis that puts it beside the one before, metres."""
    shifts, edge = np.zeros((points.shape[1], 3), dtype=np.float32), 0.0
    for k in range(points.shape[1]):
        across = points[shown[:, k], k] @ axes[0]
        shifts[k] = (edge - across.min()) * axes[0]
        edge += across.max() - across.min() + GAP_M
    return shifts
