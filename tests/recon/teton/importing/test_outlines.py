"""Polygons and run lengths of COCO's segmentations."""

import numpy as np
import pytest

from motion.errors import InputError
from recon.teton.importing.outlines import decode_runs, read_outline
from tests.helpers.recordings import compressed, runs_of


def pixels(value: object, width: int, height: int) -> np.ndarray:
    outline = read_outline(value, "here")
    assert outline is not None
    return outline.pixels((width, height), (width, height))


def test_a_polygon_covers_its_pixels() -> None:
    inside = pixels([[2, 1, 8, 1, 8, 5, 2, 5], [0, 7, 3, 7, 3, 9, 0, 9]], 12, 10)
    expected = np.zeros((10, 12), dtype=bool)
    expected[1:5, 2:8] = expected[7:9, 0:3] = True
    np.testing.assert_array_equal(inside, expected)


def test_a_pixel_is_inside_where_its_centre_is() -> None:
    inside = pixels([[2.4, 1.6, 7.4, 1.6, 7.4, 5.5, 2.4, 5.5]], 12, 10)
    assert (np.flatnonzero(inside.any(axis=0)).tolist(), np.flatnonzero(inside.any(axis=1)).tolist()) == (
        [2, 3, 4, 5, 6],
        [2, 3, 4],
    )


def test_a_polygon_is_drawn_at_another_size() -> None:
    outline = read_outline([[2.0, 1, 8, 1, 8, 5, 2, 5]], "here")
    assert outline is not None
    inside = outline.pixels((12, 10), (120, 100))
    assert inside[10:50, 20:80].all()
    assert inside.sum() == 40 * 60
    np.testing.assert_allclose(outline.box(), [2, 1, 8, 5])


def test_runs_of_both_forms_give_the_mask_back(rng: np.random.Generator) -> None:
    for _ in range(20):
        mask = rng.random((7, 11)) < rng.choice([0.03, 0.5, 0.97])
        mask[3, 4] = True
        runs = runs_of(mask)
        np.testing.assert_array_equal(pixels(runs, 11, 7), mask)
        np.testing.assert_array_equal(pixels(runs | {"counts": compressed(runs["counts"])}, 11, 7), mask)
        rows, columns = np.nonzero(mask)
        outline = read_outline(runs, "here")
        assert outline is not None
        np.testing.assert_allclose(outline.box(), [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def test_compressed_runs_of_pycocotools() -> None:
    """Check a text that pycocotools 2.0 wrote: an ellipse with a round hole, in a picture of 64 x 48."""
    y, x = np.mgrid[:48, :64]
    ring = ((x - 30) ** 2 / 400 + (y - 24) ** 2 / 225 < 1) & ((x - 34) ** 2 + (y - 20) ** 2 >= 25)
    text = "Ta09U14M2N2N2N2N2O0O2O0O2O0O2O000000000000[OB8>GD8<GF8:HF8:HF8:HF8:HF8:ID8=HA8`0<1N101N101N2N2N2N2N3L^d0"
    np.testing.assert_array_equal(pixels({"size": [48, 64], "counts": text}, 64, 48), ring)
    assert compressed(decode_runs(text)) == text


def test_runs_at_another_size_keep_their_place() -> None:
    mask = np.zeros((10, 20), dtype=bool)
    mask[2:5, 8:16] = True
    outline = read_outline(runs_of(mask), "here")
    assert outline is not None
    inside = outline.pixels((20, 10), (40, 20))
    assert inside[4:10, 16:32].all()
    assert inside.sum() == 4 * mask.sum()


@pytest.mark.parametrize("value", [None, [], [[]], [[1, 2, 3, 4]], {"size": [2, 2], "counts": [4]}])
def test_nothing_is_marked(value: object) -> None:
    assert read_outline(value, "here") is None


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("all", "here is 'all', expected polygons or run lengths"),
        ([1, 2, 3], "here is 1, expected a list of x, y"),
        ([[1, 2, 3]], r"here holds the polygon \[1, 2, 3\], expected numbers"),
        ([[1, 2, 3, "x", 5, 6]], "holds the polygon"),
        ([[1, 2, 3, float("nan"), 5, 6]], "holds the polygon"),
        ({"counts": [4]}, r"here size is None, expected \[height, width\]"),
        ({"size": [10**9, 10**9], "counts": [4]}, "size is"),
        ({"size": [2, 2], "counts": [1, 2]}, r"here has runs of 3 pixels, expected 4 as its size \[2, 2\] has"),
        ({"size": [2, 2], "counts": [5, -1]}, "has runs of 4 pixels"),
        ({"size": [2, 2], "counts": "zzzz~~"}, "has runs of"),
        ({"size": [2, 2], "counts": 4}, "counts is 4, expected run lengths"),
        ({"size": [2, 2], "counts": [1.5, 2.5]}, "expected run lengths"),
    ],
)
def test_what_is_no_outline_is_a_sentence(value: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_outline(value, "here")


def test_a_polygon_of_any_shape_has_its_area() -> None:
    """Check by the shoelace formula, also for one that reaches beyond the picture."""
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    star = np.stack([100 + (60 + 30 * np.cos(5 * angles)) * np.cos(angles), 80 + 70 * np.sin(angles)], axis=1)
    x, y = star.T
    area = abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2
    assert abs(pixels([star.ravel().tolist()], 200, 160).sum() / area - 1) < 0.01
    assert pixels([[-50, -50, 300, -50, 300, 300, -50, 300]], 20, 10).all()
