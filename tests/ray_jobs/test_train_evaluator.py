"""Inputs of the evaluator's training and the form in which it reads clips; test_evaluate.py runs the whole job."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from motion.body import load_body
from motion.evaluator import EvaluatorConfig
from motion.evaluator.motion_features import Encoded
from motion.parquet import write_parquet
from motion.sequence import MotionSequence
from ray_jobs.train_evaluator import TrainEvaluatorConfig, decode_rows, encode_captioned, train_evaluator
from tests.helpers.clips import motion
from tests.helpers.jobs import assert_refused

NETWORK = EvaluatorConfig(width=16, layers=1, heads=2, feedforward=32, dim=4)


def clip(seed: int, **changes: Any) -> MotionSequence:
    """Move two persons at random, described by their number."""
    return replace(motion(load_body(), frames=30, seed=seed), id=f"made/{seed}", **{"texts": [f"{seed}"]} | changes)


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> TrainEvaluatorConfig:
    """Configure a training on twelve captioned clips, beside which are clips without a caption or of the test split."""
    folder = tmp_path_factory.mktemp("captioned")
    clips = [clip(seed) for seed in range(12)] + [clip(12, texts=[]), clip(13, split="test", fps=30.0)]
    write_parquet(clips, folder / "motions" / "0.parquet")
    return TrainEvaluatorConfig(data=str(folder), output=folder / "run", network=NETWORK, steps=6, batch_size=4)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"batch_size": 64}, "holds 12 captioned clips of the train split, less than one batch of 64"),
        ({"network": replace(NETWORK, fps=30.0)}, "has 20 frames per second, network.fps is 30"),
        ({"network": replace(NETWORK, text_dim=8)}, "minilm gives 384 numbers, text_dim is 8"),
    ],
)
def test_bad_evaluator_configurations_leave_nothing_behind(
    training: TrainEvaluatorConfig, tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    assert_refused(train_evaluator, replace(training, output=tmp_path / "run", **change), sentence)


def test_clips_come_back_as_they_were_and_others_are_left_out() -> None:
    """Only captioned clips of the train split are learnt from, with all their captions and absent persons."""
    valid = np.ones((2, 30), dtype=np.bool_)
    valid[1, 20:] = False
    clips = [clip(1, texts=["two people dance", "they dance"], valid=valid), clip(2, texts=[]), clip(3, split="val")]
    table = pa.Table.from_pylist([each.to_row() for each in clips], schema=MotionSequence.SCHEMA)
    (encoded,), texts = decode_rows(encode_captioned(table))
    assert texts == [["two people dance", "they dance"]]
    expected = Encoded.of(clips[0])
    np.testing.assert_array_equal(encoded.features, expected.features)
    np.testing.assert_array_equal(encoded.valid, valid)
