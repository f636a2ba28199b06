"""Checkpoint of a training run on disk, from which a run that was stopped goes on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from motion.parquet import whole_file


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """File of a training run, and the networks and the optimizer whose states it holds by name."""

    path: Path
    parts: Mapping[str, nn.Module | torch.optim.Optimizer]
    """Networks and optimizers by name."""

    def resume(self) -> tuple[float, int]:
        """Load the states; return the seconds and steps behind them, zeros where there is no file."""
        if not self.path.is_file():
            return 0.0, 0
        state = torch.load(self.path, weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        return state["spent"], state["step"]

    def keep(self, spent: float, step: int) -> None:
        """Write the states after `spent` seconds and `step` steps; a run that is killed leaves the earlier file."""
        states = {name: part.state_dict() for name, part in self.parts.items()}
        with whole_file(self.path) as (_, partial):
            torch.save({**states, "spent": spent, "step": step}, partial)
