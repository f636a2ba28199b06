"""Training data of the lifter: persons, cameras and clicks that fit together."""

import pytest
import torch
from torch import Tensor

from motion.body import load_body
from recon.keypoints import body_keypoints
from recon.lifting import NAMES
from recon.training.lifter_views import CLEAN, IMAGE_SIZE_PX, Noise, Pool, Seen, annotate, draw
from recon.training.poses import PoseClip

BODY = load_body()
POINTS = body_keypoints(BODY, NAMES)


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
