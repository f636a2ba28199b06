"""Text–motion evaluator: what it must not depend on, what it must learn, what it refuses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.body import Body, load_body
from motion.clips.augment import mirror, translate, yaw
from motion.errors import InputError
from motion.evaluator import (
    Evaluator,
    EvaluatorConfig,
    EvaluatorNetwork,
    contrastive_loss,
    evaluator_bytes,
    load_evaluator,
    mirror_features,
)
from motion.evaluator.carescene import FORMAT
from motion.evaluator.contrastive import captioned_batch
from motion.evaluator.motion_features import NUM_FEATURES, Encoded, MotionBatch
from motion.evaluator.protocol import CARESCENE
from motion.sequence import MotionSequence
from tests.helpers.clips import motion, random_clip

CONFIG = EvaluatorConfig(width=32, layers=2, heads=2, feedforward=64, dim=16, dropout=0.0)
PEOPLE = ("joints", "valid", "transl", "global_orient", "body_pose", "betas", "person_class", "action")


@pytest.fixture(scope="module")
def body() -> Body:
    return load_body()


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    torch.manual_seed(1)
    return Evaluator(EvaluatorNetwork(CONFIG), "0123456789ab")


@pytest.fixture(scope="module")
def dance(body: Body) -> MotionSequence:
    return motion(body)


def only(sequence: MotionSequence, persons: list[int]) -> MotionSequence:
    return replace(sequence, **{name: getattr(sequence, name)[persons] for name in PEOPLE})


def embed(evaluator: Evaluator, *motions: MotionSequence) -> torch.Tensor:
    return evaluator.embed_motions(motions)


@settings(max_examples=10, deadline=None)
@given(angle=st.floats(-3.1, 3.1), x=st.floats(-9, 9), y=st.floats(-9, 9))
def test_where_it_happens_and_which_way_it_faces_do_not_matter(angle: float, x: float, y: float) -> None:
    body = load_body()
    torch.manual_seed(1)
    evaluator = Evaluator(EvaluatorNetwork(CONFIG), "version")
    clip = motion(body)
    moved = translate(yaw(clip, angle, body), np.array([x, y], dtype=np.float32), body)
    here, there = embed(evaluator, clip, moved)
    assert (here - there).abs().max() < 1e-4


def test_persons_are_exchangeable_but_how_they_stand_to_each_other_counts(
    evaluator: Evaluator, dance: MotionSequence, body: Body
) -> None:
    swapped = only(dance, [1, 0])
    alone = only(dance, [0])
    apart = replace(dance, joints=dance.joints + np.array([[[[0, 0, 0]]], [[[2, 0, 0]]]], dtype=np.float32))
    base, other, single, further = embed(evaluator, dance, swapped, alone, apart)
    assert (base - other).abs().max() < 1e-5
    assert (base - single).norm() > 0.01
    assert (base - further).norm() > 1e-3


def test_a_motion_does_not_depend_on_its_neighbours_or_their_order(
    evaluator: Evaluator, dance: MotionSequence, body: Body
) -> None:
    others = [
        random_clip(body, persons, frames, seed) for seed, (persons, frames) in enumerate([(1, 50), (3, 9), (2, 30)])
    ]
    together = embed(evaluator, *others, dance)
    assert (embed(evaluator, dance)[0] - together[3]).abs().max() < 1e-5
    assert (embed(evaluator, dance, *others[::-1]) - together.flip(0)).abs().max() < 1e-5
    assert torch.allclose(together.norm(dim=1), torch.ones(4), atol=1e-5)


def test_frames_where_nobody_is_seen_do_not_count(evaluator: Evaluator, dance: MotionSequence) -> None:
    valid = dance.valid.copy()
    valid[1, 20:] = False
    hidden, changed = replace(dance, valid=valid), dance.joints.copy()
    changed[1, 20:] += 3
    base, moved, seen = embed(evaluator, hidden, replace(hidden, joints=changed), dance)
    assert (base - moved).abs().max() < 1e-6
    assert (base - seen).norm() > 1e-3
    nobody = replace(dance, valid=np.zeros_like(valid))
    assert torch.isfinite(embed(evaluator, nobody)).all()


def test_mirrored_features_are_those_of_the_mirror_image(dance: MotionSequence, body: Body) -> None:
    features = torch.from_numpy(Encoded.of(dance).features)
    assert features.shape == (2, dance.num_frames, NUM_FEATURES)
    mirrored = torch.from_numpy(Encoded.of(mirror(dance, body)).features)
    error = (mirror_features(features) - mirrored).abs()
    assert error.max() < 0.05 * features.abs().max()  # the body is not quite symmetric
    assert error.mean() < 5e-3
    assert torch.equal(mirror_features(mirror_features(features)), features)


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


def test_a_file_holds_the_whole_evaluator_and_names_its_version(
    evaluator: Evaluator, dance: MotionSequence, tmp_path: Path
) -> None:
    path = tmp_path / "evaluator.safetensors"
    path.write_bytes(evaluator_bytes(evaluator.network))
    loaded = load_evaluator(str(path))
    assert torch.equal(loaded.embed_motions([dance]), evaluator.embed_motions([dance]))
    texts = ["a person falls", "a person walks"]
    assert torch.equal(loaded.embed_texts(texts), evaluator.embed_texts(texts))
    assert (loaded.name, loaded.dim, loaded.fps, loaded.protocol) == ("carescene", 16, 20.0, CARESCENE)
    again = tmp_path / "again.safetensors"
    again.write_bytes(evaluator_bytes(EvaluatorNetwork(CONFIG)))
    assert len(loaded.version) == 12
    assert load_evaluator(str(again)).version != loaded.version


def test_what_is_refused(evaluator: Evaluator, dance: MotionSequence, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="made/up: has 30 frames per second, the evaluator takes 20"):
        embed(evaluator, replace(dance, fps=30.0))
    with pytest.raises(InputError, match=f"no file of format {FORMAT} at .*ray_jobs.train_evaluator"):
        load_evaluator(str(tmp_path / "absent.safetensors"))
    with pytest.raises(InputError, match="width is 30, expected a multiple of 2 \\* heads = 8"):
        EvaluatorConfig(width=30, heads=4)
    wider = EvaluatorNetwork(replace(CONFIG, width=64))
    other = tmp_path / "other.safetensors"
    other.write_bytes(evaluator_bytes(wider).replace(b'\\"width\\": 64', b'\\"width\\": 32'))
    with pytest.raises(
        InputError, match="holds another architecture: it has summary of shape .*expected what its description says"
    ):
        load_evaluator(str(other))
