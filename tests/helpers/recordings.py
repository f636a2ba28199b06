"""Videos and annotation files as people have them, made in code: of rendered rooms, or of drawn frames."""

import json
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from motion.sequence import LABELS
from motion.skeleton import ACTIONS
from recon.simulate import SimulateConfig
from recon.teton import PERSON_LABEL, TetonSequence, Track
from tests.helpers.rooms import render

TICKS = 1000  # of a video's clock, per second


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    times: Sequence[float],
    *,
    codec: str = "libx264",
    turn: int = 0,
    mirrored: bool = False,
    created: str = "2024-05-01T10:20:30.000000Z",
    aspect: Fraction | None = None,
    quality: int = 12,
) -> None:
    """Encode RGB frames of even sides at these times; players turn them by `turn` degrees counter-clockwise."""
    with av.open(str(path), "w") as container:
        container.metadata["creation_time"] = created
        stream = container.add_stream(codec, rate=TICKS, options={"crf": str(quality), "preset": "fast"})
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
        stream.pix_fmt, stream.bit_rate = "yuv420p", 0 if codec == "libx264" else 8_000_000
        if turn or mirrored:
            stream.set_display_rotation(turn, hflip=mirrored)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for place, (frame, time) in enumerate(zip(frames, times, strict=True)):
            if place == 0:
                stream.height, stream.width = frame.shape[:2]
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts, picture.time_base = round(time * TICKS), Fraction(1, TICKS)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def film(folder: Path, config: SimulateConfig, seed: int = 3) -> TetonSequence:
    """Render a room, and write it as people have it: walk.mp4 of 10 fps, and walk.json of COCO keypoints."""
    sequence = render(folder / "room", seed, config).sequence
    times = [number / 10 for number in range(sequence.num_frames)]
    write_video(folder / "walk.mp4", map(sequence.frame, range(sequence.num_frames)), times)
    (folder / "walk.json").write_text(json.dumps(coco_of(sequence)))
    return sequence


def coco_of(sequence: TetonSequence, *, tracks: bool = True, masks: bool = True) -> dict[str, Any]:
    """Export a Teton sequence as COCO keypoints, as CVAT does; masks of its key frames as run lengths."""
    names = ["person", "patient", "medical_staff", *LABELS[1:]]
    categories: list[dict[str, Any]] = [{"id": k, "name": name, "supercategory": ""} for k, name in enumerate(names, 1)]
    for category in categories[:3]:
        category |= {"keypoints": list(sequence.keypoint_names), "skeleton": []}
    width, height = sequence.image_size
    images = [
        {"id": 1 + k, "width": width, "height": height, "file_name": f"frame_{k:06d}.PNG"}
        for k in range(sequence.num_frames)
    ]
    annotations = []
    for frame in range(sequence.num_frames):
        mask = sequence.mask(frame) if masks and frame in sequence.keyframes else None
        for place, track in enumerate(sequence.tracks):
            if track.present[frame]:
                inside = None if mask is None else mask == PERSON_LABEL + place
                annotations.append(coco_person(track, frame, inside, tracks) | {"id": len(annotations) + 1})
        for label in range(1, len(LABELS)) if mask is not None else ():
            if (mask == label).any():
                part = {"image_id": 1 + frame, "category_id": 1 + names.index(LABELS[label]), "iscrowd": 1}
                annotations.append(part | {"segmentation": runs_of(mask == label), "id": len(annotations) + 1})
    return {"info": {}, "licenses": [], "images": images, "categories": categories, "annotations": annotations}


def coco_person(track: Track, frame: int, inside: np.ndarray | None, with_track: bool = True) -> dict[str, Any]:
    x0, y0, x1, y1 = track.boxes[frame].tolist()
    keypoints = track.keypoints[frame].astype(float)
    flags = np.where(keypoints[:, 2] > 0.5, 2, np.where(keypoints[:, 2] > 0, 1, 0))
    attributes: dict[str, Any] = {"occluded": bool(track.occluded[frame]), "keyframe": True}
    if with_track:
        attributes["track_id"] = int(track.object_id)
    if track.action[frame]:
        attributes["action"] = ACTIONS[track.action[frame]]
    return {
        "image_id": 1 + frame,
        "category_id": max(1, track.person_class),
        "segmentation": [] if inside is None or not inside.any() else runs_of(inside),
        "area": (x1 - x0) * (y1 - y0),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "iscrowd": 0,
        "attributes": attributes,
        "keypoints": np.concatenate([keypoints[:, :2], flags[:, None]], axis=1).ravel().tolist(),
        "num_keypoints": int((flags > 0).sum()),
    }


def runs_of(inside: np.ndarray) -> dict[str, Any]:
    """Encode a mask as COCO's uncompressed run lengths: column by column, outside first."""
    flat = np.concatenate([[False], inside.T.ravel(), [not inside.T.ravel()[-1]]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    return {"size": list(inside.shape), "counts": np.diff([0, *edges.tolist()]).tolist()}


def compressed(runs: Sequence[int]) -> str:
    """Compress run lengths as COCO's `maskApi.c` does."""
    letters = ""
    for place, run in enumerate(runs):
        number = run - (runs[place - 2] if place > 2 else 0)
        more = True
        while more:
            bits, number = number & 0x1F, number >> 5
            more = number != (-1 if bits & 0x10 else 0)
            letters += chr(48 + (bits | (0x20 if more else 0)))
    return letters


def write_openpose(folder: Path, frames: Sequence[Sequence[np.ndarray]], name: str = "walk") -> None:
    """Write keypoints of the persons of each frame as OpenPose does with --write_json."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, persons in enumerate(frames):
        people = [
            {
                "person_id": [-1],
                "pose_keypoints_2d": np.round(person, 3).ravel().tolist(),
                "face_keypoints_2d": [],
                "hand_left_keypoints_2d": [],
                "hand_right_keypoints_2d": [],
                "pose_keypoints_3d": [],
            }
            for person in persons
        ]
        content = {"version": 1.3, "people": people}
        (folder / f"{name}_{number:012d}_keypoints.json").write_text(json.dumps(content))


def mmpose_person(keypoints: np.ndarray, box: np.ndarray | None = None) -> dict[str, Any]:
    """Make a person as MMPose's `split_instances` does."""
    person = {"keypoints": keypoints[:, :2].tolist(), "keypoint_scores": keypoints[:, 2].tolist()}
    return person | ({} if box is None else {"bbox": [box.tolist()], "bbox_score": 0.9})
