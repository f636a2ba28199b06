"""InterHuman (Liang et al. 2024, github.com/tr3e/InterGen): two persons in one world, with captions.

    motions/ID.pkl                        raw, preferred: person1 and person2 with trans (T, 3), root_orient (T, 3),
                                          pose_body (T, 63) axis-angle, betas (10); frames; mocap_framerate, 59.94
    motions_processed/person{1,2}/ID.npy  (T, 492): 62 joints' positions, of which the first 22 are SMPL's, then
                                          51 rotations in 6D, which are not read here
    annots/ID.txt                         a caption a line
    [split/]{train,val,test}.txt          ids; those in no list are left out, as is any in [split/]ignore_list.txt

World: Z up and metres in both forms. The raw bodies are SMPL-H (the processed pelvis is trans + SMPL-H's J0), so their
betas mean something to that body only: `motion.datasets.amass.on_body`. The processed files hold each second raw frame:
clip 1000 has 160 of the one and 81 of the other, and InterGen's loader takes them as they are, for 30 fps.

Two of the official annotations have an apostrophe in GB 18030 instead of UTF-8.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from motion.body import NUM_BETAS, Body
from motion.clips.ground import settle
from motion.datasets.amass import AmassPoses, on_body, to_parameters
from motion.datasets.clip import MAX_MAGNITUDE, Clip, check_fps, read_array, read_splits, to_record
from motion.datasets.joint_fitting import fit_files, stature_note
from motion.errors import InputError
from motion.errors.text_files import read_text
from motion.representations import split_492
from motion.sequence import MotionSequence
from motion.skeleton import JOINT_NAMES
from motion.smpl_parameters import SmplParameters
from motion.unpickle import load_arrays

LICENCE = "InterHuman: CC BY-NC-SA 4.0, for non-commercial purposes with credit, no redistribution of the data."

PERSONS = ("person1", "person2")
PROCESSED_FPS = 59.94 / 2
PROCESSED_COLUMNS = 492
NUM_BODY_JOINTS = 22


def list_clips(root: Path) -> list[Clip]:
    """List the clips of the split lists, but for the ignored ones; raises InputError if `root` is no InterHuman."""
    raw, processed = root / "motions", root / "motions_processed"
    if not raw.is_dir() and not processed.is_dir():
        raise InputError(f"{root} is no InterHuman data set, expected a folder motions or motions_processed")
    lists = root / "split" if (root / "split").is_dir() else root
    ignored = {name for folder in (root, lists) for name in _words(folder / "ignore_list.txt")}
    return [_clip(root, name, split) for name, split in read_splits(lists).items() if name not in ignored]


def _words(path: Path) -> list[str]:
    return read_text(path, "expected clip ids").split() if path.is_file() else []


def _clip(root: Path, name: str, split: str) -> Clip:
    raw = root / "motions" / f"{name}.pkl"
    processed = [root / "motions_processed" / person / f"{name}.npy" for person in PERSONS]
    files = (raw,) if raw.is_file() or not any(path.is_file() for path in processed) else processed
    clip = Clip(f"interhuman/{name}", "interhuman", tuple(map(str, files)), split)
    try:
        return replace(clip, texts=_captions(root / "annots" / f"{name}.txt"))
    except InputError as error:
        return replace(clip, problem=str(error))


def _captions(path: Path) -> tuple[str, ...]:
    expected = "expected a caption a line"
    try:
        content = path.read_bytes()
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("gb18030")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}), {expected}") from error
    captions = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not captions:
        raise InputError(f"{path}: holds no caption, {expected}")
    return captions


def read_clip(clip: Clip, body: Body) -> MotionSequence:
    """Read both persons at the file's frame rate, Z up, floor on z = 0; raises InputError where the clip is damaged."""
    if clip.problem:
        raise InputError(clip.problem)
    paths = [Path(file) for file in clip.files]
    record = _from_parameters(clip, paths[0], body) if len(paths) == 1 else _from_joints(clip, paths, body)
    return settle(record, body)


def _from_parameters(clip: Clip, path: Path, body: Body) -> MotionSequence:
    people = read_people(path)
    tensors = zip(*(vars(on_body(person, body)).values() for person in people), strict=True)
    return to_record(clip, people[0].fps, SmplParameters(*map(torch.cat, tensors)), body)


def read_people(path: Path) -> list[AmassPoses]:
    """Read the two persons of a raw file, frame by frame together; raises InputError where it is damaged."""
    content = load_arrays(path)
    people = [_person(path, content, name, _fps(path, content.get("mocap_framerate"))) for name in PERSONS]
    lengths = [len(person.parameters.transl) for person in people]
    if lengths[0] != lengths[1]:
        raise InputError(
            f"{path}: {lengths[0]} frames of person1 and {lengths[1]} of person2, expected as many of both"
        )
    return people


def _fps(path: Path, rate: object) -> float:
    if isinstance(rate, np.ndarray) and rate.size == 1:
        rate = rate.item()
    if not isinstance(rate, int | float) or abs(rate) > MAX_MAGNITUDE:
        raise InputError(f"{path}: mocap_framerate is a {type(rate).__name__}, expected a number of frames per second")
    return check_fps(str(path), rate)


def _person(path: Path, content: Mapping[str, object], name: str, fps: float) -> AmassPoses:
    fields = content.get(name)
    if not isinstance(fields, dict):
        raise InputError(f"{path}: lacks {name}, expected the parameters of person1 and person2")
    transl, orient, pose = (
        _table(path, name, fields, field, (-1, columns))
        for field, columns in (("trans", 3), ("root_orient", 3), ("pose_body", 63))
    )
    betas = _table(path, name, fields, "betas", (NUM_BETAS,))
    if not 0 < len(transl) == len(orient) == len(pose):
        found = f"{len(transl)} trans, {len(orient)} root_orient and {len(pose)} pose_body"
        raise InputError(f"{path}: {name} has {found}, expected one of each per frame")
    parameters = to_parameters(transl, torch.cat([orient, pose], dim=1), betas)
    return AmassPoses(fps, parameters, gender=str(fields.get("gender", "neutral")), family="smplh")


def _table(
    path: Path, person: str, fields: Mapping[str, object], name: str, shape: tuple[int, ...]
) -> Float[Tensor, "..."]:
    """Read finite floats of the given shape, where -1 stands for any length."""
    array = fields.get(name)
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.ndim != len(shape):
        found = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise InputError(f"{path}: {name} of {person} is {found}, expected floats of shape {shape}")
    if any(wanted not in (-1, length) for wanted, length in zip(shape, array.shape, strict=True)):
        raise InputError(f"{path}: {name} of {person} has shape {array.shape}, expected {shape}")
    if not (np.abs(array) < MAX_MAGNITUDE).all():
        raise InputError(f"{path}: {name} of {person} holds NaN or numbers beyond {MAX_MAGNITUDE:g}")
    return torch.from_numpy(array.astype(np.float64))


def _from_joints(clip: Clip, paths: list[Path], body: Body) -> MotionSequence:
    arrays = [read_array(path) for path in paths]
    for path, array in zip(paths, arrays, strict=True):
        if array.shape[1:] != (PROCESSED_COLUMNS,):
            raise InputError(f"{path}: has shape {array.shape}, expected (frames, {PROCESSED_COLUMNS})")
    if len(arrays[0]) != len(arrays[1]):
        found = f"{len(arrays[0])} frames, but {paths[1]} has {len(arrays[1])}"
        raise InputError(f"{paths[0]}: has {found}, expected as many of both people")
    positions = torch.stack([split_492(torch.from_numpy(array))[0] for array in arrays])
    names = JOINT_NAMES[:NUM_BODY_JOINTS]
    parameters = fit_files(clip.files, positions, names, body)
    return to_record(clip, PROCESSED_FPS, parameters, body, stature_note(positions, names, body))
