"""InterHuman: two persons of both forms, captions, splits, and damage of all kinds."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from motion.body import Body
from motion.datasets import interhuman
from motion.datasets.clip import Clip
from motion.errors import InputError
from tests.helpers.sources import interhuman as source


def clips(folder: Path) -> dict[str, Clip]:
    return {clip.id.removeprefix("interhuman/"): clip for clip in interhuman.list_clips(folder)}


def joints_of(name: str, fps: float) -> np.ndarray:
    return np.concatenate([pose.joints(source.BODY).numpy() for pose in source.people(name, fps=fps)])


def level(joints: np.ndarray) -> np.ndarray:
    """Take the height of the floor out."""
    return joints - joints[..., 2].mean() * np.array([0, 0, 1])


@pytest.mark.parametrize("write", [source.write_dataset, source.write_processed])
def test_lists_clips_with_captions_and_splits(tmp_path: Path, write: Callable[[Path], list[str]]) -> None:
    expected = write(tmp_path)
    found = clips(tmp_path)
    assert sorted(clip.id for clip in found.values()) == expected
    assert {name: clip.split for name, clip in found.items()} == {"1": "train", "3": "val", "10": "test"}
    assert found["1"].texts == ("two people walk.", "One walks, the other’s beside.")
    assert found["10"].texts == ("one’s arm swings",)
    assert not any(clip.problem for clip in found.values())


def test_reads_two_people_of_the_raw_form(tmp_path: Path, body: Body) -> None:
    source.write_dataset(tmp_path)
    record = interhuman.read_clip(clips(tmp_path)["3"], body)
    assert (record.id, record.source, record.split, record.fps) == ("interhuman/3", "interhuman", "val", 59.94)
    assert record.texts == list(clips(tmp_path)["3"].texts)
    np.testing.assert_allclose(level(record.joints), level(joints_of("3", 59.94)), atol=1e-4)
    assert not record.betas.any()  # SMPL-H's, which mean nothing to the default body


def test_betas_are_kept_with_a_body_of_their_family(tmp_path: Path, body: Body) -> None:
    source.write_dataset(tmp_path)
    record = interhuman.read_clip(clips(tmp_path)["3"], replace(body, name="smplh-neutral"))
    np.testing.assert_allclose(record.betas, 0.3)


def test_reads_two_people_of_the_processed_form(tmp_path: Path, body: Body) -> None:
    source.write_processed(tmp_path)
    record = interhuman.read_clip(clips(tmp_path)["3"], body)
    assert (record.num_persons, record.num_frames, record.fps) == (2, 45, 29.97)
    error = np.linalg.norm(level(record.joints) - level(joints_of("3", 29.97)), axis=-1)
    assert error.max() < 0.01


def test_raw_motions_are_preferred_clip_by_clip(tmp_path: Path) -> None:
    source.write_dataset(tmp_path)
    source.save_people(tmp_path, "1")
    source.save_people(tmp_path, "3")
    (tmp_path / "motions" / "3.pkl").unlink()
    files = {name: [Path(file).name for file in clip.files] for name, clip in clips(tmp_path).items()}
    assert files == {"1": ["1.pkl"], "3": ["3.npy", "3.npy"], "10": ["10.pkl"]}


def test_lists_may_lie_in_the_root_as_intergen_wants_them(tmp_path: Path) -> None:
    expected = source.write_dataset(tmp_path)
    (tmp_path / "ignore_list.txt").rename(tmp_path / "split" / "ignore_list.txt")
    assert sorted(clip.id for clip in interhuman.list_clips(tmp_path)) == expected
    for path in (tmp_path / "split").iterdir():
        path.rename(tmp_path / path.name)
    (tmp_path / "split").rmdir()
    assert sorted(clip.id for clip in interhuman.list_clips(tmp_path)) == expected


def test_something_else_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no InterHuman data set"):
        interhuman.list_clips(tmp_path)
    (tmp_path / "motions").mkdir()
    with pytest.raises(InputError, match=r"lacks train\.txt"):
        interhuman.list_clips(tmp_path)


def test_damaged_pickles_never_raise_anything_else(tmp_path: Path, body: Body, rng: np.random.Generator) -> None:
    path = tmp_path / "motions" / "1.pkl"
    source.save_pickle(path, source.raw("1"))
    whole = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    clip = Clip("interhuman/damaged", "interhuman", (str(path),))
    for attempt in range(150):
        damaged = whole[: rng.integers(len(whole))].copy() if attempt % 3 == 0 else whole.copy()
        reach = len(damaged) if attempt % 2 else min(len(damaged), 400)
        damaged[rng.integers(0, max(1, reach), size=2) % max(1, len(damaged))] = rng.integers(0, 256)
        path.write_bytes(damaged.tobytes())
        with suppress(InputError):
            interhuman.read_clip(clip, body)
