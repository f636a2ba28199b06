"""The command line: what is wrong is said in one sentence, and nothing runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ray_jobs import config
from ray_jobs.serve import ServeConfig

REPO = Path(__file__).parents[2]


def call(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=REPO,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ray_jobs.train", "tiny", "--data", "d", "--output", "o", "--recipe.denoiser.depth", "3"), "depth"),
        (
            ("ray_jobs.train", "tiny", "--data", "d", "--output", "o", "--recipe.denoiser.width", "wide"),
            "wide",
        ),
        (("ray_jobs.train", "huge"), "huge"),
        (("ray_jobs.prepare", "--output", "o", "--source", "youtube"), "youtube"),
        (("ray_jobs.serve", "--model", "m", "--port", "http"), "http"),
        (
            ("ray_jobs.train", "tiny", "--data", "d", "--output", "o", "--recipe.max-persons", "99"),
            "max_persons must",
        ),
        (
            ("ray_jobs.generate", "--model", "m", "--prompts", "p", "--output", "o", "--shard-size", "0"),
            "shard_size",
        ),
    ],
)
def test_unknown_and_ill_typed_keys(arguments: tuple[str, ...], words: str) -> None:
    done = call(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (REPO / "o").exists()


@pytest.mark.parametrize("job", ["prepare", "train", "serve", "generate", "demo"])
def test_help_teaches(job: str) -> None:
    done = call(f"ray_jobs.{job}", "--help")
    assert done.returncode == 0
    assert f"python -m ray_jobs.{job}" in done.stdout


def test_resolved_configs_are_plain_yaml() -> None:
    text = config.to_yaml(ServeConfig(Path("m.safetensors")))
    assert yaml.safe_load(text)["model"] == "m.safetensors"
    assert text.startswith("model: m.safetensors\n"), "fields keep their order"
