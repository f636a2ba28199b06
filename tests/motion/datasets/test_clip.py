"""Clips with any fault, of any source, which their reader refuses in one sentence."""

import re
from pathlib import Path

import pytest

from motion.body import load_body
from motion.datasets.clip import Caption, Clip, find_files, read_captions, read_splits
from motion.errors import InputError
from tests.helpers.sources.forms import ORIGINAL, PROCESSED, Form


@pytest.mark.parametrize(
    "form", [*ORIGINAL.values(), *PROCESSED.values()], ids=[*ORIGINAL, *(f"{n}-processed" for n in PROCESSED)]
)
def test_every_malformed_clip_is_listed_and_refused_with_its_sentence(tmp_path: Path, form: Form) -> None:
    good, bad = form.write_dataset(tmp_path), form.write_malformed(tmp_path)
    assert len(bad) >= 10
    listed = {clip.id: Clip.from_json(clip.to_json()) for clip in form.reader.list_clips(tmp_path)}
    assert sorted(listed) == sorted([*good, *bad])
    for name, says in bad.items():
        with pytest.raises(InputError) as caught:
            form.reader.read_clip(listed[name], load_body())
        assert re.search(says, str(caught.value)), f"{name}: {caught.value}"
        assert "\n" not in str(caught.value), name


def write(folder: Path, name: str, content: str = "") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def test_files_are_found_in_linked_folders_and_with_endings_in_capitals(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    expected = [write(root, "A.BVH"), write(root, "b/c.bvh"), root / "linked" / "d.bvh"]
    write(elsewhere, "d.bvh")
    for left_behind in ("._A.BVH", "b/._c.bvh", ".DS_Store", "Thumbs.db", "notes.txt"):
        write(root, left_behind)
    (root / "linked").symlink_to(elsewhere)
    (elsewhere / "round").symlink_to(root)  # a circle
    assert find_files(root, ".bvh") == expected


@pytest.mark.parametrize(
    ("line", "caption"),
    [
        ("a man walks to bed #2", Caption("a man walks to bed #2")),
        ("a man walks to bed #2#a/DET man/NOUN#0.0#0.0", Caption("a man walks to bed #2")),
        ("bed #2, chair #3#a/DET#1.5#4", Caption("bed #2, chair #3", 1.5, 4.0)),
        ("\ufeffa man walks#man/NOUN#nan#nan", Caption("a man walks")),
    ],
)
def test_a_caption_keeps_its_characters(tmp_path: Path, line: str, caption: Caption) -> None:
    assert read_captions(write(tmp_path, "captions.txt", line + "\n")) == [caption]


def test_a_damaged_line_costs_itself_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = ["one", "#a/DET#0.0#0.0", "two#b/X#0.0#0.0", "three#c/X#5#4", "four#d/X#0#soon", "five"]
    captions = read_captions(write(tmp_path, "captions.txt", "\n".join(lines)))
    assert [caption.text for caption in captions] == ["one", "two", "five"]
    for number, fault in ((2, "an empty caption"), (4, "spans 5 s to 4 s"), (5, "has the span")):
        assert re.search(rf"left out: .*captions\.txt: line {number}.*{fault}", caplog.text)


def test_where_no_line_is_left_the_first_fault_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 1 has an empty caption"):
        read_captions(write(tmp_path, "captions.txt", "#a/DET#0.0#0.0\n#b/X#0#0\n"))


def test_a_mark_does_not_belong_to_the_first_id(tmp_path: Path) -> None:
    write(tmp_path, "train.txt", "\ufeff000001\n000002\n")
    assert read_splits(tmp_path) == {"000001": "train", "000002": "train"}
