"""Job that trains the classifier of actions, on made-up motion: a real Ray worker, files and an MLflow run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run

from motion.body import Body, load_body
from motion.errors import InputError
from motion.evaluator import ClassifierConfig, load_classifier
from motion.parquet import write_parquet
from motion.sequence import MotionSequence
from motion.skeleton import ACTIONS
from ray_jobs.common import tracking
from ray_jobs.common.prepared_data import read_normalizer
from ray_jobs.prepare import write_normalizer
from ray_jobs.train_classifier import TrainClassifierConfig, decode_rows, encode_labelled, train_classifier
from tests.helpers.clips import motion
from tests.helpers.jobs import assert_refused

NETWORK = ClassifierConfig(width=16, layers=1, heads=2)
FLOOR, CHAIR, CRAWLING = (ACTIONS.index(name) for name in ("laying_on_floor", "sitting_in_chair", "crawling"))


def clip(body: Body, seed: int, split: str, codes: tuple[int, int]) -> MotionSequence:
    """Move two persons at random who keep one action each, but for a few frames at the end."""
    made = motion(body, frames=30, seed=seed)
    action = np.repeat(np.array(codes, dtype=np.int8)[:, None], 30, axis=1)
    action[:, 27:] = 0
    heights = np.array([0.2 if code == FLOOR else 0.9 for code in codes], dtype=np.float32)
    up = np.zeros((2, 1, 3), dtype=np.float32)
    up[:, 0, 2] = heights - made.joints[:, :, 0, 2].mean(axis=1)
    transl, joints = made.transl + up, made.joints + up[:, :, None]
    return replace(made, id=f"{split}/{seed}", split=split, action=action, transl=transl, joints=joints)


@pytest.fixture(scope="module")
def data(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write clips in which persons on the floor are lower than those on chairs; only the test split has crawling."""
    body, folder = load_body(), tmp_path_factory.mktemp("labelled")
    clips = [clip(body, seed, "train", (FLOOR, CHAIR) if seed % 2 else (CHAIR, 0)) for seed in range(10)]
    clips += [clip(body, 100 + seed, "test", (FLOOR, CHAIR)) for seed in range(3)]
    clips += [clip(body, 200, "test", (CHAIR, CRAWLING)), clip(body, 201, "train", (0, 0))]
    write_parquet(clips[::2], folder / "motions" / "0.parquet")
    write_parquet(clips[1::2], folder / "motions" / "1.parquet")
    write_normalizer(str(folder))
    return folder


@pytest.fixture(scope="module")
def training(data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainClassifierConfig:
    """Configure a short training."""
    output = tmp_path_factory.mktemp("classifier") / "run"
    return TrainClassifierConfig(
        data=str(data),
        output=output,
        network=NETWORK,
        max_frames=24,
        steps=40,
        batch_size=8,
        learning_rate=1e-2,
        log_every=20,
        checkpoint_every=20,
    )


@pytest.fixture(scope="module")
def classifier(training: TrainClassifierConfig) -> Path:
    return Path(train_classifier(training))


def test_the_classifier_knows_what_the_train_split_holds(training: TrainClassifierConfig, classifier: Path) -> None:
    loaded = load_classifier(classifier)
    assert loaded.network.config == replace(NETWORK, names=("laying_on_floor", "sitting_in_chair"))
    loaded.check_fits(read_normalizer(training.data), "cosine", 1000)
    with pytest.raises(InputError, match="the classifier knows no 'crawling'"):
        loaded.label("crawling")


def the_run(training: TrainClassifierConfig) -> Run:
    """Find the one MLflow run of this output folder."""
    client = MlflowClient(tracking.local_store(training.output))
    experiment = client.get_experiment_by_name(training.experiment)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    return run


def test_accuracy_at_several_noise_levels_is_tracked(training: TrainClassifierConfig, classifier: Path) -> None:
    run = the_run(training)
    assert run.info.status == "FINISHED"
    losses = tracking.loss_curve(tracking.local_store(training.output), run.info.run_id)
    assert [step for step, _ in losses] == [20, 40]
    metrics = {name: value for name, value in run.data.metrics.items() if name.startswith("test_")}
    levels = {"test_accuracy", *(f"test_accuracy_t{t}" for t in (200, 400, 600, 800))}
    assert set(metrics) == levels | {"test_commonest"}
    assert metrics["test_commonest"] == pytest.approx(4 / 7), "who crawls is not counted"
    assert metrics["test_accuracy"] > 0.8
    assert metrics["test_accuracy_t200"] > 0.8


def test_a_finished_run_is_left_alone_and_a_cut_one_goes_on(training: TrainClassifierConfig, classifier: Path) -> None:
    written = classifier.read_bytes()
    assert train_classifier(training) == str(classifier)
    assert classifier.read_bytes() == written
    with pytest.raises(InputError, match=r"another configuration \(steps: 40; steps: 41\)"):
        train_classifier(replace(training, steps=41))
    classifier.unlink()  # as if the driver had died between training and this file
    train_classifier(training)
    weights = load_classifier(classifier).network.state_dict()
    assert all(value.isfinite().all() for value in weights.values())
    assert the_run(training).info.status == "FINISHED"


def test_rows_come_back_as_they_were_and_unlabelled_clips_are_left_out() -> None:
    body = load_body()
    clips = [
        clip(body, 1, "train", (FLOOR, CHAIR)),
        clip(body, 2, "train", (0, CRAWLING)),
        clip(body, 3, "test", (1, 2)),
    ]
    table = pa.Table.from_pylist([each.to_row() for each in clips], schema=MotionSequence.SCHEMA)
    (example,) = decode_rows(encode_labelled(table, "train", ("sitting_in_chair", "laying_on_floor")))
    assert example.labels[:, 0].tolist() == [1, 0]
    assert example.labels[:, 27:].eq(-1).all()
    assert torch.equal(example.features[..., :72].unflatten(-1, (24, 3)), torch.from_numpy(clips[0].joints))
    assert torch.equal(example.valid, torch.from_numpy(clips[0].valid))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"batch_size": 64}, "holds 10 clips of the train split with these actions, less than one batch of 64"),
        ({"network": replace(NETWORK, names=("laying_on_floor", "flying"))}, "network.names has 'flying', expected"),
        (
            {"network": replace(NETWORK, names=("laying_on_floor", "crawling"))},
            "holds laying_on_floor of the actions laying_on_floor, crawling, expected at least two",
        ),
        ({"data": "nowhere"}, "the train split of .*/nowhere holds none of the actions"),
    ],
)
def test_bad_configurations_leave_nothing_behind(
    training: TrainClassifierConfig, tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    assert_refused(train_classifier, replace(training, output=tmp_path / "run", **change), sentence)
