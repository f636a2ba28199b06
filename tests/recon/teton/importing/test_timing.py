"""Steps of constant rate through a recording, and stretches with persons."""

import numpy as np
import pytest

from motion.errors import InputError
from recon.teton.importing.timing import Steps, choose_steps, cut, default_rate, stretches


def steps(times: np.ndarray, annotated: np.ndarray | None = None, fps: float | None = None) -> Steps:
    there = np.ones(len(times), dtype=bool) if annotated is None else annotated
    return choose_steps(times, np.arange(len(times)), there, fps)


@pytest.mark.parametrize(
    ("own", "rate"),
    [
        (10.0, 10),
        (10.04, 10.04),
        (30.0, 10),
        (25.0, 8.333),
        (29.97, 9.99),
        (24.0, 8),
        (15.0, 7.5),
        (6.0, 6),
        (240.0, 10),
    ],
)
def test_the_rate_is_a_whole_part_that_is_not_above_ten(own: float, rate: float) -> None:
    assert default_rate(own) == pytest.approx(rate, abs=1e-3)


@pytest.mark.parametrize(("own", "every"), [(30, 3), (25, 3), (10, 1), (29.97, 3)])
def test_a_constant_rate_is_thinned_without_jitter(own: float, every: int) -> None:
    times = (np.arange(100) / own * 1000).round() / 1000  # a clock of milliseconds
    found = steps(times)
    np.testing.assert_array_equal(found.numbers, np.arange(0, 100, every)[: len(found.numbers)])
    assert len(found.numbers) == len(range(0, 100, every))
    assert found.notes == ()


def test_a_variable_rate_takes_the_nearest_frames() -> None:
    rng = np.random.default_rng(0)
    times = np.concatenate([[0], np.cumsum(rng.uniform(0.02, 0.2, 200))])
    found = steps(times, fps=8.0)
    ideal = np.arange(len(found.numbers)) / 8
    nearest = np.abs(times[:, None] - ideal).argmin(axis=0)
    np.testing.assert_array_equal(found.numbers, nearest)
    assert ideal[-1] - 0.01 <= times[-1] < ideal[-1] + 1 / 8
    late = np.abs(times[nearest] - ideal).max()
    repeated = (np.diff(nearest) == 0).sum()
    assert f"up to {1000 * late:.0f} ms early or late" in found.notes[0]
    assert repeated
    assert found.notes[1] == f"{repeated} frames are shown twice, as the recording has fewer there"


def test_annotated_frames_are_taken_where_only_some_are() -> None:
    """Check that of 30 frames a second, of which every fifth from the second on is annotated, those are taken."""
    times = np.arange(300) / 30
    annotated = np.zeros(300, dtype=bool)
    annotated[2::5] = True
    found = steps(times, annotated)
    assert found.fps == 6
    assert found.notes[0] == "mostly one frame in 5 is annotated, and those are taken"
    assert annotated[found.numbers].all()
    np.testing.assert_array_equal(np.diff(found.numbers), 5)


def test_the_start_is_that_of_the_kept_frames() -> None:
    times = np.arange(100) / 10
    kept = cut(times, 2.0, 5.0)
    assert (kept[0], kept[-1]) == (20, 50)
    found = choose_steps(times, kept, np.ones(100, dtype=bool), None)
    np.testing.assert_array_equal(found.numbers, np.arange(20, 51))
    assert (found.time(0), found.time(10)) == (2.0, 3.0)


@pytest.mark.parametrize(
    ("fps", "sentence"),
    [
        (30.0, "--fps is 30, expected at most the 10 frames a second that the recording has"),
        (0.5, "the rate is 0.5 frames a second, expected 1 to 240: choose by --fps"),
    ],
)
def test_rates_that_cannot_be(fps: float, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        steps(np.arange(50) / 10, fps=fps)


def test_a_gap_is_refused_with_its_times() -> None:
    times = np.array([0, 0.1, 0.2, 0.3, 1.5, 1.6, 1.7, 2.4])
    with pytest.raises(
        InputError, match=r"no frame between 0.30 and 1.50 s \(and 1 more gaps\), expected gaps of 0.5 s"
    ):
        cut(times, None, None)
    assert cut(times, 1.5, 2.0).tolist() == [4, 5, 6]
    assert cut(times, None, 0.3).tolist() == [0, 1, 2, 3]
    with pytest.raises(InputError, match="cut it by --end 1.70 or --start 2.40"):
        cut(times, 1.5, None)
    assert len(cut(np.array([0, 0.5, 1.0]), None, None)) == 3


def test_too_few_frames_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"2 frames are taken between --start and --end \(0.90 s in all\), expected at least 3"
    ):
        cut(np.arange(10) / 10, 0.3, 0.4)
    with pytest.raises(InputError, match=r"2 frames are taken \(0.10 s in all\)"):
        cut(np.array([0.0, 0.1]), None, None)


def present(*runs: tuple[int, bool]) -> np.ndarray:
    return np.concatenate([np.full(count, there) for count, there in runs])


def test_stretches_end_where_nobody_is_for_a_second() -> None:
    there = present((5, False), (20, True), (9, False), (20, True), (10, False), (7, True), (30, False))
    assert stretches(there, 10.0, 60.0) == [(5, 54), (64, 71)]


def test_a_long_stretch_is_cut_into_equal_parts() -> None:
    parts = stretches(present((250, True)), 10.0, 10.0)
    assert parts == [(0, 83), (83, 167), (167, 250)]
    assert stretches(present((100, True)), 10.0, 10.0) == [(0, 100)]
    assert stretches(present((101, True)), 10.0, 10.0) == [(0, 50), (50, 101)]
    assert stretches(present((8, True)), 10.0, 0.3) == [(0, 4), (4, 8)], "two frames would be no sequence"


def test_nobody_gives_no_stretch() -> None:
    assert stretches(present((50, False)), 10.0, 10.0) == []
