"""Requests of motions: captions, labels of constraints and requests, and ids that tell different requests apart."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from motion.body import load_body
from motion.generator.constraints import Given
from motion.generator.request import (
    MotionRequest,
    batch_shape,
    captions_of,
    labels_of,
    optional_provenance,
    request_id,
)
from motion.guidance.terms import ApartFromPeople, FloorContact, Term
from tests.helpers.clips import motion

WALK = MotionRequest("two people walk", num_frames=6, num_persons=2, seed=3)


def given() -> Given:
    """Keep the first four frames of one person, a carer who lies in bed, then crawls."""
    clip = motion(load_body(), frames=5)
    one = {name: getattr(clip, name)[:1] for name, spec in clip.ARRAYS.items() if spec.axes[0] == "person"}
    action = np.array([[1, 1, 12, 12, 5]], dtype=np.int8)
    clip = replace(clip, **one | {"action": action, "person_class": np.array([3], dtype=np.int8)})
    return Given(clip, np.array([[True, True, True, True, False]]))


def test_a_batch_is_as_large_as_its_largest_requests() -> None:
    assert batch_shape([WALK, replace(WALK, num_persons=1, num_frames=9)]) == (2, 9)


@pytest.mark.parametrize(
    ("prompt", "own", "captions"),
    [
        ("they meet", (), ["they meet"]),
        ("they meet", ("sits", ""), ["they meet", "sits", None]),
        ("", ("sits", ""), [None, "sits", None]),
        ("", ("", ""), ["", None, None]),  # refused by the text encoder, as an empty prompt is
        ("", (), [""]),
    ],
)
def test_captions_are_the_scenes_then_each_persons(
    prompt: str, own: tuple[str, ...], captions: list[str | None]
) -> None:
    assert captions_of(replace(WALK, prompt=prompt, person_prompts=own)) == captions


def test_labels_are_the_requests_except_in_kept_frames() -> None:
    classes, actions = labels_of(WALK, None, "patient")
    assert (classes.tolist(), actions.tolist()) == ([2, 2], [[0] * 6] * 2)
    asked = replace(WALK, action=("kneeling", "crawling"))
    classes, actions = labels_of(asked, given(), "person")
    assert classes.tolist() == [3, 1], "who is given keeps the class"
    assert actions.tolist() == [[1, 1, 12, 12, 11, 11], [12] * 6]
    classes, _ = labels_of(replace(asked, person_class=("patient", "unknown")), given(), "person")
    assert classes.tolist() == [2, 0], "unless the request names another one"


def switched(*weights: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return weight, start and stop of a term."""
    return torch.tensor(weights), torch.zeros(len(weights)), torch.ones(len(weights))


def test_provenance_names_what_the_request_used() -> None:
    terms: list[Term] = [FloorContact(*switched(0.0, 1.0)), ApartFromPeople(*switched(2.0, 1.0))]
    assert optional_provenance(WALK, None, [], 0) == {}
    own = replace(WALK, person_prompts=("sits", ""))
    found = [optional_provenance(own, given(), terms, row) for row in (0, 1)]
    assert [each["terms"] for each in found] == ["ApartFromPeople", "FloorContact ApartFromPeople"]
    assert (found[0]["person_prompts"], found[0]["given"]) == ('["sits", ""]', "made/up")


def test_an_id_is_that_of_the_request_the_model_and_all_constraints() -> None:
    """It stays as it was where bulk generation goes on with files of before."""
    assert request_id(WALK, "0123456789ab") == "generated/92f0f9630fbcf678"
    floor, weak = FloorContact(*switched(1.0, 0.5)), FloorContact(*switched(0.5, 0.5))
    later = replace(given(), kept=np.array([[False, True, True, True, False]]))
    ids = [
        request_id(WALK, "one"),
        request_id(WALK, "two"),
        request_id(replace(WALK, seed=4), "one"),
        request_id(replace(WALK, clean_up=False), "one"),
        request_id(WALK, "one", given()),
        request_id(WALK, "one", later),
        request_id(WALK, "one", None, [floor]),
        request_id(WALK, "one", None, [weak]),
        request_id(WALK, "one", None, [ApartFromPeople(*switched(1.0, 0.5))]),
    ]
    assert len(set(ids)) == len(ids)
    assert request_id(WALK, "one", None, [floor], row=1) == request_id(WALK, "one", None, [weak], row=0)
    assert request_id(WALK, "one", given()) == request_id(WALK, "one", given())
