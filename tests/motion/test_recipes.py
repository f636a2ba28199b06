"""Recipes: consistent, and the same after travelling as JSON."""

import json
from dataclasses import replace

import pytest
import torch

from motion.denoiser import Denoiser
from motion.errors import InputError
from motion.recipes import RECIPES, default, from_dict, thesis, tiny, to_dict


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_json(name: str) -> None:
    recipe = RECIPES[name]()
    assert recipe.name == name
    assert from_dict(json.loads(json.dumps(to_dict(recipe)))) == recipe


def test_sizes() -> None:
    """The docstrings say about 2 M, 140 M and 150 M parameters."""
    for recipe, millions in ((tiny(), 2), (thesis(), 140), (default(), 150)):
        with torch.device("meta"):
            count = sum(p.numel() for p in Denoiser(recipe.denoiser).parameters())
        assert count / 1e6 == pytest.approx(millions, rel=0.15)


def test_unknown_and_missing_keys_are_named() -> None:
    values = to_dict(tiny())
    values["denoiser"]["depth"] = 3
    with pytest.raises(InputError, match=r"recipe.denoiser has the unknown key\(s\) depth"):
        from_dict(values)
    values = to_dict(tiny())
    del values["optim"]["steps"]
    with pytest.raises(InputError, match=r"recipe.optim lacks the key\(s\) steps"):
        from_dict(values)


def test_impossible_values_are_refused() -> None:
    with pytest.raises(InputError, match=r"max_persons must lie in 1..denoiser.max_persons"):
        replace(tiny(), max_persons=17)
    with pytest.raises(InputError, match="width must be a multiple"):
        replace(tiny(), denoiser=replace(tiny().denoiser, width=100))
    with pytest.raises(InputError, match="sampling.num_steps"):
        replace(tiny(), sampling=replace(tiny().sampling, num_steps=1001))


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (("fps",), "20", "recipe.fps is '20': Input should be a valid number"),
        (("max_frames",), 2.5, "recipe.max_frames is 2.5: Input should be a valid integer"),
        (("diffusion",), "cosine", "recipe.diffusion is 'cosine', expected its settings by name"),
        (
            ("diffusion", "prediction"),
            "x0 ",
            "recipe.diffusion.prediction is 'x0 ': Input should be 'eps",
        ),
        (("denoiser", "actions"), [1], r"recipe.denoiser.actions is \(1,\): Input should be a valid string"),
    ],
)
def test_values_of_another_type_are_named(place: tuple[str, ...], value: object, sentence: str) -> None:
    values = inner = json.loads(json.dumps(to_dict(tiny())))
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    with pytest.raises(InputError, match=sentence):
        from_dict(values)
