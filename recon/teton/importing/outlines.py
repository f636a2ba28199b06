"""Outlines of persons and things as COCO writes them (field `segmentation`): polygons, or run lengths of pixels."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from PIL import Image

from recon.teton.annotations import IMAGE_SIDES
from recon.teton.checked_json import LARGEST_PX, expect, require, short

FIVE_BITS, MORE, SIGN = 0x1F, 0x20, 0x10  # of a letter of compressed run lengths
FIRST_LETTER = 48


@dataclass(frozen=True, eq=False)
class Outline:
    """Pixels of a person or thing in a picture, as polygons or as run lengths."""

    polygons: tuple[Float64[np.ndarray, "corner 2"], ...]
    """Corners x, y in pixels; the polygons' union counts."""
    runs: Int64[np.ndarray, " run"] | None = None
    """Lengths of runs of pixels outside and inside in turn, column by column; None where there are polygons."""
    runs_size: tuple[int, int] = (0, 0)
    """Width and height of the picture that the runs are of."""

    def pixels(self, picture: tuple[int, int], size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
        """Draw the outline of a picture of one size (width, height) into an image of another; True = inside."""
        if self.runs is None:
            filled = [_fill(corners * np.array(size) / picture, size) for corners in self.polygons]
            return np.logical_or.reduce(filled)
        inside = np.repeat(np.arange(len(self.runs)) % 2 == 1, self.runs).reshape(self.runs_size).T
        return np.asarray(Image.fromarray(inside).resize(size, Image.Resampling.NEAREST))

    def box(self) -> Float64[np.ndarray, "4"]:
        """Compute the box x0, y0, x1, y1 around the outline."""
        if self.runs is None:
            corners = np.concatenate(self.polygons)
            return np.concatenate([corners.min(axis=0), corners.max(axis=0)])
        rows, columns = np.nonzero(self.pixels(self.runs_size, self.runs_size))
        return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=np.float64)


def _fill(corners: Float64[np.ndarray, "corner 2"], size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """Fill a polygon: the pixels from whose centre an odd number of edges lies to the left."""
    width, height = size
    edges = np.zeros((height, width + 1), dtype=np.uint8)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        low, high = np.ceil(np.sort([y0, y1]) - 0.5).clip(0, height).astype(int)
        rows = np.arange(low, high)
        columns = np.ceil(x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0) - 0.5) if len(rows) else np.zeros(0)
        np.add.at(edges, (rows, columns.clip(0, width).astype(int)), 1)
    return edges.cumsum(axis=1, dtype=np.uint8)[:, :width] % 2 == 1


def read_outline(value: object, where: str) -> Outline | None:
    """Read a `segmentation`; None where nothing is marked. Raises InputError for what is neither polygons nor runs."""
    if isinstance(value, dict):
        return _read_runs(value, where)
    polygons = [
        _read_polygon(corners, where) for corners in expect(value or [], list, where, "polygons or run lengths")
    ]
    filled = tuple(corners for corners in polygons if len(corners) >= 3)  # a line has no pixels
    return Outline(filled) if filled else None


def _read_polygon(value: object, where: str) -> Float64[np.ndarray, "corner 2"]:
    try:
        flat = np.array(expect(value, list, where, "a list of x, y, x, y, …"), dtype=np.float64)
    except (TypeError, ValueError):
        flat = np.array([np.nan])
    good = flat.ndim == 1 and len(flat) % 2 == 0 and bool((np.abs(flat) < LARGEST_PX).all())
    require(good, f"{where} holds the polygon {short(value)}, expected numbers x, y, x, y, …")
    return flat.reshape(-1, 2)


def _read_runs(value: dict[str, object], where: str) -> Outline | None:
    size, counts = _read_size(value.get("size"), where), value.get("counts")
    runs = np.array(decode_runs(counts) if isinstance(counts, str) else _plain_runs(counts, where), dtype=np.int64)
    whole = bool((runs >= 0).all()) and int(runs.sum()) == size[0] * size[1]
    require(whole, f"{where} has runs of {runs.sum()} pixels, expected {size[0] * size[1]} as its size {size} has")
    return Outline((), runs, runs_size=(size[1], size[0])) if runs[1::2].any() else None


def _read_size(size: object, where: str) -> list[int]:
    sides = expect(size, list, f"{where} size", "[height, width]")
    good = len(sides) == 2 and all(type(side) is int and 1 <= side <= IMAGE_SIDES[1] for side in sides)
    require(good, f"{where} size is {short(sides)}, expected [height, width]")
    return sides


def _plain_runs(counts: object, where: str) -> list[int]:
    runs = expect(counts, list, f"{where} counts", "run lengths")
    require(
        all(type(run) is int and abs(run) < 2**40 for run in runs),
        f"{where} counts is {short(runs)}, expected run lengths",
    )
    return runs


def decode_runs(letters: str) -> list[int]:
    """Decode COCO's compressed run lengths; what is no such text gives runs that do not fill the picture.

    A number is written five bits a letter from the lowest on, in two's complement, and from the fourth run on as the
    difference to the run two before (Lin et al. 2014, `maskApi.c`).
    """
    runs: list[int] = []
    number = shift = 0
    for letter in letters:
        bits = ord(letter) - FIRST_LETTER
        number |= (bits & FIVE_BITS) << shift
        shift += 5
        if bits & MORE and shift < 60:
            continue
        number -= (1 << shift) if bits & SIGN else 0
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number = shift = 0
    return runs
