"""Command line of the jobs: bad input ends in one sentence, and nothing runs."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ray_jobs.common import cli
from ray_jobs.serve import ServeConfig
from tests.conftest import Ended


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ray_jobs.train", "tiny", "--data", "d", "--output", "o", "--recipe.denoiser.depth", "3"), "depth"),
        (
            ("ray_jobs.train", "tiny", "--data", "d", "--output", "o", "--recipe.denoiser.width", "wide"),
            "wide",
        ),
        (("ray_jobs.train", "huge"), "huge"),
        (("ray_jobs.prepare", "--output", "o", "--sources", "youtube"), "youtube"),
        (("ray_jobs.serve", "--model", "m", "--port", "http"), "http"),
        (
            ("ray_jobs.train", "tiny", "--data", "d", "--output", "o", "--recipe.max-persons", "99"),
            "max_persons must",
        ),
        (
            ("ray_jobs.generate", "--model", "m", "--prompts", "p", "--output", "o", "--shard-size", "0"),
            "shard_size",
        ),
        (
            ("ray_jobs.generate", "--model", "m", "--prompts", "p", "--output", "o", "--max-rejected-fraction", "nan"),
            "max_rejected_fraction is nan",
        ),
        (("ray_jobs.prepare", "--output", "o", "--max-seconds", "nan"), "max_seconds nan"),
    ],
)
def test_unknown_and_ill_typed_keys(
    arguments: tuple[str, ...], words: str, run_program: Callable[..., Ended], tmp_path: Path
) -> None:
    refused = run_program(*arguments)
    assert refused.status == 2
    assert words in refused.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("job", ["prepare", "train", "serve", "generate", "demo"])
def test_help_teaches(job: str, run_program: Callable[..., Ended]) -> None:
    shown = run_program(f"ray_jobs.{job}", "--help")
    assert shown.status == 0
    assert f"python -m ray_jobs.{job}" in shown.out


def test_resolved_configs_are_plain_yaml() -> None:
    text = cli.to_yaml(ServeConfig(Path("m.safetensors")))
    assert yaml.safe_load(text)["model"] == "m.safetensors"
    assert text.startswith("model: m.safetensors\n"), "fields keep their order"
