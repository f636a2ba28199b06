"""Training of the evaluator: captions mirrored with motions, the loss of pairs, and that both together teach."""

import numpy as np
import pytest
import torch

from motion.body import Body
from motion.evaluator import EvaluatorNetwork, contrastive_loss
from motion.evaluator.contrastive import captioned_batch
from motion.evaluator.motion_features import Encoded, MotionBatch
from motion.sequence import MotionSequence
from tests.helpers.clips import random_clip
from tests.helpers.evaluators import CONFIG, only


def test_training_batches_mirror_captions_with_motions(dance: MotionSequence) -> None:
    encoded, texts = Encoded.of(only(dance, [0])), ["raises the left hand"]
    batch, captions = captioned_batch([encoded] * 40, [texts] * 40, 30, np.random.default_rng(0))
    assert 10 <= captions.count("raises the right hand") <= 30
    assert set(captions) == {"raises the left hand", "raises the right hand"}
    lengths = batch.valid.sum(dim=(1, 2))
    assert lengths.min() >= 15
    assert lengths.max() <= 30
    assert len(set(lengths.tolist())) > 5


def test_the_loss_is_least_for_matching_pairs_and_forgives_twins() -> None:
    vectors, scale = torch.eye(6), torch.tensor(3.0)
    apart = torch.eye(6, dtype=torch.bool)
    matched = contrastive_loss(vectors, vectors, apart, scale)
    assert matched < 0.01 < 5 < contrastive_loss(vectors, vectors.roll(1, 0), apart, scale)
    twins = apart.clone()
    twins[0, 1] = twins[1, 0] = True
    crossed = vectors[[1, 0, 2, 3, 4, 5]]
    assert contrastive_loss(vectors, crossed, twins, scale) < 0.6 * contrastive_loss(vectors, crossed, apart, scale)
    alike = vectors[[0, 0, 2, 3, 4, 5]]  # each of the two is taken for the other half the time
    assert contrastive_loss(alike, alike, twins, scale) == pytest.approx(2 * np.log(2) / 6, abs=0.01)


def test_it_learns_to_tell_motions_by_their_captions(body: Body) -> None:
    torch.manual_seed(0)
    network, rng = EvaluatorNetwork(CONFIG).train(), np.random.default_rng(0)
    clips = [Encoded.of(random_clip(body, 1 + seed % 2, 12, seed)) for seed in range(8)]
    vectors, same = torch.randn(8, CONFIG.text_dim), torch.eye(8, dtype=torch.bool)
    optimizer = torch.optim.AdamW(network.parameters(), 4e-3)
    for _ in range(30):
        batch, _ = captioned_batch(clips, [["a"]] * 8, 12, rng)
        loss = contrastive_loss(network.embed_text(vectors), network.embed_motion(batch), same, network.logit_scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        found = (network.embed_text(vectors) @ network.embed_motion(MotionBatch.of(clips)).T).argmax(dim=1)
    assert found.tolist() == list(range(8))
