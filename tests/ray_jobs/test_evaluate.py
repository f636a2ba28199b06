"""Jobs that train an evaluator and evaluate with it, on made-up motion: real Ray actors, files and MLflow runs."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from motion.body import Body
from motion.errors import InputError
from motion.evaluator import EvaluatorConfig, load_evaluator
from motion.parquet import parquet_files, write_parquet
from motion.sequence import MotionSequence, read_motions
from ray_jobs.common import tracking
from ray_jobs.evaluate import MEASURES, PAGE, EvaluateConfig, evaluate
from ray_jobs.train_evaluator import TrainEvaluatorConfig, train_evaluator
from tests.helpers.clips import motion
from tests.helpers.jobs import known_checkpoint, logged_steps, one_worker_killed

NETWORK = EvaluatorConfig(width=16, layers=1, heads=2, feedforward=32, dim=4)
TRAINED, TESTED = 12, 9


def clip(body: Body, seed: int, split: str, **changes: Any) -> MotionSequence:
    """Move two persons at random, described by their number."""
    made = motion(body, frames=30, seed=seed)
    values = {"id": f"{split}/{seed}", "split": split, "texts": [f"two people do dance number {seed}"]}
    return replace(made, **values | {"action": np.zeros_like(made.action)} | changes)


@pytest.fixture(scope="module")
def data(body: Body, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    clips = [clip(body, seed, "train") for seed in range(TRAINED)]
    clips += [clip(body, 100 + seed, "test") for seed in range(TESTED)]
    clips.append(clip(body, 200, "test", texts=[]))
    write_parquet(clips[::2], folder / "motions" / "0.parquet")
    write_parquet(clips[1::2], folder / "motions" / "1.parquet")
    return folder


@pytest.fixture(scope="module")
def training(ray_cluster: None, data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainEvaluatorConfig:
    output = tmp_path_factory.mktemp("evaluator") / "run"
    return TrainEvaluatorConfig(
        data=str(data), output=output, network=NETWORK, steps=6, batch_size=4, log_every=2, checkpoint_every=3
    )


@pytest.fixture(scope="module")
def evaluator(training: TrainEvaluatorConfig) -> Path:
    return Path(train_evaluator(training))


@pytest.fixture(scope="module")
def generated(body: Body, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a set with a copy of a training clip, a person sunk into the floor, and one that no evaluator takes."""
    folder = tmp_path_factory.mktemp("generated")
    made = [
        clip(body, 100 + seed, "train", id=f"generated/{seed}", provenance={"model": "abc"}) for seed in range(TESTED)
    ]
    copied = replace(clip(body, 3, "train"), id="generated/copy", texts=made[0].texts)
    sunk = made[4].joints - np.array([0, 0, 1.5], dtype=np.float32)
    made[4] = replace(made[4], joints=sunk)
    write_parquet([*made, copied], folder / "motions" / "0.parquet")
    write_parquet([replace(made[0], id="generated/fast", fps=60.0)], folder / "motions" / "1.parquet")
    return folder


@pytest.fixture(scope="module")
def asked(evaluator: Path, data: Path, generated: Path, tmp_path_factory: pytest.TempPathFactory) -> EvaluateConfig:
    """Configure an evaluation of the same motions under two names."""
    return EvaluateConfig(
        real=str(data),
        evaluator=str(evaluator),
        output=tmp_path_factory.mktemp("evaluation"),
        generated=(f"early:{generated}", f"late:{generated}"),
        pool_size=4,
        diversity_pairs=5,
        repeats=3,
        max_rejected_fraction=0.2,
    )


@pytest.fixture(scope="module")
def evaluation(asked: EvaluateConfig) -> dict[str, Any]:
    return evaluate(asked)


def test_the_evaluator_is_trained_tracked_and_left_alone_and_goes_on_if_cut(
    training: TrainEvaluatorConfig, evaluator: Path
) -> None:
    loaded = load_evaluator(str(evaluator))
    assert loaded.dim == 4
    store = tracking.local_store(training.output)
    run_id = tracking.find_run(store, training.experiment, str(training.output))
    assert [step for step, _ in tracking.loss_curve(store, run_id)] == [2, 4, 6]
    run = MlflowClient(store).get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["network.width"] == "16"
    written, weights = evaluator.stat().st_mtime_ns, evaluator.read_bytes()
    assert train_evaluator(training) == str(evaluator)
    assert evaluator.stat().st_mtime_ns == written
    evaluator.unlink()  # as if the driver had died between training and this file
    assert train_evaluator(training) == str(evaluator)
    assert evaluator.read_bytes() == weights
    with pytest.raises(InputError, match=r"another configuration \(steps: 6; steps: 7\)"):
        train_evaluator(replace(training, steps=7))


def test_a_killed_worker_of_the_evaluator_is_replaced(training: TrainEvaluatorConfig) -> None:
    config = replace(training, steps=120, output=str(Path(training.output).with_name("killed")))
    with one_worker_killed(after=known_checkpoint(config.output)):
        trained = Path(train_evaluator(config))
    store = tracking.local_store(config.output)
    steps = logged_steps(config.output, tracking.find_run(store, config.experiment, config.output))
    assert (max(steps), steps.count(2)) == (120, 1), "it went on from the checkpoint, not from the start"
    assert load_evaluator(str(trained)).version


def test_every_set_has_every_number_and_the_real_clips_come_first(
    evaluation: dict[str, Any], asked: EvaluateConfig
) -> None:
    real, early, late = evaluation["sets"]
    assert [real["name"], early["name"], late["name"]] == ["real", "early", "late"]
    assert (real["motions"], real["captions"], early["motions"]) == (TESTED + 1, TESTED, TESTED + 1)
    assert early["metrics"] == late["metrics"], "the same motions, the same numbers"
    absent = {"scene_penetration_volume", "scene_penetration_frames"}
    assert set(MEASURES) - set(early["metrics"]) == absent
    assert set(MEASURES) - set(real["metrics"]) == absent | {"multimodality"}
    assert early["metrics"]["fid"]["count"] == 3
    assert early["versions"] == ["abc"]
    written = json.loads((Path(asked.output) / "evaluation.json").read_text())
    assert written == json.loads(json.dumps(evaluation, default=asdict)), "records are objects of their fields"
    assert written["protocol"]["repeats"] == 3
    assert written["measures"]["fid"]["title"] == "FID"
    assert written["evaluator"]["version"] == load_evaluator(asked.evaluator).version


def test_a_copy_and_a_fault_are_found(evaluation: dict[str, Any], asked: EvaluateConfig) -> None:
    early = evaluation["sets"][1]
    assert early["worst"][0]["id"] == "generated/4"
    assert early["worst"][0]["measure"] == "floor_penetration"
    assert early["worst"][0]["value"] == pytest.approx(1.5, abs=0.6)
    rows = {
        row["id"]: row
        for file in parquet_files(Path(asked.output) / "samples")
        for row in pq.read_table(file).to_pylist()
    }
    assert rows["generated/copy"]["memorisation"] < 1e-3
    assert rows["generated/copy"]["neighbour"] == "train/3"
    assert min(row["memorisation"] for name, row in rows.items() if row["reason"] is None and "copy" not in name) > 0.02


def test_what_cannot_be_measured_is_rejected_with_a_reason(evaluation: dict[str, Any], asked: EvaluateConfig) -> None:
    (file,) = parquet_files(Path(asked.output) / "rejected")
    rows = pq.read_table(file).to_pylist()
    assert {row["id"] for row in rows} == {"generated/fast"}
    assert "has 60 frames per second, the evaluator takes 20" in rows[0]["reason"]
    with pytest.raises(InputError, match=r"2 of 32 motions were rejected, more than max_rejected_fraction = 0.01"):
        evaluate(replace(asked, max_rejected_fraction=0.01))


def test_changed_protocols_are_named_and_said(evaluation: dict[str, Any]) -> None:
    assert evaluation["protocol"].name == "carescene, changed"
    assert any(note.startswith("pool_size is 4, the evaluator's own protocol says 32") for note in evaluation["notes"])
    assert any("1 of 10 motions of real have no caption" in note for note in evaluation["notes"])


def test_the_page_and_mlflow_hold_the_results(evaluation: dict[str, Any], asked: EvaluateConfig) -> None:
    written = json.loads((Path(asked.output) / "evaluation.json").read_text())
    assert written["sets"] == evaluation["sets"]
    assert written["protocol"]["name"] == "carescene, changed"
    assert written["measures"]["fid"]["title"] == "FID"
    page = (Path(asked.output) / PAGE).read_text()
    assert "generated/4" in page
    store = tracking.local_store(asked.output)
    run = MlflowClient(store).get_run(tracking.find_run(store, asked.experiment, str(asked.output)))
    assert run.data.metrics["early/fid"] == pytest.approx(evaluation["sets"][1]["metrics"]["fid"]["mean"])
    assert {item.path for item in MlflowClient(store).list_artifacts(run.info.run_id)} == {
        *("config.yaml", "evaluation.json", PAGE)
    }


def test_what_was_measured_is_not_measured_again(
    evaluation: dict[str, Any], asked: EvaluateConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a set was measured again")

    monkeypatch.setattr("ray_jobs.common.measure_motions.measure", refuse)
    again = evaluate(replace(asked, generated=asked.generated[:1]))
    assert again["sets"] == evaluation["sets"][:2]
    with pytest.raises(AssertionError, match="measured again"):
        evaluate(replace(asked, memorisation=False))


def test_neither_batches_nor_order_change_the_numbers(
    evaluation: dict[str, Any],
    asked: EvaluateConfig,
    generated: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ray_jobs.common.measure_motions.MOTIONS_PER_BLOCK", 2)
    write_parquet(read_motions(generated / "motions")[::-1], tmp_path / "motions" / "0.parquet")
    again = evaluate(replace(asked, output=tmp_path / "again", generated=(f"early:{tmp_path}",)))
    for one, other in zip(evaluation["sets"][:2], again["sets"], strict=True):
        means = {name: entry["mean"] for name, entry in one["metrics"].items()}
        assert {name: entry["mean"] for name, entry in other["metrics"].items()} == pytest.approx(means, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"pool_size": 32}, "found 9 distinct captions, too few for a pool of 32"),
        ({"diversity_pairs": 300}, "diversity_pairs"),
    ],
)
def test_pools_and_pairs_are_never_shrunk(
    evaluation: dict[str, Any], asked: EvaluateConfig, change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        evaluate(replace(asked, **change))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"generated": ("real:somewhere",)}, "the sets are named real, expected different names, none of them real"),
        ({"generated": ("somewhere",)}, "'somewhere' names no set, expected NAME:FOLDER"),
        ({"generated": ("s3://bucket/somewhere",)}, "names no set, expected NAME:FOLDER"),
        ({"generated": ("a/b:somewhere",)}, "names no set, expected NAME:FOLDER"),
        ({"num_actors": 0}, "num_actors is 0, expected 1 or more"),
        ({"num_cpus": -1}, "num_cpus is -1, expected 0, or 0.0001 or more"),
        ({"num_gpus": math.nan}, "num_gpus is nan, expected 0, 0.0001 to 1, or a whole number"),
        ({"repeats": 0}, "repeats is 0, expected 1 or more"),
        ({"seed": -1}, r"seed is -1, expected 0 to 2\*\*63 - 1"),
    ],
)
def test_bad_evaluations_are_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        EvaluateConfig("real", "evaluator", Path("output"), **change)


def test_missing_sets_and_splits_are_named(asked: EvaluateConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are no motions of the set gone in"):
        evaluate(replace(asked, generated=(f"gone:{tmp_path}",)))
    with pytest.raises(InputError, match="holds no motions of the split val"):
        evaluate(replace(asked, split="val", generated=()))
