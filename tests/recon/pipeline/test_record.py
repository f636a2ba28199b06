"""Records of reconstructions: captions from labels, quality from annotations, poses filled into gaps."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from motion.body import load_body
from motion.skeleton import ACTIONS, JOINT, KEYPOINT_SETS, PERSON_CLASSES
from recon.fitting.uncertainty import Uncertainty
from recon.keypoints import body_keypoints
from recon.observations import Observations
from recon.people import People
from recon.pipeline.record import (
    ACTION_PHRASES,
    LIMBS,
    PERSON_PHRASES,
    Quality,
    assess,
    describe,
    describe_quality,
    hold,
    to_record,
)
from recon.teton import TetonSequence, Track
from tests.helpers.fitted_motions import room_camera

NAMES = KEYPOINT_SETS["coco17"]
BODY = load_body()
FRAMES = 4
SOMEONE = Quality(
    "7",
    12,
    0.5,
    3.14,
    0.02,
    0.021,
    1.7,
    1.2,
    beyond_depth=None,
    depth_error=0.0,
    along_m=None,
    across_m=None,
    room_moved=0.0,
    unseen={},
)

SURE = Uncertainty(np.array([[0.1, 0.3, 0.2, np.nan]]), np.array([[0.01, 0.02, 0.04, np.nan]]))
NOWHERE = Uncertainty(np.full((1, FRAMES), np.nan), np.full((1, FRAMES), np.nan))


def a_track(actions: list[str], kind: str = "patient", present: list[bool] | None = None) -> Track:
    """Annotate a person's actions, frame by frame, without boxes or keypoints."""
    frames = len(actions)
    return Track(
        "7",
        PERSON_CLASSES.index(kind),
        present=np.array(present or [True] * frames),
        boxes=np.zeros((frames, 4), dtype=np.float32),
        keypoints=np.zeros((frames, len(NAMES), 3), dtype=np.float32),
        action=np.array([ACTIONS.index(action) for action in actions], dtype=np.int8),
        occluded=np.zeros(frames, dtype=bool),
    )


def standing(persons: int = 1) -> People:
    """Pose persons upright in T-pose before the camera, each frame farther, soles' joints 2 cm above the floor."""
    upright = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    people = People(
        transl=torch.zeros(persons, FRAMES, 3),
        global_orient=upright.expand(persons, FRAMES, 3, 3),
        body_pose=torch.eye(3).expand(persons, FRAMES, 23, 3, 3),
        betas=torch.zeros(persons, 10),
        valid=torch.ones(persons, FRAMES, dtype=torch.bool),
    )
    lowest = people.joints(BODY)[..., 2].amin(dim=-1)
    along = 4 + 0.1 * torch.arange(FRAMES).expand(persons, FRAMES)
    return replace(people, transl=torch.stack([torch.zeros_like(along), along, 0.02 - lowest], dim=-1))


def seen(people: People, shift: tuple[float, float]) -> Observations:
    """Observe every keypoint some pixels off its place."""
    camera = room_camera()
    pixels = camera.project(people.keypoints(BODY, body_keypoints(BODY, NAMES))) + torch.tensor(shift)
    known = torch.ones(pixels.shape[:3])
    return Observations(camera, 10.0, NAMES, pixels, known, known * torch.nan, torch.full((4, 4), torch.nan))


def test_every_label_has_its_words() -> None:
    assert set(ACTION_PHRASES) == set(ACTIONS) - {"unknown"}
    assert set(PERSON_PHRASES) == set(PERSON_CLASSES)


def test_captions_say_who_does_what_most_of_the_time() -> None:
    patient = a_track(["laying_in_bed", "sitting_in_bed", "laying_in_bed", "unknown", "unknown", "unknown"])
    carer = a_track(["standing_on_floor"], "medical_staff")
    assert describe([patient, carer]) == "a patient lies in bed while a carer stands"
    assert describe([a_track(["unknown"] * 3, "unknown")]) == "a person is there"
    away = a_track(["kneeling", "crawling", "crawling"], "person", present=[True, False, False])
    assert describe([away]) == "a person kneels"


def test_quality_is_measured_where_the_person_is() -> None:
    people, track = standing(), a_track(["unknown"] * FRAMES, present=[True, True, True, False])
    observed = seen(people, (3.0, 4.0))
    observed.confidence[0, 0, 5:] = 0.3  # hidden, and clicked anywhere
    observed.keypoints[0, 0, 5:] += 500
    observed.keypoints[0, 3] += 500  # in a frame that is not valid
    people.valid[0, 3] = False
    people.transl[0, 1, 2] -= 0.05
    observed.keypoints[0, 1] = seen(people, (3.0, 4.0)).keypoints[0, 1]
    regressed = replace(people, valid=torch.tensor([[True, False, False, True]]))
    quality = assess(0, track, people, regressed, observed, SURE, 0.7, BODY)
    assert (quality.object_id, quality.frames) == ("7", 3)
    assert quality.regressed == pytest.approx(1 / 3)
    assert quality.reprojection_px == pytest.approx(5.0, abs=1e-3)
    pixels = observed.keypoints[0, 1]
    assert quality.misfit == pytest.approx(5 / float((pixels.amax(0) - pixels.amin(0)).norm()), rel=0.02)
    assert quality.room_moved == 0.7
    assert quality.below_floor_m == pytest.approx(0.03, abs=1e-4)
    assert (quality.along_m, quality.across_m) == pytest.approx((0.2, 0.02)), "the median of the frames that are valid"
    arms = pytest.approx(1 / 3)  # hidden in the first of three
    assert quality.unseen == {"left arm": arms, "right arm": arms, "left leg": arms, "right leg": arms}


def test_quality_of_who_is_not_there_is_known_to_be_unknown() -> None:
    people, track = standing(), a_track(["unknown"] * FRAMES)
    nobody = replace(people, valid=torch.zeros_like(people.valid))
    quality = assess(0, track, nobody, nobody, seen(people, (0.0, 0.0)), NOWHERE, 0.7, BODY)
    height = float(np.ptp(BODY.v_template[:, 1].numpy()))
    assert quality.stature_m == pytest.approx(height)
    assert replace(quality, stature_m=1.7) == Quality(
        "7",
        0,
        0.0,
        None,
        None,
        0.0,
        1.7,
        shape_sigma=0.0,
        beyond_depth=None,
        depth_error=0.0,
        along_m=None,
        across_m=None,
        room_moved=0.7,
        unseen=dict.fromkeys(LIMBS, 0.0),
    )
    assert describe_quality([quality]) == ["7: CHECK: not found"]
    assert describe_quality([SOMEONE]) == [
        "7: 12 frames, 3.1 px from the visible keypoints, at most 2.1 cm under the floor, own pose regressed in 50%, "
        "1.70 m tall, shape within 1.2 SD"
    ]


@pytest.mark.parametrize(
    ("change", "flags"),
    [
        ({"stature_m": 1.44}, ("1.44 m tall",)),
        ({"stature_m": 2.04}, ("2.04 m tall",)),
        ({"stature_m": 1.44, "frames": 0}, ("not found",)),
        ({"shape_sigma": 2.6}, ("shape of 2.6 SD",)),
        ({"below_floor_m": 0.13}, ("13 cm under the floor",)),
        ({"beyond_depth": 0.2}, ("20% farther away than depth shows",)),
        ({"beyond_depth": -0.16, "shape_sigma": 8.9}, ("shape of 8.9 SD", "16% nearer than depth shows")),
        ({"misfit": 0.12}, ("keypoints missed by 12% of the person's size",)),
        ({"misfit": None}, ("no visible keypoint",)),
        ({"room_moved": 3.2}, ("room moved by 3.2 SD",)),
        ({"beyond_depth": 0.2, "depth_error": 0.11}, ()),
        ({"beyond_depth": 0.2, "depth_error": 0.09}, ("20% farther away than depth shows",)),
        ({"along_m": 0.16}, ("distance ± 0.16 m",)),
        (
            {
                "stature_m": 1.46,
                "shape_sigma": 2.4,
                "below_floor_m": 0.09,
                "beyond_depth": 0.14,
                "along_m": 0.14,
                "room_moved": 2.9,
                "misfit": 0.09,
            },
            (),
        ),
    ],
)
def test_what_cannot_be_a_person_in_their_room_is_flagged(change: dict[str, float], flags: tuple[str, ...]) -> None:
    quality = replace(SOMEONE, **change)
    assert quality.flags == flags
    line = describe_quality([quality])[0]
    assert line.count("CHECK") == (1 if flags else 0)
    assert line.endswith("; ".join(flags))


def test_who_is_fitted_beyond_what_depth_shows_is_measured() -> None:
    """The skin of a wrist lies nearer than the joint; depth that is unknown or of hidden keypoints does not count."""
    people, track = standing(), a_track(["unknown"] * FRAMES)
    observed, wrist = seen(people, (0.0, 0.0)), NAMES.index("left_wrist")
    thick = 0.025
    away = room_camera().to_camera(people.joints(BODY))[0, :, JOINT["left_wrist"], 2]
    observed.depth[0, :, wrist] = (away - thick) / torch.tensor([1.1, 1.2, 1.3, 9.0])
    observed.confidence[0, 3] = 0.3
    assert assess(0, track, people, people, observed, SURE, 0.7, BODY).beyond_depth == pytest.approx(0.2, abs=1e-3)


def test_frames_without_a_person_hold_the_nearest_pose() -> None:
    people = standing()
    people.valid[0] = torch.tensor([False, True, False, False])
    held = hold(people)
    for name in ("transl", "global_orient", "body_pose"):
        torch.testing.assert_close(getattr(held, name)[0], getattr(people, name)[0, [1, 1, 1, 1]])
    people.valid[0] = torch.tensor([True, False, False, True])
    torch.testing.assert_close(hold(people).transl[0], people.transl[0, [0, 0, 3, 3]])
    assert torch.equal(hold(people).valid, people.valid)


def test_the_record_leaves_out_who_is_never_there() -> None:
    people = standing(persons=2)
    people.valid[0] = False
    people.valid[1, 0] = False
    tracks = (a_track(["crawling"] * FRAMES), a_track(["kneeling"] * FRAMES, "medical_staff"))
    sequence = TetonSequence(
        Path("ward"), "ward", (512, 384), 10.0, None, NAMES, num_frames=FRAMES, tracks=tracks, keyframes=(0,)
    )
    quality = [replace(SOMEONE, frames=frames, stature_m=1.2) for frames in (0, 3)]
    record = to_record(sequence, people, quality, BODY, {"mode": "regression"})
    assert record.texts == ["a carer kneels"]
    np.testing.assert_array_equal(record.valid, [[False, True, True, True]])
    np.testing.assert_array_equal(record.action, [[0, *[ACTIONS.index("kneeling")] * 3]])
    np.testing.assert_allclose(record.joints, people.joints(BODY)[1:, [1, 1, 2, 3]].numpy(), atol=1e-6)
    assert record.provenance["mode"] == "regression"
    rows = json.loads(record.provenance["quality"])
    assert [(row["frames"], row["flags"]) for row in rows] == [(0, ["not found"]), (3, ["1.20 m tall"])]
