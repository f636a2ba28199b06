"""The two records everything passes around: `MotionSequence` and `Scene`.

World: right-handed, Z up, floor at z = 0, metres. Rotations are matrices. `valid` is True where a person is
seen. `motion.parquet` stores them, one row a record.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.fs
from jaxtyping import Bool, Float32, Int8, UInt8

from motion.errors import InputError
from motion.parquet import ArrayField, Record, arrow_schema, iter_parquet, write_parquet
from motion.skeleton import ACTIONS, PERSON_CLASSES

__all__ = [
    "LABELS",
    "SOURCES",
    "SPLITS",
    "MotionSequence",
    "Scene",
    "iter_parquet",
    "read_motions",
    "read_scenes",
    "write_parquet",
]

SOURCES = ("humanml3d", "interhuman", "teton", "amass", "bvh", "deepmimic", "simulated", "generated")
SPLITS = ("train", "val", "test")
LABELS = ("none", "floor", "wall", "bed", "sofa", "chair", "wardrobe", "table", "door", "window")
"""What a point of a scene, or a pixel of a key frame's mask, belongs to."""


_PERSON_FRAME = ("person", "frame")
_MOTION_ARRAYS = {
    "transl": ArrayField(_PERSON_FRAME, (3,), np.float32),
    "global_orient": ArrayField(_PERSON_FRAME, (3, 3), np.float32),
    "body_pose": ArrayField(_PERSON_FRAME, (23, 3, 3), np.float32),
    "betas": ArrayField(("person",), (10,), np.float32),
    "joints": ArrayField(_PERSON_FRAME, (24, 3), np.float32),
    "valid": ArrayField(_PERSON_FRAME, (), np.bool_),
    "person_class": ArrayField(("person",), (), np.int8),
    "action": ArrayField(_PERSON_FRAME, (), np.int8),
}


@dataclass(frozen=True, eq=False)
class MotionSequence(Record):
    """One clip of one or more people; see DESIGN section 4 for each field.

    `joints` agree with the pose parameters to 1 mm for the body named in `body`.
    """

    ARRAYS: ClassVar[dict[str, ArrayField]] = _MOTION_ARRAYS
    SCHEMA: ClassVar[pa.Schema] = arrow_schema(
        _MOTION_ARRAYS,
        {
            "id": pa.string(),
            "source": pa.string(),
            "split": pa.string(),
            "fps": pa.float64(),
            "body": pa.string(),
            "texts": pa.list_(pa.string()),
            "scene_id": pa.string(),
            "provenance": pa.map_(pa.string(), pa.string()),
        },
    )
    CONTAINERS: ClassVar[dict[str, type]] = {"texts": list, "provenance": dict}

    id: str
    source: str
    split: str
    fps: float
    transl: Float32[np.ndarray, "person frame 3"]
    global_orient: Float32[np.ndarray, "person frame 3 3"]
    body_pose: Float32[np.ndarray, "person frame 23 3 3"]
    betas: Float32[np.ndarray, "person 10"]
    joints: Float32[np.ndarray, "person frame 24 3"]
    body: str
    valid: Bool[np.ndarray, "person frame"]
    person_class: Int8[np.ndarray, " person"]
    action: Int8[np.ndarray, "person frame"]
    texts: list[str] = field(default_factory=list)
    scene_id: str | None = None
    provenance: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = self.check_arrays()
        owner = f"MotionSequence {self.id}"
        for name, known in (("source", SOURCES), ("split", SPLITS)):
            if getattr(self, name) not in known:
                raise InputError(f"{owner}: {name} is {getattr(self, name)!r}, expected one of {', '.join(known)}")
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise InputError(f"{owner}: fps is {self.fps}, expected a positive number")
        if min(lengths.values()) < 1:
            raise InputError(f"{owner}: has {lengths}, expected at least one person and one frame")
        for name, table in (("person_class", PERSON_CLASSES), ("action", ACTIONS)):
            codes = getattr(self, name)
            if codes.min() < 0 or codes.max() >= len(table):
                raise InputError(f"{owner}: {name} lies outside 0..{len(table) - 1}")
        for name in ("global_orient", "body_pose"):
            _check_rotations(owner, name, getattr(self, name))

    @property
    def num_persons(self) -> int:
        return self.transl.shape[0]

    @property
    def num_frames(self) -> int:
        return self.transl.shape[1]


def _check_rotations(owner: str, name: str, matrices: np.ndarray) -> None:
    drift = np.abs(matrices.swapaxes(-1, -2) @ matrices - np.eye(3, dtype=np.float32)).max(initial=0.0)
    if drift > 1e-3 or (np.linalg.det(matrices) < 0).any():
        raise InputError(f"{owner}: {name} holds matrices that are no rotations (off by {drift:.2g})")


_SCENE_ARRAYS = {
    "points": ArrayField(("point",), (3,), np.float32),
    "colors": ArrayField(("point",), (3,), np.uint8),
    "labels": ArrayField(("point",), (), np.int8),
    "intrinsics": ArrayField((), (3, 3), np.float32),
    "extrinsics": ArrayField((), (4, 4), np.float32),
}


@dataclass(frozen=True, eq=False)
class Scene(Record):
    """A room as labelled points in the Z-up world, and the camera that saw it.

    `extrinsics` is world to camera (OpenCV axes), `intrinsics` and `image_size` (width, height) are pixels.
    """

    ARRAYS: ClassVar[dict[str, ArrayField]] = _SCENE_ARRAYS
    SCHEMA: ClassVar[pa.Schema] = arrow_schema(
        _SCENE_ARRAYS,
        {
            "id": pa.string(),
            "image_size": pa.list_(pa.int32()),
            "floor_inlier_ratio": pa.float64(),
            "depth_scale": pa.float64(),
        },
    )
    CONTAINERS: ClassVar[dict[str, type]] = {"image_size": tuple}

    id: str
    points: Float32[np.ndarray, "point 3"]
    colors: UInt8[np.ndarray, "point 3"]
    labels: Int8[np.ndarray, " point"]
    intrinsics: Float32[np.ndarray, "3 3"]
    extrinsics: Float32[np.ndarray, "4 4"]
    image_size: tuple[int, int]
    floor_inlier_ratio: float
    depth_scale: float

    def __post_init__(self) -> None:
        self.check_arrays()
        owner = f"Scene {self.id}"
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise InputError(f"{owner}: image_size is {self.image_size}, expected (width, height) in pixels")
        if not 0 <= self.floor_inlier_ratio <= 1:
            raise InputError(f"{owner}: floor_inlier_ratio is {self.floor_inlier_ratio}, expected 0 to 1")
        if not (math.isfinite(self.depth_scale) and self.depth_scale > 0):
            raise InputError(f"{owner}: depth_scale is {self.depth_scale}, expected a positive number")
        _check_rotations(owner, "extrinsics", self.extrinsics[None, :3, :3])


def read_motions(uri: str | Path) -> list[MotionSequence]:
    return list(iter_parquet(MotionSequence, uri))


def read_scenes(uri: str | Path) -> list[Scene]:
    return list(iter_parquet(Scene, uri))
