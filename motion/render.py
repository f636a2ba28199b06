"""Pictures of a motion: stick figures as a PNG strip or an animated GIF.

    python -m motion.render motions/part-0.parquet --id deepmimic/humanoid3d_walk --output walk.gif

World: Z up, floor z = 0, metres; pictures are parallel projections seen from a little above. Each person has one colour
family: left limbs light, trunk between, right limbs dark. From Python, `body_strip` draws the body's mesh, too, without
GPU or GL: Open3D casts the rays (`motion.body.raycasting`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from jaxtyping import Bool, Float, Int
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from motion.body import Body
from motion.body.capsules import unit
from motion.clips.transforms import heading
from motion.errors import InputError
from motion.errors.command_line import run
from motion.parquet import iter_parquet
from motion.sequence import MotionSequence
from motion.skeleton import BONES, JOINT, LEFT, RIGHT

Color = tuple[int, int, int]
# Trunk, left and right limbs of the first, second ... person.
FAMILIES: tuple[tuple[Color, Color, Color], ...] = (
    ((58, 110, 165), (105, 175, 232), (31, 64, 112)),
    ((214, 104, 42), (248, 170, 98), (142, 58, 18)),
    ((62, 138, 92), (130, 204, 148), (28, 84, 56)),
    ((128, 84, 166), (190, 150, 222), (80, 44, 112)),
)
PAPER, FLOOR, GRID, SHADE, INK = (
    (250, 250, 248),
    (237, 238, 236),
    (210, 213, 212),
    (196, 198, 198),
    (50, 54, 60),
)
ELEVATION, AZIMUTH = math.radians(16), math.radians(28)
SUPERSAMPLING = 2
MARGIN_M = 0.35  # around the drawing
GAP_M = 0.18  # between the poses of a strip
STRIP_WIDTH, ANIMATION_SIZE, TITLE_HEIGHT = 1600, 480, 40
SHADING_PASSES = 32
GAMMA = 2.2
SUNLIGHT, SKYLIGHT, BOUNCE = 0.75, 0.32, 0.06  # open floor gets about 1 in all
MAX_GIF_FPS = 50  # a GIF frame lasts whole hundredths of a second; viewers slow down those below 2


@dataclass(frozen=True)
class View:
    """Parallel projection: pixel = scale * (right, down) · point - corner."""

    axes: Float[np.ndarray, "3 3"]
    """World directions as rows: right, down, forward (into the picture)."""
    scale: float
    """Pixels per metre."""
    corner: Float[np.ndarray, "2"]
    """Picture's left upper corner in scaled coordinates, pixels."""
    size: tuple[int, int]
    """Width and height in pixels."""

    @classmethod
    def around(
        cls,
        points: Float[np.ndarray, "*batch 3"],
        axes: Float[np.ndarray, "3 3"],
        width: int,
        height: int | None,
    ) -> "View":
        """Fit the view along `axes` to all points and their shadows; `height` None makes it as high as they need."""
        above = points.reshape(-1, 3)
        flat = np.concatenate([above, above * np.array([1, 1, 0])]) @ axes[:2].T
        low, high = flat.min(axis=0) - MARGIN_M, flat.max(axis=0) + MARGIN_M
        scale = width / (high - low)[0]
        if height is None:
            height = math.ceil(scale * (high - low)[1])
        scale = min(scale, height / (high - low)[1])
        corner = scale * (low + high) / 2 - np.array([width, height]) / 2
        return cls(axes, float(scale), corner, (width, height))

    def project(self, points: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 2"]:
        """Project world points (m) to pixels."""
        return self.scale * points @ self.axes[:2].T - self.corner

    def rays(self) -> Float[np.ndarray, "pixel 6"]:
        """Compute origin (50 m before the scene) and direction of the ray through each pixel's corner, row by row."""
        down, right = np.indices(self.size[::-1], dtype=np.float32).reshape(2, -1)
        pixels = (np.stack([right, down], axis=-1) + self.corner) / self.scale
        origins = pixels @ self.axes[:2] - 50 * self.axes[2]
        return np.concatenate([origins, np.broadcast_to(self.axes[2], origins.shape)], axis=-1).astype(np.float32)


def _axes(sequence: MotionSequence) -> Float[np.ndarray, "3 3"]:
    """Compute camera axes for which person 0 starts facing right and a little towards the viewer."""
    start = int(sequence.valid[0].argmax())
    x, y = heading(sequence.joints[0, start], sequence.global_orient[0, start])
    cos, sin = math.cos(AZIMUTH), math.sin(AZIMUTH)
    right = np.array([cos * x - sin * y, sin * x + cos * y, 0.0])
    level = np.cross([0.0, 0.0, 1.0], right)  # into the picture, before the camera is tilted down
    forward = math.cos(ELEVATION) * level - np.array([0.0, 0.0, math.sin(ELEVATION)])
    return np.stack([right, np.cross(forward, right), forward])


def strip(sequence: MotionSequence, path: Path, frames: int = 8) -> None:
    """Write a PNG of stick figures at `frames` evenly spaced moments, from left to right.

    Raises InputError if no person is valid in any frame.
    """
    chosen, axes = _moments(sequence, frames), _axes(sequence)
    poses = _side_by_side(sequence.joints[:, chosen], sequence.valid[:, chosen], axes)
    shown = sequence.valid[:, chosen]
    view = View.around(poses[shown], axes, STRIP_WIDTH * SUPERSAMPLING, None)
    image = _floor(view)
    for k in range(poses.shape[1]):
        image = _draw_people(image, view, poses[:, k], shown[:, k])
    _save_png(_finish(image, sequence), path)


def animate(sequence: MotionSequence, path: Path) -> None:
    """Write a GIF that runs at the speed of the record; above 50 fps it shows every n-th frame."""
    seen, axes, side = _seen(sequence), _axes(sequence), ANIMATION_SIZE * SUPERSAMPLING
    view = View.around(sequence.joints[sequence.valid], axes, side, side)
    background = _draw_paths(_floor(view), view, sequence)
    shown = range(seen[0], seen[-1] + 1, math.ceil(sequence.fps / MAX_GIF_FPS))
    images = [
        _finish(_draw_people(background, view, sequence.joints[:, t], sequence.valid[:, t]), sequence) for t in shown
    ]
    # Rounding the end of each frame, not its length, keeps the whole clip's length right.
    ends = [round(100 * t / sequence.fps) for t in (*shown, shown[-1] + shown.step)]
    durations = [10 * (end - begin) for begin, end in pairwise(ends)]
    palette = images[len(images) // 2].quantize(128)
    indexed = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    path.parent.mkdir(parents=True, exist_ok=True)
    indexed[0].save(path, "GIF", save_all=True, append_images=indexed[1:], duration=durations, loop=0)


def body_strip(sequence: MotionSequence, body: Body, path: Path, frames: int = 8) -> None:
    """Write a PNG of the shaded mesh at `frames` evenly spaced moments, from left to right.

    Raises InputError if no person is valid in any frame.
    """
    chosen, axes = _moments(sequence, frames), _axes(sequence)
    vertices = body.vertices(sequence.parameters[:, chosen]).numpy()
    shown = sequence.valid[:, chosen]
    vertices = _side_by_side(vertices, shown, axes)
    view = View.around(vertices[shown], axes, STRIP_WIDTH, None)
    colors = np.array([FAMILIES[p % len(FAMILIES)][1] for p in range(sequence.num_persons)]) / 255
    persons = np.broadcast_to(np.arange(sequence.num_persons)[:, None], shown.shape)[shown]
    picture = _shade(vertices[shown], body.faces, colors[persons], view)
    image = Image.fromarray((255 * picture).round().astype(np.uint8))
    _save_png(_titled(image, sequence), path)


def _moments(sequence: MotionSequence, frames: int) -> Int[np.ndarray, " moment"]:
    """Choose evenly spaced frames, first and last among them, from those where a person is valid."""
    if frames < 1:
        raise InputError(f"{sequence.id}: cannot draw {frames} frames, expected 1 or more")
    seen = _seen(sequence)
    return seen[np.unique(np.linspace(0, len(seen) - 1, frames).round().astype(int))]


def _seen(sequence: MotionSequence) -> Int[np.ndarray, " frame"]:
    """Find the frames where a person is valid."""
    seen = np.flatnonzero(sequence.valid.any(axis=0))
    if not len(seen):
        raise InputError(f"{sequence.id}: no person is valid in any frame, so there is nothing to draw")
    return seen


def _side_by_side(
    points: Float[np.ndarray, "person moment point 3"],
    shown: Bool[np.ndarray, "person moment"],
    axes: Float[np.ndarray, "3 3"],
) -> Float[np.ndarray, "person moment point 3"]:
    """Shift each moment along the picture's right axis so that it stands beside the one before."""
    placed, edge = points.copy(), 0.0
    for k in range(points.shape[1]):
        across = points[shown[:, k], k] @ axes[0]
        placed[:, k] += ((edge - across.min()) * axes[0]).astype(np.float32)
        edge += across.max() - across.min() + GAP_M
    return placed


def _floor(view: View) -> Image.Image:
    """Draw the floor as a grid of half metres that fills the picture."""
    image = Image.new("RGB", view.size, FLOOR)
    draw = ImageDraw.Draw(image)
    # Where the picture's corners lie on the floor.
    corners = np.array([[0, 0], [view.size[0], 0], [0, view.size[1]], view.size], dtype=float)
    on_plane = (corners + view.corner) / view.scale @ view.axes[:2]
    ground = on_plane - on_plane[:, 2:] / view.axes[2, 2] * view.axes[2]
    low, high = np.floor(ground[:, :2].min(axis=0) * 2) / 2, ground[:, :2].max(axis=0)
    for axis in (0, 1):
        for at in np.arange(low[axis], high[axis] + 0.5, 0.5):
            ends = np.zeros((2, 3))
            ends[:, axis], ends[:, 1 - axis] = at, (low[1 - axis], high[1 - axis])
            draw.line([tuple(p) for p in view.project(ends)], fill=GRID, width=SUPERSAMPLING)
    return image


def _draw_paths(image: Image.Image, view: View, sequence: MotionSequence) -> Image.Image:
    """Draw each pelvis' path on the floor."""
    draw = ImageDraw.Draw(image)
    for person, (joints, valid) in enumerate(zip(sequence.joints, sequence.valid, strict=True)):
        way = view.project(joints[valid, 0] * np.array([1, 1, 0]))
        color = FAMILIES[person % len(FAMILIES)][1]
        draw.line([tuple(p) for p in way], fill=color, width=2 * SUPERSAMPLING, joint="curve")
    return image


def _draw_people(
    image: Image.Image,
    view: View,
    joints: Float[np.ndarray, "person 24 3"],
    shown: Bool[np.ndarray, " person"],
) -> Image.Image:
    """Draw a soft shadow under each person on a copy of the picture, then all limbs, the far ones first."""
    limbs = [limb for p in np.flatnonzero(shown) for limb in _limbs(joints[p], FAMILIES[p % len(FAMILIES)])]
    shadow = Image.new("L", image.size, 0)
    draw = ImageDraw.Draw(shadow)
    for start, end, radius, _ in limbs:
        flat = np.stack([start, end]) * np.array([1, 1, 0])
        _capsule(draw, view.project(flat), 1.3 * radius * view.scale, 255)
    shadow = shadow.filter(ImageFilter.GaussianBlur(0.03 * view.scale))
    image = Image.composite(Image.new("RGB", image.size, SHADE), image, shadow)
    draw = ImageDraw.Draw(image)
    for start, end, radius, color in sorted(limbs, key=lambda limb: -(view.axes[2] @ (limb[0] + limb[1]))):
        _capsule(draw, view.project(np.stack([start, end])), radius * view.scale, color)
    return image


Limb = tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"], float, Color]


def _limbs(joints: Float[np.ndarray, "24 3"], family: tuple[Color, Color, Color]) -> list[Limb]:
    """List start, end, radius (m) and colour of each bone, and a ball for the head."""
    trunk, left, right = family
    limbs: list[Limb] = []
    for parent, child in BONES:
        color = left if child in LEFT else right if child in RIGHT else trunk
        limbs.append((joints[parent], joints[child], 0.026, color))
    up = joints[JOINT["head"]] - joints[JOINT["neck"]]
    crown = joints[JOINT["head"]] + 0.08 * up / max(float(np.linalg.norm(up)), 1e-6)
    limbs.append((crown, crown, 0.1, trunk))
    return limbs


def _capsule(draw: ImageDraw.ImageDraw, ends: Float[np.ndarray, "2 2"], radius: float, color: Color | int) -> None:
    draw.line([tuple(ends[0]), tuple(ends[1])], fill=color, width=max(1, round(2 * radius)))
    for x, y in ends:
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=color)


def _finish(image: Image.Image, sequence: MotionSequence) -> Image.Image:
    return _titled(image.resize([s // SUPERSAMPLING for s in image.size], Image.Resampling.LANCZOS), sequence)


def _titled(image: Image.Image, sequence: MotionSequence) -> Image.Image:
    """Put the picture under the clip's first text, or its id."""
    page = Image.new("RGB", (image.width, image.height + TITLE_HEIGHT), PAPER)
    page.paste(image, (0, TITLE_HEIGHT))
    title = sequence.texts[0] if sequence.texts else sequence.id
    font = ImageFont.load_default(18)
    while title and font.getlength(title) > image.width - 24:
        title = title.removesuffix("…")[:-1] + "…" if len(title) > 2 else ""
    ImageDraw.Draw(page).text((12, TITLE_HEIGHT / 2), title, fill=INK, font=font, anchor="lm")
    return page


def _save_png(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, "PNG")


def _shade(
    vertices: Float[np.ndarray, "mesh vertex 3"],
    faces: Int[np.ndarray, "face 3"],
    colors: Float[np.ndarray, "mesh 3"],
    view: View,
) -> Float[np.ndarray, "height width 3"]:
    """Shade meshes on a floor in the light of a broad sun and the whole sky, as the mean of many sharp pictures.

    Each pass moves the rays within their pixels and takes one direction to the sun and one to the sky, so that edges,
    shadows and the darkening of creases soften together.
    """
    from motion.body import raycasting  # takes seconds to load, and stick figures do without

    scene, sums = raycasting.scene_of(vertices, faces), raycasting.face_sums(faces, vertices.shape[1])
    vertex_normals = np.stack([raycasting.vertex_normals(mesh, faces, sums) for mesh in vertices])
    rng, corner_rays = np.random.default_rng(0), view.rays()
    total = np.zeros((len(corner_rays), 3), dtype=np.float32)
    for sun, sky in zip(_suns(view, rng), _skies(), strict=True):
        within_pixel = rng.random(2) @ view.axes[:2] / view.scale
        rays = corner_rays + np.concatenate([within_pixel, np.zeros(3)]).astype(np.float32)
        hit = raycasting.cast(scene, rays)
        to_floor = -rays[:, 2] / rays[:, 5]
        mesh_ids = np.where(hit["t_hit"] < to_floor, hit["geometry_ids"].astype(np.int64), -1)
        points = rays[:, :3] + np.minimum(hit["t_hit"], to_floor)[:, None] * rays[:, 3:]
        normals = _normals(hit, mesh_ids, vertex_normals, faces)
        light = np.full(len(points), BOUNCE, dtype=np.float32)
        for strength, direction in ((SUNLIGHT, sun), (2 * SKYLIGHT, sky)):
            facing = normals @ direction
            lit = np.flatnonzero(facing > 0)
            start = points[lit] + raycasting.SHADOW_OFFSET_M * normals[lit]
            light[lit] += strength * facing[lit] * ~raycasting.occluded(scene, start, direction)
        total += _albedo(mesh_ids, points, colors) * light[:, None]
    return (total / len(_skies())).clip(0, 1).reshape(view.size[1], view.size[0], 3) ** (1 / GAMMA)


def _albedo(
    mesh_ids: Int[np.ndarray, " pixel"],
    points: Float[np.ndarray, "pixel 3"],
    colors: Float[np.ndarray, "mesh 3"],
) -> Float[np.ndarray, "pixel 3"]:
    """Look up the linear colour of each mesh, or of the floor and its grid of half metres (mesh -1)."""
    table = (np.concatenate([colors, np.array([GRID, FLOOR]) / 255]) ** GAMMA).astype(np.float32)
    on_line = (np.abs(points[:, :2] - np.round(points[:, :2] * 2) / 2) < 0.004).any(axis=1)
    return table[np.where((mesh_ids < 0) & on_line, len(colors), mesh_ids)]


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


def _suns(view: View, rng: np.random.Generator) -> Float[np.ndarray, "light 3"]:
    """Draw directions to a broad sun high up behind the viewer's left shoulder."""
    right, _, forward = view.axes
    sun = unit(np.array([0.0, 0.0, 1.0]) - 0.45 * right - 0.5 * forward)
    return unit(sun + 0.07 * rng.normal(size=(SHADING_PASSES, 3))).astype(np.float32)


def _skies() -> Float[np.ndarray, "light 3"]:
    """Spread directions evenly over the upper half sphere (Fibonacci lattice)."""
    k = np.arange(SHADING_PASSES) + 0.5
    height, angle = k / SHADING_PASSES, math.pi * (1 + math.sqrt(5)) * k
    level = np.sqrt(1 - height**2)
    return np.stack([level * np.cos(angle), level * np.sin(angle), height], axis=-1).astype(np.float32)


@dataclass(frozen=True)
class Picture:
    """Draw one motion of a Parquet file as stick figures: a GIF of it moving, or a PNG strip of its poses.

    For example: python -m motion.render motions/ --id deepmimic/humanoid3d_walk --output walk.gif
    """

    parquet: Annotated[str, tyro.conf.Positional]
    """File or folder of motions, local or s3:// and the like."""
    id: str
    """Id of the motion, for example deepmimic/humanoid3d_walk."""
    output: Path = Path("motion.gif")
    """Picture to write: .gif for an animation, .png for a strip."""


def draw(picture: Picture) -> None:
    """Find the motion and write its picture; raises InputError for an unknown id or ending."""
    writers: dict[str, Callable[[MotionSequence, Path], None]] = {".gif": animate, ".png": strip}
    if picture.output.suffix not in writers:
        raise InputError(f"{picture.output}: expected a name that ends in .gif or .png")
    ids = []
    for sequence in iter_parquet(MotionSequence, picture.parquet):
        if sequence.id == picture.id:
            writers[picture.output.suffix](sequence, picture.output)
            return
        ids.append(sequence.id)
    some = ", ".join(ids[:5]) or "nothing"
    raise InputError(f"{picture.parquet}: no motion has the id {picture.id!r}; it holds {len(ids)}, such as {some}")


if __name__ == "__main__":
    run(draw, Picture, __doc__)
