"""Plausibility: feet, floor, bones, joint limits and collisions of a motion; metres, seconds, Z up.

Only frames that are `valid` (True) count; a velocity needs two in a row, a third difference four. A measure without
anything to measure (no second person, no scene, no standing foot) is NaN. All persons and frames of a clip are pooled.

`sequence.joints` is measured, and skin is what `motion.body.capsules` puts around it, which is 1.7 cm off the mesh in
the mean: hence `SKIN_TOLERANCE_M`. Only joint limits look at the rotations.
"""

import math

import numpy as np
import roma
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import binary_opening, uniform_filter1d

from motion.body import Body
from motion.body.capsules import fit_capsules, heights_over_sole
from motion.body.penetration import TOUCH_M, person_penetration, scene_penetration
from motion.clips.ground import LONGEST_LEAP_S, SUPPORTED
from motion.clips.transforms import check_body
from motion.metrics.measure import Measure
from motion.sequence import MotionSequence, Scene
from motion.skeleton import BONES, FEET, JOINT, JOINT_NAMES, LEFT, MIRRORED

MEASURES: dict[str, Measure] = {
    "foot_skate": Measure(
        "Foot skate",
        "m/s",
        0.10,
        "as Skate of PhysDiff (Yuan et al. 2023); threshold ours: above nearly all real clips",
        "mean horizontal speed of feet that stand flat; of heel and toe the slower, as a foot rolls and turns",
    ),
    "skate_ratio": Measure(
        "Skating frames",
        "share",
        0.10,
        "GMD (Karunratanakul et al. 2023); MDM reaches 0.10 there",
        "frames in which a toe at most 5 cm high slides by more than 2.5 cm per 1/20 s",
    ),
    "floating": Measure(
        "Floating",
        "m",
        0.019,
        "PhysDiff (Yuan et al. 2023), where MDM floats by 19 mm",
        "mean height of the lowest skin above the floor where over 2 cm, but for leaps below 0.7 s and on furniture",
    ),
    "floor_penetration": Measure(
        "Floor penetration",
        "m",
        0.011,
        "PhysDiff (Yuan et al. 2023), where MDM sinks by 11 mm",
        "mean depth of the lowest skin below the floor, beyond a tolerance of 2 cm",
    ),
    "jerk": Measure(
        "Jerk",
        "m/s³",
        300.0,
        "as jitter of TransPose (Yi et al. 2021); threshold ours, at 20 fps: above all but flips, kicks and runs",
        "mean over joints of the third derivative of position; grows with the frame rate where there is noise",
    ),
    "bone_drift": Measure(
        "Bone drift",
        "share",
        0.02,
        "ours: SMPL's bones are rigid; 2 % is what joints found in images vary by",
        "largest change of a bone's length from its median, as a share of the body's own bone, mean over bones",
    ),
    "bone_error": Measure(
        "Bone error",
        "share",
        0.02,
        "ours: as bone drift",
        "deviation of a bone's median length from that of the body with these betas, mean over bones",
    ),
    "root_speed": Measure(
        "Root speed",
        "m/s",
        12.4,
        "Graubner and Nixdorf 2011: nobody has sprinted faster",
        "99th percentile of the pelvis' horizontal speed",
    ),
    "stillness": Measure(
        "Stillness",
        "share",
        0.95,
        "ours: a clip that hardly changes is a mean pose, unless somebody rests",
        "frames in which the joints move by less than 5 cm/s against the pelvis in the mean",
        better="real",
    ),
    "joint_limits": Measure(
        "Joint limits",
        "share",
        0.02,
        "ranges of AAOS 1965 and Soucie et al. 2011, widened to what supple people reach; threshold ours",
        "rotations of joints beyond what people can do",
    ),
    "person_penetration_volume": Measure(
        "Penetration between people, volume",
        "l",
        1.0,
        "ours: a forearm",
        "volume that bodies share, mean over the frames in which they touch",
    ),
    "person_penetration_frames": Measure(
        "Penetration between people, frames",
        "share",
        0.5,
        "ours: of CMU's pairs who dance salsa hand in hand, nine in ten stay below",
        "frames in which somebody is more than 2 cm deep in somebody else",
    ),
    "scene_penetration_volume": Measure(
        "Penetration of the scene, volume",
        "l",
        1.0,
        "ours: as between people",
        "volume between the skin and the scene's surface within, mean over the frames in which they touch",
    ),
    "scene_penetration_frames": Measure(
        "Penetration of the scene, frames",
        "share",
        0.2,
        "ours: less than between people, who hug",
        "frames in which the scene, its floor aside, is more than 2 cm deep in somebody",
    ),
}
"""Descriptions of the numbers that `plausibility` gives."""

SKIN_TOLERANCE_M = 0.02
HEELS, TOES = (list(map(FEET.index, (JOINT[f"left_{end}"], JOINT[f"right_{end}"]))) for end in ("ankle", "foot"))
SOLE_CLEARANCE_M = 0.025  # above its height when standing: 5 cm of height for a toe joint, as in GMD
UPRIGHT_SHARE = 0.6  # of the standing pelvis' height; sitting, kneeling, crawling or lying persons are lower
LOW_QUANTILE = 0.05  # of a person's lowest foot heights: the height of the ground
SKATE_SPEED_M_PER_S = 0.5  # as GMD: 2.5 cm per 1/20 s
SKATE_WINDOW_S = 0.25  # as GMD: 5 frames of 1/20 s
STILL_SPEED_M_PER_S = 0.05
# Degrees about SMPL's x, y and z (from the left, up, ahead) for joints on the left and in the middle.
JOINT_LIMITS: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "hip": ((-140, 40), (-70, 70), (-45, 75)),
    "spine": ((-35, 50), (-35, 35), (-35, 35)),
    "knee": ((-15, 165), (-45, 45), (-25, 25)),
    "ankle": ((-45, 65), (-50, 50), (-45, 45)),
    "foot": ((-90, 50), (-30, 30), (-30, 30)),
    "neck": ((-50, 50), (-55, 55), (-40, 40)),
    "head": ((-50, 50), (-55, 55), (-40, 40)),
    "collar": ((-45, 45), (-45, 45), (-35, 60)),
    "shoulder": ((-120, 120), (-145, 75), (-115, 115)),
    "elbow": ((-110, 110), (-165, 15), (-40, 40)),
    "wrist": ((-90, 90), (-50, 50), (-100, 90)),
    "hand": ((-45, 45), (-45, 45), (-100, 60)),
}
ARMS = ("collar", "shoulder", "elbow", "wrist", "hand")  # bones along x; all others are along y


def plausibility(sequence: MotionSequence, body: Body, scene: Scene | None = None) -> dict[str, float]:
    """Compute every one of `MEASURES` for one clip whose joints are those of `body`.

    `scene` None leaves the measures of the scene NaN. Raises InputError if the joints are another body's.
    """
    check_body(sequence, body)
    joints, valid, fps = sequence.joints.astype(np.float64), sequence.valid, sequence.fps
    rest = body.rest_joints(torch.from_numpy(sequence.betas)).numpy()
    capsules = fit_capsules(sequence.joints, sequence.betas, body)
    nowhere = np.full(valid.shape, -np.inf)
    in_scene = (nowhere, nowhere) if scene is None else scene_penetration(capsules, valid, scene)
    supported = np.isin(sequence.action, SUPPORTED) | (in_scene[1] > -TOUCH_M)
    return {
        **_feet(joints, heights_over_sole(body, sequence.betas), valid, fps),
        "floating": _floating(capsules.lowest(), valid & ~supported, fps),
        "floor_penetration": _floor_penetration(capsules.lowest(), valid),
        "jerk": _jerk(joints, valid, fps),
        **_bones(joints, rest, valid),
        **_speeds(joints, valid, fps),
        "joint_limits": _beyond_limits(sequence.body_pose, valid),
        **_penetration("person", *person_penetration(capsules, valid), valid.sum(axis=0) >= 2),
        **_penetration("scene", *in_scene, valid & (scene is not None)),
    }


def _mean(values: Float[np.ndarray, "..."] | Bool[np.ndarray, "..."], mask: Bool[np.ndarray, "..."]) -> float:
    """Average the values where the mask is True; NaN where it is nowhere."""
    return float(values[mask].mean()) if mask.any() else math.nan


def _in_a_row(valid: Bool[np.ndarray, "person frame"], count: int) -> Bool[np.ndarray, "person start"]:
    """Find the frames where `count` valid frames start."""
    starts = max(valid.shape[1] - count + 1, 0)
    return np.all([valid[:, step : step + starts] for step in range(count)], axis=0)


def _horizontal_speed(
    positions: Float[np.ndarray, "person frame *joint 3"], fps: float
) -> Float[np.ndarray, "person step *joint"]:
    return np.linalg.norm(np.diff(positions[..., :2], axis=1), axis=-1) * fps


def _feet(
    joints: Float[np.ndarray, "person frame 24 3"],
    standing: Float[np.ndarray, "person 24"],
    valid: Bool[np.ndarray, "person frame"],
    fps: float,
) -> dict[str, float]:
    """Measure foot skate; heights count from where each person's feet mostly come down."""
    clearance = joints[:, :, FEET, 2] - standing[:, None, FEET]
    lowest = [
        each[seen].min(axis=-1) if seen.any() else np.zeros(1) for each, seen in zip(clearance, valid, strict=True)
    ]
    ground = np.array([np.quantile(heights, LOW_QUANTILE) for heights in lowest])[:, None]
    upright = joints[:, :, 0, 2] - ground > UPRIGHT_SHARE * standing[:, :1]
    steps = _in_a_row(valid, 2)
    low = (clearance - ground[..., None] < SOLE_CLEARANCE_M) & (valid & upright)[..., None]
    down = low[:, :-1] & low[:, 1:]
    speed = _horizontal_speed(joints[:, :, FEET], fps)
    flat = down[..., HEELS] & down[..., TOES]
    slower = np.minimum(speed[..., HEELS], speed[..., TOES])
    steady = uniform_filter1d(
        speed[..., TOES] * steps[..., None], max(round(SKATE_WINDOW_S * fps), 1), axis=1, mode="constant"
    )
    skates = down[..., TOES] & (np.minimum(steady, speed[..., TOES]) > SKATE_SPEED_M_PER_S)
    return {"foot_skate": _mean(slower, flat), "skate_ratio": _mean(skates.any(axis=-1), steps)}


def _floor_penetration(lowest: Float[np.ndarray, "person frame"], valid: Bool[np.ndarray, "person frame"]) -> float:
    return _mean(np.where(lowest < -SKIN_TOLERANCE_M, -lowest, 0.0), valid)


def _floating(
    lowest: Float[np.ndarray, "person frame"], counted: Bool[np.ndarray, "person frame"], fps: float
) -> float:
    floats = counted & (lowest > SKIN_TOLERANCE_M)
    run = min(math.ceil(LONGEST_LEAP_S * fps), counted.shape[1])
    return _mean(np.where(binary_opening(floats, np.ones((1, run))), lowest, 0.0), counted)


def _jerk(joints: Float[np.ndarray, "person frame 24 3"], valid: Bool[np.ndarray, "person frame"], fps: float) -> float:
    third = np.linalg.norm(np.diff(joints, n=3, axis=1), axis=-1) * fps**3
    return _mean(third.mean(axis=-1), _in_a_row(valid, 4))


def _bones(
    joints: Float[np.ndarray, "person frame 24 3"],
    rest: Float[np.ndarray, "person 24 3"],
    valid: Bool[np.ndarray, "person frame"],
) -> dict[str, float]:
    parents, children = np.array(BONES).T
    lengths = np.linalg.norm(joints[:, :, children] - joints[:, :, parents], axis=-1)
    own = np.linalg.norm(rest[:, children] - rest[:, parents], axis=-1)
    seen = valid.any(axis=1)
    medians = np.array([np.median(each[mask], axis=0) for each, mask in zip(lengths[seen], valid[seen], strict=True)])
    medians = medians.reshape(-1, len(BONES))
    change = np.abs(lengths[seen] - medians[:, None]) / own[seen, None]
    drift = np.where(valid[seen][..., None], change, 0).max(axis=1)
    everywhere = np.ones_like(drift, dtype=np.bool_)
    return {
        "bone_drift": _mean(drift, everywhere),
        "bone_error": _mean(np.abs(medians / own[seen] - 1), everywhere),
    }


def _speeds(
    joints: Float[np.ndarray, "person frame 24 3"], valid: Bool[np.ndarray, "person frame"], fps: float
) -> dict[str, float]:
    steps = _in_a_row(valid, 2)
    root = _horizontal_speed(joints[:, :, 0], fps)[steps]
    pose = np.linalg.norm(np.diff(joints[:, :, 1:] - joints[:, :, :1], axis=1), axis=-1).mean(axis=-1) * fps
    return {
        "root_speed": float(np.percentile(root, 99)) if len(root) else math.nan,
        "stillness": _mean(pose < STILL_SPEED_M_PER_S, steps),
    }


def _penetration(
    name: str,
    volume: Float[np.ndarray, "*frames"],
    depth: Float[np.ndarray, "*frames"],
    counted: Bool[np.ndarray, "*frames"],
) -> dict[str, float]:
    """Compute the mean volume while there is contact (0 where there never is) and how often it is deep."""
    contact = counted & (depth > 0)
    mean_volume = _mean(volume, contact if contact.any() else counted)
    return {
        f"{name}_penetration_volume": mean_volume,
        f"{name}_penetration_frames": _mean(depth > SKIN_TOLERANCE_M, counted),
    }


def _limits() -> tuple[Float[np.ndarray, "23 3"], Float[np.ndarray, "23 3"], Float[np.ndarray, "23 3"]]:
    """Build the limits of the 23 joints' angles (rad) and the axes of their bones; the right mirrors the left."""
    kinds = [name.removeprefix("left_").removeprefix("right_").rstrip("123") for name in JOINT_NAMES]
    low, high = np.radians([JOINT_LIMITS.get(kind, ((0, 0),) * 3) for kind in kinds]).transpose(2, 0, 1)
    right = [MIRRORED[joint] for joint in LEFT]
    low[right, 1:], high[right, 1:] = -high[right, 1:], -low[right, 1:]
    return low[1:], high[1:], np.array([[1.0, 0, 0] if kind in ARMS else [0, 1.0, 0] for kind in kinds[1:]])


LOW, HIGH, BONE_AXES = _limits()


def _beyond_limits(
    body_pose: Float[np.ndarray, "person frame 23 3 3"], valid: Bool[np.ndarray, "person frame"]
) -> float:
    angles = swing_and_twist(body_pose)
    beyond = ((angles < LOW) | (angles > HIGH)).any(axis=-1)
    return _mean(beyond.mean(axis=-1), valid)


def swing_and_twist(body_pose: Float[np.ndarray, "*batch 23 3 3"]) -> Float[np.ndarray, "*batch 23 3"]:
    """Split each joint's rotation into the turn about its own bone and the swing about the other axes, in radians.

    The swing is a rotation vector, which has no part along the bone, so that the three numbers are independent.
    """
    x, y, z, w = np.moveaxis(roma.rotmat_to_unitquat(torch.from_numpy(body_pose)).double().numpy(), -1, 0)
    vector = np.stack([x, y, z], axis=-1)
    along = (vector * BONE_AXES).sum(axis=-1)
    twist = roma.rotvec_to_unitquat(torch.from_numpy(2 * np.arctan2(along, w)[..., None] * BONE_AXES))
    quaternion = torch.from_numpy(np.concatenate([vector, w[..., None]], axis=-1))
    swing = roma.unitquat_to_rotvec(roma.quat_product(quaternion, roma.quat_conjugation(twist))).numpy()
    turn = (2 * np.arctan2(along, w) + np.pi) % (2 * np.pi) - np.pi
    return swing + turn[..., None] * BONE_AXES
