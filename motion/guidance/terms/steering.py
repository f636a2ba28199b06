"""Steering: the correction of an estimate of x_0 that the terms ask for, by turning joints and shifting pelvises.

Guidance on the clean estimate follows GMD (Karunratanakul et al. 2023) and OmniControl (Xie et al. 2024). Where those
follow a gradient that the network or a vanishing noise level scales, here the correction is the most probable one under
a prior of its own: smooth in time, in metres and radians, the same at all noise levels. So guidance acts until the end
of sampling, and one waypoint bends the whole path to it.

A correction turns every joint about its parent and shifts the pelvis. Positions and rotations of the estimate that do
not agree, as early in sampling, are carried along rigidly, so that they agree as much as before and `decode` of the
result moves exactly as the energies saw. Velocities change by the differences of the positions' changes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import roma
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.errors import InputError
from motion.features import POSITIONS, ROTATIONS, VELOCITIES, Normalizer
from motion.guidance.terms.figure import BodyShape, Figure
from motion.guidance.terms.least_squares import Prior, damped_step
from motion.guidance.terms.term import Term
from motion.kinematics import forward_kinematics, root_orientation
from motion.rotations import matrix_from_6d
from motion.skeleton import NUM_JOINTS, PARENTS

DAMPINGS = (50.0, 10.0, 2.0)  # per Newton step; the last value repeats
LATE_SHARE = 0.65  # of sampling; from here on there are more steps, as their effect stays
MORE_STEPS = 12  # at the end of sampling
SHIFT_STD_M = (0.3, 0.3, 0.1)  # standard deviations of a correction, x, y and z
TURN_STD_RAD = 0.2
LIMB_SHARE = 0.5  # of how much a limb turns in the data; bounds its standard deviation
TIME_SCALES = ((8.0, 0.8), (1.0, 0.6))  # (frames, share) of corrections of this length; squares of shares sum to 1
MIN_LEVERAGE = 1e-3  # of a turn against a shift
PARENT = (0, *PARENTS[1:])
Energy = Callable[[Tensor], Tensor]


def _descends() -> list[list[bool]]:
    """Build the table `DESCENDS` from the joints' parents."""
    above: list[set[int]] = []
    for parent in PARENTS:
        above.append({parent} | above[parent] if parent >= 0 else set())
    return [[one in above[two] for two in range(NUM_JOINTS)] for one in range(NUM_JOINTS)]


DESCENDS = _descends()
"""Table of joint pairs: True where the second joint moves when the first one turns."""


def steer(
    x0: Float[Tensor, "batch person frame feature"],
    progress: Float[Tensor, " batch"],
    normalizer: Normalizer,
    body_shape: BodyShape,
    valid: Bool[Tensor, "batch person frame"],
    terms: Sequence[Term],
) -> Float[Tensor, "batch person frame feature"]:
    """Correct the normalized estimate by the terms active at this `progress` (0: pure noise, 1: done).

    Samples without an active term and frames that are not valid are returned unchanged. Raises InputError if a term has
    not one weight per sample.
    """
    if not terms:
        return x0
    if any(len(term.weight) != len(x0) for term in terms):
        raise InputError(f"a guidance term has not {len(x0)} weights, expected one for each sample of the batch")
    with torch.inference_mode(False):
        weights = [term.active_weight(progress).double() for term in terms]
        terms = [in_doubles(term, x0.device) for term in terms]
        scale, shape = (in_doubles(record, x0.device) for record in (normalizer, body_shape))
        estimate = _Estimate.of(x0.double(), scale, shape, valid.clone())
        prior = _prior(estimate)

        def energy(joints: Tensor) -> Tensor:
            figure = Figure(joints, estimate.joints, estimate.body_shape, estimate.valid)
            return torch.stack([w * term.energy(figure) for w, term in zip(weights, terms, strict=True)]).sum()

        pull = torch.zeros_like(prior.step_scale).expand(*valid.shape, -1)
        steps = len(DAMPINGS) + (MORE_STEPS * (progress - LATE_SHARE) / (1 - LATE_SHARE)).clamp(0, MORE_STEPS).round()
        for number in range(int(steps.max())):
            linkage, damping = estimate.linkage(prior.smoothed(pull)), DAMPINGS[min(number, len(DAMPINGS) - 1)]
            step = damped_step(*_derivatives(energy, linkage, pull), prior, damping)
            pull = torch.where((number < steps)[:, None, None, None], pull + step, pull)
        change = estimate.change(prior.smoothed(pull)).to(x0)
        active = torch.stack(weights).sum(dim=0)[:, None, None] > 0
        return torch.where((active & valid)[..., None], x0 + change, x0)


def _derivatives(energy: Energy, linkage: "_Linkage", pull: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Compute the slope of energy and prior at `pull`, and the energy's curvature along a correction."""
    slope, curvature = torch.func.vjp(torch.func.grad(energy), linkage.joints)[:2]
    return linkage.pulled(slope) + pull, lambda along: linkage.pulled(curvature(linkage.moved(along))[0])


def in_doubles(record: Any, device: torch.device) -> Any:
    """Copy the tensors of a dataclass to `device`, numbers as float64, so that they can take part in gradients.

    Tensors that were made in inference mode cannot. Float64 makes the rounding that depends on a batch's shape small.
    """
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    tensors = {name: value.to(device).clone() for name, value in values.items() if isinstance(value, Tensor)}
    floats = {name: value.double() for name, value in tensors.items() if value.is_floating_point()}
    return replace(record, **(tensors | floats))


@dataclass(frozen=True, eq=False)
class _Estimate:
    """Estimate in metres and radians, and what a correction makes of it.

    A correction is the pelvis' shift, then 24 rotation vectors in each parent's frame.
    """

    normalizer: Normalizer
    body_shape: BodyShape
    valid: Tensor
    rest: Tensor
    positions: Tensor
    joints: Tensor
    """Joints of the posed body: the positions if they agreed with the rotations."""
    rotations: Tensor
    """Rotations of the root in the world and of the other joints against their parents."""
    columns: Tensor
    """6D rotations of the 23 joints as they came, (3, 2)."""
    residual: Tensor
    """Deviation of the positions from the body's joints, in the frame of each parent."""

    @classmethod
    def of(cls, x0: Tensor, normalizer: Normalizer, body_shape: BodyShape, valid: Tensor) -> "_Estimate":
        """Read the estimate; a T-pose stands in where no person is valid, as padding may be no pose."""
        features, there = normalizer.denormalize(x0), valid[..., None, None]
        rest = body_shape.rest_joints[:, :, None].expand(-1, -1, x0.shape[2], -1, -1)
        positions = torch.where(there, features[..., POSITIONS].unflatten(-1, (NUM_JOINTS, 3)), rest)
        columns = features[..., ROTATIONS].unflatten(-1, (NUM_JOINTS - 1, 3, 2))
        columns = torch.where(there[..., None], columns, torch.eye(3).to(columns)[:, :2])
        root = root_orientation(positions, rest)
        rotations = torch.cat([root[..., None, :, :], matrix_from_6d(columns.flatten(-2))], dim=-3)
        joints, world = forward_kinematics(rest, positions[..., 0, :], rotations)
        residual = torch.einsum("...kji,...kj->...ki", world[..., PARENT, :, :], positions - joints)
        return cls(normalizer, body_shape, valid, rest, positions, joints, rotations, columns, residual)

    @property
    def deviations(self) -> Tensor:
        """Standard deviations of a correction; a limb that never turns in the data, as hands in mocap, keeps still."""
        limbs = self.normalizer.std[ROTATIONS].view(-1, 6).square().sum(dim=-1).sqrt() / 2
        turns = torch.cat([limbs.new_tensor([TURN_STD_RAD]), (LIMB_SHARE * limbs).clamp_max(TURN_STD_RAD)])
        return torch.cat([limbs.new_tensor(SHIFT_STD_M)[:, None], turns.expand(3, -1)], dim=1).flatten()

    def posed(self, correction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Apply a correction: the bodies' joints, their world rotations, and the joints' turns."""
        vectors = correction.unflatten(-1, (3, -1)).mT
        turns = roma.rotvec_to_rotmat(vectors[..., 1:, :])
        pelvis = self.positions[..., 0, :] + vectors[..., 0, :]
        return *forward_kinematics(self.rest, pelvis, turns @ self.rotations), turns

    def linkage(self, correction: Tensor) -> "_Linkage":
        """Linearize the joints about a correction.

        To first order a joint turns on about axes that half of its turn has turned: within 1 % for 0.5 rad.
        """
        joints, world, _ = self.posed(correction)
        half = roma.rotvec_to_rotmat(correction.unflatten(-1, (3, -1)).mT[..., 1:, :] / 2)
        upright = torch.eye(3).to(world).expand_as(world[..., :1, :, :])
        parents = torch.cat([upright, world[..., PARENTS[1:], :, :]], dim=-3)
        axes = (parents @ half).movedim(-3, -1).contiguous()
        return _Linkage(joints, joints.mT.contiguous(), axes, torch.tensor(DESCENDS).to(joints))

    def change(self, correction: Tensor) -> Tensor:
        """Compute what the correction adds to the normalized features."""
        joints, world, turns = self.posed(correction)
        carried = torch.einsum("...kij,...kj->...ki", world[..., PARENT, :, :], self.residual)
        moved = joints + carried - self.positions
        before = torch.cat([torch.zeros_like(self.valid[..., :1]), self.valid[..., :-1]], dim=-1)
        sped = torch.where(before[..., None, None], moved - moved.roll(1, dims=2), 0.0)
        change = torch.zeros(*moved.shape[:3], len(self.normalizer.std)).to(moved)
        change[..., POSITIONS], change[..., VELOCITIES] = moved.flatten(-2), sped.flatten(-2)
        change[..., ROTATIONS] = (turns[..., 1:, :, :] @ self.columns - self.columns).flatten(-3)
        return change / self.normalizer.std


@dataclass(frozen=True, eq=False)
class _Linkage:
    """Linear map from a small correction to the joints.

    The components' axis stands before the joints', which is faster.
    """

    joints: Float[Tensor, "batch person frame 24 3"]
    places: Float[Tensor, "batch person frame 3 24"]
    axes: Float[Tensor, "batch person frame 3 3 24"]
    """World axes of the parts of a joint's rotation vector (second 3)."""
    below: Float[Tensor, "24 24"]
    """1 where the second joint moves when the first one turns."""

    def moved(self, correction: Float[Tensor, "batch person frame 75"]) -> Float[Tensor, "batch person frame 24 3"]:
        """Map a correction to the joints' shifts."""
        vectors = correction.unflatten(-1, (3, -1))
        turns = (self.axes * vectors[..., None, :, 1:]).sum(dim=-2)
        sums = torch.cat([turns, _cross(turns, self.places)], dim=-2) @ self.below
        return (vectors[..., :1] + _cross(sums[..., :3, :], self.places) - sums[..., 3:, :]).mT

    def pulled(self, forces: Float[Tensor, "batch person frame 24 3"]) -> Float[Tensor, "batch person frame 75"]:
        """Apply the transpose of `moved`: map forces at the joints to the correction's parts."""
        forces = forces.mT
        sums = torch.cat([forces, _cross(self.places, forces)], dim=-2) @ self.below.mT
        torques = sums[..., 3:, :] - _cross(self.places, sums[..., :3, :])
        turns = (self.axes * torques[..., :, None, :]).sum(dim=-3)
        return torch.cat([forces.sum(dim=-1, keepdim=True), turns], dim=-1).flatten(-2)


def _cross(one: Tensor, two: Tensor) -> Tensor:
    return torch.linalg.cross(one, two, dim=-2)


def _prior(estimate: _Estimate) -> Prior:
    """Build the prior of corrections of the `TIME_SCALES`; parts that move joints far get smaller steps."""
    valid = estimate.valid.to(estimate.rest)
    frames = torch.arange(valid.shape[-1]).to(valid)
    apart = frames[:, None] - frames
    kernels = torch.zeros_like(apart)
    for frames_long, share in TIME_SCALES:
        bells = valid[..., None, :] * torch.exp(-0.5 * (apart / frames_long).square()) * valid[..., None]
        bells = share * torch.nn.functional.normalize(bells, dim=-1, eps=1e-6)
        kernels = kernels + bells @ bells.mT
    variances = estimate.deviations.square()
    ways = variances * _leverage(estimate.rest[:, :, 0])
    step_scale = ways[..., :1] / ways.clamp_min(MIN_LEVERAGE * ways[..., :1])
    return Prior(kernels, variances, step_scale[:, :, None])


def _leverage(rest: Float[Tensor, "batch person 24 3"]) -> Float[Tensor, "batch person 75"]:
    """Sum the squared distances that all joints go with each part of a correction."""
    apart = (rest[:, :, :, None] - rest[:, :, None]).square().sum(dim=-1)
    turned = (apart * torch.tensor(DESCENDS).to(rest)).sum(dim=-1) * 2 / 3
    return torch.cat([torch.full_like(turned[..., :1], NUM_JOINTS), turned], dim=-1).repeat(1, 1, 3)
