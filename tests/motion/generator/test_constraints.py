"""Constraints: kept frames come out to the bit, seams do not jump, and what cannot be kept is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from motion.clips.transforms import crop
from motion.errors import InputError
from motion.features import VELOCITIES, encode_sequence
from motion.generator import Given, in_between, prefix, reaction
from motion.generator.constraints import KEPT, fade_cleanup, match_curvature
from motion.generator.request import request_id
from motion.rotations import matrix_from_axis_angle
from motion.sequence import MotionSequence
from tests.benchmarks.controls import seam_ratio
from tests.helpers.clips import simulated
from tests.helpers.editing import BODY, CLIP, FRAMES, PAIR, generator, imitate, others, placed


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


def test_a_constraint_shows_itself_in_one_line() -> None:
    given = others()[0]
    assert repr(given) == f"Given {given.motion.id}: keeps {given.kept.sum()} of 2 x 10 frames (person x frame)"


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


def test_clean_up_fades_in_over_half_a_second_beside_kept_frames() -> None:
    """Ten frames of 20 a second, 3 s² - 2 s³ of what it does, for the person who is kept alone."""
    raised = replace(CLIP, transl=CLIP.transl + np.array([0, 0, 0.4], dtype=np.float32))
    eased = fade_cleanup(raised, CLIP, reaction(crop(CLIP, 0, 6), [0]), BODY)
    share = np.clip((np.arange(FRAMES) - 5) / 10, 0, 1)
    np.testing.assert_allclose((eased.transl - CLIP.transl)[0, :, 2], 0.4 * (3 * share**2 - 2 * share**3), atol=1e-5)
    np.testing.assert_allclose((eased.transl - CLIP.transl)[1, :, 2], 0.4, atol=1e-5)


def test_the_same_kept_frames_have_one_id_and_others_another() -> None:
    """Poses, times, persons and bodies count; frames that are not kept do not."""
    still = replace(CLIP, **CLIP.parameters[:, :1][:, [0] * FRAMES].posed_arrays(BODY))
    late, wide = np.zeros((2, 2, FRAMES), dtype=np.bool_)
    late[:, 3:6], wide[0, :6] = True, True
    other_end = still.transl.copy()
    other_end[:, 6:] += 1
    of = prefix(crop(still, 0, 3)).in_clip(2, FRAMES)
    same = [Given(still, of), Given(replace(still, transl=other_end), of)]
    taller = still.betas + np.float32(0.1)
    others = [Given(still, late), Given(still, wide), Given(replace(still, betas=taller), of), Given(CLIP, of)]
    assert len({given.digest() for given in same}) == 1
    assert len({request_id(PAIR, "v", given) for given in (*same, *others, None)}) == 6


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
