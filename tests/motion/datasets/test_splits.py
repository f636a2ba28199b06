"""Whole groups are held out, by a hash of their names, and patterns of names tell what a group is."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from motion.datasets.clip import Clip
from motion.datasets.splits import Grouping, Holding, group, hold_out
from motion.errors import InputError

ROOT = Path("/data")


def assigned(clips: Sequence[Clip], root: Path, holding: Holding) -> list[Clip]:
    return hold_out([(clip, root) for clip in clips], holding)


def clips(*files: str, source: str = "bvh") -> list[Clip]:
    return [Clip(f"{source}/{file}", source, (str(ROOT / file),)) for file in files]


def styles(subjects: int = 12, takes: int = 5) -> list[Clip]:
    names = ("walk_happy", "walk_old", "run_happy", "dance_proud")
    return clips(*(f"{s:02}_{name}_{take:03}.bvh" for s in range(subjects) for name in names for take in range(takes)))


def parts(held: Sequence[Clip], at: int) -> dict[str, set[str]]:
    """Collect by split the words that stand at a place in the files' names."""
    found: dict[str, set[str]] = {}
    for clip in held:
        found.setdefault(clip.split, set()).add(Path(clip.files[0]).stem.split("_")[at])
    return found


@pytest.mark.parametrize(("by", "at"), [("subject", 0), ("label", 1), ("style", 2)])
def test_no_group_is_in_two_splits(by: Grouping, at: int) -> None:
    holding = Holding(0.25, 0.2, by, ("{subject}_{label}_{style}_{}",))
    found = parts(assigned(styles(), ROOT, holding), at)
    assert found.keys() == {"train", "val", "test"}
    assert sum(map(len, found.values())) == len(set.union(*found.values()))


def test_about_the_share_is_held_out_and_a_larger_share_keeps_it() -> None:
    takes = clips(*(f"{number}.bvh" for number in range(2000)))
    few, more = (assigned(takes, ROOT, Holding(share, 0.1)) for share in (0.1, 0.3))
    for held, share in ((few, 0.1), (more, 0.3)):
        assert sum(clip.split == "test" for clip in held) == pytest.approx(2000 * share, abs=45)
        assert sum(clip.split == "val" for clip in held) == pytest.approx(200, abs=45)
    assert all(one.split != "test" or other.split == "test" for one, other in zip(few, more, strict=True))


def test_groups_that_join_later_move_none() -> None:
    before = {clip.id: clip.split for clip in assigned(clips(*(f"{n}.bvh" for n in range(60))), ROOT, Holding(0.3))}
    after = {clip.id: clip.split for clip in assigned(clips(*(f"{n}.bvh" for n in range(99))), ROOT, Holding(0.3))}
    assert before.items() <= after.items()


def test_a_share_of_few_groups_is_at_least_one_of_them() -> None:
    few = clips("a/1.bvh", "b/1.bvh", "c/1.bvh", "c/2.bvh")
    held = assigned(few, ROOT, Holding(0.01, 0.01, "folder"))
    assert sorted({clip.split for clip in held}) == ["test", "train", "val"]
    assert held[2].split == held[3].split
    with pytest.raises(InputError, match="2 groups by folder are too few to hold some out and to train on others"):
        assigned(few[:2], ROOT, Holding(0.01, 0.01, "folder"))


def test_nothing_is_held_out_unless_asked_and_a_readers_own_split_stays() -> None:
    own = [Clip("teton/a", "teton", ("/data/a",), "test"), *clips("b.bvh", "c.bvh", "d.bvh")]
    assert assigned(own, ROOT, Holding()) == own
    assert assigned(own, ROOT, Holding(0.01))[0].split == "test"


@pytest.mark.parametrize(
    ("file", "by", "pattern", "named"),
    [
        ("x/dataset-1_walk-turn_happy_001.bvh", "style", "dataset-{}_{label}_{style}_{}", "happy"),
        ("x/dataset-1_walk-turn_happy_001.bvh", "label", "dataset-{}_{label}_{style}_{}", "walk-turn"),
        ("CMU/60/60_01.bvh", "subject", "{subject}_{}", "60"),
        ("CMU/60/60_01.bvh", "subject", "{subject}/{}", "60"),
        ("a/b/c.bvh", "folder", None, "a/b"),
        ("a/b/c.bvh", "file", None, "a/b/c.bvh"),
        ("a/b/c.bvh", "source", None, "bvh"),
    ],
)
def test_names_tell_groups(file: str, by: Grouping, pattern: str | None, named: str) -> None:
    (clip,) = clips(file)
    assert group(clip, ROOT, Holding(0.1, by=by, patterns=(pattern,) if pattern else ())) == named


def test_the_first_pattern_that_fits_a_name_counts() -> None:
    holding = Holding(0.1, by="style", patterns=("bn/dataset-{}_{}_{style}_{}", "cmu/{style}_{}"))
    found = [group(clip, ROOT, holding) for clip in clips("bn/dataset-1_walk_old_001.bvh", "cmu/60_01.bvh")]
    assert found == ["old", "60"]


def test_subjects_of_amass_are_its_folders() -> None:
    (clip,) = clips("CMU/01/01_01_poses.npz", source="amass")
    assert group(clip, ROOT, Holding(0.1, by="subject")) == "CMU/01"
    for_others = Holding(0.1, by="subject", patterns=("{subject}_{}_{}",))
    assert group(clip, ROOT, for_others) == "CMU/01", "a pattern that another source needs changes nothing"


def test_a_name_that_tells_no_group_is_an_error() -> None:
    with pytest.raises(InputError, match=r"bvh does not say the subject of a.bvh, expected --name-pattern, such as"):
        assigned(clips("a.bvh"), ROOT, Holding(0.1, by="subject"))
    with pytest.raises(InputError, match=r"a.bvh does not follow --name-pattern \{subject\}_\{\}, expected that"):
        assigned(clips("a.bvh"), ROOT, Holding(0.1, by="subject", patterns=("{subject}_{}",)))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ((-0.1, 0.0), "held_out is -0.1 and validation 0, expected shares"),
        ((0.5, 0.5), "held_out is 0.5 and validation 0.5, expected shares"),
        ((float("nan"), 0.0), "held_out is nan"),
        ((0.1, 0.0, "style", ("{style}_{actor}",)), "names 'actor', expected subject, style, label"),
        ((0.1, 0.0, "style", ("{subject}_{}",)), "does not tell one style, expected one {style} in it"),
        ((0.1, 0.0, "style", ("{style}_{style}",)), "does not tell one style"),
        (
            (0.1, 0.0, "file", ("{subject}_{}",)),
            "not for --held-out-by file, expected one of subject, style, label",
        ),
        ((0.0, 0.0, "subject"), "nothing is held out by subject, expected --held-out or --validation with a share"),
        ((0.0, 0.0, "subject", ("{subject}_{}",)), "nothing is held out by subject"),
    ],
)
def test_what_makes_no_sense_is_refused(values: tuple, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence.replace("{", r"\{").replace("}", r"\}")):
        Holding(*values)
