"""Key frames: the few frames of a fixed camera's video that differ, for depth and masks (thesis §4.1)."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, UInt8
from PIL import Image

from recon.teton.checked_json import expect, read_json, require, short
from recon.teton.images import depth_path, frame_path, mask_path, read_frame

KEYFRAME_THRESHOLD = 0.02  # share of the image: one person far away who has moved
GAP_WEIGHT = 0.2  # of the time between two frames: a tenth of a sequence is as far as the threshold
MOST_KEYFRAMES = 12
THUMBNAIL = (32, 24)  # cells of 16 pixels in a frame of 512 x 384: noise averages out, a person does not
CHANGED_LEVELS = 12  # of 255, by which a cell has changed


def choose_keyframes(
    frames: Iterable[UInt8[np.ndarray, "height width 3"]], threshold: float = KEYFRAME_THRESHOLD
) -> tuple[int, ...]:
    """Choose the first frame and others that differ from it and from each other, at most MOST_KEYFRAMES, sorted.

    Two frames differ by the share of a grey thumbnail's cells that have changed, apart from the light of the whole
    room, and by the time between them: a person's depth is known in key frames alone, and errs in each. The frame that
    differs most from all those chosen is taken next, while it does by more than `threshold`.
    """
    thumbnails = np.stack([_thumbnail(frame) for frame in frames])
    chosen = [0]
    nearest = _difference(thumbnails, 0)
    while nearest.max() > threshold and len(chosen) < MOST_KEYFRAMES:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, _difference(thumbnails, chosen[-1]))
    return tuple(sorted(chosen))


def _thumbnail(frame: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "24 32"]:
    return np.asarray(Image.fromarray(frame).convert("L").resize(THUMBNAIL, Image.Resampling.BOX), dtype=np.float32)


def _difference(thumbnails: Float32[np.ndarray, "frame 24 32"], number: int) -> Float64[np.ndarray, " frame"]:
    levels = thumbnails - thumbnails[number]
    levels -= np.median(levels, axis=(1, 2), keepdims=True)
    changed = (np.abs(levels) > CHANGED_LEVELS).mean(axis=(1, 2))
    gap = np.abs(np.arange(len(thumbnails)) - number) / len(thumbnails)
    return np.asarray(changed + GAP_WEIGHT * gap)


def read_keyframes(folder: Path, num_frames: int, image_size: tuple[int, int]) -> tuple[int, ...]:
    """Read the frame numbers of keyframes.json; where it is missing, choose them, and leave the folder as it is.

    They are chosen among the frames that have a mask, else those that have measured depth, else all. Raises InputError
    for what is no list of frames.
    """
    path = folder / "keyframes.json"
    if not path.exists() and not path.is_symlink():
        masked, measured = (
            [number for number in range(num_frames) if path_of(folder, number).exists()]
            for path_of in (mask_path, depth_path)
        )
        numbers = masked or measured or list(range(num_frames))
        chosen = choose_keyframes(read_frame(frame_path(folder, number), image_size) for number in numbers)
        return tuple(numbers[index] for index in chosen)
    content = expect(read_json(path), list, f"{path}:", "frame numbers")
    require(bool(content), f"{path}: is [], expected frame numbers")
    for number in content:
        possible = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < num_frames
        require(possible, f"{path}: holds {short(number)}, expected frame numbers from 0 to {num_frames - 1}")
    return tuple(sorted(set(content)))
