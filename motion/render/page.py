"""Page around the persons of a picture: colours, the floor and paths on it, the caption, the file."""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from motion.errors import InputError
from motion.render.view import View, shown_frames
from motion.sequence import MotionSequence

Color = tuple[int, int, int]
# Trunk, left and right limbs of the first, second ... person.
FAMILIES: tuple[tuple[Color, Color, Color], ...] = (
    ((58, 110, 165), (105, 175, 232), (31, 64, 112)),
    ((214, 104, 42), (248, 170, 98), (142, 58, 18)),
    ((62, 138, 92), (130, 204, 148), (28, 84, 56)),
    ((128, 84, 166), (190, 150, 222), (80, 44, 112)),
)
PAPER, FLOOR, GRID, SHADE, INK = (
    (250, 250, 248),
    (237, 238, 236),
    (210, 213, 212),
    (196, 198, 198),
    (50, 54, 60),
)
SUPERSAMPLING = 2
STRIP_SIZE, ANIMATION_SIZE = (1600, 1200), (640, 480)  # the largest width and height, without the caption
FONT_SIZE, LINE_HEIGHT, MOST_LINES = 18, 24, 8
MAX_GIF_FPS = 50  # a GIF frame lasts whole hundredths of a second; viewers slow down those below 2
MOST_GIF_FRAMES = 1500  # they are all in memory at the end, a third of a megabyte each


def floor(view: View) -> Image.Image:
    """Draw the floor as a grid of half metres that fills the picture."""
    image = Image.new("RGB", view.size, FLOOR)
    draw = ImageDraw.Draw(image)
    # Where the picture's corners lie on the floor.
    corners = np.array([[0, 0], [view.size[0], 0], [0, view.size[1]], view.size], dtype=float)
    on_plane = (corners + view.corner) / view.scale @ view.axes[:2]
    ground = on_plane - on_plane[:, 2:] / view.axes[2, 2] * view.axes[2]
    low, high = np.floor(ground[:, :2].min(axis=0) * 2) / 2, ground[:, :2].max(axis=0)
    for axis in (0, 1):
        for at in np.arange(low[axis], high[axis] + 0.5, 0.5):
            ends = np.zeros((2, 3))
            ends[:, axis], ends[:, 1 - axis] = at, (low[1 - axis], high[1 - axis])
            draw.line([tuple(p) for p in view.project(ends)], fill=GRID, width=SUPERSAMPLING)
    return image


def draw_paths(image: Image.Image, view: View, sequence: MotionSequence) -> Image.Image:
    """Draw each pelvis' path on the floor."""
    draw = ImageDraw.Draw(image)
    for person, (joints, valid) in enumerate(zip(sequence.joints, sequence.valid, strict=True)):
        way = view.project(joints[valid, 0] * np.array([1, 1, 0]))
        color = FAMILIES[person % len(FAMILIES)][1]
        draw.line([tuple(p) for p in way], fill=color, width=2 * SUPERSAMPLING, joint="curve")
    return image


def smoothed(image: Image.Image) -> Image.Image:
    """Reduce a picture that was drawn SUPERSAMPLING times as large."""
    return image.resize([s // SUPERSAMPLING for s in image.size], Image.Resampling.LANCZOS)


def titled(image: Image.Image, sequence: MotionSequence) -> Image.Image:
    """Put the picture under the clip's first text, or its id, in as many lines as it needs."""
    font = ImageFont.load_default(FONT_SIZE)
    lines = wrapped(sequence.texts[0] if sequence.texts else sequence.id, font, image.width - 24)
    height = LINE_HEIGHT * len(lines) + 16
    page = Image.new("RGB", (image.width, image.height + height), PAPER)
    page.paste(image, (0, height))
    ImageDraw.Draw(page).multiline_text((12, 8), "\n".join(lines), fill=INK, font=font, spacing=LINE_HEIGHT - FONT_SIZE)
    return page


def wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Break text into lines of at most this width in pixels, between words where it can be; at most MOST_LINES."""
    lines = [""]
    for word in text.split():
        line = f"{lines[-1]} {word}".lstrip()
        if font.getlength(line) <= width:
            lines[-1] = line
            continue
        lines += [""] if lines[-1] else []
        for letter in word:  # all of a word that fits a line of its own stays together
            if font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines if len(lines) <= MOST_LINES else [*lines[: MOST_LINES - 1], "…"]


def save_png(image: Image.Image, path: Path) -> None:
    """Write a PNG and the folders that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, "PNG")


def gif_frames(sequence: MotionSequence) -> range:
    """Choose the frames of a GIF: all from the first to the last with a person, above 50 fps every n-th.

    Raises InputError where they are more than MOST_GIF_FRAMES.
    """
    shown = shown_frames(sequence)
    frames = range(int(shown[0]), int(shown[-1]) + 1, math.ceil(sequence.fps / MAX_GIF_FPS))
    if len(frames) > MOST_GIF_FRAMES:
        raise InputError(
            f"{sequence.id}: a GIF of it has {len(frames)} frames, expected at most {MOST_GIF_FRAMES}: draw a .png, "
            "or cut the motion (motion.clips.transforms.crop)"
        )
    return frames


def save_gif(picture: Callable[[int], Image.Image], sequence: MotionSequence, path: Path) -> None:
    """Write a GIF of the pictures of `gif_frames` that runs at the speed of the record.

    In a terminal a bar says how long it takes. Raises InputError where the frames are too many or show nobody.
    """
    frames = gif_frames(sequence)
    # Rounding the end of each frame, not its length, keeps the whole clip's length right.
    ends = [round(100 * t / sequence.fps) for t in (*frames, frames[-1] + frames.step)]
    durations = [10 * (end - begin) for begin, end in pairwise(ends)]
    palette = _palette(picture, sequence)
    images = [
        picture(t).quantize(palette=palette, dither=Image.Dither.NONE)
        for t in tqdm(frames, desc=f"draw {sequence.id}", unit="frame", disable=None)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    images[0].save(path, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)


def _palette(picture: Callable[[int], Image.Image], sequence: MotionSequence) -> Image.Image:
    """Choose the colours of all frames from those in which a person of each colour family comes in."""
    present = [valid for valid in sequence.valid[: len(FAMILIES)] if valid.any()] or [sequence.valid.any(axis=0)]
    samples = [picture(frame) for frame in sorted({int(valid.argmax()) for valid in present})]
    sheet = Image.new("RGB", (samples[0].width, sum(sample.height for sample in samples)))
    for k, sample in enumerate(samples):
        sheet.paste(sample, (0, k * sample.height))
    return sheet.quantize(160)
