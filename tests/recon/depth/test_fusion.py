"""Fusion of relative and metric depth at any scale and among outliers, and of key frames into one empty room."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.errors import InputError
from recon.depth import DepthFusion, fuse
from recon.depth.fusion import background, grow, refit, upsample
from tests.helpers.rgbd import REAL, RENDERED, read_depth


def room_depth(rng: np.random.Generator, keyframes: int = 3) -> np.ndarray:
    """Render the depth of tilted planes with boxes before them, 1 to 6 m."""
    rows, columns = np.mgrid[:96, :128]
    inverse = 0.2 + 0.4 * rows / 96 + rng.uniform(-0.1, 0.1, (keyframes, 1, 1)) * columns / 128
    inverse[:, 40:70, 30:60] = 0.8
    inverse[:, 20:50, 90:110] = 0.6
    return 1 / inverse


def disparity_of(
    depth: np.ndarray, alpha: float, beta: float, rng: np.random.Generator, outliers: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """Return the true disparity, and one in which a share of the pixels is random within three times its range."""
    exact = (1 / depth - beta) / alpha
    low, high = np.nanmin(exact), np.nanmax(exact)
    wrong = rng.random(depth.shape) < outliers
    return exact, np.where(wrong, rng.uniform(2 * low - high, 2 * high - low, depth.shape), exact)


def coarse(depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Imitate a metric network: an eighth of the size, 5 % noise."""
    low = depth[:, 4::8, 4::8]
    return low * (1 + 0.05 * rng.standard_normal(low.shape))


def abs_rel(depth: np.ndarray, truth: np.ndarray) -> float:
    known = np.isfinite(truth)
    return float(np.mean(np.abs(depth[known] - truth[known]) / truth[known]))


@given(st.floats(0.001, 100), st.floats(-0.3, 0.15), st.integers(0, 2**31))
@settings(max_examples=30)
def test_fusion_gives_back_depth_at_any_scale_and_shift(alpha: float, beta: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    depth = room_depth(rng)
    exact, spoilt = disparity_of(depth, alpha, beta, rng)
    fusion = fuse(spoilt, coarse(depth, rng))
    assert abs_rel(fusion.depth(exact), depth) < 0.02
    assert fusion.depth_scale == pytest.approx(1 / alpha, rel=0.1)


def test_the_share_of_inliers_is_of_metric_depth_within_a_tenth_of_the_fused() -> None:
    """Depth is exact in 70 of 100 pixels; the others are wrong by these factors, ten pixels each."""
    depth = np.linspace(2.0, 2.5, 1000).reshape(1, 10, 100)
    wrong = np.repeat([1.0] * 7 + [1.09, 1.105, 0.895], 10)
    found = fuse(1 / depth, depth * wrong)
    assert (found.alpha, found.beta) == pytest.approx((1.0, 0.0), abs=1e-4)
    assert found.inlier_ratio == pytest.approx(0.8)
    wrong = np.repeat([1.0] * 7 + [0.91, 1.4, 0.7], 10)
    assert fuse(1 / depth, depth * wrong).inlier_ratio == pytest.approx(0.8)


def test_a_flat_wall_without_noise_is_not_all_that_counts(rng: np.random.Generator) -> None:
    """The wall fills 60 %, the rest is 2 % uncertain: the noise of most pixels is none, and their line is any."""
    depth = np.where(np.arange(100) < 60, 3.0, np.linspace(1.5, 5.0, 100)) * np.ones((1, 60, 1))
    metric = np.where(depth == 3.0, 3.0, depth * (1 + 0.02 * rng.standard_normal(depth.shape)))
    found = fuse(1 / depth, metric)
    assert (found.alpha, found.beta) == pytest.approx((1.0, 0.0), abs=0.05)


def test_the_robust_fit_is_as_efficient_as_tukeys() -> None:
    """Tukey's biweight has 95 % of the mean's efficiency at normal noise: its variance is 1 / 0.95 of the mean's."""
    disparity = np.linspace(0.2, 0.6, 2000).reshape(1, 20, 100)
    sigma, moved = 0.02, []
    for seed in range(24):
        noisy = disparity + sigma * np.random.default_rng(seed).standard_normal(disparity.shape)
        moved.append(fuse(disparity, 1 / noisy).alpha - fuse(disparity, 1 / noisy, robust=False).alpha)
    variance_of_mean = sigma**2 / (disparity.size * disparity.var())
    assert 0.02 < np.mean(np.square(moved)) / variance_of_mean < 0.11  # 1 / 0.95 - 1 is 0.053


@pytest.mark.parametrize("noise", [0.0, 0.03, 0.2])
def test_fusion_tells_how_far_the_networks_disagree(rng: np.random.Generator, noise: float) -> None:
    depth = room_depth(rng)
    exact, _ = disparity_of(depth, 0.5, -0.1, rng)
    metric = depth / (1 + noise * rng.standard_normal(depth.shape)).clip(0.1)
    assert fuse(exact, metric).relative_error == pytest.approx(noise, rel=0.1, abs=1e-6)


def test_least_squares_is_exact_without_outliers_and_lost_with_them(rng: np.random.Generator) -> None:
    depth = room_depth(rng)
    exact, spoilt = disparity_of(depth, 0.5, -0.1, rng, outliers=0.3)
    clean = fuse(exact, depth, robust=False)
    assert (clean.alpha, clean.beta) == pytest.approx((0.5, -0.1))
    assert clean.inlier_ratio == 1
    assert abs_rel(fuse(spoilt, coarse(depth, rng), robust=False).depth(exact), depth) > 0.1
    assert abs_rel(fuse(spoilt, coarse(depth, rng)).depth(exact), depth) < 0.02


@pytest.mark.parametrize("names", [*((name,) for name in REAL), RENDERED])
def test_fusion_on_real_rooms_is_within_two_percent(
    names: tuple[str, ...], shared_data: Path, rng: np.random.Generator
) -> None:
    depth = np.stack([read_depth(name, shared_data) for name in names])
    exact, spoilt = disparity_of(depth, rng.uniform(0.01, 0.5), rng.uniform(-0.2, 0.2), rng)
    metric = coarse(depth, rng)
    robust, plain = (abs_rel(fuse(spoilt, metric, robust=r).depth(exact), depth) for r in (True, False))
    assert robust < 0.01
    assert plain > 0.05


def test_a_known_floor_corrects_the_line(rng: np.random.Generator) -> None:
    """The networks err by a third and bend depth; half of the picture shows a floor that is known, a tenth does not."""
    depth = room_depth(rng, keyframes=1)
    disparity, spoilt = disparity_of(depth, 0.5, -0.1, rng)
    mask = np.zeros(depth.shape, dtype=bool)
    mask[:, 48:] = True
    networks = DepthFusion(0.8, -0.15, 0.9, 0.05)
    found = refit(networks, spoilt, 1 / depth[0], mask)
    assert abs_rel(networks.depth(disparity), depth) > 0.2
    assert abs_rel(found.depth(disparity), depth) < 0.03
    assert (found.inlier_ratio, found.relative_error) == (0.9, 0.05)


def test_a_narrow_strip_of_floor_tells_the_scale_alone(rng: np.random.Generator) -> None:
    """All of the floor in view is 2 m away, and its disparity noisy: a line through it would have any slope."""
    inverse = np.full((40, 50), 0.5)
    disparity = 1 + 0.01 * rng.standard_normal((1, 40, 50))
    found = refit(DepthFusion(1.0, 0.2, 1.0, 0.0), disparity, inverse, np.ones_like(disparity, dtype=bool))
    assert (found.alpha, found.beta) == pytest.approx((1.0 / 2.4, 0.2 / 2.4), rel=0.05)


def test_too_few_pixels_of_floor_tell_the_scale_alone_and_none_nothing() -> None:
    networks, some = DepthFusion(1.0, 0.2, 1.0, 0.0), np.zeros((1, 40, 50), dtype=bool)
    some[:, :5, :5] = True
    disparity = np.linspace(0.5, 1.5, 2000).reshape(1, 40, 50)
    found = refit(networks, disparity, (disparity[0] + 0.2) / 2, some)
    assert (found.alpha, found.beta) == pytest.approx((0.5, 0.1))
    assert refit(networks, disparity, disparity[0], np.zeros_like(some)) == networks


def test_metric_depth_that_is_unknown_does_not_count(rng: np.random.Generator) -> None:
    depth = room_depth(rng)
    exact, _ = disparity_of(depth, 0.5, -0.1, rng)
    metric = depth.copy()
    metric[:, :30], metric[:, 30:60], metric[:, 60:70] = np.nan, 0, np.inf
    assert fuse(exact, metric, robust=False).alpha == pytest.approx(0.5)
    metric[:, :70] = 100.0
    mask = np.zeros(depth.shape, dtype=bool)
    mask[:, 70:] = True
    assert fuse(exact, metric, robust=False, mask=mask).beta == pytest.approx(-0.1)


def test_what_lies_behind_infinity_is_unknown() -> None:
    fused = DepthFusion(0.5, -0.1, 1.0, 0.0).depth(np.array([[0.0, 0.2, 0.21, np.inf, np.nan, 1.2]]))
    assert np.isnan(fused[0, :5]).all()
    assert fused[0, 5] == pytest.approx(2.0)


def test_depth_beyond_fifty_metres_is_unknown() -> None:
    fused = DepthFusion(1.0, 0.0, 1.0, 0.0).depth(np.array([[1 / 49, 1 / 51, 1 / 140]]))[0]
    assert fused[0] == pytest.approx(49)
    assert np.isnan(fused[1:]).all()


def test_persons_are_grown_by_a_hundredth_of_the_images_width() -> None:
    """One pixel of 600 grows to 13 by 13, that of an image of 40 to 3 by 3."""
    for width, side in ((600, 13), (40, 3)):
        people = np.zeros((1, 30, width), dtype=bool)
        people[0, 15, 20] = True
        rows, columns = np.nonzero(grow(people)[0])
        assert len(rows) == side**2
        assert (np.ptp(rows), np.ptp(columns)) == (side - 1, side - 1)


def test_depth_that_cannot_be_fused_is_refused(rng: np.random.Generator) -> None:
    depth = room_depth(rng)
    with pytest.raises(InputError, match=r"does not shrink where disparity grows \(alpha -"):
        fuse(-1 / depth, depth)
    with pytest.raises(InputError, match=r"36864 pixels with 1 disparities have a metric depth"):
        fuse(np.ones_like(depth), depth)
    nearly_flat = np.ones_like(depth)
    nearly_flat[0, 0, 0] = 2.0
    with pytest.raises(InputError, match="nearly all pixels have the same disparity"):
        fuse(nearly_flat, depth)
    nearly_flat[:, :5] = 2.0  # some pairs differ, but no inliers do
    with pytest.raises(InputError, match="does not shrink where disparity grows"):
        fuse(nearly_flat, np.full_like(depth, 2.0))
    with pytest.raises(InputError, match=r"0 pixels"):
        fuse(1 / depth, np.zeros_like(depth))


def test_upsampling_keeps_a_plane_and_spreads_no_zeros() -> None:
    metric = np.tile(np.linspace(1, 2, 8), (1, 6, 1))
    metric[0, 3, 4] = 0
    large = upsample(metric, (24, 32))
    np.testing.assert_allclose(large[0, 0, 2:-2], 1 + ((np.arange(2, 30) + 0.5) / 4 - 0.5) / 7, rtol=1e-6)
    assert np.isnan(large[0, 14, 18])
    assert np.nanmin(large) >= 1


def test_background_is_the_room_without_people(rng: np.random.Generator) -> None:
    """A person walks through; the depth of their edges, outside their mask, is wrong by a few pixels too."""
    truth = room_depth(rng, 1)[0]
    depth, people = np.stack([truth] * 4), np.zeros((4, 96, 128), dtype=bool)
    for k in range(4):
        people[k, 20:80, 40 + 8 * k : 56 + 8 * k] = True
        depth[k, 19:81, 39 + 8 * k : 57 + 8 * k] = 1.5
    people[:, 80:, :10] = True
    found = background(depth, people)
    unknown = np.isnan(found)
    assert unknown[80:, :10].all()
    assert unknown.sum() == 17 * 11
    np.testing.assert_allclose(found[~unknown], truth[~unknown], rtol=1e-6)
