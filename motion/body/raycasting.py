"""Rays against triangle meshes by Open3D, and what their shading needs: vertex normals, values at hits, shadows.

Positions are metres in the world, Z up; a ray is its origin and its direction. No GPU and no GL.
"""

import numpy as np
import open3d as o3d
import scipy.sparse
from jaxtyping import Bool, Float, Int

SHADOW_OFFSET_M = 2e-3
"""Height above a surface, in metres, where the rays that look for its shadows start."""


def scene_of(
    meshes: Float[np.ndarray, "mesh vertex 3"], faces: Int[np.ndarray, "face 3"]
) -> o3d.t.geometry.RaycastingScene:
    """Build a ray-casting scene of meshes with the same faces; a hit's `geometry_ids` is the index of its mesh."""
    scene, tensor = o3d.t.geometry.RaycastingScene(), o3d.core.Tensor.from_numpy
    for mesh in meshes:
        arrays = (np.ascontiguousarray(mesh, dtype=np.float32), np.ascontiguousarray(faces, dtype=np.uint32))
        scene.add_triangles(*(tensor(array) for array in arrays))
    return scene


def cast(scene: o3d.t.geometry.RaycastingScene, rays: Float[np.ndarray, "*batch 6"]) -> dict[str, np.ndarray]:
    """Cast rays against a scene; return Open3D's hit values as arrays."""
    hits = scene.cast_rays(o3d.core.Tensor.from_numpy(np.ascontiguousarray(rays)))
    return {name: value.numpy() for name, value in hits.items()}


def occluded(
    scene: o3d.t.geometry.RaycastingScene,
    points: Float[np.ndarray, "point 3"],
    ways: Float[np.ndarray, "*point 3"],
    farthest: float = np.inf,
) -> Bool[np.ndarray, " point"]:
    """Mark the points that something hides from the light (True = in shadow).

    `ways` are the directions to the light, one for all points or one each; what lies beyond `farthest` times their
    length casts no shadow.
    """
    rays = np.concatenate([points, np.broadcast_to(ways, points.shape)], axis=1).astype(np.float32)
    return scene.test_occlusions(o3d.core.Tensor.from_numpy(rays), tnear=0.0, tfar=farthest).numpy()


def face_sums(faces: Int[np.ndarray, "face 3"], num_vertices: int) -> scipy.sparse.csr_matrix:
    """Build the sparse matrix, vertex by face, that is 1 where the face has the vertex."""
    columns, ones = np.repeat(np.arange(len(faces)), 3), np.ones(faces.size, dtype=np.float32)
    return scipy.sparse.csr_matrix((ones, (faces.ravel(), columns)), shape=(num_vertices, len(faces)))


def vertex_normals(
    vertices: Float[np.ndarray, "vertex 3"], faces: Int[np.ndarray, "face 3"], sums: scipy.sparse.csr_matrix
) -> Float[np.ndarray, "vertex 3"]:
    """Compute unit vertex normals, weighted by the area of the faces; `sums` are the `face_sums` of these faces."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normals = sums @ np.cross(b - a, c - a)  # longer for larger faces, which so weigh more
    return normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-12)


def interpolate(
    values: Float[np.ndarray, "vertex 3"], corners: Int[np.ndarray, "hit 3"], uvs: Float[np.ndarray, "hit 2"]
) -> Float[np.ndarray, "hit 3"]:
    """Interpolate values of the vertices at hits, by each hit face's corners and Open3D's `primitive_uvs`."""
    u, v = uvs.T
    shares = np.stack([1 - u - v, u, v], axis=1)[:, :, None]
    return (values[corners] * shares).sum(axis=1)
