"""Measurement of each motion of a set by a pool of Ray Data actors: embedding, plausibility, nearest training clip.

A motion that cannot be measured becomes a row with a reason. What an earlier call measured, with the same evaluator and
the same files, is read instead.
"""

import hashlib
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import ray
import ray.data

from motion.body import load_body
from motion.clips.transforms import MOVED
from motion.errors import InputError
from motion.evaluator import load_evaluator
from motion.extensions import load_extension, module_file, object_name
from motion.metrics.measure import FIELD, Measure, MotionMetric
from motion.metrics.memorisation import WindowIndex, build_index, nearest
from motion.metrics.plausibility import MEASURES, plausibility
from motion.parquet import from_table, iter_parquet, parquet_files, resolve, write_table
from motion.sequence import MotionSequence, Scene
from ray_jobs.common import storage

MOTIONS_PER_BLOCK = 64
MEASURED = (*MEASURES, "memorisation")
"""Names of the measures that each motion has a value of, besides the user's own metrics."""
SAMPLES = pa.schema(
    {
        "id": pa.string(),
        "reason": pa.string(),
        "captions": pa.list_(pa.string()),
        "seconds": pa.float64(),
        "version": pa.string(),
        "neighbour": pa.string(),
        "embedding": pa.list_(pa.float32()),
        **{name: pa.float64() for name in MEASURED},
    }
)
"""Schema of the measured motions, one row a motion.

`reason` says why a motion could not be measured, `version` which model made it, `neighbour` is its nearest training
clip.
"""


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MotionSet:
    """Set of motions to measure: the folder they are in, and the split that counts."""

    name: str
    """Name of the set in tables and files."""
    uri: str
    """Folder or URI that holds motions/."""
    split: str | None
    """Split whose motions are measured; None takes all."""


@dataclass(frozen=True)
class Instruments:
    """Evaluator, training clips and rooms that motions are measured with, and the actors that measure."""

    evaluator: str
    """Evaluator in the form that `load_evaluator` takes."""
    version: str
    """Version of the evaluator."""
    train: str | None
    """Folder whose training clips are searched for copies; None leaves the search out."""
    scenes: str | None
    """Folder of the rooms that the motions' scene_id names; None measures without rooms."""
    num_actors: int
    """Number of actors that measure at the same time."""
    num_cpus: float
    """CPUs of each actor."""
    num_gpus: float
    """GPUs of each actor; 0 keeps the evaluator on the CPU."""
    metrics: tuple[str, ...]
    """Metrics of the user's own, each `package.module:object`."""


def load_metrics(names: Sequence[str]) -> dict[str, MotionMetric]:
    """Load the user's own metrics by the names of their objects; raises InputError where two have the same name."""
    metrics: dict[str, MotionMetric] = {}
    for name in names:
        key, metric = object_name(name), load_extension(name, MotionMetric)
        if key in metrics or key in SAMPLES.names or key in FIELD:
            raise InputError(f"{name}: there is another measure named {key}, expected names that differ")
        if not isinstance(metric.measure, Measure):
            raise InputError(f"{name}.measure is of type {type(metric.measure).__name__}, expected a Measure")
        metrics[key] = metric
    return metrics


def samples_schema(metrics: Sequence[str]) -> pa.Schema:
    """Return the columns of samples/: SAMPLES and one for each of the user's own metrics."""
    return pa.schema([*SAMPLES, *(pa.field(object_name(name), pa.float64()) for name in metrics)])


def measured(sources: Sequence[MotionSet], instruments: Instruments, output: str) -> dict[str, pa.Table]:
    """Measure all sets: by name of the set one row a motion, sorted by id; results are kept under `output`.

    Raises InputError for a set without motions.
    """
    _check_sets(sources)
    folder = storage.join(output, "samples")
    files = {source: storage.join(folder, f"{source.name}-{stamp(source, instruments)}.parquet") for source in sources}
    missing = [source for source, file in files.items() if not storage.exists(file)]
    if missing:
        index = ray.put(training_windows(instruments.train))
    for source in missing:
        rows = measure(source, instruments, index)
        if not rows.num_rows:
            raise InputError(f"{source.uri}/motions holds no motions of the split {source.split}")
        write_table(rows.sort_by("id"), files[source])
    for name in sorted(source.name for source in files.keys() - missing):
        logger.info("%s was measured before", name)
    return {source.name: storage.read_table(file) for source, file in files.items()}


def _check_sets(sources: Sequence[MotionSet]) -> None:
    for source in sources:
        if not storage.read_column(storage.join(source.uri, "motions"), "id"):
            raise InputError(f"there are no motions of the set {source.name} in {source.uri}/motions")


def stamp(source: MotionSet, instruments: Instruments) -> str:
    """Hash evaluator, files and metrics' modules: while the stamp stays the same, nothing need be measured again."""
    train = instruments.train and storage.join(instruments.train, "motions")
    folders = [storage.join(source.uri, "motions"), instruments.scenes, train]
    files = [file_stamps(folder) if folder else None for folder in folders]
    code = [hashlib.sha256(module_file(name).read_bytes()).hexdigest() for name in instruments.metrics]
    columns = samples_schema(instruments.metrics).to_string()
    content = json.dumps([columns, instruments.version, source.split, files, code])
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def file_stamps(folder: str) -> list[tuple[str, int, str]]:
    """List name, size and time of each Parquet file in a folder."""
    filesystem, _ = resolve(folder)
    found = filesystem.get_file_info(parquet_files(folder))
    return [(info.base_name, info.size, str(info.mtime)) for info in found]


def measure(source: MotionSet, instruments: Instruments, index: "ray.ObjectRef[WindowIndex | None]") -> pa.Table:
    """Embed and measure each motion of a set; `index` is a Ray reference to the training windows."""
    rows = (
        storage.dataset(storage.join(source.uri, "motions"))
        .map_batches(partial(storage.of_split, split=source.split), batch_format="pyarrow", batch_size=None)
        .map_batches(
            Measurer,
            fn_constructor_args=(instruments, [index]),
            batch_size=MOTIONS_PER_BLOCK,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=instruments.num_actors),
            num_cpus=instruments.num_cpus,
            num_gpus=instruments.num_gpus,
        )
    )
    blocks = ray.get(rows.to_arrow_refs())  # those without a row have no columns either
    return pa.concat_tables(
        [samples_schema(instruments.metrics).empty_table(), *(block for block in blocks if block.num_rows)]
    )


def training_windows(folder: str | None) -> WindowIndex | None:
    """Index the training clips' windows for the search of copies; None without a folder."""
    if folder is None:
        return None
    motions = iter_parquet(MotionSequence, storage.join(folder, "motions"))
    return build_index(motion for motion in motions if motion.split == "train")


class Measurer:
    """Actor that holds the evaluator, the body, the rooms and the training windows."""

    def __init__(self, instruments: Instruments, index: "list[ray.ObjectRef[WindowIndex | None]]") -> None:
        self.evaluator = load_evaluator(instruments.evaluator, "cuda" if instruments.num_gpus else "cpu")
        self.body = load_body()
        scenes = iter_parquet(Scene, instruments.scenes) if instruments.scenes else ()
        self.scenes = {scene.id: scene for scene in scenes}
        self.metrics = load_metrics(instruments.metrics)
        self.schema = samples_schema(instruments.metrics)
        (self.index,) = ray.get(index)  # in a list, which keeps Ray from copying it into the actor's arguments

    def __call__(self, motions: pa.Table) -> pa.Table:
        sequences = list(from_table(MotionSequence, motions))
        try:
            embeddings = list(self.evaluator.embed_motions(sequences).numpy())
        except InputError:  # of one of them; each alone tells which
            embeddings = [None] * len(sequences)
        rows = [self.measure(*pair) for pair in zip(sequences, embeddings, strict=True)]
        return pa.Table.from_pylist(rows, schema=self.schema)

    def measure(self, motion: MotionSequence, embedding: np.ndarray | None) -> dict[str, object]:
        """Measure one motion; `embedding` is None where its batch could not be embedded together."""
        try:
            if embedding is None:
                embedding = self.evaluator.embed_motions([motion]).numpy()[0]
            values = plausibility(motion, self.body, self.scene_of(motion))
            neighbour = nearest(self.index, motion) if self.index else None
            own = {name: call_metric(name, metric, motion) for name, metric in self.metrics.items()}
        except InputError as error:
            return {"id": motion.id, "reason": str(error)}
        return {
            "id": motion.id,
            "captions": motion.texts,
            "seconds": motion.num_frames / motion.fps,
            "version": motion.provenance.get("model"),
            "embedding": embedding,
            "neighbour": neighbour and neighbour.id,
            "memorisation": neighbour and neighbour.distance,
            **values,
            **own,
        }

    def scene_of(self, motion: MotionSequence) -> Scene | None:
        """Look up the motion's room; None when it has none or no rooms are given.

        Raises InputError for a room that is not given, and for a motion that was moved out of its room's coordinates.
        """
        if motion.scene_id is None or not self.scenes:
            return None
        if MOVED in motion.provenance:
            raise InputError(
                f"{motion.id}: was moved to the origin, out of its scene {motion.scene_id!r}, expected it where "
                "reconstruct put it: leave scenes out to measure it without its room"
            )
        if motion.scene_id not in self.scenes:
            raise InputError(f"{motion.id}: its scene {motion.scene_id!r} is not among the {len(self.scenes)} given")
        return self.scenes[motion.scene_id]


def call_metric(name: str, metric: MotionMetric, motion: MotionSequence) -> float:
    """Measure one motion by the user's own metric; whatever it raises becomes an InputError in one sentence."""
    try:
        value = float(metric(motion))
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{motion.id}: {type(error).__name__} in the metric {name}: {error}") from error
    if math.isinf(value):
        raise InputError(f"{motion.id}: the metric {name} gave {value}, expected a number, or NaN where it has none")
    return value
