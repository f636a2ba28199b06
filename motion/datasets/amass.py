"""AMASS (Mahmood et al. 2019, amass.is.tue.mpg.de): motion capture as SMPL-family parameters, one .npz a clip.

    ROOT/SUBSET/SUBJECT/NAME.npz      a clip; NAME.txt next to it may hold captions (see `clip.read_captions`)
    ROOT/SUBSET/SUBJECT/shape.npz     also neutral_stagei.npz and the like: a subject's shape, no motion

World: Z up already, metres; rotations are axis-angle in the files and matrices here. Use of the fields:

    poses (T, 72 | 156 | 165)      SMPL, SMPL-H, SMPL-X: the first 66 numbers are joints 0 to 21, kept; fingers, jaw
                                   and eyes have no joint here, and SMPL's two hands stay at rest for all families
    root_orient, pose_body         the same 66 numbers; read where `poses` is missing (SMPL-X "stageii" files)
    trans (T, 3)                   kept
    betas (10 or more)             the first 10, with a body of the same family and gender only
    mocap_framerate                kept, as is mocap_frame_rate ("stageii")
    gender, surface_model_type     kept in the provenance (smplx_locked_head as smplx); without the latter the width of
                                   `poses` tells the family
    dmpls, markers, labels         dropped: soft tissue and raw capture

With another body (the built-in default) the betas mean nothing, so the shape is the mean one and the pelvis follows the
recorded path up to a constant of about a centimetre; feet then slide by as much as the legs differ in length.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from motion.body import NUM_BETAS, Body
from motion.clips.ground import settle
from motion.datasets.clip import (
    MAX_MAGNITUDE,
    Clip,
    check_fps,
    check_start,
    find_files,
    frame_range,
    to_record,
    with_sidecar,
)
from motion.errors import InputError
from motion.rotations import matrix_from_axis_angle
from motion.sequence import MotionSequence
from motion.smpl_parameters import SmplParameters

LICENCE = "AMASS: for non-commercial scientific research only, no redistribution (amass.is.tue.mpg.de/license.html)."

FRAME_RATES = ("mocap_framerate", "mocap_frame_rate")
FIELDS = ("poses", "root_orient", "pose_body", "trans", "betas", "gender", "surface_model_type", *FRAME_RATES)
GENDERS = ("female", "male", "neutral")
FAMILIES = {"smpl": 72, "smplh": 156, "smplx": 165}  # columns of poses
NUM_COLUMNS = 66  # joints 0 to 21, which all families share
# J0 of the mean shape: SMPL's male model, which SMPL-H shares, and the neutral SMPL-X.
MEAN_PELVIS = {
    "smpl": (-0.0018, -0.2233, 0.0282),
    "smplh": (-0.0018, -0.2233, 0.0282),
    "smplx": (0.0031, -0.3514, 0.0120),
}


@dataclass(frozen=True)
class AmassPoses:
    """Motion of one file, of a body of some family and gender."""

    fps: float
    """Frames per second of the file."""
    parameters: SmplParameters
    """Parameters of one person, batch shape (frame,)."""
    gender: str
    """Gender of the body model: female, male, neutral or unknown."""
    family: str
    """Body model that the parameters belong to: smpl, smplh or smplx."""

    def crop(self, frames: slice) -> "AmassPoses":
        """Cut these frames."""
        return replace(self, parameters=self.parameters[frames])


def to_parameters(
    transl: Float64[Tensor, "frame 3"], axis_angles: Float64[Tensor, "frame 66"], betas: Float64[Tensor, "10"]
) -> SmplParameters:
    """Convert the axis-angles (rad) of joints 0 to 21 to parameters of one person; the hands stay at rest."""
    rotations = matrix_from_axis_angle(axis_angles.unflatten(1, (-1, 3))).float()
    hands = torch.eye(3).expand(len(rotations), 2, 3, 3)
    body_pose = torch.cat([rotations[:, 1:], hands], dim=1)
    return SmplParameters(transl.float(), rotations[:, 0], body_pose, betas.float())


def list_clips(root: Path) -> list[Clip]:
    """List all motions under `root`, sorted by id; a described span of seconds is a clip of its own.

    Raises InputError if there is no .npz of a motion.
    """
    paths = [path for path in find_files(root, ".npz") if not _is_shape(path)]
    if not paths:
        raise InputError(f"{root} holds no AMASS motion, expected .npz files in folders SUBSET/SUBJECT")
    clips = [clip for path in paths for clip in with_sidecar(_clip(root, path), path.with_suffix(".txt"))]
    return sorted(clips, key=lambda clip: clip.id)


def _is_shape(path: Path) -> bool:
    return path.name == "shape.npz" or path.name.endswith("_stagei.npz")


def _clip(root: Path, path: Path) -> Clip:
    name = path.relative_to(root).with_suffix("").as_posix()
    return Clip(id=f"amass/{name}", source="amass", files=(str(path),))


def read_clip(clip: Clip, body: Body) -> MotionSequence:
    """Read the clip at its own frame rate, posed with `body`, floor on z = 0; raises InputError where it is damaged."""
    if clip.problem:
        raise InputError(clip.problem)
    poses = read_poses(Path(clip.files[0]))
    parameters = on_body(poses.crop(frame_range(clip, poses.fps, len(poses.parameters.transl))), body)
    provenance = {
        "family": poses.family,
        "gender": poses.gender,
        "betas": "the file's" if _same_shapes(poses, body) else f"zeros: the file's do not fit body {body.name}",
    }
    return settle(to_record(clip, poses.fps, parameters, body, provenance), body)


def on_body(poses: AmassPoses, body: Body) -> SmplParameters:
    """Convert to parameters of `body` (one person, frames): the same rotations, and the pelvis on the same path."""
    own = poses.parameters
    if not _same_shapes(poses, body):
        pelvis = own.transl + torch.tensor(MEAN_PELVIS[poses.family])
        own = SmplParameters.from_pelvis(pelvis, own.rotations, torch.zeros_like(own.betas), body)
    return SmplParameters(*(tensor[None] for tensor in vars(own).values()))


def _same_shapes(poses: AmassPoses, body: Body) -> bool:
    return body.name in (poses.family, f"{poses.family}-{poses.gender}")


def read_poses(path: Path) -> AmassPoses:
    """Read the motion in an AMASS .npz; raises InputError where it is damaged or something else."""
    arrays = _read(path)
    poses, family = _poses(path, arrays)
    gender = _word(path, arrays, "gender", "unknown")
    if gender not in (*GENDERS, "unknown"):
        raise InputError(f"{path}: gender is {gender[:40]!r}, expected one of {', '.join(GENDERS)}")
    transl, betas = _table(path, arrays, "trans", 3), _numbers(path, arrays, "betas", 1)
    if len(betas) < NUM_BETAS:
        raise InputError(f"{path}: betas holds {len(betas)} numbers, expected at least {NUM_BETAS}")
    if not 0 < len(poses) == len(transl):
        raise InputError(f"{path}: has {len(poses)} poses and {len(transl)} trans, expected one of each per frame")
    tensors = map(torch.from_numpy, (transl, poses[:, :NUM_COLUMNS], betas[:NUM_BETAS]))
    return AmassPoses(_fps(path, arrays), to_parameters(*tensors), gender, family)


def _read(path: Path) -> dict[str, np.ndarray]:
    """Read the fields that matter; pickled objects, which may run code, are never opened."""
    check_start(path, b"PK", "an .npz")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in FIELDS if name in archive}
    except Exception as error:  # damage inside a zip shows as nearly any of them
        said = " ".join(str(error).split())[:100]  # zipfile quotes all it read
        raise InputError(f"{path}: is damaged or holds more than plain arrays ({said}), expected an .npz") from error


def _poses(path: Path, arrays: dict[str, np.ndarray]) -> tuple[Float64[np.ndarray, "frame column"], str]:
    """Read axis-angles of at least joints 0 to 21, and the family they belong to."""
    if "poses" in arrays:
        poses = _numbers(path, arrays, "poses", 2)
        guess = next((name for name, columns in FAMILIES.items() if columns == poses.shape[1]), "unknown")
    else:
        orient, body = _table(path, arrays, "root_orient", 3), _table(path, arrays, "pose_body", 63)
        if len(orient) != len(body):
            raise InputError(f"{path}: has {len(orient)} root_orient and {len(body)} pose_body, expected as many")
        poses, guess = np.concatenate([orient, body], axis=1), "smplx"
    family = _word(path, arrays, "surface_model_type", guess).split("_")[0]
    if family not in FAMILIES or poses.shape[1] not in (NUM_COLUMNS, FAMILIES[family]):
        raise InputError(
            f"{path}: poses are {family[:40]!r} with {poses.shape[1]} columns, "
            "expected smpl (72), smplh (156) or smplx (165)"
        )
    return poses, family


def _table(path: Path, arrays: dict[str, np.ndarray], name: str, columns: int) -> Float64[np.ndarray, "frame column"]:
    table = _numbers(path, arrays, name, 2)
    if table.shape[1] != columns:
        raise InputError(f"{path}: {name} has shape {table.shape}, expected (frames, {columns})")
    return table


def _numbers(path: Path, arrays: dict[str, np.ndarray], name: str, dimensions: int) -> Float64[np.ndarray, "..."]:
    if name not in arrays:
        raise InputError(f"{path}: lacks {name}, expected the fields of an AMASS motion")
    array = arrays[name]
    if array.ndim != dimensions or not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"{path}: {name} is {array.dtype} of shape {array.shape}, expected {dimensions}D floats")
    if not (np.abs(array) < MAX_MAGNITUDE).all():
        raise InputError(f"{path}: {name} holds NaN or numbers beyond {MAX_MAGNITUDE:g}, expected radians and metres")
    return array.astype(np.float64)


def _fps(path: Path, arrays: dict[str, np.ndarray]) -> float:
    rates = [arrays[name] for name in FRAME_RATES if name in arrays]
    if not rates or rates[0].size != 1 or not np.issubdtype(rates[0].dtype, np.number):
        raise InputError(f"{path}: lacks a number in mocap_framerate or mocap_frame_rate, expected frames per second")
    return check_fps(str(path), float(rates[0].real.item()))


def _word(path: Path, arrays: dict[str, np.ndarray], name: str, missing: str) -> str:
    """Read a field that is one str or bytes, lower case."""
    if name not in arrays:
        return missing
    array = arrays[name]
    if array.size != 1 or array.dtype.kind not in "SU":
        raise InputError(f"{path}: {name} is {array.dtype} of shape {array.shape}, expected a word")
    try:
        return str(array.astype(str).item()).lower()
    except ValueError as error:
        raise InputError(f"{path}: {name} is no text ({error}), expected a word") from error
