"""Motion from which the pose prior and the lifter learn; its licences allow to pass on weights made of it.

Captured: DeepMimic's clips (MIT, with `pybullet_data`) and, where a folder of BVH files is given, CMU's (free use,
credit mocap.cs.cmu.edu). Do not pass Bandai-Namco's (CC BY-NC) or ASE's here. Neither shows what persons in a care room
mostly do, so there are clips that we **composed**: lying on back, side and belly, sitting up in bed, sitting on its
edge or on a chair, kneeling, on all fours, crouching, bending over. Pelvis and legs follow angles drawn by `KINDS`,
from one drawing to another within a clip; the movement of trunk, arms and legs on top comes from a captured clip.

Rotations are SMPL's (joint 0: pelvis to the Z-up world), metres, 60 frames a second, on the default body.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from motion.body import Body
from motion.clips.transforms import resample, smoothstep
from motion.datasets import bvh, deepmimic
from motion.rotations import about_degrees, slerp
from motion.sequence import MotionSequence
from motion.skeleton import JOINT
from motion.smpl_parameters import SmplParameters

RATE_FPS = 60.0
HELD_OUT = ("deepmimic/humanoid3d_walk", "deepmimic/humanoid3d_getup_facedown")
"""Clips that are never learnt from, beside every tenth of the others."""
COMPOSED_S = 4.0
CARRYING = [joint for name, joint in JOINT.items() if not name.endswith(("elbow", "wrist", "hand"))]
LEG_SHARE, SPINE_SHARE = 0.35, 0.7  # of captured movement in a composed clip

# Degrees, from and to: `pitch` of the trunk (0 on the back, 90 upright, 180 on all fours), `roll` about its long axis,
# flexion of `hip`, `knee` and `spine`. The hip is counted from thighs that are level in `LEVEL`, upright in `UPRIGHT`,
# else from a straight body; where `HEELS_DOWN` the knee adds what brings the heels back to the ground. A bed may be
# below those `IN_BED`.
KINDS: dict[str, dict[str, tuple[float, float]]] = {
    "supine": {"pitch": (-5, 15), "roll": (-20, 20), "hip": (0, 20), "knee": (-8, 8)},
    "knees_up": {"pitch": (-5, 20), "roll": (-20, 20), "hip": (20, 60), "knee": (-10, 10)},
    "side_left": {"pitch": (-8, 8), "roll": (60, 115), "hip": (10, 90), "knee": (15, 110), "spine": (-5, 40)},
    "side_right": {"pitch": (-8, 8), "roll": (-115, -60), "hip": (10, 90), "knee": (15, 110), "spine": (-5, 40)},
    "prone": {"pitch": (-8, 8), "roll": (160, 200), "hip": (-12, 3), "knee": (0, 30)},
    "sit_in_bed": {"pitch": (25, 95), "hip": (-3, 30), "knee": (0, 10), "spine": (-5, 40)},
    "sit": {"pitch": (70, 115), "hip": (-12, 12), "knee": (60, 110), "spine": (-10, 35)},
    "kneel": {"pitch": (80, 115), "hip": (0, 20), "knee": (85, 115), "spine": (-5, 30)},
    "on_heels": {"pitch": (75, 120), "hip": (-30, 0), "knee": (125, 150), "spine": (0, 35)},
    "all_fours": {"pitch": (150, 185), "hip": (-15, 15), "knee": (80, 110)},
    "crouch": {"pitch": (90, 130), "hip": (-20, 15), "knee": (100, 140), "spine": (0, 30)},
    "bend": {"pitch": (90, 155), "hip": (-5, 15), "knee": (0, 35), "spine": (0, 50)},
}  # fmt: skip
LEVEL = ("supine", "knees_up", "sit_in_bed", "sit", "on_heels", "crouch")
UPRIGHT = ("kneel", "all_fours", "bend")
IN_BED = ("supine", "knees_up", "side_left", "side_right", "prone", "sit_in_bed")
HEELS_DOWN = ("supine", "knees_up", "sit_in_bed")
NEXT = {  # what may follow within a clip
    "supine": ("supine", "knees_up", "side_left", "side_right", "sit_in_bed"),
    "knees_up": ("knees_up", "supine", "side_left", "side_right", "sit_in_bed"),
    "side_left": ("side_left", "supine", "prone"),
    "side_right": ("side_right", "supine"),
    "prone": ("prone", "side_left"),
    "sit_in_bed": ("sit_in_bed", "supine", "sit"),
    "sit": ("sit", "sit_in_bed", "bend"),
    "kneel": ("kneel", "on_heels", "all_fours", "bend"),
    "on_heels": ("on_heels", "kneel", "all_fours"),
    "all_fours": ("all_fours", "kneel"),
    "crouch": ("crouch", "bend", "kneel"),
    "bend": ("bend", "crouch", "sit"),
}
ARMS = {  # of the left: raised or lowered, swung forward, elbow bent; degrees from and to
    "down": ((-85, -60), (0, 20), (0, 40)),
    "on_lap": ((-80, -60), (10, 45), (50, 110)),
    "forward": ((-25, 15), (60, 95), (0, 50)),
    "up": ((20, 80), (0, 40), (0, 90)),
}
ANGLES = (
    "pitch", "roll", "spine", "twist", "left_hip", "right_hip", "left_knee", "right_knee", "left_spread",
    "right_spread",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class PoseClip:
    """Motion of one person at 60 fps."""

    name: str
    """Name of the clip; composed ones begin with `composed/`."""
    held_out: bool
    """True where the clip tests and does not train."""
    rotations: Float[Tensor, "frame 24 3 3"]
    """Rotation of the pelvis to the world (Z up), of the other joints to their parents."""
    pelvis: Float[Tensor, "frame 3"]
    """Position of the pelvis in the world, metres."""
    lowest: Float[Tensor, " frame"]
    """Height in metres of the lowest joint above the surface that carries the person."""
    lift: Float[Tensor, " frame"]
    """Share of a bed's height that lies below the person, 0 (floor) to 1 (bed)."""

    @property
    def composed(self) -> bool:
        """True for a composed clip."""
        return self.name.startswith("composed/")


def read_poses(cmu: Path | None, composed: int, body: Body) -> list[PoseClip]:
    """Read all captured clips, and compose `composed` ones that borrow from them."""
    clips = [clip for sequence in _sequences(cmu, body) for clip in _people(sequence, body)]
    rng = np.random.default_rng(0)
    frames = round(COMPOSED_S * RATE_FPS)
    return clips + [_compose(clips[rng.integers(len(clips))], frames, body, rng) for _ in range(composed)]


def to_and_fro(number: Int64[Tensor, "*batch"], length: Int64[Tensor, "*clip"]) -> Int64[Tensor, "*batch"]:
    """Fold frame numbers beyond the end of a clip back into it."""
    period = (2 * (length - 1)).clamp_min(1)
    folded = number % period
    return torch.minimum(folded, period - folded)


def _sequences(cmu: Path | None, body: Body) -> list[MotionSequence]:
    sequences = [deepmimic.read_clip(clip, body) for clip in deepmimic.list_clips()]
    return sequences + [bvh.read_clip(clip, body) for clip in (bvh.list_clips(cmu) if cmu else [])]


def _people(sequence: MotionSequence, body: Body) -> list[PoseClip]:
    sequence = resample(sequence, RATE_FPS, body)
    rotations = sequence.parameters.rotations
    return [
        PoseClip(
            name=f"{sequence.id}#{person}",
            held_out=_held_out(sequence.id),
            rotations=rotations[person],
            pelvis=torch.from_numpy(joints[:, 0]),
            lowest=torch.from_numpy(joints[..., 2].min(axis=1)),
            lift=torch.zeros(len(joints)),
        )
        for person, joints in enumerate(sequence.joints)
    ]


def _held_out(name: str) -> bool:
    return name in HELD_OUT or hashlib.sha256(name.encode()).digest()[0] % 10 == 0


def _compose(source: PoseClip, frames: int, body: Body, rng: np.random.Generator) -> PoseClip:
    """Compose a clip of two drawn postures and the way from one to the other, moved as the source moves."""
    first = str(rng.choice(list(KINDS)))
    second = str(rng.choice(NEXT[first]))
    ease = _ease(frames, rng)
    drawn = [_draw(kind, rng) for kind in (first, second)]
    angles = {name: (1 - ease) * drawn[0][name] + ease * drawn[1][name] for name in ANGLES}
    lift = torch.from_numpy((1 - ease) * (first in IN_BED) + ease * (second in IN_BED)).float()
    at = int(rng.integers(len(source.rotations)))
    rotations = source.rotations[to_and_fro(at + torch.arange(frames), torch.tensor(len(source.rotations)))]
    _pose_trunk_and_legs(rotations, angles)
    _pose_arms(rotations, rng)
    pelvis = torch.zeros(frames, 3)
    heights = SmplParameters.from_pelvis(pelvis, rotations, torch.zeros(10), body).joints(body)[..., 2]
    pelvis[:, 2] = rng.uniform(0.05, 0.11) - heights[:, CARRYING].amin(dim=1)
    lowest = pelvis[:, 2] + heights.amin(dim=1)
    return PoseClip(f"composed/{first}-{second}/{source.name}", source.held_out, rotations, pelvis, lowest, lift)


def _ease(frames: int, rng: np.random.Generator) -> Float64[np.ndarray, " frame"]:
    """Compute a smooth rise from 0 to 1 at a random time."""
    start, length = rng.uniform(0.0, 0.6), rng.uniform(0.25, 0.6)
    return smoothstep(np.clip((np.linspace(0, 1, frames) - start) / length, 0, 1))


def _draw(kind: str, rng: np.random.Generator) -> dict[str, float]:
    """Draw the angles of one posture in degrees; both legs alike up to some degrees."""
    spec = KINDS[kind]
    value = {name: rng.uniform(*spec.get(name, (-5, 20))) for name in ("pitch", "roll", "spine", "hip", "knee")}
    if "roll" not in spec:
        value["roll"] = rng.normal(0, 6)
    base = value["pitch"] if kind in LEVEL else value["pitch"] - 90 if kind in UPRIGHT else 0.0
    value["knee"] += 2 * value["hip"] * (kind in HEELS_DOWN)
    drawn = {"pitch": value["pitch"], "roll": value["roll"], "spine": value["spine"], "twist": rng.normal(0, 8)}
    for side in ("left", "right"):
        drawn[f"{side}_hip"] = base + value["hip"] + rng.normal(0, 7)
        drawn[f"{side}_knee"] = max(value["knee"] + rng.normal(0, 10), 0.0)
        drawn[f"{side}_spread"] = rng.uniform(-5, 25)
    return drawn


def _pose_trunk_and_legs(
    rotations: Float[Tensor, "frame 24 3 3"], angles: dict[str, Float64[np.ndarray, " frame"]]
) -> None:
    rotations[:, 0] = about_degrees("x", angles["pitch"]) @ about_degrees("y", angles["roll"])
    flexed = about_degrees("x", angles["spine"] / 3) @ about_degrees("y", angles["twist"] / 3)
    for name in ("spine1", "spine2", "spine3"):
        rotations[:, JOINT[name]] = flexed @ _part(rotations[:, JOINT[name]], SPINE_SHARE)
    for side, out in (("left", 1), ("right", -1)):
        hip, knee = JOINT[f"{side}_hip"], JOINT[f"{side}_knee"]
        moved = _part(rotations[:1, hip].mT @ rotations[:, hip], LEG_SHARE)
        rotations[:, hip] = (
            about_degrees("z", out * angles[f"{side}_spread"]) @ about_degrees("x", -angles[f"{side}_hip"]) @ moved
        )
        moved = _part(rotations[:1, knee].mT @ rotations[:, knee], LEG_SHARE)
        rotations[:, knee] = about_degrees("x", angles[f"{side}_knee"]) @ moved


def _pose_arms(rotations: Float[Tensor, "frame 24 3 3"], rng: np.random.Generator) -> None:
    """Pose each arm as captured, or drawn to some degree towards one of `ARMS`."""
    for side, out in (("left", 1), ("right", -1)):
        kept = float(rng.choice([1.0, rng.uniform(0.1, 0.7)]))
        raised, swung, bent = (np.full(len(rotations), rng.uniform(*r)) for r in ARMS[str(rng.choice(list(ARMS)))])
        shoulder = about_degrees("y", -out * swung) @ about_degrees("z", out * raised)
        for joint, drawn in ((f"{side}_shoulder", shoulder), (f"{side}_elbow", about_degrees("y", -out * bent))):
            weight = torch.full((len(rotations),), kept)
            rotations[:, JOINT[joint]] = slerp(drawn, rotations[:, JOINT[joint]], weight)


def _part(rotation: Float[Tensor, "frame 3 3"], share: float) -> Float[Tensor, "frame 3 3"]:
    return slerp(torch.eye(3).expand_as(rotation), rotation, torch.full((len(rotation),), share))
