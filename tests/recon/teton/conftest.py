"""Valid sequence of one person, for tests to damage."""

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.teton import make_track, write_valid


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a valid sequence of one person."""
    folder = tmp_path / "ward" / "camera" / "2024-01-01" / "120000"
    write_valid(folder, [make_track(np.random.default_rng(0), "7")])
    return folder
