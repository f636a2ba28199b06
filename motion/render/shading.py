"""Light on meshes that stand on a drawn floor: a broad sun and the whole sky, by ray casting without GPU or GL.

Colours in files have gamma GAMMA; light adds up in linear values. Open floor keeps the colours it is drawn in.
"""

import math

import numpy as np
from jaxtyping import Float, Int

from motion.body.capsules import unit
from motion.render.view import View

GAMMA = 2.2
SUNLIGHT, SKYLIGHT, BOUNCE = 0.75, 0.32, 0.06
SUN_SPREAD = 0.07  # standard deviation of its directions, radians


def shade(
    vertices: Float[np.ndarray, "mesh vertex 3"],
    faces: Int[np.ndarray, "face 3"],
    colors: Float[np.ndarray, "mesh 3"],
    view: View,
    floor: Float[np.ndarray, "height width 3"],
    passes: int,
    soft: bool,
) -> Float[np.ndarray, "height width 3"]:
    """Shade meshes on a floor, as the mean of many sharp pictures.

    Each pass moves the rays within their pixels and, where the light is soft, takes one direction to the sun and one to
    the sky, so that edges, shadows and the darkening of creases soften together.

    Args:
        vertices: Meshes in the world, metres.
        faces: Corners of the triangles of each mesh.
        colors: Colour of each mesh, 0 to 1.
        view: Where they are seen from.
        floor: Picture of the floor without persons, 0 to 1.
        passes: Number of sharp pictures.
        soft: Whether the sun is broad and bodies hide the sky, which needs some 30 passes to be smooth; else shadows
            end sharply where `shadow_ends` says, and a handful of passes will do.
    """
    from motion.body import raycasting  # takes seconds to load, and stick figures do without

    scene, sums = raycasting.scene_of(vertices, faces), raycasting.face_sums(faces, vertices.shape[1])
    vertex_normals = np.stack([raycasting.vertex_normals(mesh, faces, sums) for mesh in vertices])
    rng, corner_rays, ground = np.random.default_rng(0), view.rays(), (floor.reshape(-1, 3) ** GAMMA)
    suns, skies = _suns(view, rng, passes, SUN_SPREAD if soft else 0.0), _skies(passes)
    open_floor = BOUNCE + SUNLIGHT * suns[:, 2] + (2 * SKYLIGHT * skies[:, 2] if soft else SKYLIGHT)
    total = np.zeros((len(corner_rays), 3), dtype=np.float32)
    for sun, sky in zip(suns, skies, strict=True):
        within_pixel = rng.random(2) @ view.axes[:2] / view.scale
        rays = corner_rays + np.concatenate([within_pixel, np.zeros(3)]).astype(np.float32)
        hit = raycasting.cast(scene, rays)
        to_floor = -rays[:, 2] / rays[:, 5]
        mesh_ids = np.where(hit["t_hit"] < to_floor, hit["geometry_ids"].astype(np.int64), -1)
        points = rays[:, :3] + np.minimum(hit["t_hit"], to_floor)[:, None] * rays[:, 3:]
        normals = _normals(hit, mesh_ids, vertex_normals, faces)
        light = np.full(len(points), BOUNCE, dtype=np.float32)
        if not soft:
            light += SKYLIGHT * (1 + normals[:, 2]) / 2
        for strength, direction in ((SUNLIGHT, sun), (2 * SKYLIGHT, sky))[: 1 + soft]:
            facing = normals @ direction
            lit = np.flatnonzero(facing > 0)
            start = points[lit] + raycasting.SHADOW_OFFSET_M * normals[lit]
            light[lit] += strength * facing[lit] * ~raycasting.occluded(scene, start, direction)
        on_mesh = (mesh_ids >= 0)[:, None]
        total += np.where(on_mesh, colors[mesh_ids] ** GAMMA, ground) * light[:, None]
    total /= open_floor.sum()
    return total.clip(0, 1).reshape(view.size[1], view.size[0], 3) ** (1 / GAMMA)


def shadow_ends(vertices: Float[np.ndarray, "*batch 3"], view: View) -> Float[np.ndarray, "*batch 3"]:
    """Compute where the middle of the sun throws the shadow of each vertex on the floor, metres."""
    sun = _sun(view)
    return vertices - vertices[..., 2:] / sun[2] * sun


def _normals(
    hit: dict[str, np.ndarray],
    mesh: Int[np.ndarray, " pixel"],
    normals: Float[np.ndarray, "mesh vertex 3"],
    faces: Int[np.ndarray, "face 3"],
) -> Float[np.ndarray, "pixel 3"]:
    """Compute the smooth normal where each ray meets a mesh, or straight up from the floor (mesh -1)."""
    from motion.body.raycasting import interpolate

    on_mesh = mesh >= 0
    corners = mesh[on_mesh, None] * normals.shape[1] + faces[hit["primitive_ids"][on_mesh]]
    normal = np.zeros((len(mesh), 3), dtype=np.float32)
    normal[:, 2] = 1
    normal[on_mesh] = unit(interpolate(normals.reshape(-1, 3), corners, hit["primitive_uvs"][on_mesh]))
    return normal


def _sun(view: View) -> Float[np.ndarray, "3"]:
    """Compute the direction to the sun's middle, high up behind the viewer's left shoulder."""
    right, _, forward = view.axes
    return unit(np.array([0.0, 0.0, 1.0]) - 0.45 * right - 0.5 * forward)


def _suns(view: View, rng: np.random.Generator, count: int, spread: float) -> Float[np.ndarray, "light 3"]:
    """Draw directions to the sun, which `spread` makes broad."""
    return unit(_sun(view) + spread * rng.normal(size=(count, 3))).astype(np.float32)


def _skies(count: int) -> Float[np.ndarray, "light 3"]:
    """Spread directions evenly over the upper half sphere (Fibonacci lattice)."""
    k = np.arange(count) + 0.5
    height, angle = k / count, math.pi * (1 + math.sqrt(5)) * k
    level = np.sqrt(1 - height**2)
    return np.stack([level * np.cos(angle), level * np.sin(angle), height], axis=-1).astype(np.float32)
