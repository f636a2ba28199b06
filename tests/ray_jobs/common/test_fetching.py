"""Inputs in an object store, on a real S3 server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from motion.errors import InputError
from ray_jobs.common import storage
from ray_jobs.common.fetching import at_hand, list_folders
from tests.helpers.object_store import bucket

SEQUENCES = [f"ward/camera/2026-01-01/{hour}" for hour in ("10-00", "11-00")]


@pytest.fixture(scope="module")
def root() -> Iterator[str]:
    with bucket() as store:
        for name in SEQUENCES:
            storage.write_bytes(f"{store}/rooms/{name}/annotations.json", name.encode())
            storage.write_bytes(f"{store}/rooms/{name}/frames/000000.jpg", b"frame")
        storage.write_bytes(f"{store}/rooms/ward/notes.txt", b"no folder")
        yield f"{store}/rooms"


def test_sequences_are_listed_by_their_folders(root: str) -> None:
    assert list_folders(root) == [f"{root}/{name}" for name in SEQUENCES]
    with pytest.raises(InputError, match=r"cannot read s3://data/nothing: .*; check the URI and your credentials"):
        list_folders("s3://data/nothing")


def test_a_folder_is_copied_whole_under_its_last_names_and_deleted(root: str) -> None:
    with at_hand(f"{root}/{SEQUENCES[1]}") as folder:
        assert folder.parts[-4:] == tuple(SEQUENCES[1].split("/"))
        assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*")) == [
            "annotations.json",
            "frames/000000.jpg",
        ]
        assert (folder / "annotations.json").read_text() == SEQUENCES[1]
    assert not folder.exists()


def test_a_file_is_copied_and_one_of_this_machine_is_not(root: str, tmp_path: Path) -> None:
    with at_hand(f"{root}/ward/notes.txt") as path:
        assert (path.name, path.read_bytes()) == ("notes.txt", b"no folder")
    with at_hand(tmp_path) as path:
        assert path == tmp_path
    assert tmp_path.exists()


def test_errors_name_the_uri(root: str) -> None:
    with pytest.raises(InputError, match=r"^cannot read s3://data/rooms/missing: "), at_hand(f"{root}/missing"):
        pass
    place = f"{root}/{SEQUENCES[0]}"
    with pytest.raises(InputError, match=rf"^{place}/frames/000000.jpg: is no image$"), at_hand(place) as folder:
        raise InputError(f"{folder}/frames/000000.jpg: is no image")
