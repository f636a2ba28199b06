"""Export of the default body: its pure steps on small meshes, and what to install."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from motion.body.export_default import _convex_weights, _principal_shapes, _swing, _vertex_mirror


def test_exporter_says_what_to_install(tmp_path: Path) -> None:
    """The extra anny, which tests do without, is hidden here should it be installed."""
    (tmp_path / "anny.py").write_text("raise ImportError")
    repo = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-m", "motion.body", "export-default", "--output", str(tmp_path / "body.npz")],
        env={"PYTHONPATH": f"{tmp_path}:{repo}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "extra `body`" in done.stderr
    assert "`smpl` extra" in done.stderr
    assert "Traceback" not in done.stderr


def test_each_vertex_finds_its_mirror_image() -> None:
    vertices = np.array([[1.0, 2, 3], [0, 5, 5], [-1, 2, 3], [0.5, 0, 0], [-0.5, 0, 0]])
    assert _vertex_mirror(vertices).tolist() == [2, 1, 0, 4, 3]
    with pytest.raises(RuntimeError, match="not symmetric: a vertex lies 1.0000 m off"):
        _vertex_mirror(np.array([[1.0, 2, 3], [-1, 2, 4]]))


def test_shapes_are_standard_deviations_of_which_more_is_taller(rng: np.random.Generator) -> None:
    """Meshes of one direction: it comes back as long as one standard deviation, pointing to taller persons."""
    mean = np.array([[0.0, 0, 0], [0, 1.7, 0], [0.2, 1, 0]])
    direction = np.array([[0.0, 0, 0], [0, 0.3, 0], [0.1, 0.1, 0]])
    scores = rng.normal(size=200)
    scores = (scores - scores.mean()) / scores.std(ddof=1)
    for sign in (1, -1):
        found_mean, found, explained = _principal_shapes(mean + sign * scores[:, None, None] * direction, count=1)
        np.testing.assert_allclose(found_mean, mean, atol=1e-12)
        np.testing.assert_allclose(found[..., 0], direction, atol=1e-9)
        assert explained.tolist() == pytest.approx([1])


def test_a_joint_is_a_convex_combination_of_the_vertices_near_it(rng: np.random.Generator) -> None:
    """The joint moves as the middle of two vertices does, in every variation; the others do not matter."""
    points = rng.normal(size=(12, 3, 5))
    points[:, :, 0] *= 0.1
    weights = _convex_weights(points, points[[3, 8]].mean(axis=0))
    assert weights[[3, 8]] == pytest.approx([0.5, 0.5], abs=0.01)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)


def test_the_shortest_swing_takes_one_direction_to_the_other(rng: np.random.Generator) -> None:
    source, target = rng.normal(size=(2, 3))
    swing = _swing(source, target)
    np.testing.assert_allclose(swing.apply(source) / np.linalg.norm(source), target / np.linalg.norm(target), atol=1e-9)
    between = np.arccos(source @ target / np.linalg.norm(source) / np.linalg.norm(target))
    assert swing.magnitude() == pytest.approx(between)
    assert _swing(source, 2 * source).magnitude() == pytest.approx(0)
