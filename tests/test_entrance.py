"""The way in for strangers: commands and headings that the pages in .github name exist, and CI runs what they say."""

import re
from pathlib import Path

import pytest
import yaml

from motion.errors import InputError
from tests.benchmarks import labelled
from tests.benchmarks.__main__ import main

REPO = Path(__file__).resolve().parent.parent
PAGES = sorted((REPO / ".github").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_a_page_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)\s]*)\)", text)) <= anchors


def test_contributing_names_commands_that_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(), flags=re.MULTILINE))
    asked = set(re.findall(r"^make ([a-z-]+)", (REPO / ".github" / "CONTRIBUTING.md").read_text(), flags=re.MULTILINE))
    assert {"lint", "test", "demo"} <= asked <= targets


def test_ci_runs_what_a_contributor_runs() -> None:
    (job,) = yaml.safe_load((REPO / ".github" / "workflows" / "ci.yml").read_text())["jobs"].values()
    assert job["timeout-minutes"] == 90
    assert "python:3.11" in job["container"]
    steps = [step.get("run") for step in job["steps"]]
    assert steps[-1] == ".ci/run"
    assert "make lint test" in (REPO / ".ci" / "run").read_text()


@pytest.mark.parametrize("name", ["joints", "prepare", "evaluation", "splits", "recon_errors"])
def test_a_benchmark_without_its_data_says_so(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelled, "SHARED_DATA", tmp_path / "missing")
    with pytest.raises(InputError, match="missing, expected samples of the real data"):
        main([name])
