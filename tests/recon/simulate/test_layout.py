"""Random rooms: what stands in them, and where floor and walls lie."""

import numpy as np

from motion.sequence import LABELS
from recon.simulate import Simulated
from tests.helpers.simulated import world


def test_rooms_differ_and_hold_what_care_rooms_do(rooms: list[Simulated]) -> None:
    counts = {room.motion.num_persons for room in rooms}
    assert counts <= {1, 2, 3, 4}
    assert len(counts) > 1
    labels = np.concatenate([np.unique(room.background_labels) for room in rooms])
    for name in ("floor", "wall", "bed", "chair", "door", "window"):
        assert LABELS.index(name) in labels
    assert (np.unique([room.camera.intrinsics[0, 0] for room in rooms]).size) == len(rooms)


def test_floor_and_walls_lie_where_the_world_has_them(rooms: list[Simulated]) -> None:
    """Depth, camera and labels agree: floor pixels are at z = 0, wall pixels on a few upright planes."""
    for room in rooms:
        points = world(room, room.background_depth)
        floor = points[room.background_labels == LABELS.index("floor")]
        assert len(floor) > 0.04 * room.background_labels.size
        assert np.abs(floor[:, 2]).max() < 0.01
        assert _walls_are_flat(points[room.background_labels == LABELS.index("wall")])


def _walls_are_flat(points: np.ndarray) -> bool:
    """Tell whether there is a yaw after which nearly all points share one of four values of x or y (to 3 cm)."""
    if len(points) < 50:
        return True
    shares = []
    for yaw in np.radians(np.arange(0, 90, 0.5)):
        x = points[:, 0] * np.cos(yaw) + points[:, 1] * np.sin(yaw)
        y = points[:, 1] * np.cos(yaw) - points[:, 0] * np.sin(yaw)
        ends = [np.abs(a - b) < 0.03 for a in (x, y) for b in (a.min(), a.max())]
        shares.append(np.any(ends, axis=0).mean())
    return max(shares) > 0.95
