"""README can be followed: its jobs run as printed, only smaller, its Python runs, and every command is understood."""

import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import ray
import tyro

from motion.sequence import read_motions
from recon.simulate import SimulateConfig
from tests.helpers.jobs import free_port
from tests.helpers.recordings import film

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

REPO = Path(__file__).parents[2]
README = (REPO / "README.md").read_text()
SMALLER = {
    "recon.simulate": "--count 1 --num-frames 20",
    "motion.render": "--sticks",
    "ray_jobs.train": "--recipe.optim.steps 2 --recipe.optim.batch-size 4 --repeats 1",
    "ray_jobs.generate": "--samples-per-prompt 1",
}
"""Options that the test adds to a command, so that it takes seconds."""
TOOLS = ("make", "mlflow", "ray", "source", "export")


def blocks(language: str, heading: str = "") -> list[str]:
    """List the fenced blocks of a language, below a heading or in the whole README."""
    text = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0] if heading else README
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(block: str) -> Iterator[list[str]]:
    """List the words of each command of a shell block, without comments."""
    for line in block.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def every_command() -> list[list[str]]:
    return [words for block in blocks("bash") for words in commands(block)]


class ParsedError(Exception):
    """End of a program whose command line was parsed."""


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_every_command_is_understood(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's module exists and takes these options; other words are tools that README takes for granted."""
    words = words[words.index("--") + 1 :] if words[:3] == ["ray", "job", "submit"] else words
    if words[0] != "python":
        assert words[0] in TOOLS
        assert words[0] != "make" or f"\n{words[1]}:" in (REPO / "Makefile").read_text()
        return
    for owner, name in ((tyro, "cli"), (tyro.extras, "overridable_config_cli")):
        monkeypatch.setattr(owner, name, parse_only(getattr(owner, name)))
    monkeypatch.setattr(sys, "argv", [words[2], *words[3:]])
    if words[3:]:
        with pytest.raises(ParsedError):
            runpy.run_module(words[2], run_name="__main__")


def parse_only(parse):  # type: ignore[no-untyped-def]
    def parsed(*arguments, **options):  # type: ignore[no-untyped-def]
        parse(*arguments, **options)
        raise ParsedError

    return parsed


def test_its_jobs_and_its_python_run(ray_cluster: None, tmp_path: Path) -> None:
    """The commands run in one folder, one after the other, as a reader would run them.

    They share the tests' cluster, which was started in another folder; tests/e2e/test_demo.py does without one.
    """
    (tmp_path / "prompts.txt").write_text("a person walks forward\n")
    (jobs,) = blocks("bash", "The jobs")
    for words in commands(jobs):
        if words[0] != "python":
            continue
        if words[2] == "ray_jobs.serve":
            ask_the_server(words, tmp_path)
        else:
            (made,) = read_motions(tmp_path / "generated/first/motions") if words[2] == "motion.render" else (None,)
            words = [word if word != "generated/ID" or made is None else made.id for word in words]
            done = subprocess.run(smaller(words), cwd=tmp_path, env=environment(), capture_output=True, text=True)
            assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    assert list(tmp_path.glob("*.gif"))
    run_python(tmp_path)


def test_your_own_video_is_imported_checked_and_reconstructed(ray_cluster: None, tmp_path: Path) -> None:
    """The commands run in a folder with the video and the annotations that they name, here of a rendered room."""
    film(tmp_path, SimulateConfig(num_people=1, num_frames=20, image_size=(256, 192)))
    (block,) = blocks("bash", "Your own video")
    for words in commands(block):
        done = subprocess.run(smaller(words), cwd=tmp_path, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    (motion,) = read_motions(tmp_path / "data/own-motions/motions")
    assert "imported/walk/2024-05-01" in motion.id


def smaller(words: list[str]) -> list[str]:
    return [sys.executable, *words[1:], *SMALLER.get(words[2], "").split()]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(REPO), "RAY_ADDRESS": ray.get_runtime_context().gcs_address}


def ask_the_server(words: list[str], folder: Path) -> None:
    """Serve, send one request, and stop as with Ctrl-C."""
    port = free_port()
    server = subprocess.Popen(
        [*smaller(words), "--port", str(port)],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    assert any(line.startswith("serving ") for line in server.stdout)
    body = {"prompt": "a person walks forward", "num_frames": 8, "seed": 7}
    answer = httpx.post(f"http://127.0.0.1:{port}/v1/motions", json=body, timeout=60)
    server.send_signal(signal.SIGINT)
    assert answer.status_code == 200
    assert len(answer.json()["transl"][0]) == 8
    assert server.wait(60) == 0


def run_python(folder: Path) -> None:
    """Run all Python blocks in one process, in their order."""
    script = "\n".join(blocks("python"))
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#\s]+)\)", README):
        if "://" not in target:
            assert (REPO / target).exists(), target
    anchors = {
        re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", README, re.M)
    }
    for anchor in re.findall(r"\]\(#([^)]+)\)", README):
        assert anchor in anchors, anchor
