"""Rays against meshes: which mesh is hit and how far away, shadows, normals and values at hits."""

import numpy as np
import open3d as o3d
import pytest

from motion.body.raycasting import cast, face_sums, interpolate, occluded, scene_of, vertex_normals

SQUARE = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], dtype=np.float32)
FACES = np.array([[0, 1, 2], [0, 2, 3]])
SQUARES = np.stack([SQUARE + np.array([0, 0, 1], dtype=np.float32), SQUARE + np.array([5, 0, 3], dtype=np.float32)])


def rays(*ends: list[float]) -> np.ndarray:
    return np.array(ends, dtype=np.float32)


def test_a_hit_names_its_mesh_and_how_many_of_the_rays_lengths_away_it_is() -> None:
    hits = cast(scene_of(SQUARES, FACES), rays([0.2, 0.1, 0, 0, 0, 1], [5, 0, 1, 0, 0, 0.5], [2.5, 0, 0, 0, 0, 1]))
    assert hits["geometry_ids"][:2].tolist() == [0, 1]
    assert hits["t_hit"].tolist() == pytest.approx([1, 4, np.inf])


def test_what_is_beyond_the_light_casts_no_shadow() -> None:
    scene, points = scene_of(SQUARES, FACES), np.array([[0.0, 0, 0], [0, 0, 2], [5, 0, 0], [9, 0, 0]])
    up = np.array([0.0, 0, 1])
    assert occluded(scene, points, up).tolist() == [True, False, True, False]
    assert occluded(scene, points, up, farthest=2.0).tolist() == [True, False, False, False]
    lamp = np.array([0.0, 0, 4])
    assert occluded(scene, points, lamp - points, farthest=1.0).tolist() == [True, False, False, False]


def test_normals_of_a_ball_point_outward() -> None:
    ball = o3d.geometry.TriangleMesh.create_sphere(0.5, 20)
    vertices, faces = np.asarray(ball.vertices), np.asarray(ball.triangles)
    np.testing.assert_allclose(
        vertex_normals(vertices, faces, face_sums(faces, len(vertices))), 2 * vertices, atol=0.05
    )


def test_larger_faces_weigh_more_in_a_normal() -> None:
    """One vertex of a face of area 3 that looks up and of a face of area 1 that looks along x."""
    vertices = np.array([[0.0, 0, 0], [3, 0, 0], [0, 2, 0], [0, 1, 0], [0, 0, 2], [7, 7, 7]])
    faces = np.array([[0, 1, 2], [0, 3, 4]])
    found = vertex_normals(vertices, faces, face_sums(faces, len(vertices)))
    np.testing.assert_allclose(found[0], np.array([1, 0, 3]) / np.sqrt(10))
    np.testing.assert_allclose(found[[1, 3]], [[0, 0, 1], [1, 0, 0]])
    assert not found[5].any(), "a vertex of no face has none"


def test_places_interpolated_at_hits_are_the_hits(rng: np.random.Generator) -> None:
    ball = o3d.geometry.TriangleMesh.create_sphere(0.5, 8)
    vertices, faces = np.asarray(ball.vertices), np.asarray(ball.triangles)
    ends = np.concatenate([rng.uniform(-0.2, 0.2, (50, 3)), rng.normal(size=(50, 3))], axis=1).astype(np.float32)
    hits = cast(scene_of(vertices[None], faces), ends)
    found = interpolate(vertices, faces[hits["primitive_ids"]], hits["primitive_uvs"])
    np.testing.assert_allclose(found, ends[:, :3] + hits["t_hit"][:, None] * ends[:, 3:], atol=1e-4)
