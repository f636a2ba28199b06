"""Measurement of one block of motions, and what a set's stamp depends on; test_evaluate.py has the whole job."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from motion.body import load_body
from motion.clips.transforms import canonical_start
from motion.errors import InputError
from motion.evaluator import EvaluatorConfig, EvaluatorNetwork, evaluator_bytes
from motion.metrics.measure import Measure
from motion.metrics.plausibility import MEASURES
from motion.parquet import write_parquet
from motion.sequence import MotionSequence
from ray_jobs.common.measure_motions import (
    SAMPLES,
    Instruments,
    Measurer,
    MotionSet,
    call_metric,
    samples_schema,
    stamp,
    training_windows,
)
from tests.helpers.clips import motion

NETWORK = EvaluatorConfig(width=16, layers=1, heads=2, feedforward=32, dim=4)


def clip(seed: int, **changes: object) -> MotionSequence:
    made = motion(load_body(), frames=30, seed=seed)
    return replace(made, **{"id": f"made/{seed}", "action": np.zeros_like(made.action)} | changes)


def block(*motions: MotionSequence) -> pa.Table:
    return pa.Table.from_pylist([motion.to_row() for motion in motions], schema=MotionSequence.SCHEMA)


@pytest.fixture(scope="module")
def instruments(tmp_path_factory: pytest.TempPathFactory) -> Instruments:
    """Take an evaluator that learnt nothing, and no rooms."""
    path = tmp_path_factory.mktemp("evaluator") / "evaluator.safetensors"
    torch.manual_seed(0)
    path.write_bytes(evaluator_bytes(EvaluatorNetwork(NETWORK)))
    return Instruments(str(path), "abc", None, None, num_actors=1, num_cpus=1, num_gpus=0, metrics=())


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a reference be the object itself; test_evaluate.py measures on a real cluster."""
    monkeypatch.setattr("ray.get", lambda reference: reference)


def measured(instruments: Instruments, *motions: MotionSequence) -> dict[str, dict[str, object]]:
    measurer = Measurer(instruments, [None])
    return {row["id"]: row for row in measurer(block(*motions)).to_pylist()}


def test_a_motion_that_cannot_be_measured_leaves_its_neighbours_as_they_were(
    instruments: Instruments, without_ray: None
) -> None:
    good = clip(1, texts=["dance"], provenance={"model": "v1"})
    rows = measured(instruments, good, clip(2, fps=60.0))
    assert "has 60 frames per second, the evaluator takes 20" in rows["made/2"].pop("reason")
    assert {value for name, value in rows["made/2"].items() if name != "id"} == {None}
    row = rows["made/1"]
    assert (row["reason"], row["captions"], row["seconds"], row["version"]) == (None, ["dance"], 1.5, "v1")
    assert np.linalg.norm(row["embedding"]) == pytest.approx(1)
    assert row["floor_penetration"] >= 0
    assert (row["neighbour"], row["memorisation"]) == (None, None), "no training clips were given"
    assert measured(instruments, good)["made/1"]["embedding"] == pytest.approx(row["embedding"], abs=1e-6)


def test_a_motion_of_an_unknown_room_is_refused_where_rooms_are_given(
    instruments: Instruments, without_ray: None
) -> None:
    measurer = Measurer(instruments, [None])
    strayed = clip(1, scene_id="attic")
    assert measurer.scene_of(strayed) is None, "no rooms were given"
    measurer.scenes = {"kitchen": object()}
    assert measurer.scene_of(clip(1, scene_id=None)) is None
    assert measurer.scene_of(clip(1, scene_id="kitchen")) is measurer.scenes["kitchen"]
    (row,) = measurer(block(strayed)).to_pylist()
    assert row["reason"] == "made/1: its scene 'attic' is not among the 1 given"


def test_a_motion_that_was_moved_out_of_its_room_is_not_measured_there(
    instruments: Instruments, without_ray: None
) -> None:
    measurer = Measurer(instruments, [None])
    moved = canonical_start(clip(1, scene_id="kitchen"), load_body())
    assert measurer.scene_of(moved) is None, "no rooms were given"
    measurer.scenes = {"kitchen": object()}
    (row,) = measurer(block(moved)).to_pylist()
    assert row["reason"].startswith("made/1: was moved to the origin, out of its scene 'kitchen', expected ")
    alone = canonical_start(clip(1, scene_id=None), load_body())
    assert measurer.scene_of(alone) is None


def test_only_training_clips_are_searched_for_copies(tmp_path: Path) -> None:
    assert training_windows(None) is None
    clips = [clip(seed, split="train" if seed == 2 else "test") for seed in range(4)]
    write_parquet(clips, tmp_path / "motions" / "0.parquet")
    index = training_windows(str(tmp_path))
    assert index is not None
    assert index.ids == ("made/2",)


def test_a_stamp_changes_with_what_the_numbers_depend_on_alone(
    instruments: Instruments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, module = tmp_path / "motions" / "0.parquet", tmp_path / "stamped_metric.py"
    write_parquet([clip(1)], file)
    module.write_text("half = lambda motion: 0.5")
    monkeypatch.syspath_prepend(tmp_path)
    source = MotionSet("early", str(tmp_path), "test")
    first = stamp(source, instruments)
    assert stamp(replace(source, name="late"), instruments) == first
    assert stamp(source, replace(instruments, num_actors=3, num_cpus=2, evaluator="elsewhere")) == first
    changed = [
        stamp(replace(source, split=None), instruments),
        stamp(source, replace(instruments, version="abd")),
        stamp(source, replace(instruments, train=str(tmp_path))),
    ]
    for content in ("half = lambda motion: 0.5", "half = lambda motion: 1 / 2"):
        module.write_text(content)
        changed.append(stamp(source, replace(instruments, metrics=("stamped_metric:half",))))
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    changed.append(stamp(source, instruments))
    (tmp_path / "motions" / "1.parquet").write_bytes(file.read_bytes())
    changed.append(stamp(source, instruments))
    assert len({first, *changed}) == 8


def share(motion: MotionSequence) -> float:
    if motion.id == "made/0":
        raise KeyError("a")
    return float("inf") if motion.id == "made/1" else 0.5


share.measure = Measure("Share", "", None, "ours", "nothing")


def test_own_metrics_have_a_column_and_their_mistakes_a_sentence() -> None:
    schema = samples_schema(["package.module:share"])
    assert schema.names == [*SAMPLES.names, "share"]
    assert set(MEASURES) <= set(SAMPLES.names)
    assert call_metric("share", share, clip(2)) == 0.5
    with pytest.raises(InputError, match=r"^made/0: KeyError in the metric share: 'a'$"):
        call_metric("share", share, clip(0))
    with pytest.raises(InputError, match=r"^made/1: the metric share gave inf, expected a number, or NaN where it has"):
        call_metric("share", share, clip(1))
