"""Recording to import: the frames of a video file or of a folder, upright, and their times."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, repeat
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from recon.teton.keyframes import THUMBNAIL

Frame = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True, eq=False)
class Recording:
    """Frames of a video file or a folder, looked over once: everything but the pixels, which `read` decodes."""

    path: Path
    """File or folder."""
    size: tuple[int, int]
    """Width and height of the upright frames in pixels, as annotation tools see them."""
    shown_size: tuple[int, int]
    """The same as players show it: wider or narrower where pixels are not square."""
    times: Float64[np.ndarray, " frame"]
    """Time of each frame in seconds; 0 for the first."""
    thumbnails: UInt8[np.ndarray, "frame 24 32 3"]
    """Small copies, by which key frames are chosen."""
    recorded: datetime
    """Time of the recording (UTC)."""
    decode: Callable[[Sequence[int]], Iterator[Frame]]
    """Function that decodes the frames of these numbers, which rise."""
    length: int
    """Number of frames in the file, of which `times` may leave out the last."""
    names: tuple[str, ...] | None = None
    """Names of the files of a folder; None for a video."""
    notes: tuple[str, ...] = ()
    """Sentences about what was done to the frames or assumed about them."""

    def read(self, numbers: Sequence[int], size: tuple[int, int]) -> Iterator[Frame]:
        """Decode frames at a size (width, height) of their own or smaller; a number may come several times in a row."""
        distinct = self.decode(list(dict.fromkeys(numbers)))
        for (_, same), frame in zip(groupby(numbers), distinct, strict=True):
            yield from repeat(resized(frame, size), len(list(same)))


def resized(frame: Frame, size: tuple[int, int]) -> UInt8[np.ndarray, "rows columns 3"]:
    """Resize a frame to width and height; one of that size already is returned as it is."""
    if frame.shape[1::-1] == size:
        return frame
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))


def thumbnail(image: Image.Image) -> UInt8[np.ndarray, "24 32 3"]:
    """Make the small copy of an RGB frame."""
    return np.asarray(image.resize(THUMBNAIL, Image.Resampling.BOX))
