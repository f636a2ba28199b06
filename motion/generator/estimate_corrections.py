"""What changes the network's estimate of x_0 before the solver takes its step: terms of guidance, people kept apart.

World: Z up, metres. The network's frame is another one where something is given (`motion.generator.constraints`).
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
from motion.guidance.terms import BodyShape, Figure, Term, steer
from motion.skeleton import NUM_JOINTS

ROUNDS = 8  # of moving people apart at a step of sampling
TINY = 1e-6  # metres

Adjustment = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x_0, x_t, t) to another estimate of x_0, both normalised, of the samples of one batch."""


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
) -> Adjustment:
    """The terms pull at skeletons of the given people's shapes, of all others those that the estimate shows.

    As `decode` gives people the bones that their positions show, wrists and feet would else miss what they reached for.
    """
    device = valid.device
    betas, known = torch.zeros(*valid.shape[:2], NUM_BETAS), torch.zeros_like(valid)
    for i, each in enumerate(given):
        if each is not None:
            betas[i, : len(each.kept)] = torch.from_numpy(each.motion.betas)
            known[i] = torch.from_numpy(each.in_clip(*valid.shape[1:]))
    fixed = [0 if each is None else len(each.kept) for each in given]
    sizes = [(int(each.any(dim=1).sum()), int(each.any(dim=0).sum())) for each in valid.cpu()]
    body_shape, placements = BodyShape.of(body, betas.to(device)), Placements.of(given, device)
    terms, normalizer = [_Beside.of(term, known) for term in terms], normalizer.to(device)

    def seen(features: Tensor) -> BodyShape:
        positions = features[..., POSITIONS].unflatten(-1, (NUM_JOINTS, 3)).cpu()
        for row, places, first, (persons, frames) in zip(betas, positions, fixed, sizes, strict=True):
            if first < persons:
                shown = body.fit_betas(places[first:persons, :frames], torch.ones(NUM_JOINTS, dtype=torch.bool))
                row[first:persons] = shown
        return replace(body_shape, rest_joints=body.rest_joints(betas).to(device))

    def steered(x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        features = placements.in_world(normalizer.denormalize(x0))
        before = normalizer.normalize(features)
        after = steer(before, 1 - t / num_steps, normalizer, seen(features), valid, terms)
        return x0 + placements.back((after - before) * normalizer.std) / normalizer.std

    return steered


def keeping_apart(
    distance: float,
    valid: Bool[Tensor, "batch person frame"],
    known: Bool[Tensor, "batch person frame"],
    normalizer: Normalizer,
) -> Adjustment:
    """People whose pelvises come nearer than `distance` metres move apart over the floor, each by one shift.

    At pure noise all of several people are guessed to be in one place, as nothing tells them apart but the noise; from
    there steps of sampling may lead to people who stay in one another. How somebody moves is not changed, and whoever
    is given anything stays.
    """
    fixed, persons = known.any(dim=2), valid.shape[1]
    others = ~torch.eye(persons, dtype=torch.bool, device=valid.device)
    together = (valid[:, :, None] & valid[:, None]) & others[..., None]
    share = (~fixed[:, :, None]).float() / (1 + (~fixed[:, None]).float())
    normalizer = normalizer.to(valid.device)

    def kept_apart(x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        places = normalizer.denormalize(x0)[..., POSITIONS][..., :2]
        shift = torch.zeros_like(places[:, :, :1])
        for _ in range(ROUNDS):
            moved = places + shift
            between = moved[:, :, None] - moved[:, None]
            gaps, frames = torch.where(together, between.norm(dim=-1), torch.inf).min(dim=-1)
            way = between.take_along_dim(frames[..., None, None], dim=3)[:, :, :, 0]
            push = share * (distance - gaps).clamp_min(0) / gaps.clamp_min(TINY)
            shift = shift + (push[..., None] * way).sum(dim=2)[:, :, None]
        change = torch.zeros_like(x0)
        change[..., POSITIONS] = pad(shift, (0, 1)).repeat(1, 1, 1, NUM_JOINTS)
        return x0 + change / normalizer.std

    return kept_apart


@dataclass(frozen=True, eq=False)
class _Beside(Term):
    """A term that moves what is generated alone: given frames stay where they are and do not give way."""

    term: Term
    known: Bool[Tensor, "batch person frame"]

    @classmethod
    def of(cls, term: Term, known: Bool[Tensor, "batch person frame"]) -> "_Beside":
        """With copies in float64, beside `known`, that may take part in gradients, as those that `steer` makes."""
        with torch.inference_mode(False):
            tensors = {name: value for name, value in vars(term).items() if isinstance(value, Tensor)}
            copies = {name: value.to(known.device).clone() for name, value in tensors.items()}
            floats = {name: value.double() for name, value in copies.items() if value.is_floating_point()}
            term = replace(term, **(copies | floats))
        return cls(term.weight, term.start, term.stop, term, known)

    def energy(self, figure: Figure) -> Float[Tensor, " batch"]:
        joints = torch.where(self.known[..., None, None], figure.estimate, figure.joints)
        return self.term.energy(replace(figure, joints=joints))


@dataclass(frozen=True, eq=False)
class Placements:
    """The network's frame of each sample in the world; that of a sample with nothing given is the world's."""

    turns: Float[Tensor, "batch 3 3"]
    origins: Float[Tensor, "batch 3"]

    @classmethod
    def of(cls, given: Sequence[Given | None], device: torch.device) -> "Placements":
        here = np.eye(3, dtype=np.float32), np.zeros(3, dtype=np.float32)
        turns, origins = zip(*(here if each is None else each.placement() for each in given), strict=True)
        return cls(*(torch.from_numpy(np.stack(arrays)).to(device) for arrays in (turns, origins)))

    def in_world(self, features: Float[Tensor, "batch person frame 282"]) -> Float[Tensor, "batch person frame 282"]:
        turned = _turned(features, self.turns)
        shift = pad(self.origins.repeat(1, NUM_JOINTS), (0, features.shape[-1] - 3 * NUM_JOINTS))
        return turned + shift[:, None, None]

    def back(self, change: Float[Tensor, "batch person frame 282"]) -> Float[Tensor, "batch person frame 282"]:
        """What a change of the features in the world is in the network's frame."""
        return _turned(change, self.turns.mT)


def _turned(features: Tensor, turns: Tensor) -> Tensor:
    """Positions and velocities turned; rotations against the parent stay."""
    vectors = features[..., : ROTATIONS.start].unflatten(-1, (-1, 3))
    turned = torch.einsum("bij,bptkj->bptki", turns, vectors).flatten(-2)
    return torch.cat([turned, features[..., ROTATIONS]], dim=-1)
