"""Synthetic InterHuman data sets in their true layouts, good clips and broken ones.

Both persons of a clip walk (`tests.helpers.sources.humanml3d.walk`), the second a step beside the first.
"""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from motion.rotations import columns_first, matrix_to_6d, matrix_to_axis_angle
from motion.smpl_parameters import SmplParameters
from motion.unpickle import load_arrays
from tests.helpers.sources.humanml3d import (
    BODY,
    MEAN_PELVIS,
    SPOILT_ARRAY,
    Hostile,
    empty,
    save_npy,
    truncate,
    walk,
    with_nan,
)

SPLITS = {"train": ["1", "2"], "val": ["3"], "test": ["10"]}
IGNORED = "2"
FPS = 59.94
TEXT = "two people walk.\nOne walks, the other’s beside.\n\n".encode()
ODD_TEXT = b"one\xa1\xafs arm swings\n"  # GB 18030, as in two official files
ASIDE = torch.tensor([0.7, 0.4, 0.0])


def people(name: str, seconds: float = 1.5, fps: float = FPS) -> list[SmplParameters]:
    """Make the two persons of a clip."""
    first, second = walk(seconds, fps, int(name)), walk(seconds, fps, int(name) + 1)
    return [first, replace(second, transl=second.transl + ASIDE)]


def parameters(pose: SmplParameters) -> dict[str, Any]:
    """Make a person's part of a raw file."""
    return {
        "trans": (pose.joints(BODY)[0, :, 0] - torch.tensor(MEAN_PELVIS["smplh"])).numpy(),
        "root_orient": matrix_to_axis_angle(pose.global_orient[0]).numpy(),
        "pose_body": matrix_to_axis_angle(pose.body_pose[0, :, :21]).flatten(1).numpy(),
        "betas": np.full(10, 0.3, dtype=np.float32),
        "gender": "neutral",
    }


def raw(name: str) -> dict[str, Any]:
    first, second = map(parameters, people(name))
    return {"person1": first, "mocap_framerate": FPS, "frames": len(first["trans"]), "person2": second}


def columns(pose: SmplParameters) -> np.ndarray:
    """Make a person's processed file: 62 positions and 51 rotations a frame, those beyond the body at rest."""
    frames = pose.transl.shape[1]
    positions, rotations = torch.zeros(frames, 62, 3), torch.zeros(frames, 51, 6)
    positions[:, :22] = pose.joints(BODY)[0, :, :22]
    rotations[:, :21] = columns_first(matrix_to_6d(pose.body_pose[0, :, :21]))
    return torch.cat([positions.flatten(1), rotations.flatten(1)], dim=1).numpy()


def write_dataset(folder: Path) -> list[str]:
    """Write the raw form; return the ids of its clips."""
    for names in SPLITS.values():
        for name in names:
            save_pickle(folder / "motions" / f"{name}.pkl", raw(name))
    return _write_lists(folder)


def write_processed(folder: Path) -> list[str]:
    """Write the processed form; return the ids of its clips."""
    for names in SPLITS.values():
        for name in names:
            save_people(folder, name)
    return _write_lists(folder)


def _write_lists(folder: Path) -> list[str]:
    (folder / "split").mkdir()
    for split, names in SPLITS.items():
        (folder / "split" / f"{split}.txt").write_text("")
        for name in names:
            list_clip(folder, name, ODD_TEXT if name == "10" else TEXT, split)
    (folder / "ignore_list.txt").write_text(f"{IGNORED}\n77\n")
    return sorted(f"interhuman/{name}" for names in SPLITS.values() for name in names if name != IGNORED)


def save_pickle(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content))


def save_people(folder: Path, name: str) -> list[Path]:
    paths = [folder / "motions_processed" / person / f"{name}.npy" for person in ("person1", "person2")]
    for path, pose in zip(paths, people(name if name.isdigit() else "0", fps=FPS / 2), strict=True):
        save_npy(path, columns(pose))
    return paths


def list_clip(folder: Path, name: str, text: bytes | None, split: str = "train") -> None:
    with (folder / "split" / f"{split}.txt").open("a") as file:
        file.write(f"{name}\n")
    if text is not None:
        (folder / "annots").mkdir(exist_ok=True)
        (folder / "annots" / f"{name}.txt").write_bytes(text)


def _change(person: str, field: str, change: Callable[[np.ndarray], Any]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        content = load_arrays(path)
        content[person][field] = change(content[person][field])
        save_pickle(path, content)

    return spoil


def _set(name: str, value: Any) -> Callable[[Path], None]:
    return lambda path: save_pickle(path, load_arrays(path) | {name: value})


def _shorten(path: Path) -> None:
    content = load_arrays(path)
    for field in ("trans", "root_orient", "pose_body"):
        content["person2"][field] = content["person2"][field][:-3]
    save_pickle(path, content)


SPOILT_RAW: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (truncate, r"pickle data was truncated"),
    "empty": (empty, r"damaged or no pickle"),
    "hostile": (lambda path: save_pickle(path, Hostile()), r"asks for posix\.system"),
    "hostile_field": (_set("frames", Hostile()), r"asks for posix\.system"),
    "objects": (_change("person1", "trans", lambda array: np.array([Hostile()], dtype=object)), r"dtype 'O8'|posix"),
    "list": (lambda path: save_pickle(path, [1, 2]), r"holds a list"),
    "nan": (_change("person1", "pose_body", with_nan), r"pose_body of person1 holds NaN"),
    "infinite": (_change("person2", "trans", lambda array: array * np.inf), r"trans of person2 holds NaN or numbers"),
    "millimetres": (_change("person2", "trans", lambda array: 1000 * array), r"person 2 moves at .* m/s"),
    "columns": (_change("person1", "pose_body", lambda array: array[:, :60]), r"pose_body of person1 has shape .*, 60"),
    "flat": (_change("person1", "root_orient", np.ravel), r"root_orient of person1 is float32 of shape \(270,\)"),
    "betas": (_change("person2", "betas", lambda array: array[:4]), r"betas of person2 has shape \(4,\)"),
    "words": (_change("person1", "trans", lambda array: array.astype(str)), r"trans of person1 is <U"),
    "ragged": (_change("person1", "trans", lambda array: [[1.0], [2.0, 3.0]]), r"trans of person1 is list"),
    "zero_fps": (_set("mocap_framerate", 0.0), r" 0 frames per second"),
    "nan_fps": (_set("mocap_framerate", float("nan")), r"nan frames per second"),
    "word_fps": (_set("mocap_framerate", "fast"), r"mocap_framerate is a str"),
    "huge_fps": (_set("mocap_framerate", 10**5000), r"mocap_framerate is a int"),
    "no_frames": (_change("person1", "trans", lambda array: array[:0]), r"person1 has 0 trans, 90 root_orient"),
    "one_person": (_set("person2", None), r"lacks person2"),
    "lengths": (_shorten, r"90 frames of person1 and 87 of person2"),
    "missing": (Path.unlink, r"does not exist"),
}
SPOILT_TEXTS = {
    "no_caption": (b"\n  \n", r"holds no caption"),
    "encoding": (b"\xff\xff\xff", r"cannot be read"),
    "no_annotation": (None, r"cannot be read.*No such file"),
}


def write_malformed(folder: Path) -> dict[str, str]:
    """Add spoilt clips to a raw form; return their ids and what each one's rejection must say."""
    content = raw("0")
    for kind in (*SPOILT_RAW, *SPOILT_TEXTS):
        path = folder / "motions" / f"{kind}.pkl"
        save_pickle(path, content)
        if kind in SPOILT_RAW:
            SPOILT_RAW[kind][0](path)
        list_clip(folder, kind, SPOILT_TEXTS[kind][0] if kind in SPOILT_TEXTS else TEXT)
    return {f"interhuman/{kind}": says for kind, (_, says) in (SPOILT_RAW | SPOILT_TEXTS).items()}


def write_malformed_processed(folder: Path) -> dict[str, str]:
    """Add spoilt clips to a processed form; return their ids and what each one's rejection must say."""
    spoilt = SPOILT_ARRAY | {
        "lengths": (lambda path: np.save(path, np.load(path)[:-2]), r"has 45 frames, but .* has 43"),
        "missing": (Path.unlink, r"cannot be read"),
    }
    for kind in (*spoilt, *SPOILT_TEXTS):
        paths = save_people(folder, kind)
        if kind in spoilt:
            spoilt[kind][0](paths[1])
        list_clip(folder, kind, SPOILT_TEXTS[kind][0] if kind in SPOILT_TEXTS else TEXT)
    return {f"interhuman/{kind}": says for kind, (_, says) in (spoilt | SPOILT_TEXTS).items()}
