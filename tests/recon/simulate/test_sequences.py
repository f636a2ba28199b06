"""Rendered rooms, whose ground truth must match what the pictures show."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from motion.body import load_body
from motion.clips.ground import lowest_skin
from motion.errors import InputError
from motion.parquet import write_parquet
from motion.sequence import LABELS
from motion.skeleton import ACTIONS, KEYPOINT_SETS, PERSON_CLASSES
from recon.camera import unproject_image
from recon.simulate import NOISY, SimulateConfig, Simulated, performances, read_truth, simulate, write
from recon.simulate.__main__ import Job, run
from recon.teton import PERSON_LABEL, list_sequences, read_sequence

SIZE = (192, 144)
SHORT = SimulateConfig(num_frames=4, fps=2.0, image_size=SIZE)
SEEDS = range(5)


@pytest.fixture(scope="module")
def rooms() -> list[Simulated]:
    return [simulate(seed, SHORT) for seed in SEEDS]


def _world(room: Simulated, depth: np.ndarray) -> np.ndarray:
    return room.camera.to_world(unproject_image(torch.from_numpy(depth), room.camera.intrinsics)).numpy()


def test_same_seed_same_sequence(rooms: list[Simulated]) -> None:
    again = simulate(1, SHORT)
    for name in ("frames", "depth", "labels", "keypoints", "visible", "boxes", "seen"):
        np.testing.assert_array_equal(getattr(again, name), getattr(rooms[1], name))
    np.testing.assert_array_equal(again.motion.joints, rooms[1].motion.joints)
    assert not np.array_equal(rooms[0].frames, rooms[1].frames)


def test_rooms_differ_and_hold_what_care_rooms_do(rooms: list[Simulated]) -> None:
    counts = {room.motion.num_persons for room in rooms}
    assert counts <= {1, 2, 3, 4}
    assert len(counts) > 1
    labels = np.concatenate([np.unique(room.background_labels) for room in rooms])
    for name in ("floor", "wall", "bed", "chair", "door", "window"):
        assert LABELS.index(name) in labels
    assert (np.unique([room.camera.intrinsics[0, 0] for room in rooms]).size) == len(rooms)


def test_floor_and_walls_lie_where_the_world_has_them(rooms: list[Simulated]) -> None:
    """Depth, camera and labels agree: floor pixels are at z = 0, wall pixels on a few upright planes."""
    for room in rooms:
        points = _world(room, room.background_depth)
        floor = points[room.background_labels == LABELS.index("floor")]
        assert len(floor) > 0.04 * room.background_labels.size
        assert np.abs(floor[:, 2]).max() < 0.01
        assert _walls_are_flat(points[room.background_labels == LABELS.index("wall")])


def _walls_are_flat(points: np.ndarray) -> bool:
    """Tell whether there is a yaw after which nearly all points share one of four values of x or y (to 3 cm)."""
    if len(points) < 50:
        return True
    shares = []
    for yaw in np.radians(np.arange(0, 90, 0.5)):
        x = points[:, 0] * np.cos(yaw) + points[:, 1] * np.sin(yaw)
        y = points[:, 1] * np.cos(yaw) - points[:, 0] * np.sin(yaw)
        ends = [np.abs(a - b) < 0.03 for a in (x, y) for b in (a.min(), a.max())]
        shares.append(np.any(ends, axis=0).mean())
    return max(shares) > 0.95


def test_camera_hangs_over_the_origin_and_looks_along_y(rooms: list[Simulated]) -> None:
    for room in rooms:
        x, y, z = room.camera.center.tolist()
        assert abs(x) < 1e-5
        assert abs(y) < 1e-5
        assert 2.0 <= z <= 2.8
        forward = room.camera.extrinsics[2, :3]
        assert abs(float(forward[0])) < 1e-6
        assert 20 <= np.degrees(np.arcsin(-float(forward[2]))) <= 50


def test_people_are_drawn_where_their_joints_are(rooms: list[Simulated]) -> None:
    """Visible joints inside trunk and legs have a person's label, or that of the blanket over them."""
    inner, bed, checked = ("pelvis", "spine2", "left_knee", "right_knee", "head"), LABELS.index("bed"), 0
    for room in rooms:
        for person, frame in np.ndindex(room.seen.shape):
            in_bed = ACTIONS[room.motion.action[person, frame]].endswith("in_bed")
            for keypoint in (room.keypoint_names.index(name) for name in inner):
                x, y = np.round(room.keypoints[person, frame, keypoint]).astype(int)
                if room.visible[person, frame, keypoint]:
                    label = room.labels[frame, y, x]
                    assert label >= PERSON_LABEL or (in_bed and label == bed)
                    checked += label == PERSON_LABEL + person
    assert checked > 50


def test_keypoints_are_the_projected_joints(rooms: list[Simulated]) -> None:
    room = rooms[0]
    pixels = room.camera.project(torch.from_numpy(room.motion.joints)).numpy()
    columns = [room.keypoint_names.index(name) for name in KEYPOINT_SETS["smpl24"]]
    np.testing.assert_allclose(room.keypoints[:, :, columns], pixels, atol=0.01)
    body = load_body()
    motion = room.motion
    np.testing.assert_allclose(motion.joints, motion.parameters.joints(body), atol=1e-4)


def test_people_stand_before_the_room_and_their_depth_is_their_bodies(rooms: list[Simulated]) -> None:
    for room in rooms:
        mine = room.labels >= PERSON_LABEL
        empty = np.broadcast_to(room.background_depth, room.depth.shape)
        assert (room.depth[mine] < empty[mine]).all()
        np.testing.assert_array_equal(room.depth[~mine], empty[~mine])
        for person, frame in np.ndindex(room.seen.shape):
            points = _world(room, room.depth[frame])[room.labels[frame] == PERSON_LABEL + person]
            joints = room.motion.joints[person, frame]
            if len(points):
                nearest = np.linalg.norm(points[::7, None] - joints, axis=-1).min(axis=1)
                assert nearest.max() < 0.4


def test_boxes_hold_the_visible_pixels_and_seen_counts_them(rooms: list[Simulated]) -> None:
    for room in rooms:
        for person, frame in np.ndindex(room.seen.shape):
            rows, columns = np.nonzero(room.labels[frame] == PERSON_LABEL + person)
            x0, y0, x1, y1 = room.boxes[person, frame]
            assert 0 <= room.seen[person, frame] <= 1
            assert (len(rows) > 0) == (room.seen[person, frame] > 0)
            if len(rows):
                assert x0 <= columns.min()
                assert columns.max() < x1 <= SIZE[0]
                assert y0 <= rows.min()
                assert rows.max() < y1 <= SIZE[1]
                if room.seen[person, frame] == 1:
                    expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                    np.testing.assert_array_equal(room.boxes[person, frame], expected)


def test_everybody_is_seen_and_nobody_sinks_into_the_floor(rooms: list[Simulated]) -> None:
    for room in rooms:
        assert (room.seen.max(axis=1) >= 0.1).all()
        assert lowest_skin(room.motion, load_body()).min() > -0.06
        assert (room.motion.person_class > 0).all()


def test_actions_follow_roles() -> None:
    """Persons who lie in bed are patients with the pelvis at a mattress' height; on the floor it is far below."""
    config = SimulateConfig(num_frames=1, image_size=(64, 48), num_people=1)
    floor, bed = (simulate(seed, config).motion for seed in (42, 49))
    assert [ACTIONS[motion.action[0, 0]] for motion in (floor, bed)] == ["laying_on_floor", "laying_in_bed"]
    assert bed.person_class[0] == PERSON_CLASSES.index("patient")
    assert 0.45 < bed.joints[0, 0, 0, 2] < 0.9
    assert 0.02 < floor.joints[0, 0, 0, 2] < 0.4


@pytest.mark.parametrize("tilt", [0.0, 30.0, 60.0])
def test_any_tilt_shows_the_floor(tilt: float) -> None:
    room = simulate(3, SimulateConfig(num_people=1, num_frames=1, tilt=tilt, image_size=(128, 96)))
    forward = room.camera.extrinsics[2, :3]
    assert np.degrees(np.arcsin(-float(forward[2]))) == pytest.approx(tilt, abs=1e-3)
    assert (room.background_labels == LABELS.index("floor")).mean() > 0.04


def test_given_number_of_people_and_field_of_view() -> None:
    room = simulate(0, SimulateConfig(num_people=3, num_frames=2, field_of_view=90.0, image_size=(128, 96)))
    assert room.motion.num_persons == 3
    assert float(room.camera.intrinsics[0, 0]) == pytest.approx(64.0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SimulateConfig(num_people=5), "num_people of a simulation is 5, expected 1 to 4"),
        (SimulateConfig(num_people=0), "num_people"),
        (SimulateConfig(tilt=-5.0), "tilt"),
        (SimulateConfig(field_of_view=170.0), "field_of_view"),
        (SimulateConfig(image_size=(512, 0)), r"image_size of a simulation is \(512, 0\), expected 16 to"),
    ],
)
def test_absurd_wishes_are_refused(config: SimulateConfig, message: str) -> None:
    with pytest.raises(InputError, match=message):
        simulate(0, config)


def test_own_motions_are_performed_and_foreign_bodies_refused() -> None:
    clip = performances.clips(load_body())["punch"]
    config = SimulateConfig(num_people=1, num_frames=2, image_size=(64, 48))
    roles = [simulate(seed, config, [clip]).motion.provenance["roles"] for seed in range(6)]
    assert "moving" in roles
    with pytest.raises(InputError, match="smpl-female"):
        simulate(0, config, [replace(clip, body="smpl-female")])
    with pytest.raises(InputError, match="valid in all frames"):
        simulate(0, config, [])


def test_written_and_read_back(rooms: list[Simulated], tmp_path: Path) -> None:
    room, folder = rooms[1], tmp_path / "d" / "room" / "2026-01-01" / "00"
    names = KEYPOINT_SETS["openpose25"]
    write(room, folder, names, NOISY, seed=0)
    sequence, truth = read_sequence(folder), read_truth(folder)
    assert sequence.keypoint_names == names
    assert sequence.intrinsics is not None
    np.testing.assert_allclose(sequence.intrinsics, room.camera.intrinsics, rtol=1e-5)
    assert [track.object_id for track in sequence.tracks] == list(truth.object_ids)
    assert sorted(truth.depth) == list(sequence.keyframes)
    for number in sequence.keyframes:
        np.testing.assert_array_equal(sequence.mask(number), room.labels[number])
        np.testing.assert_allclose(truth.depth[number], room.depth[number], atol=5.1e-4)
        assert np.abs(sequence.frame(number).astype(int) - room.frames[number]).mean() < 6
    for name in ("joints", "transl", "body_pose", "action", "person_class"):
        np.testing.assert_array_equal(getattr(truth.motion, name), getattr(room.motion, name))
    for name in ("keypoints", "visible", "seen", "boxes", "background_labels"):
        np.testing.assert_array_equal(getattr(truth, name), getattr(room, name))
    np.testing.assert_array_equal(truth.camera.extrinsics, room.camera.extrinsics)
    assert truth.keypoint_names == room.keypoint_names
    with pytest.raises(InputError, match=r"motion\.parquet"):
        read_truth(tmp_path)


def test_command_line_goes_on_where_it_was(tmp_path: Path) -> None:
    config = SimulateConfig(num_people=1, num_frames=3, image_size=(64, 48))
    motions = tmp_path / "motions.parquet"
    write_parquet([performances.clips(load_body())["walk"]], motions)
    job = Job(tmp_path / "rooms", count=2, seed=5, noisy=True, motions=str(motions), config=config)
    run(job)
    folders = list_sequences(job.output)
    assert len(folders) == 2
    times = [(folder / "annotations.json").stat().st_mtime_ns for folder in folders]
    (folders[1] / "truth" / "motion.parquet").unlink()
    run(job)
    again = [(folder / "annotations.json").stat().st_mtime_ns for folder in folders]
    assert again[0] == times[0]
    assert again[1] > times[1]
    with pytest.raises(InputError, match="coco17"):
        run(Job(tmp_path, keypoints="coco18"))
    with pytest.raises(InputError, match="2 frames at 10 fps are asked for, expected 3 or more at 1 fps or more"):
        run(Job(tmp_path, config=replace(config, num_frames=2)))
