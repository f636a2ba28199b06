"""Made-up room."""

import numpy as np

from motion.sequence import Scene


def random_scene(points: int = 50) -> Scene:
    """Draw a scene of random points, the same every time."""
    rng = np.random.default_rng(0)
    return Scene(
        id="room",
        points=rng.normal(size=(points, 3)).astype(np.float32),
        colors=rng.integers(0, 255, (points, 3), dtype=np.uint8),
        labels=rng.integers(0, 6, points, dtype=np.int8),
        intrinsics=np.eye(3, dtype=np.float32),
        extrinsics=np.eye(4, dtype=np.float32),
        image_size=(640, 480),
        floor_inlier_ratio=0.9,
        depth_scale=1.0,
    )


def scene_of(points: np.ndarray, label: int) -> Scene:
    """Make a scene of these points (m), all of one label."""
    return Scene(
        id="room",
        points=points.astype(np.float32),
        colors=np.zeros((len(points), 3), dtype=np.uint8),
        labels=np.full(len(points), label, dtype=np.int8),
        intrinsics=np.eye(3, dtype=np.float32),
        extrinsics=np.eye(4, dtype=np.float32),
        image_size=(8, 8),
        floor_inlier_ratio=1.0,
        depth_scale=1.0,
    )
