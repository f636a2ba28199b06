"""Tracks, key frames and masks of one sequence."""

import numpy as np

from motion.sequence import LABELS
from recon.teton.annotations import PERSON_LABEL
from recon.teton.importing.assembly import choose_masks, make_tracks, scaled
from recon.teton.importing.detections import Notes, Person, Picture, RoomPart
from recon.teton.importing.outlines import Outline

SIZE = (64, 48)
THUMBNAILS = np.arange(8, dtype=np.uint8)[:, None, None, None] * np.full((24, 32, 3), 30, dtype=np.uint8)
THUMBNAILS[:, :12] = 0


def outline(x0: float, y0: float, x1: float, y1: float) -> Outline:
    return Outline((np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=np.float64),))


def person(track: str, x: float = 10.0, kind: int = 1, action: int = 0, marked: bool = False) -> Person:
    box = np.array([x, 8, x + 10, 40], dtype=np.float64)
    keypoints = np.tile([[x + 5, 20.0, 1.0]], (4, 1))
    return Person(keypoints, box, kind, action, action == 3, track, outline(*box) if marked else None)


def picture(*persons: Person, room: tuple[RoomPart, ...] = (), size: tuple[int, int] = SIZE) -> Picture:
    return Picture("0", 0, size, persons, room)


def test_positions_are_scaled_and_who_is_outside_is_left_out() -> None:
    inside, outside = person("1"), person("2", x=70)
    found = scaled(picture(inside, outside), SIZE, (128, 144))
    (kept,) = found.persons
    np.testing.assert_allclose(kept.box, [20, 24, 40, 120])
    np.testing.assert_allclose(kept.keypoints[0], [30, 60, 1])
    assert found.size == SIZE
    assert scaled(Picture("0", 0, None, (inside,)), SIZE, SIZE).size == SIZE


def test_tracks_have_what_the_pictures_say() -> None:
    steps = [
        picture(person("12", 10 + k, 1 + (k > 1), action=3 * (k == 2)), person("3")) if k != 3 else None
        for k in range(6)
    ]
    few = picture(*steps[0].persons, person("9")) if steps[0] else None
    notes = Notes()
    tracks = make_tracks([few, *steps[1:]], 4, notes)
    assert [track.object_id for track in tracks] == ["3", "12"]
    moving = tracks[1]
    assert moving.person_class == 2, "the class of most frames"
    assert moving.present.tolist() == [True, True, True, False, True, True]
    np.testing.assert_array_equal(moving.boxes[:, 0], [10, 11, 12, 0, 14, 15])
    assert moving.action.tolist() == [0, 0, 3, 0, 0, 0]
    assert moving.occluded.tolist() == [False, False, True, False, False, False]
    assert notes.sentences() == ("a person with fewer than 3 frames in a sequence is left out of it",)


def test_masks_show_the_room_and_the_persons_over_it() -> None:
    floor, bed = LABELS.index("floor"), LABELS.index("bed")
    room = (RoomPart(bed, outline(30, 20, 60, 40)), RoomPart(floor, outline(0, 10, 64, 48)))
    steps = [picture(person("1", x=25, marked=k in (2, 5)), room=room if k == 2 else ()) for k in range(8)]
    tracks = make_tracks(steps, 4, Notes())
    masks = choose_masks(steps, tracks, steps[2], THUMBNAILS, SIZE)
    assert masks.keyframes == (2, 5)
    for mask in masks.images.values():
        assert mask[5, 5] == 0
        assert mask[45, 5] == floor
        assert mask[30, 55] == bed
        assert (mask[8:40, 25:35] == PERSON_LABEL).all()
        assert (mask == PERSON_LABEL).sum() == 32 * 10


def test_key_frames_are_those_in_which_all_are_marked() -> None:
    steps = [picture(person("1", marked=True), person("2", x=40, marked=k == 6)) for k in range(8)]
    assert choose_masks(steps, make_tracks(steps, 4, Notes()), None, THUMBNAILS, SIZE).keyframes == (6,)


def test_without_outlines_there_are_key_frames_and_no_masks() -> None:
    steps = [picture(person("1")) if k else None for k in range(8)]
    masks = choose_masks(steps, make_tracks(steps, 4, Notes()), None, THUMBNAILS, SIZE)
    assert masks.images == {}
    assert masks.keyframes[0] == 0
    assert len(masks.keyframes) > 1


def test_masks_are_drawn_at_the_size_of_the_frames() -> None:
    steps = [picture(person("1", marked=True)) for _ in range(8)]
    masks = choose_masks(steps, make_tracks(steps, 4, Notes()), None, THUMBNAILS, (32, 24))
    assert all(mask.shape == (24, 32) and (mask == PERSON_LABEL).sum() == 16 * 5 for mask in masks.images.values())
