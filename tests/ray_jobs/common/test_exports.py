"""Exports of the user's own on one block of motions; tests/e2e/test_extending.py has them in the whole job."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow.fs import FileSelector, FileType

from motion.body import load_body
from motion.errors import InputError
from motion.parquet import resolve
from motion.sequence import MotionSequence
from ray_jobs.common import storage
from ray_jobs.common.exports import check_exports, export_block, export_motion
from tests.helpers.clips import random_clip
from tests.helpers.object_store import bucket

MODULE = """
from motion.errors import InputError

def text(motion, stem):
    if motion.texts == ["too long"]:
        raise InputError("it is\\ntoo long")
    if motion.texts == ["broken"]:
        raise KeyError("a")
    stem.with_suffix(".txt").write_text(motion.texts[0])
    stem.with_name(stem.name + "_frames.txt").write_text(str(motion.num_frames))
"""


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Write a module with an export that fails on some motions; return the export's name."""
    (tmp_path / "own_exports.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "own_exports:text"
    del sys.modules["own_exports"]


def clip(name: str, text: str = "walks") -> MotionSequence:
    return replace(random_clip(load_body(), frames=5), id=name, texts=[text])


def block(*motions: MotionSequence) -> pa.Table:
    return pa.Table.from_pylist([motion.to_row() for motion in motions], schema=MotionSequence.SCHEMA)


@pytest.fixture(params=["path", "file", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Name a folder to export to, in each of the forms that an output may have."""
    if request.param == "s3":
        with bucket() as uri:
            yield f"{uri}/exports/text"
    else:
        yield str(tmp_path / "text") if request.param == "path" else (tmp_path / "text").as_uri()


def test_what_is_asked_for_is_exported_and_noted(export: str, folder: str) -> None:
    motions = block(clip("made/up/1"), clip("made/up/2", "runs"), clip("made/up/3"))
    bad = export_block(motions, export, folder, {"made/up/1", "made/up/2", "absent"})
    assert bad.num_rows == 0
    filesystem, path = resolve(folder)
    files = [info for info in filesystem.get_file_info(FileSelector(path)) if info.type == FileType.File]
    assert {info.base_name: storage.read_bytes(f"{folder}/{info.base_name}") for info in files} == {
        "made_up_1.txt": b"walks",
        "made_up_1_frames.txt": b"5",
        "made_up_2.txt": b"runs",
        "made_up_2_frames.txt": b"5",
    }
    assert storage.read_column(f"{folder}/done", "id") == ["made/up/1", "made/up/2"]


def test_what_cannot_be_exported_is_a_row_and_not_noted(export: str, tmp_path: Path) -> None:
    motions = block(clip("a", "too long"), clip("b", "broken"), clip("c"))
    bad = export_block(motions, export, str(tmp_path / "text"), {"a", "b", "c"})
    assert bad.to_pylist() == [
        {"id": "a", "reason": "own_exports:text: it is too long"},
        {"id": "b", "reason": "own_exports:text: b: KeyError: 'a'"},
    ]
    assert storage.read_column(str(tmp_path / "text" / "done"), "id") == ["c"]


def test_a_block_of_which_nothing_is_asked_leaves_nothing(export: str, tmp_path: Path) -> None:
    bad = export_block(block(clip("a")), export, str(tmp_path / "text"), {"b"})
    assert (bad.num_rows, bad.schema) == (0, storage.REJECTED)
    assert not (tmp_path / "text").exists()


def write_nothing(motion: MotionSequence, stem: Path) -> None: ...


def write_elsewhere(motion: MotionSequence, stem: Path) -> None:
    stem.with_name("other.txt").touch()


def make_a_folder(motion: MotionSequence, stem: Path) -> None:
    stem.mkdir()


@pytest.mark.parametrize(
    ("export_function", "found"),
    [(write_nothing, "nothing"), (write_elsewhere, "other.txt"), (make_a_folder, "made_up")],
)
def test_an_export_writes_files_of_its_stem(export_function: object, found: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"^made/up: it wrote {found}, expected files named made_up and a suffix"):
        export_motion(clip("made/up"), export_function, str(tmp_path / "text"))
    assert not (tmp_path / "text").exists()


def test_exports_that_share_a_folder_are_refused(export: str) -> None:
    check_exports([export])
    with pytest.raises(InputError, match=r"^own_exports:text: two exports are named text, expected names that differ"):
        check_exports([export, export])
