"""Recipes: consistent, and the same after travelling as JSON."""

import json
from collections.abc import Iterator
from dataclasses import is_dataclass, replace
from math import inf, nan
from typing import Any

import pytest
import torch

from motion.denoiser import Denoiser
from motion.errors import InputError
from motion.recipes import RANGES, RECIPES, default, from_dict, thesis, tiny, to_dict


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_json(name: str) -> None:
    recipe = RECIPES[name]()
    assert recipe.name == name
    assert from_dict(json.loads(json.dumps(to_dict(recipe)))) == recipe


def test_sizes() -> None:
    """The docstrings say about 2.3 M, 140 M and 150 M parameters."""
    for recipe, millions in ((tiny(), 2.3), (thesis(), 140), (default(), 150)):
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
    ("name", "value", "expected"),
    [
        ("fps", nan, "a number above 0"),
        ("max_frames", 0, "1 or more"),
        ("denoiser.width", 0, "1 or more"),
        ("denoiser.heads", 0, "1 or more"),
        ("denoiser.layers", 0, "1 or more"),
        ("denoiser.dropout", 3.0, "a share of 0 or more and below 1"),
        ("denoiser.dropout", nan, "a share of 0 or more and below 1"),
        ("optim.learning_rate", nan, "a number above 0"),
        ("optim.learning_rate", -1.0, "a number above 0"),
        ("optim.warmup_steps", -1, "0 or more"),
        ("optim.weight_decay", nan, "0 or more"),
        ("optim.max_grad_norm", 0.0, "a number above 0"),
        ("diffusion.min_snr", nan, "a number above 0"),
        ("diffusion.t_bar", -5, "-1 or more"),
        ("diffusion.losses.velocity", -1.0, "0 or more"),
        ("sampling.guidance_scale", inf, "0 to 100"),
        ("sampling.apart", nan, "0 to 1"),
    ],
)
def test_numbers_out_of_their_range_are_named(name: str, value: float, expected: str) -> None:
    with pytest.raises(InputError, match=f"^recipe tiny: {name} is {value}, expected {expected}$"):
        changed(tiny(), name, value)


def test_every_number_of_a_recipe_has_a_range() -> None:
    assert {name for name, value in numbers(tiny())} | {"diffusion.min_snr"} == RANGES.keys()


def changed(config: Any, name: str, value: object) -> Any:
    """Replace a field of a dataclass, or of one inside it that a dot leads to."""
    first, _, rest = name.partition(".")
    return replace(config, **{first: changed(getattr(config, first), rest, value) if rest else value})


def numbers(config: Any, place: str = "") -> Iterator[tuple[str, float]]:
    for name, value in vars(config).items():
        if is_dataclass(value):
            yield from numbers(value, f"{place}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield place + name, value


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
