"""Command line of pictures: the body by default, sticks on request, a list without an id."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from motion.errors import InputError
from motion.parquet import write_parquet
from motion.render import __main__ as program
from motion.render.__main__ import Picture, draw
from motion.sequence import MotionSequence
from tests.conftest import Ended

REPO = Path(__file__).parents[3]


@pytest.fixture
def source(pair: MotionSequence, tmp_path: Path) -> str:
    """Write three motions, one of them without a caption and one of another body."""
    others = [replace(pair, id="made/other", texts=[]), replace(pair, id="made/smpl", body="smpl-neutral")]
    write_parquet([pair, *others], tmp_path / "motions" / "a.parquet")
    return str(tmp_path / "motions")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Note which writer gets which motion, in place of drawing it."""
    notes: list[tuple[str, str]] = []

    def note(name: str) -> Callable[..., None]:
        return lambda sequence, *_: notes.append((name, sequence.id))

    for name in ("animate", "animate_body", "strip", "body_strip"):
        monkeypatch.setattr(program, name, note(name))
    return notes


def test_the_body_is_drawn_unless_sticks_are_asked_for(source: str, drawn: list[tuple[str, str]]) -> None:
    for output in ("a.gif", "a.png"):
        for sticks in (False, True):
            draw(Picture(source, "made/other", Path(output), sticks))
    assert drawn == [(name, "made/other") for name in ("animate_body", "animate", "body_strip", "strip")]


def test_a_body_without_a_mesh_is_drawn_as_sticks_and_says_so(
    source: str, drawn: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    draw(Picture(source, "made/smpl", Path("a.gif")))
    assert drawn == [("animate", "made/smpl")]
    assert "body smpl-neutral" in capsys.readouterr().out


def test_without_an_id_all_are_listed(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    draw(Picture(source))
    assert capsys.readouterr().out.splitlines() == [
        "made/pair  2 persons, 24 frames (1.2 s)  two people glide forward with their arms held out",
        "made/other  2 persons, 24 frames (1.2 s)  (no caption)",
        "made/smpl  2 persons, 24 frames (1.2 s)  two people glide forward with their arms held out",
    ]


def test_a_list_may_be_cut_off(pair: MotionSequence, tmp_path: Path) -> None:
    write_parquet([replace(pair, id=f"made/{k}", texts=["a" * 900]) for k in range(200)], tmp_path / "many.parquet")
    command = f"{shlex.quote(sys.executable)} -m motion.render {shlex.quote(str(tmp_path))} | head -1"
    ended = subprocess.run(command, shell=True, cwd=REPO, capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("made/0 ")
    assert ended.stderr == ""


def test_wrong_ids_endings_and_folders_are_said(source: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no motion has the id 'x'; it holds 3, such as made/pair, made/other, made/"):
        draw(Picture(source, "x", tmp_path / "out.gif"))
    with pytest.raises(InputError, match=r"ends in \.gif or \.png"):
        draw(Picture(source, "made/pair", tmp_path / "out.mp4"))
    with pytest.raises(InputError, match="holds no motion"):
        draw(Picture(str(tmp_path / "nothing")))


def test_the_program_draws(source: str, run_program: Callable[..., Ended]) -> None:
    ended = run_program("motion.render", source, "--id", "made/other", "--sticks", "--output", "new/out.png")
    assert (ended.status, ended.out) == (0, "new/out.png\n")
    assert Path("new/out.png").read_bytes().startswith(b"\x89PNG")
