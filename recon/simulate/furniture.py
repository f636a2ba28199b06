"""Furniture made of boxes; a piece stands about its own origin, its back towards -y and its front towards +y."""

import math

import numpy as np
import open3d as o3d
from jaxtyping import Float, Float32
from scipy.ndimage import gaussian_filter, maximum_filter

from motion.rotations import yaw_matrix
from recon.simulate.materials import Material, random_material
from recon.simulate.rooms import LABEL, Part, Piece, Place, box

BLANKET_CELL_M = 0.04  # edge of the blanket mesh's cells


def bed(rng: np.random.Generator) -> Piece:
    """Draw a bed with its head end at -y: a place to lie on, and one to sit on at each long edge."""
    width, length, top = rng.uniform(0.9, 1.2), rng.uniform(2.05, 2.15), rng.uniform(0.45, 0.6)
    frame, linen, pillow = (random_material(rng, use) for use in ("wood", "linen", "linen"))
    x, y, under = width / 2, length / 2, top - rng.uniform(0.14, 0.2)
    parts = [
        box("bed", frame, (-x, -y, under - 0.14), (x, y, under)),
        box("bed", linen, (-x + 0.02, -y + 0.06, under), (x - 0.02, y - 0.04, top)),
        box("bed", frame, (-x, -y, 0), (x, -y + 0.05, top + rng.uniform(0.15, 0.5))),
        box("bed", frame, (-x, y - 0.04, 0), (x, y, top + rng.uniform(-0.05, 0.3))),
        _pillow(
            pillow, (rng.uniform(-0.05, 0.05), -y + 0.3, top), (rng.uniform(0.25, 0.32), 0.2, rng.uniform(0.05, 0.08))
        ),
    ]
    surface = np.array([0, 0, top], dtype=np.float32)
    places = [Place("lying", surface, 0.0, 0)]
    for side in (-1, 1):
        edge = surface + np.array([side * (x - 0.12), rng.uniform(-0.2, 0.4), 0], dtype=np.float32)
        places.append(Place("bed_edge", edge, -side * math.pi / 2, 0))
    return Piece(tuple(parts), tuple(places), (x, y))


def _pillow(material: Material, center: tuple[float, ...], half: tuple[float, ...]) -> Part:
    sphere = o3d.geometry.TriangleMesh.create_sphere(1.0, 20)
    unit = np.asarray(sphere.vertices)
    shape = np.sign(unit) * np.abs(unit) ** 0.6 * np.array(half)
    faces = np.asarray(sphere.triangles).astype(np.int32)
    at = [np.asarray(values, dtype=np.float32) for values in (center, half)]
    return Part(LABEL["bed"], material, at[0], at[1], 0.0, shape.astype(np.float32), faces, solid=False)


def blanket(
    rng: np.random.Generator, bed: Piece, place: Place, skin: Float32[np.ndarray, "*batch 3"], top: float
) -> Part:
    """Drape a cloth over the mattress and the skin on it.

    It begins `top` metres from the bed's middle, towards the feet, and ends at the foot end; `skin` is in the world.
    """
    x, y = bed.half
    points = ((skin - place.position) @ yaw_matrix(place.yaw)).reshape(-1, 3)
    columns, rows = np.arange(-x - 0.02, x + 0.03, BLANKET_CELL_M), np.arange(top, y - 0.06, BLANKET_CELL_M)
    heights = gaussian_filter(maximum_filter(_tops(points, rows, columns), 4), 1.2) + rng.uniform(0.01, 0.03)
    heights[:, [0, -1]] = -rng.uniform(0.05, 0.2)
    grid = np.stack([*np.meshgrid(columns, rows), heights], axis=-1).astype(np.float32)
    corner = np.arange(len(rows) * len(columns)).reshape(heights.shape)
    a, b, c, d = (part.ravel() for part in (corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)]).astype(np.int32)
    half = np.abs(grid).reshape(-1, 3).max(axis=0)
    cloth = random_material(rng, str(rng.choice(["linen", "cloth"])))
    return Part(LABEL["bed"], cloth, place.position, half, place.yaw, grid.reshape(-1, 3), faces, solid=False)


def _tops(
    points: Float32[np.ndarray, "point 3"], rows: Float[np.ndarray, " row"], columns: Float[np.ndarray, " column"]
) -> Float32[np.ndarray, "row column"]:
    """Compute the height of the highest low point over each cell of a grid, at least 0 (metres)."""
    heights = np.zeros((len(rows), len(columns)), dtype=np.float32)
    row, column = ((points[:, axis] - cells[0]) / BLANKET_CELL_M for axis, cells in ((1, rows), (0, columns)))
    row, column = row.round().astype(int), column.round().astype(int)
    low = (points[:, 2] < 0.4) & (row >= 0) & (row < len(rows)) & (column >= 0) & (column < len(columns))
    np.maximum.at(heights, (row[low], column[low]), points[low, 2])
    return heights


def _legs(label: str, material: Material, x: float, y: float, top: float, thick: float) -> list[Part]:
    corners = [(i * (x - thick), j * (y - thick)) for i in (-1, 1) for j in (-1, 1)]
    return [box(label, material, (a - thick, b - thick, 0), (a + thick, b + thick, top)) for a, b in corners]


def chair(rng: np.random.Generator) -> Piece:
    """Draw a chair, with or without armrests, and the place to sit on it."""
    x, y, seat = rng.uniform(0.21, 0.25), rng.uniform(0.21, 0.25), rng.uniform(0.43, 0.48)
    frame, cushion = random_material(rng, "wood"), random_material(rng, str(rng.choice(["cloth", "wood"])))
    parts = [
        *_legs("chair", frame, x, y, seat - 0.05, 0.02),
        box("chair", cushion, (-x, -y, seat - 0.05), (x, y, seat)),
        box("chair", frame, (-x, -y - 0.04, seat + 0.1), (x, -y, seat + rng.uniform(0.4, 0.55))),
        *(box("chair", frame, (i * x - 0.02, -y - 0.04, 0), (i * x + 0.02, -y, seat + 0.15)) for i in (-0.9, 0.9)),
    ]
    if rng.random() < 0.3:
        parts += [
            box("chair", frame, (i * x - 0.03, -y, seat + 0.2), (i * x + 0.03, y, seat + 0.24)) for i in (-1.1, 1.1)
        ]
    place = Place("chair", np.array([0, -y + 0.17, seat], dtype=np.float32), 0.0, 0)
    return Piece(tuple(parts), (place,), (x + 0.05, y + 0.05))


def sofa(rng: np.random.Generator) -> Piece:
    """Draw a sofa of one to three seats, each with a place to sit."""
    seats = int(rng.integers(1, 4))
    x, y, seat = 0.33 * seats + 0.18, rng.uniform(0.4, 0.46), rng.uniform(0.4, 0.46)
    cloth, cushion = (random_material(rng, "cloth") for _ in range(2))
    parts = [
        box("sofa", cloth, (-x, -y, 0.06), (x, y, seat - 0.12)),
        box("sofa", cloth, (-x, -y, seat - 0.12), (x, -y + 0.22, seat + rng.uniform(0.35, 0.5))),
        *(box("sofa", cloth, (i * x - 0.08, -y, 0.06), (i * x + 0.08, y, seat + 0.18)) for i in (-1, 1)),
    ]
    middles = [0.66 * (k - (seats - 1) / 2) for k in range(seats)]
    parts += [box("sofa", cushion, (m - 0.32, -y + 0.22, seat - 0.12), (m + 0.32, y, seat)) for m in middles]
    places = [Place("sofa", np.array([m, -y + 0.42, seat], dtype=np.float32), 0.0, 0) for m in middles]
    return Piece(tuple(parts), tuple(places), (x + 0.08, y))


def wardrobe(rng: np.random.Generator) -> Piece:
    """Draw a wardrobe with two doors; nobody rests on it."""
    x, y, height = rng.uniform(0.4, 0.75), rng.uniform(0.25, 0.3), rng.uniform(1.2, 2.1)
    wood, knob = random_material(rng, "wood"), random_material(rng, "paint")
    parts = [box("wardrobe", wood, (-x, -y, 0), (x, y - 0.02, height))]
    parts += [box("wardrobe", wood, (a, y - 0.02, 0.06), (a + x - 0.01, y, height - 0.02)) for a in (-x + 0.005, 0.005)]
    parts += [
        box("wardrobe", knob, (a - 0.01, y, height / 2), (a + 0.01, y + 0.02, height / 2 + 0.15)) for a in (-0.05, 0.05)
    ]
    return Piece(tuple(parts), (), (x, y + 0.02))


def table(rng: np.random.Generator) -> Piece:
    """Draw a table with up to two objects on it; nobody rests on it."""
    x, y, top = rng.uniform(0.35, 0.6), rng.uniform(0.3, 0.4), rng.uniform(0.68, 0.76)
    wood = random_material(rng, "wood")
    parts = [*_legs("table", wood, x, y, top - 0.04, 0.03), box("table", wood, (-x, -y, top - 0.04), (x, y, top))]
    for _ in range(rng.integers(0, 3)):
        a, b, r = rng.uniform(-x + 0.1, x - 0.1), rng.uniform(-y + 0.1, y - 0.1), rng.uniform(0.03, 0.08)
        thing = random_material(rng, "cloth")
        parts.append(box("table", thing, (a - r, b - r, top), (a + r, b + r, top + rng.uniform(0.03, 0.25))))
    return Piece(tuple(parts), (), (x, y))
