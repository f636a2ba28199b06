"""Clean-up after generation: floor contact, persons out of each other and of furniture, feet that do not slide.

Frame: Z up, floor at z = 0, metres. All is closed form: filters over time and two-bone inverse kinematics, no
optimisation. A stage takes a motion to a motion whose joints are the forward kinematics of its parameters, so that
bones keep the length of the one shape that a person has. Only `valid` frames change.

Order: heights first, since a body's contacts depend on them; then bodies move sideways, which leaves heights alone;
feet last, because both drag standing feet along. Legs then follow their feet (foot skate clean-up after Kovar et al.
2002), which keep their heights and directions, so that nothing sinks again.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import binary_opening, binary_propagation, gaussian_filter1d, grey_opening, maximum_filter1d
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import normalize, pad

from motion.body import Body
from motion.body.capsules import Capsules, fit_capsules, heights_over_sole
from motion.body.penetration import FLOOR_LABEL, TOUCH_M, person_penetration, scene_penetration
from motion.clips.ground import LONGEST_LEAP_S, SUPPORTED, lowest_skin
from motion.clips.transforms import check_body, smoothstep
from motion.rotations import shortest_rotation
from motion.sequence import MotionSequence, Scene
from motion.skeleton import FEET, JOINT, PARENTS
from motion.smpl_parameters import SmplParameters

SMOOTHING_S = 0.1  # standard deviation of the filters on whole bodies' shifts
AFLOAT_M = 0.03  # lower skin than this is on the floor or nearly so
ON_FURNITURE_M = 0.25  # a person who stays so high for longer than a leap lies on something
RESTING_S = 1.0  # a shorter touch of furniture carries no person
TOUCHING_M = 0.01  # that capsules may share: persons in contact are not pushed apart
SIDEWAYS_SHARE = 0.3  # of the mean way out of furniture; a body with less of it level lies on it
PUSH_ROUNDS = 12  # three persons in one place need nearly as many

# Limits where contact begins and where it ends; heights are above that of the standing foot.
CONTACT_CLEARANCE_M = (0.025, 0.035)
CONTACT_SPEED_M_PER_S = (0.6, 1.2)
BLEND_S = 0.2  # in which a foot leaves its own path and comes back to it
STRAIGHT_SHARE = 0.995  # of the leg's length; legs stretch no further to reach a place
STRAIGHT_SINE = 0.02  # of the bend; below, the thigh's back is where the knee bends to
MAX_SINK_M = 0.03  # of the pelvis, for feet out of reach
HIPS, KNEES, ANKLES = ([JOINT[f"left_{name}"], JOINT[f"right_{name}"]] for name in ("hip", "knee", "ankle"))
FOOT_JOINTS = np.reshape(FEET, (2, 2))  # ankle and toe base of the left foot, then of the right one


@dataclass(frozen=True)
class CleanupConfig:
    """Stages of clean-up; all preserve bone lengths."""

    floor: bool = True
    """Whether the lowest skin is brought to the floor."""
    penetration: bool = True
    """Whether persons are pushed out of each other and of furniture."""
    foot_lock: bool = True
    """Whether feet in contact with the floor stay in one place."""


ALL_STAGES = CleanupConfig()


def clean_up(
    motion: MotionSequence, body: Body, scene: Scene | None = None, config: CleanupConfig = ALL_STAGES
) -> MotionSequence:
    """Run the stages that are on; `provenance["cleanup"]` names them. With all off, return the record itself.

    `scene` None means a floor without furniture. Raises InputError if the joints are another body's.
    """
    check_body(motion, body)
    stages = [name for name in STAGES if getattr(config, name)]
    if not stages:
        return motion
    for name in stages:
        motion = STAGES[name](motion, body, scene)
    return replace(motion, provenance=motion.provenance | {"cleanup": " ".join(stages)})


def stand_on_floor(motion: MotionSequence, body: Body, scene: Scene | None = None) -> MotionSequence:
    """Bring each person's lowest skin to the floor by smooth vertical shifts that leave leaps and furniture alone.

    The ground is the lowest skin's height after a morphological opening, which cuts off peaks shorter than a leap.
    """
    lowest = np.stack([_fill(each, seen) for each, seen in zip(lowest_skin(motion, body), motion.valid, strict=True)])
    ground = grey_opening(lowest, size=(1, 1 + math.ceil(LONGEST_LEAP_S * motion.fps)))
    carried = _hysteresis(ground > ON_FURNITURE_M, ground > AFLOAT_M) | _rests(motion, body, scene)
    ground = np.where(carried, np.minimum(ground, 0), ground)
    offset = np.zeros_like(motion.transl)
    offset[..., 2] = -gaussian_filter1d(ground, SMOOTHING_S * motion.fps, mode="nearest")
    return _shifted_valid(motion, body, offset)


def push_apart(motion: MotionSequence, body: Body, scene: Scene | None = None) -> MotionSequence:
    """Move persons sideways out of each other, either of two by half, and out of furniture.

    Bodies are rigid here and go by the depth of the deepest capsules along the line between the pelvises; a few rounds
    make up for what that misses.
    """
    valid, moved = motion.valid, np.zeros_like(motion.transl)
    bodies = fit_capsules(motion.joints, motion.betas, body)
    for _ in range(PUSH_ROUNDS):
        now = _shifted(bodies, moved)
        push = _from_people(now, motion.joints[:, :, 0] + moved, valid)
        if scene is not None:
            push += _from_scene(now, valid, scene)
        if not push.any():
            break
        moved += np.stack([_envelope(each, motion.fps) for each in push])
    return _shifted_valid(motion, body, moved)


def lock_feet(motion: MotionSequence, body: Body, scene: Scene | None = None) -> MotionSequence:
    """Keep feet in contact with the floor in one place; legs follow, and the pelvis comes down where they are short.

    Where that is not enough, the foot gives way.
    """
    del scene  # feet meet the floor alone
    shifts = torch.from_numpy(foot_shifts(motion, body))
    parameters = SmplParameters(*(tensor.double() for tensor in vars(motion.parameters).values()))
    joints, world = parameters.kinematics(body)
    hips, knees, ankles = (joints[:, :, legs] for legs in (HIPS, KNEES, ANKLES))
    targets = ankles + pad(shifts, (0, 1))
    longest = torch.maximum(
        STRAIGHT_SHARE * ((knees - hips).norm(dim=-1) + (ankles - knees).norm(dim=-1)), (ankles - hips).norm(dim=-1)
    )
    sink = _sink(targets - hips, longest, motion.valid, motion.fps)
    thighs, shins = reach(hips, knees, ankles, targets + sink[:, :, None], longest, -world[:, :, HIPS, :, 2])
    world[:, :, HIPS], world[:, :, KNEES] = thighs @ world[:, :, HIPS], thighs @ shins @ world[:, :, KNEES]
    body_pose = parameters.body_pose.clone()
    for joint in (*HIPS, *KNEES, *ANKLES):
        body_pose[:, :, joint - 1] = world[:, :, PARENTS[joint]].mT @ world[:, :, joint]
    return _posed(motion, body, replace(parameters, transl=parameters.transl - sink, body_pose=body_pose))


def foot_shifts(motion: MotionSequence, body: Body) -> Float[np.ndarray, "person frame foot 2"]:
    """Compute how far (m, x and y) each foot has to move to stay in place while in contact, the left one first.

    Each frame holds its own shift from where the foot is; it is zero farther than BLEND_S from any contact and fades in
    between. From one frame to the next a foot stands on heel or toe, whichever is slower, as it rolls and turns.
    """
    points = motion.joints[:, :, FOOT_JOINTS].astype(np.float64)
    clearance = points[..., 2] - heights_over_sole(body, motion.betas)[:, None, FOOT_JOINTS]
    steps = np.diff(points[..., :2], axis=1)
    speed, height = np.linalg.norm(steps, axis=-1) * motion.fps, np.maximum(clearance[:, 1:], clearance[:, :-1])
    seen = (motion.valid[:, 1:] & motion.valid[:, :-1])[..., None, None]
    start, on = (
        seen & (height < low) & (speed < slow)
        for low, slow in zip(CONTACT_CLEARANCE_M, CONTACT_SPEED_M_PER_S, strict=True)
    )
    down = _hysteresis(start, on)
    slower = np.where(down, speed, np.inf).argmin(axis=-1)[..., None, None]
    contact = np.asarray(down.any(axis=-1))
    slips = np.take_along_axis(steps, slower, axis=3)[..., 0, :] * contact[..., None]
    blend = max(1, round(BLEND_S * motion.fps))
    shifts = np.zeros((*motion.valid.shape, len(FOOT_JOINTS), 2))
    for person, foot in np.ndindex(len(slips), len(FOOT_JOINTS)):
        shifts[person, :, foot] = _shift(slips[person, :, foot], contact[person, :, foot], blend)
    return shifts


def _shift(
    slips: Float[np.ndarray, "step 2"], contact: Bool[np.ndarray, "step"], blend: int
) -> Float[np.ndarray, "frame 2"]:
    """Compute the shift that undoes the slips around the mean place of each stand.

    Stands less than `blend` frames apart are one.
    """
    path = np.concatenate([np.zeros((1, 2)), slips.cumsum(axis=0)])
    frames, shift = np.arange(len(path)), np.zeros_like(path)
    steps = np.flatnonzero(contact)
    for stand in np.split(steps, np.flatnonzero(np.diff(steps) > blend) + 1) if len(steps) else ():
        first, last = stand[0], stand[-1] + 1
        near = np.clip(1 - np.maximum(first - frames, frames - last) / blend, 0, 1)
        shift += smoothstep(near)[:, None] * (path[first : last + 1].mean(axis=0) - path)
    return shift


def _sink(
    legs: Float[Tensor, "person frame foot 3"],
    longest: Float[Tensor, "person frame foot"],
    valid: Bool[np.ndarray, "person frame"],
    fps: float,
) -> Float[Tensor, "person frame 3"]:
    """Compute how far (m) the hips come down so that no leg need be longer than `longest`; smooth, 0 in x and y."""
    aside, down = legs[..., :2].norm(dim=-1), -legs[..., 2]
    short = down - (longest**2 - aside**2).clamp_min(0).sqrt()
    # A leg that lies rather than stands gets no nearer by sinking.
    needed = torch.where(aside < down, short.clamp(0, MAX_SINK_M), 0).amax(dim=-1)
    smooth = np.stack([_from_above(each * seen, fps) for each, seen in zip(needed.numpy(), valid, strict=True)])
    return pad(torch.from_numpy(smooth)[..., None], (2, 0))


def reach(
    hip: Float[Tensor, "*batch 3"],
    knee: Float[Tensor, "*batch 3"],
    ankle: Float[Tensor, "*batch 3"],
    target: Float[Tensor, "*batch 3"],
    longest: Float[Tensor, "*batch"],
    backward: Float[Tensor, "*batch 3"],
) -> tuple[Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch 3 3"]]:
    """Compute the world rotations of leg (about the hip) and shin (about the knee) that bring the ankle to the target.

    The shin turns first. A target farther than `longest` from the hip is approached as near as that allows. The law of
    cosines gives the bend, in the plane in which the leg is bent; then the leg turns by the shortest rotation. The shin
    of a straight leg bends to the direction `backward`.
    """
    upper, lower, wanted = knee - hip, ankle - knee, target - hip
    a, b = upper.norm(dim=-1, keepdim=True), lower.norm(dim=-1, keepdim=True)
    far = torch.minimum(wanted.norm(dim=-1), longest)[..., None]
    cos = ((far**2 - a**2 - b**2) / (2 * a * b)).clamp(-1, 1)
    aside = _across(lower / b, upper / a)
    straight = aside.norm(dim=-1, keepdim=True) < STRAIGHT_SINE
    aside = normalize(torch.where(straight, _across(backward, upper / a), aside), dim=-1)
    bent = b * (cos * upper / a + (1 - cos**2).sqrt() * aside)
    return shortest_rotation(upper + bent, wanted), shortest_rotation(lower, bent)


def _across(vectors: Float[Tensor, "*batch 3"], axis: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Compute the part of the vectors at right angles to a unit axis."""
    return vectors - (vectors * axis).sum(dim=-1, keepdim=True) * axis


def _rests(motion: MotionSequence, body: Body, scene: Scene | None) -> Bool[np.ndarray, "person frame"]:
    """Find the persons and frames whose action needs furniture, or who touch some for long."""
    rests = np.isin(motion.action, SUPPORTED)
    if scene is None:
        return rests
    capsules = fit_capsules(motion.joints, motion.betas, body)
    touches = scene_penetration(capsules, motion.valid, scene)[1] > -TOUCH_M
    return rests | binary_opening(touches, np.ones((1, min(math.ceil(RESTING_S * motion.fps), motion.num_frames))))


def _from_people(
    bodies: Capsules, pelvis: Float[np.ndarray, "person frame 3"], valid: Bool[np.ndarray, "person frame"]
) -> Float[np.ndarray, "person frame 3"]:
    """Push every two persons away from each other by half their depth each."""
    push = np.zeros(pelvis.shape)
    for one, two in combinations(range(len(valid)), 2):
        pair = Capsules(*(array[[one, two]] for array in vars(bodies).values()))
        depth = np.maximum(person_penetration(pair, valid[[one, two]])[1] - TOUCHING_M, 0)
        apart = (pelvis[two] - pelvis[one]) * [1, 1, 0] + [1e-6, 0, 0]  # two persons in one place part along x
        half = (depth / 2 / np.linalg.norm(apart, axis=-1))[:, None] * apart
        push[one] -= half
        push[two] += half
    return push


def _from_scene(
    bodies: Capsules, valid: Bool[np.ndarray, "person frame"], scene: Scene
) -> Float[np.ndarray, "person frame 3"]:
    """Push each person by the scene's depth in them, along the level part of the mean way out of its points within.

    A bed below would push up, and so does not; a wall or a table's edge pushes with all its depth.
    """
    push = np.zeros((*valid.shape, 3))
    depth = scene_penetration(bodies, valid, scene)[1]
    points = scene.points[scene.labels != FLOOR_LABEL].astype(np.float64)
    tree = cKDTree(points)
    for person, frame in np.argwhere(depth > TOUCHING_M):
        start, end, radii = bodies.starts[person, frame], bodies.ends[person, frame], bodies.radii[person]
        around = tree.query_ball_point((start + end) / 2, np.linalg.norm(end - start, axis=-1) / 2 + radii)
        near = points[np.unique(np.concatenate(around).astype(np.intp))][:, None]
        axis = end - start
        along = ((near - start) * axis).sum(axis=-1) / ((axis * axis).sum(axis=-1) + 1e-12)
        out = start + np.clip(along, 0, 1)[..., None] * axis - near
        gap = np.linalg.norm(out, axis=-1)
        within = np.maximum(radii - gap, 0)
        way = (within / (gap + 1e-12))[..., None] * out
        level = way.sum(axis=(0, 1)) / within.sum() * [1, 1, 0]
        if np.linalg.norm(level) > SIDEWAYS_SHARE:
            push[person, frame] = depth[person, frame] * level
    return push


def _shifted(bodies: Capsules, moved: Float[np.ndarray, "person frame 3"]) -> Capsules:
    by = moved[:, :, None]
    return replace(bodies, starts=bodies.starts + by, ends=bodies.ends + by)


def _envelope(push: Float[np.ndarray, "frame 3"], fps: float) -> Float[np.ndarray, "frame 3"]:
    """Smooth a push so that it nowhere falls short in size, along smoothed directions."""
    size = np.linalg.norm(push, axis=-1)
    known = size > 0
    direction = np.stack([_fill(axis / np.maximum(size, 1e-12), known) for axis in push.T], axis=-1)
    return _from_above(size, fps)[:, None] * gaussian_filter1d(direction, SMOOTHING_S * fps, axis=0, mode="nearest")


def _from_above(sizes: Float[np.ndarray, "frame"], fps: float) -> Float[np.ndarray, "frame"]:
    """Smooth sizes from above: Gaussian means of the greatest values around, nowhere below the values."""
    radius = math.ceil(2 * SMOOTHING_S * fps)
    greatest = maximum_filter1d(sizes, 2 * radius + 1, mode="nearest")
    return gaussian_filter1d(greatest, SMOOTHING_S * fps, radius=radius, mode="nearest")


def _fill(values: Float[np.ndarray, "frame"], known: Bool[np.ndarray, "frame"]) -> Float[np.ndarray, "frame"]:
    """Interpolate linearly between the known values, level beyond them; without any, return the values."""
    frames = np.arange(len(values))
    return np.interp(frames, frames[known], values[known]) if known.any() else values


def _hysteresis(
    start: Bool[np.ndarray, "person time *more"], on: Bool[np.ndarray, "person time *more"]
) -> Bool[np.ndarray, "person time *more"]:
    """Find where `on` is True without a break since or until `start` was True too."""
    return binary_propagation(start & on, np.ones((1, 3, *(1,) * (on.ndim - 2))), mask=on)


def _shifted_valid(motion: MotionSequence, body: Body, shift: Float[np.ndarray, "person frame 3"]) -> MotionSequence:
    """Shift persons (m) in their valid frames."""
    parameters = motion.parameters
    return _posed(motion, body, replace(parameters, transl=parameters.transl + torch.from_numpy(shift)))


def _posed(motion: MotionSequence, body: Body, parameters: SmplParameters) -> MotionSequence:
    """Replace the parameters in the valid frames, and compute the joints that they give."""
    posed = replace(motion, **parameters.where(torch.from_numpy(motion.valid), motion.parameters).posed_arrays(body))
    return replace(posed, joints=np.where(motion.valid[..., None, None], posed.joints, motion.joints))


Stage = Callable[[MotionSequence, Body, Scene | None], MotionSequence]
STAGES: dict[str, Stage] = {"floor": stand_on_floor, "penetration": push_apart, "foot_lock": lock_feet}
"""Stages in the order in which they run, by the names of `CleanupConfig`."""
