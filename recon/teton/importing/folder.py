"""Frames in a folder of pictures: JPEG and PNG of any mode, sorted by name as people count, as RGB and upright."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image, ImageOps
from tqdm import tqdm

from motion.errors import InputError
from recon.teton.checked_json import require, short
from recon.teton.images import FORMATS
from recon.teton.importing.file_names import list_files, number_in
from recon.teton.importing.recording import Recording, thumbnail

ENDINGS = (".jpg", ".jpeg", ".png")
DARKEST_MOST = 16  # of 255: a 16-bit picture that reaches no higher holds other numbers than light
LEVELS_16_BIT = 65535
MOST_MISSING = 100  # for each frame that is there: where numbers leap by more they count something else


def open_folder(folder: Path, fps: float) -> Recording:
    """Look over the pictures of a folder, which were recorded at `fps`; raises InputError for one that is damaged."""
    files = list_files(folder, *ENDINGS)
    if not files:
        found = sorted(path.name for path in folder.iterdir())
        raise InputError(f"{folder}: holds no .jpg or .png but {short(found)}, expected the frames of a video")
    size = read_picture(files[0]).size
    times, notes = _times([number_in(path.name) for path in files], fps)
    small = [thumbnail(_read(path, size)) for path in tqdm(files, "look over frames", unit="frame", disable=None)]
    return Recording(
        folder,
        size,
        shown_size=size,
        times=times,
        thumbnails=np.stack(small),
        recorded=datetime.fromtimestamp(files[0].stat().st_mtime, UTC),
        decode=lambda numbers: _decode(files, numbers),
        length=len(files),
        names=tuple(path.name for path in files),
        notes=notes,
    )


def _times(numbers: Sequence[int | None], fps: float) -> tuple[Float64[np.ndarray, " frame"], tuple[str, ...]]:
    """Return the time of each frame by the number in its name, and notes about frames that are missing.

    Numbers that do not rise by the same step, or by some of them where frames are missing, say nothing about times.
    """
    known = [number for number in numbers if number is not None]
    steps = np.diff(known)
    step = int(np.median(steps)) if len(steps) else 1
    counted = len(known) == len(numbers) and step > 0 and (steps > 0).all() and not (steps % step).any()
    if not counted or steps.sum() > MOST_MISSING * step * len(numbers):
        return np.arange(len(numbers)) / fps, ("frames are taken as equally spaced, as their names hold no count",)
    missing = int((steps // step - 1).sum())
    notes = (f"{missing} frames are missing by the numbers in their names: the others keep their times",)
    return (np.array(known) - known[0]) / step / fps, notes if missing else ()


def _read(path: Path, size: tuple[int, int]) -> Image.Image:
    """Read a picture that must have the size of the first."""
    picture = read_picture(path)
    found, expected = (f"{width}x{height}" for width, height in (picture.size, size))
    require(picture.size == size, f"{path}: is {found}, expected {expected} as the first is: frames of one camera")
    return picture


def _decode(files: Sequence[Path], numbers: Sequence[int]) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    for number in numbers:
        yield np.asarray(read_picture(files[number]))


def read_picture(path: Path) -> Image.Image:
    """Read a picture as RGB, turned as its EXIF orientation says.

    Grey of 16 bits is scaled to 8, transparent pixels are laid on black. Raises InputError for what is no picture, is
    damaged, or holds other numbers than light.
    """
    require(path.is_file(), f"{path}: is no file, expected a picture")  # a pipe would wait
    try:
        with Image.open(path, formats=FORMATS) as image:
            upright = ImageOps.exif_transpose(image)
    except Exception as error:  # damaged files show as nearly any of them
        raise InputError(f"{path}: is no whole picture ({error}), expected JPEG or PNG") from error
    return _to_rgb(upright, path)


def _to_rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "F"):
        return _from_16_bit(np.asarray(image), path)
    if "transparency" in image.info or image.mode in ("LA", "PA", "RGBA", "La", "RGBa"):
        clear = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, "black"), clear).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(levels: np.ndarray, path: Path) -> Image.Image:
    grey = np.asarray(levels, dtype=np.float64) * 255 / LEVELS_16_BIT
    if not DARKEST_MOST <= grey.max() <= 255:
        raise InputError(
            f"{path}: has greys up to {levels.max()} in 16 bits, expected them to reach {LEVELS_16_BIT} or near it: "
            "convert the pictures to 8 bits (depth is no picture)"
        )
    return Image.fromarray(grey.round().astype(np.uint8)).convert("RGB")
