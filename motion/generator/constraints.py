"""Inpainting constraints: frames to keep, how they enter the network, and how the result is blended to them.

Kept frames are bit-identical in the result. World: Z up, metres. The network's frame is the one that training clips
have (`canonical_start` of `motion.clips.transforms`): the first person starts above the origin and faces +Y. A
constraint stays where it is; the two frames are mapped into each other.
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
from motion.clips.transforms import check_body, heading, smoothstep, transform
from motion.errors import InputError
from motion.features import VELOCITIES, encode_sequence
from motion.rotations import matrix_from_6d, matrix_to_6d
from motion.sequence import MotionSequence
from motion.smpl_parameters import SmplParameters

USUAL_QUANTILE = 0.9  # of the kept changes of velocity; up to about it, one at a seam is no jump
SEAM_S = 0.15  # over which generated frames bend to meet kept ones
FADE_S = 0.5  # from the nearest kept frame to where clean-up acts in full
KEPT = ("transl", "global_orient", "body_pose", "joints")
"""Fields of a record that are copied in kept frames."""


@dataclass(frozen=True, eq=False, repr=False)
class Given:
    """Inpainting constraint: the first persons and frames of the motion to generate, and which of them to keep.

    The network's frame starts at the first kept frame of the first kept person; better that is the clip's first. Raises
    InputError if nothing is kept, or a frame that is not valid.
    """

    motion: MotionSequence
    """Motion that holds the frames to keep; other frames of it are not read."""
    kept: Bool[np.ndarray, "person frame"]
    """True where the frame of the person is kept."""

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

    def __repr__(self) -> str:
        persons, frames = self.kept.shape
        return f"Given {self.motion.id}: keeps {self.kept.sum()} of {persons} x {frames} frames (person x frame)"

    def check(self, num_persons: int, num_frames: int, fps: float, body: Body) -> None:
        """Raise InputError where a clip of so many persons and frames cannot hold the constraint."""
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
        """Pad `kept` to a clip of so many persons and frames."""
        persons, frames = self.kept.shape
        return np.pad(self.kept, ((0, num_persons - persons), (0, num_frames - frames)))

    def placement(self) -> tuple[Float32[np.ndarray, "3 3"], Float32[np.ndarray, "3"]]:
        """Compute (turn, origin): a point x of the network's frame is at turn @ x + origin in the world (m)."""
        person = int(self.kept.any(axis=1).argmax())
        start = int(self.kept[person].argmax())
        joints, turn = self.motion.joints[person, start], np.eye(3, dtype=np.float32)
        east, north = heading(joints, self.motion.global_orient[person, start])
        turn[:2, :2] = [[north, east], [-east, north]]
        return turn, joints[0] * np.array([1, 1, 0], dtype=np.float32)

    def features(self, body: Body) -> Float[Tensor, "person frame 282"]:
        """Encode the motion in the network's frame; features of frames that are not kept mean nothing.

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
        """Compute a hash that is the same for the same kept frames of the same motion."""
        arrays = [self.kept, self.motion.betas, *(getattr(self.motion, name)[self.kept] for name in KEPT[:3])]
        return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def blend_into(motion: MotionSequence, given: Given, body: Body) -> MotionSequence:
    """Move a motion from the network's frame into the world, with the kept frames and without a jump at their ends."""
    motion = copy_kept(transform(motion, *given.placement(), body), given)
    parameters = motion.parameters
    transl, rotations = parameters.transl, matrix_to_6d(parameters.rotations).transpose(1, 2)
    met = [transl.clone(), rotations.clone()]
    for person, kept in enumerate(torch.from_numpy(given.in_clip(*motion.valid.shape))):
        met[0][person] = match_curvature(transl[person, None].double(), kept, motion.fps)[0]
        met[1][person] = match_curvature(rotations[person].double(), kept, motion.fps)
    turned = matrix_from_6d(met[1].transpose(1, 2))
    joined = SmplParameters(met[0], turned[:, :, 0], turned[:, :, 1:], parameters.betas)
    return copy_kept(replace(motion, **joined.posed_arrays(body)), given)


def match_curvature(
    values: Float[Tensor, "part frame number"], kept: Bool[Tensor, " frame"], fps: float
) -> Float[Tensor, "part frame number"]:
    """Correct v so that it meets the kept frames without a jump of curvature: argmin_y Σ|Δ²(y-v)+jump|² + λ Σ|y-v|².

    This is Poisson image editing (Pérez et al. 2003), but of curvature; λ lets a correction fade over `SEAM_S`. The
    jump is Δ²v in the steps across a seam, less what is usual: at the 90th percentile of the part's kept frames half of
    it counts, above it soon all. `kept`: True = is kept.
    """
    if len(kept) < 3:
        return values
    bend = torch.eye(len(kept)).to(values).diff(n=2, dim=0)
    of_kept, of_free = ((bend != 0) & kept).any(dim=1), ((bend != 0) & ~kept).any(dim=1)
    change = bend @ values
    size = change.square().sum(dim=-1, keepdim=True)
    usual = pad(size[:, ~of_free], (0, 0, 1, 0)).quantile(USUAL_QUANTILE, dim=1, keepdim=True)
    jump = (of_kept & of_free)[:, None] * change * size / (size + usual).clamp_min(1e-12)
    free = bend[:, ~kept]
    stiff = free.mT @ free + torch.eye(free.shape[1]).to(free) / (SEAM_S * fps) ** 4
    met = values.clone()
    met[:, ~kept] -= torch.linalg.solve(stiff, free.mT @ jump)
    return met


def fade_cleanup(cleaned: MotionSequence, raw: MotionSequence, given: Given, body: Body) -> MotionSequence:
    """Fade the cleaned motion into the one before clean-up where kept frames are near."""
    kept = given.in_clip(*raw.valid.shape)
    frames = np.stack([distance_transform_edt(~row) if row.any() else np.full(len(row), np.inf) for row in kept])
    share = np.clip(frames / (FADE_S * raw.fps), 0, 1)
    weight = torch.from_numpy(smoothstep(share).astype(np.float32))
    eased = raw.parameters.blended(cleaned.parameters, weight)
    return copy_kept(replace(cleaned, **eased.posed_arrays(body)), given)


def copy_kept(motion: MotionSequence, given: Given) -> MotionSequence:
    """Copy the kept frames into the motion, bit-identical."""
    persons, frames = given.kept.shape
    changed: dict[str, Any] = {}
    for name in KEPT:
        changed[name] = getattr(motion, name).copy()
        changed[name][:persons, :frames][given.kept] = getattr(given.motion, name)[given.kept]
    return replace(motion, **changed)
