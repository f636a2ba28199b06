"""Stick figures of a motion: quick to draw; left limbs are light, right limbs dark."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw, ImageFilter

from motion.render.page import (
    ANIMATION_SIZE,
    FAMILIES,
    SHADE,
    STRIP_SIZE,
    SUPERSAMPLING,
    Color,
    draw_paths,
    floor,
    gif_frames,
    save_gif,
    save_png,
    smoothed,
    titled,
)
from motion.render.view import View, camera_axes, moments, side_by_side
from motion.sequence import MotionSequence
from motion.skeleton import BONES, JOINT, LEFT, RIGHT


def strip(sequence: MotionSequence, path: Path, frames: int = 8) -> None:
    """Write a PNG of stick figures at `frames` evenly spaced moments, from left to right.

    Raises InputError if no person is valid in any frame, or one is too large to be shown.
    """
    chosen, axes = moments(sequence, frames), camera_axes(sequence)
    poses, shown = sequence.joints[:, chosen], sequence.valid[:, chosen]
    poses = poses + side_by_side(poses, shown, axes)[:, None]
    view = View.around(poses[shown], axes, *STRIP_SIZE).enlarged(SUPERSAMPLING)
    image = floor(view)
    for k in range(poses.shape[1]):
        image = _draw_people(image, view, poses[:, k], shown[:, k])
    save_png(titled(smoothed(image), sequence), path)


def animate(sequence: MotionSequence, path: Path) -> None:
    """Write a GIF of stick figures that runs at the speed of the record; above 50 fps it shows every n-th frame.

    Raises InputError if no person is valid in any frame, one is too large to be shown, or the frames are too many.
    """
    gif_frames(sequence)  # refuses before anything is drawn
    around = View.around(sequence.joints[sequence.valid], camera_axes(sequence), *ANIMATION_SIZE)
    view = around.enlarged(SUPERSAMPLING)
    background = draw_paths(floor(view), view, sequence)

    def picture(t: int) -> Image.Image:
        image = _draw_people(background, view, sequence.joints[:, t], sequence.valid[:, t])
        return titled(smoothed(image), sequence)

    save_gif(picture, sequence, path)


def _draw_people(
    image: Image.Image,
    view: View,
    joints: Float[np.ndarray, "person 24 3"],
    shown: Bool[np.ndarray, " person"],
) -> Image.Image:
    """Draw a soft shadow under each person on a copy of the picture, then all limbs, the far ones first."""
    limbs = [limb for p in np.flatnonzero(shown) for limb in _limbs(joints[p], FAMILIES[p % len(FAMILIES)])]
    shadow = Image.new("L", image.size, 0)
    draw = ImageDraw.Draw(shadow)
    for start, end, radius, _ in limbs:
        flat = np.stack([start, end]) * np.array([1, 1, 0])
        _capsule(draw, view.project(flat), 1.3 * radius * view.scale, 255)
    shadow = shadow.filter(ImageFilter.GaussianBlur(0.03 * view.scale))
    image = Image.composite(Image.new("RGB", image.size, SHADE), image, shadow)
    draw = ImageDraw.Draw(image)
    for start, end, radius, color in sorted(limbs, key=lambda limb: -(view.axes[2] @ (limb[0] + limb[1]))):
        _capsule(draw, view.project(np.stack([start, end])), radius * view.scale, color)
    return image


Limb = tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"], float, Color]


def _limbs(joints: Float[np.ndarray, "24 3"], family: tuple[Color, Color, Color]) -> list[Limb]:
    """List start, end, radius (m) and colour of each bone, and a ball for the head."""
    trunk, left, right = family
    limbs: list[Limb] = []
    for parent, child in BONES:
        color = left if child in LEFT else right if child in RIGHT else trunk
        limbs.append((joints[parent], joints[child], 0.026, color))
    up = joints[JOINT["head"]] - joints[JOINT["neck"]]
    crown = joints[JOINT["head"]] + 0.08 * up / max(float(np.linalg.norm(up)), 1e-6)
    limbs.append((crown, crown, 0.1, trunk))
    return limbs


def _capsule(draw: ImageDraw.ImageDraw, ends: Float[np.ndarray, "2 2"], radius: float, color: Color | int) -> None:
    draw.line([tuple(ends[0]), tuple(ends[1])], fill=color, width=max(1, round(2 * radius)))
    for x, y in ends:
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=color)
