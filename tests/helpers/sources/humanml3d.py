"""Synthetic HumanML3D data sets in their true layouts, good clips and broken ones.

Every motion is `walk(seconds, fps, seed)`, of the default body's mean shape; `seed` is the number of the clip.
"""

import csv
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from motion.body import load_body
from motion.datasets.amass import MEAN_PELVIS
from motion.representations import encode_263
from motion.rotations import matrix_from_axis_angle, matrix_to_axis_angle
from motion.skeleton import JOINT, LEFT, RIGHT
from motion.smpl_parameters import SmplParameters

BODY = load_body()
CAPTION = "a person walks#a/DET person/NOUN walk/VERB#0.0#0.0\n"
TEXTS = {
    "000000": "a person kicks with the left leg#a/DET#0.0#0.0\n",
    "000001": "a person raises the right arm#a/DET#nan#nan\n",
    "000004": CAPTION + "someone strolls#someone/NOUN#0.0#0.0\n\nthe left knee bends#the/DET#0.5#1.5\n",
    "M000004": CAPTION + "someone strolls#someone/NOUN#0.0#0.0\nthe right knee bends#the/DET#0.5#1.5\n",
    "000006": "a person turns left, then counterclockwise#a/DET#0.0#0.0\n",
    "000039": CAPTION,
}
SPLITS = {"train": ["000000", "000004", "M000004"], "val": ["000001"], "test": ["000006", "M000006", "000039"]}
# source path in the index, start and end there, file of the motion, its frames per second and seconds
FULL: dict[str, tuple[str, int, int, str, float, float]] = {
    "000000": ("KIT/3/kick_high_left02_poses", 0, 30, "KIT/3/kick_high_left02_poses.npz", 100.0, 1.52),
    "000004": ("CMU/80/80_63_poses", 10, 60, "CMU/80/80_63_poses.npz", 120.0, 3.2),
    "000006": (
        *("Eyes_Japan_Dataset/hamada/pose-06-hang on-hamada_poses", 4, 24),
        *("EyesJapanDataset/hamada/pose_06_hang_on_hamada_stageii.npz", 60.0, 4.5),
    ),
    "000039": ("BioMotionLab_NTroje/rub110/0001_fast_poses", 5, 25, "BMLrub/rub110/0001_fast_poses.npz", 59.99, 1.0),
    "009707": ("CMU/02/02_01_poses", 0, 20, "CMU/02/02_01_poses.npz", 60.0, 1.1),  # in no split list
}
HUMANACT12 = "humanact12/humanact12/P11G01R02F1812T1847A0402"


def walk(seconds: float, fps: float, seed: int) -> SmplParameters:
    """Walk one person in a wide bend, every joint moving smoothly."""
    phase = torch.arange(round(seconds * fps), dtype=torch.float64) / fps * 5 + seed
    angles = torch.zeros(len(phase), 24, 3, dtype=torch.float64)
    for name, sign in (("left", 1), ("right", -1)):
        swing = sign * phase.sin()
        angles[:, JOINT[f"{name}_hip"], 0] = 0.4 * swing - 0.2
        angles[:, JOINT[f"{name}_knee"], 0] = 0.5 + 0.3 * swing
        angles[:, JOINT[f"{name}_shoulder"], 2] = -sign * (1.1 + 0.2 * (phase * 0.7).cos())
        angles[:, JOINT[f"{name}_elbow"], 1] = -sign * (0.6 + 0.3 * (phase * 1.3).sin())
    angles[:, JOINT["spine2"], 1] = 0.1 * phase.cos()
    angles[:, JOINT["head"], 0] = 0.2 * (phase * 0.5).sin()
    rotations = matrix_from_axis_angle(angles).float()
    upright = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    heading = matrix_from_axis_angle(torch.stack([0 * phase, 0 * phase, 0.1 * phase], dim=1)).float()
    path = torch.stack(
        [2 * (0.1 * phase).cos(), 2 * (0.1 * phase).sin(), 0.9 + 0.02 * (2 * phase).sin()], dim=1
    ).float()
    rotations[:, 0] = heading @ upright
    return SmplParameters.from_pelvis(path[None], rotations[None], torch.zeros(1, 10), BODY)


def amass_fields(pose: SmplParameters, fps: float) -> dict[str, Any]:
    """Make the arrays of an AMASS file (SMPL-H) of this motion."""
    rotations = pose.rotations[0, :, :22]
    poses = torch.nn.functional.pad(matrix_to_axis_angle(rotations).flatten(1), (0, 90))
    return {
        "poses": poses.numpy().astype(np.float64),
        "trans": (pose.joints(BODY)[0, :, 0] - torch.tensor(MEAN_PELVIS["smplh"])).numpy().astype(np.float64),
        "betas": np.zeros(16),
        "dmpls": np.zeros((len(poses), 8)),
        "gender": np.array("male"),
        "mocap_framerate": np.array(fps),
    }


def y_up(joints: torch.Tensor) -> np.ndarray:
    x, y, z = joints.unbind(-1)
    return torch.stack([x, z, -y], dim=-1).numpy()


def exchanged(joints: np.ndarray) -> np.ndarray:
    """Put left joints in the place of right ones, as in HumanAct12."""
    order = np.arange(24)
    order[[*LEFT, *RIGHT]] = [*RIGHT, *LEFT]
    return joints[:, order[: joints.shape[1]]]


def write_dataset(folder: Path) -> list[str]:
    """Write the full form, AMASS in old and new names; return the ids of its clips."""
    rows = []
    for name, (source, start, end, file, fps, seconds) in FULL.items():
        save_npz(folder / "amass_data" / file, amass_fields(walk(seconds, fps, int(name)), fps))
        rows.append((f"./pose_data/{source}.npy", start, end, f"{name}.npy"))
    joints = exchanged(y_up(walk(1.6, 15.0, 1).joints(BODY)[0]))
    save_npy(folder / "pose_data" / f"{HUMANACT12}.npy", joints)
    rows.append((f"./pose_data/{HUMANACT12}.npy", 0, -1, "000001.npy"))
    with (folder / "index.csv").open("w", newline="") as file_:
        csv.writer(file_).writerows([("source_path", "start_frame", "end_frame", "new_name"), *rows])
    return _write_lists(folder / "HumanML3D")


def write_processed(folder: Path) -> list[str]:
    """Write the processed form, joints of some ids, 263 numbers of the others; return the ids of its clips."""
    for name in (name for names in SPLITS.values() for name in names if name != "M000006"):
        joints = walk(3.0, 20.0, int(name.removeprefix("M"))).joints(BODY)[0, :, :22]
        if name.endswith("4"):
            save_npy(folder / "new_joint_vecs" / f"{name}.npy", encode_263(joints).numpy())
        else:
            save_npy(folder / "new_joints" / f"{name}.npy", y_up(joints))
    return _write_lists(folder)


def _write_lists(folder: Path) -> list[str]:
    (folder / "texts").mkdir(parents=True, exist_ok=True)
    for name, text in TEXTS.items():
        (folder / "texts" / f"{name}.txt").write_text(text)
    for split, names in SPLITS.items():
        (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    ids = [f"humanml3d/{name}" for names in SPLITS.values() for name in names]
    return sorted([*ids, "humanml3d/000004@0.5-1.5", "humanml3d/M000004@0.5-1.5"])


def save_npy(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def save_npz(path: Path, fields: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **fields)


class Hostile:
    """Object that runs a command where it is unpickled."""

    def __reduce__(self) -> tuple:
        return os.system, ("echo this must never run; exit 1",)


def write_pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"person1": Hostile(), "poses": Hostile()}))


def write_objects(path: Path) -> None:
    """Write an array of objects, in the format that `path` has."""
    array = np.array([Hostile()], dtype=object)
    with path.open("wb") as file:
        np.savez(file, poses=array) if path.suffix == ".npz" else np.save(file, array, allow_pickle=True)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_nan(array: np.ndarray) -> np.ndarray:
    spoilt = array.copy()
    spoilt[len(array) // 2].flat[3] = np.nan
    return spoilt


def change_npy(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    return lambda path: np.save(path, change(np.load(path)))


def change_npz(name: str, change: Callable[[np.ndarray], np.ndarray | None]) -> Callable[[Path], None]:
    """Replace one field; None drops it."""

    def spoil(path: Path) -> None:
        fields = dict(np.load(path))
        fields[name] = change(fields[name])
        np.savez(path, **{key: value for key, value in fields.items() if value is not None})

    return spoil


def empty(path: Path) -> None:
    path.write_bytes(b"")


Spoilt = dict[str, tuple[Callable[[Path], object], str]]
"""Fault of a file: what to do to it, and what the rejection must say."""

SPOILT_AMASS: Spoilt = {
    "truncated": (truncate, r"damaged"),
    "empty": (empty, r"begins with .*, expected an .npz"),
    "nan": (change_npz("poses", with_nan), r"poses holds NaN"),
    "centimetres": (change_npz("trans", lambda array: 100 * array), r"moves at 10\d m/s, expected at most 12\.4"),
    "infinite": (change_npz("trans", lambda array: array * np.inf), r"trans holds NaN or numbers beyond"),
    "columns": (change_npz("poses", lambda array: array[:, :60]), r"60 columns"),
    "no_trans": (change_npz("trans", lambda array: None), r"lacks trans"),
    "zero_fps": (change_npz("mocap_framerate", lambda array: 0 * array), r" 0 frames per second"),
    "nan_fps": (change_npz("mocap_framerate", lambda array: np.nan * array), r"nan frames per second"),
    "slow": (change_npz("mocap_framerate", lambda array: array / 12), r"10 frames per second.*at least 20"),
    "no_frames": (change_npz("poses", lambda array: array[:0]), r"has 0 poses"),
    "lengths": (change_npz("trans", lambda array: array[:-1]), r"has 132 poses and 131 trans"),
    "integers": (change_npz("poses", lambda array: array.astype(int)), r"poses is int64"),
    "objects": (write_objects, r"damaged or holds more"),
    "hostile": (write_pickled, r"begins with .*, expected an .npz"),
    "missing": (Path.unlink, r"lacks ./pose_data/CMU/bad/missing_poses"),
}
SPOILT_ARRAY: Spoilt = {
    "truncated": (truncate, r"cannot be read"),
    "empty": (empty, r"begins with b'', expected a .npy"),
    "pointer": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
        r"Git LFS's pointer to a",
    ),
    "nan": (change_npy(with_nan), r"holds NaN"),
    "centimetres": (change_npy(lambda array: 100 * array), r"m tall, expected a human of 0\.5 to 2\.5 m"),
    "far": (change_npy(lambda array: array + 1e30), r"numbers beyond"),
    "columns": (change_npy(lambda array: array[:, :21]), r"has shape \(\d+, 21.*expected"),
    "no_frames": (change_npy(lambda array: array[:0]), r"shape \(0, "),
    "words": (change_npy(lambda array: array.astype(str)), r"holds <U"),
    "integers": (change_npy(lambda array: array.astype(int)), r"holds int"),
    "scalar": (change_npy(lambda array: array[0].flat[0]), r"shape \(\)"),
    "collapsed": (change_npy(lambda array: 0 * array), r"is 0 in frame 0"),
    "objects": (write_objects, r"cannot be read"),
    "hostile": (write_pickled, r"begins with .*, expected a .npy"),
}
SPOILT_TEXTS = {
    "no_caption": ("\n\n", r"holds no caption"),
    "empty_caption": ("#a/DET#0.0#0.0\n", r"line 1 has an empty caption"),
    "backwards": ("a person walks#a/DET#2.0#1.0\n", r"spans 2 s to 1 s"),
    "no_number": ("a person walks#a/DET#soon#later\n", r"span \['soon', 'later'\]"),
    "no_texts": (None, r"cannot be read.*No such file"),
    "beyond": ("a person walks#a/DET#30.0#32.0\n", r"of a motion that ends at 1 s"),
    "far_beyond": ("a person walks#a/DET#0.5#9.0\n", r"of a motion that ends at 1 s"),
}
SPANS = {"beyond": "@30-32", "far_beyond": "@0.5-9"}
SPOILT_ROWS = {
    "row_words": (("soon", "later"), r"frames 'soon' to 'later'"),
    "row_backwards": ((20, 10), r"frames '20' to '10'"),
    "row_negative": ((-5, 10), r"frames '-5' to '10'"),
    "row_beyond": ((500, 520), r"25 s to 26 s of a motion that ends at 1\.1 s"),
}


def write_malformed(folder: Path) -> dict[str, str]:
    """Add spoilt clips to a full form; return their ids and what each one's rejection must say."""
    fields, joints = amass_fields(walk(1.1, 120.0, 0), 120.0), y_up(walk(1.1, 15.0, 0).joints(BODY)[0])
    rows: list[tuple] = []
    expected = {"humanml3d/unknown": r"not in index\.csv"}
    list_clip(folder / "HumanML3D", "unknown", CAPTION)

    def add(name: str, says: str, cut: tuple = (0, 20), text: str | None = CAPTION) -> Path:
        list_clip(folder / "HumanML3D", name, text)
        rows.append((f"./pose_data/CMU/bad/{name}_poses.npy", *cut, f"{name}.npy"))
        expected[f"humanml3d/{name}{SPANS.get(name, '')}"] = says
        path = folder / "amass_data" / "CMU" / "bad" / f"{name}_poses.npz"
        save_npz(path, fields)
        return path

    for kind, (spoil, says) in SPOILT_AMASS.items():
        spoil(add(kind, says))
    for kind, (text, says) in SPOILT_TEXTS.items():
        add(kind, says, text=text)
    for kind, (cut, says) in SPOILT_ROWS.items():
        add(kind, says, cut=cut)
    for kind, (spoil, says) in SPOILT_ARRAY.items():
        path = folder / "pose_data" / "humanact12" / "humanact12" / f"joints_{kind}.npy"
        save_npy(path, joints)
        spoil(path)
        list_clip(folder / "HumanML3D", path.stem, CAPTION)
        rows.append((f"./pose_data/humanact12/humanact12/{path.name}", 0, -1, path.name))
        expected[f"humanml3d/{path.stem}"] = says
    with (folder / "index.csv").open("a", newline="") as file:
        csv.writer(file).writerows(rows)
    return expected


def write_malformed_processed(folder: Path) -> dict[str, str]:
    """Add spoilt clips to a processed form; return their ids and what each one's rejection must say."""
    joints = walk(1.0, 20.0, 0).joints(BODY)[0, :, :22]
    expected = {"humanml3d/unknown": r"not in index\.csv, new_joints"}
    list_clip(folder, "unknown", CAPTION)
    for form, array in (("new_joints", y_up(joints)), ("new_joint_vecs", encode_263(joints).numpy())):
        for kind, (spoil, says) in SPOILT_ARRAY.items():
            path = folder / form / f"{form}_{kind}.npy"
            save_npy(path, array)
            spoil(path)
            list_clip(folder, path.stem, CAPTION)
            expected[f"humanml3d/{path.stem}"] = says
    for kind, (text, says) in SPOILT_TEXTS.items():
        save_npy(folder / "new_joints" / f"{kind}.npy", y_up(joints))
        list_clip(folder, kind, text)
        expected[f"humanml3d/{kind}{SPANS.get(kind, '')}"] = says
    return expected


def list_clip(folder: Path, name: str, text: str | None) -> None:
    """Enter a clip among those to train on."""
    with (folder / "train.txt").open("a") as file:
        file.write(f"{name}\n")
    if text is not None:
        (folder / "texts" / f"{name}.txt").write_text(text)
