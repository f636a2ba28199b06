"""SMPL to 2D keypoints over time: all persons and frames of a sequence in one optimisation.

SMPLify's energy (Bogo et al. 2016; Pavlakos et al. 2019) with eq. 4.1 over time, in the metric room: camera, floor and
the empty room's depth are known, and the depth of the skin at key frames. `recon.fitting.terms` holds the energies.

World: Z up, metres. The start is smoothed first, so that frames that are plainly wrong begin between their neighbours.
Then people are put into place, then fitted roughly, and at last as exactly as what that left says of the keypoints'
noise: clean keypoints are met, those of a shaky detector are averaged over time.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.body import Body
from motion.errors import InputError
from recon.fitting import terms as terms
from recon.fitting.bodies import FREE, Bodies, Posed, balls, free_6d, pose_of, with_free_6d
from recon.observations import Observations
from recon.people import People
from recon.smoothing import smooth

SEEN = 0.5  # confidence from which a keypoint counts as not hidden
MANY = 17  # keypoints of a frame, from which more of them do not count for more
RATE = 0.03  # metres, and units of 6D and of betas, a step
ROUGH, FINEST = 0.06, 0.015  # metres: noise of keypoints at the person's distance, at first and at least
BOUND = 4.0  # standard deviations beyond which a keypoint is an outlier
DEPTH, SCENE, FLOOR, APART = 0.05, 0.05, 0.02, 0.03  # metres, standard deviations; of depth at least
SUNK = 0.1  # metres in the scene beyond which a keypoint rather belongs elsewhere
START, START_BOUND = 0.5, 0.5  # radians
CORNERS = 10  # frames from one corner of `_hats` to the next
ACCELERATION = 1.0  # s²/m
PRIOR, SHAPE = 0.4, 0.03


@dataclass(frozen=True)
class Stage:
    steps: int
    pose_rate: float
    """Of rotations and shape, against that of places."""
    depth_bound: float
    """Metres by which a measured depth may be wrong and still be believed."""


STAGES = (Stage(60, 0.3, 1.0), Stage(160, 1.0, 0.5), Stage(120, 0.5, 0.2))


@dataclass(frozen=True, eq=False)
class _Problem:
    """Observations as the energies need them."""

    observations: Observations
    bodies: Bodies
    start: Float[Tensor, "person frame free 3 3"]
    """Rotations of the start."""
    valid: Bool[Tensor, "person frame"]
    pixels: Float[Tensor, "person frame keypoint 2"]
    weight: Float[Tensor, "person frame keypoint"]
    background: Float[Tensor, "person frame keypoint"]


def fit(
    observations: Observations,
    start: People,
    body: Body,
    prior: Callable[[Float[Tensor, "pose 23 3 3"]], Float[Tensor, " pose"]],
) -> People:
    """The people of `start` (in the world) moved onto what was observed; frames that are not valid stay as they are.

    `prior` is the energy of body poses, lower where more plausible, as `recon.pose_prior` has it.
    """
    if start.valid.shape != observations.confidence.shape[:2]:
        raise InputError(
            f"the start has {tuple(start.valid.shape)} persons and frames and the observations have "
            f"{tuple(observations.confidence.shape[:2])}, expected the same"
        )
    if not start.valid.any():
        return start
    people = smooth(start, body, observations.fps)
    problem = _problem(observations, people, body)
    noise = torch.full((len(people.betas), 1, 1), ROUGH)
    with _one_thread():
        for stage in STAGES:
            if stage is STAGES[-1]:
                noise = _noise(problem, people)
            people = _minimise(problem, people, prior, stage, noise)
    return people


@contextmanager
def _one_thread() -> Iterator[None]:
    """Tensors are so small here that on a busy machine threads mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _problem(observations: Observations, start: People, body: Body) -> _Problem:
    confidence = observations.confidence * start.valid[..., None]
    return _Problem(
        observations,
        Bodies.of(start, body, observations.names),
        pose_of(start)[:, :, FREE],
        start.valid,
        torch.where(confidence[..., None] > 0, observations.keypoints, 0.0),
        confidence.square() * min(1.0, MANY / len(observations.names)),
        torch.where(confidence > SEEN, _background(observations), torch.inf),
    )


def _background(observations: Observations) -> Float[Tensor, "person frame keypoint"]:
    """Depth of the empty room behind every keypoint, infinite where unknown."""
    size = torch.tensor(observations.camera.image_size)
    height, width = observations.background.shape
    pixels = observations.keypoints.nan_to_num(-1.0).round()
    inside = ((pixels >= 0) & (pixels < size)).all(dim=-1)
    column, row = (pixels * torch.tensor([width, height]) / size).long().clamp_min(0).unbind(dim=-1)
    depth = observations.background[row.clamp_max(height - 1), column.clamp_max(width - 1)]
    return torch.where(inside & depth.isfinite(), depth, torch.inf)


def _minimise(
    problem: _Problem,
    people: People,
    prior: Callable[[Tensor], Tensor],
    stage: Stage,
    noise: Float[Tensor, "person 1 1"],
) -> People:
    """Adam, whose steps in one frame do not depend on how badly another fits; the rate falls with a cosine."""
    pose = pose_of(people)
    transl, free, betas = (values.clone().requires_grad_() for values in (people.transl, free_6d(people), people.betas))
    hats = _hats(transl.shape[1])
    drift = transl.new_zeros(len(betas), hats.shape[1], 3).requires_grad_()
    slow = RATE * stage.pose_rate
    groups = [{"params": [transl, drift], "lr": RATE}, {"params": [free, betas], "lr": slow}]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.98))
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda at: 0.51 + 0.49 * math.cos(math.pi * at / stage.steps))
    metres_per_pixel = _metres_per_pixel(problem, people)
    for _ in range(stage.steps):
        optimiser.zero_grad()
        posed = problem.bodies.posed(transl + hats @ drift, with_free_6d(pose, free), betas)
        torch.stack(_energies(problem, posed, prior, stage, noise, metres_per_pixel)).sum().backward()
        optimiser.step()
        rate.step()
    with torch.no_grad():
        fitted = with_free_6d(pose, free)
        transl = transl + hats @ drift
    valid = people.valid[..., None, None]
    return replace(
        people,
        transl=torch.where(valid[..., 0], transl, people.transl),
        global_orient=torch.where(valid, fitted[:, :, 0], people.global_orient),
        body_pose=torch.where(valid[..., None], fitted[:, :, 1:], people.body_pose),
        betas=betas.detach(),
    )


def _hats(frames: int) -> Float[Tensor, "frame hat"]:
    """Weights of a curve with a corner every `CORNERS` frames, by which whole stretches move at once."""
    corners = torch.arange(0, frames + CORNERS, CORNERS)
    return (1 - (torch.arange(frames)[:, None] - corners).abs() / CORNERS).clamp_min(0)


def _energies(
    problem: _Problem,
    posed: Posed,
    prior: Callable[[Tensor], Tensor],
    stage: Stage,
    noise: Float[Tensor, "person 1 1"],
    metres_per_pixel: Float[Tensor, "person frame 1"],
) -> list[Tensor]:
    observed, bodies, valid = problem.observations, problem.bodies, problem.valid
    in_camera = observed.camera.to_camera(posed.keypoints)
    depth, radius, weight = in_camera[..., 2], bodies.keypoint_radius, problem.weight
    return [
        terms.reprojection(in_camera, problem.pixels, weight, metres_per_pixel, observed.camera, noise, BOUND * noise),
        terms.skin_depth(depth, observed.depth, weight, radius, DEPTH, observed.depth_error, stage.depth_bound),
        terms.before_background(depth, problem.background, weight, radius, SCENE, SUNK),
        # Of bodies of one size: what is seen of a smaller one nearer by is the same, and shakes by fewer metres.
        ACCELERATION * terms.acceleration(posed.joints / bodies.sizes(posed.betas), valid, observed.fps),
        terms.floor_contact(posed.joints, posed.soles, bodies.skin, valid, observed.fps, FLOOR),
        terms.apart(balls(posed.joints), bodies.ball_radii, valid, APART),
        terms.near_start(posed.pose[:, :, FREE], problem.start, valid, START, START_BOUND),
        PRIOR * prior(posed.pose[:, :, 1:][valid]).sum(),
        SHAPE * (valid.sum(dim=1) * posed.betas.square().sum(dim=1)).sum(),
    ]


def _metres_per_pixel(problem: _Problem, people: People) -> Float[Tensor, "person frame 1"]:
    """At the pelvis."""
    camera = problem.observations.camera
    pelvis = camera.to_camera(people.joints(problem.bodies.body)[:, :, :1])
    return pelvis[..., 2].clamp_min(0.5) / camera.intrinsics[0, 0]


def _noise(problem: _Problem, people: People) -> Float[Tensor, "person 1 1"]:
    """Standard deviation (m) along each axis of what a rough fit leaves of each person's keypoints, by the median."""
    bodies, camera = problem.bodies, problem.observations.camera
    points = bodies.posed(people.transl, pose_of(people), people.betas).keypoints
    away = (camera.project(points) - problem.pixels).norm(dim=-1) * _metres_per_pixel(problem, people)
    away = torch.where(problem.weight > 0, away, torch.nan).flatten(1)
    return (away.nanmedian(dim=1).values.nan_to_num(ROUGH) / 1.18).clamp(FINEST, 2 * ROUGH)[:, None, None]
