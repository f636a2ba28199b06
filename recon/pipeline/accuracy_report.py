"""Accuracy report: rendered sequences, whose truth is known, through all modes, in one table.

`python -m recon.pipeline --simulate 20 --report out` writes

    out/clean, out/noisy       the rendered rooms as Teton trees, annotated without and with errors
    out/sequences/*.json       the figures of each sequence, so that an interrupted report goes on where it was
    out/sheets/*.png           a contact sheet of each sequence
    out/settings.json          what it is made with; a report with other networks or motions needs another folder
    out/report.md, report.json the table: means over sequences, with the worst in brackets, and both against each bar

"true" inputs are the rendered depth of the key frames, "shipped" ones what the stand-in depth networks predict for the
frames; bodies of the modes regression and hybrid are always the stand-in network's.
"""

import json
import math
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from itertools import product
from pathlib import Path
from statistics import mean
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
import torch
from pydantic import TypeAdapter
from tqdm import tqdm

from motion.body import Body
from motion.errors import InputError
from motion.metrics.pose_error import acceleration_error, floor_error, world_mpjpe
from motion.rotations import matrix_from_axis_angle
from motion.sequence import LABELS, MotionSequence
from motion.skeleton import KEYPOINT_SETS
from recon.camera import unproject_image
from recon.depth import DepthNetwork
from recon.floor import fit_floor
from recon.people import People, people_of
from recon.pipeline.accuracy import Errors, camera_height, compare
from recon.pipeline.contact_sheet import contact_sheet
from recon.pipeline.perception import Perception, perceive
from recon.pipeline.record import UNSURE_M, describe_quality
from recon.pipeline.steps import Bodies, Mode, reconstruct
from recon.regressors import BodyRegressor
from recon.simulate import CLEAN, NOISY, SimulateConfig, Truth, read_truth, simulate, write
from recon.smoothing import smooth
from recon.teton import read_sequence
from recon.teton.checked_json import write_json

Annotations = Literal["clean", "noisy"]
Depths = Literal["true", "shipped"]
NOISE = {"clean": CLEAN, "noisy": NOISY}
NAMES = KEYPOINT_SETS["coco17"]
SHOWN = (
    "floor_angle", "floor_height_mm", "world_mpjpe_mm", "mpjpe_mm", "pa_mpjpe_mm", "acceleration_error", "found",
    "seconds",
)  # fmt: skip
BARS: tuple[tuple[Annotations, str, float], ...] = (
    ("clean", "floor_angle", 0.5),
    ("clean", "floor_height_mm", 10.0),
    ("clean", "pa_mpjpe_mm", 45.0),
    ("clean", "world_mpjpe_mm", 70.0),
    ("noisy", "world_mpjpe_mm", 100.0),
)
"""Errors that a sequence should not exceed with true depth, where poses are fitted to the keypoints."""
FAR_OFF_M = 0.3
"""Error of a person's place in the camera's frame, of which a flag should warn."""
MOST_STATURE = 0.08
"""Relative error of an adult's stature that a reconstruction should not exceed."""
MOST_LEFT = 0.3
"""Share of the acceleration error of shaken joints that smoothing should leave at most."""
TILTS_DEG = (0, 10, 20, 30, 40, 50, 60)
JITTER_M = 0.02  # rms along each axis, by which joints are shaken to measure smoothing


@dataclass(frozen=True, kw_only=True)
class Figures(Errors):
    """Errors of one sequence in one mode, with its inputs and its time."""

    sequence: str
    """Name of the sequence."""
    annotations: Annotations
    """Whether the 2D keypoints are exact or noisy."""
    depth: Depths
    """Whether depth is the true one or that of the networks that ship."""
    mode: Mode
    """Mode of the reconstruction."""
    persons: int
    """Number of persons in the sequence."""
    found: float
    """Share of the annotated frames that have a pose, 0 to 1."""
    seconds: float
    """Seconds that the reconstruction took, without the networks."""


FIGURES = TypeAdapter(list[Figures])
"""Reader of the figures of a sequence."""


SETTINGS = TypeAdapter(dict[str, str])
"""Reader of a report's settings."""


@dataclass(frozen=True)
class Models:
    """Networks and body models that a report reconstructs with."""

    regressor: BodyRegressor
    relative: DepthNetwork
    metric: DepthNetwork
    bodies: Bodies


def write_report(
    output: Path,
    count: int,
    seed: int,
    models: Models,
    motions: Sequence[MotionSequence] | None = None,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> list[Figures]:
    """Render `count` rooms, reconstruct and compare them; finished parts of an earlier run are kept.

    Some persons of the rooms move by `motions`, or by DeepMimic's clips. `settings` are the options that say what
    `models` and `motions` are, where it is not what ships; raises InputError where `output` was made with others.
    """
    keep_settings(output / "settings.json", settings)
    folders = render(output, count, seed, motions)
    rows = [row for folder in tqdm(folders, desc="reconstruct") for row in figures_of(output, folder, models)]
    tilts = floors_by_tilt(seed)
    truths = [read_truth(output / "clean" / folder).motion for folder in folders]
    gains = [smoothing_gain(motion, models.bodies.body, seed) for motion in truths]
    content = {"sequences": [asdict(row) for row in rows], "tilts": tilts, "smoothing": gains}
    (output / "report.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    command = f"python -m recon.pipeline --simulate {count} --seed {seed} --report {output} {_options(settings)}"
    (output / "report.md").write_text(to_markdown(rows, tilts, gains, command.strip()), encoding="utf-8")
    return rows


def keep_settings(path: Path, settings: Mapping[str, str]) -> None:
    """Write the settings of a report; raises InputError where the file holds others, or is damaged."""
    try:
        before = SETTINGS.validate_json(path.read_bytes()) if path.exists() else settings
    except ValueError as error:
        raise InputError(f"{path} is damaged, expected the report's settings; take another --report") from error
    if not path.exists() and (path.parent / "sequences").exists():
        raise InputError(f"{path} is gone, so nobody knows what {path.parent} was made with; take another --report")
    if before != settings:
        made = _options(before) or "what ships"
        raise InputError(f"{path.parent} was made with {made}: keep that, or take another --report")
    write_json(path, dict(settings))


def _options(settings: Mapping[str, str]) -> str:
    return " ".join(f"--{name} {value}".removesuffix(" True") for name, value in settings.items())


def render(output: Path, count: int, seed: int, motions: Sequence[MotionSequence] | None = None) -> list[Path]:
    """Render the rooms under both annotations; return their folders, relative to either tree.

    Every second room has two persons or more.
    """
    folders = []
    for k in tqdm(range(count), desc="render"):
        folder = Path("simulated", f"room-{seed + k:06}", "2026-01-01", "2026-01-01T00-00-00")
        if not (output / "noisy" / folder / "truth" / "motion.parquet").exists():
            rendered = simulate(seed + k, SimulateConfig(num_people=1 + k % 4 if k % 2 else 1), motions)
            for kind, noise in NOISE.items():
                write(rendered, output / kind / folder, NAMES, noise, seed + k)
        folders.append(folder)
    return folders


def figures_of(output: Path, folder: Path, models: Models) -> list[Figures]:
    """Run all modes on one sequence, or read the file of an earlier run."""
    file = output / "sequences" / f"{'_'.join(folder.parts)}.json"
    if file.exists():
        if rows := read_figures(file, folder):
            return rows
        tqdm.write(f"{file} is damaged, or of another version: its sequence is measured anew")
    rows = [row for kind in get_args(Annotations) for row in _compare(output, folder, kind, models)]
    write_json(file, [asdict(row) for row in rows])
    return rows


def read_figures(file: Path, folder: Path) -> list[Figures]:
    """Read the figures of a sequence; none where the file does not hold all of them, each finite."""
    names = {field.name for field in fields(Figures)}
    asked = list(product(get_args(Annotations), get_args(Depths), get_args(Mode)))
    try:
        content = json.loads(file.read_bytes())
        json.dumps(content, allow_nan=False)
        rows = FIGURES.validate_python(content)
    except ValueError:
        return []
    whole = all(set(row) == names and row["sequence"] == str(folder) for row in content)
    return rows if whole and [(row.annotations, row.depth, row.mode) for row in rows] == asked else []


def _compare(output: Path, folder: Path, kind: Annotations, models: Models) -> Iterator[Figures]:
    sequence, truth = read_sequence(output / kind / folder), read_truth(output / kind / folder)
    shipped = perceive(sequence, models.regressor, models.relative, models.metric)
    inputs: dict[Depths, Perception] = {"true": with_true_depth(shipped, truth), "shipped": shipped}
    annotated = sum(int(track.present.sum()) for track in sequence.tracks)
    for (depth, perception), mode in product(inputs.items(), get_args(Mode)):
        start, made = time.monotonic(), None
        try:
            made = reconstruct(sequence, perception, models.bodies, mode)
        except InputError as error:  # a figure, too: nothing was found
            tqdm.write(f"{kind} annotations, {depth} depth, {mode}: {error}")
        yield Figures(
            sequence=str(folder),
            annotations=kind,
            depth=depth,
            mode=mode,
            persons=len(sequence.tracks),
            found=float(made.motion.valid.sum()) / annotated if made else 0.0,
            seconds=time.monotonic() - start,
            **vars(compare(made, truth, models.bodies.body) if made else Errors()),
        )
        if made:
            sheet = contact_sheet(sequence, made.scene, made.motion, models.bodies.body, describe_quality(made.quality))
            path = output / "sheets" / f"{'_'.join(folder.parts)}-{kind}-{depth}-{mode}.png"
            path.parent.mkdir(exist_ok=True)
            sheet.save(path)


def with_true_depth(perception: Perception, truth: Truth) -> Perception:
    """Replace the depth networks' answers by the rendered depth of the key frames."""
    depth = np.stack([truth.depth[number] for number in sorted(truth.depth)])
    depth[depth == 0] = np.nan  # unknown
    return replace(perception, disparity=1 / depth, metric=depth)


def floors_by_tilt(seed: int) -> dict[int, tuple[float, float]]:
    """Compute the floor's error in angle (degrees) and height (m) at each tilt of the camera, from true depth."""
    found = {}
    for tilt in TILTS_DEG:
        room = simulate(seed, SimulateConfig(num_people=1, num_frames=1, tilt=float(tilt)))
        points = unproject_image(torch.from_numpy(room.background_depth), room.camera.intrinsics).numpy()
        plane = fit_floor(points[room.background_labels == LABELS.index("floor")])
        true = room.camera.extrinsics.double().numpy()
        found[tilt] = floor_error(plane.normal, plane.offset, true[:3, 2], camera_height(true))
    return found


def smoothing_gain(motion: MotionSequence, body: Body, seed: int) -> tuple[float, float]:
    """Measure smoothing on a motion whose joints are shaken by `JITTER_M`.

    Returns the share by which it cuts the acceleration error, and what it adds to the MPJPE (m).
    """
    people = people_of(motion)
    shaken = shake(people, body, torch.Generator().manual_seed(seed))
    before, after = (made.joints(body).numpy() for made in (shaken, smooth(shaken, body, motion.fps)))
    jerky, smoothed = (acceleration_error(j, motion.joints, motion.fps, motion.valid) for j in (before, after))
    apart, smoothed_apart = (world_mpjpe(j, motion.joints, motion.valid) for j in (before, after))
    return 1 - smoothed / jerky, smoothed_apart - apart


def shake(people: People, body: Body, generator: torch.Generator) -> People:
    """Add independent noise to every frame's translation and rotations, such that joints move by `JITTER_M`."""
    transl = torch.randn(people.transl.shape, generator=generator)
    turns = torch.randn(*people.transl.shape[:2], 24, 3, generator=generator)

    def shaken(size: float) -> People:
        turned = matrix_from_axis_angle(size * turns)
        return replace(
            people,
            transl=people.transl + 0.3 * size * transl,
            global_orient=people.global_orient @ turned[:, :, 0],
            body_pose=people.body_pose @ turned[:, :, 1:],
        )

    moved = (shaken(0.01).joints(body) - people.joints(body)).square().mean().sqrt()
    return shaken(0.01 * JITTER_M / float(moved))


def to_markdown(
    rows: Sequence[Figures],
    tilts: dict[int, tuple[float, float]],
    gains: Sequence[tuple[float, float]],
    command: str,
) -> str:
    """Format the report as Markdown; `command` is what made it."""
    persons = {row.sequence: row.persons for row in rows}
    table = [
        (*key, *(cell(name, [row for row in rows if (row.annotations, row.depth, row.mode) == key]) for name in SHOWN))
        for key in product(get_args(Annotations), get_args(Depths), get_args(Mode))
    ]
    cuts, added = zip(*gains, strict=True)
    return "\n".join(
        [
            f"# Reconstruction of {len(persons)} rendered sequences",
            "",
            f"{date.today()}, {os.cpu_count()} cores {platform.machine()}; `{command}`.",
            "",
            f"Each has a room and a camera of its own, {sum(n > 1 for n in persons.values())} two people or more.",
            "Means over sequences, the worst in brackets; lengths in mm, angles in degrees, accelerations in m/s².",
            "Persons are compared as the camera sees them, so that an error of the floor is not counted again; in the",
            "world, with pelvises aligned (mpjpe), and with pose and size aligned, too (pa mpjpe). What could not be",
            "reconstructed counts as found in no frame, and not among the errors. Depth is the true one, or that",
            "of the networks that ship.",
            "",
            *_table(("annotations", "depth", "mode", *(name.replace("_", " ") for name in SHOWN)), table),
            "",
            "Against the bars, with true depth:",
            "",
            *_table(("bar", "mode", "mean", "holds", "worst", "holds", "sequences within"), against_bars(rows, gains)),
            "",
            "Errors along the ray within one standard deviation of what the record says (0.68 where it is right), mean",
            f"and least of the sequences; persons whose joints are more than {FAR_OFF_M:g} m off, how many of them are",
            f"flagged as unsure by more than {UNSURE_M:g} m (recall), and how many of those flagged are so far off",
            "(precision):",
            "",
            *_table(
                ("annotations", "depth", "mode", "within", "far off", "flagged", "recall", "precision"), sure(rows)
            ),
            "",
            f"Statures of persons, relative to the true ones; at most {MOST_STATURE:.0%} are allowed:",
            "",
            *_table(("annotations", "depth", "mode", "mean", "mean without sign", "worst", "within"), statures(rows)),
            "",
            "Floor from true depth, by the camera's tilt below the horizon:",
            "",
            *_table(
                ("tilt", "angle", "height (mm)"),
                [(f"{tilt}°", f"{angle:.2f}°", f"{1000 * height:.1f}") for tilt, (angle, height) in tilts.items()],
            ),
            "",
            f"Smoothing alone, joints shaken by {1000 * JITTER_M:.0f} mm (rms, along each axis):",
            f"acceleration error cut by {mean(cuts):.0%} (least {min(cuts):.0%}),",
            f"MPJPE changed by {1000 * mean(added):+.1f} mm (at most {1000 * max(added):+.1f}).",
            "",
        ]
    )


def against_bars(rows: Sequence[Figures], gains: Sequence[tuple[float, float]]) -> list[tuple[str, ...]]:
    """Compare with each bar: bar, mode, mean, worst, each with whether it holds, and how many sequences do.

    A sequence that could not be reconstructed is within no bar.
    """
    table = []
    for (kind, name, most), mode in product(BARS, ("optimisation", "hybrid")):
        made = [row for row in rows if (row.annotations, row.depth, row.mode) == (kind, "true", mode)]
        values = [math.inf if (value := getattr(row, name)) is None else value for row in made]
        table.append((f"{kind}: {name.replace('_', ' ')} ≤ {most:g}", mode, *_held(values, most)))
    left = [1 - cut for cut, _ in gains]
    return [*table, (f"acceleration error that smoothing leaves ≤ {MOST_LEFT:g}", "–", *_held(left, MOST_LEFT))]


def sure(rows: Sequence[Figures]) -> list[tuple[str, ...]]:
    """Tell how well the uncertainty says how far persons are off, for each kind of input and mode."""
    table: list[tuple[str, ...]] = []
    for key in product(get_args(Annotations), get_args(Depths), get_args(Mode)):
        made = [row for row in rows if (row.annotations, row.depth, row.mode) == key]
        far = np.array([away > FAR_OFF_M for row in made for away in row.away_m], dtype=bool)
        flagged = np.array([deviation > UNSURE_M for row in made for deviation in row.along_m], dtype=bool)
        hit, all_far, all_flagged = (int(which.sum()) for which in (far & flagged, far, flagged))
        counts = (f"{all_far} of {len(far)}", str(all_flagged), _share(hit, all_far), _share(hit, all_flagged))
        table.append((*key, cell("within_sigma", made), *counts))
    return table


def statures(rows: Sequence[Figures]) -> list[tuple[str, ...]]:
    """Tell how far the persons' statures are off, for each kind of input and mode."""
    table: list[tuple[str, ...]] = []
    for key in product(get_args(Annotations), get_args(Depths), get_args(Mode)):
        made = [row for row in rows if (row.annotations, row.depth, row.mode) == key]
        off = np.array([error for row in made for error in row.stature_error])
        if len(off):
            size = np.abs(off)
            told = (f"{off.mean():+.1%}", f"{size.mean():.1%}", f"{size.max():.1%}")
            table.append((*key, *told, f"{(size <= MOST_STATURE).sum()} of {len(off)}"))
    return table


def _share(count: int, of: int) -> str:
    return f"{count / of:.2f}" if of else "–"


def _held(values: Sequence[float], most: float) -> tuple[str, ...]:
    if not values:
        return ("–",) * 5
    told = [(f"{value:.3g}", "yes" if value <= most else "**no**") for value in (mean(values), max(values))]
    return (*told[0], *told[1], f"{sum(value <= most for value in values)} of {len(values)}")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def cell(name: str, rows: Sequence[Figures]) -> str:
    """Format mean and worst of a figure, or a dash where there is none."""
    values = [value for row in rows if (value := getattr(row, name)) is not None]
    worst = min if name in ("found", "within_sigma") else max
    return f"{mean(values):.3g} ({worst(values):.3g})" if values else "–"
