"""What is kept of a motion while the rest is generated: told to the network, joined without a jump, copied to the bit.

World: Z up, metres. The network's frame is the one that training clips have (`unify.canonical_start`): the first person
starts above the origin and faces +Y. A given motion stays where it is; the frames are mapped into each other.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn.functional import pad

from motion.body import Body
from motion.clips.transforms import check_body, heading, transform
from motion.errors import InputError
from motion.features import VELOCITIES, encode_sequence
from motion.rotations import matrix_from_6d, matrix_to_6d, slerp
from motion.sequence import MotionSequence

USUAL = 0.9  # quantile of the given changes of velocity, up to about which one at a seam is no jump
SEAM = 0.15  # seconds over which what is generated bends to meet what is given
EASE = 0.5  # seconds from the nearest kept frame from which on clean-up acts in full
POSE = ("transl", "global_orient", "body_pose")


@dataclass(frozen=True, eq=False)
class Given:
    """The first persons and frames of the motion to generate, of which those come out unchanged that are `kept`.

    The network starts where the first kept frame of the first kept person says; better that is the clip's first.
    """

    motion: MotionSequence
    kept: Bool[np.ndarray, "person frame"]

    def __post_init__(self) -> None:
        owner, seen = f"the given motion {self.motion.id}", self.motion.valid
        if self.kept.shape != seen.shape or self.kept.dtype != np.bool_:
            found = f"{self.kept.dtype} of shape {self.kept.shape}"
            raise InputError(f"{owner}: kept is {found}, expected bool of shape {seen.shape}, its persons and frames")
        if not self.kept.any():
            raise InputError(f"{owner}: nothing of it is kept, expected at least one frame of one person")
        if (self.kept & ~seen).any():
            person, frame = np.argwhere(self.kept & ~seen)[0]
            raise InputError(f"{owner}: keeps frame {frame} of person {person}, who is not valid there")

    def check(self, num_persons: int, num_frames: int, fps: float, body: Body) -> None:
        """Raise InputError where a clip of so many persons and frames cannot hold it."""
        motion, owner = self.motion, f"the given motion {self.motion.id}"
        check_body(motion, body)
        if motion.fps != fps:
            raise InputError(f"{owner} has {motion.fps:g} frames per second, this model {fps:g}: resample it first")
        for name, found, most in (
            ("persons", motion.num_persons, num_persons),
            ("frames", motion.num_frames, num_frames),
        ):
            if found > most:
                raise InputError(f"{owner} has {found} {name}, but {most} are asked for")
        if self.in_clip(num_persons, num_frames).all():
            raise InputError(f"{owner} is kept whole: nothing is left to generate")

    def in_clip(self, num_persons: int, num_frames: int) -> Bool[np.ndarray, "person frame"]:
        """`kept` in a clip of so many persons and frames."""
        persons, frames = self.kept.shape
        return np.pad(self.kept, ((0, num_persons - persons), (0, num_frames - frames)))

    def placement(self) -> tuple[Float32[np.ndarray, "3 3"], Float32[np.ndarray, "3"]]:
        """The network's frame in the world, which is where x is at turn @ x + origin."""
        person = int(self.kept.any(axis=1).argmax())
        start = int(self.kept[person].argmax())
        joints, turn = self.motion.joints[person, start], np.eye(3, dtype=np.float32)
        east, north = heading(joints, self.motion.global_orient[person, start])
        turn[:2, :2] = [[north, east], [-east, north]]
        return turn, joints[0] * np.array([1, 1, 0], dtype=np.float32)

    def features(self, body: Body) -> Float[Tensor, "person frame 282"]:
        """In the network's frame; of frames that are not kept they mean nothing.

        Where the frame before is not kept, the velocity is that of the next frame, or zero if that is not kept either.
        """
        turn, origin = self.placement()
        features = encode_sequence(transform(self.motion, turn.T, -turn.T @ origin, body))
        kept, velocities = torch.from_numpy(self.kept), features[..., VELOCITIES]
        first = kept & ~pad(kept[:, :-1], (1, 0))
        first[:, 0] = False  # the clip's own first velocity is zero
        following = pad((velocities * (kept & ~first)[..., None])[:, 1:], (0, 0, 0, 1))
        features[..., VELOCITIES] = torch.where(first[..., None], following, velocities)
        return features

    def digest(self) -> str:
        """The same for the same frames of the same motion."""
        arrays = [self.kept, self.motion.betas, *(getattr(self.motion, name)[self.kept] for name in POSE)]
        return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def join(motion: MotionSequence, given: Given, body: Body) -> MotionSequence:
    """A motion generated in the network's frame, in the world, with what is kept and without a jump beside it."""
    motion = keep(transform(motion, *given.placement(), body), given)
    transl, orient, pose = (torch.from_numpy(getattr(motion, name)) for name in POSE)
    rotations = matrix_to_6d(torch.cat([orient[:, :, None], pose], dim=2)).transpose(1, 2)
    met = [transl.clone(), rotations.clone()]
    for person, kept in enumerate(torch.from_numpy(given.in_clip(*motion.valid.shape))):
        met[0][person] = meet(transl[person, None].double(), kept, motion.fps)[0]
        met[1][person] = meet(rotations[person].double(), kept, motion.fps)
    turned = matrix_from_6d(met[1].transpose(1, 2))
    return keep(_posed(motion, body, met[0], turned[:, :, 0], turned[:, :, 1:]), given)


def meet(
    values: Float[Tensor, "part frame number"], kept: Bool[Tensor, " frame"], fps: float
) -> Float[Tensor, "part frame number"]:
    """The values y that go over into the kept ones without a jump, and change least from what they were, v.

    They minimise Σ |Δ²(y - v) + jump|² over all steps + λ Σ |y - v|² (Poisson image editing, Pérez et al. 2003, but of
    curvature), where λ lets a correction fade over `SEAM`. The jump is Δ²v in the steps across a seam, less what is
    usual: at the 90th percentile of the part's kept frames half of it counts, above it soon all.
    """
    if len(kept) < 3:
        return values
    bend = torch.eye(len(kept)).to(values).diff(n=2, dim=0)
    of_kept, of_free = ((bend != 0) & kept).any(dim=1), ((bend != 0) & ~kept).any(dim=1)
    change = bend @ values
    size = change.square().sum(dim=-1, keepdim=True)
    usual = pad(size[:, ~of_free], (0, 0, 1, 0)).quantile(USUAL, dim=1, keepdim=True)
    jump = (of_kept & of_free)[:, None] * change * size / (size + usual).clamp_min(1e-12)
    free = bend[:, ~kept]
    stiff = free.mT @ free + torch.eye(free.shape[1]).to(free) / (SEAM * fps) ** 4
    met = values.clone()
    met[:, ~kept] -= torch.linalg.solve(stiff, free.mT @ jump)
    return met


def ease(cleaned: MotionSequence, raw: MotionSequence, given: Given, body: Body) -> MotionSequence:
    """The cleaned motion, which goes over into the one before clean-up where kept frames are near."""
    kept = given.in_clip(*raw.valid.shape)
    frames = np.stack([distance_transform_edt(~row) if row.any() else np.full(len(row), np.inf) for row in kept])
    share = np.clip(frames / (EASE * raw.fps), 0, 1)
    weight = torch.from_numpy((share**2 * (3 - 2 * share)).astype(np.float32))
    before, after = ([torch.from_numpy(getattr(each, name)) for name in POSE] for each in (raw, cleaned))
    transl = torch.lerp(before[0], after[0], weight[..., None])
    orient = slerp(before[1], after[1], weight)
    pose = slerp(before[2], after[2], weight[..., None].expand(before[2].shape[:-2]))
    return keep(_posed(cleaned, body, transl, orient, pose), given)


def keep(motion: MotionSequence, given: Given) -> MotionSequence:
    """The motion with the kept frames of the given one, to the bit."""
    persons, frames = given.kept.shape
    changed: dict[str, Any] = {}
    for name in (*POSE, "joints"):
        changed[name] = getattr(motion, name).copy()
        changed[name][:persons, :frames][given.kept] = getattr(given.motion, name)[given.kept]
    return replace(motion, **changed)


def _posed(motion: MotionSequence, body: Body, transl: Tensor, orient: Tensor, pose: Tensor) -> MotionSequence:
    joints = body.joints(transl, orient, pose, torch.from_numpy(motion.betas))
    arrays: dict[str, Any] = dict(zip((*POSE, "joints"), (transl, orient, pose, joints), strict=True))
    return replace(motion, **{name: array.numpy() for name, array in arrays.items()})
