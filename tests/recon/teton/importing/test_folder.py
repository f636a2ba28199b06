"""Frames in a folder, of any mode of JPEG and PNG."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from motion.errors import InputError
from recon.teton.importing.folder import open_folder, read_picture

WIDTH, HEIGHT = 64, 48
RAMP = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
COLOURS = np.stack(
    [RAMP, RAMP[:, ::-1], np.tile(np.linspace(0, 255, HEIGHT).astype(np.uint8)[:, None], (1, WIDTH))], axis=-1
)
COLOUR, GREY = Image.fromarray(COLOURS), Image.fromarray(RAMP)


def saved(tmp_path: Path, image: Image.Image, name: str, **options: object) -> np.ndarray:
    image.save(tmp_path / name, **options)
    picture = read_picture(tmp_path / name)
    assert picture.mode == "RGB"
    return np.asarray(picture)


@pytest.mark.parametrize(
    ("image", "name", "expected", "most"),
    [
        (COLOUR, "a.jpg", COLOURS, 16),
        (COLOUR, "a.png", COLOURS, 0),
        (GREY, "a.jpg", np.dstack([RAMP] * 3), 6),
        (GREY, "a.png", np.dstack([RAMP] * 3), 0),
        (COLOUR.convert("CMYK"), "a.jpg", COLOURS, 24),
        (COLOUR.quantize(256), "a.png", np.asarray(COLOUR.quantize(256).convert("RGB")), 0),
        (GREY.convert("1"), "a.png", np.dstack([np.asarray(GREY.convert("1")) * 255] * 3), 0),
        (Image.fromarray(RAMP.astype(np.uint16) * 257), "a.png", np.dstack([RAMP] * 3), 0),
    ],
    ids=["jpeg", "png", "grey-jpeg", "grey-png", "cmyk", "palette", "bits", "16-bit"],
)
def test_every_mode_becomes_rgb(tmp_path: Path, image: Image.Image, name: str, expected: np.ndarray, most: int) -> None:
    options = {"quality": 97, "subsampling": 0} if name.endswith("jpg") else {}
    found = saved(tmp_path, image, name, **options)
    assert np.abs(found.astype(int) - expected).max() <= most


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_are_black(tmp_path: Path, mode: str) -> None:
    if mode == "P":
        image = Image.fromarray(np.where(RAMP < 128, 0, 1).astype(np.uint8), mode="P")
        image.putpalette([200, 10, 10, 90, 90, 90])
        found = saved(tmp_path, image, "a.png", transparency=0)
        expected = np.where(RAMP < 128, 0, 90)
    else:
        image = (COLOUR if mode == "RGBA" else GREY).convert(mode)
        image.putalpha(Image.fromarray(np.where(RAMP < 128, 0, 255).astype(np.uint8)))
        found = saved(tmp_path, image, "a.png")
        expected = np.where(RAMP < 128, 0, RAMP)
    np.testing.assert_array_equal(found[..., 0], expected)


def test_a_picture_is_upright_as_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[ExifTags.Base.Orientation] = orientation
        turned = saved(tmp_path, COLOUR, f"{orientation}.png", exif=exif)
        assert turned.shape == ((HEIGHT, WIDTH, 3) if orientation <= 4 else (WIDTH, HEIGHT, 3))
    np.testing.assert_array_equal(np.asarray(read_picture(tmp_path / "6.png")), np.rot90(COLOURS, -1))
    np.testing.assert_array_equal(np.asarray(read_picture(tmp_path / "8.png")), np.rot90(COLOURS))
    np.testing.assert_array_equal(np.asarray(read_picture(tmp_path / "3.png")), COLOURS[::-1, ::-1])


def test_depth_is_no_picture(tmp_path: Path) -> None:
    Image.fromarray(RAMP.astype(np.uint16) * 12).save(tmp_path / "depth.png")
    with pytest.raises(InputError, match="has greys up to 3060 in 16 bits, expected them to reach 65535 or near it"):
        read_picture(tmp_path / "depth.png")


def test_what_is_no_picture_is_a_sentence(tmp_path: Path) -> None:
    COLOUR.save(tmp_path / "cut.jpg", quality=95)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:-700])
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty.png").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    for name in ("cut.jpg", "text.jpg", "empty.png"):
        with pytest.raises(InputError, match=rf"{name}: is no whole picture \("):
            read_picture(tmp_path / name)
    with pytest.raises(InputError, match="is no file"):
        read_picture(tmp_path / "pipe.jpg")


def test_a_folder_is_read_in_order(tmp_path: Path) -> None:
    for number in (10, 9, 8):
        Image.new("RGB", (WIDTH, HEIGHT), (20 * number, 0, 0)).save(tmp_path / f"f{number}.png")
    (tmp_path / "notes.txt").touch()
    os.utime(tmp_path / "f8.png", (1_700_000_000, 1_700_000_000))
    recording = open_folder(tmp_path, fps=5.0)
    assert recording.names == ("f8.png", "f9.png", "f10.png")
    assert (recording.size, recording.length) == ((WIDTH, HEIGHT), 3)
    np.testing.assert_allclose(recording.times, [0, 0.2, 0.4])
    assert f"{recording.recorded:%Y-%m-%d}" == "2023-11-14"
    assert [int(frame[0, 0, 0]) for frame in recording.read([0, 2], (32, 24))] == [160, 200]
    assert recording.thumbnails[:, 0, 0, 0].tolist() == [160, 180, 200]


def test_frames_of_two_sizes_or_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bmp").touch()
    with pytest.raises(InputError, match=r"holds no .jpg or .png but \['a.bmp'\]"):
        open_folder(tmp_path, fps=5.0)
    COLOUR.save(tmp_path / "a.png")
    COLOUR.rotate(90, expand=True).save(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"b.png: is 48x64, expected 64x48 as the first is"):
        open_folder(tmp_path, fps=5.0)


@pytest.mark.parametrize(
    ("names", "times", "note"),
    [
        (("f0", "f1", "f2", "f4", "f7"), [0, 1, 2, 4, 7], "3 frames are missing by the numbers in their names"),
        (("f00", "f05", "f10", "f20"), [0, 1, 2, 4], "1 frames are missing by the numbers in their names"),
        (("a", "b", "c"), [0, 1, 2], "frames are taken as equally spaced, as their names hold no count"),
        (("f1000", "f1033", "f1067"), [0, 1, 2], "frames are taken as equally spaced"),
        (("f0", "f1", "f2", "f999999999"), [0, 1, 2, 3], "frames are taken as equally spaced"),
        (("f7",), [0], ""),
        (("f7", "f8"), [0, 1], ""),
    ],
)
def test_frames_that_are_missing_take_no_time_from_the_others(
    tmp_path: Path, names: tuple[str, ...], times: list[int], note: str
) -> None:
    for name in names:
        COLOUR.save(tmp_path / f"{name}.png")
    recording = open_folder(tmp_path, fps=10.0)
    np.testing.assert_allclose(recording.times * 10, times)
    assert "".join(recording.notes).startswith(note)
    assert bool(recording.notes) == bool(note)
