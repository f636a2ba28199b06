"""Contact sheet of a reconstruction: the bodies over some frames, and the room and the paths from above.

Frames are shown with their own pixels, and limbs that nobody saw dotted; the view from above has the camera at its
lower edge, one grid square a metre, and around each person an ellipse of one standard deviation of their place.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import open3d as o3d
from jaxtyping import Bool, Float32, Int64
from PIL import Image, ImageDraw, ImageFont

from motion.body import Body
from motion.body.raycasting import cast, scene_of
from motion.render import FAMILIES, GRID, INK, PAPER
from motion.sequence import MotionSequence, Scene
from motion.skeleton import BONES, JOINT
from recon.teton import TetonSequence

COLUMNS, FRAMES, TILE_PX = 3, 6, 400  # tiles in a row, frames drawn, width of a tile
OPACITY = 0.75  # of the bodies over a frame
LINE_PX, TITLE_PX = 18, 30  # heights of text
MARGIN_M = 0.4  # around what is seen from above
CHAINS = {"arm": ("shoulder", "elbow", "wrist"), "leg": ("hip", "knee", "ankle")}  # joints of a limb
DOT_PX, DOTS = 2, 6  # radius of a dot, dots on a bone


def contact_sheet(
    sequence: TetonSequence, scene: Scene, motion: MotionSequence, body: Body, notes: Sequence[str]
) -> Image.Image:
    """Draw up to `FRAMES` frames with the bodies over them, the view from above, and a line for each note."""
    moments = np.unique(np.linspace(0, motion.num_frames - 1, FRAMES).round().astype(np.int64))
    tiles = [overlay(sequence, scene, motion, body, number) for number in moments.tolist()]
    height = round(TILE_PX * tiles[0].height / tiles[0].width)
    rows = math.ceil(len(tiles) / COLUMNS)
    above = from_above(scene, motion, moments, (rows * height, rows * height))
    size = (COLUMNS * TILE_PX + above.width, TITLE_PX + rows * height + LINE_PX * len(notes) + 8)
    sheet = Image.new("RGB", size, PAPER)
    for k, tile in enumerate(tiles):
        sheet.paste(tile.resize((TILE_PX, height)), (k % COLUMNS * TILE_PX, TITLE_PX + k // COLUMNS * height))
    sheet.paste(above, (COLUMNS * TILE_PX, TITLE_PX))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    draw.text((8, TITLE_PX / 2), f"{motion.id}: {'; '.join(motion.texts)}", fill=INK, font=font, anchor="lm")
    for k, note in enumerate(notes):
        draw.text((8, TITLE_PX + rows * height + LINE_PX * (k + 0.6)), note, fill=INK, font=font, anchor="lm")
    return sheet


def overlay(sequence: TetonSequence, scene: Scene, motion: MotionSequence, body: Body, number: int) -> Image.Image:
    """Draw a frame with the shaded body of every valid person over it."""
    image = sequence.frame(number).astype(np.float32)
    persons = np.flatnonzero(motion.valid[:, number])
    if len(persons):
        person, shade = _cast(_meshes(motion, body, persons, number), body, scene)
        hit = person >= 0
        colors = np.array([FAMILIES[k % len(FAMILIES)][1] for k in persons], dtype=np.float32)
        painted = colors[person[hit]] * shade[hit, None]
        image[hit] = (1 - OPACITY) * image[hit] + OPACITY * painted
    tile = Image.fromarray(image.clip(0, 255).astype(np.uint8))
    for hidden, limb in unseen(motion, number):
        _draw_dots(ImageDraw.Draw(tile), scene, motion.joints[hidden, number], limb)
    return _labelled(tile, f"{number / motion.fps:.1f} s")


def uncertainties(motion: MotionSequence) -> list[dict[str, Any]]:
    """Read what the record tells of each person's uncertainty; empty where it tells nothing."""
    return json.loads(motion.provenance.get("uncertainty", "[]"))


def unseen(motion: MotionSequence, number: int) -> list[tuple[int, str]]:
    """List persons and limbs that are not seen in a frame."""
    return [
        (person, limb)
        for person, told in enumerate(uncertainties(motion))
        for limb, spans in told["unseen"].items()
        if any(start <= number < stop for start, stop in spans)
    ]


def _draw_dots(draw: ImageDraw.ImageDraw, scene: Scene, joints: Float32[np.ndarray, "24 3"], limb: str) -> None:
    """Draw dots along a limb where the camera sees it."""
    side, _, part = limb.partition(" ")
    chain = joints[[JOINT[f"{side}_{name}"] for name in CHAINS[part]]]
    along = np.linspace(0, len(chain) - 1, DOTS * (len(chain) - 1) + 1)
    points = np.stack([np.interp(along, np.arange(len(chain)), axis) for axis in chain.T], axis=1)
    in_camera = points @ scene.extrinsics[:3, :3].T + scene.extrinsics[:3, 3]
    pixels = in_camera[in_camera[:, 2] > 0] @ scene.intrinsics.T
    for x, y in (pixels[:, :2] / pixels[:, 2:]).tolist():
        draw.ellipse([x - DOT_PX, y - DOT_PX, x + DOT_PX, y + DOT_PX], fill=PAPER, outline=INK)


def _meshes(
    motion: MotionSequence, body: Body, persons: Int64[np.ndarray, " shown"], number: int
) -> Float32[np.ndarray, "shown vertex 3"]:
    return body.vertices(motion.parameters[persons, number : number + 1])[:, 0].numpy()


def _cast(
    meshes: Float32[np.ndarray, "shown vertex 3"], body: Body, scene: Scene
) -> tuple[Int64[np.ndarray, "height width"], Float32[np.ndarray, "height width"]]:
    """Compute which body each pixel shows (-1 for none) and how bright it is, lit from the camera."""
    caster, tensor = scene_of(meshes, body.faces), o3d.core.Tensor.from_numpy
    intrinsics = scene.intrinsics.astype(np.float64)
    intrinsics[:2, 2] += 0.5  # Open3D's pixel (0, 0) is the corner of the first pixel, ours its centre
    rays = caster.create_rays_pinhole(
        tensor(intrinsics), tensor(scene.extrinsics.astype(np.float64)), *scene.image_size
    ).numpy()
    hit, direction = cast(caster, rays), rays[..., 3:]
    ids = hit["geometry_ids"].astype(np.int64)
    facing = np.abs((hit["primitive_normals"] * direction).sum(-1)) / np.linalg.norm(direction, axis=-1)
    return np.where(ids < len(meshes), ids, -1), (0.35 + 0.65 * facing).astype(np.float32)


def from_above(
    scene: Scene, motion: MotionSequence, moments: Int64[np.ndarray, " moment"], size: tuple[int, int]
) -> Image.Image:
    """Draw the room's points, low ones first, then each person's path and skeletons."""
    order = np.argsort(scene.points[:, 2])
    points, colors = scene.points[order], scene.colors[order]
    camera = -scene.extrinsics[:3, :3].T @ scene.extrinsics[:3, 3]
    seen = np.concatenate([points[:, :2], motion.joints[motion.valid][:, 0, :2], camera[None, :2]])
    low, high = np.percentile(seen, 0.5, axis=0) - MARGIN_M, np.percentile(seen, 99.5, axis=0) + MARGIN_M
    scale = min(size / (high - low))
    corner = (low + high) / 2 - np.array([1, -1]) * np.array(size) / 2 / scale

    def place(at: Float32[np.ndarray, "*batch axes"]) -> Float32[np.ndarray, "*batch 2"]:
        return ((at[..., :2] - corner) * scale * np.array([1, -1])).astype(np.float32)

    image = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(image)
    metres = np.arange(math.floor(min(low)) - 1, math.ceil(max(high)) + 1, dtype=np.float32)
    _draw_grid(draw, place(np.stack([metres, metres], axis=-1)), size)
    shown = points[:, 2] < camera[2]  # no ceiling
    for (x, y), color in zip(place(points[shown]), colors[shown], strict=True):
        draw.rectangle([x - 1, y - 1, x + 1, y + 1], fill=tuple(color.tolist()))
    for k, (joints, valid) in enumerate(zip(motion.joints, motion.valid, strict=True)):
        trunk, bright, _ = FAMILIES[k % len(FAMILIES)]
        _draw_person(draw, place(joints), valid, moments, trunk, bright)
    for k, told in enumerate(uncertainties(motion)):
        for number in moments[motion.valid[k, moments]].tolist():
            at, spread = motion.joints[k, number, 0], (told["along_m"][number], told["across_m"][number])
            outline = place(_ellipse(at, at - camera, *spread))
            draw.line([tuple(corner) for corner in outline.tolist()], fill=INK, width=2, joint="curve")
    x, y = place(camera[None])[0]
    draw.regular_polygon((float(x), float(y) - 4, 7), 3, fill=INK)
    return _labelled(image, "from above, 1 m grid")


def _ellipse(
    at: Float32[np.ndarray, "3"], ray: Float32[np.ndarray, "3"], along: float, across: float
) -> Float32[np.ndarray, "corner 2"]:
    """Outline one standard deviation of a place, seen from above (metres)."""
    ray = ray / np.linalg.norm(ray)
    covariance = across**2 * np.eye(3) + (along**2 - across**2) * np.outer(ray, ray)
    angles = np.linspace(0, 2 * math.pi, 33)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return (at[:2] + circle @ np.linalg.cholesky(covariance[:2, :2]).T).astype(np.float32)


def _draw_grid(draw: ImageDraw.ImageDraw, crossings: Float32[np.ndarray, "metre 2"], size: tuple[int, int]) -> None:
    for across, up in crossings.tolist():
        draw.line([(across, 0), (across, size[1])], fill=GRID)
        draw.line([(0, up), (size[0], up)], fill=GRID)


def _draw_person(
    draw: ImageDraw.ImageDraw,
    joints: Float32[np.ndarray, "frame 24 2"],
    valid: Bool[np.ndarray, " frame"],
    moments: Int64[np.ndarray, " moment"],
    trunk: tuple[int, int, int],
    bright: tuple[int, int, int],
) -> None:
    draw.line([tuple(at) for at in joints[valid, 0].tolist()], fill=bright, width=3, joint="curve")
    for number in moments[valid[moments]]:
        for bone in BONES:
            draw.line([tuple(joints[number, end].tolist()) for end in bone], fill=trunk, width=2)


def _labelled(image: Image.Image, text: str) -> Image.Image:
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    box = draw.textbbox((6, 4), text, font=font)
    draw.rectangle([box[0] - 3, box[1] - 2, box[2] + 3, box[3] + 2], fill=PAPER)
    draw.text((6, 4), text, fill=INK, font=font)
    return image
