"""The whole import: rendered rooms as people have them, back to what they were."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from recon.teton import find_faults, read_sequence
from recon.teton.importing.detections import PADDING
from tests.helpers.imports import COUNT, LEVELS, Original, Run, change, content, made, require_same_tracks
from tests.helpers.recordings import mmpose_person, write_openpose, write_video


def test_a_rendered_room_comes_back(import_: Run, original: Original, tmp_path: Path) -> None:
    ended = import_()
    assert (ended.status, ended.err) == (0, "")
    (folder,) = made(tmp_path / "rooms")
    assert folder == tmp_path / "rooms" / "imported" / "walk" / "2024-05-01" / "2024-05-01T10-20-30"
    assert find_faults(folder) == []
    found, room = read_sequence(folder), original.sequence
    assert (found.image_size, found.fps, found.keypoint_names) == (room.image_size, 10.0, room.keypoint_names)
    assert found.intrinsics is None
    require_same_tracks(found, room, list(range(COUNT)))
    for number, frame in enumerate(original.frames):
        assert np.abs(found.frame(number).astype(int) - frame).mean() < LEVELS
    for number in set(found.keyframes) & set(room.keyframes):
        np.testing.assert_array_equal(found.mask(number), room.mask(number))
    assert set(found.keyframes) <= set(room.keyframes)


def test_the_report_says_what_was_made_and_what_comes_next(import_: Run, original: Original) -> None:
    lines = import_().out.splitlines()
    assert lines[0].endswith("walk.mp4: 12 frames of 256x192, COCO keypoints")
    pattern = (
        r"rooms/imported/walk/.*T10-20-30: 12 frames of 256x192 at 10 fps from 0.0 s on, \d+ key frames, with masks"
    )
    assert re.fullmatch(pattern, lines[1])
    shares = [f"{track.present.mean():.0%} of the frames" for track in original.sequence.tracks]
    assert [line.split(" in ")[1] for line in lines[2:4]] == shares
    assert lines[-2:] == [
        "next: python -m recon.teton check rooms",
        "      python -m ray_jobs.reconstruct --rooms rooms --output data/own-motions",
    ]
    assert "counted from 0" in "\n".join(lines)
    assert "the focal length is unknown" in "\n".join(lines)


def test_what_is_there_is_refused_and_replaced_where_that_is_said(import_: Run, tmp_path: Path) -> None:
    assert import_(seconds=0.4).status == 0
    parts = made(tmp_path / "rooms")
    assert [folder.name[-4:] for folder in parts] == ["-000", "-001", "-002"]
    before = (parts[0] / "annotations.json").read_bytes()
    ended = import_()
    assert ended.status == 2
    assert (
        "2024-05-01T10-20-30-000 and 2 more: is there already, expected a new name: choose one by --name" in ended.err
    )
    assert (parts[0] / "annotations.json").read_bytes() == before
    assert import_("--replace").status == 0
    assert [folder.name for folder in made(tmp_path / "rooms")] == ["2024-05-01T10-20-30"]
    assert import_(name="ward-3/camera-1").status == 0
    assert len(made(tmp_path / "rooms")) == 2


def test_parts_follow_one_another(import_: Run, original: Original, tmp_path: Path) -> None:
    assert import_(seconds=0.4).status == 0
    for part, folder in enumerate(made(tmp_path / "rooms")):
        found = read_sequence(folder)
        require_same_tracks(found, original.sequence, list(range(4 * part, 4 * part + 4)))
        for number in range(4):
            assert np.abs(found.frame(number).astype(int) - original.frames[4 * part + number]).mean() < LEVELS


def test_start_and_end_cut(import_: Run, original: Original, tmp_path: Path) -> None:
    assert import_(start=0.3, end=0.8).status == 0
    (folder,) = made(tmp_path / "rooms")
    require_same_tracks(read_sequence(folder), original.sequence, [3, 4, 5, 6, 7, 8])


def test_a_rate_of_its_own_takes_every_second_frame(import_: Run, original: Original, tmp_path: Path) -> None:
    assert import_(fps=5).status == 0
    (folder,) = made(tmp_path / "rooms")
    assert read_sequence(folder).fps == 5
    require_same_tracks(read_sequence(folder), original.sequence, [0, 2, 4, 6, 8, 10])


def test_frames_that_are_too_large_shrink_with_all_that_is_in_them(
    import_: Run, original: Original, tmp_path: Path
) -> None:
    assert import_("--intrinsics", 200, 210, 128, 96, longest_side=128).status == 0
    (folder,) = made(tmp_path / "rooms")
    assert find_faults(folder) == []
    found = read_sequence(folder)
    assert found.image_size == (128, 96)
    assert found.intrinsics is not None
    np.testing.assert_allclose(found.intrinsics, [[100, 0, 64], [0, 105, 48], [0, 0, 1]])
    for one, other in zip(found.tracks, original.sequence.tracks, strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes / 2, atol=1e-4)
        np.testing.assert_allclose(one.keypoints, other.keypoints * [0.5, 0.5, 1], atol=1e-4)
    number = found.keyframes[0]
    assert (found.mask(number) != original.sequence.mask(number)[::2, ::2]).mean() < 0.05


def test_annotations_of_a_smaller_copy_are_scaled(import_: Run, original: Original, tmp_path: Path) -> None:
    def halve(annotations: dict[str, Any]) -> None:
        for image in annotations["images"]:
            image |= {"width": 128, "height": 96}
        annotations["annotations"] = [each for each in annotations["annotations"] if "keypoints" in each]
        for each in annotations["annotations"]:
            each |= {"bbox": [v / 2 for v in each["bbox"]], "segmentation": []}
            each["keypoints"] = [v if k % 3 == 2 else v / 2 for k, v in enumerate(each["keypoints"])]

    ended = import_(annotations=change(original, tmp_path / "half.json", halve))
    assert "note: the annotations are of 128x96 and the frames of 256x192: positions are scaled" in ended.out
    (folder,) = made(tmp_path / "rooms")
    persons = content(folder)
    for track in original.sequence.tracks:
        number = int(np.flatnonzero(track.present)[0])
        found = persons[track.object_id]["frames"][str(number)]
        np.testing.assert_allclose(found["keypoints"], track.keypoints[number], atol=1e-4)
    assert not list(folder.glob("masks/*"))
    assert "no masks" in ended.out


def test_masks_that_cannot_be_whole_are_said(import_: Run, original: Original, tmp_path: Path) -> None:
    def without(named: str) -> Callable[[dict[str, Any]], None]:
        def edit(annotations: dict[str, Any]) -> None:
            of_persons = [category["id"] for category in annotations["categories"][:3]]
            for each in annotations["annotations"]:
                if (each["category_id"] in of_persons) == (named == "persons"):
                    each["segmentation"] = []

        return edit

    ended = import_(annotations=change(original, tmp_path / "a.json", without("persons")), name="a/a")
    assert "no masks" in ended.out
    assert "note: the room is outlined and no person is: masks are left out" in ended.out
    ended = import_(annotations=change(original, tmp_path / "b.json", without("room")), name="b/b")
    assert "with masks" in ended.out
    assert "note: masks mark no floor, as none is outlined in the annotations" in ended.out


def test_a_folder_of_frames(import_: Run, original: Original, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(original.frames):
        Image.fromarray(frame).convert("CMYK" if number % 2 else "RGB").save(
            tmp_path / "frames" / f"frame_{number:06d}.jpg", quality=95
        )
    ended = import_(video=tmp_path / "frames")
    assert ended.status == 2
    assert "is a folder of frames without times, expected their rate by --recorded-fps" in ended.err
    assert import_(video=tmp_path / "frames", recorded_fps=10, name="a/b").status == 0
    (folder,) = made(tmp_path / "rooms")
    require_same_tracks(read_sequence(folder), original.sequence, list(range(COUNT)))


def test_a_portrait_video_is_written_upright(import_: Run, original: Original, tmp_path: Path) -> None:
    """Turn the frames a quarter clockwise, encode them so, and say by the flag that players turn them back."""
    write_video(
        tmp_path / "walk.mp4", [np.rot90(f, -1) for f in original.frames], [k / 10 for k in range(COUNT)], turn=90
    )
    ended = import_(video=tmp_path / "walk.mp4")
    assert "note: frames are turned upright as the file says" in ended.out
    (folder,) = made(tmp_path / "rooms")
    found = read_sequence(folder)
    assert np.abs(found.frame(5).astype(int) - original.frames[5]).mean() < LEVELS
    require_same_tracks(found, original.sequence, list(range(COUNT)))


def test_openpose_and_mmpose_are_followed(import_: Run, original: Original, tmp_path: Path) -> None:
    """Check that persons found frame by frame, in any order, become the tracks that they were."""
    tracks = original.sequence.tracks
    rng = np.random.default_rng(0)
    found = [[track.keypoints[k] for track in tracks if track.present[k]] for k in range(COUNT)]
    for persons in found:
        rng.shuffle(persons)  # type: ignore[arg-type]
    wide = [[np.concatenate([one, np.zeros((1, 3))]) for one in persons] for persons in found]  # 18, as the COCO model
    write_openpose(tmp_path / "openpose", wide)
    frames = [{"frame_id": k, "instances": [mmpose_person(one) for one in persons]} for k, persons in enumerate(found)]
    (tmp_path / "mmpose.json").write_text(json.dumps(frames))
    assert import_(annotations=tmp_path / "openpose", name="by/openpose").status == 0
    assert import_(annotations=tmp_path / "mmpose.json", name="by/mmpose").status == 0
    for folder in made(tmp_path / "rooms"):
        persons = {key: value for key, value in content(folder).items() if key != "meta"}
        assert len(persons) == len(tracks)
        found_points = [
            {int(k): np.array(frame["keypoints"])[:17] for k, frame in person["frames"].items()}
            for person in persons.values()
        ]
        for track in tracks:
            start = int(np.flatnonzero(track.present)[0])
            (same,) = (
                points
                for points in found_points
                if start in points and np.allclose(points[start], track.keypoints[start], atol=1e-2)
            )
            for number in same:
                np.testing.assert_allclose(same[number], track.keypoints[number], atol=1e-2)


def test_boxes_without_any_are_padded_keypoints(import_: Run, original: Original, tmp_path: Path) -> None:
    frames = [
        {
            "frame_id": k,
            "instances": [
                mmpose_person(track.keypoints[k]) for track in original.sequence.tracks[:1] if track.present[k]
            ],
        }
        for k in range(COUNT)
    ]
    (tmp_path / "mmpose.json").write_text(json.dumps(frames))
    assert import_(annotations=tmp_path / "mmpose.json").status == 0
    (folder,) = made(tmp_path / "rooms")
    for frame in content(folder)["1"]["frames"].values():
        points = np.array(frame["keypoints"])
        low, high = points[points[:, 2] > 0, :2].min(axis=0), points[points[:, 2] > 0, :2].max(axis=0)
        padding = max(4, PADDING * (high - low).max())
        np.testing.assert_allclose(frame["box"], [*(low - padding), *(high + padding)], atol=1e-3)


def test_a_variable_rate_is_laid_on_a_constant_one(import_: Run, original: Original, tmp_path: Path) -> None:
    times = [0, 0.1, 0.23, 0.3, 0.41, 0.5, 0.57, 0.7, 0.8, 0.92, 1.0, 1.1]
    write_video(tmp_path / "walk.mp4", original.frames, times)
    ended = import_(video=tmp_path / "walk.mp4")
    assert re.search(r"note: frames come 10 times a second on average .* up to 30 ms early or late", ended.out)
    (folder,) = made(tmp_path / "rooms")
    require_same_tracks(read_sequence(folder), original.sequence, list(range(COUNT)))


def test_times_without_anybody_are_left_out(import_: Run, original: Original, tmp_path: Path) -> None:
    """Show the room twice, and five empty seconds before, between and after."""
    empty = np.full_like(original.frames[0], 90)
    frames = [*[empty] * 15, *original.frames, *[empty] * 12, *original.frames, *[empty] * 3]
    write_video(tmp_path / "walk.mp4", frames, [k / 10 for k in range(len(frames))])

    def repeat(annotations: dict[str, Any]) -> None:
        images, entries = annotations["images"], annotations["annotations"]
        width, height = images[0]["width"], images[0]["height"]
        annotations["images"] = [
            {"id": 1 + k, "width": width, "height": height, "file_name": f"frame_{k:06d}.PNG"}
            for k in range(len(frames))
        ]
        annotations["annotations"] = [
            each | {"image_id": each["image_id"] + shift} for shift in (15, 15 + COUNT + 12) for each in entries
        ]

    ended = import_(video=tmp_path / "walk.mp4", annotations=change(original, tmp_path / "long.json", repeat))
    assert ended.status == 0
    folders = made(tmp_path / "rooms")
    assert [folder.name[-4:] for folder in folders] == ["-000", "-001"]
    assert "note: without persons and left out: 0.0 to 1.5 s, 2.7 to 3.9 s, 5.1 to 5.4 s" in ended.out
    for folder in folders:
        require_same_tracks(read_sequence(folder), original.sequence, list(range(COUNT)))


def test_help_teaches(run_program: Run) -> None:
    ended = run_program("recon.teton", "import", "--help")
    assert ended.status == 0
    for part in ("--recorded-fps", "OpenPose", "DATETIME-000", "python -m recon.teton import --video walk.mp4"):
        assert part in ended.out
