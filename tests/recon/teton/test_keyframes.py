"""Key frames: those that differ, spread over time, enough to see the room behind a walking person."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from motion.errors import InputError
from recon.teton.images import frame_path, mask_path
from recon.teton.keyframes import MOST_KEYFRAMES, choose_keyframes, read_keyframes

SIZE_PX = (64, 48)


def room(rng: np.random.Generator, people: list[tuple[float, float]], light: float = 0.0) -> np.ndarray:
    """Draw a shaded room of 160 x 120 with noise, and persons of 16 x 40 at these places (0 to 1)."""
    image = np.linspace(90, 160, 120)[:, None, None] * np.array([1.0, 0.95, 0.9]) * np.ones((1, 160, 1))
    for x, y in people:
        left, top = int(x * 144), int(y * 80)
        image[top : top + 40, left : left + 16] = (60, 70, 110)
    return (image + light + rng.normal(0, 5, image.shape)).clip(0, 255).astype(np.uint8)


def test_where_nothing_moves_keyframes_are_spread_over_time(rng: np.random.Generator) -> None:
    frames = [room(rng, [(0.3, 0.5)], light=10 * np.sin(index / 8)) for index in range(100)]
    chosen = choose_keyframes(frames)
    assert (chosen[0], chosen[-1]) == (0, 99)
    assert np.diff(chosen).max() <= 2 * 0.02 / 0.2 * 100
    assert len(chosen) < MOST_KEYFRAMES


def test_keyframes_follow_people_across_the_room(rng: np.random.Generator) -> None:
    """Every pixel that a walker covers is seen free on some key frame, with one person and with four."""
    for count in (1, 4):
        starts = rng.random((count, 2))
        paths = [[(abs((x + t / 60) % 2 - 1), y) for x, y in starts] for t in range(100)]
        chosen = choose_keyframes(room(rng, path) for path in paths)
        assert chosen[0] == 0
        assert 3 <= len(chosen) <= MOST_KEYFRAMES
        covered = np.stack([room(np.random.default_rng(0), paths[number])[..., 2] < 130 for number in chosen])
        walked = np.stack([room(np.random.default_rng(0), path)[..., 2] < 130 for path in paths])
        always = covered.all(axis=0) & ~walked.all(axis=0)
        assert always.mean() < 0.002


def test_a_higher_threshold_keeps_fewer(rng: np.random.Generator) -> None:
    frames = [room(rng, [(t / 100, 0.4)]) for t in range(100)]
    counts = [len(choose_keyframes(frames, threshold)) for threshold in (0.02, 0.05, 0.08, 0.5)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 1


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Write five frames of noise, all of which differ; two of them have masks."""
    for name in ("frames", "masks"):
        (tmp_path / name).mkdir()
    for number in range(5):
        Image.fromarray(rng.integers(256, size=(*SIZE_PX[::-1], 3), dtype=np.uint8)).save(frame_path(tmp_path, number))
    for number in (0, 3):
        Image.new("L", SIZE_PX).save(mask_path(tmp_path, number))
    return tmp_path


def test_missing_keyframes_are_chosen_among_the_masked_and_not_written(folder: Path) -> None:
    assert read_keyframes(folder, 5, SIZE_PX) == (0, 3)
    assert not (folder / "keyframes.json").exists()


def test_missing_keyframes_are_chosen_among_those_with_depth_where_nothing_is_masked(folder: Path) -> None:
    (folder / "masks").rename(folder / "depth")
    assert read_keyframes(folder, 5, SIZE_PX) == (0, 3)
    (folder / "depth").rename(folder / "unknown")
    assert read_keyframes(folder, 5, SIZE_PX) == (0, 1, 2, 3, 4)


def test_written_keyframes_are_read_sorted_and_once(folder: Path) -> None:
    (folder / "keyframes.json").write_text("[4, 1, 4]")
    assert read_keyframes(folder, 5, SIZE_PX) == (1, 4)


@pytest.mark.parametrize(
    ("content", "words"),
    [("[]", "is \\[\\]"), ("[0, 5]", "holds 5, expected .* 0 to 4"), ("[true]", "holds True"), ("{}", "frame numbers")],
)
def test_what_is_no_list_of_frames_is_refused(folder: Path, content: str, words: str) -> None:
    (folder / "keyframes.json").write_text(content)
    with pytest.raises(InputError, match=f"keyframes.json.*{words}"):
        read_keyframes(folder, 5, SIZE_PX)
