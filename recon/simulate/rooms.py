"""A care room made of boxes: floor, walls, door, window, furniture along the walls, and the places where people rest.

Z up, metres. A room is built with a corner of its floor at the origin and its walls along x and y; `Room.moved`
carries it into the world. A `yaw` turns about z, counter-clockwise; what has a front faces +y at yaw 0.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32

from motion.sequence import LABELS
from recon.simulate.materials import Material

LABEL = {name: index for index, name in enumerate(LABELS)}
Corner = tuple[float | int, float | int, float | int]
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float32)
_BOX_FACES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4],
     [1, 5, 7], [1, 7, 3]], dtype=np.int32,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Part:
    """One mesh of one material. `half` are the half sizes of the box about `center` that holds it, turned by `yaw`."""

    label: int
    material: Material
    center: Float32[np.ndarray, "3"]
    half: Float32[np.ndarray, "3"]
    yaw: float
    vertices: Float32[np.ndarray, "vertex 3"]
    """About the centre, before the yaw."""
    faces: Int32[np.ndarray, "face 3"]
    solid: bool = True
    """People must not reach into it."""

    def placed(self) -> Float32[np.ndarray, "vertex 3"]:
        return self.vertices @ turn(self.yaw).T + self.center

    def local(self, points: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        return (points - self.center) @ turn(self.yaw)

    def holds(self, points: Float[np.ndarray, "*batch 3"], tolerance: float) -> Bool[np.ndarray, "*batch"]:
        """Which points lie deeper than `tolerance` inside the box."""
        return (np.abs(self.local(points)) < self.half - tolerance).all(axis=-1)

    def moved(self, yaw: float, offset: Float[np.ndarray, "3"]) -> "Part":
        center = (turn(yaw) @ self.center + offset).astype(np.float32)
        return replace(self, center=center, yaw=self.yaw + yaw)


@dataclass(frozen=True, eq=False)
class Place:
    """Where somebody can rest: `position` is the middle of the surface under the pelvis, `yaw` where they face."""

    kind: str
    """lying, bed_edge, chair or sofa."""
    position: Float32[np.ndarray, "3"]
    yaw: float
    owner: int
    """Number of the piece of furniture, which is touched on purpose."""

    def moved(self, yaw: float, offset: Float[np.ndarray, "3"]) -> "Place":
        return replace(self, position=(turn(yaw) @ self.position + offset).astype(np.float32), yaw=self.yaw + yaw)


@dataclass(frozen=True, eq=False)
class Piece:
    """A piece of furniture; its own frame has the middle of its footprint on the floor as origin."""

    parts: tuple[Part, ...]
    places: tuple[Place, ...] = ()
    half: tuple[float, float] = (0.0, 0.0)

    def moved(self, yaw: float, offset: Float[np.ndarray, "3"]) -> "Piece":
        return replace(
            self,
            parts=tuple(part.moved(yaw, offset) for part in self.parts),
            places=tuple(place.moved(yaw, offset) for place in self.places),
        )

    def owned(self, number: int) -> "Piece":
        return replace(self, places=tuple(replace(place, owner=number) for place in self.places))


@dataclass(frozen=True, eq=False)
class Room:
    """Piece 0 is the shell: floor, walls, ceiling and what hangs on them."""

    pieces: tuple[Piece, ...]
    lamp: Float32[np.ndarray, "3"]
    window: Float32[np.ndarray, "3"]
    """Where daylight comes from."""
    inside: Part
    """The air: people stay in it."""

    def moved(self, yaw: float, offset: Float[np.ndarray, "3"]) -> "Room":
        lamp, window = ((turn(yaw) @ light + offset).astype(np.float32) for light in (self.lamp, self.window))
        return Room(
            tuple(piece.moved(yaw, offset) for piece in self.pieces), lamp, window, self.inside.moved(yaw, offset)
        )

    @property
    def parts(self) -> list[Part]:
        return [part for piece in self.pieces for part in piece.parts]

    @property
    def places(self) -> list[Place]:
        return [place for piece in self.pieces for place in piece.places]

    def intruding(
        self, points: Float[np.ndarray, "*batch 3"], owner: int | None, tolerance: float = 0.03
    ) -> Bool[np.ndarray, "*batch"]:
        """Which points lie outside the walls or deep in furniture other than piece `owner`."""
        found = ~self.inside.holds(points, 0.02)
        for number, piece in enumerate(self.pieces):
            for part in piece.parts if number != owner else ():
                if part.solid:
                    found |= part.holds(points, tolerance)
        return found


def turn(yaw: float) -> Float32[np.ndarray, "3 3"]:
    cos, sin = math.cos(yaw), math.sin(yaw)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]], dtype=np.float32)


def box(label: str, material: Material, low: Corner, high: Corner, solid: bool = True) -> Part:
    """The box between two opposite corners."""
    low_corner, high_corner = np.array(low, dtype=np.float32), np.array(high, dtype=np.float32)
    center, half = (low_corner + high_corner) / 2, (high_corner - low_corner) / 2
    return Part(LABEL[label], material, center, half, 0.0, _CORNERS * half, _BOX_FACES, solid)
