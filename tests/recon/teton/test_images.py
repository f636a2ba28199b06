"""Frames and masks of a Teton sequence: where they lie, and which images are let in."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from motion.errors import InputError
from recon.teton.images import frame_path, mask_path, open_image, open_mask, pixels, read_frame

SIZE = (5, 3)


def test_files_are_numbered_by_six_digits() -> None:
    assert frame_path(Path("a/b"), 17) == Path("a/b/frames/000017.jpg")
    assert mask_path(Path("a/b"), 1234567) == Path("a/b/masks/1234567.png")


def test_labels_come_back_from_grey_and_from_palette_images(tmp_path: Path, rng: np.random.Generator) -> None:
    """A palette shows labels in colour; its numbers are the labels all the same."""
    labels = rng.integers(0, 256, SIZE[::-1], dtype=np.uint8)
    grey, coloured = Image.fromarray(labels), Image.fromarray(labels)
    coloured.putpalette(rng.integers(0, 256, 768, dtype=np.uint8).tobytes())
    for image, mode in ((grey, "L"), (coloured, "P")):
        image.save(tmp_path / "mask.png")
        mask = open_mask(tmp_path / "mask.png", SIZE)
        np.testing.assert_array_equal(pixels(mask, mode, tmp_path / "mask.png"), labels)


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
