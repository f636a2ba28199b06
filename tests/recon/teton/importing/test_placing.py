"""Folders of imported sequences."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from motion.errors import InputError
from recon.teton.importing.placing import existing, number, place, remove, require_free
from recon.teton.importing.recording import Recording


def recording(name: str) -> Recording:
    time = datetime(2024, 5, 1, 10, 20, 30, tzinfo=UTC)
    thumbnails = np.zeros((3, 24, 32, 3), dtype=np.uint8)
    return Recording(Path(name), (64, 48), (64, 48), np.arange(3) / 10, thumbnails, time, lambda _: iter(()), length=3)


@pytest.mark.parametrize(
    ("file", "name", "parts"),
    [
        ("videos/walk 1 (copy).mp4", None, "imported/walk-1-copy"),
        ("--.mp4", None, "imported/video"),
        ("Gänge.mov", None, "imported/Gänge"),
        ("walk.mp4", "ward-3/camera_1.a", "ward-3/camera_1.a"),
    ],
)
def test_the_folder_says_what_and_when(file: str, name: str | None, parts: str) -> None:
    assert place(Path("rooms"), name, recording(file)) == Path("rooms") / parts / "2024-05-01" / "2024-05-01T10-20-30"


@pytest.mark.parametrize("name", ["ward", "a/b/c", "../b", "a/", "/a", "a b/c", "a/..", ""])
def test_a_name_has_two_parts(name: str) -> None:
    with pytest.raises(InputError, match="--name is .*, expected DEPARTMENT/DEVICE, such as ward-3/camera-1"):
        place(Path("rooms"), name, recording("walk.mp4"))


def test_parts_are_numbered() -> None:
    folder = Path("rooms/a/b/2024-05-01/10")
    assert number(folder, 1) == [folder]
    assert [path.name for path in number(folder, 3)] == ["10-000", "10-001", "10-002"]


def test_sequences_of_the_name_are_refused_or_removed(tmp_path: Path) -> None:
    folder = tmp_path / "day" / "10"
    require_free(folder, replace=False)
    others = [folder.with_name(name) for name in ("10-0", "100", "9", "10-000x")]
    own = [folder, folder.with_name("10-000"), folder.with_name("10-012")]
    for path in (*others, *own):
        (path / "frames").mkdir(parents=True)
    assert existing(folder) == own
    with pytest.raises(
        InputError, match=r"10 and 2 more: is there already, expected a new name: choose .* or say --replace"
    ):
        require_free(folder, replace=False)
    require_free(folder, replace=True)
    remove(folder)
    assert sorted(folder.parent.iterdir()) == sorted(others)
