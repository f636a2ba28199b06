"""Random rooms: a shell with door and window, and furniture along the walls."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float32

from recon.simulate import furniture
from recon.simulate.materials import Material, random_material
from recon.simulate.rooms import Part, Piece, SimulatedRoom, box

Rect = tuple[float, float, float, float]  # x0, y0, x1, y1
ALONG_WALLS: tuple[tuple[Callable[[np.random.Generator], Piece], float], ...] = (
    (furniture.bed, 0.95),
    (furniture.wardrobe, 0.8),
    (furniture.sofa, 0.55),
    (furniture.chair, 0.9),
    (furniture.table, 0.6),
    (furniture.chair, 0.5),
    (furniture.bed, 0.1),
)
DOOR_SPACE_M = 0.9  # in front of the door, kept free
CAMERA_SPACE_M = 1.0  # around the camera's corner, kept free of tall furniture
TRIES = 30


def build_room(rng: np.random.Generator, corner: int) -> SimulatedRoom:
    """Draw a room with sides of 3 to 6 m.

    The camera will hang in `corner` (0 to 3, counter-clockwise from the origin), which is kept free of tall furniture.
    """
    size = (rng.uniform(3.0, 6.0), rng.uniform(3.0, 6.0), rng.uniform(2.5, 3.0))
    width, length, height = size
    parts, door_rect, daylight = _shell(rng, size)
    inside = box("none", parts[0].material, (0, 0, -0.05), (width, length, height))
    lamp = np.array([width * rng.uniform(0.3, 0.7), length * rng.uniform(0.3, 0.7), height - 0.15], dtype=np.float32)
    at = (width * (corner in (1, 2)), length * (corner in (2, 3)))
    camera_rect = (at[0] - CAMERA_SPACE_M, at[1] - CAMERA_SPACE_M, at[0] + CAMERA_SPACE_M, at[1] + CAMERA_SPACE_M)
    pieces = _furnish(rng, (width, length), door_rect, camera_rect)
    owned = tuple(piece.owned(number) for number, piece in enumerate((Piece(tuple(parts)), *pieces)))
    return SimulatedRoom(owned, lamp, daylight, inside)


def _shell(
    rng: np.random.Generator, size: tuple[float, float, float]
) -> tuple[list[Part], Rect, Float32[np.ndarray, "3"]]:
    """Draw the shell's parts; also return the rectangle kept free before the door, and the window's centre."""
    parts, frames = _surfaces(rng, size), _wall_frames(*size[:2])
    door_wall, window_wall = rng.permutation(4)[:2]
    yaw, start, along = frames[door_wall]
    middle = rng.uniform(0.6, along - 0.6)
    door = _door(rng).moved(yaw, start + middle * _direction(yaw))
    yaw, start, along = frames[window_wall]
    window_at = start + along * rng.uniform(0.4, 0.6) * _direction(yaw)
    window = _window(rng, min(rng.uniform(0.8, 1.8), along - 1.0)).moved(yaw, window_at)
    daylight = window_at + 0.1 * _direction(yaw + math.pi / 2) + np.array([0, 0, 1.6], dtype=np.float32)
    parts += [*door.parts, *window.parts, *_pictures(rng, frames)]
    if rng.random() < 0.4:
        parts.append(_rug(rng, size))
    return parts, _footprint((0.5, DOOR_SPACE_M), door.parts[0].center, frames[door_wall][0]), daylight


def _surfaces(rng: np.random.Generator, size: tuple[float, float, float]) -> list[Part]:
    """Draw floor, ceiling and four walls; some walls are of a material of their own."""
    (width, length, height), t = size, 0.1
    wall = random_material(rng, "wall")
    walls = [wall if rng.random() < 0.7 else random_material(rng, "wall") for _ in range(4)]
    return [
        box("floor", random_material(rng, "floor"), (-t, -t, -t), (width + t, length + t, 0), solid=False),
        box("none", random_material(rng, "paint"), (-t, -t, height), (width + t, length + t, height + t), solid=False),
        box("wall", walls[0], (-t, -t, 0), (width + t, 0, height), solid=False),
        box("wall", walls[1], (width, 0, 0), (width + t, length, height), solid=False),
        box("wall", walls[2], (-t, length, 0), (width + t, length + t, height), solid=False),
        box("wall", walls[3], (-t, 0, 0), (0, length, height), solid=False),
    ]


def _rug(rng: np.random.Generator, size: tuple[float, float, float]) -> Part:
    half = rng.uniform(0.4, 0.9, size=2)
    middle = rng.uniform(half + 0.2, np.maximum(np.array(size[:2]) - half - 0.2, half + 0.21))
    low, high = middle - half, middle + half
    return box("floor", random_material(rng, "cloth"), (*low, 0), (*high, 0.005), solid=False)


def _wall_frames(width: float, length: float) -> list[tuple[float, np.ndarray, float]]:
    """List each wall's yaw (of furniture with its back to it), starting corner, and length along x of that yaw."""
    return [
        (0.0, np.array([0, 0, 0], dtype=np.float32), width),
        (math.pi / 2, np.array([width, 0, 0], dtype=np.float32), length),
        (math.pi, np.array([width, length, 0], dtype=np.float32), width),
        (-math.pi / 2, np.array([0, length, 0], dtype=np.float32), length),
    ]


def _direction(yaw: float) -> Float32[np.ndarray, "3"]:
    return np.array([math.cos(yaw), math.sin(yaw), 0], dtype=np.float32)


def _door(rng: np.random.Generator) -> Piece:
    wood, frame, knob = random_material(rng, "wood"), random_material(rng, "paint"), random_material(rng, "paint")
    parts = [
        box("door", wood, (-0.45, 0, 0), (0.45, 0.03, 2.0), solid=False),
        *(box("door", frame, (a - 0.03, 0, 0), (a + 0.03, 0.05, 2.06), solid=False) for a in (-0.48, 0.48)),
        box("door", frame, (-0.51, 0, 2.0), (0.51, 0.05, 2.06), solid=False),
        box("door", knob, (0.32, 0.03, 1.0), (0.42, 0.08, 1.03), solid=False),
    ]
    return Piece(tuple(parts))


def _window(rng: np.random.Generator, width: float) -> Piece:
    low, high, x = rng.uniform(0.8, 1.0), rng.uniform(1.9, 2.2), width / 2
    frame, sky = random_material(rng, "paint"), random_material(rng, "linen")
    pane = Material(
        "noise",
        np.clip(sky.colors * np.array([0.85, 0.95, 1.1], dtype=np.float32), 0, 1),
        0.5,
        sky.waves,
        glow=rng.uniform(0.3, 1.5),
    )
    bars = [((-x, 0, low - 0.05), (x, 0.12, low)), ((-x, 0, high), (x, 0.05, high + 0.05))]
    bars += [((a - 0.025, 0, low), (a + 0.025, 0.05, high)) for a in (-x, 0, x)]
    parts = [box("window", pane, (-x, 0, low), (x, 0.01, high), solid=False)]
    parts += [box("window", frame, *bar, solid=False) for bar in bars]
    return Piece(tuple(parts))


def _pictures(rng: np.random.Generator, frames: list[tuple[float, np.ndarray, float]]) -> list[Part]:
    """Draw pictures and boards on the walls; their label is "wall"."""
    parts = []
    for _ in range(rng.integers(0, 4)):
        yaw, start, along = frames[rng.integers(4)]
        x, z, half = rng.uniform(0.4, along - 0.4), rng.uniform(1.3, 1.8), rng.uniform(0.1, 0.35, size=2)
        picture = box(
            "wall", random_material(rng, "cloth"), (-half[0], 0, z - half[1]), (half[0], 0.02, z + half[1]), solid=False
        )
        parts.append(picture.moved(yaw, start + x * _direction(yaw)))
    return parts


def _furnish(rng: np.random.Generator, size: tuple[float, float], door: Rect, camera: Rect) -> list[Piece]:
    """Place pieces along the walls, as many as fit; a bed stands with its head or its side at the wall."""
    pieces: list[Piece] = []
    taken: list[Rect] = []
    for make, probability in ALONG_WALLS:
        if rng.random() > probability:
            continue
        piece = make(rng)
        tall = piece.parts[0].half[2] > 0.5
        for _ in range(TRIES):
            yaw, offset = _against_wall(rng, piece, size)
            rect = _footprint(piece.half, offset, yaw)
            inside = rect[0] > 0 and rect[1] > 0 and rect[2] < size[0] and rect[3] < size[1]
            if inside and _free_of([*taken, door, *([camera] if tall else [])], rect, 0.05):
                pieces.append(piece.moved(yaw, offset))
                taken.append(rect)
                break
    return pieces


def _free_of(others: Sequence[Rect], rect: Rect, gap: float) -> bool:
    return all(
        rect[0] > o[2] + gap or rect[2] < o[0] - gap or rect[1] > o[3] + gap or rect[3] < o[1] - gap for o in others
    )


def _against_wall(
    rng: np.random.Generator, piece: Piece, size: tuple[float, float]
) -> tuple[float, Float32[np.ndarray, "3"]]:
    wall_yaw, start, along = _wall_frames(*size)[rng.integers(4)]
    x, y = piece.half
    is_bed = any(place.kind == "lying" for place in piece.places)
    aside = is_bed and rng.random() < 0.6
    if aside:
        x, y = y, x
    gap = rng.uniform(0.02, 0.08) if rng.random() < 0.8 else rng.uniform(0.1, 0.7)
    middle = rng.uniform(min(x, along / 2), max(along - x, along / 2))
    if is_bed and rng.random() < 0.5:  # into a corner
        middle = x + 0.03 if rng.random() < 0.5 else along - x - 0.03
    offset = start + middle * _direction(wall_yaw) + (y + gap) * _direction(wall_yaw + math.pi / 2)
    spin = rng.choice([-1, 1]) * math.pi / 2 if aside else 0.0
    return wall_yaw + float(spin), offset.astype(np.float32)


def _footprint(half: tuple[float, float], center: np.ndarray, yaw: float) -> Rect:
    x, y = half if abs(math.sin(yaw)) < 0.5 else half[::-1]
    return (float(center[0] - x), float(center[1] - y), float(center[0] + x), float(center[1] + y))
