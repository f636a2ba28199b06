"""HumanML3D (Guo et al. 2022, github.com/EricGuo5513/HumanML3D): captions for cuts of AMASS and HumanAct12.

Full form, preferred: the motions at their own frame rates. Folders may lie anywhere under the root.

    index.csv                                 source_path, start_frame, end_frame, new_name: which cut has which id
    SUBSET/SUBJECT/NAME_poses.npz             AMASS, Z up, under its old or new names (`RENAMED`, `_stageii.npz`)
    humanact12/NAME.npy                       HumanAct12's 24 joints (T, 24, 3), Y up, metres, 15 fps
    [HumanML3D/]texts/ID.txt                  caption#tokens#from#to
    [HumanML3D/]{train,val,test}.txt          ids; those in no list (two clips of 14,616) are left out, as in all.txt

Processed form: Y up, 20 fps, all on one skeleton.

    [HumanML3D/]new_joints/ID.npy             (T, 22, 3) positions, or
    [HumanML3D/]new_joint_vecs/ID.npy         (T, 263), see `motion.representations`

M... is an id's mirror image. All times of the data set count frames of 20 a second, made by keeping every
int(fps / 20)th frame after dropping the start of some subsets (`SKIPPED_S`; raw_pose_processing.ipynb there). So
its second is 40 frames of a file of 59.99 fps; the same cut is taken here, and the true rate kept. Use AMASS' SMPL+H
files: some SMPL-X ones have another rate written in them, which moves the cuts (IDEA-Research/Motion-X issue 43).

HumanAct12 was recorded at 15 fps (HumanML3D issue 124) and has left and right exchanged (issue 147): its people's knees
and toes point backwards. Such joints get each other's names, here and in the processed form; nothing is moved.
"""

import csv
import math
import re
from dataclasses import replace
from pathlib import Path, PurePosixPath

import torch
from jaxtyping import Float
from torch import Tensor

from motion.body import Body
from motion.clips.augment import mirror
from motion.clips.ground import settle
from motion.clips.mirror_words import mirror_words
from motion.clips.transforms import to_z_up
from motion.datasets.amass import on_body, read_poses
from motion.datasets.clip import (
    Caption,
    Clip,
    find_files,
    frame_range,
    read_array,
    read_captions,
    read_splits,
    to_record,
    with_captions,
)
from motion.datasets.joint_fitting import fit_files, stature_note
from motion.errors import InputError
from motion.errors.text_files import read_text
from motion.representations import joints_from_263
from motion.sequence import MotionSequence
from motion.skeleton import JOINT_NAMES, MIRRORED

LICENCE = (
    "HumanML3D: captions and index under the MIT licence; the motions are those of AMASS and HumanAct12, "
    "for non-commercial scientific research only, no redistribution."
)

FPS = 20.0
HUMANACT12 = "humanact12"
HUMANACT12_FPS = 15.0
SKIPPED_S = {  # at the start of each file of a subset
    "Eyes_Japan_Dataset": 3.0,
    "MPI_HDM05": 3.0,
    "TotalCapture": 1.0,
    "MPI_Limits": 1.0,
    "Transitions_mocap": 0.5,
}
RENAMED = {  # folders of newer AMASS releases, and what HumanML3D calls them
    "BMLrub": "BioMotionLab_NTroje",
    "DFaust": "DFaust_67",
    "EyesJapanDataset": "Eyes_Japan_Dataset",
    "HDM05": "MPI_HDM05",
    "MoSh": "MPI_mosh",
    "PosePrior": "MPI_Limits",
    "SSM": "SSM_synced",
    "Transitions": "Transitions_mocap",
}
OVERSHOOT_S = 1.0  # spans were set by hand, and the official loader cuts them at the end of the motion


def list_clips(root: Path) -> list[Clip]:
    """List the clips of the split lists; each described span of seconds is a clip of its own.

    Raises InputError if `root` is no HumanML3D data set.
    """
    inner = root / "HumanML3D" if (root / "HumanML3D" / "texts").is_dir() else root
    splits = read_splits(inner)
    sources = _full_form(root) or _processed_form(inner, splits)
    if not sources:
        raise InputError(
            f"{root} is no HumanML3D data set: expected index.csv and the AMASS .npz of its motions, "
            "or a folder new_joints or new_joint_vecs"
        )
    return [
        clip
        for name, split in splits.items()
        for clip in _described(replace(_source(sources, name), split=split), inner / "texts", name)
    ]


def _source(sources: dict[str, Clip], name: str) -> Clip:
    """Find the clip of an id; a mirrored id without a motion of its own gets the mirrored one."""
    if name in sources:
        return replace(sources[name], id=f"humanml3d/{name}")
    if name.startswith("M") and name[1:] in sources:
        return replace(sources[name[1:]], id=f"humanml3d/{name}", mirrored=True)
    where = "index.csv, new_joints or new_joint_vecs"
    return Clip(f"humanml3d/{name}", "humanml3d", (name,), problem=f"{name} is in a split list, but not in {where}")


def _described(clip: Clip, texts: Path, name: str) -> list[Clip]:
    """Split the clip by its captions into the clip and its described spans."""
    if clip.problem:
        return [clip]
    try:
        found = with_captions(clip, _captions(texts, name))
    except InputError as error:
        return [replace(clip, problem=str(error))]
    return [_within(part, clip.stop) for part in found]


def _captions(texts: Path, name: str) -> list[Caption]:
    """Read the captions; a mirrored id without texts of its own gets the unmirrored ones with mirrored words."""
    own = texts / f"{name}.txt"
    if own.is_file() or not name.startswith("M"):
        return read_captions(own)
    captions = read_captions(texts / f"{name[1:]}.txt")
    return [replace(caption, text=mirror_words(caption.text)) for caption in captions]


def _within(clip: Clip, end: float | None) -> Clip:
    """Cut the clip at the end of the motion (seconds) where it reaches a little beyond it."""
    if end is None or clip.stop is None or clip.stop <= end:
        return clip
    if clip.start < end and clip.stop <= end + OVERSHOOT_S:
        return replace(clip, stop=end)
    return replace(
        clip,
        problem=f"{clip.files[0]}: clip {clip.id} goes from {clip.start:g} s to {clip.stop:g} s of a motion that ends "
        f"at {end:g} s, expected a span within it",
    )


def _processed_form(folder: Path, splits: dict[str, str]) -> dict[str, Clip]:
    clips = {}
    for name in splits:
        for kind in ("new_joints", "new_joint_vecs"):
            path = folder / kind / f"{name}.npy"
            if name not in clips and path.is_file():
                clips[name] = Clip(name, "humanml3d", (str(path),))
    return clips


def _full_form(root: Path) -> dict[str, Clip]:
    """Map each unmirrored id to its cut of a file; empty where there is no index or none of its files."""
    if not (root / "index.csv").is_file():
        return {}
    rows = _index(root / "index.csv")
    files = _motion_files(root)
    return {Path(row["new_name"] or "").stem: _cut(root, row, files) for row in rows if files}


def _index(path: Path) -> list[dict[str, str]]:
    expected = "expected the columns source_path, start_frame, end_frame, new_name"
    try:
        rows = list(csv.DictReader(read_text(path, expected).splitlines()))
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read ({error}), {expected}") from error
    if not rows or not {"source_path", "start_frame", "end_frame", "new_name"} <= rows[0].keys():
        raise InputError(f"{path}: lacks rows or columns, {expected}")
    return rows


def _motion_files(root: Path) -> dict[str, Path]:
    """Find the files of AMASS and HumanAct12 under `root` by `_key`; of several releases of one motion, SMPL+H's."""
    paths, files = find_files(root, ".npz", ".npy"), {}
    for path in sorted(paths, key=lambda path: (not path.name.endswith("_stageii.npz"), path)):
        key = _key(path.relative_to(root).as_posix())
        if key and (path.suffix == ".npy") == key.startswith(HUMANACT12):
            files[key] = path
    return files


SUBSETS = (
    *("ACCAD", "BMLhandball", "BMLmovi", "BioMotionLab_NTroje", "CMU", "DFaust_67", "EKUT", "Eyes_Japan_Dataset"),
    *("HumanEva", "KIT", "MPI_HDM05", "MPI_Limits", "MPI_mosh", "SFU", "SSM_synced", "TotalCapture"),
    *("Transitions_mocap", HUMANACT12),
)


def _key(path: str) -> str | None:
    """Reduce a path to the part that all releases' names of one motion share: subset and path, no blanks or dashes."""
    parts = [RENAMED.get(part, part) for part in PurePosixPath(path).parts]
    subsets = [place for place, part in enumerate(parts) if part in SUBSETS]
    if not subsets:
        return None
    tail = parts[subsets[0] :] if parts[subsets[0]] != HUMANACT12 else [HUMANACT12, parts[-1]]
    stem = re.sub(r"_(poses|stageii)?\.np[yz]$|\.np[yz]$", "", "/".join(tail))
    return re.sub(r"[\s_-]+", "_", stem.lower())


def _cut(root: Path, row: dict[str, str], files: dict[str, Path]) -> Clip:
    """Read one row of the index: frames of 20 a second, the end exclusive, -1 for all of a file."""
    source, name = row["source_path"] or "", row["new_name"]
    clip = Clip(name, "humanml3d", (source,))
    path = files.get(_key(source) or "")
    if path is None:
        return replace(clip, problem=f"{root}: lacks {source} of clip {name}, expected it from AMASS or HumanAct12")
    clip = replace(clip, files=(str(path),))
    try:
        start, stop = float(row["start_frame"]), float(row["end_frame"])  # table programs write 30.0
    except (TypeError, ValueError):
        start, stop = math.nan, math.nan
    if stop == -1 and start == 0:
        return clip
    if not (0 <= start < stop and start.is_integer() and stop.is_integer()):
        found = f"the frames {row['start_frame']!r} to {row['end_frame']!r}"
        return replace(
            clip, problem=f"{root / 'index.csv'}: {name} has {found}, expected whole numbers 0 <= start < end"
        )
    skipped = next((seconds for subset, seconds in SKIPPED_S.items() if subset in source), 0.0)
    return replace(clip, start=skipped + start / FPS, stop=skipped + stop / FPS)


def read_clip(clip: Clip, body: Body) -> MotionSequence:
    """Read the clip at its file's frame rate, Z up, floor on z = 0; raises InputError where it is damaged."""
    if clip.problem:
        raise InputError(clip.problem)
    path = Path(clip.files[0])
    record = _from_amass(clip, path, body) if path.suffix == ".npz" else _from_joints(clip, path, body)
    if clip.mirrored:
        record = replace(mirror(record, body), texts=list(clip.texts))  # the texts speak of the mirror image already
    return settle(record, body)


def _from_amass(clip: Clip, path: Path, body: Body) -> MotionSequence:
    poses = read_poses(path)
    if poses.fps < FPS:
        raise InputError(f"{path}: has {poses.fps:g} frames per second, expected at least {FPS:g} in HumanML3D")
    step = int(poses.fps / FPS)
    length = len(poses.parameters.transl)
    kept = _frames(clip, -(-length // step))
    frames = slice(kept.start * step, min(kept.stop * step, length))
    parameters = on_body(poses.crop(frames), body)
    provenance = _provenance(clip, frames) | {"family": poses.family, "gender": poses.gender}
    return to_record(clip, poses.fps, parameters, body, provenance)


def _from_joints(clip: Clip, path: Path, body: Body) -> MotionSequence:
    joints = read_joints(path)
    frames, names = _frames(clip, len(joints)), JOINT_NAMES[: joints.shape[1]]
    provenance = _provenance(clip, frames)
    if faces_backwards(joints):
        names = tuple(JOINT_NAMES[MIRRORED[joint]] for joint in range(joints.shape[1]))
        provenance["left_right"] = "exchanged in the file"
    parameters = fit_files(clip.files, joints[None, frames], names, body)
    provenance |= stature_note(joints[None, frames], names, body)
    fps = HUMANACT12_FPS if path.parent.name == HUMANACT12 else FPS
    return to_record(clip, fps, parameters, body, provenance)


def _frames(clip: Clip, count: int) -> slice:
    """Compute the clip's part of `count` frames of 20 a second."""
    clip = _within(clip, count / FPS)
    if clip.problem:
        raise InputError(clip.problem)
    return frame_range(clip, FPS, count)


def _provenance(clip: Clip, frames: slice) -> dict[str, str]:
    file = "/".join(Path(clip.files[0]).parts[-3:])
    return {"file": file, "frames": f"{frames.start}:{frames.stop}"} | ({"mirrored": "true"} if clip.mirrored else {})


def read_joints(path: Path) -> Float[Tensor, "frame joint 3"]:
    """Read Z-up positions (m) from a file of 22 or 24 joints or of 263 features a frame, Y up.

    Raises InputError where the file has another shape.
    """
    array = torch.from_numpy(read_array(path))
    if array.shape[1:] == (263,):
        return joints_from_263(array)
    if array.shape[1:] not in ((22, 3), (24, 3)):
        expected = "(frames, 22, 3), (frames, 24, 3) or (frames, 263)"
        raise InputError(f"{path}: has shape {tuple(array.shape)}, expected {expected}")
    return to_z_up(array)


def faces_backwards(joints: Float[Tensor, "frame joint 3"]) -> bool:
    """Tell whether knees bend and toes point away from where hips and spine face: left and right are exchanged.

    Toes alone do so in kneeling, knees alone in noisy standing.
    """
    at = dict(zip(JOINT_NAMES, joints.unbind(dim=1), strict=False))
    forward = torch.linalg.cross(at["left_hip"] - at["right_hip"], at["neck"] - at["pelvis"])
    toes = sum(at[f"{side}_foot"] - at[f"{side}_ankle"] for side in ("left", "right"))
    bends = sum(2 * at[f"{side}_knee"] - at[f"{side}_hip"] - at[f"{side}_ankle"] for side in ("left", "right"))
    return bool((forward * toes).sum() < 0 and (forward * bends).sum() < 0)
