"""Smooth trajectories of persons (eq. 4.1): joints of constant velocity that stay near those found.

    sum_t ‖j̄_t - j_t‖² + 2 · weight · sum_t ‖a_t‖,     a_t = (j̄_t-1 - 2 j̄_t + j̄_t+1) fps²

j̄ are the smoothed joints, j those found (m). The norm is the root mean square of a person's 24 joint vectors; `weight`
is in m·s². The smoothing term is not squared, as the thesis prints it: a burst of real
motion costs its size and not its square, so that kicks and falls keep their height. The other term is squared up to
`OUTLIER_M` and linear beyond it (Huber), so that a single wrong pose gives way to its neighbours.

Joints are linear in the world rotations of a body's bones. With those rotations free to be any matrices, every step of
iteratively reweighted least squares is one banded solve for all persons; the nearest rotations (Procrustes) follow.
"""

from dataclasses import replace

import numpy as np
import roma
import torch
from jaxtyping import Bool, Float64
from scipy.linalg import solveh_banded

from motion.body import Body
from motion.errors import InputError
from motion.skeleton import PARENTS
from recon.people import People

WEIGHT = 2e-4  # m·s²; tuned against 20 mm of jitter, on motion capture at 10 and 20 fps
STILL_M_S2 = 0.3  # accelerations below it count by their square
OUTLIER_M = 0.1  # distance (rms over the joints) up to which it counts by its square
LONGEST_GAP_S = 0.5  # without a valid frame over which motion goes on
STEPS = 10


def smooth(people: People, body: Body, fps: float, weight: float = WEIGHT) -> People:
    """Smooth the persons' motion (eq. 4.1); frames that are not valid stay as they are.

    Minimises sum_t ‖j̄_t - j_t‖² + 2 · weight · sum_t ‖a_t‖ over the joints j̄, a_t their acceleration (m/s²); `j` are
    those found (m). The norm is the root mean square over a person's joints; distances beyond `OUTLIER_M` count
    linearly (Huber). `weight` is in m·s². Raises InputError for an fps that is not a positive number.
    """
    if not (np.isfinite(fps) and fps > 0):
        raise InputError(f"cannot smooth a motion of {fps} frames per second, expected a positive number")
    joints, rotations = people.kinematics(body)
    signals = [people.transl, rotations.flatten(-3), joints.flatten(-2)]
    found = torch.cat(signals, dim=-1).double().numpy()
    known, moving = _chains(people.valid.numpy(), round(LONGEST_GAP_S * fps))
    smoothed = torch.from_numpy(_solve(found, known, moving, fps, weight)).to(people.transl)
    transl, matrices, _ = smoothed.split([signal.shape[-1] for signal in signals], dim=-1)
    world = roma.special_procrustes(matrices.unflatten(-1, (24, 3, 3)))
    body_pose = world[:, :, PARENTS[1:]].mT @ world[:, :, 1:]
    moved = replace(people, transl=transl, global_orient=world[:, :, 0], body_pose=body_pose)
    return moved.where(people.valid, people)


def _chains(
    valid: Bool[np.ndarray, "person frame"], longest_gap: int
) -> tuple[Bool[np.ndarray, "person frame"], Bool[np.ndarray, "person inner"]]:
    """Mark the frames that hold to what was found, and the frames (all but first and last) that have an acceleration.

    Short gaps are free to follow the motion around them; frames in longer gaps, or before and after all valid frames,
    keep to themselves.
    """
    frames = np.arange(valid.shape[1])
    last = np.maximum.accumulate(np.where(valid, frames, -longest_gap - 2), axis=1)
    following = np.minimum.accumulate(np.where(valid, frames, 2 * len(frames) + longest_gap)[:, ::-1], axis=1)[:, ::-1]
    bridged = valid | (following - last - 1 <= longest_gap)
    return valid | ~bridged, bridged[:, :-2] & bridged[:, 1:-1] & bridged[:, 2:]


def _solve(
    found: Float64[np.ndarray, "person frame signal"],
    known: Bool[np.ndarray, "person frame"],
    moving: Bool[np.ndarray, "person inner"],
    fps: float,
    weight: float,
) -> Float64[np.ndarray, "person frame signal"]:
    """Solve by iteratively reweighted least squares; norms are taken over the joints, the last 72 signals."""
    stay, turn = known.astype(np.float64), moving * (weight / STILL_M_S2)
    smoothed = found
    for _ in range(STEPS):
        smoothed = _least_squares(found, stay, turn * fps**4)
        acceleration = np.diff(smoothed[..., -72:], n=2, axis=1) * fps**2
        turn = moving * weight / np.sqrt(_mean_square(acceleration) + STILL_M_S2**2)
        away = np.sqrt(_mean_square(smoothed[..., -72:] - found[..., -72:]))
        stay = known * np.minimum(1.0, OUTLIER_M / np.maximum(away, 1e-9))
    return smoothed


def _mean_square(vectors: Float64[np.ndarray, "person frame 72"]) -> Float64[np.ndarray, "person frame"]:
    """Compute the mean squared length of a frame's 24 joint vectors."""
    return np.square(vectors).mean(axis=-1) * 3


def _least_squares(
    found: Float64[np.ndarray, "person frame signal"],
    stay: Float64[np.ndarray, "person frame"],
    turn: Float64[np.ndarray, "person inner"],
) -> Float64[np.ndarray, "person frame signal"]:
    """Minimise `sum stay ‖x - found‖² + sum turn ‖second difference of x‖²`, all persons in one banded system."""
    people, frames = stay.shape
    # Bands of D'ᵀ turn D with D's rows (1, -2, 1), which start at frame t; no row spans two persons.
    rows = np.concatenate([turn, np.zeros((people, frames - turn.shape[1]))], axis=1).ravel()
    before, twice = np.roll(rows, 1), np.roll(rows, 2)
    upper = np.stack([np.roll(rows, 2), np.roll(-2 * rows - 2 * before, 1), rows + 4 * before + twice + stay.ravel()])
    solved = solveh_banded(upper, (stay[..., None] * found).reshape(-1, found.shape[-1]))
    return solved.reshape(found.shape)
