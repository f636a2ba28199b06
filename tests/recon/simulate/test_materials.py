"""Procedural colours: patterns of a known size, mixed between two colours, and drawn within the ranges of a use."""

import numpy as np
import pytest

from recon.simulate.materials import Material, color, random_material

DARK, BRIGHT = np.array([0.1, 0.2, 0.3]), np.array([0.9, 0.8, 0.7])
UP = np.array([0.0, 0.0, 1.0])


def material(kind: str, scale: float = 0.5, noise: float = 0.0) -> Material:
    """Make a material whose smooth noise is `noise` everywhere, from -1 to 1."""
    waves = np.array([[0, 0, 0, np.arcsin(noise)]] * 6, dtype=np.float32)
    return Material(kind, np.stack([DARK, BRIGHT]).astype(np.float32), scale, waves)


def shares(kind: str, points: list[list[float]], normal: np.ndarray = UP) -> list[float]:
    """Compute the share of the second colour at points."""
    found = material(kind).albedo(np.array(points), np.tile(normal, (len(points), 1)))
    share = (found - DARK) / (BRIGHT - DARK)
    np.testing.assert_allclose(share, share[:, :1].repeat(3, axis=1), atol=1e-5)
    return share[:, 0].round(4).tolist()


def test_checks_and_stripes_are_as_wide_as_their_scale() -> None:
    along = [[0.25, 0.25, 0], [0.75, 0.25, 0], [1.25, 0.25, 0], [0.25, 0.75, 0], [0.75, 0.75, 0]]
    assert shares("checks", along) == [0, 1, 0, 1, 0]
    assert shares("stripes", along) == [0, 1, 0, 0, 1]
    assert shares("plain", along) == [0] * 5
    assert shares("noise", along) == [0.5] * 5


@pytest.mark.parametrize(
    ("normal", "changes"), [([0, 0, 1], [1, 0]), ([0, 0, -1], [1, 0]), ([1, 0, 0], [1, 0]), ([0, -1, 0], [1, 0])]
)
def test_patterns_lie_in_the_plane_of_the_surface(normal: list[int], changes: list[int]) -> None:
    """Stripes change along x, on a wall that faces x along y, and never along what is upright."""
    first = 1 if normal[0] else 0
    across, still = np.zeros((2, 3)) + 0.25
    across[first] = 0.75
    still[2 if normal[2] == 0 else 1] = 0.75
    assert shares("stripes", [across.tolist(), still.tolist()], np.array(normal, dtype=float)) == changes


def test_joints_of_tiles_and_boards_have_the_second_colour() -> None:
    """A joint is 4 % of a tile; boards have joints along x alone."""
    joint_x, joint_y, middle = [0.51, 0.75, 0], [0.75, 0.51, 0], [0.75, 0.75, 0]
    assert shares("tiles", [joint_x, joint_y]) == [1, 1]
    assert shares("tiles", [middle])[0] <= 0.2
    assert shares("wood", [joint_x]) == [1]
    assert max(shares("wood", [joint_y, middle])) < 0.7


def test_noise_moves_the_mix_and_stops_at_the_two_colours() -> None:
    point, normal = np.array([[0.25, 0.25, 0.0]]), UP[None]
    brighter = material("plain", noise=1.0).albedo(point, normal)[0]
    np.testing.assert_allclose(brighter, 0.85 * DARK + 0.15 * BRIGHT, atol=1e-5)
    np.testing.assert_allclose(material("plain", noise=-1.0).albedo(point, normal)[0], DARK, atol=1e-5)
    np.testing.assert_allclose(material("noise", noise=1.0).albedo(point, normal)[0], BRIGHT, atol=1e-5)


def test_a_colour_is_that_of_the_picture_in_linear_light(rng: np.random.Generator) -> None:
    """Pure green of value 0.5 has 0.5 to the power of 2.2; grey has it thrice; hues go round."""
    green = color(rng, (1 / 3, 1 / 3), (1.0, 1.0), (0.5, 0.5))
    np.testing.assert_allclose(green, [0, 0.21763764, 0], atol=1e-6)
    np.testing.assert_allclose(color(rng, (0.2, 0.9), (0.0, 0.0), (0.5, 0.5)), [0.21763764] * 3, atol=1e-6)
    np.testing.assert_allclose(color(rng, (4 / 3, 4 / 3), (1.0, 1.0), (0.5, 0.5)), green, atol=1e-6)


@pytest.mark.parametrize(("use", "darkest"), [("wall", 0.6), ("linen", 0.7), ("floor", 0.3), ("paint", 0.4)])
def test_uses_have_their_brightness(use: str, darkest: float) -> None:
    """The first colour's largest channel is its value, 2.2 being the gamma; the second is darker or drawn alike."""
    for seed in range(30):
        drawn = random_material(np.random.default_rng(seed), use)
        assert drawn.colors[0].max() >= darkest**2.2 - 1e-6
        assert (drawn.colors >= 0).all()
        assert (drawn.colors <= 1).all()
        assert drawn.glow == 0
