"""Motions of reconstructed rooms as a source of training data."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from motion.body import load_body
from motion.datasets import deepmimic, teton
from motion.errors import InputError
from motion.parquet import write_parquet
from motion.sequence import MotionSequence


@pytest.fixture(scope="module")
def walk() -> MotionSequence:
    (clip,) = (clip for clip in deepmimic.list_clips() if clip.id.endswith("_walk"))
    motion = deepmimic.read_clip(clip, load_body())
    return replace(motion, id="home/room/day/time", source="teton", texts=["a patient walks"], split="test")


def test_a_reconstructed_motion_comes_back_as_it_was_written(tmp_path: Path, walk: MotionSequence) -> None:
    write_parquet([walk, replace(walk, id="home/room/day/later")], tmp_path / "motions" / "part.parquet")
    clips = teton.list_clips(tmp_path)
    assert [clip.id for clip in clips] == ["teton/home/room/day/later", "teton/home/room/day/time"]
    back = teton.read_clip(clips[1], load_body())
    assert (back.texts, back.split, back.fps) == (walk.texts, "test", walk.fps)
    np.testing.assert_array_equal(back.joints, walk.joints)


def test_another_body_keeps_its_rotations_and_its_joints(tmp_path: Path, walk: MotionSequence) -> None:
    """The default body comes under another name and in another origin: only joints and rotations say where it is."""
    moved = replace(walk, body="smpl", betas=np.zeros_like(walk.betas), transl=walk.transl + 0.3)
    write_parquet([moved], tmp_path / "motions" / "part.parquet")
    back = teton.read_clip(teton.list_clips(tmp_path)[0], load_body())
    assert back.body == "default"
    np.testing.assert_array_equal(back.body_pose, walk.body_pose)
    np.testing.assert_allclose(back.joints, walk.joints, atol=5e-3)
    np.testing.assert_allclose(back.joints, back.parameters.joints(load_body()).numpy(), atol=1e-5)


def test_what_is_no_output_of_reconstruction_is_refused(tmp_path: Path, walk: MotionSequence) -> None:
    with pytest.raises(InputError, match=r"holds no motions/\*.parquet, expected the output of `python -m ray_jobs"):
        teton.list_clips(tmp_path)
    (tmp_path / "motions").mkdir()
    (tmp_path / "motions" / "bad.parquet").write_bytes(b"PAR1")
    (clip,) = teton.list_clips(tmp_path)
    with pytest.raises(InputError, match=r"bad.parquet: cannot be read .*, expected Parquet of motions"):
        teton.read_clip(clip, load_body())


def test_a_motion_that_is_gone_is_named(tmp_path: Path, walk: MotionSequence) -> None:
    file = tmp_path / "motions" / "part.parquet"
    write_parquet([walk], file)
    (clip,) = teton.list_clips(tmp_path)
    write_parquet([replace(walk, id="other")], file)
    with pytest.raises(InputError, match="no longer holds the motion 'home/room/day/time'"):
        teton.read_clip(clip, load_body())
