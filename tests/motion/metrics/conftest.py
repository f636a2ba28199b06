"""Reference numbers of the embeddings' metrics, computed by the peers' own code."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def inputs(golden: Path) -> dict[str, np.ndarray]:
    return dict(np.load(golden / "metrics" / "inputs.npz"))


@pytest.fixture
def values(golden: Path) -> dict[str, Any]:
    return json.loads((golden / "metrics" / "values.json").read_text())
