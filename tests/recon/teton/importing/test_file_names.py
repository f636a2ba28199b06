"""Names of picture files, as tools change them."""

from pathlib import Path

import pytest

from motion.errors import InputError
from recon.teton.importing.file_names import list_files, number_in, stem


@pytest.mark.parametrize(
    ("name", "plain", "number"),
    [
        ("frame_000017.PNG", "frame_000017", 17),
        ("frame_000017", "frame_000017", 17),
        ("images/0a1b2c3d-cam2_00031.jpg", "cam2_00031", 31),
        ("C:\\videos\\7.jpeg", "7", 7),
        ("000004_jpg.rf.3f2a9c.jpg", "000004", 4),
        ("walk.mp4", "walk.mp4", 4),
        ("still", "still", None),
        ("9" * 30, "9" * 30, None),
    ],
)
def test_names_without_what_tools_add(name: str, plain: str, number: int | None) -> None:
    assert (stem(name), number_in(name)) == (plain, number)


def test_files_are_sorted_as_people_count(tmp_path: Path) -> None:
    for name in ("f10.jpg", "f9.JPG", "f2.png", ".f1.jpg", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in list_files(tmp_path, ".jpg", ".png")] == ["f2.png", "f9.JPG", "f10.jpg"]
    with pytest.raises(InputError, match="cannot be read"):
        list_files(tmp_path / "notes.txt", ".jpg")
