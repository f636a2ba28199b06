"""AMASS: all families and forms, their bodies, captions, and damage of all kinds."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from motion.body import Body
from motion.datasets import amass
from motion.datasets.clip import Clip
from motion.errors import InputError
from tests.helpers.sources import amass as source
from tests.helpers.sources.humanml3d import amass_fields, save_npz, walk


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("amass")
    source.write_dataset(folder)
    return folder


def clips(folder: Path) -> dict[str, Clip]:
    return {clip.id.removeprefix("amass/"): clip for clip in amass.list_clips(folder)}


def level(joints: np.ndarray) -> np.ndarray:
    """Take the height of the floor out."""
    return joints - joints[..., 2].mean() * np.array([0, 0, 1])


def test_lists_motions_and_described_spans(tmp_path: Path) -> None:
    expected = source.write_dataset(tmp_path)
    found = amass.list_clips(tmp_path)
    assert [clip.id for clip in found] == expected
    described = {clip.id: (clip.texts, clip.start, clip.stop) for clip in found if clip.texts}
    assert described == {
        "amass/CMU/01/01_01_poses": (("a person walks",), 0.0, None),
        "amass/CMU/01/01_01_poses@0.5-1.5": (("the left knee bends",), 0.5, 1.5),
    }


def test_a_folder_without_motions_is_no_data_set(tmp_path: Path) -> None:
    save_npz(tmp_path / "CMU" / "01" / "shape.npz", {"betas": np.zeros(16)})
    with pytest.raises(InputError, match=r"holds no AMASS motion"):
        amass.list_clips(tmp_path)


@pytest.mark.parametrize(
    ("name", "seconds", "fps", "seed"),
    [
        ("ACCAD/s001/stand_poses", 1.0, 60.0, 4),
        ("BMLrub/rub001/0001_walk_stageii", 1.0, 100.0, 2),
        ("CMU/01/01_01_poses", 2.0, 120.0, 1),
        ("KIT/3/turn_stageii", 1.0, 59.94, 3),
    ],
)
def test_reads_every_family_at_its_own_rate(
    dataset: Path, body: Body, name: str, seconds: float, fps: float, seed: int
) -> None:
    record = amass.read_clip(clips(dataset)[name], body)
    wanted = walk(seconds, fps, seed).joints(body).numpy()
    assert (record.source, record.body, record.fps) == ("amass", "default", fps)
    np.testing.assert_allclose(level(record.joints), level(wanted), atol=1e-4)


def test_a_described_span_is_that_part_of_the_motion(dataset: Path, body: Body) -> None:
    record = amass.read_clip(clips(dataset)["CMU/01/01_01_poses@0.5-1.5"], body)
    wanted = walk(2.0, 120.0, 1).joints(body).numpy()[:, 60:180]
    assert record.texts == ["the left knee bends"]
    np.testing.assert_allclose(level(record.joints), level(wanted), atol=1e-4)


def test_betas_are_used_with_a_body_of_the_same_family_and_gender_only(tmp_path: Path, body: Body) -> None:
    fields = amass_fields(walk(0.5, 60.0, 0), 60.0) | {"betas": np.linspace(-1, 1, 16)}
    save_npz(tmp_path / "clip.npz", fields)
    poses = amass.read_poses(tmp_path / "clip.npz")
    for name, same in (("smplh-male", True), ("smplh", True), ("smplh-female", False), ("smplx-male", False)):
        pose = amass.on_body(poses, replace(body, name=name))
        assert bool(pose.betas.any()) is same
        assert torch.equal(pose.transl[0], poses.parameters.transl) is same
    np.testing.assert_allclose(poses.parameters.betas, fields["betas"][:10], atol=1e-6)
    said = {name: _said(clips(tmp_path)["clip"], replace(body, name=name)) for name in ("smplh-male", "smplx")}
    assert said == {"smplh-male": "the file's", "smplx": "zeros: the file's do not fit body smplx"}


def _said(clip: Clip, body: Body) -> str:
    return amass.read_clip(clip, body).provenance["betas"]


def test_another_body_walks_the_same_path_up_to_a_constant(tmp_path: Path, body: Body) -> None:
    save_npz(tmp_path / "clip.npz", amass_fields(walk(1.0, 60.0, 0), 60.0))
    poses = amass.read_poses(tmp_path / "clip.npz")
    pose = amass.on_body(poses, body)
    offset = pose.joints(body)[0, :, 0] - poses.parameters.transl
    torch.testing.assert_close(offset, torch.tensor(amass.MEAN_PELVIS["smplh"]).expand_as(offset))


def test_hands_are_at_rest_and_rotations_carry_over(dataset: Path) -> None:
    poses = amass.read_poses(dataset / "BMLrub" / "rub001" / "0001_walk_stageii.npz")
    assert (poses.parameters.body_pose[:, 21:] == torch.eye(3)).all()
    torch.testing.assert_close(
        poses.parameters.body_pose[:, :21], walk(1.0, 100.0, 2).body_pose[0, :, :21], atol=1e-5, rtol=0
    )


def test_gender_may_be_bytes(tmp_path: Path) -> None:
    fields = amass_fields(walk(0.5, 60.0, 0), 60.0)
    save_npz(tmp_path / "clip.npz", fields | {"gender": np.array(b"Female")})
    assert amass.read_poses(tmp_path / "clip.npz").gender == "female"
    del fields["gender"]
    save_npz(tmp_path / "clip.npz", fields)
    assert amass.read_poses(tmp_path / "clip.npz").gender == "unknown"


def test_random_damage_never_ends_in_another_error(tmp_path: Path, body: Body, rng: np.random.Generator) -> None:
    path = tmp_path / "clip.npz"
    save_npz(path, amass_fields(walk(0.2, 60.0, 0), 60.0))
    whole = path.read_bytes()
    clip = clips(tmp_path)["clip"]
    for length in rng.integers(0, len(whole), 60):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            amass.read_clip(clip, body)
    for _ in range(120):
        damaged = np.frombuffer(whole, dtype=np.uint8).copy()
        damaged[rng.integers(0, len(whole), 4)] = rng.integers(0, 256, 4)
        path.write_bytes(damaged.tobytes())
        with suppress(InputError):  # a byte of a field that is not read does no harm
            amass.read_clip(clip, body)
