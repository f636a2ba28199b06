"""Storage of a simulation: a Teton tree with its ground truth beside it.

FOLDER/…                   the tree of `recon.teton`
FOLDER/truth/
    camera.json            intrinsics (fx, fy, cx, cy), extrinsics (world to camera), image_size
    depth/000017.png       16-bit millimetres of each key frame, persons included
    background_depth.png   16-bit millimetres of the empty room
    background_labels.png  8-bit labels of the empty room, as in masks/
    visibility.npz         object_ids, keypoint_names, keypoints, visible, seen, boxes
    motion.parquet         one MotionSequence, written last
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from PIL import Image

from motion.errors import InputError
from motion.parquet import write_parquet
from motion.sequence import MotionSequence, read_motions
from recon.camera import Camera, intrinsics_matrix
from recon.simulate.annotate import AnnotationNoise, annotate, object_ids
from recon.simulate.records import Simulated
from recon.teton import write_sequence
from recon.teton.checked_json import expect, read_json, write_json
from recon.teton.images import MM_PER_M, write_depth
from recon.teton.keyframes import choose_keyframes


@dataclass(frozen=True, eq=False)
class Truth:
    """Ground truth beside a Teton tree; persons are in the order of `object_ids`, which are the tree's.

    The fields that `recon.simulate.Simulated` has too mean the same here.
    """

    camera: Camera
    motion: MotionSequence
    object_ids: tuple[str, ...]
    depth: dict[int, Float32[np.ndarray, "height width"]]
    """Depth of each key frame by frame number, in metres, rounded to millimetres."""
    background_depth: Float32[np.ndarray, "height width"]
    background_labels: UInt8[np.ndarray, "height width"]
    keypoint_names: tuple[str, ...]
    keypoints: Float32[np.ndarray, "person frame keypoint 2"]
    visible: Bool[np.ndarray, "person frame keypoint"]
    seen: Float32[np.ndarray, "person frame"]
    boxes: Float32[np.ndarray, "person frame 4"]


def write(
    simulated: Simulated, folder: Path, names: Sequence[str], noise: AnnotationNoise, seed: int, depth: bool = False
) -> None:
    """Write a simulation as a Teton tree with its truth, replacing the content of `folder`.

    `names` are the keypoints to annotate, `seed` draws the annotations' errors; `depth` adds measured depth, which is
    the true one in millimetres.
    """
    keyframes = choose_keyframes(simulated.frames)
    camera = simulated.camera
    write_sequence(
        folder,
        frames=simulated.frames,
        tracks=annotate(simulated, names, noise, np.random.default_rng(seed)),
        image_size=camera.image_size,
        fps=simulated.motion.fps,
        intrinsics=camera.intrinsics.double().numpy(),
        keypoint_names=names,
        keyframes=keyframes,
        masks={number: simulated.labels[number] for number in keyframes},
        depth={number: simulated.depth[number] for number in keyframes} if depth else None,
    )
    _write_truth(simulated, folder / "truth", keyframes)


def _write_truth(simulated: Simulated, folder: Path, keyframes: Sequence[int]) -> None:
    (folder / "depth").mkdir(parents=True, exist_ok=True)
    for stale in (folder / "depth").glob("*.png"):
        stale.unlink()
    for number in keyframes:
        write_depth(simulated.depth[number], folder / "depth" / f"{number:06d}.png")
    write_depth(simulated.background_depth, folder / "background_depth.png")
    Image.fromarray(simulated.background_labels).save(folder / "background_labels.png")
    write_json(folder / "camera.json", _to_json(simulated.camera))
    names = ("keypoint_names", "keypoints", "visible", "seen", "boxes")
    arrays = {name: np.asarray(getattr(simulated, name)) for name in names}
    arrays["object_ids"] = np.array(object_ids(simulated))
    np.savez_compressed(folder / "visibility.npz", **arrays)  # type: ignore[arg-type]
    write_parquet([simulated.motion], folder / "motion.parquet")


def _to_json(camera: Camera) -> dict[str, Any]:
    return {
        "intrinsics": camera.intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]].tolist(),
        "extrinsics": camera.extrinsics.tolist(),
        "image_size": list(camera.image_size),
    }


def read_truth(folder: Path) -> Truth:
    """Read the ground truth beside the Teton tree in `folder`; raises InputError where there is none."""
    truth = folder / "truth"
    if not (truth / "motion.parquet").is_file():
        raise InputError(f"{truth}: holds no motion.parquet, expected the truth that recon.simulate writes")
    camera = expect(read_json(truth / "camera.json"), dict, f"{truth / 'camera.json'}:", "the camera's numbers")
    with np.load(truth / "visibility.npz", allow_pickle=False) as archive:
        known: dict[str, Any] = dict(archive)
    for name in ("object_ids", "keypoint_names"):
        known[name] = tuple(known[name].tolist())
    return Truth(
        camera=Camera(
            intrinsics_matrix(*camera["intrinsics"]), torch.tensor(camera["extrinsics"]), tuple(camera["image_size"])
        ),
        motion=read_motions(truth / "motion.parquet")[0],
        depth={int(path.stem): _load_depth(path) for path in sorted((truth / "depth").glob("*.png"))},
        background_depth=_load_depth(truth / "background_depth.png"),
        background_labels=np.asarray(Image.open(truth / "background_labels.png")),
        **known,
    )


def _load_depth(path: Path) -> Float32[np.ndarray, "height width"]:
    return np.asarray(Image.open(path)).astype(np.float32) / np.float32(MM_PER_M)
