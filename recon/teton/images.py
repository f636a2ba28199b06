"""Frames and masks of a Teton sequence: where they lie, and the checks that an image from outside has to pass."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from motion.errors import InputError
from recon.teton.checked_json import require

FORMATS = ("JPEG", "PNG")  # others have decoders that start programs (EPS) or are seldom tested


def frame_path(folder: Path, number: int) -> Path:
    """Path of a frame of the sequence in `folder`."""
    return folder / "frames" / f"{number:06d}.jpg"


def mask_path(folder: Path, number: int) -> Path:
    """Path of a key frame's mask."""
    return folder / "masks" / f"{number:06d}.png"


def open_image(path: Path, image_size: tuple[int, int]) -> Image.Image:
    """Open an image of this size without decoding it; InputError when it is missing, no image or of another size."""
    try:
        image = Image.open(path, formats=FORMATS)
    except FileNotFoundError as error:
        raise InputError(f"{path}: is missing, expected an image of {image_size[0]}x{image_size[1]}") from error
    except Exception as error:  # a damaged header shows as nearly any of them
        raise InputError(f"{path}: is no image ({error}), {path.stat().st_size} bytes, expected one") from error
    require(
        image.size == image_size,
        f"{path}: is {image.width}x{image.height}, expected {image_size[0]}x{image_size[1]} as image_size says",
    )
    return image


def open_mask(path: Path, image_size: tuple[int, int]) -> Image.Image:
    """Open a label image of this size without decoding it; InputError on anything but 8-bit grey or palette."""
    mask = open_image(path, image_size)
    # The numbers of a palette image are labels too.
    require(mask.mode in ("L", "P"), f"{path}: is of the mode {mask.mode}, expected an 8-bit label image")
    return mask


def pixels(image: Image.Image, mode: str, path: Path) -> UInt8[np.ndarray, "height width *channel"]:
    """Decode an image in a mode of Pillow's; InputError when the file is damaged."""
    try:
        return np.array(image.convert(mode))
    except Exception as error:  # as damaged headers do
        raise InputError(f"{path}: is damaged ({error}), expected a whole image") from error


def read_frame(path: Path, image_size: tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
    """Decode a frame as RGB."""
    return pixels(open_image(path, image_size), "RGB", path)
