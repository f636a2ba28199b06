"""Convert motion data of any mix of sources to MotionSequences in Parquet, ready to train on.

    python -m ray_jobs.prepare --output data/deepmimic
    python -m ray_jobs.prepare --output data/all --sources deepmimic humanml3d:HumanML3D interhuman:InterHuman
    python -m ray_jobs.prepare --output data/own --sources mypackage.mocap:reader:captures

Writes to the output folder

    motions/*.parquet        one row a clip: Z up, floor at z = 0, metres, one frame rate
    rejected/*.parquet       id and reason of each clip that could not be read
    normalizer.safetensors   mean and standard deviation of the training features
    card.html                what is in the data, and under which licences
    duplicates.parquet       motions that are there twice: the id left out, and the one it repeats
    config.yaml, clips.parquet, checkpoint/   what was asked for, the clips that were found, which of them are done

A job that was interrupted, or whose sources have grown or changed, is started again with the same arguments. It reads
only what is missing and what changed, such as a clip with another caption; what was rejected is tried anew. Clips that
left the sources stay in the output.
"""

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial, reduce
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import pyarrow as pa
import ray
import ray.data
import torch
from safetensors.torch import save

from motion.body import Body, load_body
from motion.clips.duplicates import find_duplicates
from motion.clips.sanity import FLAGS, STATURE_M, find_oddities, refuse_impossible, refuse_stature
from motion.clips.transforms import canonical_start, cut, resample, windows
from motion.datasets import amass, bvh, deepmimic, humanml3d, interhuman, teton
from motion.datasets.bvh_names import read_names
from motion.datasets.clip import FPS_RANGE, Clip
from motion.datasets.splits import NOTHING, Grouping, Holding, hold_out
from motion.errors import InputError
from motion.errors.numbers import Range, above, at_least, between, check_numbers
from motion.extensions import is_extension, load_extension
from motion.features import Moments, encode_sequence
from motion.parquet import delete_partial_files, from_table, write_table
from motion.sequence import MotionSequence
from ray_jobs.common import cli, storage
from ray_jobs.common.motion_sink import (
    CLIP,
    DUPLICATES,
    REPEATS,
    SCHEMA,
    MotionSink,
    checkpoint,
    drop_changed,
    drop_rows,
    drop_unfinished,
)
from ray_jobs.common.only_writer import writes_output
from ray_jobs.common.places import check_seen, place, settle
from ray_jobs.common.prepared_data import NORMALIZER_FILE
from ray_jobs.pages import dataset_card

CLIPS_PER_FILE = 32
FEWEST_FRAMES = 2  # fewer are no motion
RANGES = {
    "fps": between(*FPS_RANGE),
    "min_stature": Range(f"metres below {STATURE_M[1]}", lambda metres: 0 < metres < STATURE_M[1]),
    "scale": above(0),
}
"""Ranges of a PrepareConfig's numbers."""
FEW_CLIPS, CLIPS_PER_EPOCH = 1_000, 12_000
FOR_BVH = ("scale", "up_axis", "bvh_names")
"""Settings that say what BVH files leave open."""
FOR_SPLITS = ("held_out", "validation", "held_out_by", "name_pattern")
"""Settings of what is held out."""
FIXED_SETTINGS = ("fps", "max_seconds", *FOR_SPLITS, "min_stature", *FOR_BVH)
"""Settings that all clips of one output share."""
WITH_LISTS = ("humanml3d", "interhuman")
"""Sources with test lists of their own."""
MOMENTS = pa.schema({"count": pa.int64(), "mean": pa.list_(pa.float64()), "squares": pa.list_(pa.float64())})

ReadClip = Callable[[Clip, Body], MotionSequence]

logger = logging.getLogger(__name__)


class Reader(Protocol):
    """Module of `motion.datasets`, or object of the user's own, that reads one source; see `motion.datasets.clip`."""

    LICENCE: str
    """Terms of the data, as the data set's card shows them."""

    def list_clips(self, root: Path) -> list[Clip]:
        """List what lies under `root`, by names and captions, without reading motion."""

    def read_clip(self, clip: Clip, body: Body) -> MotionSequence:
        """Read a listed clip at its own frame rate: Z up, metres, floor at z = 0, joints of `body`."""


READERS: dict[str, Reader] = {
    "amass": amass,
    "bvh": bvh,
    "deepmimic": deepmimic,
    "humanml3d": humanml3d,
    "interhuman": interhuman,
    "teton": teton,
}


@dataclass(frozen=True)
class PrepareConfig:
    """Settings of data preparation."""

    output: str
    """Folder or URI (s3://…) to write to."""
    sources: tuple[str, ...] = ("deepmimic",)
    """Sources to read, any mix of NAME:FOLDER such as bvh:captures.

    NAME is amass, bvh, deepmimic, humanml3d, interhuman or teton; the first lines of motion/datasets/NAME.py say what
    the folder holds. deepmimic alone takes the clips of the installed pybullet_data. A reader of your own is
    package.module:object:FOLDER (see .github/EXTENDING.md). On a cluster every node must see the folders.
    """
    fps: float = 20.0
    """Frame rate that all clips are resampled to, 5 to 1000 frames per second."""
    max_seconds: float = 20.0
    """Longest clip in seconds; longer ones are cut into equal pieces."""
    held_out: float = 0.0
    """Share of the groups (see --held-out-by) that become the test split, such as 0.1.

    humanml3d and interhuman have split lists of their own. The choice depends on a group's name alone, so groups that
    join later move none.
    """
    validation: float = 0.0
    """Share of the groups that become the validation split, by which settings are chosen."""
    held_out_by: Grouping = "file"
    """Kind of group that goes to one split: file, folder, source, or the subject, style or label that file names tell.

    Takes of one performer or content are alike: with "file", a test measures how well what was seen is recalled.
    """
    name_pattern: tuple[str, ...] = ()
    """Patterns of the files' names for subject, style and label, such as "dataset-{}_{label}_{style}_{}".

    {} stands for what does not matter; with / in it, folders count. The first that fits a name counts. AMASS tells its
    subjects without one.
    """
    min_stature: float = STATURE_M[0]
    """Shortest person in metres; lower it for children. A shorter one is rejected, as are those over 2.2 m."""
    scale: float | None = None
    """Metres per unit of BVH files, such as 0.01 for centimetres; None finds it by the length of a leg."""
    up_axis: Literal["auto", "y", "z"] = "auto"
    """Axis that points up in BVH files; auto finds it by zero pose and frames."""
    bvh_names: str | None = None
    """YAML file of the joints' names in BVH files whose names are unknown; see motion/datasets/bvh_names.py."""
    max_rejected_fraction: float = 0.05
    """Share of unreadable clips above which the job fails at its end; good output is kept."""

    def __post_init__(self) -> None:
        cli.check_fraction(self.max_rejected_fraction)
        check_numbers(self, RANGES)
        check_numbers(self, {"max_seconds": at_least(2 * FEWEST_FRAMES / self.fps)})  # pieces may be half as long
        holding(self)
        said = [name for name in FOR_BVH if getattr(self, name) != getattr(type(self), name)]
        if said and not any(source.startswith("bvh:") for source in self.sources):
            raise InputError(
                f"{said[0]} is for BVH files, expected a source bvh:FOLDER among {', '.join(self.sources)}"
            )
        for source in self.sources:
            name, folder = split_source(source)
            if not ((folder and (name in READERS or is_extension(name))) or name == "deepmimic"):
                raise InputError(
                    f"{source!r} is no source, expected NAME:FOLDER with NAME of {', '.join(READERS)}, "
                    "or package.module:object:FOLDER with a reader of your own"
                )
        settle(self, "bvh_names")
        named = ((name, folder and place(folder, "--sources")) for name, folder in map(split_source, self.sources))
        object.__setattr__(self, "sources", tuple(f"{name}:{folder}" if folder else name for name, folder in named))


def split_source(source: str) -> tuple[str, str]:
    """Split NAME:FOLDER, where NAME is a built-in reader's or `package.module:object`."""
    name, _, folder = source.partition(":")
    if name not in READERS:
        attribute, _, folder = folder.partition(":")
        name = f"{name}:{attribute}"
    return name, folder


def load_readers(sources: Iterable[str]) -> dict[str, Reader]:
    """Return the built-in readers and those of the user's own that `sources` name, by name."""
    own = {name for name, _ in map(split_source, sources)} - READERS.keys()
    return READERS | {name: load_extension(name, Reader) for name in sorted(own)}


def read_functions(config: PrepareConfig) -> dict[str, ReadClip]:
    """Return what reads a clip of each source, that of BVH with what `config` says of such files."""
    names = read_names(Path(config.bvh_names)) if config.bvh_names else None
    options = bvh.BvhOptions(config.scale, config.up_axis, names, config.min_stature)
    functions: dict[str, ReadClip] = {name: reader.read_clip for name, reader in load_readers(config.sources).items()}
    return functions | {"bvh": partial(bvh.read_clip, options=options)}


@writes_output
def prepare(config: PrepareConfig) -> None:
    """Convert the clips that the output lacks, leave out duplicates, and write normalizer and data card."""
    read_functions(config)  # names that cannot be read end the job at once
    clips = list_clips(config.sources, holding(config))
    check_seen(*filter(None, [config.bvh_names, *(folder for _, folder in map(split_source, config.sources))]))
    cli.refuse_other_settings(config.output, config, FIXED_SETTINGS)
    cli.write_config(config, config.output)
    manifest, motions, rejected, duplicates = (
        storage.join(config.output, name) for name in ("clips.parquet", "motions", "rejected", DUPLICATES)
    )
    keys = {clip.id: content_key(clip, config.bvh_names) for clip in clips}
    write_table(pa.Table.from_pylist([{CLIP: keys[clip.id], "json": clip.to_json()} for clip in clips]), manifest)
    storage.delete_folder(rejected)  # what was rejected is tried anew
    drop_unfinished(config.output)
    changed = drop_changed(config.output, keys)
    before = len(storage.read_column(motions, "id"))
    convert(manifest, config)
    if "train" not in storage.read_column(motions, "split"):
        raise InputError(f"{config.output} holds no training clips; see {rejected} for why")
    reasons = storage.read_rows(rejected, ("id", "reason"))
    survey = drop_duplicates(dataset_card.survey(motions), motions, duplicates, [clip.id for clip in clips])
    logger.info(
        "%d motions (%d of them there before) of %d clips, %d changed since, %d rejected, %d left out as duplicates, "
        "%d with a caption",
        *(len(survey), before, len(clips), changed, len(reasons), len(storage.read_rows(duplicates, ("id",)))),
        sum(bool(len(row["texts"])) for row in survey),
    )
    write_normalizer(config.output)
    licences = {name: reader.LICENCE for name, reader in load_readers(config.sources).items()}
    card = dataset_card.render(survey, motions, licences, reasons)
    storage.write_bytes(storage.join(config.output, "card.html"), card.encode())
    cli.check_rejected(reasons, len(clips), "clips", config.max_rejected_fraction, rejected)
    look = f"the data lies in {config.output}, described by its card.html"
    cli.conclude(look, training(survey), config.output)


def training(survey: list[dataset_card.SurveyRow]) -> str:
    """Compose the command that trains on this; of few clips an epoch shows each often, as it takes seconds to start."""
    clips = sum(row["split"] == "train" for row in survey)
    repeats = f"--repeats {math.ceil(CLIPS_PER_EPOCH / clips)} " if clips < FEW_CLIPS else ""
    return f"ray_jobs.train tiny {repeats}--output runs/first --data"


def holding(config: PrepareConfig) -> Holding:
    """Put together what is held out; raises InputError for shares or a pattern that make no sense."""
    return Holding(config.held_out, config.validation, config.held_out_by, config.name_pattern)


def list_clips(sources: Iterable[str], held_out: Holding = NOTHING) -> list[Clip]:
    """List the clips of all sources in their order; raises InputError for an id that is there twice."""
    clips: dict[str, Clip] = {}
    open_to_choice: list[tuple[Clip, Path | None]] = []
    sources = list(sources)
    readers = load_readers(sources)
    for source in sources:
        name, folder = split_source(source)
        root = Path(folder) if folder else None
        for clip in list_folder(name, readers[name], root):
            if clip.id in clips:
                raise InputError(f"{clip.id} is both {clips[clip.id].files[0]} and {clip.files[0]}: prepare them apart")
            clips[clip.id] = clip
            if name not in WITH_LISTS:
                open_to_choice.append((clip, root))
    if open_to_choice:
        clips |= {clip.id: clip for clip in hold_out(open_to_choice, held_out)}
    return list(clips.values())


def list_folder(name: str, reader: Reader, root: Path | None) -> list[Clip]:
    """List the clips under `root`, where None means those of the installed pybullet_data."""
    if root is None:
        return deepmimic.list_clips()
    listed = reader.list_clips(root)
    return listed if name in READERS else [own_clip(name, clip, root) for clip in listed]


def own_clip(name: str, clip: Clip, root: Path) -> Clip:
    """Check a clip that a reader of the user's own listed, and name that reader as its source."""
    files = clip.files if isinstance(clip, Clip) and isinstance(clip.files, tuple) else ()
    if not files or not all(isinstance(file, str) and Path(file).is_relative_to(root) for file in files):
        raise InputError(f"{name} listed {clip!r}, expected a Clip with a tuple of paths under {root}, each a string")
    return replace(clip, source=name)


def content_key(clip: Clip, names: str | None) -> str:
    """Name what a clip's motion is made from: its id, and a digest of its captions, part and files' sizes and times.

    `names` is the file of joints' names that BVH clips are read with.
    """
    made_from = [*clip.files, *([names] if names and clip.source == "bvh" else [])]
    files = [file.stat() for file in map(Path, made_from) if file.exists()]
    content = [replace(clip, files=()).to_json(), *((file.st_size, file.st_mtime_ns) for file in files)]
    return f"{clip.id} {hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]}"


def convert(manifest: str, config: PrepareConfig) -> None:
    """Read each listed clip that is not done yet and write it to motions/ or rejected/."""
    context = ray.data.DataContext.get_current().copy()
    context.checkpoint_config = checkpoint(config.output)
    with ray.data.DataContext.current(context):
        (
            storage.dataset(manifest)
            .repartition(target_num_rows_per_block=CLIPS_PER_FILE)
            .map_batches(partial(convert_clips, config=config), batch_size=None, batch_format="pyarrow")
            .write_datasink(MotionSink(config.output))
        )
    delete_partial_files(storage.join(config.output, "motions"))


def convert_clips(clips: pa.Table, config: PrepareConfig) -> pa.Table:
    """Read the motions of a block of clips; those that cannot be read go to rejected/ with one sentence each."""
    body, read = load_body(), read_functions(config)
    rows: list[dict[str, object]] = []
    bad: list[tuple[str, str]] = []
    for key, clip in zip(clips[CLIP].to_pylist(), map(Clip.from_json, clips["json"].to_pylist()), strict=True):
        try:
            rows += [{CLIP: key, **record.to_row()} for record in read_pieces(clip, read[clip.source], config, body)]
        except InputError as error:
            bad.append((clip.id, " ".join(str(error).split())))  # libraries' own words may run over lines
        except Exception as error:  # a reader's own mistake must not cost the other clips of a long job
            bad.append((clip.id, f"{', '.join(clip.files)}: {type(error).__name__} while reading: {error}"))
    storage.write_rejected(storage.join(config.output, "rejected"), bad)
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def read_pieces(clip: Clip, read_clip: ReadClip, config: PrepareConfig, body: Body) -> list[MotionSequence]:
    """Read a clip at the one frame rate, moved to start at the origin, in pieces of at most `max_seconds`."""
    read = check_body(read_whole(clip, read_clip, body), config, body)
    whole = resample(read, config.fps, body)
    provenance = whole.provenance | {"source_fps": f"{read.fps:g}"}
    spans = windows(whole.num_frames / whole.fps, config.max_seconds)
    if len(spans) == 1:
        return [canonical_start(replace(whole, provenance=provenance), body)]
    ids = [f"{clip.id}@{start:.2f}-{stop:.2f}" for start, stop in spans]
    pieces = [replace(cut(whole, *span), id=name) for span, name in zip(spans, ids, strict=True)]
    return [canonical_start(replace(piece, provenance=provenance | {"clip": clip.id}), body) for piece in pieces]


def read_whole(clip: Clip, read_clip: ReadClip, body: Body) -> MotionSequence:
    """Read a clip and refuse a record that is another's, or that would be trained on though its clip is held out."""
    read = read_clip(clip, body)
    if not isinstance(read, MotionSequence):
        raise InputError(f"{clip.id}: {clip.source} read a {type(read).__name__}, expected a MotionSequence")
    expected = {name: getattr(clip, name) for name in ("id", "source", "split")}
    if found := {name: getattr(read, name) for name, value in expected.items() if getattr(read, name) != value}:
        raise InputError(f"{clip.id}: {clip.source} read a motion with {found}, expected the clip's own: {expected}")
    return read


def check_body(motion: MotionSequence, config: PrepareConfig, body: Body) -> MotionSequence:
    """Refuse a motion that nobody can make, and note in its provenance what is odd about it."""
    refuse_impossible(motion)
    refuse_stature(motion, body, config.min_stature)
    odd = find_oddities(motion, body, config.min_stature)
    return replace(motion, provenance=motion.provenance | {FLAGS: "; ".join(odd)}) if odd else motion


def drop_duplicates(
    survey: list[dataset_card.SurveyRow], motions: str, duplicates: str, order: list[str]
) -> list[dataset_card.SurveyRow]:
    """Remove motions that are there twice, and note them in `duplicates`; one with a caption stays, else the first.

    Returns the survey of the remaining motions; `order` are the ids of the listed clips.
    """
    rank = {clip: place for place, clip in enumerate(order)}
    survey = sorted(survey, key=lambda row: (not len(row["texts"]), rank.get(row["clip"], len(rank)), row["id"]))
    same = find_duplicates([row["id"] for row in survey], np.array([row["signature"] for row in survey], np.float32))
    if same:
        noted = storage.read_rows(duplicates, ("id", "same_as")) + sorted(same.items())
        rows = [{"id": repeat, "same_as": first} for repeat, first in noted]
        write_table(pa.Table.from_pylist(rows, schema=REPEATS), duplicates)
        drop_rows(motions, same.keys())
    return [row for row in survey if row["id"] not in same]


def write_normalizer(output: str) -> None:
    """Write mean and standard deviation of the training features of everything under `output`."""
    blocks = storage.dataset(storage.join(output, "motions")).map_batches(
        block_moments, batch_size=None, batch_format="pyarrow"
    )
    moments = (
        Moments(row["count"], *(torch.tensor(row[name], dtype=torch.float64) for name in ("mean", "squares")))
        for row in blocks.iter_rows()
    )
    normalizer = reduce(Moments.merge, moments).normalizer()
    content = save({"mean": normalizer.mean, "std": normalizer.std})
    storage.write_bytes(storage.join(output, NORMALIZER_FILE), content)


def block_moments(table: pa.Table) -> pa.Table:
    """Compute the moments of a block's training features: one row, or none without training clips."""
    frames = [
        encode_sequence(sequence)[torch.from_numpy(sequence.valid)]
        for sequence in from_table(MotionSequence, table)
        if sequence.split == "train"
    ]
    moments = [Moments.of(torch.cat(frames))] if frames else []
    rows = [{"count": m.count, "mean": m.mean.numpy(), "squares": m.squares.numpy()} for m in moments]
    return pa.Table.from_pylist(rows, schema=MOMENTS)


if __name__ == "__main__":
    cli.run(prepare, PrepareConfig, __doc__ or "")
