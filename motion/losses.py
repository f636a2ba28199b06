"""Geometric and interaction losses of N persons (thesis §4.5; InterGen: Liang et al. 2024, section 4.3).

They are added to L_simple. Positions are metres, Z up, of SMPL's first 22 or all 24 joints; velocities are metres per
frame; `True` = valid.

    velocity               ‖Δp̂ - Δp‖² of the joints' steps between frames (Tevet et al. 2022)
    bone length            (‖b̂‖ - ‖b‖)² of the bones
    foot contact           ‖Δp̂‖² of the feet that stand in the true motion (Tevet et al. 2022)
    distance map           (d̂ - d)² of the distances d of one person's joints to another's, where d̂ < 1 m
    joint affinity         d̂² where d < 0.1 m: penalises distance between joints in contact in the true motion
    relative orientation   ‖q̂ - q‖² of the rotation q about Z from one person's facing direction to another's

All are means over what a frame holds, coordinates included, then over the frames of a sample: of all persons, or of all
unordered pairs of persons, whose frame counts where both are valid. A step counts where both its frames are. InterGen
adds up its two persons' geometric losses, which makes them twice the mean; the thesis' code sums over the coordinates
and weights each close pair of joints alike instead of each frame: `FrameErrors` gives those numbers too.

q is (cos θ/2, sin θ/2) with θ in (-180°, 180°], as InterGen has it: for persons who face each other exactly (180°) it
jumps, so that a small error there can cost as much as a large one.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

from motion.features import POSITIONS
from motion.representations.contacts import CONTACT_HEIGHTS_M, INTERGEN_STILL_M2
from motion.skeleton import BONES, FEET, to_the_right

CLOSE_M = 1.0  # the distance map counts joints that are nearer than this
TOUCHING_M = 0.1
# Hips (nearly) above each other face nowhere: without a floor their gradient would grow without bound.
MIN_HIPS_M = 1e-2  # horizontally
MIN_TURN = 1e-3  # of 2 cos(θ/2)
PAIR_ROWS = 2**12  # frames of pairs whose maps of 24 x 24 distances are in memory at a time, 9 MB each


@dataclass(frozen=True)
class LossWeights:
    """Weights of the losses that are added to L_simple; the defaults are InterGen's."""

    velocity: float = 30.0
    """Weight of the difference of the joints' steps between frames."""
    bone_length: float = 10.0
    """Weight of the difference of bone lengths."""
    foot_contact: float = 30.0
    """Weight of the sliding of feet that stand in the true motion."""
    distance_map: float = 3.0
    """Weight of the difference of distances between two persons' joints."""
    joint_affinity: float = 3.0
    """Weight of the distance of two persons' joints that touch in the true motion."""
    relative_orientation: float = 0.01
    """Weight of the difference of the turn from one person's facing direction to another's."""


@dataclass(frozen=True)
class FrameErrors:
    """Squared errors summed over each frame of a person or pair, and their number; both are 0 where not valid."""

    total: Float[Tensor, "batch group frame"]
    """Sum of the squared errors of a frame."""
    count: Float[Tensor, "batch group frame"]
    """Number of errors in that sum."""
    valid: Bool[Tensor, "batch group frame"]
    """True where the frame (or step) of the person or pair counts."""


def per_sample(errors: FrameErrors) -> Float[Tensor, " batch"]:
    """Average each frame's mean error over the valid frames, as InterGen does; 0 where there is none."""
    means = errors.total / errors.count.clamp_min(1)
    return means.sum(dim=(1, 2)) / errors.valid.sum(dim=(1, 2)).clamp_min(1)


def motion_losses(
    predicted: Float[Tensor, "batch person frame feature"],
    true: Float[Tensor, "batch person frame feature"],
    valid: Bool[Tensor, "batch person frame"],
    t: Int[Tensor, " batch"],
    t_bar: int,
    weights: LossWeights,
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """Compute the loss that is added to L_simple, and its weighted terms by the names of `weights`.

    Features are those of `motion.features`, denormalized; only their positions are read. A term is the mean over the
    samples with t ≤ `t_bar`: at noisier timesteps the estimate says nothing about the motion's details.
    """
    kept = (t <= t_bar) & valid.any(dim=(1, 2))
    guess, truth = (x[..., POSITIONS][kept].unflatten(-1, (-1, 3)) for x in (predicted, true))
    valid = valid[kept]
    errors = {
        "velocity": velocity(guess, truth, valid),
        "bone_length": bone_length(guess, truth, valid),
        "foot_contact": foot_contact(guess, foot_contacts(truth), valid),
        "distance_map": distance_map(guess, truth, valid),
        "joint_affinity": joint_affinity(guess, truth, valid),
        "relative_orientation": relative_orientation(guess, truth, valid),
    }
    weight, samples = asdict(weights), max(len(valid), 1)
    terms = {name: weight[name] * per_sample(error).sum() / samples for name, error in errors.items()}
    return torch.stack(list(terms.values())).sum(), terms


def velocity(
    predicted: Float[Tensor, "batch person frame joint 3"],
    true: Float[Tensor, "batch person frame joint 3"],
    valid: Bool[Tensor, "batch person frame"],
) -> FrameErrors:
    """Compare the joints' steps from frame to frame."""
    error = _steps(predicted, valid) - _steps(true, valid)
    return _person_errors(error.square().flatten(3), _in_a_row(valid))


def bone_length(
    predicted: Float[Tensor, "batch person frame joint 3"],
    true: Float[Tensor, "batch person frame joint 3"],
    valid: Bool[Tensor, "batch person frame"],
) -> FrameErrors:
    """Compare the lengths of the bones."""
    error = _bone_lengths(_blank(predicted, valid)) - _bone_lengths(_blank(true, valid))
    return _person_errors(error.square(), valid)


def foot_contact(
    predicted: Float[Tensor, "batch person frame joint 3"],
    contacts: Bool[Tensor, "batch person frame-1 4"],
    valid: Bool[Tensor, "batch person frame"],
) -> FrameErrors:
    """Measure how far the feet `FEET` slide during the steps in which they should stand (`contacts`)."""
    slide = _steps(predicted, valid)[..., FEET, :].square().mean(dim=-1)
    counted = contacts & _in_a_row(valid)[..., None]
    return FrameErrors((slide * counted).sum(dim=-1), counted.sum(dim=-1).to(slide), _in_a_row(valid))


def foot_contacts(joints: Float[Tensor, "*batch frame joint 3"]) -> Bool[Tensor, "*batch frame-1 4"]:
    """Find which of `FEET` stand during each step: slow, and low at its end.

    These are the contacts of the thesis' 286 numbers.
    """
    feet = joints[..., FEET, :]
    slow = feet.diff(dim=-3).square().sum(dim=-1) < INTERGEN_STILL_M2
    return slow & (feet[..., 1:, :, 2] < feet.new_tensor(CONTACT_HEIGHTS_M))


def distance_map(
    predicted: Float[Tensor, "batch person frame joint 3"],
    true: Float[Tensor, "batch person frame joint 3"],
    valid: Bool[Tensor, "batch person frame"],
) -> FrameErrors:
    """Compare the distances of one person's joints to another's, where the predicted one is below `CLOSE_M`."""

    def errors(guess: Tensor, guess_other: Tensor, truth: Tensor, truth_other: Tensor) -> tuple[Tensor, Tensor]:
        distance = torch.cdist(guess, guess_other)
        close = distance < CLOSE_M
        return _summed((distance - torch.cdist(truth, truth_other)).square(), close)

    return _pair_errors(errors, predicted, true, valid)


def joint_affinity(
    predicted: Float[Tensor, "batch person frame joint 3"],
    true: Float[Tensor, "batch person frame joint 3"],
    valid: Bool[Tensor, "batch person frame"],
) -> FrameErrors:
    """Penalise the distance of two persons' joints that are in contact (d < `TOUCHING_M`) in the true motion."""

    def errors(guess: Tensor, guess_other: Tensor, truth: Tensor, truth_other: Tensor) -> tuple[Tensor, Tensor]:
        return _summed(torch.cdist(guess, guess_other).square(), torch.cdist(truth, truth_other) < TOUCHING_M)

    return _pair_errors(errors, predicted, true, valid)


def relative_orientation(
    predicted: Float[Tensor, "batch person frame joint 3"],
    true: Float[Tensor, "batch person frame joint 3"],
    valid: Bool[Tensor, "batch person frame"],
) -> FrameErrors:
    """Compare the turn about Z from one person's facing direction to another's."""

    def errors(guess: Tensor, guess_other: Tensor, truth: Tensor, truth_other: Tensor) -> tuple[Tensor, Tensor]:
        error = _turn(facing(guess), facing(guess_other)) - _turn(facing(truth), facing(truth_other))
        return _summed(error.square(), torch.ones_like(error))

    return _pair_errors(errors, predicted, true, valid)


def facing(joints: Float[Tensor, "*batch joint 3"]) -> Float[Tensor, "*batch 2"]:
    """Compute the unit vector (x, y in the floor plane) that a person faces: left to right hip, turned left by 90°.

    Hips less than `MIN_HIPS_M` apart horizontally give a shorter vector, zero where one is exactly above the other.
    """
    x, y = to_the_right(joints, "hip")[..., :2].unbind(dim=-1)
    return normalize(torch.stack([-y, x], dim=-1), dim=-1, eps=MIN_HIPS_M)


def _turn(start: Float[Tensor, "*batch 2"], end: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
    """Compute cos θ/2 and sin θ/2 of the turn about Z from one direction to another, |θ| ≤ 180°."""
    cos, sin = (start * end).sum(dim=-1), start[..., 0] * end[..., 1] - start[..., 1] * end[..., 0]
    return normalize(torch.stack([1 + cos, sin], dim=-1), dim=-1, eps=MIN_TURN)


def _blank(positions: Tensor, valid: Tensor) -> Tensor:
    """Set positions that are not valid to zero, so that even NaN stays out of the sums and of their gradients."""
    return torch.where(valid[..., None, None], positions, 0)


def _steps(positions: Tensor, valid: Tensor) -> Tensor:
    return _blank(positions, valid).diff(dim=2)


def _in_a_row(valid: Tensor) -> Tensor:
    return valid[..., 1:] & valid[..., :-1]


def _bone_lengths(positions: Tensor) -> Tensor:
    parents, children = zip(*BONES[: positions.shape[-2] - 1], strict=True)
    return (positions[..., children, :] - positions[..., parents, :]).norm(dim=-1)


def _summed(error: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Sum and count the errors of each row that count."""
    return (error * counted).flatten(1).sum(dim=1), counted.flatten(1).sum(dim=1).to(error)


def _person_errors(error: Tensor, valid: Tensor) -> FrameErrors:
    """Sum errors shaped (batch, person, frame, number) over each frame."""
    return FrameErrors(error.sum(dim=-1) * valid, valid.to(error) * error.shape[-1], valid)


def _pair_errors(
    errors: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]],
    predicted: Float[Tensor, "batch person frame joint 3"],
    true: Float[Tensor, "batch person frame joint 3"],
    valid: Bool[Tensor, "batch person frame"],
) -> FrameErrors:
    """Compute the errors of all unordered pairs of persons, in the frames where both are valid.

    Sixteen persons make 120 pairs, so a clip of 100 frames has 7 million distances: they are kept for one block of rows
    at a time, and computed again for the gradient.
    """
    first, second = torch.triu_indices(valid.shape[1], valid.shape[1], offset=1, device=valid.device)
    both = valid[:, first] & valid[:, second]
    batch, pair, frame = both.nonzero(as_tuple=True)
    rows = [x[batch, who[pair], frame].split(PAIR_ROWS) for x in (predicted, true) for who in (first, second)]
    blocks = [checkpoint(errors, *block, use_reentrant=False) for block in zip(*rows, strict=True)]
    total, count = (torch.cat(parts) for parts in zip(*blocks, strict=True))
    return FrameErrors(_scattered(total, both), _scattered(count, both), both)


def _scattered(rows: Float[Tensor, " row"], where: Bool[Tensor, "batch pair frame"]) -> Tensor:
    return torch.zeros(where.shape, dtype=rows.dtype, device=rows.device).masked_scatter(where, rows)
