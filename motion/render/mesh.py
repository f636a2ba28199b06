"""The body's mesh in motion, shaded (`motion.render.shading`)."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from motion.body import Body
from motion.render.page import (
    ANIMATION_SIZE,
    FAMILIES,
    STRIP_SIZE,
    SUPERSAMPLING,
    draw_paths,
    floor,
    gif_frames,
    save_gif,
    save_png,
    smoothed,
    titled,
)
from motion.render.shading import shade, shadow_ends
from motion.render.view import View, camera_axes, moments, side_by_side
from motion.sequence import MotionSequence

STRIP_PASSES = 32
ANIMATION_PASSES = 5  # of each frame; it moves, and a GIF has few colours


def body_strip(sequence: MotionSequence, body: Body, path: Path, frames: int = 8) -> None:
    """Write a PNG of the shaded mesh at `frames` evenly spaced moments, from left to right.

    Raises InputError if no person is valid in any frame, or one is too large to be shown.
    """
    chosen, axes = moments(sequence, frames), camera_axes(sequence)
    vertices, shown = body.vertices(sequence.parameters[:, chosen]).numpy(), sequence.valid[:, chosen]
    vertices = vertices + side_by_side(vertices, shown, axes)[:, None]
    view = View.around(vertices[shown], axes, *STRIP_SIZE)
    persons = np.broadcast_to(np.arange(sequence.num_persons)[:, None], shown.shape)[shown]
    ground = np.asarray(smoothed(floor(view.enlarged(SUPERSAMPLING)))) / 255
    picture = shade(vertices[shown], body.faces, _colors(persons), view, ground, STRIP_PASSES, soft=True)
    save_png(titled(Image.fromarray(_bytes(picture)), sequence), path)


def animate_body(sequence: MotionSequence, body: Body, path: Path) -> None:
    """Write a GIF of the shaded mesh that runs at the speed of the record; above 50 fps it shows every n-th frame.

    Raises InputError if no person is valid in any frame, one is too large to be shown, or the frames are too many.
    """
    gif_frames(sequence)  # refuses before anything is drawn
    view = View.around(sequence.joints[sequence.valid], camera_axes(sequence), *ANIMATION_SIZE)
    large = view.enlarged(SUPERSAMPLING)
    background = smoothed(draw_paths(floor(large), large, sequence))

    def picture(t: int) -> Image.Image:
        persons = np.flatnonzero(sequence.valid[:, t])
        vertices = body.vertices(sequence.parameters[:, [t]]).numpy()[persons, 0]
        return titled(_with_people(background, view, vertices, body, _colors(persons)), sequence)

    save_gif(picture, sequence, path)


def _with_people(
    background: Image.Image,
    view: View,
    vertices: Float[np.ndarray, "mesh vertex 3"],
    body: Body,
    colors: Float[np.ndarray, "mesh 3"],
) -> Image.Image:
    """Shade the part of a copy of the picture that holds persons and their shadows."""
    image = background.copy()
    if len(vertices):
        window, (left, top) = view.window(np.concatenate([vertices, shadow_ends(vertices, view)]))
        ground = np.asarray(background.crop((left, top, left + window.size[0], top + window.size[1]))) / 255
        part = shade(vertices, body.faces, colors, window, ground, ANIMATION_PASSES, soft=False)
        image.paste(Image.fromarray(_bytes(part)), (left, top))
    return image


def _colors(persons: np.ndarray) -> Float[np.ndarray, "mesh 3"]:
    return np.array([FAMILIES[person % len(FAMILIES)][1] for person in persons]) / 255


def _bytes(picture: Float[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    return (255 * picture).round().astype(np.uint8)
