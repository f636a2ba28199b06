"""Training data of the depth stand-ins: pictures and depth that stay together; and how the networks are judged."""

from itertools import islice

import numpy as np
import pytest
import torch

from recon.training.depth_tiny import BATCH, DepthViews, aligned, augment, batches, depth_errors


def some_views(count: int, rng: np.random.Generator) -> DepthViews:
    """Make views that are brighter where nearer."""
    depth = rng.uniform(1, 8, (count, 6, 8))
    images = np.repeat((255 / depth).astype(np.uint8)[..., None], 3, axis=-1)
    return DepthViews(images, depth.astype(np.float16))


def test_a_mirrored_picture_has_mirrored_depth(rng: np.random.Generator) -> None:
    depth = torch.from_numpy(rng.uniform(1, 8, (16, 6, 8))).float()
    images, seen = augment((1 / depth)[:, None].expand(-1, 3, -1, -1), depth)
    mirrored = (seen == depth.flip(-1)).all(dim=(1, 2))
    assert mirrored.any()
    assert not mirrored.all()
    assert 0 <= images.min() <= images.max() <= 1
    for image, one in zip(images.mean(dim=1), seen, strict=True):
        assert np.corrcoef(image.flatten(), 1 / one.flatten())[0, 1] > 0.8


@pytest.mark.parametrize(("count", "size"), [(5, 5), (BATCH, BATCH), (2 * BATCH + 3, BATCH)])
def test_batches_go_on_for_ever_and_lose_nobody_who_fits(count: int, size: int, rng: np.random.Generator) -> None:
    views = some_views(count, rng)
    found = list(islice(batches(views, rng), 3))
    assert [images.shape for images, _ in found] == [(size, 3, 6, 8)] * 3
    if count == size:  # the same views each time
        for _, depth in found:
            np.testing.assert_allclose(np.sort(depth.mean(dim=(1, 2))), np.sort(views.depth.mean((1, 2))), rtol=1e-2)


def test_a_relative_network_is_judged_after_scale_and_shift(rng: np.random.Generator) -> None:
    truth = rng.uniform(1, 8, (6, 8))
    truth[0, 0] = np.nan
    disparity = np.nan_to_num(3 / truth - 0.2)
    found = aligned(disparity, truth)
    np.testing.assert_allclose(found[1:], truth[1:], rtol=1e-3)
    assert depth_errors(found, truth) == (pytest.approx(0, abs=1e-3), 1.0)


def test_errors_count_what_has_no_answer_as_wrong() -> None:
    truth = np.array([2.0, 2.0, 4.0, np.nan])
    assert depth_errors(np.array([2.0, 2.2, np.nan, 9.0]), truth) == (pytest.approx((0 + 0.1 + 1) / 3), 2 / 3)
