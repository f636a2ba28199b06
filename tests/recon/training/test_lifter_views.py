"""Training data of the lifter: persons, cameras and clicks that fit together."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from motion.body import load_body
from recon.keypoints import body_keypoints
from recon.lifting import NAMES, Lifter
from recon.training import lifter
from recon.training.lifter import LifterOptions, train
from recon.training.lifter_views import CLEAN, IMAGE_SIZE_PX, Noise, Pool, Seen, annotate, draw
from recon.training.poses import HELD_OUT, KINDS, PoseClip, read_poses

BODY = load_body()
POINTS = body_keypoints(BODY, NAMES)


@pytest.fixture(scope="module")
def clips() -> list[PoseClip]:
    return read_poses(None, 40, BODY)


@pytest.fixture(scope="module")
def seen(clips: list[PoseClip]) -> Seen:
    return draw(Pool.of(clips), 64, BODY, torch.Generator().manual_seed(0))


def from_camera(seen: Seen, points: Tensor) -> Tensor:
    return points - torch.nn.functional.pad(seen.height[:, None, None, None], (2, 0))


def test_exact_clicks_lie_on_the_joints(seen: Seen) -> None:
    annotated = annotate(seen, POINTS, CLEAN, torch.Generator().manual_seed(0), names="smpl24")
    known = annotated.confidence[..., :24] > 0
    along = torch.nn.functional.normalize(annotated.rays[..., :24, :], dim=-1)
    expected = torch.nn.functional.normalize(from_camera(seen, seen.joints), dim=-1)
    assert known.float().mean() > 0.8
    assert (along - expected)[known].abs().max() < 1e-4


def test_depths_are_ranges_to_the_skin(seen: Seen) -> None:
    annotated = annotate(seen, POINTS, CLEAN, torch.Generator().manual_seed(0), names="smpl24")
    ranges = annotated.ranges[..., :24]
    before = from_camera(seen, seen.joints).norm(dim=-1) - ranges
    assert 0 < ranges.isfinite().float().mean() < 0.5
    assert 0.0 < before[ranges.isfinite()].median() < 0.15


def test_cameras_are_those_of_a_room(seen: Seen) -> None:
    assert ((seen.height >= 1.8) & (seen.height <= 3.0)).all()
    fov = 2 * torch.rad2deg(torch.atan(IMAGE_SIZE_PX[0] / 2 / seen.focal))
    assert ((fov >= 50) & (fov <= 105)).all()
    tilt = torch.rad2deg(torch.asin(-seen.world_to_camera[:, 2, 2]))
    assert ((tilt >= -1e-3) & (tilt <= 60.001)).all()
    assert torch.allclose(torch.linalg.det(seen.world_to_camera), torch.ones(64), atol=1e-5)


def test_people_are_on_the_floor_or_a_bed(seen: Seen) -> None:
    lowest = seen.joints[..., 2].amin(dim=-1).amin(dim=-1)
    assert lowest.min() > -0.4  # an arm may hang down beside the trunk
    assert lowest.median() < 0.3


def test_all_sets_are_seen_and_legs_hidden(seen: Seen) -> None:
    annotated = annotate(seen, POINTS, Noise(), torch.Generator().manual_seed(0))
    known = (annotated.confidence > 0).any(dim=1)
    fewer = {name: known[:, NAMES.index(name)].float().mean() for name in ("left_hip", "left_eye_inner", "spine2")}
    assert fewer["left_hip"] > 0.6
    assert 0.05 < fewer["left_eye_inner"] < 0.5
    assert 0.05 < fewer["spine2"] < 0.5
    share = (annotated.confidence > 0).float().mean(dim=(0, 1))
    assert share[NAMES.index("left_knee")] < 0.95 * share[NAMES.index("left_shoulder")]


def test_what_is_held_out_does_not_lend_to_what_is_learnt(clips: list[PoseClip]) -> None:
    captured = {clip.name: clip.held_out for clip in clips if not clip.composed}
    assert all(captured[f"{name}#0"] for name in HELD_OUT)
    for clip in clips:
        if clip.composed:
            source = clip.name.split("/", 2)[2]
            assert clip.held_out == captured[source]


def test_composed_clips_show_care_room_postures(clips: list[PoseClip]) -> None:
    # The cosine of the trunk to the vertical, by how a clip begins.
    cosines = [(clip.name.split("/")[1].split("-")[0], clip.rotations[0, 0, 2, 1]) for clip in clips if clip.composed]
    assert {kind for kind, _ in cosines} <= set(KINDS)
    lying = [abs(cosine) for kind, cosine in cosines if kind in ("supine", "prone", "side_left", "side_right")]
    upright = [cosine for kind, cosine in cosines if kind in ("sit", "kneel")]
    assert max(lying) < math.sin(math.radians(20))
    assert min(upright) > math.sin(math.radians(60))


def test_training_goes_on_where_it_stopped(
    clips: list[PoseClip], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifter, "read_poses", lambda *_: clips)
    steps, minutes = [], 0.01
    for _ in range(2):
        train(LifterOptions(None, minutes, tmp_path / "lifter.pt", tmp_path / "lifter.safetensors"))
        state = torch.load(tmp_path / "lifter.pt", weights_only=True)
        steps.append(state["step"])
        minutes = state["spent"] / 60 + 0.01  # however long one step took on a busy machine
        Lifter.load(tmp_path / "lifter.safetensors")
    assert 0 < steps[0] < steps[1]
    assert "composed noisy" in capsys.readouterr().out
