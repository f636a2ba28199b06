"""Corrections of the estimate: still motions of a body, for whom they are asked, and when."""

from dataclasses import replace

import pytest
import torch

from motion.errors import InputError
from motion.features import POSITIONS, VELOCITIES, decode, encode
from motion.guidance.terms import ApartFromPeople, BodyShape
from motion.skeleton import JOINT
from tests.helpers.walks import BODY, always, joints, motions, pelvis_path, poses, someone, steered


def test_positions_velocities_and_rotations_stay_one_motion() -> None:
    """A consistent estimate comes back as `encode` of a body; an inconsistent one is as far apart as before."""
    x, body_shape, valid = someone(1)
    term = pelvis_path(x)
    wrist = replace(term, joints=(JOINT["left_wrist"],), targets=term.targets + torch.tensor([0.0, 0.0, 0.5]))
    features = motions(0.3).normalizer.denormalize(steered(x, body_shape, valid, [term, wrist]))[0]
    pose = decode(features, BODY, torch.zeros(1, 10))
    torch.testing.assert_close(features, encode(pose.joints(BODY), pose.body_pose), atol=2e-3, rtol=0)
    torch.testing.assert_close(features[..., POSITIONS], pose.joints(BODY).flatten(-2), atol=1e-4, rtol=0)
    noisy = x + 0.3 * torch.randn_like(x)
    before, after = (
        motions(0.3).normalizer.denormalize(each)[0] for each in (noisy, steered(noisy, body_shape, valid, [term]))
    )
    gaps = [
        (each[..., POSITIONS] - decode(each, BODY, torch.zeros(1, 10)).joints(BODY).flatten(-2)).norm()
        for each in (before, after)
    ]
    torch.testing.assert_close(gaps[0], gaps[1], rtol=1e-3, atol=0)
    moved = (after - before)[..., POSITIONS]
    torch.testing.assert_close((after - before)[:, 1:, VELOCITIES], moved[:, 1:] - moved[:, :-1], atol=1e-5, rtol=0)


def test_a_sample_depends_on_itself_alone() -> None:
    """Alone or padded beside others it is the same to the bit, or to rounding over another number of frames.

    Padding and unconstrained neighbours come back as they were.
    """
    x, body_shape, valid = someone(3, persons=2)
    valid[0, 1], valid[0, :, 20:] = False, False
    x[0][~valid[0]] = 1e4
    path, apart = pelvis_path(x, weight=1.0), ApartFromPeople(*always(3))
    path.weight[2], apart.weight[1:] = 0, 0
    together = steered(x, body_shape, valid, [path, apart])
    assert torch.equal(together[2], x[2])
    assert torch.equal(together[~valid], x[~valid])
    assert together.isfinite().all()
    first = x[:1, :1, :20]
    alone = steered(first, BodyShape.of(BODY, torch.zeros(1, 1, 10)), valid[:1, :1, :20], [pelvis_path(first)])
    found, expected = (joints(poses(motions(0.3), each)) for each in (together[:1, :1, :20], alone))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert (expected - joints(poses(motions(0.3), first))).abs().max() > 0.3
    beside = steered(
        x[:2, :, :20], BodyShape.of(BODY, torch.zeros(2, 2, 10)), valid[:2, :, :20], [pelvis_path(x[:2, :, :20])]
    )
    torch.testing.assert_close(beside[0, 0], alone[0, 0], atol=1e-5, rtol=0)


def test_terms_act_between_start_and_stop_also_in_inference_mode() -> None:
    with torch.inference_mode():
        x, body_shape, valid = someone(1)
        term = replace(pelvis_path(x), start=torch.tensor([0.2]), stop=torch.tensor([0.6]))
        changed = [not torch.equal(steered(x, body_shape, valid, [term], p), x) for p in (0.1, 0.2, 0.5, 0.6, 0.7)]
    assert changed == [False, True, True, True, False]
    with pytest.raises(InputError, match="2 weights"):
        steered(*someone(2), [term])
