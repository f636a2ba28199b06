"""Pictures of a room and its persons: rays by Open3D (`motion.body.raycasting`), light by NumPy.

The camera is fixed, so the empty room is cast and lit once; in each frame only the persons are cast, each alone within
their box of the image, and composited by depth. Depth is along the optical axis (metres); colours are linear RGB until
`to_bytes`.
"""

from dataclasses import dataclass, replace

import numpy as np
import open3d as o3d
import scipy.ndimage
import scipy.sparse
import torch
from jaxtyping import Bool, Float, Float32, Int, UInt8

from motion.body import Body
from motion.body.raycasting import (
    SHADOW_OFFSET_M,
    cast,
    face_sums,
    interpolate,
    occluded,
    scene_of,
    vertex_normals,
)
from motion.render import GAMMA
from motion.rotations import yaw_matrix
from recon.camera import Camera, project
from recon.simulate.rooms import Part, SimulatedRoom

SOFT_SHADOWS = 5  # number of small lights whose shadows are averaged, for the lamp and for the window
LAMP_SIZE_M, WINDOW_SIZE_M = 0.25, 0.5  # from the middle of lamp and window to their small lights, at most
SHADOW_STEP_PX = 2  # between the rays that look for persons' shadows
SHADOW_BLUR_PX = 5
SHADOW_SHARE = 0.9  # of the lamp's light that a person takes away
NEAR_PLANE_M = 0.1  # from the lens; what is nearer is behind it
_LEVELS = 4096


@dataclass(frozen=True, eq=False)
class Light:
    """Lamp, window and ambient light of a room; positions in metres, colours linear RGB."""

    ambient: Float32[np.ndarray, "3"]
    lamp: Float32[np.ndarray, "3"]
    lamp_color: Float32[np.ndarray, "3"]
    window: Float32[np.ndarray, "3"]
    window_color: Float32[np.ndarray, "3"]


@dataclass(frozen=True, eq=False)
class Background:
    """Picture of the empty room; `lamp` is the part of `color` that comes from the lamp and that persons can shade.

    `points` are the world positions (metres) that the pixels show, `labels` indices into `motion.sequence.LABELS`.
    """

    color: Float32[np.ndarray, "height width 3"]
    lamp: Float32[np.ndarray, "height width 3"]
    depth: Float32[np.ndarray, "height width"]
    labels: UInt8[np.ndarray, "height width"]
    points: Float32[np.ndarray, "height width 3"]


@dataclass(frozen=True, eq=False)
class DrawnPerson:
    """One person in one frame: a box of the image (x0, y0, x1, y1, whole pixels) and the hits of its rays."""

    box: tuple[int, int, int, int]
    depth: Float32[np.ndarray, "rows columns"]
    """Depth in metres; infinite where the ray misses the person."""
    color: Float32[np.ndarray, "rows columns 3"]
    vertices: Float32[np.ndarray, "vertex 3"]
    scene: o3d.t.geometry.RaycastingScene


def rays_of(camera: Camera) -> Float32[np.ndarray, "height width 6"]:
    """Compute origin and direction of each pixel's ray in the world.

    Directions have length 1 along the optical axis, so the distance of a hit is its depth.
    """
    intrinsics, extrinsics = camera.intrinsics.numpy(), camera.extrinsics.numpy()
    width, height = camera.image_size
    x = (np.arange(width) - intrinsics[0, 2]) / intrinsics[0, 0]
    y = (np.arange(height) - intrinsics[1, 2]) / intrinsics[1, 1]
    directions = np.stack([*np.meshgrid(x, y), np.ones((height, width))], axis=-1) @ extrinsics[:3, :3]
    origins = np.broadcast_to(camera.center.numpy(), directions.shape)
    return np.concatenate([origins, directions], axis=-1).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Outline:
    """Depth and labels of the empty room at 1/`step` of the resolution, to judge a view before drawing it."""

    step: int
    depth: Float32[np.ndarray, "rows columns"]
    labels: Int[np.ndarray, "rows columns"]

    @classmethod
    def of(cls, room: SimulatedRoom, camera: Camera, step: int = 8) -> "Outline":
        """Cast the room's outline from a camera."""
        scene, part_of = room_scene(room)
        hits = cast(scene, rays_of(camera)[step // 2 :: step, step // 2 :: step])
        labels = np.array([part.label for part in room.parts])
        return cls(step, hits["t_hit"], labels[part_of[hits["primitive_ids"]]])


def room_scene(room: SimulatedRoom) -> tuple[o3d.t.geometry.RaycastingScene, Int[np.ndarray, " face"]]:
    """Merge all parts of a room into one ray-casting scene; also return the part of each face."""
    parts = room.parts
    starts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
    faces = np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=True)])
    vertices = np.concatenate([part.placed() for part in parts])
    return scene_of(vertices[None], faces), np.repeat(np.arange(len(parts)), [len(part.faces) for part in parts])


def random_light(rng: np.random.Generator, room: SimulatedRoom) -> Light:
    """Draw the light of a room: a warm or cold lamp, and daylight between night and a bright day."""
    warmth = rng.uniform(-0.15, 0.25)
    tint = np.array([1 + warmth, 1, 1 - warmth])
    ambient, lamp, daylight = rng.uniform(0.25, 0.5), rng.uniform(0.4, 1.2), rng.uniform(0.0, 1.0)
    colors = [ambient * np.ones(3), lamp * tint, daylight * np.array([0.95, 1.0, 1.1])]
    ambient_color, lamp_color, window_color = (value.astype(np.float32) for value in colors)
    return Light(ambient_color, room.lamp, lamp_color, room.window, window_color)


def draw_room(rng: np.random.Generator, room: SimulatedRoom, camera: Camera, light: Light) -> tuple[Background, Light]:
    """Cast and light the empty room; return it and the light, exposed so that the picture is neither dark nor burnt."""
    image = rays_of(camera)
    rays = image.reshape(-1, 6)
    scene, part_of = room_scene(room)
    hits = cast(scene, rays)
    depth, part = hits["t_hit"], part_of[hits["primitive_ids"]]
    points = rays[:, :3] + depth[:, None] * rays[:, 3:]
    normals = _towards(hits["primitive_normals"], rays[:, 3:])
    albedo, glow = _surface(room, part, points, normals)
    daylight = _lit(rng, scene, points, normals, light.window, WINDOW_SIZE_M)[:, None] * light.window_color
    lamp = albedo * _lit(rng, scene, points, normals, light.lamp, LAMP_SIZE_M)[:, None] * light.lamp_color
    color = albedo * (_ambient(normals, light) + daylight + glow[:, None]) + lamp
    gain = np.float32(min(rng.uniform(0.16, 0.34) / np.median(color), 1.1 / np.quantile(color, 0.98)))
    labels = np.array([p.label for p in room.parts], dtype=np.uint8)[part]
    values = (color * gain, lamp * gain, depth, labels, points)
    background = Background(*(value.reshape(*image.shape[:2], *value.shape[1:]) for value in values))
    exposed = {name: getattr(light, name) * gain for name in ("ambient", "lamp_color", "window_color")}
    return background, replace(light, **exposed)


def _surface(
    room: SimulatedRoom, part: np.ndarray, points: np.ndarray, normals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute colour and glow of each point by the material of its part."""
    albedo, glow = np.zeros_like(points), np.zeros(len(points), dtype=np.float32)
    for number, owner in enumerate(room.parts):
        mine = np.flatnonzero(part == number)
        if len(mine):
            local_normals = normals[mine] @ yaw_matrix(owner.yaw)
            albedo[mine] = owner.material.albedo(owner.local(points[mine]), local_normals)
            glow[mine] = owner.material.glow
    return albedo, glow


def _towards(normals: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Flip normals to the side from which the ray comes."""
    return np.where((normals * directions).sum(axis=1, keepdims=True) > 0, -normals, normals)


def _ambient(normals: np.ndarray, light: Light) -> np.ndarray:
    """Compute ambient light, stronger from above than from below."""
    return (0.75 + 0.25 * normals[:, 2:]) * light.ambient


def _facing(points: np.ndarray, normals: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Compute unshadowed light of a small lamp: Lambert's cosine, halved at 2 m."""
    way = source - points
    squared = (way**2).sum(axis=1)
    return np.maximum((normals * way).sum(axis=1) / np.sqrt(squared), 0) / (1 + squared / 4)


def _lit(
    rng: np.random.Generator,
    scene: o3d.t.geometry.RaycastingScene,
    points: Float32[np.ndarray, "point 3"],
    normals: Float32[np.ndarray, "point 3"],
    source: Float32[np.ndarray, "3"],
    size: float,
) -> Float32[np.ndarray, " point"]:
    """Compute light of a lamp or window with soft shadows: the mean over small lamps around its middle."""
    total = np.zeros(len(points), dtype=np.float32)
    for shift in rng.uniform(-1, 1, size=(SOFT_SHADOWS, 3)) * [size, size, size / 5]:
        spot = (source + shift).astype(np.float32)
        total += _facing(points, normals, spot) * ~_shadowed(scene, points + SHADOW_OFFSET_M * normals, spot)
    return total / SOFT_SHADOWS


def _shadowed(
    scene: o3d.t.geometry.RaycastingScene, points: np.ndarray, source: np.ndarray
) -> Bool[np.ndarray, " point"]:
    """Mark the points whose way to a lamp at `source` is blocked (True = in shadow)."""
    return occluded(scene, points, source - points, farthest=1.0)


@dataclass(frozen=True, eq=False)
class PersonMesh:
    """Mesh and colours of one person."""

    faces: Int[np.ndarray, "face 3"]
    colors: Float32[np.ndarray, "vertex 3"]
    """Linear RGB of each vertex."""
    sums: scipy.sparse.csr_matrix
    """Sparse matrix `motion.body.raycasting.face_sums` of the faces."""

    @classmethod
    def of(cls, body: Body, colors: Float32[np.ndarray, "vertex 3"]) -> "PersonMesh":
        """Prepare a body's mesh with one linear RGB colour per vertex."""
        return cls(body.faces, colors, face_sums(body.faces, len(colors)))


def draw_figure(
    model: PersonMesh,
    vertices: Float32[np.ndarray, "vertex 3"],
    camera: Camera,
    rays: Float32[np.ndarray, "height width 6"],
    light: Light,
) -> DrawnPerson | None:
    """Draw one person alone, without the room; None where no part of them is in the image."""
    x0, y0, x1, y1 = box = _box(camera, vertices)
    if x0 >= x1 or y0 >= y1:
        return None
    scene, region = scene_of(vertices[None], model.faces), rays[y0:y1, x0:x1]
    hits = cast(scene, region)
    hit = np.isfinite(hits["t_hit"])
    if not hit.any():
        return None
    corners, uvs = model.faces[hits["primitive_ids"][hit]], hits["primitive_uvs"][hit]
    normals = interpolate(vertex_normals(vertices, model.faces, model.sums), corners, uvs)
    points = region[hit][:, :3] + hits["t_hit"][hit][:, None] * region[hit][:, 3:]
    color = np.zeros((*hit.shape, 3), dtype=np.float32)
    color[hit] = interpolate(model.colors, corners, uvs) * _unshadowed(points, normals, light)
    return DrawnPerson(box, hits["t_hit"], color, vertices, scene)


def _unshadowed(
    points: Float32[np.ndarray, "point 3"], normals: Float32[np.ndarray, "point 3"], light: Light
) -> Float32[np.ndarray, "point 3"]:
    """Compute the light of lamp, window and surroundings as if nothing cast a shadow."""
    incoming = _ambient(normals, light) + _facing(points, normals, light.lamp)[:, None] * light.lamp_color
    return incoming + _facing(points, normals, light.window)[:, None] * light.window_color


def _box(camera: Camera, points: Float32[np.ndarray, "point 3"], margin: int = 1) -> tuple[int, int, int, int]:
    """Bound the pixels that can show these points (x1, y1 exclusive); the whole image when some are behind the lens."""
    in_camera = camera.to_camera(torch.from_numpy(points))
    width, height = camera.image_size
    if in_camera[:, 2].min() < NEAR_PLANE_M:
        return (0, 0, width, height) if in_camera[:, 2].max() > NEAR_PLANE_M else (0, 0, 0, 0)
    pixels = project(in_camera, camera.intrinsics).numpy()
    low = np.floor(pixels.min(axis=0)).clip(0, (width, height)).astype(int)
    high = (np.ceil(pixels.max(axis=0)) + margin).clip(0, (width, height)).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def shade(
    color: Float32[np.ndarray, "height width 3"],
    lamp: Float32[np.ndarray, "height width 3"],
    points: Float32[np.ndarray, "height width 3"],
    figure: DrawnPerson,
    light: Light,
    room: SimulatedRoom,
    camera: Camera,
) -> None:
    """Darken, in place, what lies in a person's shadow: `color`, and `lamp`, the lamp's part of it."""
    spots = _shadow_spots(figure.vertices[::20], light.lamp, room.inside)
    x0, y0, x1, y1 = _box(camera, np.concatenate([spots, figure.vertices[::20]]), margin=SHADOW_BLUR_PX)
    some = points[y0:y1:SHADOW_STEP_PX, x0:x1:SHADOW_STEP_PX]
    if not some.size:
        return
    dark = _shadowed(figure.scene, some.reshape(-1, 3), light.lamp).reshape(some.shape[:2]).astype(np.float32)
    dark = dark.repeat(SHADOW_STEP_PX, axis=0).repeat(SHADOW_STEP_PX, axis=1)[: y1 - y0, : x1 - x0]
    lost = SHADOW_SHARE * scipy.ndimage.uniform_filter(dark, SHADOW_BLUR_PX)[..., None] * lamp[y0:y1, x0:x1]
    color[y0:y1, x0:x1] -= lost
    lamp[y0:y1, x0:x1] -= lost


def _shadow_spots(points: np.ndarray, lamp: np.ndarray, inside: Part) -> np.ndarray:
    """Compute where rays from the lamp through these points leave the room."""
    start, way = inside.local(lamp), inside.local(points) - inside.local(lamp)
    with np.errstate(divide="ignore"):
        times = (np.sign(way) * inside.half - start) / way
    ends = start + np.where(way == 0, np.inf, times).min(axis=1, keepdims=True) * way
    return (ends @ yaw_matrix(inside.yaw).T + inside.center).astype(np.float32)


def to_bytes(color: Float[np.ndarray, "*batch 3"]) -> UInt8[np.ndarray, "*batch 3"]:
    """Encode linear light as 8-bit values with gamma."""
    return _TABLE[(color * (_LEVELS - 1)).clip(0, _LEVELS - 1).astype(np.uint16)]


_TABLE = (255 * np.linspace(0, 1, _LEVELS) ** (1 / GAMMA)).round().astype(np.uint8)
