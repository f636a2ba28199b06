"""Action classifier: what it must not depend on, its file, and what it refuses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from motion.errors import InputError
from motion.evaluator import ActionClassifier, ClassifierConfig, classifier_bytes, load_classifier
from motion.evaluator.action_classifier import FORMAT
from motion.evaluator.classifier_training import Example, LabelledBatch
from motion.features import Normalizer
from motion.sequence import MotionSequence
from motion.weights import weights_bytes
from tests.helpers.classifiers import guidance, noised, random_classifier


def test_persons_padding_and_neighbours_do_not_matter() -> None:
    """Neither logits nor guidance depend on them; the number of frames is no multiple of a token's."""
    network, (x_t, t, valid) = random_classifier(), noised(frames=10)
    labels = torch.tensor([[0, 2, 1], [1, 0, 2]])
    logits, guided = network(x_t, t, valid), guidance(network, valid, labels)(x_t, x_t, t)
    order = [2, 0, 1]
    torch.testing.assert_close(network(x_t[:, order], t, valid[:, order]), logits[:, order])
    wide, there = torch.full((2, 4, 17, 6), torch.nan, dtype=torch.float64), torch.zeros(2, 4, 17, dtype=torch.bool)
    wide[:, :3, :10], there[:, :3, :10] = x_t, valid
    torch.testing.assert_close(network(wide, t, there)[:, :3], logits)
    assert network(wide, t, there).isfinite().all()
    padded = guidance(network, there, nn.functional.pad(labels, (0, 1), value=-1))(wide, wide, t)
    torch.testing.assert_close(padded[:, :3, :10], guided)
    for i in range(2):
        alone = guidance(network, valid[i : i + 1], labels[i : i + 1])(x_t[i : i + 1], x_t[i : i + 1], t[i : i + 1])
        torch.testing.assert_close(alone[0], guided[i])
    assert (logits[0, 0] - logits[1, 0]).abs().max() > 1e-3


def test_a_file_holds_the_whole_classifier(
    trained: ActionClassifier, data: tuple[list[MotionSequence], list[np.ndarray], Normalizer], tmp_path: Path
) -> None:
    clips, _, normalizer = data
    path = tmp_path / "classifier.safetensors"
    path.write_bytes(classifier_bytes(trained, normalizer, "cosine", 1000))
    loaded = load_classifier(path)
    batch = LabelledBatch.of([Example.of(clips[0], np.zeros((2, 20), dtype=int))], normalizer)
    t = torch.tensor([40])
    assert torch.equal(loaded.network(batch.x0, t, batch.valid), trained(batch.x0, t, batch.valid))
    assert loaded.network.config == trained.config
    assert len(loaded.version) == 12
    assert [loaded.label(name) for name in ("standing", "lying", "unknown")] == [0, 1, -1]
    loaded.check_fits(normalizer, "cosine", 1000)


def test_what_is_refused(
    trained: ActionClassifier, data: tuple[list[MotionSequence], list[np.ndarray], Normalizer], tmp_path: Path
) -> None:
    normalizer = data[2]
    path, content = tmp_path / "classifier.safetensors", classifier_bytes(trained, normalizer, "cosine", 1000)
    with pytest.raises(InputError, match=f"no file of format {FORMAT} at .*ray_jobs.train_classifier"):
        load_classifier(path)
    path.write_bytes(content)
    loaded = load_classifier(path)
    with pytest.raises(InputError, match="knows no 'flying', expected one of standing, lying"):
        loaded.label("flying")
    with pytest.raises(InputError, match="the cosine schedule of 1000 steps, the model on the linear one of 1000"):
        loaded.check_fits(normalizer, "linear", 1000)
    with pytest.raises(InputError, match="the cosine schedule of 1000 steps, the model on the cosine one of 500"):
        loaded.check_fits(normalizer, "cosine", 500)
    with pytest.raises(InputError, match="takes 282 features, the model has 286"):
        loaded.check_fits(Normalizer(torch.zeros(286), torch.ones(286)), "cosine", 1000)
    with pytest.raises(InputError, match="normalized otherwise than the model's"):
        loaded.check_fits(replace(normalizer, std=normalizer.std * 1.1), "cosine", 1000)
    path.write_bytes(content.replace(b'\\"width\\": 16', b'\\"width\\": 32'))
    with pytest.raises(InputError, match="holds another architecture"):
        load_classifier(path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="is damaged or no safetensors file"):
        load_classifier(path)
    path.write_bytes(weights_bytes({}, "carescene-model/3", {}))
    with pytest.raises(InputError, match=f"says format 'carescene-model/3', expected '{FORMAT}'"):
        load_classifier(path)
    with pytest.raises(InputError, match="width is 18, expected a multiple of 2 \\* heads = 8"):
        ClassifierConfig(width=18)
    with pytest.raises(InputError, match="heads is 0, expected 1 or more"):
        ClassifierConfig(heads=0)
    with pytest.raises(InputError, match="the classes are one, one, expected at least two different ones"):
        ClassifierConfig(names=("one", "one"))
