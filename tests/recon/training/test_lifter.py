"""Training of the lifter: a stopped run goes on."""

from pathlib import Path

import pytest
import torch

from recon.lifting import Lifter
from recon.training import lifter
from recon.training.lifter import LifterOptions, train
from recon.training.poses import PoseClip


def test_training_goes_on_where_it_stopped(
    clips: list[PoseClip], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifter, "read_poses", lambda *_: clips)
    steps, minutes = [], 0.01
    for _ in range(2):
        train(LifterOptions(tmp_path / "lifter.safetensors", None, minutes, tmp_path / "lifter.pt"))
        state = torch.load(tmp_path / "lifter.pt", weights_only=True)
        steps.append(state["step"])
        minutes = state["spent"] / 60 + 0.01  # however long one step took on a busy machine
        Lifter.load(tmp_path / "lifter.safetensors")
    assert 0 < steps[0] < steps[1]
    assert "composed noisy" in capsys.readouterr().out
