"""Lifter with the weights that ship, on held-out motion."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float
from torch import Tensor

from motion.body import load_body
from motion.errors import InputError
from motion.metrics.pose_error import pa_mpjpe, world_mpjpe
from motion.rotations import about
from motion.skeleton import KEYPOINT_SETS
from recon.camera import Camera, intrinsics_matrix
from recon.keypoints import body_keypoints
from recon.lifting import NAMES, WINDOW_FRAMES, Lifter, LifterNetwork
from recon.observations import Observations
from recon.people import People
from tests.helpers import fitted_motions as motions

FPS = 10.0
BODY = load_body()
WALK_PA, WALK_WORLD = 90.0, 250.0  # millimetres


@pytest.fixture(scope="module")
def lifter() -> Lifter:
    return Lifter.load()


def camera_at(height: float, tilt: float) -> Camera:
    """Place a camera above the world's origin, looking along +y and down by `tilt` degrees."""
    sin, cos = math.sin(math.radians(tilt)), math.cos(math.radians(tilt))
    rotation = torch.tensor([[1.0, 0.0, 0.0], [0.0, -sin, -cos], [0.0, cos, -sin]])
    extrinsics = torch.eye(4)
    extrinsics[:3, :3], extrinsics[:3, 3] = rotation, -rotation @ torch.tensor([0.0, 0.0, height])
    return Camera(intrinsics_matrix(330.0, 330.0, 255.5, 191.5), extrinsics, (512, 384))


CAMERA = camera_at(2.4, 20.0)


def actor(clip: str, place: tuple[float, float] = (0.3, 4.0)) -> People:
    """Read DeepMimic's clip at 10 frames a second and move its middle to a place of the room."""
    people = motions.clip(clip, FPS)
    level = torch.tensor(place) - people.transl[..., :2].mean(dim=1, keepdim=True)
    return replace(people, transl=people.transl + torch.nn.functional.pad(level, (0, 1)))


def annotated(people: People, names: str = "coco17", camera: Camera = CAMERA) -> Observations:
    """Annotate every keypoint of a set exactly."""
    own = KEYPOINT_SETS[names]
    points = camera.project(people.keypoints(BODY, body_keypoints(BODY, own)))
    confidence = torch.ones(points.shape[:3])
    return Observations(
        camera, FPS, own, points, confidence, torch.full_like(confidence, torch.nan), torch.full((4, 4), torch.nan)
    )


def taken(seen: Observations, people: slice, frames: slice | Tensor) -> Observations:
    """Take some of the persons and frames."""
    return replace(
        seen,
        keypoints=seen.keypoints[people, frames],
        confidence=seen.confidence[people, frames],
        depth=seen.depth[people, frames],
    )


def millimetres(measure: Callable[..., float], lifted: People, truth: People) -> float:
    return 1000 * measure(lifted.joints(BODY).numpy(), truth.joints(BODY).numpy())


def assert_same(people: People, others: People, tolerance: float = 1e-4) -> None:
    assert torch.equal(people.valid, others.valid)
    assert torch.allclose(people.joints(BODY), others.joints(BODY), atol=tolerance)


@pytest.mark.parametrize("names", KEYPOINT_SETS)
def test_a_walk_never_learnt_from_is_recognised(names: str, lifter: Lifter) -> None:
    truth = actor("walk")
    lifted = lifter.lift(annotated(truth, names), BODY)
    assert lifted.valid.all()
    assert millimetres(pa_mpjpe, lifted, truth) < WALK_PA
    assert millimetres(world_mpjpe, lifted, truth) < WALK_WORLD


def test_someone_on_the_floor_is_lifted_onto_the_floor(lifter: Lifter) -> None:
    truth = actor("getup_facedown")
    lying = truth.joints(BODY)[0, :, 15, 2] < 0.5
    lifted = lifter.lift(annotated(truth), BODY).joints(BODY)[0]
    assert lying.sum() > 5
    assert lifted[lying][:, 15, 2].median() < 0.5


def test_measured_depth_helps(lifter: Lifter) -> None:
    truth = actor("walk", (-0.5, 5.0))
    without = annotated(truth)
    points = truth.keypoints(BODY, body_keypoints(BODY, without.names))
    depth = CAMERA.to_camera(points)[..., 2] - 0.07
    without = replace(without, confidence=without.confidence * (torch.arange(17) < 11))  # no legs
    lifted = [lifter.lift(replace(without, depth=d), BODY) for d in (without.depth, depth)]
    assert millimetres(world_mpjpe, lifted[1], truth) < millimetres(world_mpjpe, lifted[0], truth)


@settings(max_examples=8)
@given(angle=st.floats(-3.1, 3.1), x=st.floats(-20, 20), y=st.floats(-20, 20))
def test_turns_and_moves_with_the_world(lifter: Lifter, angle: float, x: float, y: float) -> None:
    seen = annotated(actor("walk"))
    turn, shift = about("z", torch.tensor(angle)), torch.tensor([x, y, 0.0])
    moved = torch.eye(4)
    moved[:3, :3], moved[:3, 3] = turn, shift
    camera = replace(CAMERA, extrinsics=CAMERA.extrinsics @ torch.linalg.inv(moved))
    expected = lifter.lift(seen, BODY).moved(turn, shift, BODY)
    assert_same(lifter.lift(replace(seen, camera=camera), BODY), expected, tolerance=1e-3)


def test_the_same_again_and_whoever_else_is_there(lifter: Lifter) -> None:
    walk, beside = annotated(actor("walk")), annotated(actor("walk", (-1.0, 3.0)))
    parts = ("keypoints", "confidence", "depth")
    both = replace(walk, **{part: torch.cat([getattr(walk, part), getattr(beside, part)]) for part in parts})
    alone, together = lifter.lift(walk, BODY), lifter.lift(both, BODY)
    assert torch.equal(alone.transl, lifter.lift(walk, BODY).transl)
    assert torch.allclose(alone.joints(BODY)[0], together.joints(BODY)[0], atol=1e-4)


@pytest.mark.parametrize("frames", [1, 2, WINDOW_FRAMES - 1, WINDOW_FRAMES, WINDOW_FRAMES + 1, 100])
def test_any_number_of_frames(frames: int, lifter: Lifter) -> None:
    seen = annotated(actor("getup_facedown"))
    seen = taken(seen, slice(None), torch.arange(frames) % seen.keypoints.shape[1])
    lifted = lifter.lift(seen, BODY)
    assert lifted.transl.shape == (1, frames, 3)
    assert lifted.valid.all()
    assert_proper(lifted)


def test_short_gaps_are_filled_and_long_ones_are_not(lifter: Lifter) -> None:
    seen = annotated(actor("getup_facedown"))
    absent = torch.zeros(seen.confidence.shape[1], dtype=torch.bool)
    absent[[0, 1]] = absent[5:9] = absent[15:25] = True
    seen = replace(seen, confidence=torch.where(absent[:, None], 0.0, seen.confidence))
    lifted = lifter.lift(seen, BODY)
    expected = ~absent
    expected[5:9] = True
    assert torch.equal(lifted.valid[0], expected)
    assert_proper(lifted)


def test_what_is_not_annotated_does_not_matter(lifter: Lifter, rng: np.random.Generator) -> None:
    seen = annotated(actor("walk"))
    unknown = torch.from_numpy(rng.random(seen.confidence.shape) < 0.3)
    confidence = torch.where(unknown, 0.0, seen.confidence)
    nonsense = [torch.where(unknown[..., None], value, seen.keypoints) for value in (torch.nan, 1e6)]
    first, second = (lifter.lift(replace(seen, confidence=confidence, keypoints=points), BODY) for points in nonsense)
    assert_same(first, second)
    assert_proper(first)


def test_who_is_never_seen_is_not_valid_and_nobody_is_nobody(lifter: Lifter) -> None:
    seen = annotated(actor("walk"))
    three = seen.names[:3]  # fewer keypoints than place anybody
    few = replace(seen, confidence=seen.confidence * (torch.arange(17) < len(three)))
    lifted = lifter.lift(few, BODY)
    assert not lifted.valid.any()
    assert_proper(lifted)
    none = taken(seen, slice(0), slice(None))
    assert lifter.lift(none, BODY).transl.shape == (0, seen.keypoints.shape[1], 3)


class PlannedNetwork(LifterNetwork):
    """Network that answers as planned: pelvis along the ray, then betas; keeps what it is asked."""

    def __init__(self, *plans: Float[Tensor, "frame 11"]) -> None:
        super().__init__()
        self.plans, self.asked = plans, list[Tensor]()

    def forward(self, features: Float[Tensor, "person frame feature"]) -> Float[Tensor, "person frame output"]:
        self.asked.append(features)
        answers = torch.nn.functional.pad(self.plans[len(self.asked) - 1], (24 * 6 + 2, 0))
        return answers.expand(len(features), -1, -1)


def cross(frames: int, middle: tuple[float, float, float], half: float) -> Float[Tensor, "1 frame 17 3"]:
    """Place 17 points across the ray to `middle`: one on it, four each to the left, right, above and below."""
    ray = np.array(middle) - [0, 0, 2.4]
    left = np.cross([0, 0, 1], ray)
    up = np.cross(ray, left)
    arms = [0 * ray, *(sign * half * arm / np.linalg.norm(arm) for arm in (left, up) for sign in (1, -1))]
    points = np.stack([np.array(middle) + arms[1 + (k - 1) % 4 if k else 0] for k in range(17)])
    return torch.from_numpy(points).float().expand(1, frames, -1, -1)


def observed(points: Float[Tensor, "1 frame 17 3"], fps: float, known: slice = slice(None)) -> Observations:
    """Annotate these points as COCO's keypoints in some frames; their skin is measured half as far as they are."""
    own, confidence = KEYPOINT_SETS["coco17"], torch.zeros(points.shape[:3])
    confidence[:, known] = 0.7
    depth = 0.5 * CAMERA.to_camera(points)[..., 2]
    return Observations(CAMERA, fps, own, CAMERA.project(points), confidence, depth, torch.full((4, 4), torch.nan))


def test_the_network_is_asked_of_angles_distances_and_the_frame_rate() -> None:
    """The person is 29 degrees off the camera's axis, where depth along the axis is much less than the distance."""
    middle, half = (2.4, 4.0, 1.2), 0.2
    points = cross(WINDOW_FRAMES, middle, half)
    network = PlannedNetwork(torch.zeros(WINDOW_FRAMES, 11))
    Lifter(network).lift(observed(points, fps=25.0), BODY)
    asked = network.asked[0][0, 5].double().numpy()
    rays = points[0, 0].double().numpy() - [0, 0, 2.4]
    far = np.linalg.norm(rays, axis=1)
    middle_far = far[0]
    across = np.array([(0, 0), *[(1, 0), (-1, 0), (0, 1), (0, -1)] * 4])
    for k, name in enumerate(KEYPOINT_SETS["coco17"]):
        at = 6 * NAMES.index(name)
        on_floor = 2.4 * (half / middle_far / 0.25) / (-rays[k, 2] / far[k])
        skin = 0.5 * far[k] * (half / middle_far / 0.25)
        expected = [*across[k], math.log(on_floor), math.log(skin), 0.7, 1.0]
        np.testing.assert_allclose(asked[at : at + 6], expected, atol=1e-3, err_msg=name)
    size = half / middle_far
    down = math.hypot(middle[0], middle[1])
    whole = [-1.2 / middle_far, down / middle_far, math.log(2.4 * size / 0.25), math.log(size / 0.2), math.log(25 / 12)]
    np.testing.assert_allclose(asked[-6:], [*whole, 1.0], atol=1e-3)


def test_windows_are_faded_into_one_another() -> None:
    """The second window answers e times the distance of the first; weights are sin² of the place in the window."""
    near = torch.zeros(WINDOW_FRAMES, 11)
    network = PlannedNetwork(near, near + torch.eye(11)[0])
    people = Lifter(network).lift(observed(cross(36, (0.3, 4.0, 1.0), 0.25), fps=10.0), BODY)
    distance = (people.joints(BODY)[0, :, 0] - CAMERA.center).norm(dim=-1).double().numpy()
    frame = np.arange(36)
    first, second = (np.sin(np.pi * (frame - start + 1) / 25) ** 2 for start in (0, 12))
    expected = np.where(frame < 12, 0.0, np.where(frame < 24, second / (first + second), 1.0))
    np.testing.assert_allclose(np.log(distance / distance[0]), expected, atol=1e-3)


def test_the_shape_is_the_mean_over_the_frames_in_which_somebody_is() -> None:
    """Frame t answers betas of 0.05 t, 0.1 t and so on; only the first eight frames, of mean 3.5, show somebody."""
    steps = 0.05 * torch.arange(11.0)
    network = PlannedNetwork(torch.arange(float(WINDOW_FRAMES))[:, None] * steps)
    points = cross(WINDOW_FRAMES, (0.3, 4.0, 1.0), 0.25)
    people = Lifter(network).lift(observed(points, fps=10.0, known=slice(8)), BODY)
    torch.testing.assert_close(people.betas[0], 3.5 * steps[1:])


def test_another_body_gets_betas_of_its_own(rng: np.random.Generator) -> None:
    """The body's mean shape is another, and its shape directions are the default body's, mixed by a rotation."""
    mix, mean = np.linalg.qr(rng.standard_normal((10, 10)))[0], rng.uniform(-1, 1, 10)
    mix, mean, betas = (torch.from_numpy(each).float() for each in (mix, mean, rng.uniform(-1, 1, 10)))
    other = replace(
        BODY,
        name="smpl-neutral",
        joint_template=BODY.rest_joints(mean),
        joint_shapedirs=BODY.joint_shapedirs @ mix,
        v_template=BODY.v_template + BODY.shapedirs @ mean,
        shapedirs=BODY.shapedirs @ mix,
    )
    seen = observed(cross(WINDOW_FRAMES, (0.3, 4.0, 1.0), 0.25), fps=10.0)
    plan = torch.cat([torch.zeros(1), betas]).expand(WINDOW_FRAMES, -1)
    own, theirs = (Lifter(PlannedNetwork(plan)).lift(seen, body) for body in (BODY, other))
    torch.testing.assert_close(own.betas[0], betas)
    torch.testing.assert_close(theirs.betas[0], mix.T @ (betas - mean), atol=0.02, rtol=0)
    torch.testing.assert_close(theirs.joints(other), own.joints(BODY), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("fps", "missing", "filled"), [(10.0, 5, True), (10.0, 6, False), (30.0, 15, True), (30.0, 16, False)]
)
def test_absences_of_half_a_second_are_filled(fps: float, missing: int, filled: bool) -> None:
    seen = observed(cross(WINDOW_FRAMES, (0.3, 4.0, 1.0), 0.25), fps)
    seen.confidence[:, 4 : 4 + missing] = 0
    valid = Lifter(PlannedNetwork(torch.zeros(WINDOW_FRAMES, 11))).lift(seen, BODY).valid[0]
    assert valid[[3, 4 + missing]].all()
    assert bool(valid[4 : 4 + missing].all()) == bool(valid[4 : 4 + missing].any()) == filled


def test_bad_input_is_a_sentence(lifter: Lifter, tmp_path: Path) -> None:
    seen = annotated(actor("walk"))
    with pytest.raises(InputError, match="no keypoint 'tail'"):
        lifter.lift(replace(seen, names=("tail", *seen.names[1:])), BODY)
    with pytest.raises(InputError, match="above the floor"):
        lifter.lift(replace(seen, camera=camera_at(-1.0, 10.0)), BODY)
    (tmp_path / "lifter.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="damaged"):
        Lifter.load(tmp_path / "lifter.safetensors")


def test_every_keypoint_of_every_set_has_an_input() -> None:
    body_keypoints(BODY, NAMES)
    assert len(set(NAMES)) == len(NAMES)


def assert_proper(people: People) -> None:
    rotations: Float[Tensor, "*batch 3 3"] = torch.cat([people.global_orient[:, :, None], people.body_pose], dim=2)
    assert torch.allclose(rotations @ rotations.mT, torch.eye(3).expand_as(rotations), atol=1e-4)
    assert people.transl.isfinite().all()
    assert people.betas.isfinite().all()
