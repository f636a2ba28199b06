"""Simulations on disk: a Teton tree with its truth comes back as it was."""

from pathlib import Path

import numpy as np
import pytest

from motion.errors import InputError
from motion.skeleton import KEYPOINT_SETS
from recon.simulate import NOISY, Simulated, read_truth, write
from recon.teton import read_sequence


def test_written_and_read_back(rooms: list[Simulated], tmp_path: Path) -> None:
    room, folder = rooms[1], tmp_path / "d" / "room" / "2026-01-01" / "00"
    names = KEYPOINT_SETS["openpose25"]
    write(room, folder, names, NOISY, seed=0, depth=True)
    sequence, truth = read_sequence(folder), read_truth(folder)
    assert sequence.keypoint_names == names
    assert sequence.intrinsics is not None
    np.testing.assert_allclose(sequence.intrinsics, room.camera.intrinsics, rtol=1e-5)
    assert [track.object_id for track in sequence.tracks] == list(truth.object_ids)
    assert sorted(truth.depth) == list(sequence.keyframes)
    for number in sequence.keyframes:
        np.testing.assert_array_equal(sequence.mask(number), room.labels[number])
        np.testing.assert_allclose(truth.depth[number], room.depth[number], atol=5.1e-4)
        np.testing.assert_array_equal(sequence.depth(number), truth.depth[number])
        assert np.abs(sequence.frame(number).astype(int) - room.frames[number]).mean() < 6
    for name in ("joints", "transl", "body_pose", "action", "person_class"):
        np.testing.assert_array_equal(getattr(truth.motion, name), getattr(room.motion, name))
    for name in ("keypoints", "visible", "seen", "boxes", "background_labels"):
        np.testing.assert_array_equal(getattr(truth, name), getattr(room, name))
    np.testing.assert_array_equal(truth.camera.extrinsics, room.camera.extrinsics)
    assert truth.keypoint_names == room.keypoint_names
    with pytest.raises(InputError, match=r"motion\.parquet"):
        read_truth(tmp_path)
