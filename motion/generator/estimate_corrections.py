"""Corrections of the network's estimate of x_0 before the solver's step: terms of guidance, persons kept apart.

World: Z up, metres. With a constraint, the network's frame is another one (`motion.generator.constraints`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from motion.body import NUM_BETAS, Body
from motion.errors import InputError
from motion.features import POSITIONS, ROTATIONS, Normalizer
from motion.generator.constraints import Given
from motion.guidance.terms import BodyShape, Figure, Term, in_doubles, steer
from motion.skeleton import NUM_JOINTS

SEPARATION_ROUNDS = 8  # per step of sampling
MIN_GAP_M = 1e-6

EstimateCorrection = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Function from (x_0, x_t, t) to a corrected x_0, both normalized, of the samples of one batch."""


def check_terms(terms: Sequence[Term], batch: int, persons: int, frames: int) -> None:
    """Raise InputError where a term is not of the batch's size."""
    size = (batch, persons, frames)
    for term in terms:
        for name in ("weight", "targets", "keypoints"):
            found = tuple(getattr(term, name, term.weight).shape[:3])
            if found != size[: len(found)]:
                owner = f"{type(term).__name__}.{name}"
                raise InputError(f"{owner} is of {found}, the requests of {size} (batch, person, frame)")


def steering(
    terms: Sequence[Term],
    given: Sequence[Given | None],
    valid: Bool[Tensor, "batch person frame"],
    normalizer: Normalizer,
    body: Body,
    num_steps: int,
) -> EstimateCorrection:
    """Make the correction by guidance terms.

    The terms act on bodies of the constraints' shapes, and for other persons on the shapes that the estimate shows: as
    `decode` gives persons the bones that their positions show, wrists and feet would else miss their targets.
    """
    device = valid.device
    betas, known = torch.zeros(*valid.shape[:2], NUM_BETAS), torch.zeros_like(valid)
    for i, each in enumerate(given):
        if each is not None:
            betas[i, : len(each.kept)] = torch.from_numpy(each.motion.betas)
            known[i] = torch.from_numpy(each.in_clip(*valid.shape[1:]))
    fixed = [0 if each is None else len(each.kept) for each in given]
    sizes = [(int(each.any(dim=1).sum()), int(each.any(dim=0).sum())) for each in valid.cpu()]
    body_shape, frames_of_network = BodyShape.of(body, betas.to(device)), NetworkFrames.of(given, device)
    terms, normalizer = [_FreeFramesOnly.of(term, known) for term in terms], normalizer.to(device)

    def seen(features: Tensor) -> BodyShape:
        positions = features[..., POSITIONS].unflatten(-1, (NUM_JOINTS, 3)).cpu()
        for row, places, first, (persons, frames) in zip(betas, positions, fixed, sizes, strict=True):
            if first < persons:
                shown = body.fit_betas(places[first:persons, :frames], torch.ones(NUM_JOINTS, dtype=torch.bool))
                row[first:persons] = shown
        return replace(body_shape, rest_joints=body.rest_joints(betas).to(device))

    def steered(x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        features = frames_of_network.in_world(normalizer.denormalize(x0))
        before = normalizer.normalize(features)
        after = steer(before, 1 - t / num_steps, normalizer, seen(features), valid, terms)
        return x0 + frames_of_network.back((after - before) * normalizer.std) / normalizer.std

    return steered


def keeping_apart(
    distance: float,
    valid: Bool[Tensor, "batch person frame"],
    known: Bool[Tensor, "batch person frame"],
    normalizer: Normalizer,
) -> EstimateCorrection:
    """Make the correction that moves overlapping persons apart in the floor plane, each by one shift.

    Persons overlap if their pelvises come nearer than `distance` metres; constrained persons (`known` anywhere) are not
    moved, and poses do not change. At pure noise all persons are estimated at one place, as only the noise tells them
    apart; from there sampling may lead to persons inside one another.
    """
    fixed, persons = known.any(dim=2), valid.shape[1]
    others = ~torch.eye(persons, dtype=torch.bool, device=valid.device)
    together = (valid[:, :, None] & valid[:, None]) & others[..., None]
    share = (~fixed[:, :, None]).float() / (1 + (~fixed[:, None]).float())
    normalizer = normalizer.to(valid.device)

    def kept_apart(x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        places = normalizer.denormalize(x0)[..., POSITIONS][..., :2]
        shift = torch.zeros_like(places[:, :, :1])
        for _ in range(SEPARATION_ROUNDS):
            moved = places + shift
            between = moved[:, :, None] - moved[:, None]
            gaps, frames = torch.where(together, between.norm(dim=-1), torch.inf).min(dim=-1)
            way = between.take_along_dim(frames[..., None, None], dim=3)[:, :, :, 0]
            push = share * (distance - gaps).clamp_min(0) / gaps.clamp_min(MIN_GAP_M)
            shift = shift + (push[..., None] * way).sum(dim=2)[:, :, None]
        change = torch.zeros_like(x0)
        change[..., POSITIONS] = pad(shift, (0, 1)).repeat(1, 1, 1, NUM_JOINTS)
        return x0 + change / normalizer.std

    return kept_apart


@dataclass(frozen=True, eq=False, repr=False)
class _FreeFramesOnly(Term):
    """Wrapper of a term: zero gradient on constrained frames, which do not give way."""

    term: Term
    known: Bool[Tensor, "batch person frame"]

    @classmethod
    def of(cls, term: Term, known: Bool[Tensor, "batch person frame"]) -> "_FreeFramesOnly":
        """Wrap a term with float64 copies of its tensors on the device of `known`, which may take part in gradients."""
        with torch.inference_mode(False):
            term = in_doubles(term, known.device)
        return cls(term.weight, term.start, term.stop, term, known)

    def energy(self, figure: Figure) -> Float[Tensor, " batch"]:
        joints = torch.where(self.known[..., None, None], figure.estimate, figure.joints)
        return self.term.energy(replace(figure, joints=joints))


@dataclass(frozen=True, eq=False)
class NetworkFrames:
    """Placement of each sample's network frame in the world; without a constraint both are the same."""

    turns: Float[Tensor, "batch 3 3"]
    """Rotation from the network's frame to the world."""
    origins: Float[Tensor, "batch 3"]
    """Origin of the network's frame in the world, in metres."""

    @classmethod
    def of(cls, given: Sequence[Given | None], device: torch.device) -> "NetworkFrames":
        """Compute the placements of a batch's constraints; None for a sample without."""
        here = np.eye(3, dtype=np.float32), np.zeros(3, dtype=np.float32)
        turns, origins = zip(*(here if each is None else each.placement() for each in given), strict=True)
        return cls(*(torch.from_numpy(np.stack(arrays)).to(device) for arrays in (turns, origins)))

    def in_world(self, features: Float[Tensor, "batch person frame 282"]) -> Float[Tensor, "batch person frame 282"]:
        """Move features from the network's frames into the world."""
        turned = _turned(features, self.turns)
        shift = pad(self.origins.repeat(1, NUM_JOINTS), (0, features.shape[-1] - 3 * NUM_JOINTS))
        return turned + shift[:, None, None]

    def back(self, change: Float[Tensor, "batch person frame 282"]) -> Float[Tensor, "batch person frame 282"]:
        """Turn a change of the features in the world into the network's frame."""
        return _turned(change, self.turns.mT)


def _turned(features: Tensor, turns: Tensor) -> Tensor:
    """Turn positions and velocities; rotations against the parent stay."""
    vectors = features[..., : ROTATIONS.start].unflatten(-1, (-1, 3))
    turned = torch.einsum("bij,bptkj->bptki", turns, vectors).flatten(-2)
    return torch.cat([turned, features[..., ROTATIONS]], dim=-1)
