"""The table of actions in the model's file: a model outlives actions that are added later."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from motion.denoiser import Denoiser
from motion.errors import InputError
from motion.features import Normalizer
from motion.generator import Generator, MotionRequest, load_model, model_bytes, prefix
from motion.generator.model_file import FORMAT
from motion.recipes import Recipe, to_dict
from motion.skeleton import ACTIONS
from motion.weights import normalized_tensors, save_weights
from tests.helpers.recipe import RECIPE

KNOWN = ("unknown", "kneeling", "crawling", "laying_in_bed")
GROWN = (*ACTIONS, "dancing", "flying")
KNEEL = MotionRequest("a person kneels", num_frames=12, num_persons=2, seed=3, action=("kneeling", "crawling"))
NORMALIZER = Normalizer(torch.zeros(282), torch.ones(282))


def with_actions(actions: tuple[str, ...]) -> Recipe:
    return replace(RECIPE, denoiser=replace(RECIPE.denoiser, actions=actions))


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """Make a model that was trained with fewer actions, in an order of its own."""
    torch.manual_seed(0)
    recipe = with_actions(KNOWN)
    (tmp_path / "model.safetensors").write_bytes(model_bytes(Denoiser(recipe.denoiser), NORMALIZER, recipe))
    return tmp_path / "model.safetensors"


def grow(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("skeleton", "generator.request", "generator.sampling", "generator.model_file", "sequence.records"):
        monkeypatch.setattr(f"motion.{module}.ACTIONS", GROWN)


def test_a_model_makes_the_same_motion_after_actions_were_added(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_model(model_file).network.embed_action.num_embeddings == len(KNOWN)
    before = Generator.load(model_file).generate([KNEEL])[0]
    other = Generator.load(model_file).generate([replace(KNEEL, action=())])[0]
    grow(monkeypatch)
    after = Generator.load(model_file).generate([KNEEL])[0]
    for name in ("transl", "global_orient", "body_pose", "joints", "betas"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name), err_msg=name)
    assert not np.array_equal(before.joints, other.joints), "actions are heard"
    assert [GROWN[number] for number in after.action[:, 0]] == list(KNEEL.action), "records have today's numbers"


def test_an_action_that_the_model_does_not_know_is_refused(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(monkeypatch)
    generator = Generator.load(model_file)
    sentence = "action 'dancing' is unknown, expected one of unknown, kneeling, crawling, laying_in_bed"
    with pytest.raises(InputError, match=sentence):
        generator.check(replace(KNEEL, action=("dancing", "kneeling")))
    made = generator.generate([KNEEL])[0]
    around = prefix(replace(made, action=np.full_like(made.action, GROWN.index("dancing"))))
    with pytest.raises(InputError, match="action 'dancing' is unknown to this model, expected one of unknown, kneel"):
        generator.check(replace(KNEEL, num_frames=20), around)


def test_a_file_without_the_table_has_the_first_of_todays_actions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network, description = Denoiser(RECIPE.denoiser), to_dict(RECIPE)
    for name in ("actions", "person_classes"):
        del description["denoiser"][name]
    save_weights(tmp_path / "old", normalized_tensors(network, NORMALIZER), FORMAT, description)
    assert load_model(tmp_path / "old").recipe == RECIPE
    monkeypatch.setattr("motion.generator.model_file.ACTIONS", (*ACTIONS, "flying"))
    assert load_model(tmp_path / "old").recipe.denoiser.actions == ACTIONS
