r"""Evaluate generated motions beside real clips that were held out.

    python -m ray_jobs.evaluate --real data/all --generated early:generated/early late:generated/late \
        --evaluator runs/evaluator/evaluator.safetensors --output evaluations/first

Writes to the output folder

    evaluation.json      every metric of every set with its 95 % interval; the real clips are always the first set
    evaluation.html      tables, histograms, the ten worst motions of each set as animations
    samples/*.parquet    one row a motion: its embedding and its measures
    rejected/*.parquet   id and reason of each motion that could not be measured
    config.yaml          what was asked for

The field's metrics (FID, R-precision, MM-Dist, Diversity, MultiModality) follow the protocol that the evaluator
declares. A set that was measured before, with the same evaluator and the same files, is not measured again.
"""

import json
import logging
import re
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from motion.errors import InputError
from motion.errors.numbers import SEED, at_least, check_numbers
from motion.evaluator import Protocol, TextMotionEvaluator, load_evaluator
from motion.evaluator.protocol import interval
from motion.metrics.embedding_metrics import EmbeddedSet, field_metrics
from motion.metrics.measure import FIELD, MEMORISATION, Measure
from motion.metrics.plausibility import MEASURES as PLAUSIBILITY
from ray_jobs.common import cli, storage, tracking
from ray_jobs.common.evaluation import Evaluation, Mean, SetContent, WorstMotion
from ray_jobs.common.measure_motions import MEASURED, Instruments, MotionSet, load_metrics, measured
from ray_jobs.common.only_writer import writes_output
from ray_jobs.common.places import check_seen, place, settle, settle_files
from ray_jobs.common.resources import CPUS, GPUS, READER, check_resources
from ray_jobs.common.tracker import tracked
from ray_jobs.pages.evaluation_page import render, table

FORMAT = "carescene-evaluation/1"
PAGE, RESULTS = "evaluation.html", "evaluation.json"
REAL = "real"
WORST_COUNT = 10
OVERRIDES = ("pool_size", "diversity_pairs", "multimodality_pairs", "repeats")
"""Settings of the evaluator's protocol that the configuration may change."""
MEASURES = FIELD | PLAUSIBILITY | {"memorisation": MEMORISATION}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluateConfig:
    """Settings of an evaluation."""

    real: str
    """Output folder or URI of `ray_jobs.prepare`.

    Its clips of `split` are compared with, those of train are searched for copies.
    """
    evaluator: str
    """Evaluator: evaluator.safetensors of `ray_jobs.train_evaluator`, or one of the field's.

    The field's are interclip:interclip.ckpt and humanml3d:FOLDER; what they take is said in
    motion/evaluator/interclip.py and motion/evaluator/humanml3d.py.
    """
    output: str
    """Folder or URI (s3://…) to write to."""
    generated: tuple[str, ...] = ()
    """Sets of motions to judge, each NAME:FOLDER, such as late:generated/late of `ray_jobs.generate`."""
    split: Literal["train", "val", "test"] = "test"
    """Split of the real clips to compare with."""
    scenes: str | None = None
    """Folder or URI of the scenes (Parquet) that the motions' scene_id names; without it rooms are not looked at.

    Motions that prepare moved out of their scene to the origin are rejected.
    """
    metrics: tuple[str, ...] = ()
    """Measures of your own besides the built-in ones, each package.module:object.

    The object is a function from a motion to a number, with a description (see .github/EXTENDING.md).
    """
    memorisation: bool = True
    """Search the real clips' train split for the clip that each motion is most like."""
    pool_size: int | None = None
    """Captions and motions in a pool of R-precision.

    The evaluator's own number if not given, as with `diversity_pairs`, `multimodality_pairs` and `repeats`; other
    values make numbers that compare with none published.
    """
    diversity_pairs: int | None = None
    """Pairs of motions that Diversity takes; the evaluator's own number if not given."""
    multimodality_pairs: int | None = None
    """Pairs of motions of each caption that MultiModality takes; the evaluator's own number if not given."""
    repeats: int | None = None
    """Repeats of the random draws for the intervals; the evaluator's own number if not given."""
    num_actors: int = 1
    """Actors that measure at the same time, each with `num_cpus` and `num_gpus`."""
    num_cpus: float = 1
    """CPUs of each actor."""
    num_gpus: float = 0
    """GPUs of each actor; 0 keeps the evaluator on the CPU."""
    seed: int = 0
    """Seed of the random draws."""
    max_rejected_fraction: float = 0.05
    """Share of motions that could not be measured above which the job fails at its end; good output is kept."""
    tracking_uri: str | None = None
    """MLflow store, such as http://host:5000; by default a sqlite file in the output folder."""
    experiment: str = "carescene-evaluation"
    """MLflow experiment that the run is logged to."""

    def __post_init__(self) -> None:
        cli.check_fraction(self.max_rejected_fraction)
        counts = dict.fromkeys(("num_actors", *OVERRIDES), at_least(1))
        check_numbers(self, {**counts, "num_cpus": CPUS, "num_gpus": GPUS, "seed": SEED})
        names = [name for name, _ in map(split_name, self.generated)]
        if len({*names, REAL}) != len(names) + 1:
            raise InputError(f"the sets are named {', '.join(names)}, expected different names, none of them {REAL}")
        settle(self, "real", "scenes")
        settle_files(self, "evaluator")
        folders = (f"{name}:{place(folder, '--generated')}" for name, folder in map(split_name, self.generated))
        object.__setattr__(self, "generated", tuple(folders))


def split_name(generated: str) -> tuple[str, str]:
    """Split NAME:FOLDER into name and folder; raises InputError for any other form."""
    name, _, folder = generated.partition(":")
    if not re.fullmatch(r"[\w.-]+", name) or not folder or folder.startswith("//"):
        raise InputError(f"{generated!r} names no set, expected NAME:FOLDER, for example late:generated/late")
    return name, folder


@writes_output
def evaluate(config: EvaluateConfig) -> Evaluation:
    """Measure all sets, write the results and return them."""
    start = time.monotonic()
    evaluator = load_evaluator(config.evaluator)
    protocol = declared_protocol(evaluator.protocol, config)
    own = {name: metric.measure for name, metric in load_metrics(config.metrics).items()}
    measures = MEASURES | own
    sources = [MotionSet(REAL, config.real, config.split)]
    sources += [MotionSet(name, folder, None) for name, folder in map(split_name, config.generated)]
    check_seen(*(source.uri for source in sources), config.scenes or "", config.evaluator.rpartition(":")[2])
    actor = {"CPU": config.num_cpus, "GPU": config.num_gpus}
    check_resources("evaluation", "--num-actors, --num-cpus or --num-gpus", (config.num_actors, actor), READER)
    tracking.open_store(config.output, config.tracking_uri)  # before hours of work
    rows = measured(sources, instruments(evaluator, config), config.output)
    reasons = replace_rejected(rows.values(), config)
    good = {name: drop_rejected(name, samples) for name, samples in rows.items()}
    texts = embed_captions(evaluator, good.values())
    values = {name: each_value(samples, texts, own) for name, samples in good.items()}
    sets = {name: embedded_set(name, samples, texts) for name, samples in good.items()}
    evaluation: Evaluation = {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": 0.0,
        "command": command(config),
        "evaluator": {"name": evaluator.name, "version": evaluator.version, "dim": evaluator.dim},
        "protocol": protocol,
        "notes": notes(evaluator, protocol, good),
        "measures": measures,
        "sets": [],
    }
    for source in sources:
        judged = None if source.name == REAL else sets[source.name]
        repeats = field_metrics(sets[REAL], judged, protocol, config.seed)
        described = describe(source, good[source.name], measures, values[source.name], repeats)
        if judged:
            described["worst"] = worst(good[source.name], PLAUSIBILITY | own, values[source.name], values[REAL])
        evaluation["sets"].append(described)
    evaluation["seconds"] = time.monotonic() - start
    write(evaluation, values, config)
    log_run(evaluation, config)
    logger.info("%s\n\nlook at %s", table(evaluation), storage.join(config.output, PAGE))
    asked = sum(samples.num_rows for samples in rows.values())
    folder = storage.join(config.output, "rejected")
    cli.check_rejected(reasons, asked, "motions", config.max_rejected_fraction, folder)
    return evaluation


def declared_protocol(own: Protocol, config: EvaluateConfig) -> Protocol:
    """Return the evaluator's protocol, renamed where the configuration changes it."""
    asked = {name: getattr(config, name) for name in OVERRIDES}
    changed = {name: value for name, value in asked.items() if value is not None and value != getattr(own, name)}
    return replace(own, name=f"{own.name}, changed", **changed) if changed else own


def instruments(evaluator: TextMotionEvaluator, config: EvaluateConfig) -> Instruments:
    """Collect what motions are measured with."""
    return Instruments(
        evaluator=config.evaluator,
        version=evaluator.version,
        train=config.real if config.memorisation else None,
        scenes=config.scenes,
        num_actors=config.num_actors,
        num_cpus=config.num_cpus,
        num_gpus=config.num_gpus,
        metrics=config.metrics,
    )


def replace_rejected(sets: Iterable[pa.Table], config: EvaluateConfig) -> list[tuple[str, str]]:
    """Replace rejected/ by the (id, reason) of motions of all sets that could not be measured, and return them."""
    folder = storage.join(config.output, "rejected")
    storage.delete_folder(folder)
    bad = [samples.filter(pc.is_valid(samples["reason"])) for samples in sets]
    reasons = [
        pair for rows in bad for pair in zip(*(rows[name].to_pylist() for name in ("id", "reason")), strict=True)
    ]
    storage.write_rejected(folder, reasons)
    return reasons


def drop_rejected(name: str, samples: pa.Table) -> pa.Table:
    """Keep the measured motions; raises InputError when there are none."""
    good = samples.filter(pc.is_null(samples["reason"]))
    if not good.num_rows:
        raise InputError(
            f"none of the {samples.num_rows} motions of {name} could be measured: {samples['reason'][0].as_py()}"
        )
    return good


def embed_captions(evaluator: TextMotionEvaluator, sets: Iterable[pa.Table]) -> dict[str, np.ndarray]:
    """Embed all captions of all sets."""
    captions = sorted({text for samples in sets for texts in samples["captions"].to_pylist() for text in texts})
    return dict(zip(captions, evaluator.embed_texts(captions).numpy(), strict=True)) if captions else {}


def each_value(samples: pa.Table, texts: Mapping[str, np.ndarray], own: Iterable[str]) -> dict[str, np.ndarray]:
    """Collect every motion's own values by measure, `own` ones of the user included; NaN where one does not apply."""
    values = {name: samples[name].to_numpy().astype(float) for name in (*MEASURED, *own)}
    distances = [
        np.linalg.norm(texts[captions[0]] - embedding) if captions else np.nan
        for captions, embedding in zip(samples["captions"].to_pylist(), embeddings(samples), strict=True)
    ]
    return {"mm_dist": np.array(distances)} | values


def embeddings(samples: pa.Table) -> np.ndarray:
    """Stack the motions' embeddings."""
    return np.stack(samples["embedding"].to_numpy(zero_copy_only=False))


def embedded_set(name: str, samples: pa.Table, texts: Mapping[str, np.ndarray]) -> EmbeddedSet:
    """Collect the motions that have a caption; raises InputError when there are none."""
    captioned = samples.filter(pc.greater(pc.list_value_length(samples["captions"]), 0))
    if not captioned.num_rows:
        raise InputError(
            f"none of the {samples.num_rows} motions of {name} has a caption: they cannot be judged by text"
        )
    captions = tuple(tuple(each) for each in captioned["captions"].to_pylist())
    return EmbeddedSet(tuple(captioned["id"].to_pylist()), captions, embeddings(captioned), texts)


def describe(
    source: MotionSet,
    samples: pa.Table,
    measures: Iterable[str],
    values: Mapping[str, np.ndarray],
    repeats: Mapping[str, Sequence[float]],
) -> SetContent:
    """Describe a set: field metrics as means over the repeats, the others over the motions that have a value.

    No motion is listed among the worst.
    """
    return {
        "name": source.name,
        "uri": source.uri if source.split is None else f"{source.uri} ({source.split})",
        "motions": samples.num_rows,
        "captions": len({text for texts in samples["captions"].to_pylist() for text in texts}),
        "seconds": pc.sum(samples["seconds"]).as_py(),
        "versions": sorted(set(samples["version"].drop_null().to_pylist())),
        "metrics": summaries({name: repeats[name] if name in repeats else values.get(name, ()) for name in measures}),
        "worst": [],
    }


def summaries(values: Mapping[str, Sequence[float] | np.ndarray]) -> dict[str, Mean]:
    """Compute mean, half width of its 95 % interval and count of each measure's finite values; leave out empty ones."""
    finite = {name: np.asarray(each)[np.isfinite(each)] for name, each in values.items()}
    intervals = {name: (interval(each.tolist()), len(each)) for name, each in finite.items() if len(each)}
    return {
        name: {"mean": mean, "interval": half_width, "count": count}
        for name, ((mean, half_width), count) in intervals.items()
    }


def worst(
    samples: pa.Table,
    measures: Mapping[str, Measure],
    values: Mapping[str, np.ndarray],
    real: Mapping[str, np.ndarray],
) -> list[WorstMotion]:
    """List the motions furthest beyond a limit: the real clips' 99th percentile or the threshold, if that is more."""
    chosen: dict[int, tuple[float, str]] = {}
    for times, name, row in sorted(_beyond(measures, values, real), reverse=True):
        if len(chosen) < WORST_COUNT:
            chosen.setdefault(row, (times, name))
    return [
        {
            "id": samples["id"][row].as_py(),
            "caption": (samples["captions"][row].as_py() or [""])[0],
            "measure": name,
            "value": float(values[name][row]),
            "times": float(times),
        }
        for row, (times, name) in chosen.items()
    ]


def _beyond(
    measures: Mapping[str, Measure], values: Mapping[str, np.ndarray], real: Mapping[str, np.ndarray]
) -> Iterator[tuple[float, str, int]]:
    """Find what lies beyond its limit: how many times the limit, the measure's name, and the motion's row."""
    for name, measure in measures.items():
        if measure.better == "lower":
            usual = real[name][np.isfinite(real[name])]
            limit = max(np.percentile(usual, 99) if len(usual) else 0.0, measure.threshold or 0.0)
            yield from ((value / limit, name, row) for row, value in enumerate(values[name]) if value > limit > 0)


def notes(evaluator: TextMotionEvaluator, protocol: Protocol, sets: Mapping[str, pa.Table]) -> list[str]:
    """List what a reader of the numbers has to know."""
    said = [
        "FID of the real clips is that of two random halves of them. It grows as sets get smaller, so that as many "
        "other real clips would come to about half of it."
    ]
    for name in OVERRIDES:
        own, used = getattr(evaluator.protocol, name), getattr(protocol, name)
        if own != used:
            said.append(
                f"{name} is {used}, the evaluator's own protocol says {own}: these numbers compare with none that were "
                "taken otherwise."
            )
    return said + [note for name, samples in sets.items() for note in _notes_on_set(name, samples, evaluator.dim)]


def _notes_on_set(name: str, samples: pa.Table, dim: int) -> Iterator[str]:
    """List what limits the numbers of one set, whose embeddings have `dim` numbers."""
    if samples.num_rows <= dim:
        yield f"{name} has {samples.num_rows} motions for embeddings of {dim} numbers: its FID says little."
    without = sum(not captions for captions in samples["captions"].to_pylist())
    if without:
        yield f"{without} of {samples.num_rows} motions of {name} have no caption: the field's metrics lack them."


def command(config: EvaluateConfig) -> str:
    """Compose the command that repeats this evaluation."""
    words = ["python", "-m", "ray_jobs.evaluate"]
    for each in fields(config):
        value = getattr(config, each.name)
        if value == each.default and each.default is not MISSING:
            continue
        flag = each.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", *(map(str, value) if isinstance(value, tuple) else [str(value)])]
    return shlex.join(words)


def write(evaluation: Evaluation, values: Mapping[str, Mapping[str, np.ndarray]], config: EvaluateConfig) -> None:
    """Write the results' files."""
    shown = {
        name: storage.motions_by_id(storage.join(folder, "motions"), [each["id"] for each in row["worst"]])
        for row, (name, folder) in zip(evaluation["sets"][1:], map(split_name, config.generated), strict=True)
    }
    for name, content in (
        ("config.yaml", cli.to_yaml(config)),
        (PAGE, render(evaluation, values, shown)),
        (RESULTS, json.dumps(evaluation, default=asdict, indent=1, allow_nan=False)),
    ):
        storage.write_bytes(storage.join(config.output, name), content.encode())


def log_run(evaluation: Evaluation, config: EvaluateConfig) -> None:
    """Log the numbers and the results' files as an MLflow run."""
    numbers = {
        f"{row['name']}/{name}": entry["mean"] for row in evaluation["sets"] for name, entry in row["metrics"].items()
    }
    with tracked(config) as tracker:
        tracker.log(0, numbers)
        for name in ("config.yaml", PAGE, RESULTS):
            tracker.log_file(name, storage.read_bytes(storage.join(config.output, name)))


if __name__ == "__main__":
    cli.run(evaluate, EvaluateConfig, __doc__ or "")
