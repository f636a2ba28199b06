"""Synthetic AMASS folders in the layouts of all three families, good clips and broken ones.

Motions are `walk` of `tests.helpers.sources.humanml3d`, of the default body's mean shape.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from motion.datasets.amass import MEAN_PELVIS
from motion.smpl_parameters import SmplParameters
from tests.helpers.sources.humanml3d import (
    BODY,
    amass_fields,
    change_npz,
    empty,
    save_npz,
    truncate,
    walk,
    with_nan,
    write_objects,
    write_pickled,
)

CAPTIONS = "a person walks#a/DET person/NOUN walk/VERB#0.0#0.0\n\nthe left knee bends#the/DET#0.5#1.5\n"


def smpl_fields(pose: SmplParameters, fps: float) -> dict[str, Any]:
    fields = amass_fields(pose, fps)
    return fields | {"poses": fields["poses"][:, :72], "betas": np.zeros(10), "gender": np.array("female")}


def smplx_fields(pose: SmplParameters, fps: float) -> dict[str, Any]:
    """Make a "stageii" file's fields, all of them, of which the markers are pickled objects."""
    old = amass_fields(pose, fps)
    poses = np.pad(old["poses"][:, :66], ((0, 0), (0, 99)))
    return {
        "gender": np.array("neutral"),
        "surface_model_type": np.array("smplx"),
        "mocap_frame_rate": np.array(fps),
        "mocap_time_length": np.array(len(poses) / fps),
        "markers_latent": np.zeros((41, 3)),
        "latent_labels": np.array(["C7", "CLAV"]),
        "markers_latent_vids": np.array({"C7": 3832}, dtype=object),
        "trans": (pose.joints(BODY)[0, :, 0] - torch.tensor(MEAN_PELVIS["smplx"])).numpy().astype(np.float64),
        "poses": poses,
        "betas": np.zeros(16),
        "num_betas": np.array(16),
        "root_orient": poses[:, :3],
        "pose_body": poses[:, 3:66],
        "pose_hand": poses[:, 75:],
        "pose_jaw": poses[:, 66:69],
        "pose_eye": poses[:, 69:75],
    }


def write_dataset(folder: Path) -> list[str]:
    """Write one clip of each family and form, one of them described; return the ids of its clips."""
    save_npz(folder / "CMU/01/01_01_poses.npz", amass_fields(walk(2.0, 120.0, 1), 120.0))
    (folder / "CMU/01/01_01_poses.txt").write_text(CAPTIONS)
    save_npz(folder / "CMU/01/shape.npz", {"betas": np.zeros(16), "gender": np.array("male")})
    save_npz(folder / "BMLrub/rub001/0001_walk_stageii.npz", smplx_fields(walk(1.0, 100.0, 2), 100.0))
    save_npz(folder / "BMLrub/rub001/neutral_stagei.npz", {"betas": np.zeros(16), "gender": np.array("neutral")})
    in_parts = smplx_fields(walk(1.0, 59.94, 3), 59.94)
    del in_parts["poses"]
    save_npz(folder / "KIT/3/turn_stageii.npz", in_parts | {"surface_model_type": np.array(b"smplx_locked_head")})
    save_npz(folder / "ACCAD/s001/stand_poses.npz", smpl_fields(walk(1.0, 60.0, 4), 60.0))
    described = ["amass/CMU/01/01_01_poses", "amass/CMU/01/01_01_poses@0.5-1.5"]
    return [
        "amass/ACCAD/s001/stand_poses",
        "amass/BMLrub/rub001/0001_walk_stageii",
        *described,
        "amass/KIT/3/turn_stageii",
    ]


def add_field(name: str, value: np.ndarray) -> Callable[[Path], None]:
    return lambda path: np.savez(path, **dict(np.load(path)) | {name: value})


RATE = "mocap_framerate"
SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (truncate, r"damaged"),
    "empty": (empty, r"begins with .*, expected an .npz"),
    "no_archive": (lambda path: path.write_text("a person walks"), r"begins with .*, expected an .npz"),
    "pointer": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"),
        r"is Git LFS's pointer to a file, expected an .npz; fetch it with git lfs pull",
    ),
    "array": (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00"), r"begins with .*, expected an .npz"),
    "flipped": (
        lambda path: path.write_bytes(path.read_bytes().replace(b"\x00\x00\x00\x00", b"\x01\x02\x03\x04", 9)),
        r"damaged",
    ),
    "pickle": (write_pickled, r"begins with .*, expected an .npz"),
    "objects": (write_objects, r"damaged or holds more than plain arrays"),
    "object_gender": (add_field("gender", np.array({"sex": "male"}, dtype=object)), r"damaged or holds more"),
    "nan": (change_npz("poses", with_nan), r"poses holds NaN"),
    "infinite": (change_npz("trans", lambda array: array * np.inf), r"trans holds NaN or numbers beyond 10000"),
    "far": (change_npz("trans", lambda array: array + 1e30), r"trans holds NaN or numbers beyond 10000"),
    "centimetres": (change_npz("trans", lambda array: 100 * array), r"moves at 10\d m/s, expected at most 12\.4"),
    "nan_betas": (change_npz("betas", lambda array: array * np.nan), r"betas holds NaN"),
    "columns": (change_npz("poses", lambda array: array[:, :155]), r"poses are 'unknown' with 155 columns"),
    "family": (add_field("surface_model_type", np.array("star")), r"poses are 'star' with 156 columns"),
    "other_family": (add_field("surface_model_type", np.array("smplx")), r"poses are 'smplx' with 156 columns"),
    "flat": (change_npz("poses", np.ravel), r"poses is float64 of shape \(\d+,\), expected 2D"),
    "no_poses": (change_npz("poses", lambda array: None), r"lacks root_orient"),
    "no_trans": (change_npz("trans", lambda array: None), r"lacks trans"),
    "wide_trans": (change_npz("trans", lambda array: np.pad(array, ((0, 0), (0, 1)))), r"trans has shape \(132, 4\)"),
    "lengths": (change_npz("trans", lambda array: array[:-1]), r"has 132 poses and 131 trans"),
    "no_frames": (change_npz("poses", lambda array: array[:0]), r"has 0 poses and 132 trans"),
    "short_betas": (change_npz("betas", lambda array: array[:4]), r"betas holds 4 numbers"),
    "integers": (change_npz("poses", lambda array: array.astype(int)), r"poses is int64"),
    "words": (change_npz("trans", lambda array: array.astype(str)), r"trans is <U"),
    "no_rate": (change_npz(RATE, lambda array: None), r"lacks a number in mocap_framerate"),
    "word_rate": (change_npz(RATE, lambda array: np.array("fast")), r"lacks a number in mocap_framerate"),
    "zero_rate": (change_npz(RATE, lambda array: 0 * array), r"has 0 frames per second"),
    "nan_rate": (change_npz(RATE, lambda array: np.nan * array), r"has nan frames per second"),
    "fast": (change_npz(RATE, lambda array: np.array(1e6)), r"has 1e\+06 frames per second"),
    "gender": (add_field("gender", np.array("robot")), r"gender is 'robot', expected one of female, male, neutral"),
    "gender_bytes": (add_field("gender", np.array(b"\xff")), r"gender is no text"),
    "genders": (add_field("gender", np.array(["male", "female"])), r"gender is <U6 of shape \(2,\)"),
}
SPOILT_TEXTS: dict[str, tuple[bytes, str]] = {
    "no_caption": (b"\n \n", r"holds no caption"),
    "empty_caption": (b"#a/DET#0.0#0.0\n", r"line 1 has an empty caption"),
    "backwards": (b"a person walks#a/DET#0.8#0.2\n", r"spans 0\.8 s to 0\.2 s"),
    "no_number": (b"a person walks#a/DET#soon#later\n", r"span \['soon', 'later'\]"),
    "endless": (b"a person walks#a/DET#0.0#inf\n", r"spans 0 s to inf s"),
    "encoding": (b"\xff\xfe\xfd", r"is UTF-16"),
    "beyond": (b"a person walks#a/DET#0.5#9.0\n", r"is 1(\.1)? s long, expected to hold 0\.5 s to 9 s"),
}
SPANS = {"beyond": "@0.5-9"}


def write_malformed(folder: Path) -> dict[str, str]:
    """Add spoilt clips to a data set; return their ids and what each one's rejection must say."""
    fields, expected = amass_fields(walk(1.1, 120.0, 0), 120.0), {}
    for kind, (spoil, says) in SPOILT.items():
        path = folder / "CMU" / "bad" / f"{kind}_poses.npz"
        save_npz(path, fields)
        spoil(path)
        expected[f"amass/CMU/bad/{kind}_poses"] = says
    for kind, (text, says) in SPOILT_TEXTS.items():
        path = folder / "CMU" / "bad" / f"{kind}_poses.npz"
        save_npz(path, fields)
        path.with_suffix(".txt").write_bytes(text)
        expected[f"amass/CMU/bad/{kind}_poses{SPANS.get(kind, '')}"] = says
    parts = smplx_fields(walk(1.1, 120.0, 0), 120.0)
    del parts["poses"]
    save_npz(folder / "CMU" / "bad" / "parts_stageii.npz", parts | {"root_orient": parts["root_orient"][:-1]})
    return expected | {"amass/CMU/bad/parts_stageii": r"has 131 root_orient and 132 pose_body"}
