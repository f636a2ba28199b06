"""Frames, masks and depth of a Teton sequence: where they lie, and the checks an image from outside has to pass."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Integer, UInt8
from PIL import ExifTags, Image, ImageOps

from motion.errors import InputError
from recon.teton.checked_json import require

FORMATS = ("JPEG", "PNG")  # others have decoders that start programs (EPS) or are seldom tested
TRANSPOSED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
DEPTH_MODES = ("I;16", "I;16B", "I")  # of Pillow's, for 16-bit grey
MM_PER_M = 1000.0
MEDIAN_DEPTHS_M = (0.3, 30.0)  # of what a camera in a room sees; beyond, the unit is another


def frame_path(folder: Path, number: int) -> Path:
    """Path of a frame of the sequence in `folder`."""
    return folder / "frames" / f"{number:06d}.jpg"


def mask_path(folder: Path, number: int) -> Path:
    """Path of a key frame's mask."""
    return folder / "masks" / f"{number:06d}.png"


def depth_path(folder: Path, number: int) -> Path:
    """Path of a key frame's measured depth."""
    return folder / "depth" / f"{number:06d}.png"


def open_image(path: Path, image_size: tuple[int, int]) -> Image.Image:
    """Open an image of this size, as it is shown, without decoding it.

    An EXIF orientation counts, as in every viewer and annotation tool; `pixels` turns the image by it. Raises
    InputError when it is missing, no image or of another size.
    """
    if not path.is_file():  # a broken link, or a pipe, which would wait
        raise InputError(f"{path}: is missing, expected an image of {image_size[0]}x{image_size[1]}")
    try:
        image = Image.open(path, formats=FORMATS)
        exif = image.getexif() if "exif" in image.info else {}  # without it, PNG's would decode the image
        orientation = exif.get(ExifTags.Base.Orientation, 1)
    except Exception as error:  # a damaged header shows as nearly any of them
        raise InputError(f"{path}: is no image ({error}), {path.stat().st_size} bytes, expected one") from error
    width, height = image.size[::-1] if orientation in TRANSPOSED else image.size
    turned = f" as EXIF orientation {orientation} shows it" if orientation != 1 else ""
    require(
        (width, height) == image_size,
        f"{path}: is {width}x{height}{turned}, expected {image_size[0]}x{image_size[1]} as image_size says",
    )
    return image


def open_mask(path: Path, image_size: tuple[int, int]) -> Image.Image:
    """Open a label image of this size without decoding it; InputError on anything but 8-bit grey or palette."""
    mask = open_image(path, image_size)
    # The numbers of a palette image are labels too.
    require(mask.mode in ("L", "P"), f"{path}: is of the mode {mask.mode}, expected an 8-bit label image")
    return mask


def read_labels(path: Path, image_size: tuple[int, int], known: Mapping[int, str]) -> UInt8[np.ndarray, "height width"]:
    """Decode a label image; raises InputError for labels without a name in `known`.

    The labels of a palette image are its indices, whatever their colours. But lossless optimisers store a grey image
    with a palette of its greys: where all colours that are used are greys and known labels, they are the labels.
    """
    mask = open_mask(path, image_size)
    labels = pixels(mask, mask.mode, path)
    if mask.mode == "P":
        palette = np.array(mask.getpalette("RGB")).reshape(-1, 3)
        used = palette[np.unique(labels[labels < len(palette)])]
        if labels.max() < len(palette) and (used == used[:, :1]).all() and known.keys() >= set(used[:, 0].tolist()):
            labels = palette[labels, 0].astype(np.uint8)
    strange = sorted(set(np.unique(labels).tolist()) - known.keys())
    names = ", ".join(f"{label} {name}" for label, name in known.items())
    require(not strange, f"{path}: holds the label {strange[:1]}, expected {names}")
    return labels


def pixels(image: Image.Image, mode: str, path: Path) -> Integer[np.ndarray, "height width *channel"]:
    """Decode an image as it is shown, in a mode of Pillow's; InputError when the file is damaged."""
    try:
        return np.array(ImageOps.exif_transpose(image).convert(mode))
    except Exception as error:  # as damaged headers do
        raise InputError(f"{path}: is damaged ({error}), expected a whole image") from error


def open_depth(path: Path, image_size: tuple[int, int]) -> Image.Image:
    """Open a depth image of this size without decoding it; InputError on anything but 16-bit grey."""
    image = open_image(path, image_size)
    require(image.mode in DEPTH_MODES, f"{path}: is of the mode {image.mode}, expected 16-bit grey of millimetres")
    return image


def read_depth(path: Path, image_size: tuple[int, int]) -> Float32[np.ndarray, "height width"]:
    """Decode measured depth in metres; NaN where the file has 0, unknown.

    Raises InputError for an image without any depth, and for one that cannot be in millimetres.
    """
    image = open_depth(path, image_size)
    millimetres = pixels(image, image.mode, path)
    require(bool(millimetres.any()), f"{path}: is 0 (unknown) in all pixels, expected depth in millimetres")
    metres = np.where(millimetres > 0, millimetres, np.nan) / MM_PER_M
    middle, (low, high) = float(np.nanmedian(metres)), MEDIAN_DEPTHS_M
    require(
        low <= middle <= high,
        f"{path}: half of it is nearer than {middle:.3g} m, expected {low} to {high:g} m: is it in millimetres?",
    )
    return metres.astype(np.float32)


def write_depth(depth: Float32[np.ndarray, "height width"], path: Path) -> None:
    """Write depth in metres as 16-bit millimetres; NaN and what is too far for 16 bits becomes 0, unknown."""
    millimetres = np.nan_to_num(MM_PER_M * depth.astype(np.float64)).round()
    Image.fromarray(np.where(millimetres > 65535, 0, millimetres).astype(np.uint16)).save(path)


def read_frame(path: Path, image_size: tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
    """Decode a frame as RGB."""
    return pixels(open_image(path, image_size), "RGB", path)
