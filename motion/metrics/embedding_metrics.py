"""Metrics of a set of motions' embeddings against the real ones, repeated with fresh draws.

Motions and captions come as embeddings of one evaluator. FID, Diversity and MultiModality look at the motions alone,
R-precision and MM-Dist at each motion and one of its captions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from motion.errors import InputError
from motion.evaluator import Protocol
from motion.metrics.diversity import diversity, draw_pairs
from motion.metrics.embeddings import finite
from motion.metrics.fid import fid
from motion.metrics.mm_dist import mm_dist
from motion.metrics.multimodality import draw_unlike_pairs, multimodality
from motion.metrics.r_precision import draw_pools, r_precision

SUBSET_METRICS = ("fid", "mm_dist")
"""Metrics whose only randomness is the drawn subset."""
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class EmbeddedSet:
    """Motions, the captions of each (at least one), and the embedding of every caption.

    Raises InputError where these do not belong together, where an id repeats, or where a number is not finite.
    """

    ids: tuple[str, ...]
    """Unique name of each motion."""
    captions: tuple[tuple[str, ...], ...]
    """Captions of each motion, at least one."""
    motions: Float[np.ndarray, "motion dim"]
    """Embedding of each motion."""
    texts: Mapping[str, np.ndarray]
    """Embedding of each caption."""

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.captions) == len(self.motions):
            raise InputError(
                f"found {len(self.ids)} ids, {len(self.captions)} lists of captions and {len(self.motions)} motions, "
                "expected as many of each"
            )
        if len(set(self.ids)) < len(self.ids):
            raise InputError(
                f"found {len(set(self.ids))} distinct ids for {len(self.ids)} motions, expected unique ids"
            )
        for name, captions in zip(self.ids, self.captions, strict=True):
            if not captions:
                raise InputError(f"motion {name} has no caption, expected at least one")
            missing = [caption for caption in captions if caption not in self.texts]
            if missing:
                raise InputError(f"motion {name}: its caption {missing[0]!r} has no embedding in texts")
        finite(self.motions, "motion")
        shapes = {text.shape for text in self.texts.values()}
        if shapes != {self.motions.shape[1:]}:
            raise InputError(f"found texts of shape {sorted(shapes)}, expected {self.motions.shape[1:]} as of a motion")
        finite(np.stack(list(self.texts.values())), "text")


def field_metrics(
    real: EmbeddedSet, other: EmbeddedSet | None, protocol: Protocol, seed: int
) -> dict[str, list[float]]:
    """Compute FID, R-precision, MM-Dist, Diversity and MultiModality of `other`, one value for each repeat.

    A repeat draws as many motions of `other` as there are real ones (all, if there are fewer) and one caption of each.
    MultiModality takes all of `other`, every caption with two motions or more, and is absent where none has. Without
    `other`, the real motions are judged; their FID is that of two random halves, an upper bound, because FID grows as
    sets get smaller. The order of the motions does not matter. Where every repeat draws the same motions and captions,
    FID and MM-Dist have one value, not an interval of zero.
    """
    real = _sorted_by_id(real)
    if other is not None:
        other = _sorted_by_id(other)
    repeats = [
        _one_repeat(real, other, protocol, np.random.default_rng([seed, repeat])) for repeat in range(protocol.repeats)
    ]
    found = {name: [values[name] for values in repeats] for name in repeats[0]}
    for name in SUBSET_METRICS:
        if np.ptp(found[name]) <= ROUNDING:
            found[name] = found[name][:1]
    return found


def _one_repeat(
    real: EmbeddedSet, other: EmbeddedSet | None, protocol: Protocol, rng: np.random.Generator
) -> dict[str, float]:
    judged = real if other is None else other
    rows = draw_stratified([captions[0] for captions in judged.captions], len(real.ids), rng)
    values = _of_texts(judged, rows, protocol, rng)
    motions = judged.motions[rows] * protocol.embedding_scale
    if other is None:
        half, other_half = np.array_split(rng.permutation(len(rows)), 2)
        values["fid"] = fid(motions[half], motions[other_half])
    else:
        values["fid"] = fid(real.motions * protocol.embedding_scale, motions)
    pairs = draw_pairs(len(rows), protocol.diversity_pairs, rng)
    values["diversity"] = diversity(motions, *pairs) / protocol.diversity_divisor
    spreads = [_spread(judged.motions[group], protocol.multimodality_pairs, rng) for group in _same_caption(judged)]
    if spreads:
        values["multimodality"] = float(np.mean(spreads))
    return values


def draw_stratified(captions: Sequence[str], size: int, rng: np.random.Generator) -> Int64[np.ndarray, " row"]:
    """Draw `size` random rows, or all if there are fewer; each caption gets its share to within one row.

    Systematic sampling: shuffled and sorted by caption, the rows at floor((i + u) M / N) are taken, for u at random.
    """
    shuffled = rng.permutation(len(captions))
    ordered = shuffled[np.argsort(np.array(captions)[shuffled], kind="stable")]
    size = min(size, len(captions))
    return ordered[(np.arange(size) * len(captions) + rng.integers(len(captions))) // size]


def _sorted_by_id(embedded: EmbeddedSet) -> EmbeddedSet:
    order = sorted(range(len(embedded.ids)), key=embedded.ids.__getitem__)
    ids = tuple(embedded.ids[row] for row in order)
    captions = tuple(embedded.captions[row] for row in order)
    return EmbeddedSet(ids, captions, finite(embedded.motions, "motion")[order], embedded.texts)


def _of_texts(
    judged: EmbeddedSet, rows: Int64[np.ndarray, " row"], protocol: Protocol, rng: np.random.Generator
) -> dict[str, float]:
    """Compute the metrics that depend on the captions, each motion with a random one of its own.

    Motions whose first captions are the same do not meet in a pool: their other captions mean the same as well.
    """
    choices = [judged.captions[row] for row in rows]
    places = rng.integers([len(captions) for captions in choices])
    captions = [captions[place] for captions, place in zip(choices, places, strict=True)]
    texts = np.stack([judged.texts[caption] for caption in captions])
    motions = judged.motions[rows]
    pools = draw_pools([choice[0] for choice in choices], protocol.pool_size, rng).ravel()
    top = r_precision(texts[pools], motions[pools], protocol.pool_size)
    return {f"r_precision_{k}": float(share) for k, share in enumerate(top, start=1)} | {
        "mm_dist": mm_dist(texts, motions)
    }


def _same_caption(judged: EmbeddedSet) -> list[list[int]]:
    """Group the rows by caption; captions of one motion are left out."""
    rows: dict[str, list[int]] = {}
    for row, captions in enumerate(judged.captions):
        for caption in dict.fromkeys(captions):  # once, or a motion would be compared with itself
            rows.setdefault(caption, []).append(row)
    return [group for group in rows.values() if len(group) > 1]


def _spread(motions: Float[np.ndarray, "sample dim"], pairs: int, rng: np.random.Generator) -> float:
    return multimodality(motions[None], *draw_unlike_pairs(len(motions), pairs, rng))
