"""`MotionSequence` and `Scene`: the fields of the two records, what is refused in them, and how they show themselves.

`motion.sequence` states the world, the units and the polarity of masks, which hold for every field here.
"""

import html
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float32, Int8, UInt8

from motion.errors import InputError
from motion.extensions import is_extension
from motion.parquet import ArrayField, Record, arrow_schema, iter_parquet
from motion.sequence.picture import skeleton_strip, top_view
from motion.skeleton import ACTIONS, PERSON_CLASSES
from motion.smpl_parameters import SmplParameters

SOURCES = ("humanml3d", "interhuman", "teton", "amass", "bvh", "deepmimic", "simulated", "generated")
"""Origins that a motion can have: the readers of `motion.datasets`, the rooms of `recon.simulate`, and the model.

A reader of the user's own is not among them: its motions have its name, `package.module:object`, as their source.
"""
SPLITS = ("train", "val", "test")
"""Parts of the data: only motions of `train` are learnt from."""
LABELS = ("none", "floor", "wall", "bed", "sofa", "chair", "wardrobe", "table", "door", "window")
"""Classes of a scene's points and of a mask's pixels, by index from 0; 0 (`none`) is whatever has no class."""


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


@dataclass(frozen=True, eq=False, repr=False)
class MotionSequence(Record):
    """One clip of one or more persons: SMPL parameters, the joints that follow from them, captions and labels.

    Axes are `person`, then `frame`. A record checks itself when it is made and raises `InputError` on a wrong shape or
    dtype, NaN, matrices that are no rotations, unknown labels, or fewer than one person or frame. Every number is
    finite, also where `valid` is False.
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
        {"actions": ACTIONS, "person_classes": PERSON_CLASSES},
    )
    CONTAINERS: ClassVar[dict[str, type]] = {"texts": list, "provenance": dict}

    id: str
    """Unique name, such as `deepmimic/humanoid3d_walk`; a piece cut out of a clip ends in `@FROM-TO` in seconds."""
    source: str
    """Reader or program that the motion comes from: one of `SOURCES`, or `package.module:object` for a reader of the
    user's own."""
    split: str
    """One of `SPLITS`."""
    fps: float
    """Frames per second, above 0; frame t is t / fps seconds after the first."""
    transl: Float32[np.ndarray, "person frame 3"]
    """Translation of SMPL in the world, metres.

    It is not where the pelvis is (that is `joints[:, :, 0]`); see `motion.smpl_parameters`.
    """
    global_orient: Float32[np.ndarray, "person frame 3 3"]
    """Rotation matrix from the pelvis' frame to the world."""
    body_pose: Float32[np.ndarray, "person frame 23 3 3"]
    """Rotation matrices of joints 1 to 23, each relative to its parent in `motion.skeleton.PARENTS`."""
    betas: Float32[np.ndarray, "person 10"]
    """Shape coefficients of the body named in `body`, in standard deviations; another body reads them otherwise."""
    joints: Float32[np.ndarray, "person frame 24 3"]
    """World positions of the 24 SMPL joints (`motion.skeleton.JOINT_NAMES`), metres.

    They follow from the four fields above to less than 1 mm for the body named in `body`.
    """
    body: str
    """Name of the body model that gave `joints`: `default` for the built-in one, else such as `smpl-neutral`."""
    valid: Bool[np.ndarray, "person frame"]
    """True = the person is there and the frame's pose can be trusted; False = absent, hidden or not reconstructed.

    A frame that is False holds some finite pose that nothing may learn from or be measured on.
    """
    person_class: Int8[np.ndarray, " person"]
    """Index into `motion.skeleton.PERSON_CLASSES`, from 0 (unknown)."""
    action: Int8[np.ndarray, "person frame"]
    """Index into `motion.skeleton.ACTIONS` for each frame, from 0 (unknown)."""
    texts: list[str] = field(default_factory=list)
    """Captions of the whole clip, each a description of the same motion; may be empty."""
    scene_id: str | None = None
    """`id` of the `Scene` that the motion was seen in, or None when there is none.

    The motion lies in the scene's coordinates, unless `provenance` has `moved`: prepare makes motions start at the
    origin.
    """
    provenance: dict[str, str] = field(default_factory=dict)
    """Origin of the motion: source file and frames, or prompt, seed, guidance and model version (by source)."""

    def __post_init__(self) -> None:
        lengths = self.check_arrays()
        owner = f"MotionSequence {self.id}"
        for name, known in (("source", SOURCES), ("split", SPLITS)):
            if getattr(self, name) not in known and not (name == "source" and is_extension(self.source)):
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
    def parameters(self) -> SmplParameters:
        """The persons' SMPL parameters (person, frame), tensors that share the arrays' memory.

        `replace(sequence, **parameters.posed_arrays(body))` is the way back.
        """
        return SmplParameters(*map(torch.from_numpy, (self.transl, self.global_orient, self.body_pose, self.betas)))

    @property
    def num_persons(self) -> int:
        """Length of the axis `person`."""
        return self.transl.shape[0]

    @property
    def num_frames(self) -> int:
        """Length of the axis `frame`."""
        return self.transl.shape[1]

    def __repr__(self) -> str:
        captions = f', "{self.texts[0]}"' if self.texts else ""
        if len(self.texts) > 1:
            captions += f" and {_count(len(self.texts) - 1, 'more caption')}"
        return (
            f"MotionSequence {self.id}: {_count(self.num_persons, 'person')}, {_count(self.num_frames, 'frame')} "
            f"at {self.fps:g} fps ({self.num_frames / self.fps:.1f} s){captions}"
        )

    def _repr_html_(self) -> str:
        return f"<div>{html.escape(repr(self))}</div>{skeleton_strip(self.joints, self.valid)}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


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


@dataclass(frozen=True, eq=False, repr=False)
class Scene(Record):
    """One room without its people, as labelled points in the world, and the fixed camera that saw it.

    The origin lies on the floor below the camera, +y is the camera's viewing direction laid on the floor. A record
    checks itself when it is made and raises `InputError` on a wrong shape or dtype, NaN or impossible values.
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
    """Unique name; that of the sequence it was reconstructed from (`DEPARTMENT/DEVICE/DATE/DATETIME`)."""
    points: Float32[np.ndarray, "point 3"]
    """World positions of surface points, metres; at most one in a cell of a few centimetres."""
    colors: UInt8[np.ndarray, "point 3"]
    """Red, green, blue of each point, 0 to 255."""
    labels: Int8[np.ndarray, " point"]
    """Index into `LABELS` for each point, from 0 (none)."""
    intrinsics: Float32[np.ndarray, "3 3"]
    """Pinhole camera matrix: focal lengths and principal point in pixels of an image of `image_size`."""
    extrinsics: Float32[np.ndarray, "4 4"]
    """Rigid transform from the world to the camera, metres; camera axes are OpenCV's (x right, y down, z forward)."""
    image_size: tuple[int, int]
    """Width, height of the camera's images in pixels."""
    floor_inlier_ratio: float
    """Share (0 to 1) of the points of the floor's mask that lie within 10 cm of the fitted floor plane."""
    depth_scale: float
    """Metres per inverse disparity (1 / α of the depth fusion): the scale that a relative depth map lacks; above 0."""

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

    def __repr__(self) -> str:
        names = ", ".join(LABELS[code] for code in np.unique(self.labels) if 0 < code < len(LABELS))
        return (
            f"Scene {self.id}: {_count(len(self.points), 'point')} ({names or 'no labels'}), "
            f"camera of {self.image_size[0]}x{self.image_size[1]} pixels"
        )

    def _repr_html_(self) -> str:
        return f"<div>{html.escape(repr(self))}</div>{top_view(self.points, self.colors)}"


def read_motions(uri: str | Path) -> list[MotionSequence]:
    """Read all motions of a Parquet file or folder, local or of any URI that pyarrow knows.

    A folder that is empty or missing gives []; raises InputError for a file that cannot be read or lacks columns.
    """
    return list(iter_parquet(MotionSequence, uri))


def read_scenes(uri: str | Path) -> list[Scene]:
    """Read all scenes of a Parquet file or folder, local or of any URI that pyarrow knows.

    A folder that is empty or missing gives []; raises InputError for a file that cannot be read or lacks columns.
    """
    return list(iter_parquet(Scene, uri))
