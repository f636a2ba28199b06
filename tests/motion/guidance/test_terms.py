"""Guidance terms against their definitions, and what they reach with the exact denoiser of a Gaussian of motions."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import roma
import torch
from torch import Tensor

from motion.body import load_body
from motion.body.capsules import Capsules, fit_capsules
from motion.body.penetration import person_penetration, scene_penetration
from motion.clips import transforms as unify
from motion.datasets import deepmimic
from motion.diffusion import NoiseSchedule, cosine_schedule, epsilon_from_x0, q_sample, signal_and_noise
from motion.errors import InputError
from motion.features import POSITIONS, VELOCITIES, Moments, decode, encode
from motion.guidance.terms import (
    ApartFromPeople,
    BodyShape,
    Figure,
    FloorContact,
    Keypoints2D,
    OutOfScene,
    Term,
    Trajectory,
    distance_fields,
    steer,
)
from motion.guidance.terms.least_squares import Prior, damped_step
from motion.samplers import respaced
from motion.sequence import Scene
from motion.skeleton import FEET, JOINT
from motion.smpl_parameters import SmplParameters

BODY = load_body()
SCHEDULE: NoiseSchedule = cosine_schedule()
STEPS = 20
PELVIS = JOINT["pelvis"]
PENETRATES = 0.02  # metres, as in `motion.metrics.plausibility`


class Motions:
    """Gaussian of motions: persons who walk somewhere, each turned, bent and placed otherwise.

    The covariance is that of 80 samples and a little of the identity: E[x_0 | x_t] is a linear map of x_t.
    """

    def __init__(self, spread: float, height: float = 0.0) -> None:
        clip = next(clip for clip in deepmimic.list_clips() if clip.id.endswith("humanoid3d_walk"))
        self.clip = unify.resample(deepmimic.read_clip(clip, BODY), 20.0, BODY)
        self.spread, self.height = spread, height
        drawn = torch.stack([self.draw(seed) for seed in range(80)])
        self.normalizer = Moments.of(drawn.flatten(0, 1)).normalizer()
        rows = self.normalizer.normalize(drawn).flatten(1)
        self.mean = rows.mean(dim=0)
        _, sizes, self.directions = torch.linalg.svd((rows - self.mean) / len(rows) ** 0.5, full_matrices=False)
        self.variances = sizes.square()

    def draw(self, seed: int) -> Tensor:
        """Draw features (frame, 282)."""
        random = torch.Generator().manual_seed(seed)
        walk = {name: torch.from_numpy(getattr(self.clip, name)) for name in ("transl", "global_orient", "body_pose")}
        time = torch.linspace(0, 1, len(walk["transl"][0]))[:, None, None]
        middle, swing, phase = torch.randn(3, 1, 24, 3, generator=random)
        bent = roma.rotvec_to_rotmat(0.12 * (middle + swing * torch.sin(3 * time + 3 * phase)))
        turn = roma.rotvec_to_rotmat(0.3 * torch.randn(1, generator=random) * torch.tensor([0.0, 0.0, 1.0]))
        place = self.spread * torch.randn(3, generator=random) * torch.tensor([1.0, 1.0, 0.05])
        pelvis = walk["transl"] - walk["transl"].mean(dim=1, keepdim=True) * torch.tensor([1.0, 1.0, 0.0])
        transl = pelvis @ turn.T + place + torch.tensor([0.0, 0.0, self.height])
        pose = walk["body_pose"] @ bent[None, :, 1:]
        turned = turn @ walk["global_orient"] @ bent[None, :, 0]
        joints = SmplParameters(transl, turned, pose, torch.zeros(1, 10)).joints(BODY)
        return encode(joints, pose)[0]

    def denoise(self, x_t: Tensor, t: Tensor) -> Tensor:
        a, sigma = (value[:, 0] for value in signal_and_noise(SCHEDULE, t, x_t))
        a, noise, little = a.view(-1, 1, 1), sigma.view(-1, 1, 1).square(), 0.005**2
        off = x_t.flatten(2) - a * self.mean
        along = off @ self.directions.T
        gain, rest = (a * v / (a * a * v + noise) for v in (self.variances + little, little))
        return (self.mean + rest * off + ((gain - rest) * along) @ self.directions).view(x_t.shape)


@lru_cache(maxsize=4)
def motions(spread: float, height: float = 0.0) -> Motions:
    return Motions(spread, height)


def sampled(
    of: Motions, terms: Sequence[Term], batch: int, persons: int = 1
) -> tuple[list[SmplParameters], list[list[SmplParameters]]]:
    """Sample one pose a sample by DDIM; also return those of the estimates at every step."""
    x = torch.stack(
        [torch.randn(persons, *of.draw(0).shape, generator=torch.Generator().manual_seed(i)) for i in range(batch)]
    )
    valid = torch.ones(x.shape[:3], dtype=torch.bool)
    body_shape = BodyShape.of(BODY, torch.zeros(batch, persons, 10))
    timesteps = respaced(SCHEDULE.num_steps, STEPS)
    seen = []
    for now, following in zip(timesteps, [*timesteps[1:], -1], strict=True):
        t = torch.full((batch,), now)
        progress = 1 - t / SCHEDULE.num_steps
        x0 = of.denoise(x, t)
        if terms:
            x0 = steer(x0, progress, of.normalizer, body_shape, valid, terms)
        seen.append(poses(of, x0))
        noise = epsilon_from_x0(SCHEDULE, x0, x, t)
        x = q_sample(SCHEDULE, x0, torch.full((batch,), following), noise) if following >= 0 else x0
    return poses(of, x), seen


def poses(of: Motions, x: Tensor) -> list[SmplParameters]:
    return [decode(of.normalizer.denormalize(each), BODY, torch.zeros(len(each), 10)) for each in x]


def joints(of: list[SmplParameters]) -> Tensor:
    return torch.stack([pose.joints(BODY) for pose in of])


def always(batch: int, weight: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    return torch.full((batch,), weight), torch.zeros(batch), torch.ones(batch)


def camera(batch: int) -> tuple[Tensor, Tensor]:
    """Place a camera 1.5 m high that looks along +y from 5 m away, 500 pixels of focal length."""
    extrinsics = torch.tensor([[1.0, 0, 0, 0], [0, 0, -1, 1.5], [0, 1, 0, 5], [0, 0, 0, 1]])
    intrinsics = torch.tensor([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    return intrinsics.expand(batch, 3, 3), extrinsics.expand(batch, 4, 4)


def projected(points: Tensor) -> Tensor:
    intrinsics, extrinsics = (matrix[0] for matrix in camera(1))
    seen = (points @ extrinsics[:3, :3].T + extrinsics[:3, 3]) @ intrinsics.T
    return seen[..., :2] / seen[..., 2:]


def capsules(pose: SmplParameters) -> Capsules:
    return fit_capsules(pose.joints(BODY).numpy(), np.zeros((len(pose.transl), 10), dtype=np.float32), BODY)


def someone(batch: int, persons: int = 1) -> tuple[Tensor, BodyShape, Tensor]:
    """Draw normalized features of walks 0.3 m or so apart."""
    of = motions(0.3)
    x = torch.stack([torch.stack([of.draw(persons * i + k) for k in range(persons)]) for i in range(batch)])
    body_shape = BodyShape.of(BODY, torch.zeros(batch, persons, 10))
    return of.normalizer.normalize(x), body_shape, torch.ones(x.shape[:3], dtype=torch.bool)


def steered(x: Tensor, body_shape: BodyShape, valid: Tensor, terms: Sequence[Term], progress: float = 0.9) -> Tensor:
    return steer(x, torch.full((len(x),), progress), motions(0.3).normalizer, body_shape, valid, terms)


def pelvis_path(x: Tensor, shift: float = 0.4, weight: float = 1.0) -> Trajectory:
    """Return the pelvis' path over the floor, moved along x and y."""
    target = motions(0.3).normalizer.denormalize(x)[..., None, :3] + shift
    known = torch.tensor([True, True, False]).expand(target.shape).clone()
    return Trajectory(*always(len(x), weight), (PELVIS,), target, known)


def test_keypoints_are_met_to_the_end() -> None:
    """The error is at most half the unguided one, and still falls in the last quarter: the thesis' failure.

    At a third of a pixel the last steps differ by a few hundredths.
    """
    of = motions(0.5)
    wanted = projected(torch.stack([of.draw(1000 + i)[None, :, POSITIONS].unflatten(-1, (24, 3)) for i in range(4)]))
    term = Keypoints2D(*always(4), *camera(4), wanted, torch.ones(wanted.shape[:-1]))

    def error(found: list[SmplParameters]) -> Tensor:
        return (projected(joints(found)) - wanted).norm(dim=-1).mean(dim=(1, 2, 3))

    unguided, guided = sampled(of, [], 4)[0], sampled(of, [term], 4)
    assert (error(guided[0]) < 0.5 * error(unguided)).all()
    last = torch.stack([error(found).mean() for found in guided[1][-STEPS // 4 - 1 :]])
    assert (last[1:] < last[:-1] + 0.03).all()
    assert last[-1] < 0.9 * last[0]


def test_a_path_is_followed_and_waypoints_are_reached() -> None:
    of = motions(0.5)
    frames = len(of.draw(0))
    angle = torch.linspace(0, 2, frames)
    path = torch.stack([angle.sin(), 1 - angle.cos(), 0 * angle], dim=-1).expand(2, 1, frames, 3)
    known = torch.tensor([True, True, False]).expand(2, 1, frames, 1, 3).clone()
    known[1] &= (torch.arange(frames) % 12 == 3)[:, None, None]
    term = Trajectory(*always(2), (PELVIS,), path[..., None, :].clone(), known)
    off = (joints(sampled(of, [term], 2)[0])[..., 0, :2] - path[..., :2]).norm(dim=-1)
    assert off[0].mean() < 0.05
    assert off[1, 0][known[1, 0, :, 0, 0]].max() < 0.05
    assert off[1].mean() > 0.05, "between waypoints the way is free"


def test_two_people_in_one_place_come_apart() -> None:
    def share(found: list[SmplParameters]) -> float:
        there = np.ones((2, found[0].transl.shape[1]), dtype=np.bool_)
        depths = np.stack([person_penetration(capsules(pose), there)[1] for pose in found])
        return float((depths > PENETRATES).mean())

    of, term = motions(0.1), ApartFromPeople(*always(2))
    unguided, guided = share(sampled(of, [], 2, persons=2)[0]), share(sampled(of, [term], 2, persons=2)[0])
    assert unguided > 0.8
    assert guided < 0.2 * unguided


def test_people_in_exactly_the_same_place_come_apart() -> None:
    x, body_shape, valid = someone(1)
    x, body_shape, valid = (x.repeat(1, 2, 1, 1), BodyShape.of(BODY, torch.zeros(1, 2, 10)), valid.repeat(1, 2, 1))
    for _ in range(3):
        x = steered(x, body_shape, valid, [ApartFromPeople(*always(1))])
    pose = poses(motions(0.3), x)[0]
    assert person_penetration(capsules(pose), valid[0].numpy())[1].max() < PENETRATES


def box() -> np.ndarray:
    """Sample points of the surface of a box of 60 cm that stands where persons walk."""
    points = np.random.default_rng(0).uniform(-0.3, 0.3, (6000, 3))
    rows, face = np.arange(6000), np.abs(points).argmax(axis=1)
    points[rows, face] = 0.3 * np.sign(points[rows, face])
    return (points + np.array([0.1, 0.0, 0.3])).astype(np.float32)


def test_a_walk_through_a_box_goes_around_it() -> None:
    def share(found: list[SmplParameters]) -> float:
        there = np.ones((1, found[0].transl.shape[1]), dtype=np.bool_)
        depths = np.stack([scene_penetration(capsules(pose), there, room(box()))[1] for pose in found])
        return float((depths > PENETRATES).mean())

    of, term = motions(0.3), OutOfScene(*always(2), *distance_fields([box()] * 2))
    unguided, guided = share(sampled(of, [], 2)[0]), share(sampled(of, [term], 2)[0])
    assert unguided > 0.4
    assert guided < 0.2 * unguided


def room(points: np.ndarray) -> Scene:
    """Build a scene of these points, all labelled as bed."""
    return Scene(
        id="room",
        points=points,
        colors=np.zeros((len(points), 3), dtype=np.uint8),
        labels=np.full(len(points), 3, dtype=np.int8),
        intrinsics=np.eye(3, dtype=np.float32),
        extrinsics=np.eye(4, dtype=np.float32),
        image_size=(640, 480),
        floor_inlier_ratio=1.0,
        depth_scale=1.0,
    )


def test_distances_are_those_of_a_solid_below_what_is_seen() -> None:
    """A table top at 70 cm fills the space below it; what hangs higher than 1.2 m does not; no points, all free."""
    x, y = np.meshgrid(np.arange(-0.5, 0.5, 0.02), np.arange(-0.5, 0.5, 0.02))
    top = np.stack([x.ravel(), y.ravel(), np.full(x.size, 0.7)], axis=1).astype(np.float32)
    lamp = np.array([[1.0, 0, 1.8]], dtype=np.float32)
    distances, origin = distance_fields([np.concatenate([top, lamp]), np.zeros((0, 3), dtype=np.float32)])
    at = lambda *place: distances[0][tuple(((torch.tensor(place) - origin[0]) / 0.05).round().long().flip(0))]  # noqa: E731
    assert at(0.0, 0.0, 1.0) == pytest.approx(0.3, abs=0.06)
    assert at(0.0, 0.0, 0.5) == pytest.approx(-0.25, abs=0.06)
    assert at(0.8, 0.0, 0.1) == pytest.approx(0.3, abs=0.06)
    assert at(1.0, 0.0, 0.9) > 0.4
    assert (distances[1] > 0.5).all()


def test_a_room_without_end_is_refused() -> None:
    with pytest.raises(InputError, match="crop"):
        distance_fields([np.array([[0, 0, 0], [1e4, 1e4, 0]], dtype=np.float32)])


def test_skin_comes_out_of_the_floor() -> None:
    def lowest(found: list[SmplParameters]) -> np.ndarray:
        return np.stack([capsules(pose).lowest() for pose in found])

    of = motions(0.5, height=-0.06)
    unguided, guided = lowest(sampled(of, [], 2)[0]), lowest(sampled(of, [FloorContact(*always(2))], 2)[0])
    assert unguided.mean() < -0.03
    assert abs(guided.mean()) < 0.01
    assert (guided < -PENETRATES).mean() < 0.2 * (unguided < -PENETRATES).mean()


def test_standing_feet_stop_sliding() -> None:
    """A walk drifts sideways by 1 cm a frame: the feet that stood still do so again."""
    of, (_, body_shape, valid) = motions(0.3), someone(1)
    features = encode(torch.from_numpy(of.clip.joints), torch.from_numpy(of.clip.body_pose))[None]
    still = features[..., POSITIONS].unflatten(-1, (24, 3))[:, :, :, FEET]
    standing = (still[:, :, 1:, :, :2] - still[:, :, :-1, :, :2]).norm(dim=-1) < 0.01
    drift = 0.01 * torch.arange(valid.shape[2])[:, None, None] * torch.tensor([0.0, 1.0, 0.0])
    features[..., POSITIONS] += drift.expand(-1, 24, -1).flatten(-2)
    drifting = of.normalizer.normalize(features)

    def slide(x: Tensor) -> float:
        return float(joints(poses(of, x))[..., FEET, :2].diff(dim=2).norm(dim=-1)[standing].mean())

    steady = steered(drifting, body_shape, valid, [FloorContact(*always(1))])
    assert slide(steady) < 0.3 * slide(drifting)


def test_positions_velocities_and_rotations_stay_one_motion() -> None:
    """A consistent estimate comes back as `encode` of a body; an inconsistent one is as far apart as before."""
    x, body_shape, valid = someone(1)
    term = pelvis_path(x)
    wrist = replace(term, joints=(JOINT["left_wrist"],), targets=term.targets + torch.tensor([0.0, 0.0, 0.5]))
    features = motions(0.3).normalizer.denormalize(steered(x, body_shape, valid, [term, wrist]))[0]
    pose = decode(features, BODY, torch.zeros(1, 10))
    torch.testing.assert_close(features, encode(pose.joints(BODY), pose.body_pose), atol=2e-3, rtol=0)
    torch.testing.assert_close(features[..., POSITIONS], pose.joints(BODY).flatten(-2), atol=1e-4, rtol=0)
    noisy = x + 0.3 * torch.randn_like(x)
    before, after = (
        motions(0.3).normalizer.denormalize(each)[0] for each in (noisy, steered(noisy, body_shape, valid, [term]))
    )
    gaps = [
        (each[..., POSITIONS] - decode(each, BODY, torch.zeros(1, 10)).joints(BODY).flatten(-2)).norm()
        for each in (before, after)
    ]
    torch.testing.assert_close(gaps[0], gaps[1], rtol=1e-3, atol=0)
    moved = (after - before)[..., POSITIONS]
    torch.testing.assert_close((after - before)[:, 1:, VELOCITIES], moved[:, 1:] - moved[:, :-1], atol=1e-5, rtol=0)


def test_a_sample_depends_on_itself_alone() -> None:
    """Alone or padded beside others it is the same to the bit, or to rounding over another number of frames.

    Padding and unconstrained neighbours come back as they were.
    """
    x, body_shape, valid = someone(3, persons=2)
    valid[0, 1], valid[0, :, 20:] = False, False
    x[0][~valid[0]] = 1e4
    path, apart = pelvis_path(x, weight=1.0), ApartFromPeople(*always(3))
    path.weight[2], apart.weight[1:] = 0, 0
    together = steered(x, body_shape, valid, [path, apart])
    assert torch.equal(together[2], x[2])
    assert torch.equal(together[~valid], x[~valid])
    assert together.isfinite().all()
    first = x[:1, :1, :20]
    alone = steered(first, BodyShape.of(BODY, torch.zeros(1, 1, 10)), valid[:1, :1, :20], [pelvis_path(first)])
    found, expected = (joints(poses(motions(0.3), each)) for each in (together[:1, :1, :20], alone))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert (expected - joints(poses(motions(0.3), first))).abs().max() > 0.3
    beside = steered(
        x[:2, :, :20], BodyShape.of(BODY, torch.zeros(2, 2, 10)), valid[:2, :, :20], [pelvis_path(x[:2, :, :20])]
    )
    torch.testing.assert_close(beside[0, 0], alone[0, 0], atol=1e-5, rtol=0)


def test_terms_act_between_start_and_stop_also_in_inference_mode() -> None:
    with torch.inference_mode():
        x, body_shape, valid = someone(1)
        term = replace(pelvis_path(x), start=torch.tensor([0.2]), stop=torch.tensor([0.6]))
        changed = [not torch.equal(steered(x, body_shape, valid, [term], p), x) for p in (0.1, 0.2, 0.5, 0.6, 0.7)]
    assert changed == [False, True, True, True, False]
    with pytest.raises(InputError, match="2 weights"):
        steered(*someone(2), [term])


def test_keypoint_energy_is_the_pixels_error_at_its_depth() -> None:
    """They agree to first order; an unseen keypoint may be NaN, and behind the camera nothing blows up."""
    x, body_shape, valid = someone(1)
    points = joints(poses(motions(0.3), x))
    wanted = projected(points) + torch.tensor([1.0, 0.0])
    confidence = torch.zeros(wanted.shape[:-1])
    confidence[0, 0, 3, 5] = 1.0
    wanted[confidence == 0] = torch.nan
    term = Keypoints2D(*always(1), *camera(1), wanted, confidence)
    metres = (points[0, 0, 3, 5, 1].item() + 5) / 500
    assert term.energy(Figure(points, points, body_shape, valid)).item() == pytest.approx(
        0.5 * (metres / 0.01) ** 2, rel=0.02
    )
    behind = (points - torch.tensor([0.0, 5.0, 0.0])).requires_grad_()
    term.energy(Figure(behind, points, body_shape, valid)).sum().backward()
    assert behind.grad is not None
    assert behind.grad.isfinite().all()
    assert behind.grad[0, 0, 3, 5].norm() > 0


def test_a_damped_step_is_where_its_quadratic_is_least_row_by_row() -> None:
    """The rank is 4, so that conjugate gradients end before their iterations do; one row is stiff, one is flat."""
    random = torch.Generator().manual_seed(0)
    shape = (3, 2, 10, 5)  # batch, person, frame, part
    slope, *ways = torch.randn(5, *shape, generator=random, dtype=torch.float64)
    stiffness = torch.tensor([1.0, 1e4, 1e-4], dtype=torch.float64)[:, None, None, None]
    kernels = torch.randn(3, 2, 10, 10, generator=random, dtype=torch.float64)
    prior = Prior(kernels @ kernels.mT, torch.logspace(-2, 0, 5).double(), torch.ones(3, 2, 1, 5).double())

    def step(rows: int) -> tuple[Tensor, Tensor]:
        def curvature(along: Tensor) -> Tensor:
            hits = ((along * way[:rows]).sum(dim=(1, 2, 3), keepdim=True) * way[:rows] for way in ways)
            return stiffness[:rows] * sum(hits, torch.zeros_like(along))

        first = Prior(prior.kernels[:rows], prior.variances, prior.step_scale[:rows])
        pull = damped_step(slope[:rows], curvature, first, damping=50.0)
        return pull, slope[:rows] + curvature(first.smoothed(pull)) + 51 * pull

    pull, left = step(3)
    assert (left.flatten(1).norm(dim=1) < 1e-6 * slope.flatten(1).norm(dim=1)).all()
    torch.testing.assert_close(step(1)[0], pull[:1], rtol=1e-9, atol=1e-12)
