"""Moves an estimate of x_0 to where the terms want it, as bodies move: by turning joints and shifting pelvises.

Guidance on the clean estimate follows GMD (Karunratanakul et al. 2023) and OmniControl (Xie et al. 2024). Where those
follow a gradient that the network or a vanishing noise level scales, here the correction is the most probable one
under a prior of its own: smooth in time, in metres and radians, the same at all noise levels. So guidance holds to
the end of sampling, and one waypoint bends the whole path to it.

A correction turns every joint about its parent and shifts the pelvis. Positions and rotations of the estimate that
do not agree, as early in sampling, are carried along rigidly, so that they agree as much as before and `decode` of the
result moves exactly as the energies saw. Velocities change by the differences of the positions' changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.errors import InputError
from motion.features import POSITIONS, ROTATIONS, VELOCITIES, Normalizer
from motion.guidance_terms.figure import Figure, Physique
from motion.guidance_terms.lbfgs import minimise
from motion.guidance_terms.term import Term
from motion.kinematics import forward_kinematics, root_orientation
from motion.rotations import matrix_from_6d
from motion.skeleton import NUM_JOINTS, PARENTS

STEPS = 16
SHIFT, TURN = (0.3, 0.3, 0.1), 0.2  # metres and radians: standard deviations of a correction
LIMB_SHARE = 0.5  # of how much a limb turns in the data, which bounds its standard deviation
SCALES = ((8.0, 0.8), (1.0, 0.6))  # frames and share of corrections that last so long; shares' squares sum to 1
LONGEST_STEP = 0.3  # metres and radians
STIFFEST = 1e-3  # the least that a turn counts against a shift
PARENT = (0, *PARENTS[1:])


def _descends() -> list[list[bool]]:
    """Whether the second joint moves when the first one turns."""
    above: list[set[int]] = []
    for parent in PARENTS:
        above.append({parent} | above[parent] if parent >= 0 else set())
    return [[one in above[two] for two in range(NUM_JOINTS)] for one in range(NUM_JOINTS)]


DESCENDS = _descends()


def steer(
    x0: Float[Tensor, "batch person frame feature"],
    progress: Float[Tensor, " batch"],
    normalizer: Normalizer,
    physique: Physique,
    valid: Bool[Tensor, "batch person frame"],
    terms: Sequence[Term],
) -> Float[Tensor, "batch person frame feature"]:
    """The normalised estimate after the terms active at this `progress` (0: pure noise, 1: done) have moved it.

    Samples without an active term and frames that are not valid come back as they were.
    """
    if not terms:
        return x0
    if any(len(term.weight) != len(x0) for term in terms):
        raise InputError(f"a guidance term has not {len(x0)} weights, expected one for each sample of the batch")
    with torch.inference_mode(False):
        weights = [term.active_weight(progress).double() for term in terms]
        terms = [_in_doubles(term) for term in terms]
        estimate = _Estimate.of(x0.double(), _in_doubles(normalizer), _in_doubles(physique), valid.clone())
        smooth = _Smooth.of(estimate.valid, estimate.deviations)
        scale = smooth.scale(estimate.rest[:, :, 0])
        unmoved = estimate.posed(smooth(smooth.nothing()))[0]

        def energy(scaled: Tensor) -> Tensor:
            figure = Figure(estimate.posed(smooth(scale * scaled))[0], unmoved, estimate.physique, estimate.valid)
            prior = 0.5 * (scale * scaled).square().sum(dim=1)
            return sum((w * term.energy(figure) for w, term in zip(weights, terms, strict=True)), prior)

        best = scale * minimise(energy, smooth.nothing(), lambda step: smooth.limit(scale * step), STEPS)
        active = torch.stack(weights).sum(dim=0)[:, None, None] > 0
        return torch.where((active & valid)[..., None], x0 + estimate.change(smooth(best)).to(x0), x0)


def _in_doubles(record: Any) -> Any:
    """A dataclass with copies of its tensors: made in inference mode, they could take no part in gradients.

    Float64, as rounding, which depends on a batch's shape, would else decide which steps are taken near the end.
    """
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    tensors = {name: value.clone() for name, value in values.items() if isinstance(value, Tensor)}
    floats = {name: value.double() for name, value in tensors.items() if value.is_floating_point()}
    return replace(record, **(tensors | floats))


@dataclass(frozen=True, eq=False)
class _Estimate:
    """The estimate in metres. Correction: the pelvis' shift, then 24 rotation vectors in each parent's frame."""

    normalizer: Normalizer
    physique: Physique
    valid: Tensor
    rest: Tensor
    positions: Tensor
    rotations: Tensor
    """Of the root in the world and of the other joints against their parents."""
    columns: Tensor
    """The 23 joints' 6D as it came, (3, 2)."""
    residual: Tensor
    """What the positions deviate from the body's joints by, in the frame of each parent."""

    @classmethod
    def of(cls, x0: Tensor, normalizer: Normalizer, physique: Physique, valid: Tensor) -> "_Estimate":
        """Where nobody is, somebody in T-pose stands in, as padding may hold what is no pose."""
        features, there = normalizer.denormalize(x0), valid[..., None, None]
        rest = physique.rest_joints[:, :, None].expand(-1, -1, x0.shape[2], -1, -1)
        positions = torch.where(there, features[..., POSITIONS].unflatten(-1, (NUM_JOINTS, 3)), rest)
        columns = features[..., ROTATIONS].unflatten(-1, (NUM_JOINTS - 1, 3, 2))
        columns = torch.where(there[..., None], columns, torch.eye(3).to(columns)[:, :2])
        root = root_orientation(positions, rest)
        rotations = torch.cat([root[..., None, :, :], matrix_from_6d(columns.flatten(-2))], dim=-3)
        joints, world = _joints(positions[..., 0, :], rotations, rest)
        residual = torch.einsum("...kji,...kj->...ki", world[..., PARENT, :, :], positions - joints)
        return cls(normalizer, physique, valid, rest, positions, rotations, columns, residual)

    @property
    def deviations(self) -> Tensor:
        """Standard deviations of a correction: a limb that never turns in the data, as hands in mocap, keeps still."""
        limbs = self.normalizer.std[ROTATIONS].view(-1, 6).square().sum(dim=-1).sqrt() / 2
        turns = torch.cat([limbs.new_tensor([TURN]), (LIMB_SHARE * limbs).clamp_max(TURN)])
        return torch.cat([limbs.new_tensor(SHIFT), turns.repeat_interleave(3)])

    def posed(self, correction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Joints of the corrected bodies, the rotations of their joints in the world, and the joints' turns."""
        turns = roma.rotvec_to_rotmat(correction[..., 3:].unflatten(-1, (NUM_JOINTS, 3)))
        pelvis = self.positions[..., 0, :] + correction[..., :3]
        return *_joints(pelvis, turns @ self.rotations, self.rest), turns

    def change(self, correction: Tensor) -> Tensor:
        """What the correction adds to the normalised features."""
        joints, world, turns = self.posed(correction)
        carried = torch.einsum("...kij,...kj->...ki", world[..., PARENT, :, :], self.residual)
        moved = joints + carried - self.positions
        before = torch.cat([torch.zeros_like(self.valid[..., :1]), self.valid[..., :-1]], dim=-1)
        sped = torch.where(before[..., None, None], moved - moved.roll(1, dims=2), 0.0)
        change = torch.zeros(*moved.shape[:3], len(self.normalizer.std)).to(moved)
        change[..., POSITIONS], change[..., VELOCITIES] = moved.flatten(-2), sped.flatten(-2)
        change[..., ROTATIONS] = (turns[..., 1:, :, :] @ self.columns - self.columns).flatten(-3)
        return change / self.normalizer.std


def _joints(pelvis: Tensor, rotations: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    return forward_kinematics(rest, pelvis - rest[..., 0, :], rotations[..., 0, :, :], rotations[..., 1:, :, :])


@dataclass(frozen=True, eq=False)
class _Smooth:
    """Corrections as a Gaussian process over the valid frames, from independent standard normal numbers."""

    kernels: Float[Tensor, "batch person scale frame frame"]
    deviations: Float[Tensor, " part"]

    @classmethod
    def of(cls, valid: Tensor, deviations: Tensor) -> "_Smooth":
        frames = torch.arange(valid.shape[-1], device=valid.device)
        apart = (frames[:, None] - frames).to(deviations)
        bells = torch.stack([torch.exp(-0.5 * (apart / frames_long).square()) for frames_long, _ in SCALES])
        there = valid[:, :, None].to(deviations)
        known = there[..., None, :] * bells * there[..., :, None]
        shares = deviations.new_tensor([share for _, share in SCALES])[:, None, None]
        return cls(shares * torch.nn.functional.normalize(known, dim=-1, eps=1e-6), deviations)

    def nothing(self) -> Tensor:
        batch, persons, scales, frames, _ = self.kernels.shape
        return self.kernels.new_zeros(batch, persons * scales * frames * len(self.deviations))

    def __call__(self, whitened: Tensor) -> Tensor:
        numbers = whitened.view(*self.kernels.shape[:4], len(self.deviations))
        return (self.kernels @ numbers).sum(dim=2) * self.deviations

    def scale(self, rest: Tensor) -> Tensor:
        """A preconditioner that makes a wrist's turn count more like the pelvis' shift, which carries all joints.

        The fourth root goes half the way: wholly equal, limbs would turn for what a shift should do.
        """
        apart = (rest[:, :, :, None] - rest[:, :, None]).square().sum(dim=-1)
        below = torch.tensor(DESCENDS).to(rest)
        turned = (apart * below).sum(dim=-1).repeat_interleave(3, dim=-1) * 2 / 3
        way = torch.cat([torch.full_like(turned[..., :3], NUM_JOINTS), turned], dim=-1) * self.deviations.square()
        shifted = way[..., :1]
        scale = (shifted / way.clamp_min(STIFFEST * shifted)) ** 0.25
        return scale[:, :, None, None].expand(*self.kernels.shape[:4], -1).flatten(1)

    def limit(self, step: Tensor) -> Tensor:
        longest = self(step).abs().flatten(1).amax(dim=1, keepdim=True)
        return (LONGEST_STEP / longest.clamp_min(LONGEST_STEP)).detach()
