"""Reconstruct the same rooms from three kinds of data: `python -m tests.benchmarks recon_ways`.

The first is a Teton tree with masks, the second COCO keypoints with masks and a video, the third OpenPose's files and
frames without masks. All have the measured depth of their key frames, true to the millimetre, and the intrinsics. The
second and third are imported as a user does. Errors are of persons as the camera sees them, each with the true person
whose boxes are the same.
"""

import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import torch

from motion.sequence import MotionSequence
from motion.skeleton import KEYPOINT_SETS
from recon.depth import load_depth_model
from recon.pipeline import Bodies, load_bodies, reconstruct
from recon.pipeline.accuracy import Errors, compare
from recon.pipeline.perception import perceive
from recon.regressors import BodyRegressor, load_regressor
from recon.simulate import CLEAN, SimulateConfig, Simulated, Truth, read_truth, simulate, write
from recon.teton import TetonSequence, list_sequences, read_sequence
from recon.teton.images import depth_path, write_depth
from recon.teton.importing import ImportConfig, import_video
from tests.benchmarks.results_file import cores
from tests.helpers.recordings import coco_of, write_openpose, write_video

RESULTS = Path(__file__).parent / "results" / "recon_ways.md"
SEEDS = range(930000, 930010)
CONFIG = SimulateConfig(num_frames=60)
WAYS = ("Teton tree", "COCO and video", "OpenPose and frames, no masks")


def main() -> None:
    """Reconstruct ten rooms in three ways and write the table."""
    regressor, bodies = load_regressor("hmr2_tiny", None), load_bodies()
    lines = []
    errors: list[list[Errors]] = []
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            found = [measure(sequence, truth, regressor, bodies) for sequence, truth in ways(Path(folder), seed)]
        errors.append(found)
        lines.append(f"| {seed} | " + " | ".join(map(_cells, found)) + " |")
        print(lines[-1], flush=True)
    RESULTS.write_text(_page(lines, errors), encoding="utf-8")
    print(RESULTS.read_text(encoding="utf-8"))


def ways(folder: Path, seed: int) -> Iterable[tuple[TetonSequence, Truth]]:
    """Give a room in each of the ways, with the truth about the persons of each."""
    simulated = simulate(seed, CONFIG)
    trees = {}
    for names in ("coco17", "openpose25"):
        trees[names] = folder / names / "a" / "b" / "c" / "d"
        write(simulated, trees[names], KEYPOINT_SETS[names], CLEAN, seed, depth=True)
    tree, truth = read_sequence(trees["coco17"]), read_truth(trees["coco17"])
    yield tree, truth
    write_video(folder / "room.mp4", simulated.frames, [number / 10 for number in range(tree.num_frames)])
    (folder / "room.json").write_text(json.dumps(coco_of(tree)))
    yield imported(folder, simulated, truth, folder / "room.mp4", folder / "room.json")
    posed = read_sequence(trees["openpose25"])
    frames = [
        [track.keypoints[number] for track in posed.tracks if track.present[number]]
        for number in range(posed.num_frames)
    ]
    write_openpose(folder / "poses", frames, "room")
    yield imported(folder, simulated, truth, trees["openpose25"] / "frames", folder / "poses")


def imported(
    folder: Path, simulated: Simulated, truth: Truth, video: Path, annotations: Path
) -> tuple[TetonSequence, Truth]:
    """Import a video, give its key frames their depth, and match the truth's persons to the imported ones."""
    fx, fy, cx, cy = simulated.camera.intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]].tolist()
    root = folder / f"imported {video.suffix}"
    recorded = 10.0 if video.is_dir() else None
    import_video(ImportConfig(video, annotations, root, intrinsics=(fx, fy, cx, cy), recorded_fps=recorded))
    (place,) = list_sequences(root)
    sequence = read_sequence(place)
    assert sequence.num_frames == len(simulated.frames)
    (place / "depth").mkdir()
    for number in sequence.keyframes:
        write_depth(simulated.depth[number], depth_path(place, number))
    return read_sequence(place), of_persons(truth, sequence)


def of_persons(truth: Truth, sequence: TetonSequence) -> Truth:
    """Arrange the truth's persons as those of a sequence, by where their boxes are."""
    rows = []
    for track in sequence.tracks:
        off = np.abs(truth.boxes[:, track.present] - track.boxes[track.present]).mean(axis=(1, 2))
        rows.append(int(off.argmin()))
    arrays = {name: getattr(truth.motion, name)[rows] for name in MotionSequence.ARRAYS}
    names = tuple(track.object_id for track in sequence.tracks)
    return replace(truth, object_ids=names, motion=replace(truth.motion, **arrays))


def measure(sequence: TetonSequence, truth: Truth, regressor: BodyRegressor, bodies: Bodies) -> Errors:
    """Reconstruct a sequence of measured depth and compare it with the truth."""
    networks = [load_depth_model("tiny", metric=metric) for metric in (False, True)]
    return compare(
        reconstruct(sequence, perceive(sequence, regressor, *networks), bodies, "hybrid"), truth, bodies.body
    )


def _cells(found: Errors) -> str:
    assert found.floor_angle is not None
    assert found.floor_height_mm is not None
    return f"{found.floor_angle:.2f}° | {found.floor_height_mm / 10:.1f} cm | {found.world_mpjpe_mm:.1f} mm"


def _page(lines: list[str], errors: list[list[Errors]]) -> str:
    means = " | ".join(_cells(mean(of_way)) for of_way in zip(*errors, strict=True))
    heads = " | ".join(f"{way}: floor | camera's height | persons" for way in WAYS)
    table = "\n".join([f"| room | {heads} |", "|---" * (1 + 3 * len(WAYS)) + "|", *lines, f"| mean | {means} |"])
    about = "The same rooms from three kinds of data, with measured depth (`tests/benchmarks/bench_recon_ways.py`)."
    said = f"{date.today()}, {cores()}, torch {torch.__version__}; `python -m tests.benchmarks recon_ways`."
    return f"# Reconstruction: three kinds of data\n\n{about}\n{said}\n\n{table}\n"


def mean(errors: Sequence[Errors]) -> Errors:
    """Compute the means over rooms of what the table shows."""
    shown = ("floor_angle", "floor_height_mm", "world_mpjpe_mm")
    return Errors(**{name: float(np.mean([getattr(each, name) for each in errors])) for name in shown})


if __name__ == "__main__":
    main()
