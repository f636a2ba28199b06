"""Editing: windows, paths, held joints and corrections, and what a sample may depend on."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from motion.body.capsules import fit_capsules
from motion.body.penetration import person_penetration
from motion.clips.transforms import crop, transform
from motion.diffusion import q_sample
from motion.errors import InputError
from motion.features import encode_sequence
from motion.generator import Generator, MotionRequest, extend, held, prefix, reaction, trajectory
from motion.generator.constraints import KEPT
from motion.guidance.terms import ApartFromPeople, FloorContact
from motion.skeleton import JOINT
from tests.benchmarks.controls import jumps
from tests.helpers.editing import (
    BODY,
    CLIP,
    FRAMES,
    NORMALIZER,
    PAIR,
    RECIPE,
    always,
    generator,
    imitate,
    others,
    placed,
)


@pytest.fixture(scope="module")
def model() -> Generator:
    return generator()


def test_a_given_motion_stays_in_its_place_and_takes_the_rest_along(model: Generator) -> None:
    """Noise and network live in the frame of training clips, so a turned world turns the result."""
    request = replace(PAIR, clean_up=False)
    here, there = (model.generate([request], [prefix(crop(clip, 0, 10))])[0] for clip in (CLIP, placed(CLIP)))
    np.testing.assert_allclose(placed(here).joints, there.joints, atol=2e-4)
    assert here.id != there.id != model.generate([request])[0].id


@pytest.mark.parametrize("editable", [True, False])
def test_the_network_sees_what_is_given_as_in_training(editable: bool) -> None:
    """It sees clean features from the origin on where it was trained to; else features with the noise of the step."""
    of, seen, noises = generator(editable), [], []
    denoise, noise = of.network.denoise, of._noise
    of.network.denoise = lambda x, t, prepared: seen.append((x, t)) or denoise(x, t, prepared)
    of._noise = lambda *asked: noises.append(noise(*asked)) or noises[-1]
    of.generate([PAIR], [prefix(crop(placed(CLIP), 0, 10))])
    clean = NORMALIZER.normalize(encode_sequence(CLIP))[None, :, :10]
    assert len(seen) == RECIPE.sampling.num_steps
    for x, t in seen:
        expected = clean if editable else q_sample(of.schedule, clean, t[:1], noises[0][:, :, :10])
        torch.testing.assert_close(x[:1, :, :10], expected, atol=2e-3, rtol=1e-3)


def test_a_sample_depends_on_its_request_and_its_own_given_frames_alone(model: Generator) -> None:
    given = others()
    requests = [replace(PAIR, seed=seed) for seed in range(3)]
    batch = [*requests, MotionRequest("a person moves", 20, seed=9), replace(PAIR, num_persons=3)]
    together = model.generate(batch, [*given, None, given[2]])
    alone = model.generate(requests[1:2], given[1:2])[0]
    np.testing.assert_allclose(together[1].joints, alone.joints, atol=1e-4)
    assert together[1].id == alone.id
    reordered = model.generate(
        [batch[k] for k in (4, 1, 3, 0, 2)], [given[k] if k < 3 else None for k in (4, 1, 3, 0, 2)]
    )
    assert np.array_equal(reordered[1].joints, together[1].joints)
    plain = model.generate(batch[3:4])[0]
    np.testing.assert_allclose(together[3].joints, plain.joints, atol=1e-4)


def test_extending_goes_window_by_window(model: Generator) -> None:
    start, request = crop(placed(CLIP), 0, 12), replace(PAIR, num_frames=60)
    windows, generate = [], model.generate
    model.generate = lambda asked, *others: windows.append(asked[0].num_frames) or generate(asked, *others)
    try:
        made = extend(model, request, start, [FloorContact(*always())])
        plain, short = extend(model, request), extend(model, PAIR)
    finally:
        del model.generate
    assert windows == [26, 26, 14, 26, 26, 20, 26]
    assert made.num_frames == plain.num_frames == 60
    for name in (*KEPT, "action"):
        assert np.array_equal(getattr(made, name)[:, :12], getattr(start, name))
    assert (made.source, made.provenance["seed"], made.provenance["given"]) == ("generated", "3", start.id)
    assert "given" not in plain.provenance
    expected = model.generate([PAIR])[0]
    assert (short.id, short.joints.tobytes()) == (expected.id, expected.joints.tobytes())
    assert plain.joints[:, :26].tobytes() == expected.joints.tobytes()
    inside = np.delete(jumps(plain.joints), slice(23, 27), axis=1)
    assert jumps(plain.joints)[:, 23:27].max() < 1.5 * inside.max()


def test_paths_and_held_joints_are_met_in_the_world() -> None:
    """A path turns off by 30 cm and joints are 15 cm higher for a while, after a constraint elsewhere."""
    model, clip = generator(), placed(CLIP)
    imitate(model, CLIP)
    start = prefix(crop(clip, 0, 8))
    path = clip.joints[:, :, :1] + np.linspace(0, 0.55, FRAMES)[:, None, None] ** 2 * np.array([1, 0, np.nan])
    path[1], path[:, :8] = np.nan, np.nan
    made = model.generate([replace(PAIR, clean_up=False)], [start], [trajectory([path.astype(np.float32)])])[0]
    assert np.linalg.norm((made.joints[0, 8:, 0] - path[0, 8:, 0])[:, :2], axis=-1).mean() < 0.03
    np.testing.assert_allclose(made.joints[1], clip.joints[1], atol=0.15)
    frames = np.zeros((2, FRAMES), dtype=np.bool_)
    frames[1, 16:] = True
    higher = transform(clip, np.eye(3, dtype=np.float32), np.array([0, 0, 0.15], dtype=np.float32), BODY)
    joints = ["left_wrist", "head"]
    hold = trajectory([held(higher, joints, frames)], joints)
    made = model.generate([replace(PAIR, clean_up=False)], [start], [hold])[0]
    off = (made.joints - higher.joints)[1, 16:][:, [JOINT[name] for name in joints]]
    assert np.linalg.norm(off, axis=-1).mean() < 0.02
    assert made.provenance["terms"] == "Trajectory"


@pytest.mark.parametrize("given", [True, False])
def test_guidance_pulls_at_each_persons_own_body(given: bool) -> None:
    """One person is far taller than the mean, whether that is given or just predicted by the network."""
    tall = np.zeros((2, 10), dtype=np.float32)
    tall[:, 0] = 2.5
    big = replace(CLIP, **replace(CLIP.parameters, betas=torch.from_numpy(tall)).posed_arrays(BODY))
    model = generator()
    imitate(model, big)
    frames = np.zeros((2, FRAMES), dtype=np.bool_)
    frames[:, 14:] = True
    lifted = held(big, ["left_foot"], frames) + np.array([0, 0, 0.1], dtype=np.float32)
    hold = trajectory([lifted], ["left_foot"])
    made = model.generate([replace(PAIR, clean_up=False)], [prefix(crop(big, 0, 6))] if given else [], [hold])[0]
    off = (made.joints[:, :, [JOINT["left_foot"]]] - lifted)[:, 14:]
    assert np.linalg.norm(off, axis=-1).mean() < 0.02


def test_the_given_person_does_not_give_way() -> None:
    """Two persons are in one place: the generated one moves out of the way alone, and wholly."""
    model, one = generator(), reaction(CLIP, [0]).motion
    per_person = (*KEPT, "action", "betas", "valid", "person_class")
    imitate(model, replace(one, **{name: getattr(one, name).repeat(2, axis=0) for name in per_person}))
    made = model.generate([replace(PAIR, clean_up=False)], [reaction(placed(one), [0])], [ApartFromPeople(*always())])[
        0
    ]
    capsules = fit_capsules(made.joints, made.betas, BODY)
    assert person_penetration(capsules, made.valid)[1].max() < 0.03
    assert np.array_equal(made.joints[0], placed(one).joints[0])


def test_corrections_come_before_constraints(model: Generator) -> None:
    seen: list[tuple[int, ...]] = []

    def turn_off(x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        seen.append((*x0.shape, *x_t.shape, *t.shape))
        return torch.zeros_like(x0)

    features = model.sample_features([PAIR], [others()[0]], corrections=[turn_off])
    assert seen == [(1, 2, FRAMES, 282, 1, 2, FRAMES, 282, 1)] * RECIPE.sampling.num_steps
    torch.testing.assert_close(features[0, :, 10:], NORMALIZER.mean.expand(2, FRAMES - 10, -1), atol=1e-4, rtol=0)
    torch.testing.assert_close(features[0, :, :10], encode_sequence(CLIP)[:, :10], atol=1e-4, rtol=0)


def test_who_is_given_keeps_class_and_action(model: Generator) -> None:
    told, prepare = [], model.network.prepare
    model.network.prepare = lambda conditions: told.append(conditions) or prepare(conditions)
    request = replace(PAIR, num_persons=3, action=("crawling", "kneeling", "crawling"), clean_up=False)
    try:
        made = model.generate([request], [reaction(crop(CLIP, 0, 20), [1])])[0]
    finally:
        del model.network.prepare
    assert made.person_class.tolist() == [3, 1, 1]
    assert told[0].person_class[0].tolist() == [3, 0, 0]
    for action in (made.action, told[0].action[0].numpy()):
        assert action[0].tolist() == [*CLIP.action[1, :20], *[12] * 6]
        assert set(action[1]) == {11}
    assert made.texts == ["two people move"]


def test_what_cannot_be_wanted_is_refused_in_one_sentence(model: Generator) -> None:
    path: Sequence[np.ndarray] = [np.zeros((2, FRAMES, 1, 3), dtype=np.float32)]
    with pytest.raises(InputError, match=r"Trajectory.targets is of \(1, 2, 26\), the requests of \(1, 1, 26\)"):
        model.generate([replace(PAIR, num_persons=1)], terms=[trajectory(path)])
    with pytest.raises(InputError, match=r"Trajectory.weight is of \(2,\)"):
        model.generate([PAIR], terms=[trajectory([*path, *path])])
    with pytest.raises(InputError, match="there is no joint 'tail'"):
        trajectory(path, ["tail"])
    with pytest.raises(InputError, match="are not finite places"):
        trajectory([path[0] + np.inf])
    with pytest.raises(InputError, match="expected 3 and less than 50"):
        extend(model, replace(PAIR, num_persons=3, num_frames=50), CLIP)
