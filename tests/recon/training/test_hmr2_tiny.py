"""Training of the HMR2.0 stand-in: the loss falls, and a stopped run goes on."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recon.regressors import HMR2Config, load_regressor
from recon.regressors.hmr2 import SIDE_CUT
from recon.training import hmr2_tiny
from recon.training.hmr2_views import plain
from tests.helpers.crop_views import BODY, VIEWS

SMALL = HMR2Config(width=32, depth=1, heads=2, head_width=32, head_depth=1, head_heads=2, head_dim=16, head_mlp=32)


def test_joints_learn_to_point_at_their_patches() -> None:
    network, pointer = hmr2_tiny.new_network(SMALL, VIEWS, 0), torch.nn.Linear(SMALL.width, 24)
    optimizer = torch.optim.AdamW([*network.parameters(), *pointer.parameters()], lr=1e-3)
    images, targets = plain(VIEWS, BODY)

    def loss() -> float:
        tokens = network.backbone(hmr2_tiny.normalized(images)[..., SIDE_CUT:-SIDE_CUT])
        return hmr2_tiny.patch_loss(pointer(tokens), targets).item()

    before = loss()
    for _ in range(20):
        hmr2_tiny.train_step(network, pointer, optimizer, images, targets, BODY)
    assert loss() < before - 0.5


def test_training_falls_goes_on_and_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hmr2_tiny, "REPORT_S", 0.0)
    before = hmr2_tiny.validate(hmr2_tiny.new_network(SMALL, VIEWS, 0), VIEWS, BODY)
    hmr2_tiny.train(VIEWS, VIEWS, 2.0, tmp_path / "checkpoint.pt", 0, SMALL)
    steps = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"]
    network = hmr2_tiny.train(VIEWS, VIEWS, 3.0, tmp_path / "checkpoint.pt", 0, SMALL)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] > steps > 0
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in capsys.readouterr().out.splitlines()]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    after = hmr2_tiny.validate(network, VIEWS, BODY)
    assert after["crop_pixels"] < before["crop_pixels"]
    hmr2_tiny.save(network, tmp_path / "w.safetensors", {"motion": hmr2_tiny.MOTION, **after})
    assert load_regressor(tmp_path / "w.safetensors").estimate(VIEWS.images).cam.shape == (len(VIEWS), 3)
