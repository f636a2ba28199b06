"""Command line of the jobs: bad input ends in one sentence, and nothing runs."""

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from motion.errors import InputError
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
        (("ray_jobs.prepare", "--output", "o", "--max-seconds", "nan"), "max_seconds is nan"),
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
    text = cli.to_yaml(ServeConfig("/m.safetensors"))
    assert yaml.safe_load(text)["model"] == "/m.safetensors"
    assert text.startswith("model: /m.safetensors\n"), "fields keep their order"


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        (
            "RAY_ADDRESS",
            "127.0.0.1:9",
            "cannot join the Ray cluster at 127.0.0.1:9, which RAY_ADDRESS .*refused",
        ),
        ("RAY_ADDRESS", "nowhere.invalid:6379", "cannot join the Ray cluster at nowhere.invalid:6379"),
        (
            "TMPDIR",
            "{folder}/" + "long" * 25,
            "cannot start Ray in .*long, which TMPDIR names: .*set TMPDIR to",
        ),
    ],
)
def test_what_is_missing_around_a_job_is_one_sentence(tmp_path: Path, variable: str, value: str, sentence: str) -> None:
    value = value.format(folder=tmp_path)
    if variable == "TMPDIR":
        Path(value).mkdir()
    command = [sys.executable, "-m", "ray_jobs.prepare", "--output", str(tmp_path / "out")]
    ended = subprocess.run(
        command, env=os.environ | {variable: value}, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert re.search(rf"^error: {sentence}", ended.stderr, re.MULTILINE)
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out").exists()


def test_the_last_line_says_where_the_output_lies_and_what_follows(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    cli.conclude("the data lies in /a b", "ray_jobs.train tiny --data", "/a b")
    assert caplog.messages == ["the data lies in /a b; next: python -m ray_jobs.train tiny --data '/a b'"]


def test_each_rejected_record_is_logged_by_name(caplog: pytest.LogCaptureFixture) -> None:
    cli.check_rejected([("ward/cam/day/07", "no floor")], 9, "sequences", 0.5, "out/rejected")
    assert caplog.messages == ["rejected ward/cam/day/07: no floor"]


def test_harmless_tracebacks_of_ray_are_kept_back_and_others_shown(capsys: pytest.CaptureFixture[str]) -> None:
    harmless = [
        "Traceback (most recent call last):",
        '  File "queue.py", line 3, in get',
        "    raise",
        "InterruptedError",
    ]
    killed = ["Failed to kill PreemptionWatcher actor.", *harmless[:3], "ValueError: gone"]
    real = ["Traceback (most recent call last):", '  File "train.py", line 9, in loop', "ValueError: own"]
    lines = ["step 2", *harmless, "step 3", *killed, "step 4", *real]
    said = {"pid": 1, "ip": "127.0.0.1", "is_err": True, "job": None, "task_name": "t", "actor_name": "RayTrainWorker"}
    cli.print_without_harmless(said | {"lines": lines})
    cli.print_without_harmless(said | {"lines": ["lost"], "actor_name": "PlacementGroupCleaner"})
    shown = [line.rpartition("\x1b[0m ")[2] for line in capsys.readouterr().err.splitlines()]
    assert shown == ["step 2", "step 3", "step 4", *real]


@pytest.mark.parametrize("content", ["a: [", "text", "- 1"])
def test_a_damaged_configuration_beside_an_output_is_no_reason_to_mix_runs(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"config\.yaml is damaged, expected settings by name: take another output"):
        cli.refuse_other_settings(str(tmp_path), ServeConfig("/m.safetensors"), ["port"])


def test_a_terminal_without_the_letters_of_a_caption_gets_their_codes() -> None:
    program = "from motion.errors.command_line import exit_on_bad_input; exit_on_bad_input(lambda: print('gehört 人'))"
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert ended.stdout == "gehört \\u4eba\n".encode("latin-1")
