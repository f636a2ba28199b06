"""Steps of a reconstruction: perfect networks' answers become the room and the persons that were rendered."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from motion.body import load_body
from motion.errors import InputError
from motion.sequence import LABELS, read_motions, read_scenes
from recon.depth import load_depth_model
from recon.people import people_of
from recon.pipeline import Bodies, Mode, load_bodies, reconstruct
from recon.pipeline.__main__ import PipelineConfig, run
from recon.pipeline.accuracy import compare
from recon.pipeline.perception import measured_depth, perceive
from recon.pipeline.steps import carried, good_starts, observe, skin_depth, union
from recon.regressors import load_regressor
from recon.scene import SENSOR_ERROR, build_room
from recon.teton import PERSON_LABEL, read_sequence
from tests.helpers.photos import GROUND, write_photo
from tests.helpers.rooms import Rendered, perfect


@pytest.mark.parametrize(("mode", "most"), [("regression", 10.0), ("hybrid", 60.0)])
def test_perfect_networks_give_the_room_and_the_people_that_were_rendered(
    room: Rendered, bodies: Bodies, mode: Mode, most: float
) -> None:
    made = reconstruct(room.sequence, room.perception, bodies, mode)
    errors = compare(made, room.truth, bodies.body)
    assert errors.floor_angle < 0.1
    assert errors.floor_height_mm < 10  # a rug is a centimetre of floor
    assert errors.world_mpjpe_mm < most
    assert made.motion.valid.sum() == sum(track.present.sum() for track in room.sequence.tracks)


def test_the_record_is_whole_and_says_where_it_comes_from(room: Rendered, bodies: Bodies) -> None:
    motion = reconstruct(room.sequence, room.perception, bodies, "regression").motion
    np.testing.assert_allclose(motion.parameters.joints(load_body()).numpy(), motion.joints, atol=1e-4)
    assert (motion.id, motion.scene_id, motion.source) == (room.sequence.id, room.sequence.id, "teton")
    assert motion.provenance["mode"] == "regression"
    assert motion.provenance["focal_length"] == "annotated"
    assert motion.provenance["floor"] == "depth and edges: tilt ± 0.0°, roll ± 0.0°, size ± 0%"
    quality = json.loads(motion.provenance["quality"])
    assert [row["object_id"] for row in quality] == [track.object_id for track in room.sequence.tracks]
    assert all(row["regressed"] > 0.9 and row["reprojection_px"] < 3 for row in quality)
    assert list(motion.person_class) == [track.person_class for track in room.sequence.tracks]
    assert " while " in motion.texts[0]


def test_the_scene_holds_the_room_without_the_people(room: Rendered, bodies: Bodies) -> None:
    made = reconstruct(room.sequence, room.perception, bodies, "regression")
    floor = made.scene.points[made.scene.labels == LABELS.index("floor")]
    assert len(floor) > 100
    assert np.abs(floor[:, 2]).max() < 0.05
    assert made.scene.labels.max() < len(LABELS)
    assert made.scene.id == made.motion.scene_id


@pytest.fixture
def copied(room: Rendered, tmp_path: Path) -> Path:
    """Copy the room, to take something from it."""
    return shutil.copytree(room.sequence.folder, tmp_path.joinpath("a", "b", "c", "d"))


def test_without_masks_the_floor_is_found_and_persons_are_placed_by_boxes(
    room: Rendered, bodies: Bodies, copied: Path
) -> None:
    shutil.rmtree(copied / "masks")
    unmasked = reconstruct(read_sequence(copied), room.perception, bodies, "hybrid")
    masked = reconstruct(room.sequence, room.perception, bodies, "hybrid")
    assert masked.motion.provenance["marks"] == "persons by masks, floor by masks"
    assert unmasked.motion.provenance["marks"] == ("no masks: persons by boxes and keypoints, floor found in the depth")
    errors = [compare(made, room.truth, bodies.body) for made in (masked, unmasked)]
    assert errors[1].floor_angle < 0.5
    assert abs(errors[1].floor_height_mm) < 30
    assert errors[1].world_mpjpe_mm < 1.5 * errors[0].world_mpjpe_mm
    floor = unmasked.scene.points[unmasked.scene.labels == LABELS.index("floor")]
    assert np.abs(floor[:, 2]).max() < 0.1


def test_masks_of_persons_alone_leave_the_floor_to_be_found(room: Rendered, bodies: Bodies, copied: Path) -> None:
    for path in (copied / "masks").iterdir():
        mask = np.asarray(Image.open(path))
        Image.fromarray(np.where(mask < PERSON_LABEL, 0, mask)).save(path)
    made = reconstruct(read_sequence(copied), room.perception, bodies, "regression")
    assert made.motion.provenance["marks"] == "persons by masks, floor found in the depth"
    assert compare(made, room.truth, bodies.body).floor_angle < 0.5
    level = replace(room.perception, disparity=np.full_like(room.perception.disparity, 0.5))
    level.disparity[:, 0] = 0.4
    level = replace(level, metric=1 / level.disparity)
    with pytest.raises(InputError, match="no floor is in view: nothing that faces up"):
        reconstruct(read_sequence(copied), level, bodies, "regression")


def test_measured_depth_has_the_error_of_a_sensor(room: Rendered, bodies: Bodies, copied: Path) -> None:
    (copied / "truth" / "depth").rename(copied / "depth")
    measured = read_sequence(copied)
    perception = replace(room.perception, **dict(zip(("disparity", "metric"), measured_depth(measured), strict=True)))
    made = reconstruct(measured, perception, bodies, "regression")
    assert made.motion.provenance["depth"] == "measured"
    assert made.room.fusion.error == pytest.approx(SENSOR_ERROR)
    assert compare(made, room.truth, bodies.body).floor_height_mm < 10


def test_a_body_of_somebody_else_is_not_taken(room: Rendered, bodies: Bodies) -> None:
    """Person 1's crops are answered with person 0's body, as an occluded person's often are."""
    seen, estimates = room.perception, room.perception.estimates
    first = {int(frame): k for k, frame in enumerate(seen.frame) if seen.person[k] == 0}
    source = [
        first[int(f)] if p == 1 and int(f) in first else k
        for k, (p, f) in enumerate(zip(seen.person, seen.frame, strict=True))
    ]
    fields = {name: getattr(estimates, name)[source] for name in ("global_orient", "body_pose", "betas", "cam")}
    doubled = replace(seen, squares=seen.squares[source], estimates=replace(estimates, **fields))
    made = reconstruct(room.sequence, doubled, bodies, "regression")
    assert made.quality[0].regressed > 0.9
    assert made.quality[1].regressed < 0.1
    assert made.motion.num_persons == 1


def test_who_has_a_box_and_no_keypoints_is_not_there_by_the_stand_in_alone(room: Rendered, bodies: Bodies) -> None:
    first, second = room.sequence.tracks
    keypoints = first.keypoints.copy()
    keypoints[:, 3:] = 0  # three are too few to judge a pose by
    sequence = replace(room.sequence, tracks=(replace(first, keypoints=keypoints), second))
    for mode in ("regression", "hybrid"):
        made = reconstruct(sequence, room.perception, bodies, mode)
        assert [row.frames > 0 for row in made.quality] == [False, True], mode
        believed = reconstruct(sequence, room.perception, replace(bodies, believed=True), mode)
        assert [row.frames for row in believed.quality] == [first.present.sum(), second.present.sum()], mode
    assert (load_bodies().believed, load_bodies(regressor="own.safetensors").believed) == (False, True)


def test_the_record_tells_how_sure_each_place_is(room: Rendered, bodies: Bodies) -> None:
    """A left arm has no keypoint in frames 1 and 2; depth and floor are not known to the body network."""
    first, second = room.sequence.tracks
    keypoints = first.keypoints.copy()
    keypoints[1:3, [room.sequence.keypoint_names.index(f"left_{name}") for name in ("elbow", "wrist")], 2] = 0.3
    sequence = replace(room.sequence, tracks=(replace(first, keypoints=keypoints), second))
    told = {}
    for mode in ("regression", "hybrid"):
        made = reconstruct(sequence, room.perception, bodies, mode)
        told[mode] = json.loads(made.motion.provenance["uncertainty"])
        assert [row["object_id"] for row in told[mode]] == [track.object_id for track in sequence.tracks]
        for k, row in enumerate(told[mode]):
            assert [along is not None for along in row["along_m"]] == made.motion.valid[k].tolist()
            assert made.quality[k].along_m == pytest.approx(np.median(row["along_m"]), abs=1e-3)
            assert made.quality[k].across_m == pytest.approx(np.median(row["across_m"]), abs=1e-3)
            assert np.less(row["across_m"], row["along_m"]).all()
        seen = set(range(first.keypoints.shape[0])) - set(
            np.flatnonzero(first.keypoints[:, 7:11:2, 2].max(axis=1) < 0.5)
        )
        spans = told[mode][0]["unseen"]["left arm"]
        frames = {frame for start, stop in spans for frame in range(start, stop)}
        assert frames == set(range(6)) - seen | {1, 2}
    assert np.median(told["hybrid"][0]["along_m"]) < 0.6 * np.median(told["regression"][0]["along_m"])


def test_distances_are_compared_with_depth_of_the_size_that_the_persons_told(room: Rendered, bodies: Bodies) -> None:
    seen = room.perception
    noise = np.random.default_rng(0).normal(size=seen.metric.shape).astype(np.float32)
    far = replace(seen, metric=1.3 * seen.metric * np.exp(0.04 * noise))
    first = reconstruct(room.sequence, far, bodies, "regression")
    fitted = reconstruct(room.sequence, far, bodies, "optimisation")
    assert fitted.room.camera.center[2] < 0.95 * first.room.camera.center[2]
    for row in fitted.quality:
        assert abs(row.beyond_depth) < 0.04


def test_unknown_intrinsics_are_estimated_and_that_is_said(room: Rendered, bodies: Bodies) -> None:
    sequence = replace(room.sequence, intrinsics=None)
    made = reconstruct(sequence, perfect(sequence, room.truth), bodies, "regression")
    assert made.motion.provenance["focal_length"].startswith(("assumed, 70°", "estimated from people"))


def test_nobody_left_is_said(room: Rendered, bodies: Bodies) -> None:
    cam = room.perception.estimates.cam + torch.tensor([0.0, 30.0, 0.0])
    far = replace(room.perception, estimates=replace(room.perception.estimates, cam=cam))
    with pytest.raises(InputError, match="reconstructed in mode regression, expected a regressed pose near"):
        reconstruct(room.sequence, far, bodies, "regression")


def test_skin_depth_is_known_on_ones_own_mask_where_the_keypoint_is_visible() -> None:
    own = np.zeros((4, 5), dtype=np.bool_)
    own[1, 2] = True
    depth = np.arange(20, dtype=np.float32).reshape(4, 5)
    keypoints = np.array([[2, 1, 1], [2.3, 0.8, 1], [2, 1, 0.3], [3, 1, 1], [-9, 1, 1]], dtype=np.float32)
    np.testing.assert_array_equal(skin_depth(keypoints, own, depth), [7, 7, np.nan, np.nan, np.nan])


def test_who_holds_still_keeps_the_depth_of_a_key_frame() -> None:
    """A person lies, raises an arm in frame 2, and from frame 4 on lies elsewhere."""
    rng = np.random.default_rng(0)
    lying = np.concatenate([rng.uniform(0, 200, size=(9, 2)), np.ones((9, 1))], axis=1)
    keypoints = np.stack([lying] * 6).astype(np.float32)
    keypoints[2, 0, 0] += 60
    keypoints[3, 1, 2] = 0.0
    keypoints[4:, :, :2] += 40
    keypoints[:4, :, :2] += rng.normal(0, 2, size=(4, 9, 2))  # clicked by hand
    depth = np.full((6, 9), np.nan, dtype=np.float32)
    depth[1] = np.arange(2, 11)
    depth[1, 8] = np.nan
    found = carried(keypoints, depth)
    np.testing.assert_array_equal(found[1], depth[1])
    np.testing.assert_array_equal(found[0], depth[1])
    assert np.isnan(found[2, [0, 8]]).all()
    np.testing.assert_array_equal(found[2, 1:8], depth[1, 1:8])
    assert np.isnan(found[3, [1, 8]]).all()
    assert np.isnan(found[4:]).all()
    nothing = np.full_like(depth, np.nan)
    np.testing.assert_array_equal(carried(keypoints, nothing), nothing)


def test_a_network_that_is_off_the_keypoints_starts_no_fit(room: Rendered, bodies: Bodies) -> None:
    """A person's few good poses would only pull at the others if most are off."""
    people = people_of(room.truth.motion)
    masks = np.stack([room.sequence.mask(number) for number in room.sequence.keyframes])
    images = np.stack([room.sequence.frame(number) for number in room.sequence.keyframes])
    empty = build_room(room.sequence, room.perception.disparity, room.perception.metric, images, masks)
    observed = observe(room.sequence, empty, masks, bodies.body)
    assert good_starts(people, observed, bodies.body)[people.valid].all()
    off = replace(people, transl=people.transl.clone())
    off.transl[0, :2] += 0.4
    off.transl[1, :5] += 0.4
    near = good_starts(off, observed, bodies.body)
    assert near[0].tolist() == [False, False, True, True, True, True]
    assert not near[1].any()


def test_a_keypoint_beside_its_mask_is_covered_until_a_key_frame_shows_it(room: Rendered, bodies: Bodies) -> None:
    """A blanket is drawn over all but a corner of the first person in the first key frame; without a mask none is."""
    frames = list(room.sequence.keyframes)
    masks = np.stack([room.sequence.mask(number) for number in frames])
    images = np.stack([room.sequence.frame(number) for number in frames])
    empty = build_room(room.sequence, room.perception.disparity, room.perception.metric, images, masks)
    visible = observe(room.sequence, empty, masks, bodies.body).confidence[0] >= 0.5
    masks[0, masks[0] == PERSON_LABEL] = LABELS.index("bed")
    assert not observe(room.sequence, empty, masks, bodies.body).covered[0, frames[0]].any()
    masks[0, 0, 0] = PERSON_LABEL
    covered = observe(room.sequence, empty, masks, bodies.body).covered
    nearest = [min(frames, key=lambda key: abs(key - frame)) for frame in range(6)]
    assert set(nearest) == set(frames)
    for frame, key in enumerate(nearest):
        if key == frames[0]:
            assert covered[0, frame].equal(visible[frames[0]])
        else:
            assert covered[0, frame].float().mean() < 0.2
    assert covered[1].float().mean() < 0.2


def test_either_takes_the_first_where_it_is_valid(room: Rendered) -> None:
    one = people_of(room.truth.motion)
    other = replace(one, transl=one.transl + 1, betas=one.betas + 1)
    valid = one.valid.clone()
    valid[0, 2:] = False
    mixed = union(replace(one, valid=valid), other)
    torch.testing.assert_close(mixed.transl[0, :2], one.transl[0, :2])
    torch.testing.assert_close(mixed.transl[0, 2:], other.transl[0, 2:])
    assert mixed.valid.all()
    torch.testing.assert_close(mixed.betas[0], other.betas[0])
    torch.testing.assert_close(mixed.betas[1], one.betas[1])


def test_the_command_writes_what_it_can_and_names_what_it_cannot(
    room: Rendered, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "annotations.json").write_text("{")
    config = PipelineConfig((room.sequence.folder, broken), output=tmp_path / "out", mode="hybrid")
    with pytest.raises(InputError, match="1 of 2 sequences could not be reconstructed"):
        run(config)
    assert str(broken) in capsys.readouterr().err
    (motion,), (scene,) = read_motions(tmp_path / "out" / "motions"), read_scenes(tmp_path / "out" / "scenes")
    assert motion.scene_id == scene.id == room.sequence.id
    assert len(list((tmp_path / "out" / "sheets").glob("*.png"))) == 1


def test_sequences_or_simulation_not_both() -> None:
    with pytest.raises(InputError, match="expected folders of sequences, or --simulate N"):
        run(PipelineConfig())
    with pytest.raises(InputError, match="--motions falls is for rendered rooms"):
        run(PipelineConfig((Path("room"),), motions="falls"))
    with pytest.raises(InputError, match="--seed is -5, expected 0 or more"):
        run(PipelineConfig(simulate=1, seed=-5))


def test_a_folder_that_is_neither_sequence_nor_tree_is_told(tmp_path: Path) -> None:
    (tmp_path / "room" / "day").mkdir(parents=True)
    with pytest.raises(InputError, match="room holds no sequence, expected a folder with annotations.json"):
        run(PipelineConfig((tmp_path / "room",)))


@pytest.mark.parametrize("number", GROUND)
def test_people_in_photos_are_adults_and_their_distance_is_flagged(
    number: int, bodies: Bodies, shared_data: Path, tmp_path: Path
) -> None:
    """Nothing is known of these cameras, and the networks that ship have seen rendered rooms alone."""
    folder = tmp_path / "photos" / "coco" / "day" / str(number)
    write_photo(folder, number, shared_data)
    sequence = read_sequence(folder)
    relative, metric = (load_depth_model("tiny", metric=is_metric) for is_metric in (False, True))
    seen = perceive(sequence, load_regressor(), relative, metric)
    for mode in ("optimisation", "hybrid"):
        made = reconstruct(sequence, seen, bodies, mode)
        for row in made.quality:
            assert row.frames == sequence.num_frames
            assert 1.45 <= row.stature_m <= 2.0, f"{mode}, {row.object_id}"
            assert row.shape_sigma <= 2.5, f"{mode}, {row.object_id}"
            assert row.flags[0].startswith("distance ±"), f"{mode}, {row.object_id}"
