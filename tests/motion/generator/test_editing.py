"""Editing: kept frames come out to the bit and in their place, seams do not jump, constraints are met."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from motion.body import load_body
from motion.body.capsules import fit_capsules
from motion.body.penetration import person_penetration
from motion.clips.ground import settle
from motion.clips.transforms import canonical_start, crop, resample, transform
from motion.datasets import deepmimic
from motion.denoiser import Denoiser, DenoiserConfig
from motion.diffusion import q_sample
from motion.errors import InputError
from motion.features import VELOCITIES, Moments, encode_sequence
from motion.generator import (
    Generator,
    Given,
    Model,
    MotionRequest,
    extend,
    held,
    in_between,
    prefix,
    reaction,
    trajectory,
)
from motion.generator.constraints import KEPT, match_curvature
from motion.guidance.terms import ApartFromPeople, FloorContact
from motion.recipes import OptimConfig, Recipe, SamplingConfig
from motion.rotations import matrix_from_axis_angle
from motion.sequence import MotionSequence
from motion.skeleton import JOINT
from tests.benchmarks.controls import jumps, seam_ratio
from tests.helpers.clips import simulated

BODY = load_body()
FRAMES = 26
RECIPE = Recipe(
    name="test",
    denoiser=DenoiserConfig(width=32, layers=1, heads=2, feedforward=64, text_dim=384, editable=True),
    optim=OptimConfig(batch_size=4, steps=100),
    sampling=SamplingConfig(num_steps=3),
    max_frames=FRAMES,
    max_persons=3,
)


def real_pair() -> MotionSequence:
    """Join a walking and, 1.5 m beside, a kicking person; a tall and a short one."""
    clips = {clip.id.removeprefix("deepmimic/humanoid3d_"): clip for clip in deepmimic.list_clips()}
    pair = [resample(deepmimic.read_clip(clips[name], BODY), 20.0, BODY) for name in ("walk", "kick")]
    transl, orient, pose = (
        torch.from_numpy(np.concatenate([getattr(clip, name)[:, :FRAMES] for clip in pair])) for name in KEPT[:3]
    )
    transl[1, :, 0] += 1.5
    betas = torch.tensor([[0.8, 0.5], [-0.8, 0.2]]).repeat(1, 5)
    action = np.stack([np.full(FRAMES, 6), np.arange(FRAMES) % 13]).astype(np.int8)
    clip = simulated(BODY, transl, orient, pose, betas, person_class=np.array([2, 3], dtype=np.int8), action=action)
    return canonical_start(settle(clip, BODY), BODY)


CLIP = real_pair()
NORMALIZER = Moments.of(torch.cat([encode_sequence(CLIP)[0], encode_sequence(CLIP)[1]])).normalizer()
PAIR = MotionRequest("two people move", FRAMES, 2, seed=3)


def placed(clip: MotionSequence) -> MotionSequence:
    """Move a clip elsewhere in the world, turned by about two right angles."""
    turn = np.array([[-0.8, -0.6, 0], [0.6, -0.8, 0], [0, 0, 1]], dtype=np.float32)
    return transform(clip, turn, np.array([7, -3, 0], dtype=np.float32), BODY)


def generator(editable: bool = True, **sampling: object) -> Generator:
    torch.manual_seed(0)
    denoiser = replace(RECIPE.denoiser, editable=editable)
    recipe = replace(RECIPE, denoiser=denoiser, sampling=replace(RECIPE.sampling, **sampling))
    return Generator(Model(Denoiser(denoiser), NORMALIZER, recipe, "test"))


@pytest.fixture(scope="module")
def model() -> Generator:
    return generator()


def imitate(model: Generator, clip: MotionSequence) -> None:
    """Make the network predict this clip, whatever it is asked."""
    features = NORMALIZER.normalize(encode_sequence(clip))
    model.network.denoise = lambda x, t, prepared: features[:, : x.shape[2]].expand(len(x), -1, -1, -1).clone()


def others() -> list[Given]:
    """Choose the start, both ends, and one of two persons, of a clip somewhere in the world."""
    clip = placed(CLIP)
    return [
        prefix(crop(clip, 0, 10)),
        in_between(crop(clip, 0, 7), crop(clip, 20, FRAMES), FRAMES),
        reaction(clip, [1]),
    ]


@pytest.mark.parametrize("editable", [True, False])
def test_what_is_kept_comes_out_to_the_bit(editable: bool) -> None:
    """Free frames are the network's, with clean-up or without it."""
    for cleaned in (False, True):
        given = others()
        made = generator(editable).generate([replace(PAIR, clean_up=cleaned)] * 3, given)
        for each, result in zip(given, made, strict=True):
            persons, frames = each.kept.shape
            assert np.array_equal(result.betas[:persons], each.motion.betas)
            for name in (*KEPT, "action"):
                found = getattr(result, name)[:persons, :frames][each.kept]
                assert np.array_equal(found, getattr(each.motion, name)[each.kept]), name
            joints = result.parameters.joints(BODY).numpy()
            np.testing.assert_allclose(result.joints, joints, atol=1e-4)
        assert np.abs(made[0].joints[:, 12:20] - made[1].joints[:, 12:20]).max() > 1e-3
        assert (made[2].betas[1] != given[2].motion.betas[0]).any()


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


def test_the_velocity_after_a_gap_is_the_next_one() -> None:
    """The velocity of the end's first frame would give away where the gap ended, which nobody knows."""
    given = others()[1]
    features = given.features(BODY)[..., VELOCITIES]
    expected = encode_sequence(CLIP)[..., VELOCITIES]
    torch.testing.assert_close(features[:, 21:], expected[:, 21:], atol=1e-5, rtol=0)
    torch.testing.assert_close(features[:, 20], expected[:, 21], atol=1e-5, rtol=0)
    torch.testing.assert_close(features[:, :7], expected[:, :7], atol=1e-5, rtol=0)


def nearly(clip: MotionSequence) -> MotionSequence:
    """Make an imperfect network's answer: the clip two frames late, 10 cm away, every joint turned by 0.1 rad or so."""
    random = torch.Generator().manual_seed(1)
    late = [torch.from_numpy(getattr(clip, name)).roll(2, dims=1) for name in KEPT[:3]]
    for values in late:
        values[:, :2] = values[:, 2:3]
    turn = matrix_from_axis_angle(0.06 * torch.randn(2, 1, 24, 3, generator=random))
    transl = late[0] + torch.tensor([0.06, -0.06, 0.05])
    orient, pose = turn[:, :, 0] @ late[1], turn[:, :, 1:] @ late[2]
    return simulated(BODY, transl, orient, pose, torch.from_numpy(clip.betas))


@pytest.mark.parametrize("clean_up", [False, True])
def test_seams_do_not_jump(clean_up: bool) -> None:
    """The network is off by 10 cm and 0.1 rad; no jump is beyond 1.5 times the clip's own 99th percentile."""
    given, says = others()[:2], nearly(CLIP)
    model = generator()
    imitate(model, says)
    for each, result in zip(given, model.generate([replace(PAIR, clean_up=clean_up)] * 2, given), strict=True):
        kept = each.in_clip(2, FRAMES)
        assert seam_ratio(result, kept.astype(int), CLIP) <= 1.5
        pasted = np.where(kept[..., None, None], placed(CLIP).joints, placed(says).joints)
        assert seam_ratio(replace(result, joints=pasted), kept.astype(int), CLIP) > 3, "the test is too easy"


def test_far_from_a_seam_all_is_as_generated() -> None:
    model, says = generator(), nearly(CLIP)
    imitate(model, says)
    made = model.generate([replace(PAIR, clean_up=False)], [prefix(crop(CLIP, 0, 3))])[0]
    off = np.linalg.norm(made.joints - says.joints, axis=-1).max(axis=(0, 2))
    assert off[3] > 0.1
    assert off[16:].max() < 0.1 * off[3]


def test_meeting_at_a_seam() -> None:
    """A straight line goes on as it is, a gap of one frame is bridged, a step is spread and forgotten."""
    time = torch.arange(80, dtype=torch.float64)[:, None]
    line, kept = torch.cat([3 * time, 1 - time], dim=1), torch.arange(80) < 10
    torch.testing.assert_close(match_curvature(line[None], kept, 20.0), line[None])
    gap = torch.where(time == 20, 99.0, line)
    bridged = match_curvature(gap[None], torch.arange(80) != 20, 20.0)[0]
    assert (bridged - line).abs().max() < 0.5
    stepped = line + torch.where(kept, 0.0, 5.0)[:, None]
    met = match_curvature(stepped[None], kept, 20.0)[0]
    assert torch.equal(match_curvature(stepped[None, :2], kept[:2], 20.0)[0], stepped[:2])
    assert torch.equal(met[:10], line[:10])
    assert met.diff(n=2, dim=0).abs().max() < 0.1 * 5.0
    torch.testing.assert_close(met[-20:], stepped[-20:], atol=0.01, rtol=0)


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


def always(weight: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    return torch.tensor([weight]), torch.zeros(1), torch.ones(1)


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


WHOLE = np.ones((2, FRAMES), dtype=np.bool_)


def refused(sentence: str, *given: Given | None, **change: object) -> None:
    with pytest.raises(InputError, match=sentence):
        generator().generate([replace(PAIR, **change)], given)


def test_what_cannot_be_kept_is_refused_in_one_sentence() -> None:
    refused("given has 2 entries, expected 1", None, None)
    refused("kept whole: nothing is left", Given(CLIP, WHOLE))
    refused("has 26 frames, but 20 are asked for", Given(CLIP, WHOLE), num_frames=20)
    refused("has 2 persons, but 1 are asked for", Given(CLIP, WHOLE), num_persons=1)
    refused("has 30 frames per second, this model 20", prefix(crop(replace(CLIP, fps=30.0), 0, 9)))
    refused("are those of body 'smpl'", prefix(crop(replace(CLIP, body="smpl"), 0, 9)))
    with pytest.raises(InputError, match=r"kept is bool of shape \(2, 9\), expected bool of shape \(2, 26\)"):
        Given(CLIP, WHOLE[:, :9])
    with pytest.raises(InputError, match="nothing of it is kept"):
        Given(CLIP, ~WHOLE)
    with pytest.raises(InputError, match="keeps frame 4 of person 1, who is not valid there"):
        Given(replace(CLIP, valid=WHOLE & (np.arange(FRAMES) != 4) | [[True], [False]]), WHOLE)
    with pytest.raises(InputError, match="leaves none of 20 to generate"):
        in_between(crop(CLIP, 0, 10), crop(CLIP, 15, 25), 20)
    with pytest.raises(InputError, match="not of the same people"):
        in_between(crop(CLIP, 0, 10), replace(crop(CLIP, 15, 25), betas=CLIP.betas[::-1].copy()), 30)
    for persons in ([], [2], [0, 0]):
        with pytest.raises(InputError, match="expected some of the 2 of"):
            reaction(CLIP, persons)


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
