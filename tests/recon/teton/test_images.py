"""Frames and masks of a Teton sequence: where they lie, and which images are let in."""

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from motion.errors import InputError
from recon.teton.images import (
    depth_path,
    frame_path,
    mask_path,
    open_image,
    open_mask,
    read_depth,
    read_frame,
    read_labels,
    write_depth,
)

SIZE = (5, 3)


def test_files_are_numbered_by_six_digits() -> None:
    assert frame_path(Path("a/b"), 17) == Path("a/b/frames/000017.jpg")
    assert mask_path(Path("a/b"), 1234567) == Path("a/b/masks/1234567.png")
    assert depth_path(Path("a/b"), 17) == Path("a/b/depth/000017.png")


def test_depth_comes_back_in_metres_and_unknown_where_it_was_or_is_too_far(tmp_path: Path) -> None:
    depth = np.linspace(0.4, 6, 15, dtype=np.float32).reshape(SIZE[::-1])
    depth[0, :2] = np.nan, 70.0
    write_depth(depth, tmp_path / "depth.png")
    read = read_depth(tmp_path / "depth.png", SIZE)
    assert np.isnan(read[0, :2]).all()
    np.testing.assert_allclose(read.ravel()[2:], depth.ravel()[2:], atol=5.1e-4)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.zeros((3, 5), np.uint16), r"is 0 \(unknown\) in all pixels"),
        (np.full((3, 5), 3, np.uint16), r"half of it is nearer than 0.003 m.*is it in millimetres"),
        (np.full((3, 5), 50_000, np.uint16), r"half of it is nearer than 50 m"),
        (np.full((3, 5), 200, np.uint8), r"is of the mode L, expected 16-bit grey"),
        (np.full((5, 3), 2000, np.uint16), r"is 3x5, expected 5x3"),
    ],
)
def test_depth_that_cannot_be_in_millimetres_is_refused(tmp_path: Path, pixels: np.ndarray, words: str) -> None:
    Image.fromarray(pixels).save(tmp_path / "depth.png")
    with pytest.raises(InputError, match=rf"depth\.png: {words}"):
        read_depth(tmp_path / "depth.png", SIZE)


def test_labels_come_back_from_grey_and_from_palette_images(tmp_path: Path, rng: np.random.Generator) -> None:
    """A palette shows labels in colour; its numbers are the labels all the same."""
    labels = rng.integers(0, 256, SIZE[::-1], dtype=np.uint8)
    grey, coloured = Image.fromarray(labels), Image.fromarray(labels)
    coloured.putpalette(rng.integers(0, 256, 768, dtype=np.uint8).tobytes())
    for image in (grey, coloured):
        image.save(tmp_path / "mask.png")
        np.testing.assert_array_equal(read_labels(tmp_path / "mask.png", SIZE, dict.fromkeys(range(256), "x")), labels)


SHOWN = np.array([[1, 2, 3, 128, 1]] * 3, dtype=np.uint8)
KNOWN = {0: "none", 1: "floor", 2: "wall", 3: "bed", 128: "person 0"}


@pytest.mark.parametrize(
    ("greys", "labels"),
    [
        ([1, 2, 3, 128], SHOWN),  # as an optimiser stores them
        ([0, 85, 170, 255], np.array([[0, 1, 2, 3, 0]] * 3)),  # a ramp to look at: no labels
    ],
)
def test_a_palette_of_greys_holds_the_labels_where_all_are_known(
    tmp_path: Path, greys: list[int], labels: np.ndarray
) -> None:
    image = Image.fromarray(np.array([[0, 1, 2, 3, 0]] * 3, dtype=np.uint8))
    image.putpalette(np.repeat(greys, 3).astype(np.uint8).tobytes())
    image.save(tmp_path / "mask.png", optimize=True)
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.png", SIZE, KNOWN), labels)


def test_a_label_without_a_name_is_refused(tmp_path: Path) -> None:
    Image.fromarray(SHOWN).save(tmp_path / "mask.png")
    with pytest.raises(
        InputError, match=r"mask\.png: holds the label \[128\], expected 0 none, 1 floor, 2 wall, 3 bed$"
    ):
        read_labels(tmp_path / "mask.png", SIZE, {label: KNOWN[label] for label in range(4)})


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_read_as_it_is_shown(tmp_path: Path, orientation: int) -> None:
    """Orientation says where the stored rows and columns begin; 3 is upside down, 6 and 8 are portraits."""
    undone = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}[orientation]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = undone
    stored = ImageOps.exif_transpose(_with(Image.fromarray(SHOWN), exif, tmp_path / "stored.png"))
    exif[ExifTags.Base.Orientation] = orientation
    stored.save(tmp_path / "mask.png", exif=exif)
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.png", SIZE, KNOWN), SHOWN)
    if stored.size != SIZE:
        with pytest.raises(InputError, match=rf"is 5x3 as EXIF orientation {orientation} shows it, expected 3x5 as im"):
            open_image(tmp_path / "mask.png", (3, 5))


def _with(image: Image.Image, exif: Image.Exif, path: Path) -> Image.Image:
    image.save(path, exif=exif)
    return Image.open(path)


def test_a_frame_that_is_upside_down_is_turned(tmp_path: Path) -> None:
    frame = np.zeros((16, 32, 3), dtype=np.uint8)
    frame[-8:, -8:] = (255, 0, 0)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    Image.fromarray(frame).save(tmp_path / "000000.jpg", exif=exif, quality=95)
    assert read_frame(tmp_path / "000000.jpg", (32, 16))[3, 3, 0] > 200


@pytest.mark.parametrize("mode", ["RGB", "1", "I;16", "LA"])
def test_masks_of_other_modes_are_refused(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.new(mode, SIZE).save(path)
    with pytest.raises(InputError, match=rf"mask\.png: is of the mode {mode}, expected an 8-bit label image"):
        open_mask(path, SIZE)


def test_a_frame_is_rgb_whatever_the_file_is(tmp_path: Path) -> None:
    Image.new("L", SIZE, 90).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_frame(tmp_path / "grey.png", SIZE), np.full((3, 5, 3), 90))


def test_what_is_no_image_of_this_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    with pytest.raises(InputError, match=r"a\.jpg: is missing, expected an image of 5x3"):
        open_image(path, SIZE)
    Image.new("RGB", (3, 5)).save(path)
    with pytest.raises(InputError, match=r"a\.jpg: is 3x5, expected 5x3 as image_size says"):
        open_image(path, SIZE)
    Image.new("RGB", SIZE).save(path, "GIF")
    with pytest.raises(InputError, match=r"a\.jpg: is no image"):
        open_image(path, SIZE)
    Image.new("RGB", (64, 64)).save(path, "PNG")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"a\.jpg: is damaged"):
        read_frame(path, (64, 64))
