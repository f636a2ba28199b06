"""Shared behaviour of all programs: their lists, their names in the help, and exit status 2 on bad input."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from motion.errors import InputError
from motion.errors.command_line import exit_on_bad_input, finish, programs, with_paths
from tests.conftest import Ended

REPO = Path(__file__).resolve().parents[3]
PACKAGES = ("motion", "recon", "ray_jobs")
IN_THIS_PROCESS = [found.name for package in ("motion", "recon") for found in programs(package)]
"""Programs that import no Ray, which costs seconds a process."""


Run = Callable[..., Ended]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_program_is_listed_with_a_line_and_a_command(package: str, run_program: Run) -> None:
    starts = 'if __name__ == "__main__":'
    files = [path for path in (REPO / package).rglob("*.py") if f"\n{starts}" in path.read_text()]
    assert len(list(programs(package))) == len(files) - 1, "all but the list itself"
    status, out, _ = run_program(package)
    assert status == 0
    for found in programs(package):
        assert f"\n{found.name}\n    {found.summary}\n    $ {found.example}\n" in out
        assert found.summary
        assert "\\" not in found.example
        assert not found.example.endswith("--help"), "the docstring shows how to run it"


def test_jobs_are_listed_without_ray() -> None:
    script = "import runpy, sys; runpy.run_module('ray_jobs', run_name='__main__'); sys.exit('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "python -m ray_jobs.train tiny --data data/deepmimic --output runs/first" in done.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_a_list_takes_no_arguments(package: str, run_program: Run) -> None:
    assert run_program(package, "--help").status == 0
    refused = run_program(package, "train")
    assert refused.status == 2
    assert refused.err.startswith(f"error: 'train' is no argument of `python -m {package}`")


@pytest.mark.parametrize("name", IN_THIS_PROCESS)
def test_help_names_the_program(name: str, run_program: Run) -> None:
    shown = run_program(name, "--help")
    assert shown.status == 0
    assert shown.out.startswith(f"usage: python -m {name} [-h]")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("motion.denoiser",), "nothing to do"),
        (("motion.render", "no_such_folder", "--id", "x", "--output", "a.gif"), "no motion has the id 'x'"),
        (("recon.pipeline",), "expected folders of sequences"),
        (("recon.simulate", "--output", "x", "--keypoints", "y"), "keypoints is 'y'"),
        (("recon.simulate", "--output", "s3://bucket/rooms"), "--output is 's3:/bucket/rooms', expected a path: this"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(arguments: tuple[str, ...], sentence: str, run_program: Run) -> None:
    refused = run_program(*arguments)
    assert refused.status == 2
    assert refused.err.startswith("error: ")
    assert sentence in refused.err
    assert refused.err.count("\n") == 1


@pytest.mark.parametrize(
    ("code", "raised"), [(None, InputError), (0, InputError), (3, SystemExit), ("why", SystemExit)]
)
def test_work_that_ends_itself_is_not_done(code: int | str | None, raised: type[BaseException]) -> None:
    """An extension's `sys.exit(0)` would end a job as if all were done; another status is left as it is."""
    with pytest.raises(raised):
        finish(sys.exit, code)


def test_a_file_that_cannot_be_written_is_one_sentence_and_other_faults_are_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        exit_on_bad_input(Path("/dev/null/room.png").touch)
    assert capsys.readouterr().err == (
        "error: [Errno 20] Not a directory: '/dev/null/room.png'; see that the path is meant, can be written to and "
        "has room\n"
    )
    with pytest.raises(ConnectionRefusedError):
        exit_on_bad_input(partial(socket.create_connection, ("127.0.0.1", 9)))


def test_a_path_that_is_not_utf_8_is_refused_before_anything_is_written() -> None:
    with pytest.raises(InputError, match=r"the path 's\\udcff/o' is not UTF-8: rename it"):
        with_paths(SimpleNamespace(output=Path("s\udcff/o")))


def test_an_interrupt_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="130"):
        exit_on_bad_input(partial(signal.raise_signal, signal.SIGINT))
    assert capsys.readouterr().err == "interrupted\n"


def test_the_home_is_meant_by_its_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert with_paths(SimpleNamespace(output=Path("~/rooms"), count=3)).output == tmp_path / "rooms"
