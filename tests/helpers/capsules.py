"""Bodies of capsules in rest pose, and points inside of them."""

import numpy as np

from motion.body import load_body
from motion.body.capsules import Capsules, fit_capsules
from tests.helpers.clips import UPRIGHT

BODY = load_body()
MEAN_SHAPE = np.zeros((1, 10), dtype=np.float32)


def standing(*places: tuple[float, float, float]) -> Capsules:
    """Pose persons in T-pose, facing +x, on the floor at these places."""
    rest = BODY.joint_template.numpy() @ UPRIGHT.numpy().T - [0, 0, BODY.v_template[:, 1].min().item()]
    joints = np.stack([rest + place for place in places])[:, None]
    return fit_capsules(joints, MEAN_SHAPE.repeat(len(places), axis=0), BODY)


def seen(bodies: Capsules) -> np.ndarray:
    return np.ones(bodies.starts.shape[:2], dtype=np.bool_)


def inside(points: np.ndarray, bodies: Capsules, person: int) -> np.ndarray:
    """Tell whether points lie in a person of the first frame, by plain arithmetic."""
    found = np.zeros(len(points), dtype=np.bool_)
    for start, end, radius in zip(bodies.starts[person, 0], bodies.ends[person, 0], bodies.radii[person], strict=True):
        along = np.clip((points - start) @ (end - start) / max((end - start) @ (end - start), 1e-12), 0, 1)
        found |= np.linalg.norm(points - start - along[:, None] * (end - start), axis=1) < radius
    return found


def grid(bodies: Capsules, step: float = 0.025) -> tuple[np.ndarray, float]:
    """Make points of a grid around person 0; also return the litres of each."""
    axes = [
        np.arange(low - 0.25, high + 0.25, step)
        for low, high in zip(bodies.starts[0, 0].min(axis=0), bodies.starts[0, 0].max(axis=0), strict=True)
    ]
    return np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 3), 1000 * step**3
