"""Crops as the authors' affine map cuts them: black outside the image, blurred where much is shrunk."""

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from motion.errors import InputError
from recon.regressors.crops import crop_square, square_of

ROWS, COLUMNS = np.mgrid[:128, :128]
RAMP = np.stack([2 * COLUMNS, 2 * ROWS, np.zeros_like(ROWS)], axis=-1).astype(np.uint8)
"""Image whose red is twice the column and green twice the row, so that the colour tells where a pixel was."""


def test_box_of_the_crops_own_size_is_the_image_itself(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
    _, square = crop_square(image, np.array([0.0, 0.0, 256.0, 256.0 * 0.75]))
    assert square.tolist() == [128.0, 96.0, pytest.approx(256 / 0.75)]
    crop, square = crop_square(image, np.array([32.0, 0.0, 224.0, 256.0]))
    assert square.tolist() == [128.0, 128.0, 256.0]
    np.testing.assert_array_equal(crop, image)


@pytest.mark.parametrize(
    ("box", "side"),
    [((0, 0, 30, 100), 100), ((0, 0, 75, 100), 100), ((0, 0, 90, 100), 120), ((0, 0, 300, 100), 400)],
)
def test_box_is_widened_to_the_networks_columns(box: tuple[float, ...], side: float) -> None:
    square = square_of(np.array(box, dtype=np.float32))
    assert square[2] == pytest.approx(side)
    np.testing.assert_allclose(square[:2], [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])


@settings(max_examples=20)
@given(
    center=st.tuples(st.floats(56, 72), st.floats(56, 72)), height=st.floats(8, 108), size=st.sampled_from([64, 256])
)
def test_each_pixel_shows_the_place_that_the_square_says(center: tuple[float, float], height: float, size: int) -> None:
    (x, y), half = center, height / 2
    crop, (square_x, square_y, side) = crop_square(RAMP, np.array([x - 2, y - half, x + 2, y + half]), size)
    v, u = np.mgrid[:size, :size]
    place_x, place_y = square_x + (u - size / 2) * side / size, square_y + (v - size / 2) * side / size
    apart_x, apart_y = crop[..., 0] / 2 - place_x, crop[..., 1] / 2 - place_y
    assert max(np.abs(apart_x).max(), np.abs(apart_y).max()) < 0.26  # pixels; a step of colour is half of one
    assume(max(map(_mean_rounding, (place_x, place_y))) < 0.05)  # where steps of colour do not hide a shift
    assert max(abs(apart_x.mean()), abs(apart_y.mean())) < 0.1


def _mean_rounding(places: np.ndarray) -> float:
    """Compute by how much the steps of colour, of half a pixel, shift places on average, whichever way ties go."""
    return max(abs(float((np.round(2 * each) / 2 - each).mean())) for each in (places - 1e-3, places + 1e-3))


def test_outside_the_image_is_black() -> None:
    image = np.full((100, 100, 3), 200, dtype=np.uint8)
    crop, square = crop_square(image, np.array([50.0, 20.0, 150.0, 120.0]), 64)
    inside = square[0] + (np.arange(64) - 32) * square[2] / 64 <= 98
    above = square[1] + (np.arange(64) - 32) * square[2] / 64 >= 1
    assert (crop[:, ~inside][:, 2:] == 0).all()
    assert (crop[above][:40][:, inside] == 200).all()
    assert (crop_square(image, np.array([500.0, 500.0, 600.0, 700.0]))[0] == 0).all()


def test_tiny_box_is_enlarged(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (50, 60, 3), dtype=np.uint8)
    crop, square = crop_square(image, np.array([20.0, 20.0, 20.5, 21.0]))
    assert square[2] == 1
    corners = image[20:22, 20:22].astype(int)
    assert (crop >= corners.min(axis=(0, 1))).all()
    assert (crop <= corners.max(axis=(0, 1))).all()


def test_much_shrunk_is_blurred_as_scipy_blurs_and_little_is_not(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (700, 900, 3), dtype=np.uint8)
    box = np.array([40.0, -60.0, 100.0, 740.0])  # 800 px on 256: a factor of 3.125
    crop, square = crop_square(image, box)
    sigma = (square[2] / 256 / 2 - 1) / 2
    blurred = scipy.ndimage.gaussian_filter(image.astype(np.float64), (sigma, sigma, 0), mode="nearest")
    at = [square[i] + (np.arange(256) - 128) * square[2] / 256 for i in (1, 0)]
    where = np.meshgrid(*at, indexing="ij")
    expected = [scipy.ndimage.map_coordinates(blurred[..., c], where, order=1, mode="grid-constant") for c in range(3)]
    assert np.abs(crop - np.stack(expected, axis=-1)).max() <= 0.51
    sharp, _ = crop_square(image, np.array([300.0, 100.0, 310.0, 612.0]))  # 512 px: every second pixel as it is
    np.testing.assert_array_equal(sharp, image[100:612:2, 49:561:2])


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (5, 9, 9, 5), (0, 0, np.nan, 5)])
def test_no_box_is_one_sentence(box: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="expected x0 < x1 and y0 < y1"):
        crop_square(np.zeros((9, 9, 3), dtype=np.uint8), np.array(box, dtype=np.float32))
