"""Checkpoint of a training run: what was kept comes back, and a killed run leaves the earlier file."""

from pathlib import Path

import pytest
import torch

from recon.training.checkpoint import Checkpoint
from recon.training.depth_from_scratch import schedule
from recon.training.depth_tiny import WARM_UP_SHARE


def test_a_stopped_training_goes_on(tmp_path: Path) -> None:
    def training() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        network = torch.nn.Linear(2, 1)
        return network, torch.optim.AdamW(network.parameters(), lr=schedule(0.01, WARM_UP_SHARE))

    network, optimizer = training()
    network(torch.ones(2)).backward()
    optimizer.step()
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", {"network": network, "optimizer": optimizer})
    assert checkpoint.resume() == (0.0, 0)
    checkpoint.keep(12.5, 7)
    other, other_optimizer = training()
    assert Checkpoint(checkpoint.path, {"network": other, "optimizer": other_optimizer}).resume() == (12.5, 7)
    torch.testing.assert_close(other.state_dict(), network.state_dict())
    torch.testing.assert_close(other_optimizer.state_dict(), optimizer.state_dict())


def test_a_run_that_is_killed_while_it_writes_leaves_the_earlier_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = torch.nn.Linear(2, 1)
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", {"network": network})
    checkpoint.keep(1.0, 1)

    def killed(states: object, path: str) -> None:
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.keep(2.0, 2)
    assert checkpoint.resume() == (1.0, 1)
