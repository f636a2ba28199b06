"""DeepMimic's motion capture clips (Peng et al. 2018, MIT), as PyPI's `pybullet_data` ships them.

A clip is JSON, `{"Loop": ..., "Frames": [[44 numbers], ...]}`; a frame is its duration (s), the root position
(m), then rotations: quaternions (w x y z) of root, chest, neck and, right side first, hip, knee, ankle,
shoulder, elbow, where knees and elbows are one angle (rad) about the link's z axis. DeepMimic's world and
links have y up, x forward, z to the right; at rest the arms hang straight down (humanoid3d.txt there).

Output: Z-up world, metres, SMPL rotations at the clip's own rate, the lowest skin on z = 0. With C the change
from DeepMimic's axes to SMPL's, R_j the link's rotation and A_j the swing of SMPL's T-pose bone onto
DeepMimic's rest bone, the SMPL joint's local rotation is `A_parent^T (C R_j C^T) A_j`.
"""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import roma
import torch
from jaxtyping import Float, Float64
from scipy.ndimage import gaussian_filter1d, grey_opening
from torch import Tensor

from motion.body import Body
from motion.clips.transforms import Neighbours
from motion.datasets.clip import Clip, check_fps, to_record
from motion.errors import InputError
from motion.rotations import matrix_from_axis_angle, matrix_to_axis_angle, shortest_rotation, slerp
from motion.sequence import MotionSequence
from motion.skeleton import ACTIONS, JOINT, NUM_JOINTS, PARENTS
from motion.smpl_parameters import SmplParameters

LICENCE = "DeepMimic: MIT; the captions are carescene's, Apache-2.0."

NUM_COLUMNS = 44
ROOT_POSITION = slice(1, 4)
# First column of each quaternion and column of each hinge angle.
QUATERNIONS: dict[str, int] = {
    "root": 4,
    "chest": 8,
    "neck": 12,
    "right_hip": 16,
    "right_ankle": 21,
    "right_shoulder": 25,
    "left_hip": 30,
    "left_ankle": 35,
    "left_shoulder": 39,
}
HINGES: dict[str, int] = {"right_knee": 20, "right_elbow": 29, "left_knee": 34, "left_elbow": 43}
# SMPL joints that share one DeepMimic rotation in equal parts.
SHARED: dict[str, tuple[str, ...]] = {"chest": ("spine1", "spine2", "spine3"), "neck": ("neck", "head")}
# Joints whose bone hangs straight down in DeepMimic's rest pose, and the joint at the bone's other end.
HANGING: dict[str, str] = {
    f"{side}_{start}": f"{side}_{end}"
    for side in ("left", "right")
    for start, end in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
}
LEG_LENGTH_M = 0.421546 + 0.409870  # thigh and shin, DeepMimic humanoid3d.txt (MIT)

TO_SMPL = torch.tensor([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
TO_WORLD = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])

# Our own words, after looking at each clip: the caption that tests and the demo ask for, then other words for the same.
CAPTIONS: dict[str, tuple[str, ...]] = {
    "humanoid3d_backflip": (
        "a person does a backflip and lands on their feet",
        "a person does a back flip",
        "someone flips backwards through the air",
        "the man performs a back somersault",
        "a backward flip from standing",
        "a person jumps up, flips over backwards and lands",
    ),
    "humanoid3d_cartwheel": (
        "a person does a cartwheel to the left",
        "someone cartwheels to the left",
        "a person turns a cartwheel over their hands",
        "the woman does a sideways wheel on her hands to the left",
        "a cartwheel",
        "a person goes over sideways on their hands, legs in the air",
    ),
    "humanoid3d_crawl": (
        "a person crawls forward low over the floor on forearms and knees",
        "a person crawls on the floor",
        "someone crawls forward on elbows and knees",
        "the man creeps forward, low on the ground",
        "crawling forward over the ground",
        "a person moves along the floor on their forearms",
    ),
    "humanoid3d_dance_a": (
        "a person dances, turning once to the right with sweeping arms",
        "a person dances with sweeping arms",
        "someone dances and turns around once",
        "the woman turns right while dancing, her arms wide",
        "a dance with a turn to the right",
        "a person swings their arms and turns in a dance",
    ),
    "humanoid3d_dance_b": (
        "a person dances on the spot, hopping from foot to foot",
        "a person dances on the spot",
        "someone hops from one foot to the other, dancing",
        "the man dances in place with little hops",
        "a hopping dance in place",
        "a person jumps from foot to foot to music",
    ),
    "humanoid3d_dance_spin": (
        "a person spins once to the left on the spot",
        "someone turns once on the spot",
        "the woman spins around to the left",
        "a single turn to the left",
    ),
    "humanoid3d_getup_facedown": (
        "a person lying on their belly gets up from the floor",
        "a person who lies face down stands up",
        "someone gets up from lying on their stomach",
        "the man pushes himself up off the floor from his belly",
        "getting up from lying prone",
        "a person on their front rises to their feet",
    ),
    "humanoid3d_getup_faceup": (
        "a person lying on their back gets up from the floor",
        "a person who lies face up stands up",
        "someone gets up from lying on their back",
        "the woman on her back sits up and then stands",
        "getting up from lying supine",
        "a person rises to their feet from their back",
    ),
    "humanoid3d_jog": (
        "a person jogs forward",
        "a person jogs",
        "someone is jogging",
        "the man jogs along slowly",
    ),
    "humanoid3d_jump": (
        "a person crouches and jumps forward",
        "a person jumps forward",
        "someone bends their knees and leaps forward",
        "the man squats down and makes a jump",
        "a long jump from standing",
        "a person takes a big jump ahead with both feet",
    ),
    "humanoid3d_kick": (
        "a person kicks high with the right leg",
        "a person kicks with the right leg",
        "someone does a high kick",
        "the woman lifts her right leg and kicks high",
        "a high right kick",
        "a person strikes out high with their right foot",
    ),
    "humanoid3d_punch": (
        "a person steps forward and punches with the right fist",
        "a person punches with the right fist",
        "someone steps forward and throws a punch",
        "the man hits straight ahead with his right hand",
        "a right punch with a step",
        "a person boxes forward with the right arm",
    ),
    "humanoid3d_roll": (
        "a person rolls forward over the floor and stands up again",
        "a person rolls over the floor",
        "someone does a forward roll and gets up",
        "the man rolls head over heels on the ground and stands",
        "a forward roll",
        "a person tumbles forward over the ground and comes up to their feet",
    ),
    "humanoid3d_run": (
        "a person runs forward",
        "a person runs",
        "someone is running forward",
        "the man runs ahead fast",
        "running straight on",
        "a person sprints forward",
    ),
    "humanoid3d_sideflip": (
        "a person does a flip sideways",
        "someone flips sideways through the air",
        "the man does a sideways somersault",
        "a side flip",
    ),
    "humanoid3d_spin": (
        "a person leaps and whirls through the air with the body level",
        "a person whirls through the air",
        "someone leaps and spins with the body level",
        "the man spins horizontally in the air",
        "a butterfly twist in the air",
        "a person flies through the air, twisting, body flat",
    ),
    "humanoid3d_spinkick": (
        "a person turns around in a jump and kicks",
        "a person does a spinning kick",
        "someone jumps, turns around and kicks",
        "the woman makes a turning jump kick",
        "a spin kick",
        "a person whirls around and kicks while in the air",
    ),
    "humanoid3d_stealthy_walk": (
        "a person sneaks forward with bent knees",
        "someone sneaks along, knees bent",
        "the man creeps forward on his feet without a sound",
        "a stealthy walk",
    ),
    "humanoid3d_walk": (
        "a person walks forward",
        "a person walks",
        "someone is walking forward",
        "the man walks ahead",
        "walking straight on",
        "a person takes some steps forward",
    ),
    "humanoid3d_zombie_walk": (
        "a person walks forward stiffly with both arms held out in front",
        "someone walks like a zombie",
        "the man staggers forward with his arms held out",
        "a zombie's walk",
    ),
}
# The Teton actions have no word for most of what happens here; crawling on hands and knees is one of them.
CLIP_ACTIONS: dict[str, str] = {"humanoid3d_crawl": "crawling"}

FLOOR_FPS = 15  # skinned frames that the ground is estimated from
LONGEST_LEAP_S = 0.8  # without contact to the floor
GROUND_SMOOTHING_S = 0.1


def list_clips(root: Path | None = None) -> list[Clip]:
    """List the humanoid clips in `root`, or for None in the installed `pybullet_data`, sorted by name.

    Raises InputError if there are none.
    """
    if root is None:
        spec = importlib.util.find_spec("pybullet_data")
        if spec is None or not spec.submodule_search_locations:
            raise InputError(
                "pybullet_data is not installed: pip install carescene[demo] or give the folder of the clips"
            )
        root = Path(spec.submodule_search_locations[0]) / "data" / "motions"
    paths = sorted(root.glob("humanoid3d_*.txt"))
    if not paths:
        raise InputError(f"{root}: holds no humanoid3d_*.txt, expected a folder of DeepMimic clips")
    return [_clip(path) for path in paths]


def _clip(path: Path) -> Clip:
    texts = CAPTIONS.get(path.stem, ())
    return Clip(f"deepmimic/{path.stem}", "deepmimic", (str(path),), texts=texts)


def read_clip(clip: Clip, body: Body) -> MotionSequence:
    """Read one clip as a person of mean shape; raises InputError where it is damaged."""
    path = Path(clip.files[0])
    frames = _read_frames(path)
    position, rotations, fps = _at_uniform_rate(frames)
    check_fps(str(path), fps)
    rest = body.rest_joints(torch.zeros(1, 10))[0]
    pose = _smpl_rotations(rotations, rest)
    pelvis = _pelvis(position, pose[:, 0], rest)
    posed = SmplParameters.from_pelvis(pelvis[None], pose[None], torch.zeros(1, 10), body)
    provenance = {"frames": f"0:{len(frames)}"} | ({"caption_by": "carescene"} if clip.texts else {})
    record = to_record(clip, fps, _on_the_floor(posed, fps, body), body, provenance)
    action = ACTIONS.index(CLIP_ACTIONS.get(path.stem, "unknown"))
    return replace(record, action=np.full_like(record.action, action))


def _read_frames(path: Path) -> Float64[np.ndarray, "frame 44"]:
    """Read the table of numbers in a clip, and check it."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected a DeepMimic motion") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error}), expected a DeepMimic motion") from error
    rows = content.get("Frames") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise InputError(f'{path}: holds no frames, expected {{"Frames": [[{NUM_COLUMNS} numbers], ...]}}')
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != NUM_COLUMNS:
            found = f"{len(row)} columns" if isinstance(row, list) else type(row).__name__
            raise InputError(f"{path}: frame {number} is {found}, expected {NUM_COLUMNS} numbers")
    try:
        frames = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path}: a frame holds other than numbers ({error}), expected {NUM_COLUMNS} numbers"
        ) from error
    _check_values(path, frames)
    return frames


def _check_values(path: Path, frames: Float64[np.ndarray, "frame 44"]) -> None:
    broken = ~np.isfinite(frames).all(axis=1)
    if broken.any():
        raise InputError(f"{path}: frame {broken.argmax()} holds NaN or infinity, expected finite numbers")
    stopped = frames[:-1, 0] <= 0
    if stopped.any():
        number = stopped.argmax()
        raise InputError(f"{path}: frame {number} lasts {frames[number, 0]:g} s, expected a positive duration")
    for link, column in QUATERNIONS.items():
        zero = np.linalg.norm(frames[:, column : column + 4], axis=1) < 1e-6
        if zero.any():
            raise InputError(f"{path}: frame {zero.argmax()} has a zero quaternion at the {link}, expected a rotation")


def _at_uniform_rate(
    frames: Float64[np.ndarray, "frame 44"],
) -> tuple[Float[Tensor, "time 3"], dict[str, Float[Tensor, "time 3 3"]], float]:
    """Compute root position, rotation of each link and the rate, resampled to the median duration where they vary."""
    table = torch.from_numpy(frames).float()
    rotations = {
        link: roma.unitquat_to_rotmat(roma.quat_normalize(table[:, first : first + 4].roll(-1, dims=-1)))
        for link, first in QUATERNIONS.items()
    }
    z_axis = torch.tensor([0.0, 0.0, 1.0])
    for link, column in HINGES.items():
        rotations[link] = matrix_from_axis_angle(table[:, column, None] * z_axis)
    position = table[:, ROOT_POSITION]
    # A duration is the time to the next frame, so the last one (mostly 0) means nothing.
    durations = frames[:-1, 0] if len(frames) > 1 else np.array([1 / 30])
    step = np.median(durations)
    fps = round(float(1 / step), 2)
    if np.allclose(durations, step, rtol=0.01):
        return position, rotations, fps
    near = _even_steps(durations, step)
    position = torch.lerp(position[near.lower], position[near.upper], near.weight[:, None])
    return position, {k: slerp(r[near.lower], r[near.upper], near.weight) for k, r in rotations.items()}, fps


def _even_steps(durations: Float64[np.ndarray, " interval"], step: float) -> Neighbours:
    times = np.concatenate([[0.0], np.cumsum(durations)])
    wanted = np.arange(np.floor(times[-1] / step + 1e-6) + 1) * step
    fractional = np.interp(wanted, times, np.arange(len(times), dtype=np.float64))
    return Neighbours.at(torch.from_numpy(fractional), len(times))


def _smpl_rotations(
    links: dict[str, Float[Tensor, "time 3 3"]], rest: Float[Tensor, "24 3"]
) -> Float[Tensor, "time 24 3 3"]:
    """Compute the global orientation (joint 0, Z-up world) and the local rotations of the other joints."""
    rotations = torch.eye(3).repeat(len(links["root"]), NUM_JOINTS, 1, 1)
    for link, rotation in links.items():
        joints = SHARED.get(link, ("pelvis" if link == "root" else link,))
        part = matrix_from_axis_angle(matrix_to_axis_angle(rotation) / len(joints))
        for joint in joints:
            rotations[:, JOINT[joint]] = TO_SMPL @ part @ TO_SMPL.T
    swings = _rest_swings(rest)
    local = swings[list(PARENTS[1:])].mT @ rotations[:, 1:] @ swings[1:]
    orient = TO_WORLD @ TO_SMPL.T @ rotations[:, :1]
    return torch.cat([orient, local], dim=1)


def _rest_swings(rest: Float[Tensor, "24 3"]) -> Float[Tensor, "24 3 3"]:
    """Compute A_j in SMPL's axes: the shortest rotation of each limb bone of the T-pose to hanging straight down.

    Hands go along with the forearm; the trunk and the feet rest alike in both skeletons.
    """
    swings = torch.eye(3).repeat(NUM_JOINTS, 1, 1)
    down = torch.tensor([0.0, -1.0, 0.0])
    for start, end in HANGING.items():
        swings[JOINT[start]] = shortest_rotation(rest[JOINT[end]] - rest[JOINT[start]], down)
    for side in ("left", "right"):
        swings[[JOINT[f"{side}_wrist"], JOINT[f"{side}_hand"]]] = swings[JOINT[f"{side}_elbow"]].clone()
    return swings


def _pelvis(
    root: Float[Tensor, "time 3"], orient: Float[Tensor, "time 3 3"], rest: Float[Tensor, "24 3"]
) -> Float[Tensor, "time 3"]:
    """Compute the pelvis' path for which the middle of the hips, DeepMimic's root, follows its own, scaled by leg."""
    left, right = rest[JOINT["left_hip"]], rest[JOINT["right_hip"]]
    hip_to_pelvis = rest[0] - (left + right) / 2
    knee, ankle = rest[JOINT["left_knee"]], rest[JOINT["left_ankle"]]
    scale = ((left - knee).norm() + (knee - ankle).norm()) / LEG_LENGTH_M
    return scale * root @ TO_WORLD.T + orient @ hip_to_pelvis


def _on_the_floor(posed: SmplParameters, fps: float, body: Body) -> SmplParameters:
    """Bring the lowest skin to z = 0, except in flight.

    DeepMimic's body is thinner lying down and shorter in the arms than ours, so one offset for a whole get-up would
    leave it afloat when it stands. The ground is the lowest skin's height over time after a morphological opening,
    which cuts off peaks shorter than a leap and follows all else, and some smoothing.
    """
    every = max(1, round(fps / FLOOR_FPS))
    skin = body.vertices(posed[:, ::every])
    rate, lowest = fps / every, skin[0, ..., 2].amin(dim=-1).numpy()
    window = 1 + round(rate * LONGEST_LEAP_S)
    # Clips start and end on the floor, so the ground goes on level beyond both ends.
    ground = grey_opening(np.pad(lowest, window, mode="edge"), size=window)[window:-window]
    ground = gaussian_filter1d(ground, rate * GROUND_SMOOTHING_S, mode="nearest")
    frames = np.arange(posed.transl.shape[1])
    height = np.interp(frames, frames[::every], ground)
    lowered = posed.transl.clone()
    lowered[..., 2] -= torch.from_numpy(height).float()
    return replace(posed, transl=lowered)
