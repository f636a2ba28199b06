"""Fit of SMPL to 2D keypoints over time: all persons and frames of a sequence in one optimisation.

SMPLify's energy (Bogo et al. 2016; Pavlakos et al. 2019) with eq. 4.1 over time, in the metric room: the empty room's
depth is known, and that of the skin at key frames. `recon.fitting.terms` holds the energies. As far as the room is
uncertain, its floor's tilt and its size are fitted with the persons (`recon.fitting.rooms`).

World: Z up, metres. The start is smoothed first, so that frames that are plainly wrong begin between their neighbours.
Then persons are put into place, then fitted roughly, and at last as exactly as the remaining error says the keypoints
are: clean keypoints are met, those of a shaky detector are averaged over time.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int, Int8
from torch import Tensor

from motion.body import Body
from motion.errors import InputError
from motion.optimization import cosine_decay
from motion.skeleton import ACTIONS
from recon.camera import Camera, project
from recon.fitting import terms
from recon.fitting.bodies import FittedBodies, Posed, balls, free_6d, with_free_6d
from recon.fitting.devices import on_device
from recon.fitting.rooms import MovingRooms, by_frame, moved
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
TOGETHER = 1600  # frames, of all persons, that are fitted at once: more do not fit into a processor's cache
TOGETHER_ON_GPU = 20_000  # a step costs a GPU as much for few: some hundred kernels to start
CORNER_FRAMES = 10  # from one corner of `_curve` to the next
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
    """Observations as the energies need them, of one or many sequences; shorter ones have frames that are not valid."""

    bodies: FittedBodies
    start: Float[Tensor, "person frame 24 3 3"]
    """Rotations of the start."""
    valid: Bool[Tensor, "person frame"]
    fps: Float[Tensor, "person 1 1"]
    pixels: Float[Tensor, "person frame keypoint 2"]
    weight: Float[Tensor, "person frame keypoint"]
    depth: Float[Tensor, "person frame keypoint"]
    """Depth of the skin at each keypoint in metres, NaN where unknown."""
    depth_error: Float[Tensor, "person 1 1"]
    """Standard deviation of that depth, relative to the depth."""
    background: Float[Tensor, "person frame keypoint"]
    upright: Bool[Tensor, "person frame"]
    """True where a person is annotated to stand or walk."""
    lying: Bool[Tensor, "person frame"]
    """True where a person is annotated to lie."""
    on_floor: Bool[Tensor, "person frame"]
    """True where a person is annotated to touch the floor."""
    poses: Int[Tensor, " pose"]
    """Places of the valid frames, all persons' in a row."""
    frames: Int[Tensor, "room 1"]
    """Number of frames of each room in which a person is valid."""


def fit(
    observations: Observations,
    start: People,
    body: Body,
    prior: Callable[[Float[Tensor, "pose 23 3 3"]], Float[Tensor, " pose"]],
) -> Fit:
    """Move the persons of `start` (in the world) onto the observations, as `fit_together` does for many sequences."""
    return fit_together([observations], [start], body, prior)[0]


def fit_together(
    observations: Sequence[Observations],
    starts: Sequence[People],
    body: Body,
    prior: Callable[[Float[Tensor, "pose 23 3 3"]], Float[Tensor, " pose"]],
    device: str = "cpu",
) -> list[Fit]:
    """Move the persons of each start (in the world) onto their observations; frames that are not valid stay.

    Cameras move over their floors by as much as their rooms are uncertain: not at all where the errors are 0. Sequences
    do not know of each other: together they only take less time. The optimisation runs on a torch device; all that is
    given and returned lies on the CPU.

    `prior` is the energy of body poses, lower for more plausible ones, as in `recon.pose_prior`. Raises InputError when
    a start and its observations differ in persons or frames.
    """
    for observed, start in zip(observations, starts, strict=True):
        if start.valid.shape != observed.confidence.shape[:2]:
            raise InputError(
                f"the start has {tuple(start.valid.shape)} persons and frames and the observations have "
                f"{tuple(observed.confidence.shape[:2])}, expected the same"
            )
    fits = [Fit(start, observed.camera, 0.0) for observed, start in zip(observations, starts, strict=True)]
    for some in _batches(observations, starts, together_on(device)):
        found = _fit_alike([observations[k] for k in some], [starts[k] for k in some], body, prior, device)
        for k, fitted in zip(some, found, strict=True):
            fits[k] = fitted
    return fits


def together_on(device: str) -> int:
    """Return how many frames, of all persons, are fitted at once on a torch device."""
    return TOGETHER if device == "cpu" else TOGETHER_ON_GPU


def _batches(observations: Sequence[Observations], starts: Sequence[People], most: int) -> list[list[int]]:
    """Put sequences with valid persons together that have the same keypoints and like lengths, up to `most` frames."""
    batches: dict[tuple[str, ...], list[list[int]]] = {}
    for k in sorted(range(len(starts)), key=lambda k: starts[k].valid.shape[1]):
        if starts[k].valid.any():
            alike = batches.setdefault(observations[k].names, [[]])
            if starts[k].valid.shape[1] * sum(len(starts[i].valid) for i in (*alike[-1], k)) > most:
                alike.append([])
            alike[-1].append(k)
    return [batch for alike in batches.values() for batch in alike if batch]


def _fit_alike(
    observations: Sequence[Observations],
    starts: Sequence[People],
    body: Body,
    prior: Callable[[Tensor], Tensor],
    device: str,
) -> list[Fit]:
    """Fit sequences whose keypoints have the same names, each with a valid person."""
    begun = [
        smooth(of_usual_shape(start, observed.camera, body), body, observed.fps)
        for observed, start in zip(observations, starts, strict=True)
    ]
    people = _people_together(begun)
    rooms = MovingRooms(
        tuple(observed.camera for observed in observations),
        torch.tensor([observed.room_error for observed in observations], dtype=torch.float64),
        torch.zeros(len(begun), 3, dtype=torch.float64),
        torch.arange(len(begun)).repeat_interleave(torch.tensor([len(each.betas) for each in begun])),
    )
    problem = _problem(observations, people, rooms.room, body)
    noise = torch.full((len(people.betas), 1, 1), ROUGH_M)
    problem, people, rooms, prior, noise = on_device((problem, people, rooms, prior, noise), device)
    with _quick_arithmetic():
        for phase in PHASES:
            if phase is PHASES[-1]:
                noise = _noise(problem, people, rooms)
            people, rooms = _minimise(problem, people, rooms, prior, phase, noise)
    people, rooms = on_device((people, rooms), "cpu")
    fits = []
    for k, (before, after) in enumerate(zip(rooms.cameras, rooms.fitted_cameras(), strict=True)):
        own = people[rooms.room == k, : begun[k].valid.shape[1]]
        fits.append(Fit(moved(own, before, after, body), after, float(rooms.change[k].abs().max())))
    return fits


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
def _quick_arithmetic() -> Iterator[None]:
    """Run torch on one thread, and take denormal numbers for 0.

    Tensors are so small here that on a busy machine threads mostly wait for each other. A prior's unlikely components
    have denormal shares, which a processor computes slowly.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def _together(tensors: Sequence[Tensor]) -> Tensor:
    """Stack the persons of sequences, the shorter ones with their last frame repeated."""
    longest = max(tensor.shape[1] for tensor in tensors)
    return torch.cat([tensor[:, torch.arange(longest).clamp_max(tensor.shape[1] - 1)] for tensor in tensors])


def _people_together(people: Sequence[People]) -> People:
    """Stack the persons of sequences; repeated frames are not valid."""
    lengths = torch.cat([torch.full((len(each.betas), 1), each.valid.shape[1]) for each in people])
    valid = _together([each.valid for each in people])
    return People(
        _together([each.transl for each in people]),
        _together([each.global_orient for each in people]),
        _together([each.body_pose for each in people]),
        torch.cat([each.betas for each in people]),
        valid & (torch.arange(valid.shape[1]) < lengths),
    )


def _problem(observations: Sequence[Observations], start: People, room: Int[Tensor, " person"], body: Body) -> _Problem:
    def of_all(of: Callable[[Observations], Tensor]) -> Tensor:
        return _together([of(observed) for observed in observations])

    def of_each(name: str) -> Float[Tensor, "person 1 1"]:
        return torch.tensor([float(getattr(observed, name)) for observed in observations])[room, None, None]

    names, confidence = observations[0].names, of_all(lambda observed: observed.confidence) * start.valid[..., None]
    action, covered = of_all(_action), of_all(_covered)
    there = [start.valid[room == k].any(dim=0).sum() for k in range(len(observations))]
    return _Problem(
        bodies=FittedBodies.of(start, body, names),
        start=start.rotations,
        valid=start.valid,
        fps=of_each("fps"),
        pixels=torch.where(confidence[..., None] > 0, of_all(lambda observed: observed.keypoints), 0.0),
        weight=confidence.square() * min(1.0, MANY_KEYPOINTS / len(names)),
        depth=of_all(lambda observed: observed.depth),
        depth_error=of_each("depth_error"),
        background=torch.where((confidence > SEEN_CONFIDENCE) & ~covered, of_all(_background), torch.inf),
        upright=does(UPRIGHT, action, start.valid),
        lying=does(LYING, action, start.valid),
        on_floor=does(ON_FLOOR, action, start.valid),
        poses=start.valid.flatten().nonzero()[:, 0],
        frames=torch.stack(there)[:, None],
    )


def _action(observed: Observations) -> Int8[Tensor, "person frame"]:
    """Return the annotated actions, unknown ones where there are none."""
    none = torch.full(observed.confidence.shape[:2], ACTIONS.index("unknown"), dtype=torch.int8)
    return none if observed.action is None else observed.action


def _covered(observed: Observations) -> Bool[Tensor, "person frame keypoint"]:
    """Return which keypoints are known to be covered, none where that is not known."""
    return torch.zeros_like(observed.confidence).bool() if observed.covered is None else observed.covered


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
    rooms: MovingRooms,
    prior: Callable[[Tensor], Tensor],
    phase: Phase,
    noise: Float[Tensor, "person 1 1"],
) -> tuple[People, MovingRooms]:
    """Minimise by Adam, so that steps in one frame do not depend on how badly another fits; cosine learning rate."""
    transl, free, betas = (values.clone().requires_grad_() for values in (people.transl, free_6d(people), people.betas))
    persons, frames, _ = transl.shape
    drift = transl.new_zeros(persons, math.ceil(frames / CORNER_FRAMES) + 1, 3).requires_grad_()
    change, eye = rooms.change.clone().requires_grad_(), rooms.center[:, None]
    slow, rotations = RATE * phase.pose_rate, people.rotations
    groups = [
        {"params": [transl, drift], "lr": RATE},
        {"params": [free, betas], "lr": slow},
        {"params": [change], "lr": ROOM_RATE},
    ]
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.98))
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda at: cosine_decay(at / phase.steps, floor=0.02))
    metres_per_pixel = _metres_per_pixel(problem, people, rooms)

    def current(moving: MovingRooms) -> tuple[Tensor, Tensor, Tensor]:
        grown = by_frame((moving.scale / rooms.scale)[:, None], frames)  # all move with the size of the room
        return eye + (transl + _curve(drift, frames) - eye) * grown, with_free_6d(rotations, free), betas

    for _ in range(phase.steps):
        optimiser.zero_grad()
        moving = replace(rooms, change=change)
        posed = problem.bodies.posed(*current(moving))
        torch.stack(_energies(problem, posed, moving, prior, phase, noise, metres_per_pixel)).sum().backward()
        optimiser.step()
        rate.step()
    with torch.no_grad():
        moving = replace(rooms, change=change.detach())
        place, turned, _ = current(moving)
        found = replace(people, transl=place, global_orient=turned[:, :, 0], body_pose=turned[:, :, 1:])
        return replace(found.where(people.valid, people), betas=betas.detach()), moving


def _curve(corners: Float[Tensor, "person corner 3"], frames: int) -> Float[Tensor, "person frame 3"]:
    """Draw a curve with a corner every `CORNER_FRAMES` frames; it moves whole stretches at once."""
    along = torch.arange(CORNER_FRAMES, device=corners.device)[:, None] / CORNER_FRAMES
    stretches = torch.lerp(corners[:, :-1, None], corners[:, 1:, None], along)
    return stretches.flatten(1, 2)[:, :frames]


def _energies(
    problem: _Problem,
    posed: Posed,
    rooms: MovingRooms,
    prior: Callable[[Tensor], Tensor],
    phase: Phase,
    noise: Float[Tensor, "person 1 1"],
    metres_per_pixel: Float[Tensor, "person frame 1"],
) -> list[Tensor]:
    bodies, valid, weight, bound = problem.bodies, problem.valid, problem.weight, BOUND_SIGMAS * noise
    frames = valid.shape[1]
    in_camera, scale = rooms.seen(posed.keypoints), by_frame(rooms.scale[:, None], frames)
    sizes = by_frame(bodies.sizes(posed.betas.double()), frames)[..., None]
    depth, radius, error = in_camera[..., 2] / scale, bodies.keypoint_radius / scale, problem.depth_error
    held = (SHAPE_WEIGHT * valid.sum(dim=1)).clamp_min(LEAST_SHAPE_WEIGHT)
    heights, sole_heights = rooms.height(posed.joints), rooms.height(posed.soles)
    _, poses = posed.rotations.flatten(0, 1).index_select(0, problem.poses).tensor_split([1], dim=1)
    return [
        ((SHAPE_WEIGHT * problem.frames).clamp_min(0.5) * rooms.change.square()).sum(),
        terms.lean(posed.joints, by_frame(rooms.normal, frames), problem.upright, problem.lying),
        terms.lowest_point(heights - bodies.skin, sole_heights, problem.on_floor),
        terms.reprojection(in_camera, problem.pixels, weight, metres_per_pixel, rooms.intrinsics, noise, bound),
        terms.skin_depth(depth, problem.depth, weight, radius, DEPTH_M, error, phase.depth_bound),
        terms.before_background(depth, problem.background, weight, radius, SCENE_M, error, SUNK_M),
        # Of bodies of one size: what is seen of a smaller one nearer by is the same, and shakes by fewer metres.
        ACCELERATION_WEIGHT * terms.acceleration(posed.joints / sizes, valid, problem.fps),
        terms.floor_contact(heights, sole_heights, posed.soles, bodies.skin, valid, problem.fps, FLOOR_M),
        terms.apart(balls(posed.joints), bodies.ball_radii, valid, rooms.room, APART_M),
        terms.near_start(posed.rotations, problem.start, valid, START_RAD, START_BOUND_RAD),
        PRIOR_WEIGHT * prior(poses).sum(),
        (held * posed.betas.square().sum(dim=1)).sum(),
    ]


def _metres_per_pixel(problem: _Problem, people: People, rooms: MovingRooms) -> Float[Tensor, "person frame 1"]:
    """Compute the length that one pixel spans at the pelvis."""
    pelvis = rooms.seen(people.joints(problem.bodies.body)[:, :, :1])
    return pelvis[..., 2].clamp_min(0.5) / rooms.intrinsics[..., 0, 0][..., None]


def _noise(problem: _Problem, people: People, rooms: MovingRooms) -> Float[Tensor, "person 1 1"]:
    """Estimate the keypoints' noise of each person (m, along each axis) from what a rough fit leaves, by the median."""
    seen = rooms.seen(problem.bodies.posed(people.transl, people.rotations, people.betas).keypoints)
    away = (project(seen, rooms.intrinsics) - problem.pixels).norm(dim=-1) * _metres_per_pixel(problem, people, rooms)
    away = torch.where(problem.weight > 0, away, torch.nan).flatten(1)
    return (away.nanmedian(dim=1).values.nan_to_num(ROUGH_M) / 1.18).clamp(FINEST_M, 2 * ROUGH_M)[:, None, None]
