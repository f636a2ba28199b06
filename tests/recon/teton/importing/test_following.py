"""Persons followed over time by their boxes."""

import itertools

import numpy as np
import pytest

from recon.teton.importing.detections import Notes, Person
from recon.teton.importing.following import follow

FPS = 10.0


def person(x: float, y: float = 100.0, kind: int = 1, track: str | None = None) -> Person:
    return Person(np.zeros((4, 3)), np.array([x, y, x + 40, y + 100], dtype=np.float64), person_class=kind, track=track)


def tracks(frames: list[list[Person]], fps: float = FPS) -> tuple[list[list[str | None]], tuple[str, ...]]:
    notes = Notes()
    followed = follow(frames, np.arange(len(frames)) / fps, notes)
    return [[each.track for each in persons] for persons in followed], notes.sentences()


def test_two_who_pass_one_another_keep_their_names() -> None:
    """Check that speed tells them apart where their boxes lie on one another, in whatever order they come."""
    rng = np.random.default_rng(0)
    frames, order = [], []
    for k in range(30):
        pair = [person(10 + 12 * k), person(360 - 12 * k, 104)]
        swap = bool(rng.random() < 0.5)
        frames.append(pair[::-1] if swap else pair)
        order.append(swap)
    found, notes = tracks(frames)
    names = [pair[::-1] if swap else pair for pair, swap in zip(found, order, strict=True)]
    assert names == [names[0]] * 30
    assert sorted(map(str, names[0])) == ["1", "2"]
    assert notes == ()


def test_the_assignment_is_optimal_together() -> None:
    """Take two neighbours who both move half a box: each alone overlaps the other's old box as much as the own."""
    frames = [
        [person(100), person(140)],
        [person(100), person(140)],
        [person(120), person(160)],
        [person(140), person(180)],
    ]
    found, _ = tracks(frames)
    assert found == [["1", "2"]] * 4


@pytest.mark.parametrize("missing", [0, 2, 4, 5, 8])
def test_a_gap_of_half_a_second_is_bridged(missing: int) -> None:
    frames = [[person(10 + 3 * k)] if not 10 <= k < 10 + missing else [] for k in range(30)]
    names = {name for names in tracks(frames)[0] for name in names}
    assert len(names) == (1 if (missing + 1) / FPS <= 0.5 else 2)


def test_flickers_are_left_out_and_said() -> None:
    frames = [[person(10), *([person(300)] if k in (4, 5) else [])] for k in range(10)]
    found, notes = tracks(frames)
    assert found == [["1"]] * 10
    assert notes == ("a person found in fewer than 3 frames in a row is left out as a flicker",)


def test_tracks_of_the_tool_are_kept_whatever_the_boxes_do() -> None:
    frames = [[person(500 * (k % 2), track="1"), person(40)] for k in range(4)]
    found, notes = tracks(frames)
    assert found == [["1", "2"]] * 4
    assert notes == ()


def test_a_short_track_of_the_tool_is_no_flicker() -> None:
    assert tracks([[person(5, track="7")], [], []])[0] == [["7"], [], []]


def test_persons_of_two_classes_are_two() -> None:
    frames = [[person(10, kind=2 if k < 5 else 3)] for k in range(10)]
    assert [names for names, _ in itertools.groupby(tracks(frames)[0])] == [["1"], ["2"]]


def test_nobody_is_followed_in_empty_frames() -> None:
    assert tracks([[], [], []]) == ([[], [], []], ())
