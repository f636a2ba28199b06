"""Shared fixtures of the jobs' tests: a small model trained once."""

from pathlib import Path

import pytest

from ray_jobs.train import TrainConfig, train
from tests.helpers.recipe import RECIPE


@pytest.fixture(scope="session")
def train_config(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """Configure six steps of the smallest model on two workers, a checkpoint every three."""
    output = tmp_path_factory.mktemp("runs") / "first"
    return TrainConfig(RECIPE, str(prepared), output, repeats=8, log_every=2, checkpoint_every=3)


@pytest.fixture(scope="session")
def model_file(train_config: TrainConfig) -> Path:
    return Path(train(train_config))
