"""Settings and checkpoints of training on one worker; the jobs that train so are tested with a real worker."""

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import ray.train
import torch

from motion.errors import InputError
from ray_jobs.common.single_worker_training import SingleWorkerConfig, Stateful, report_checkpoint, resume
from ray_jobs.common.tracker import UNSENT_FILE, Figures, Tracker, Unsent

REQUIRED: dict[str, Any] = {"data": "d", "output": "o", "batch_size": 2, "learning_rate": 0.1, "experiment": "e"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": 0}, "steps is 0, expected 1 or more"),
        ({"log_every": 0}, "log_every is 0, expected 1 or more"),
        ({"checkpoint_every": -1}, "checkpoint_every is -1, expected 1 or more"),
        ({"batch_size": 1}, "batch_size is 1, expected 2 or more"),
        ({"learning_rate": math.nan}, "learning_rate is nan, expected a number above 0"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0, expected 0 or more"),
        ({"num_cpus": 0}, "num_cpus is 0, expected 0.0001 or more"),
        ({"max_failures": -7}, "max_failures is -7, expected 0 or more"),
        ({"seed": -1}, r"seed is -1, expected 0 to 2\*\*63 - 1"),
    ],
)
def test_settings_that_cannot_train_are_refused(change: dict[str, float], sentence: str) -> None:
    SingleWorkerConfig(**REQUIRED)
    with pytest.raises(InputError, match=sentence):
        SingleWorkerConfig(**REQUIRED | change)


def trained(steps: int, parts: Mapping[str, Stateful] | None = None) -> dict[str, Stateful]:
    """Train a network of one weight towards 3 for some steps, from the start or from `parts`."""
    if parts is None:
        network = torch.nn.Linear(1, 1)
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10)
        parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
    for _ in range(steps):
        parts["optimizer"].zero_grad()
        (parts["network"](torch.ones(1)) - 3).square().backward()
        parts["optimizer"].step()
        parts["schedule"].step()
    return dict(parts)


def test_training_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray Train's functions work in its workers alone: stand-ins here; test_evaluate.py kills a real worker."""
    reported: dict[str, object] = {}
    taken: list[Unsent] = []

    def report(metrics: dict[str, int], checkpoint: ray.train.Checkpoint, checkpoint_dir_name: str) -> None:
        with checkpoint.as_directory() as folder:
            shutil.copytree(folder, tmp_path / checkpoint_dir_name)
        reported.update(metrics)

    monkeypatch.setattr("ray.train.report", report)
    monkeypatch.setattr("ray.train.get_checkpoint", lambda: None)
    torch.manual_seed(0)
    parts = trained(4)
    tracker = Tracker(f"sqlite:///{tmp_path}/mlflow.db", SingleWorkerConfig(**REQUIRED))
    assert resume(trained(0), tracker) == 0, "nothing to go on from"
    unsent = Unsent([Figures(4, 1000, {"loss": 0.5})])
    report_checkpoint(parts, 4, {"weights.bin": b"the network", UNSENT_FILE: unsent.to_json()})
    saved = tmp_path / "step-0000004"
    assert reported == {"step": 4}
    assert (saved / "weights.bin").read_bytes() == b"the network"
    monkeypatch.setattr("ray.train.get_checkpoint", lambda: ray.train.Checkpoint.from_directory(saved))
    others = trained(0)
    monkeypatch.setattr(tracker, "take", taken.append)
    assert resume(others, tracker) == 4
    assert taken == [unsent]
    weights, again = (trained(3, each)["network"].state_dict() for each in (parts, others))
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[name], again[name]) for name in weights)
