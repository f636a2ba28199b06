"""Sets of made-up embeddings of motions and captions."""

import numpy as np

from motion.metrics.embedding_metrics import EmbeddedSet


def embedded(motions: int, captions: int, seed: int, noise: float = 0.1) -> EmbeddedSet:
    """Draw motions around the embeddings of their captions, which are given out in turn."""
    names = [f"caption {k}" for k in range(captions)]
    texts = dict(zip(names, np.random.default_rng(0).normal(size=(captions, 6)).astype(np.float32), strict=True))
    own = [names[k % captions] for k in range(motions)]
    offsets = np.random.default_rng(seed).normal(0, noise, size=(motions, 6)).astype(np.float32)
    return EmbeddedSet(
        ids=tuple(f"{seed}/{k}" for k in range(motions)),
        captions=tuple((caption,) for caption in own),
        motions=np.stack([texts[caption] for caption in own]) + offsets,
        texts=texts,
    )
