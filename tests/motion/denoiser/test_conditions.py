"""Conditions of a denoiser: which kinds are dropped, whose caption is whose, and numbers mapped by name."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from motion.denoiser.conditions import (
    CONDITION_KINDS,
    ConditionKind,
    Conditions,
    empty_conditions,
    own_numbers,
    with_captions,
)
from motion.denoiser.config import DenoiserConfig
from motion.errors import InputError
from motion.text import TextEncoder
from tests.helpers.conditions import conditions

CONFIG = DenoiserConfig(width=32, layers=1, heads=2, feedforward=32, text_dim=2)
FIELDS_OF: dict[ConditionKind, set[str]] = {
    "text": {"text_valid"},
    "person_class": {"person_class"},
    "action": {"action"},
    "scene": {"points_valid", "heights"},
}


def everything() -> Conditions:
    """Make conditions of two samples in which nothing is zero."""
    given = conditions(2, 3, 5, text_dim=2, groups=4, heights=True)
    one = {"known": True, "person_class": 2, "action": 4, "identity": 7}
    return replace(given, **{name: torch.full_like(getattr(given, name), value) for name, value in one.items()})


@pytest.mark.parametrize("kind", CONDITION_KINDS)
def test_a_kind_is_dropped_from_the_chosen_sample_and_nothing_else_is(kind: ConditionKind) -> None:
    whole = everything()
    dropped = whole.without(torch.tensor([True, False]), [kind])
    for field in fields(Conditions):
        before, after = getattr(whole, field.name), getattr(dropped, field.name)
        assert torch.equal(after[1], before[1]), field.name
        assert torch.equal(after[0], torch.zeros_like(before[0]) if field.name in FIELDS_OF[kind] else before[0])
    assert set(FIELDS_OF) == set(CONDITION_KINDS)


def test_without_kinds_all_of_them_are_dropped() -> None:
    dropped = everything().without(torch.tensor([True, True]))
    zero = {name for name in vars(dropped) if not getattr(dropped, name).any()}
    assert zero == set.union(*FIELDS_OF.values()), "frames and identities stay"


def test_batches_follow_one_another_field_by_field() -> None:
    first = everything()
    second = replace(first, action=first.action + 1)
    joined = first.followed_by(second, first)
    assert joined.action[:, 0, 0].tolist() == [4, 4, 5, 5, 4, 4]
    assert all(len(getattr(joined, field.name)) == 6 for field in fields(Conditions))


def spelling() -> TextEncoder:
    """Encode a prompt as the numbers of its letters: (first, length) in all, and (number, place) a letter."""
    letters = {name: torch.tensor([[ord(c), i] for i, c in enumerate(name)]).float() for name in ("a", "bcd", "ef")}
    whole = {name: torch.tensor([ord(name[0]), len(name)]).float() for name in letters}
    encode, encode_words = (lambda texts, of=of: [of[text] for text in texts] for of in (whole, letters))
    return TextEncoder("spelling", 2, 100, len, encode, encode_words)


def test_each_caption_is_at_its_own_place() -> None:
    """The scene's is 0 and person p's is 1 + p; a sample has as many as it gives, the rest is not valid."""
    given = with_captions(empty_conditions(2, 2, 3, CONFIG), [["a", None, "bcd"], [None, "ef"]], spelling(), CONFIG)
    assert given.text_valid[..., 0].tolist() == [[True, False, True], [False, True, False]]
    assert given.text[:, :, 0].tolist() == [[[97, 1], [0, 0], [98, 3]], [[0, 0], [101, 2], [0, 0]]]


def test_captions_of_words_are_padded_to_the_longest() -> None:
    config = replace(CONFIG, text="words")
    given = with_captions(empty_conditions(2, 2, 3, config), [["a", None, "bcd"], [None, "ef"]], spelling(), config)
    assert given.text_valid.sum(dim=2).tolist() == [[1, 0, 3], [0, 2, 0]]
    assert given.text[0, 2].tolist() == [[98, 0], [99, 1], [100, 2]]
    assert given.text[1, 1].tolist() == [[101, 0], [102, 1], [0, 0]]


def test_nobody_says_anything() -> None:
    for text in ("vector", "words"):
        config = replace(CONFIG, text=text)
        given = with_captions(empty_conditions(1, 2, 3, config), [[None, None]], spelling(), config)
        assert given.text.shape == (1, 2, 1, 2)
        assert not given.text_valid.any()


def test_numbers_are_those_of_the_same_names_in_the_networks_table() -> None:
    names, known = ("unknown", "sitting", "lying", "flying"), ("unknown", "lying", "standing", "sitting")
    found = own_numbers(np.array([[0, 1], [2, 2]], dtype=np.int8), names, known, "action")
    assert found.tolist() == [[0, 3], [1, 1]]
    with pytest.raises(InputError, match="action 'flying' is unknown to this model, expected one of unknown, lying"):
        own_numbers(np.array([1, 3], dtype=np.int8), names, known, "action")
