"""Fit of SMPL to 2D keypoints over time: all persons and frames of a sequence in one optimisation.

SMPLify's energy (Bogo et al. 2016; Pavlakos et al. 2019) with eq. 4.1 over time, in the metric room: the empty room's
depth is known, and that of the skin at key frames. `recon.fitting.terms` holds the energies. As far as the room is
uncertain, its floor's tilt and its size are fitted with the persons (`recon.fitting.rooms`).

World: Z up, metres. The start is smoothed first, so that frames that are plainly wrong begin between their neighbours.
Then persons are put into place, then fitted roughly, and at last as exactly as the remaining error says the keypoints
are: clean keypoints are met, those of a shaky detector are averaged over time.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int8
from torch import Tensor

from motion.body import Body
from motion.errors import InputError
from motion.optimization import cosine_decay
from motion.skeleton import ACTIONS
from recon.camera import Camera
from recon.fitting import terms as terms
from recon.fitting.bodies import FREE, FittedBodies, Posed, balls, free_6d, with_free_6d
from recon.fitting.rooms import MovingRoom, moved
from recon.observations import Observations
from recon.people import People
from recon.smoothing import smooth

SEEN_CONFIDENCE = 0.5  # from which a keypoint counts as not hidden
MANY_KEYPOINTS = 17  # in a frame; more than these do not count for more
RATE = 0.03  # step size in metres, units of 6D, and units of betas
ROOM_RATE = 0.11  # step size of what is fitted of the room, in its standard deviations
ROUGH_M, FINEST_M = 0.06, 0.015  # noise of keypoints at the person's distance, at first and at least
BOUND_SIGMAS = 4.0  # beyond which a keypoint is an outlier
DEPTH_M, SCENE_M, FLOOR_M, APART_M = 0.05, 0.05, 0.02, 0.03  # standard deviations; of depth at least
SUNK_M = 0.1  # in the scene, beyond which a keypoint rather belongs elsewhere
START_RAD, START_BOUND_RAD = 0.5, 0.5  # standard deviation, and bound of the outliers
MOST_SIGMAS = 2.0  # of the shape of a start
CORNER_FRAMES = 10  # from one corner of `_hats` to the next
ACCELERATION_WEIGHT = 1.0  # s²/m
PRIOR_WEIGHT, SHAPE_WEIGHT = 0.4, 0.03  # for each frame; that of the room is weighed as that of a shape
LEAST_SHAPE_WEIGHT = 1.0  # of a few frames, which err alike and so count as two, where one would have half a square
UPRIGHT = ("standing_on_floor", "walking_with_walking_aid")
LYING = ("laying_in_bed", "laying_on_floor")
ON_FLOOR = (*UPRIGHT, "laying_on_floor", "sitting_on_floor", "kneeling", "crawling")


@dataclass(frozen=True)
class Phase:
    """Phase of the optimisation: its number of steps, rates and tolerance."""

    steps: int
    pose_rate: float
    """Step size of rotations and shape, relative to that of positions."""
    depth_bound: float
    """Error in metres up to which a measured depth is still believed."""


PHASES = (Phase(50, 0.3, 1.0), Phase(125, 1.0, 0.5), Phase(100, 0.5, 0.1))


@dataclass(frozen=True, eq=False)
class Fit:
    """Fitted persons, and the camera over the floor that fits them."""

    people: People
    """Persons in the world of `camera`."""
    camera: Camera
    """Camera of the observations; its world is that of the fitted floor."""
    room_moved: float
    """Greatest change of the floor's tilt and roll and of the room's size, in their standard deviations."""


@dataclass(frozen=True, eq=False)
class _Problem:
    """Observations as the energies need them."""

    observations: Observations
    bodies: FittedBodies
    start: Float[Tensor, "person frame free 3 3"]
    """Rotations of the start."""
    valid: Bool[Tensor, "person frame"]
    pixels: Float[Tensor, "person frame keypoint 2"]
    weight: Float[Tensor, "person frame keypoint"]
    background: Float[Tensor, "person frame keypoint"]
    upright: Bool[Tensor, "person frame"]
    """True where a person is annotated to stand or walk."""
    lying: Bool[Tensor, "person frame"]
    """True where a person is annotated to lie."""
    on_floor: Bool[Tensor, "person frame"]
    """True where a person is annotated to touch the floor."""


def fit(
    observations: Observations,
    start: People,
    body: Body,
    prior: Callable[[Float[Tensor, "pose 23 3 3"]], Float[Tensor, " pose"]],
) -> Fit:
    """Move the persons of `start` (in the world) onto the observations; frames that are not valid stay as they are.

    The camera moves over the floor by as much as the room is uncertain: not at all where its errors are 0.

    `prior` is the energy of body poses, lower for more plausible ones, as in `recon.pose_prior`. Raises InputError when
    start and observations differ in persons or frames.
    """
    if start.valid.shape != observations.confidence.shape[:2]:
        raise InputError(
            f"the start has {tuple(start.valid.shape)} persons and frames and the observations have "
            f"{tuple(observations.confidence.shape[:2])}, expected the same"
        )
    if not start.valid.any():
        return Fit(start, observations.camera, 0.0)
    people = smooth(of_usual_shape(start, observations.camera, body), body, observations.fps)
    problem = _problem(observations, people, body)
    noise = torch.full((len(people.betas), 1, 1), ROUGH_M)
    spread = torch.tensor(observations.room_error)
    room = MovingRoom(observations.camera, spread, torch.zeros(3))
    with _one_thread():
        for phase in PHASES:
            if phase is PHASES[-1]:
                noise = _noise(problem, people)
            people, room = _minimise(problem, people, room, prior, phase, noise)
    camera = room.fitted_camera()
    return Fit(moved(people, observations.camera, camera, body), camera, float(room.change.abs().max()))


def of_usual_shape(people: People, camera: Camera, body: Body) -> People:
    """Return persons whose shapes are usual, and who look as large: those of a wrong room are far too large or small.

    They move along the ray to the camera (world frame) by as much as their size changes.
    """
    usual = people.betas.clamp(-MOST_SIGMAS, MOST_SIGMAS)
    factor = (body.stature(usual) / body.stature(people.betas))[:, None, None]
    pelvis = people.joints(body)[:, :, 0]
    moved = camera.center + factor * (pelvis - camera.center)
    changed = replace(people, betas=usual)
    transl = people.transl + moved - changed.joints(body)[:, :, 0]
    return replace(changed, transl=torch.where(factor == 1, people.transl, transl))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run torch on one thread: tensors are so small here that on a busy machine threads mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _problem(observations: Observations, start: People, body: Body) -> _Problem:
    confidence = observations.confidence * start.valid[..., None]
    covered = torch.zeros_like(confidence).bool() if observations.covered is None else observations.covered
    return _Problem(
        observations,
        FittedBodies.of(start, body, observations.names),
        start.rotations[:, :, FREE],
        start.valid,
        torch.where(confidence[..., None] > 0, observations.keypoints, 0.0),
        confidence.square() * min(1.0, MANY_KEYPOINTS / len(observations.names)),
        torch.where((confidence > SEEN_CONFIDENCE) & ~covered, _background(observations), torch.inf),
        *(does(actions, observations.action, start.valid) for actions in (UPRIGHT, LYING, ON_FLOOR)),
    )


def does(
    actions: Sequence[str], annotated: Int8[Tensor, "person frame"] | None, valid: Bool[Tensor, "person frame"]
) -> Bool[Tensor, "person frame"]:
    """Mark where a person is annotated to do one of some actions."""
    if annotated is None:
        return torch.zeros_like(valid)
    return valid & torch.isin(annotated, torch.tensor([ACTIONS.index(action) for action in actions]))


def _background(observations: Observations) -> Float[Tensor, "person frame keypoint"]:
    """Look up the depth of the empty room behind every keypoint, infinite where unknown."""
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
    room: MovingRoom,
    prior: Callable[[Tensor], Tensor],
    phase: Phase,
    noise: Float[Tensor, "person 1 1"],
) -> tuple[People, MovingRoom]:
    """Minimise by Adam, so that steps in one frame do not depend on how badly another fits; cosine learning rate."""
    transl, free, betas = (values.clone().requires_grad_() for values in (people.transl, free_6d(people), people.betas))
    hats = _hats(transl.shape[1])
    drift = transl.new_zeros(len(betas), hats.shape[1], 3).requires_grad_()
    change, eye = room.change.clone().requires_grad_(), room.camera.center
    slow = RATE * phase.pose_rate
    groups = [
        {"params": [transl, drift], "lr": RATE},
        {"params": [free, betas], "lr": slow},
        {"params": [change], "lr": ROOM_RATE},
    ]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.98))
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda at: cosine_decay(at / phase.steps, floor=0.02))
    metres_per_pixel = _metres_per_pixel(problem, people)

    def current(moving: MovingRoom) -> People:
        away = (transl + hats @ drift - eye) * moving.scale / room.scale  # all move with the size of the room
        return replace(with_free_6d(people, free), transl=eye + away, betas=betas)

    for _ in range(phase.steps):
        optimiser.zero_grad()
        moving = replace(room, change=change)
        posed = problem.bodies.posed(current(moving))
        torch.stack(_energies(problem, posed, moving, prior, phase, noise, metres_per_pixel)).sum().backward()
        optimiser.step()
        rate.step()
    with torch.no_grad():
        moving = replace(room, change=change.detach())
        return replace(current(moving).where(people.valid, people), betas=betas.detach()), moving


def _hats(frames: int) -> Float[Tensor, "frame hat"]:
    """Compute the weights of a curve with a corner every `CORNER_FRAMES` frames; it moves whole stretches at once."""
    corners = torch.arange(0, frames + CORNER_FRAMES, CORNER_FRAMES)
    return (1 - (torch.arange(frames)[:, None] - corners).abs() / CORNER_FRAMES).clamp_min(0)


def _energies(
    problem: _Problem,
    posed: Posed,
    room: MovingRoom,
    prior: Callable[[Tensor], Tensor],
    phase: Phase,
    noise: Float[Tensor, "person 1 1"],
    metres_per_pixel: Float[Tensor, "person frame 1"],
) -> list[Tensor]:
    observed, bodies, valid = problem.observations, problem.bodies, problem.valid
    in_camera = observed.camera.to_camera(posed.keypoints)
    weight, bound = problem.weight, BOUND_SIGMAS * noise
    depth, radius, error = in_camera[..., 2] / room.scale, bodies.keypoint_radius / room.scale, observed.depth_error
    held = (SHAPE_WEIGHT * valid.sum(dim=1)).clamp_min(LEAST_SHAPE_WEIGHT)
    heights, sole_heights = room.height(posed.joints), room.height(posed.soles)
    return [
        (SHAPE_WEIGHT * valid.any(dim=0).sum()).clamp_min(0.5) * room.change.square().sum(),
        terms.lean(posed.joints, room.normal, problem.upright, problem.lying),
        terms.lowest_point(heights - bodies.skin, sole_heights, problem.on_floor),
        terms.reprojection(in_camera, problem.pixels, weight, metres_per_pixel, observed.camera, noise, bound),
        terms.skin_depth(depth, observed.depth, weight, radius, DEPTH_M, error, phase.depth_bound),
        terms.before_background(depth, problem.background, weight, radius, SCENE_M, error, SUNK_M),
        # Of bodies of one size: what is seen of a smaller one nearer by is the same, and shakes by fewer metres.
        ACCELERATION_WEIGHT
        * terms.acceleration(posed.joints / bodies.sizes(posed.parameters.betas), valid, observed.fps),
        terms.floor_contact(heights, sole_heights, posed.soles, bodies.skin, valid, observed.fps, FLOOR_M),
        terms.apart(balls(posed.joints), bodies.ball_radii, valid, APART_M),
        terms.near_start(posed.parameters.rotations[:, :, FREE], problem.start, valid, START_RAD, START_BOUND_RAD),
        PRIOR_WEIGHT * prior(posed.parameters.body_pose[valid]).sum(),
        (held * posed.parameters.betas.square().sum(dim=1)).sum(),
    ]


def _metres_per_pixel(problem: _Problem, people: People) -> Float[Tensor, "person frame 1"]:
    """Compute the length that one pixel spans at the pelvis."""
    camera = problem.observations.camera
    pelvis = camera.to_camera(people.joints(problem.bodies.body)[:, :, :1])
    return pelvis[..., 2].clamp_min(0.5) / camera.intrinsics[0, 0]


def _noise(problem: _Problem, people: People) -> Float[Tensor, "person 1 1"]:
    """Estimate the keypoints' noise of each person (m, along each axis) from what a rough fit leaves, by the median."""
    bodies, camera = problem.bodies, problem.observations.camera
    points = bodies.posed(people).keypoints
    away = (camera.project(points) - problem.pixels).norm(dim=-1) * _metres_per_pixel(problem, people)
    away = torch.where(problem.weight > 0, away, torch.nan).flatten(1)
    return (away.nanmedian(dim=1).values.nan_to_num(ROUGH_M) / 1.18).clamp(FINEST_M, 2 * ROUGH_M)[:, None, None]
