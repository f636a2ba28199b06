"""What a simulation is asked for and what it gives."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from motion.sequence import MotionSequence
from recon.camera import Camera


@dataclass(frozen=True)
class SimulateConfig:
    num_people: int | None = None
    """1 to 4; drawn at random if not given."""
    num_frames: int = 100
    fps: float = 10.0
    image_size: tuple[int, int] = (512, 384)
    """Width, height."""
    tilt: float | None = None
    """Degrees of the camera below the horizon; 20 to 50 at random if not given."""
    field_of_view: float | None = None
    """Horizontal, degrees; 55 to 100 at random if not given."""
    all_clips: bool = False
    """Also people who dance, kick, punch, jump …: variety to train on, not what happens in care."""


@dataclass(frozen=True, eq=False)
class Simulated:
    """A rendered sequence and all that is known of it. The world's origin is on the floor below the camera, its y
    axis is where the camera looks; depth is along the optical axis in metres, keypoints and boxes are pixels."""

    frames: UInt8[np.ndarray, "frame height width 3"]
    depth: Float32[np.ndarray, "frame height width"]
    """People included."""
    labels: UInt8[np.ndarray, "frame height width"]
    """`motion.sequence.LABELS`, and PERSON_LABEL + k for person k."""
    background_depth: Float32[np.ndarray, "height width"]
    background_labels: UInt8[np.ndarray, "height width"]
    camera: Camera
    motion: MotionSequence
    keypoint_names: tuple[str, ...]
    """Every keypoint of the body, each once."""
    keypoints: Float32[np.ndarray, "person frame keypoint 2"]
    """Exact projections, also outside the image."""
    visible: Bool[np.ndarray, "person frame keypoint"]
    """Inside the image, and nothing there is nearer than the keypoint by more than a limb's radius."""
    boxes: Float32[np.ndarray, "person frame 4"]
    """x0, y0, x1, y1 of the whole person's mesh, clipped to the image; zeros where outside of it."""
    seen: Float32[np.ndarray, "person frame"]
    """Share of the person's pixels that nothing hides; 0 where none is in the image."""
