"""Checks of a motion as that of a human body; metres, seconds, Z up, only frames that are `valid` (True) count.

What nobody does (speeds, knees and elbows that bend the wrong way, a life upside down, a giant's stature) shows that a
file is in another unit than it was read in, has another axis up, or has left and right swapped: `refuse_impossible` and
`refuse_stature` raise. What people may do, but more often damaged files, `find_oddities` puts into a sentence.

Measured on 1033 real clips of DeepMimic, Bandai-Namco, CMU and ASE (falls and fights): none is refused, 13 are odd. All
of these are CMU's, whose ankles and wrists jump by up to 1.1 m within 1/60 s.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float

from motion.body import Body
from motion.clips.ground import SUPPORTED, lowest_skin
from motion.errors import InputError
from motion.sequence import MotionSequence
from motion.skeleton import JOINT

FASTEST_M_PER_S = 12.4  # Graubner and Nixdorf 2011: nobody has sprinted faster
FAST_SHARE = 0.05  # of the steps may be faster, as where a tracker lost its person
FASTEST_JOINT_M_PER_S = 30.0  # sword strokes of ASE reach 29 m/s at the hand, glitches of CMU's captures 68
BENT = math.sin(math.radians(20))  # sine of a bend below which a limb has no plane
WRONG_WAY = -0.5  # cosine between the axis a limb bends about and its own; the worst real clip's median is 0.77
OVERSTRETCHED = 0.5  # sine of the angle by which a forearm points behind the upper arm; cf. `JOINT_LIMITS`
MOST, NEARLY_ALL, SOME = 0.5, 0.8, 0.1  # shares of the frames
LEVEL = 0.5  # cosine to the vertical below which trunk and legs lie, and above which they stand
LYING_M_PER_S = 0.7  # crawling at 0.5 is real
SLIDING_M_PER_S, SLIDING_SHARE = 2.0, 0.62  # of the pelvis' speed; a runner's slower foot has up to 0.55 of it
ONE_POSE_M = 0.01  # people who stand still move more; the stillest real clip 3.5 cm
OFF_FLOOR_M, THROUGHOUT = 0.1, 0.95
STATURE_M = (1.2, 2.2)
FLAGS = "flags"
"""Key of a motion's provenance for what `find_oddities` says, divided by semicolons."""
STATURE = "stature_m"
"""Key of a motion's provenance for the persons' statures in the source (m), a number each, divided by commas."""
HIPS, KNEES, ANKLES, SHOULDERS, ELBOWS, WRISTS = (
    [JOINT[f"left_{name}"], JOINT[f"right_{name}"]] for name in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
)


def refuse_impossible(sequence: MotionSequence) -> None:
    """Raise InputError where a person moves, bends or stands as nobody can through much of the motion."""
    for person, valid in enumerate(sequence.valid):
        joints, body_pose = sequence.joints[person].astype(np.float64), sequence.body_pose[person]
        speed = _speeds(joints[:, 0], valid, sequence.fps)
        for sentence in (*_impossible_speed(speed), *_impossible_pose(joints[valid], body_pose[valid])):
            raise InputError(f"{sequence.id}: person {person + 1} {sentence}")


def _impossible_speed(speed: Float[np.ndarray, " step"]) -> Iterator[str]:
    if len(speed) and (fast := np.quantile(speed, 1 - FAST_SHARE)) > FASTEST_M_PER_S:
        yield (
            f"moves at {fast:.0f} m/s, expected at most {FASTEST_M_PER_S} as nobody runs faster; "
            "positions (trans) may be in another unit than metres, or the frame rate is wrong"
        )


def _impossible_pose(
    joints: Float[np.ndarray, "frame 24 3"], body_pose: Float[np.ndarray, "frame 23 3 3"]
) -> Iterator[str]:
    if (share := _knees_the_wrong_way(joints)) > MOST:
        yield (
            f"has knees that bend the wrong way in {share:.0%} of the frames where they bend, expected shins behind "
            "the thighs; left and right may be swapped, or an axis mirrored"
        )
    if (share := _overstretched(body_pose)) > MOST:
        yield (
            f"has an elbow that bends the wrong way in {share:.0%} of the frames, expected forearms before the upper "
            "arms; rotations may have another sign or order"
        )
    if (share := _share((_trunk(joints) < -LEVEL) & (_legs(joints) < -LEVEL))) > NEARLY_ALL:
        yield f"is upside down in {share:.0%} of the frames, expected shoulders over hips; another axis may point up"


def refuse_stature(sequence: MotionSequence, body: Body, shortest: float = STATURE_M[0]) -> None:
    """Raise InputError unless all persons are `shortest` to 2.2 m tall, but for those seen in a room.

    The stature is the source's where the provenance knows it (`STATURE`), since a body fitted to bones is never a
    child's nor a giant's; else it is that of `body` in its shape. In a room it is estimated from pictures, so only odd.
    """
    for sentence in _odd_statures(sequence, body, shortest) if sequence.scene_id is None else ():
        raise InputError(
            f"{sequence.id}: {sentence}; the unit may be another, or --min-stature lower where these are children"
        )


def find_oddities(sequence: MotionSequence, body: Body, shortest: float = STATURE_M[0]) -> list[str]:
    """List what is odd about a motion, a sentence each, empty for most: kept, but worth a look."""
    heights = lowest_skin(sequence, body)
    supported = np.isin(sequence.action, SUPPORTED) | (sequence.scene_id is not None)
    found = list(_odd_statures(sequence, body, shortest))
    for person, valid in enumerate(sequence.valid):
        if valid.any():
            joints = sequence.joints[person].astype(np.float64)
            odd = [
                *_odd_speeds(_speeds(joints, valid, sequence.fps), _share(_lies(joints[valid]))),
                *_slides(_speeds(joints[..., :2], valid, sequence.fps)),
                *_odd_poses(joints[valid]),
                *_off_floor(heights[person, valid], supported[person, valid]),
            ]
            found += [f"person {person + 1} {sentence}" for sentence in odd]
    return found


def _odd_statures(sequence: MotionSequence, body: Body, shortest: float) -> Iterator[str]:
    known = sequence.provenance.get(STATURE)
    statures = [float(word) for word in known.split(", ")] if known else body.stature(torch.from_numpy(sequence.betas))
    for person, stature in enumerate(statures, 1):
        if not shortest <= stature <= STATURE_M[1]:
            yield f"person {person} is {stature:.2f} m tall, expected {shortest:g} to {STATURE_M[1]} m"


def _odd_speeds(speeds: Float[np.ndarray, "step 24"], lies: float) -> Iterator[str]:
    """Tell of jumps, and of the speed of one who lies in this share of the frames."""
    fastest, pelvis = speeds.max(initial=0), speeds[:, 0].max(initial=0)
    if fastest > FASTEST_JOINT_M_PER_S or pelvis > FASTEST_M_PER_S:
        yield f"jumps: a joint moves at {fastest:.0f} m/s from one frame to the next, the pelvis at {pelvis:.0f} m/s"
    if lies > NEARLY_ALL and len(speeds) and (mostly := np.median(speeds[:, 0])) > LYING_M_PER_S:
        yield f"lies and yet moves at {mostly:.1f} m/s; another axis may point up"


def _slides(level: Float[np.ndarray, "step 24"]) -> Iterator[str]:
    """Tell of feet that never stand still, by speeds over the floor."""
    pelvis, foot = (np.median(some) if len(level) else 0.0 for some in (level[:, 0], level[:, ANKLES].min(axis=1)))
    if pelvis > SLIDING_M_PER_S and foot > SLIDING_SHARE * pelvis:
        yield f"slides: pelvis and feet move at {pelvis:.1f} m/s; the path may be in another unit than the body"


def _odd_poses(joints: Float[np.ndarray, "frame 24 3"]) -> Iterator[str]:
    if np.ptp(joints - joints[:, :1], axis=0).max() < ONE_POSE_M:
        yield f"keeps one pose, {len(joints)} frames long"
    if (share := _share(_trunk(joints) < -LEVEL)) > MOST:
        yield f"is head down in {share:.0%} of the frames"
    if (share := _elbows_the_wrong_way(joints)) > MOST:
        yield f"bends the elbows backward in {share:.0%} of the frames where they bend"


def _off_floor(heights: Float[np.ndarray, " frame"], supported: Bool[np.ndarray, " frame"]) -> Iterator[str]:
    """Tell of one whose lowest skin stays off the floor; what is `supported` by furniture may be above it."""
    alone = heights[~supported]
    if _share(alone > OFF_FLOOR_M) > THROUGHOUT:
        yield f"floats {np.median(alone):.2f} m above the floor throughout"
    if _share(heights < -OFF_FLOOR_M) > THROUGHOUT:
        yield f"is sunk {-np.median(heights):.2f} m into the floor throughout"


def _share(true: Bool[np.ndarray, "*frame"]) -> float:
    return float(true.mean()) if true.size else 0.0


def _speeds(
    positions: Float[np.ndarray, "frame *joint axis"], valid: Bool[np.ndarray, " frame"], fps: float
) -> Float[np.ndarray, "step *joint"]:
    """Compute the speeds between frames that are both valid."""
    return fps * np.linalg.norm(np.diff(positions, axis=0), axis=-1)[valid[1:] & valid[:-1]]


def _trunk(joints: Float[np.ndarray, "frame 24 3"]) -> Float[np.ndarray, " frame"]:
    """Compute the cosine between the line from pelvis to neck and the vertical: 1 upright, 0 level."""
    return _unit(joints[:, JOINT["neck"]] - joints[:, JOINT["pelvis"]])[:, 2]


def _legs(joints: Float[np.ndarray, "frame 24 3"]) -> Float[np.ndarray, " frame"]:
    """Compute the cosine between the lines from ankles to hips and the vertical, a mean of both: 1 upright, 0 level."""
    return _unit(joints[:, HIPS] - joints[:, ANKLES])[..., 2].mean(axis=1)


def _lies(joints: Float[np.ndarray, "frame 24 3"]) -> Bool[np.ndarray, " frame"]:
    return (np.abs(_trunk(joints)) < LEVEL) & (np.abs(_legs(joints)) < LEVEL)


def _knees_the_wrong_way(joints: Float[np.ndarray, "frame 24 3"]) -> float:
    """Compute the share of bent knees whose shin swings ahead: it swings backward about the line to the left hip."""
    return _wrong_way(joints, HIPS, KNEES, ANKLES, 1.0)


def _elbows_the_wrong_way(joints: Float[np.ndarray, "frame 24 3"]) -> float:
    """Compute the share of bent elbows whose forearm points behind the trunk, as of hands behind the back."""
    return _wrong_way(joints, SHOULDERS, ELBOWS, WRISTS, -1.0)


def _wrong_way(
    joints: Float[np.ndarray, "frame 24 3"], first: list[int], middle: list[int], last: list[int], sign: float
) -> float:
    """Compute the share of bent limbs whose axis opposes `sign` times the line from the right to the left first joint.

    Limbs that bend in less than a tenth of the frames tell nothing: 0.
    """
    axis = np.cross(_unit(joints[:, middle] - joints[:, first]), _unit(joints[:, last] - joints[:, middle]))
    left = sign * _unit(joints[:, first[:1]] - joints[:, first[1:]])
    bent = np.linalg.norm(axis, axis=-1) > BENT
    wrong = (_unit(axis) * left).sum(axis=-1) < WRONG_WAY
    return float(wrong[bent].mean()) if _share(bent) > SOME else 0.0


def _overstretched(body_pose: Float[np.ndarray, "frame 23 3 3"]) -> float:
    """Compute the share of frames in which a forearm, straight along x at rest, points behind (-z) the upper arm."""
    left, right = (body_pose[:, elbow - 1, 2, 0] for elbow in ELBOWS)
    return max(_share(left < -OVERSTRETCHED), _share(right > OVERSTRETCHED))


def _unit(vectors: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(min=1e-9)
