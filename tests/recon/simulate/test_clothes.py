"""Clothes of simulated persons: skin shows where nobody covers it, and staff wear one colour."""

import numpy as np

from motion.body import load_body
from motion.skeleton import JOINT
from recon.simulate.clothes import dress

BODY = load_body()
OWNER = BODY.weights.argmax(dim=1).numpy()
SEEDS = range(20)


def colours(dressed: np.ndarray, *joints: str) -> np.ndarray:
    """Return the different colours of the skin that these joints move."""
    mine = np.isin(OWNER, [JOINT[name] for name in joints])
    assert mine.any()
    return np.unique(dressed[mine], axis=0)


def dressed(seed: int, staff: bool) -> np.ndarray:
    return dress(np.random.default_rng(seed), BODY, staff)


def test_colours_are_linear_light_for_every_vertex() -> None:
    for staff in (False, True):
        found = dressed(0, staff)
        assert found.shape == (len(BODY.v_template), 3)
        assert found.dtype == np.float32
        assert ((found >= 0) & (found <= 1)).all()


def test_hands_are_bare_and_both_of_the_faces_skin() -> None:
    nose = np.where(JOINT["head"] == OWNER, BODY.v_template[:, 2].numpy(), -1).argmax()
    for seed in SEEDS:
        for staff in (False, True):
            found = dressed(seed, staff)
            hands = colours(found, "left_hand", "right_hand", "left_wrist", "right_wrist")
            assert len(hands) == 1, "no sleeve reaches the hand"
            np.testing.assert_array_equal(found[nose], hands[0])


def test_trunk_and_thighs_are_covered_and_staff_wear_one_colour() -> None:
    for seed in SEEDS:
        uniform = dressed(seed, True)
        skin = colours(uniform, "left_hand")[0]
        thigh = (JOINT["left_hip"] == OWNER) & (BODY.v_template[:, 1].numpy() < BODY.joint_template[1, 1].item() - 0.1)
        worn = np.unique(np.concatenate([colours(uniform, "spine3"), uniform[thigh]]), axis=0)
        assert len(worn) == 1
        assert not np.array_equal(worn[0], skin)
        visitor = dressed(seed, False)
        bare = (visitor == colours(visitor, "left_hand")[0]).all(axis=1)
        assert not bare[JOINT["spine3"] == OWNER].any()


def test_some_wear_shorts_but_no_staff() -> None:
    """Bare shins are of the hands' colour."""
    bare = {staff: [] for staff in (False, True)}
    for staff, found in bare.items():
        for seed in range(40):
            one = dressed(seed, staff)
            shin = (JOINT["left_knee"] == OWNER) & (
                BODY.v_template[:, 1].numpy() < BODY.joint_template[4, 1].item() - 0.1
            )
            found.append(np.array_equal(np.unique(one[shin], axis=0), colours(one, "left_hand")))
    assert not any(bare[True])
    assert 2 <= sum(bare[False]) <= 13


def test_sleeves_end_above_the_elbow_or_before_the_wrist() -> None:
    """A long sleeve goes 20 cm beyond the elbow, a short one three quarters of the way to it; half wear short ones."""
    elbow = BODY.joint_template[JOINT["left_elbow"], 0].item()
    beyond = BODY.v_template[:, 0].numpy() - elbow
    forearm, upper = (JOINT[name] == OWNER for name in ("left_elbow", "left_shoulder"))
    short = []
    for seed in range(40):
        found = dressed(seed, False)
        bare = (found == colours(found, "left_hand")[0]).all(axis=1)
        assert bare[forearm & (beyond > 0.21)].all()
        at = bare[forearm & (beyond > 0.05) & (beyond < 0.19)]
        assert at.all() or not at.any()
        short.append(at.all())
        assert (bare[upper & (beyond > -0.2 * elbow)] == at.all()).all()
        assert not bare[upper & (beyond < -0.3 * elbow)].any()
    assert 12 <= sum(short) <= 28
