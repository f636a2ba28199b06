"""Tests whose reference data are missing skip, or fail where the data are demanded."""

from pathlib import Path

import pytest

from tests import conftest


@pytest.mark.parametrize(
    ("demand", "outcome"), [("", pytest.skip.Exception), ("required", pytest.fail.Exception)], ids=["skips", "fails"]
)
def test_a_missing_reference(
    demand: str, outcome: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conftest, "SHARED", tmp_path)
    monkeypatch.setenv(conftest.REFERENCES, demand)
    with pytest.raises(outcome, match="no folder shared/golden beside the repo"):
        conftest.reference_folder("golden")
