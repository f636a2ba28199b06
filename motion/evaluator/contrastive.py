"""Training of the evaluator: batches of random stretches of clips, and the contrastive loss."""

import math
from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from motion.clips.mirror_words import mirror_words
from motion.evaluator.motion_features import Encoded, MotionBatch, mirror_features

MAX_LOGIT_SCALE = math.log(100)  # as CLIP (Radford et al. 2021)


def contrastive_loss(
    texts: Float[Tensor, "batch dim"],
    motions: Float[Tensor, "batch dim"],
    same: Bool[Tensor, "batch batch"],
    logit_scale: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """Compute symmetric InfoNCE (Radford et al. 2021), with all motions of the `same` caption as right answers.

    Right answers count equally (Khosla et al. 2020). `same`: True where row and column have one caption.
    """
    logits = logit_scale.clamp_max(MAX_LOGIT_SCALE).exp() * texts @ motions.T
    wanted = same / same.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits, wanted) + F.cross_entropy(logits.T, wanted)) / 2


def captioned_batch(
    motions: Sequence[Encoded], captions: Sequence[Sequence[str]], max_frames: int, rng: np.random.Generator
) -> tuple[MotionBatch, list[str]]:
    """Cut a random stretch of at least half of each clip, mirror it half the time, and draw one of its captions."""
    stretches, texts = [], []
    for motion, choices in zip(motions, captions, strict=True):
        frames = motion.valid.shape[1]
        longest = min(frames, max_frames)
        length = int(rng.integers((longest + 1) // 2, longest + 1))
        stretches.append(motion.stretch(int(rng.integers(frames - length + 1)), length))
        texts.append(choices[int(rng.integers(len(choices)))])
    batch = MotionBatch.of(stretches)
    flipped = rng.random(len(motions)) < 0.5
    batch.features[flipped] = mirror_features(batch.features[flipped])
    return batch, [mirror_words(text) if flip else text for text, flip in zip(texts, flipped, strict=True)]
