"""Conditions of a denoiser, and how kinds of them are dropped.

Masks: True = valid. Lengths in metres, Z up, the floor at z = 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int8
from torch import Tensor

from motion.denoiser.config import DenoiserConfig
from motion.denoiser.scene_tokens import HEIGHT_SHAPE
from motion.errors import InputError
from motion.features import POINTS_PER_GROUP
from motion.text import TextEncoder

ConditionKind = Literal["text", "person_class", "action", "scene"]
"""Kinds of conditions that guidance and training can drop."""
CONDITION_KINDS: tuple[ConditionKind, ...] = get_args(ConditionKind)
"""All kinds of conditions."""


@dataclass(frozen=True)
class Conditions:
    """Input of a denoiser other than the noisy motion.

    Class and action 0 mean "unknown"; valid and known frames and identities are never dropped.
    """

    valid: Bool[Tensor, "batch person frame"]
    """True where a person is there."""
    known: Bool[Tensor, "batch person frame"]
    """True where the noisy motion is not noisy but a constraint: the frames that editing keeps."""
    identity: Int[Tensor, "batch person"]
    """Distinct numbers below `max_persons`, drawn once per sample: persons are exchangeable."""
    person_class: Int[Tensor, "batch person"]
    """Index into `PERSON_CLASSES`."""
    action: Int[Tensor, "batch person frame"]
    """Index into `ACTIONS`."""
    text: Float[Tensor, "batch caption word text_dim"]
    """Embedded captions: 0 of the scene, 1 + p of person p; one word where the encoder gives one vector."""
    text_valid: Bool[Tensor, "batch caption word"]
    """True where a caption has this word."""
    points: Float[Tensor, "batch group 64 3"]
    """Points of the room's objects in groups, metres."""
    points_valid: Bool[Tensor, "batch group"]
    """True where there is such a group."""
    heights: Float[Tensor, "batch row column 2"]
    """Height (m) of what stands on each cell of the floor, and 1 where the cell is known, else 0 (`height_map`)."""

    def without(
        self, dropped: Bool[Tensor, " batch"], kinds: Sequence[ConditionKind] = CONDITION_KINDS
    ) -> "Conditions":
        """Drop conditions of these kinds from the samples where `dropped` is True."""
        kept = ~dropped
        changes: dict[str, Tensor] = {}
        if "text" in kinds:
            changes["text_valid"] = self.text_valid & kept[:, None, None]
        if "person_class" in kinds:
            changes["person_class"] = self.person_class * kept[:, None]
        if "action" in kinds:
            changes["action"] = self.action * kept[:, None, None]
        if "scene" in kinds:
            changes["points_valid"] = self.points_valid & kept[:, None]
            changes["heights"] = self.heights * kept[:, None, None, None]
        return replace(self, **changes)

    def followed_by(self, *others: "Conditions") -> "Conditions":
        """Concatenate conditions along the batch axis."""
        rows = zip(*(vars(each).values() for each in (self, *others)), strict=True)
        return Conditions(*(torch.cat(row) for row in rows))

    def to(self, device: torch.device) -> "Conditions":
        """Move all conditions to `device`."""
        return Conditions(*(value.to(device) for value in vars(self).values()))


def with_captions(
    conditions: Conditions, captions: Sequence[Sequence[str | None]], encode_text: TextEncoder, config: DenoiserConfig
) -> Conditions:
    """Embed the captions of each sample: first the scene caption, then one per person; None where there is none."""
    given = [caption for row in captions for caption in row if caption is not None]
    if config.text == "words":
        words = iter(encode_text.words(given))
    else:
        words = iter(encode_text(given)[:, None]) if given else iter([])
    rows = [[next(words) if caption is not None else None for caption in row] for row in captions]
    shape = (len(rows), max(map(len, rows)), max((len(w) for row in rows for w in row if w is not None), default=1))
    text, valid = torch.zeros(*shape, config.text_dim), torch.zeros(shape, dtype=torch.bool)
    for i, row in enumerate(rows):
        for c, states in enumerate(row):
            if states is not None:
                text[i, c, : len(states)], valid[i, c, : len(states)] = states, True
    return replace(conditions, text=text, text_valid=valid)


def own_numbers(
    numbers: Int8[np.ndarray, "*shape"], names: Sequence[str], known: Sequence[str], kind: str
) -> Int[np.ndarray, "*shape"]:
    """Map numbers of a record, indices into `names`, by name to those of a network that knows the names `known`.

    Raises InputError where the network does not know a name; `kind` says there what is named.
    """
    own = np.array([known.index(name) if name in known else -1 for name in names])[numbers]
    if (own < 0).any():
        name = names[int(numbers[own < 0][0])]
        raise InputError(f"{kind} {name!r} is unknown to this model, expected one of {', '.join(known)}")
    return own


def empty_conditions(batch: int, persons: int, frames: int, config: DenoiserConfig) -> Conditions:
    """Make conditions to be filled in: nothing valid, nothing known, no text, no scene."""
    shape = HEIGHT_SHAPE if config.height_map else (0, 0)
    return Conditions(
        valid=torch.zeros(batch, persons, frames, dtype=torch.bool),
        known=torch.zeros(batch, persons, frames, dtype=torch.bool),
        identity=torch.zeros(batch, persons, dtype=torch.long),
        person_class=torch.zeros(batch, persons, dtype=torch.long),
        action=torch.zeros(batch, persons, frames, dtype=torch.long),
        text=torch.zeros(batch, 1, 1, config.text_dim),
        text_valid=torch.zeros(batch, 1, 1, dtype=torch.bool),
        points=torch.zeros(batch, 0, POINTS_PER_GROUP, 3),
        points_valid=torch.zeros(batch, 0, dtype=torch.bool),
        heights=torch.zeros(batch, *shape, 2),
    )
