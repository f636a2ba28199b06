"""Scripts for a machine with a GPU, on this one."""

import numpy as np

from motion.body import load_body
from motion.body.raycasting import cast, scene_of
from tests.gpu.rays import Scene
from tests.gpu.recon import QUICK, measure


def test_the_reconstruction_is_measured() -> None:
    figures = measure(QUICK, "cpu")
    speeds = {name: value for name, value in figures.items() if " a second" in name}
    assert len(speeds) == 6
    assert all(value > 0 for value in speeds.values())
    moved = {name: value for name, value in figures.items() if "mm" in name}
    assert {name for name, value in moved.items() if value} == {
        f"joints moved in bf16, {of} mm" for of in ("mean", "most")
    }
    assert max(moved.values()) < 5


def test_the_stand_in_for_open3d_hits_what_open3d_hits() -> None:
    body, random = load_body(), np.random.default_rng(0)
    rays = np.concatenate([random.normal(size=(40, 3), scale=0.2), random.normal(size=(40, 3))], axis=1).astype(
        np.float32
    )
    scene = Scene()
    scene.add_triangles(body.v_template.numpy(), body.faces)
    expected = cast(scene_of(body.v_template.numpy()[None], body.faces), rays)["t_hit"]
    assert 5 < np.isfinite(expected).sum() < 40
    np.testing.assert_allclose(scene.cast_rays(rays)["t_hit"].numpy(), expected, rtol=1e-4)
