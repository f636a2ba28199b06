"""Care room made of boxes: floor, walls, door, window, furniture along the walls, and places to rest.

Z up, metres. A room is built with a corner of its floor at the origin and its walls along x and y;
`SimulatedRoom.moved` carries it into the world. A `yaw` turns about z, counter-clockwise (rad); furniture faces +y at
yaw 0.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32

from motion.rotations import yaw_matrix
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
    """Mesh of one material, turned by `yaw` about its `center`; `half` are the half sizes of the box that holds it.

    `label` is an index into `motion.sequence.LABELS`.
    """

    label: int
    material: Material
    center: Float32[np.ndarray, "3"]
    half: Float32[np.ndarray, "3"]
    yaw: float
    vertices: Float32[np.ndarray, "vertex 3"]
    """Positions relative to the centre in metres, before the yaw."""
    faces: Int32[np.ndarray, "face 3"]
    solid: bool = True
    """True when persons must not reach into the part."""

    def placed(self) -> Float32[np.ndarray, "vertex 3"]:
        """Compute the vertices in the world."""
        return self.vertices @ yaw_matrix(self.yaw).T + self.center

    def local(self, points: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        """Map world points into the part's own frame."""
        return (points - self.center) @ yaw_matrix(self.yaw)

    def holds(self, points: Float[np.ndarray, "*batch 3"], tolerance: float) -> Bool[np.ndarray, "*batch"]:
        """Mark the points that lie deeper than `tolerance` metres inside the box (True = inside)."""
        return (np.abs(self.local(points)) < self.half - tolerance).all(axis=-1)

    def moved(self, yaw: float, offset: Float[np.ndarray, "3"]) -> "Part":
        """Turn the part about the world's z axis, then shift it."""
        center = (yaw_matrix(yaw) @ self.center + offset).astype(np.float32)
        return replace(self, center=center, yaw=self.yaw + yaw)


@dataclass(frozen=True, eq=False)
class Place:
    """Spot to rest on: `position` is the middle of the surface under the pelvis, `yaw` the direction faced (rad)."""

    kind: str
    """Kind of place: lying, bed_edge, chair or sofa."""
    position: Float32[np.ndarray, "3"]
    yaw: float
    owner: int
    """Index of the piece of furniture, which the person touches on purpose."""

    def moved(self, yaw: float, offset: Float[np.ndarray, "3"]) -> "Place":
        """Turn the place about the world's z axis, then shift it."""
        return replace(self, position=(yaw_matrix(yaw) @ self.position + offset).astype(np.float32), yaw=self.yaw + yaw)


@dataclass(frozen=True, eq=False)
class Piece:
    """Piece of furniture with its places; its frame's origin is the middle of its footprint on the floor.

    `half` are the footprint's half sizes along x and y (metres).
    """

    parts: tuple[Part, ...]
    places: tuple[Place, ...] = ()
    half: tuple[float, float] = (0.0, 0.0)

    def moved(self, yaw: float, offset: Float[np.ndarray, "3"]) -> "Piece":
        """Turn the piece about the world's z axis, then shift it."""
        return replace(
            self,
            parts=tuple(part.moved(yaw, offset) for part in self.parts),
            places=tuple(place.moved(yaw, offset) for place in self.places),
        )

    def owned(self, number: int) -> "Piece":
        """Set the index by which the piece's places name their owner."""
        return replace(self, places=tuple(replace(place, owner=number) for place in self.places))


@dataclass(frozen=True, eq=False)
class SimulatedRoom:
    """Room with its furniture; piece 0 is the shell: floor, walls, ceiling and whatever hangs on them.

    `lamp` is the ceiling lamp's position (metres).
    """

    pieces: tuple[Piece, ...]
    lamp: Float32[np.ndarray, "3"]
    window: Float32[np.ndarray, "3"]
    """Centre of the window, from which daylight comes (metres)."""
    inside: Part
    """Box of air within the walls, which persons must not leave."""

    def moved(self, yaw: float, offset: Float[np.ndarray, "3"]) -> "SimulatedRoom":
        """Turn the room about the world's z axis, then shift it."""
        lamp, window = ((yaw_matrix(yaw) @ light + offset).astype(np.float32) for light in (self.lamp, self.window))
        return SimulatedRoom(
            tuple(piece.moved(yaw, offset) for piece in self.pieces), lamp, window, self.inside.moved(yaw, offset)
        )

    @property
    def parts(self) -> list[Part]:
        """Parts of all pieces, in order."""
        return [part for piece in self.pieces for part in piece.parts]

    @property
    def places(self) -> list[Place]:
        """Places of all pieces, in order."""
        return [place for piece in self.pieces for place in piece.places]

    def intruding(
        self, points: Float[np.ndarray, "*batch 3"], owner: int | None, tolerance: float = 0.03
    ) -> Bool[np.ndarray, "*batch"]:
        """Mark the points outside the walls or deep in solid furniture other than piece `owner` (True = intruding).

        `tolerance` is the depth in metres that is allowed; None as `owner` allows no piece.
        """
        found = ~self.inside.holds(points, 0.02)
        for number, piece in enumerate(self.pieces):
            for part in piece.parts if number != owner else ():
                if part.solid:
                    found |= part.holds(points, tolerance)
        return found


def box(label: str, material: Material, low: Corner, high: Corner, solid: bool = True) -> Part:
    """Build the box between two opposite corners (metres) with a label named in `motion.sequence.LABELS`."""
    low_corner, high_corner = np.array(low, dtype=np.float32), np.array(high, dtype=np.float32)
    center, half = (low_corner + high_corner) / 2, (high_corner - low_corner) / 2
    return Part(LABEL[label], material, center, half, 0.0, _CORNERS * half, _BOX_FACES, solid)
