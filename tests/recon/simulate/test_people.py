"""Persons of a simulated room: who they are and where they are put."""

from motion.body import load_body
from motion.clips.ground import lowest_skin
from motion.skeleton import ACTIONS, PERSON_CLASSES
from recon.simulate import SimulateConfig, Simulated, simulate


def test_everybody_is_seen_and_nobody_sinks_into_the_floor(rooms: list[Simulated]) -> None:
    for room in rooms:
        assert (room.seen.max(axis=1) >= 0.1).all()
        assert lowest_skin(room.motion, load_body()).min() > -0.06
        assert (room.motion.person_class > 0).all()


def test_actions_follow_roles() -> None:
    """Persons who lie in bed are patients with the pelvis at a mattress' height; on the floor it is far below."""
    config = SimulateConfig(num_frames=1, image_size=(64, 48), num_people=1)
    floor, bed = (simulate(seed, config).motion for seed in (42, 49))
    assert [ACTIONS[motion.action[0, 0]] for motion in (floor, bed)] == ["laying_on_floor", "laying_in_bed"]
    assert bed.person_class[0] == PERSON_CLASSES.index("patient")
    assert 0.45 < bed.joints[0, 0, 0, 2] < 0.9
    assert 0.02 < floor.joints[0, 0, 0, 2] < 0.4
