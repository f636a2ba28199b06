"""Prepared data as the jobs read it: its normalizer, and the names that its numbers stand for."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from safetensors.torch import save

from motion.body import load_body
from motion.errors import InputError
from motion.parquet import write_table
from motion.sequence import MotionSequence
from motion.skeleton import ACTIONS
from ray_jobs import train, train_classifier, train_evaluator
from ray_jobs.common import storage
from ray_jobs.common.exports import export_motions
from ray_jobs.common.measure_motions import Instruments, MotionSet, measured
from ray_jobs.common.prepared_data import NORMALIZER_FILE, read_normalizer
from tests.helpers.clips import random_clip
from tests.helpers.recipe import RECIPE


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_normalizer_is_read_from_a_folder_or_uri(tmp_path: Path, scheme: str) -> None:
    tensors = {"mean": torch.tensor([1.0, 2.0]), "std": torch.tensor([2.0, 4.0])}
    storage.write_bytes(f"{scheme}{tmp_path}/{NORMALIZER_FILE}", save(tensors))
    normalizer = read_normalizer(f"{scheme}{tmp_path}")
    assert normalizer.normalize(torch.tensor([3.0, 10.0])).tolist() == [1.0, 2.0]


def test_data_without_a_normalizer_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"^no normalizer.safetensors in {tmp_path}; make it with `python -m ray_job"):
        read_normalizer(str(tmp_path))


def test_a_normalizer_that_would_spoil_every_number_is_refused(tmp_path: Path) -> None:
    file, good = tmp_path / NORMALIZER_FILE, torch.ones(2)
    for mean, std in ((good * torch.nan, good), (good, good * 0), (good, -good), (good, good * torch.inf)):
        file.write_bytes(save({"mean": mean, "std": std}))
        with pytest.raises(InputError, match="holds a mean or a standard deviation that is no number; delete it and"):
            read_normalizer(str(tmp_path))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"normalizer.safetensors is damaged \(.*\); delete it and prepare again"):
        read_normalizer(str(tmp_path))


def read_to_train(data: Path) -> object:
    return train.read_inputs(train.TrainConfig(RECIPE, str(data), data / "out"))


def read_to_classify(data: Path) -> object:
    return train_classifier.read_inputs(train_classifier.TrainClassifierConfig(data=str(data), output=data / "out"))


def read_to_train_the_evaluator(data: Path) -> object:
    return train_evaluator.train_evaluator(train_evaluator.TrainEvaluatorConfig(data=str(data), output=data / "out"))


def read_to_measure(data: Path) -> object:
    instruments = Instruments("none", "none", None, None, num_actors=1, num_cpus=1, num_gpus=0, metrics=())
    return measured([MotionSet("late", str(data), None)], instruments, data / "out")


def read_to_export(data: Path) -> object:
    return export_motions(str(data), "package.module:object")


@pytest.mark.parametrize(
    "read", [read_to_train, read_to_classify, read_to_train_the_evaluator, read_to_measure, read_to_export]
)
def test_motions_that_number_actions_otherwise_are_refused_before_ray_reads_them(
    read: Callable[[Path], object], tmp_path: Path
) -> None:
    """Ray Data passes on the rows of such a file without the names, so that nothing later could tell."""
    table = pa.Table.from_pylist([random_clip(load_body()).to_row()], schema=MotionSequence.SCHEMA)
    names = json.dumps(sorted(ACTIONS))
    write_table(table.replace_schema_metadata({"actions": names}), tmp_path / "motions" / "0.parquet")
    with pytest.raises(InputError, match=r"0.parquet numbers the actions as crawling, .*, expected the first of unkno"):
        read(tmp_path)
    assert not (tmp_path / "out").exists()
