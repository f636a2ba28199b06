"""Fits of SMPL to keypoints: back to the truth from disturbed starts, and stable where observations fail."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from motion.body import Body, load_body
from motion.errors import InputError
from motion.metrics.pose_error import pa_mpjpe, world_mpjpe
from motion.skeleton import ACTIONS, JOINT, KEYPOINT_SETS
from recon.fitting import optimisation as fitting
from recon.fitting.bodies import FittedBodies, balls
from recon.fitting.optimisation import Phase
from recon.fitting.rooms import MovingRooms, moved
from recon.observations import Observations
from recon.people import People
from recon.pose_prior import load_prior
from tests.helpers.fitted_motions import FIELDS, both, clip, disturbed, observed, standing_at

BODY = load_body()
COCO = KEYPOINT_SETS["coco17"]


def prior(body_pose: Tensor) -> Tensor:
    """Compute an energy that keeps every joint near its rest, by the square of the angle (for small ones)."""
    return 0.3 * (3 - body_pose.diagonal(dim1=-2, dim2=-1).sum(dim=-1)).sum(dim=-1)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut the phases to a sixth of their steps, for tests that do not need the last millimetre."""
    monkeypatch.setattr(fitting, "PHASES", (Phase(15, 0.3, 1.0), Phase(20, 1.0, 0.5), Phase(20, 0.5, 0.2)))


@pytest.fixture
def walker() -> People:
    people = standing_at(clip("walk", 10.0), 0.3, 3.5)
    return replace(people, valid=people.valid.clone())


def fit(seen: Observations, start: People, body: Body, prior: Callable[[Tensor], Tensor]) -> People:
    return fitting.fit(seen, start, body, prior).people


def world(people: People, truth: People) -> float:
    """Compute the MPJPE in the world in mm."""
    return 1000 * world_mpjpe(people.joints(BODY).numpy(), truth.joints(BODY).numpy(), truth.valid.numpy())


def test_returns_from_a_small_disturbance(walker: People) -> None:
    start = disturbed(walker, 1, math.radians(5), 0.05)
    fitted = fit(observed(walker, COCO), start, BODY, prior)
    assert world(start, walker) > 90
    assert world(fitted, walker) < 35


def test_one_in_ten_keypoints_is_plainly_wrong(walker: People) -> None:
    clean = observed(walker, COCO)
    random = torch.Generator().manual_seed(3)
    wrong = torch.rand(clean.confidence.shape, generator=random) < 0.1
    elsewhere = torch.rand(clean.keypoints.shape, generator=random) * torch.tensor([512.0, 384.0])
    seen = replace(clean, keypoints=torch.where(wrong[..., None], elsewhere, clean.keypoints))
    start = disturbed(walker, 2, math.radians(8), 0.1)
    assert world(fit(seen, start, BODY, prior), walker) < world(fit(clean, start, BODY, prior), walker) + 15


def test_hidden_legs_leave_the_rest_fitted_and_keep_their_shape(walker: People) -> None:
    seen = observed(walker, COCO)
    legs = [COCO.index(f"{side}_{name}") for side in ("left", "right") for name in ("knee", "ankle")]
    seen.confidence[..., legs] = 0
    seen.keypoints[..., legs, :] = torch.nan
    start = disturbed(walker, 3, math.radians(8), 0.1)
    fitted = fit(seen, start, BODY, prior)
    above = [
        JOINT[name] for name in ("pelvis", "neck", "head", "left_elbow", "right_elbow", "left_wrist", "right_wrist")
    ]
    away = (fitted.joints(BODY) - walker.joints(BODY)).norm(dim=-1)
    assert away[..., above].mean() < 0.06
    assert away.mean() < 0.12
    assert prior(fitted.body_pose[0]).mean() < 1.5 * prior(walker.body_pose[0]).mean()


def test_a_frame_that_starts_turned_around_is_healed(walker: People) -> None:
    start = disturbed(walker, 4, math.radians(5), 0.05)
    start.global_orient[:, 6] = torch.diag(torch.tensor([-1.0, -1.0, 1.0])) @ start.global_orient[:, 6]
    fitted = fit(observed(walker, COCO), start, BODY, prior)
    assert (fitted.joints(BODY) - walker.joints(BODY))[:, 6].norm(dim=-1).mean() < 0.08


@pytest.mark.usefixtures("quick")
def test_wrong_depths_are_not_believed(walker: People) -> None:
    seen = observed(walker, COCO, key_frames=3)
    seen.depth[:, 6] += 3.0  # somebody else's, or the wall's
    start = disturbed(walker, 5, math.radians(5), 0.05)
    assert world(fit(seen, start, BODY, prior), walker) < 60


@pytest.mark.usefixtures("quick")
def test_depth_that_is_known_to_be_rough_bends_nobody(walker: People) -> None:
    """All depth is 20 % too far: declared as exact it costs far more than declared as rough as it is."""
    seen = observed(walker, COCO, key_frames=1)
    rough = replace(seen, depth=1.2 * seen.depth)
    start = disturbed(walker, 5, math.radians(5), 0.05)
    errors = [
        world(fit(each, start, BODY, prior), walker)
        for each in (replace(seen, depth_error=0.2), replace(rough, depth_error=0.2), rough)
    ]
    assert errors[0] < 60
    assert errors[1] < 0.5 * errors[2]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", list(KEYPOINT_SETS))
def test_every_set_of_keypoints(walker: People, name: str) -> None:
    start = disturbed(walker, 6, math.radians(8), 0.1)
    fitted = fit(observed(walker, KEYPOINT_SETS[name]), start, BODY, prior)
    assert world(fitted, walker) < 0.5 * world(start, walker)
    assert pa_mpjpe(fitted.joints(BODY).numpy(), walker.joints(BODY).numpy()) < 0.05


@pytest.mark.usefixtures("quick")
def test_frames_without_a_person_stay_and_do_not_matter(walker: People) -> None:
    walker.valid[:, 4:6] = False
    seen = observed(walker, COCO)
    start = disturbed(walker, 7, math.radians(5), 0.05)
    seen.keypoints[:, 4:6] = torch.nan
    fitted = fit(seen, start, BODY, prior)
    for field in ("transl", "global_orient", "body_pose"):
        assert torch.equal(getattr(fitted, field)[:, 4:6], getattr(start, field)[:, 4:6])
    assert torch.equal(fitted.valid, walker.valid)
    elsewhere = replace(start, transl=torch.where(start.valid[..., None], start.transl, 50.0))
    again = fit(seen, elsewhere, BODY, prior)
    assert torch.allclose(again.joints(BODY)[walker.valid], fitted.joints(BODY)[walker.valid], atol=1e-3)


@pytest.mark.usefixtures("quick")
def test_order_of_persons_does_not_matter(walker: People) -> None:
    pair = both(walker, standing_at(walker, -0.8, 4.2))
    start = disturbed(pair, 8, math.radians(5), 0.05)
    swapped = People(**{field: getattr(start, field).flip(0) for field in FIELDS})
    seen = observed(pair, COCO)
    other = replace(seen, **{name: getattr(seen, name).flip(0) for name in ("keypoints", "confidence", "depth")})
    one, two = fit(seen, start, BODY, prior), fit(other, swapped, BODY, prior)
    assert torch.allclose(one.joints(BODY), two.joints(BODY).flip(0), atol=2e-3)


@pytest.mark.usefixtures("quick")
def test_persons_do_not_reach_into_each_other(walker: People) -> None:
    """One person is behind the other, and the start has both in one place."""
    pair = both(walker, standing_at(walker, 0.3, 4.1))
    start = both(walker, standing_at(walker, 0.3, 3.6))
    seen = observed(pair, COCO)
    seen.depth[:] = torch.nan

    def deepest(people: People) -> float:
        points, radii = balls(people.joints(BODY)), FittedBodies.of(people, BODY, COCO).ball_radii
        return float((radii[0, :, None] + radii[1] - torch.cdist(points[0], points[1])).max())

    assert deepest(start) > 0.1
    assert deepest(fit(seen, start, BODY, prior)) < 0.03


@pytest.mark.usefixtures("quick")
def test_nobody_is_under_the_floor(walker: People) -> None:
    start = replace(walker, transl=walker.transl - torch.tensor([0.0, 0.0, 0.25]))
    seen = observed(walker, COCO)
    seen.depth[:] = torch.nan
    assert start.joints(BODY)[..., 2].min() < -0.15
    assert fit(seen, start, BODY, prior).joints(BODY)[..., 2].min() > -0.01


@pytest.mark.usefixtures("quick")
def test_who_is_seen_is_before_the_wall(walker: People) -> None:
    seen = observed(walker, COCO)
    depth = seen.camera.to_camera(walker.joints(BODY))[..., 2]
    seen.depth[:] = torch.nan
    wall = replace(seen, background=torch.full((24, 32), float(depth.max()) + 0.1))
    start = replace(walker, transl=walker.transl + torch.tensor([0.0, 0.6, 0.0]))
    fitted = fit(wall, start, BODY, prior)
    assert seen.camera.to_camera(start.joints(BODY))[..., 2].max() > depth.max() + 0.4
    assert seen.camera.to_camera(fitted.joints(BODY))[..., 2].max() < depth.max() + 0.15


def test_who_is_covered_may_be_behind_what_is_seen(walker: People) -> None:
    """A curtain hangs through them: only who is not known to be behind it is drawn before it."""
    seen = observed(walker, COCO)
    depth = seen.camera.to_camera(walker.joints(BODY))[..., 2]
    curtain = replace(seen, background=torch.full((24, 32), float(depth.mean()) - 0.05))
    behind = replace(curtain, covered=torch.ones_like(seen.confidence).bool())
    kept, drawn = (world(fit(each, walker, BODY, prior), walker) for each in (behind, curtain))
    assert kept < 20
    assert drawn > 3 * kept


def mistaken(people: People, tilt: float, size: float) -> tuple[Observations, People]:
    """Observe standing persons by depth that is so many times too large, over a floor that seems tilted (radians)."""
    seen = observed(people, COCO, key_frames=2)
    changes = torch.tensor([[tilt, 0.0, math.log(size)]], dtype=torch.float64)
    (camera,) = MovingRooms((seen.camera,), changes, torch.ones_like(changes), torch.tensor([0])).fitted_cameras()
    standing = torch.full(seen.confidence.shape[:2], ACTIONS.index("standing_on_floor"), dtype=torch.int8)
    observations = replace(seen, camera=camera, depth=seen.depth * size, depth_error=0.15, action=standing)
    pelvis = people.joints(BODY)[:, :, 0]
    farther = replace(people, transl=people.transl + (pelvis - seen.camera.center) * (size - 1))
    return observations, moved(farther, seen.camera, camera, BODY)


def test_persons_tell_the_size_of_their_room(walker: People) -> None:
    """Depth is a sixth too large; people of usual stature halve the error at least, if it is said to be uncertain."""
    pair = both(walker, standing_at(walker, -0.8, 5.5))
    observations, start = mistaken(pair, 0.0, 7 / 6)
    found = fitting.fit(replace(observations, room_error=(0.003, 0.003, 0.15)), start, BODY, prior)
    kept = fitting.fit(observations, start, BODY, prior)
    assert float(kept.camera.center[2]) == pytest.approx(2.8, abs=1e-4)
    assert float(found.camera.center[2]) == pytest.approx(2.4, abs=0.06)
    assert found.room_moved == pytest.approx(math.log(2.8 / float(found.camera.center[2])) / 0.15, rel=1e-3)
    truth = pair.joints(BODY) - torch.tensor([0.0, 0.0, 2.4])
    away = [(each.people.joints(BODY) - each.camera.center - truth).norm(dim=-1).mean() for each in (kept, found)]
    assert away[1] < 0.5 * away[0]


def test_who_stands_tells_the_tilt_of_the_floor(walker: People) -> None:
    observations, start = mistaken(walker, math.radians(6), 1.0)
    found = fitting.fit(replace(observations, room_error=(math.radians(6), 0.003, 0.003)), start, BODY, prior)
    kept = fitting.fit(observations, start, BODY, prior)
    tilts = [math.degrees(math.asin(-float(each.camera.extrinsics[2, 2]))) for each in (kept, found)]
    assert abs(tilts[0] - 30) == pytest.approx(6, abs=1e-3)
    assert abs(tilts[1] - 30) < 3


@pytest.mark.usefixtures("quick")
def test_sequences_that_are_fitted_together_are_exactly_what_each_is_alone(walker: People) -> None:
    """They differ in persons, frames, frame rate, camera, keypoints, depth and room; one has nobody in it."""
    short = walker[:, :7]
    pair = both(short, replace(disturbed(short, 1, 0.1, 0.05), valid=short.valid & (torch.arange(7) < 5)))
    rough, start = mistaken(walker, 0.05, 1.1)
    other = replace(rough.camera, intrinsics=rough.camera.intrinsics * torch.tensor([[0.9], [0.9], [1.0]]))
    seen = [
        replace(observed(walker, COCO), fps=7.5),
        observed(pair, COCO),
        replace(rough, camera=other, room_error=(0.05, 0.03, 0.1)),
        observed(walker, KEYPOINT_SETS["openpose25"]),
        observed(walker, COCO),
    ]
    nobody = replace(walker, valid=torch.zeros_like(walker.valid))
    starts = [disturbed(walker, 2, 0.1, 0.05), pair, start, disturbed(walker, 3, 0.1, 0.05), nobody]
    together = fitting.fit_together(seen, starts, BODY, load_prior())
    for found, observation, begun in zip(together, seen, starts, strict=True):
        alone = fitting.fit(observation, begun, BODY, load_prior())
        for name, value in vars(alone.people).items():
            assert torch.equal(getattr(found.people, name), value), name
        assert torch.equal(found.camera.extrinsics, alone.camera.extrinsics)
        assert found.room_moved == alone.room_moved
    assert together[2].room_moved > 0.1
    with pytest.raises(InputError, match="expected the same"):
        fitting.fit_together(seen[:2], starts[1::-1], BODY, prior)


def test_a_start_of_another_size_looks_the_same_at_its_usual_size(walker: People) -> None:
    """Everyone's shape is within 2 standard deviations after; only who was beyond that moves, along the ray."""
    tall = replace(walker, betas=torch.tensor([[6.0, -1.0, *[0.0] * 8]]))
    camera = observed(walker, COCO).camera
    usual = fitting.of_usual_shape(tall, camera, BODY)
    torch.testing.assert_close(usual.betas[0, :3], torch.tensor([2.0, -1.0, 0.0]))
    before, after = (each.joints(BODY)[0, :, 0] - camera.center for each in (tall, usual))
    size = BODY.stature(usual.betas) / BODY.stature(tall.betas)
    assert 0.05 < abs(float(size) - 1) < 0.5
    torch.testing.assert_close(after, size * before)
    same = fitting.of_usual_shape(walker, camera, BODY)
    torch.testing.assert_close(same.transl, walker.transl)


def test_shapes_of_few_frames_are_held_by_their_prior(walker: People) -> None:
    """Three frames whose depth is a fifth too small make nobody smaller than two frames of one moment could."""
    few = replace(walker, valid=walker.valid & (torch.arange(walker.valid.shape[1]) < 3))
    seen = observed(few, COCO, key_frames=3)
    fitted = fit(replace(seen, depth=0.8 * seen.depth), few, BODY, prior)
    assert 1 < fitted.betas.abs().max() < 2.2


def test_nobody_and_a_start_of_other_people(walker: People) -> None:
    gone = replace(walker, valid=torch.zeros_like(walker.valid))
    seen = observed(walker, COCO)
    assert torch.equal(fit(seen, gone, BODY, prior).transl, gone.transl)
    with pytest.raises(InputError, match="persons and frames"):
        fit(seen, both(walker, walker), BODY, prior)
