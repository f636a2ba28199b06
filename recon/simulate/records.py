"""Request and result of a simulation."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from motion.sequence import MotionSequence
from recon.camera import Camera


@dataclass(frozen=True)
class SimulateConfig:
    """Settings of a simulated sequence; what is not given is drawn at random."""

    num_people: int | None = None
    """Number of persons, 1 to 4; drawn at random if not given (mostly 1 to 3)."""
    num_frames: int = 100
    """Length in frames; 100 frames at 10 fps are 10 seconds."""
    fps: float = 10.0
    """Frames per second."""
    image_size: tuple[int, int] = (512, 384)
    """Width and height of the frames in pixels."""
    tilt: float | None = None
    """Camera angle below the horizon in degrees, 0 to 75; 20 to 50 at random if not given."""
    field_of_view: float | None = None
    """Horizontal field of view in degrees, 30 to 130; 55 to 100 at random if not given."""
    all_clips: bool = False
    """Also draw persons who dance, kick, punch or jump: variety to train on, not what happens in care."""


@dataclass(frozen=True, eq=False)
class Simulated:
    """Rendered sequence with its full ground truth.

    The world's origin is on the floor below the camera, its y axis where the camera looks (Z up, metres). Depth is
    along the optical axis in metres; keypoints and boxes are pixels.
    """

    frames: UInt8[np.ndarray, "frame height width 3"]
    """RGB images."""
    depth: Float32[np.ndarray, "frame height width"]
    """Depth of the frames, persons included (metres)."""
    labels: UInt8[np.ndarray, "frame height width"]
    """Class of each pixel: an index into `motion.sequence.LABELS`, or PERSON_LABEL + k for person k."""
    background_depth: Float32[np.ndarray, "height width"]
    """Depth of the room without persons (metres)."""
    background_labels: UInt8[np.ndarray, "height width"]
    """Class of each pixel of the room without persons, an index into `motion.sequence.LABELS`."""
    camera: Camera
    motion: MotionSequence
    keypoint_names: tuple[str, ...]
    """Name of every keypoint of the body, each once, in the order of `keypoints`."""
    keypoints: Float32[np.ndarray, "person frame keypoint 2"]
    """Exact projections in pixels (x, y), outside the image too."""
    visible: Bool[np.ndarray, "person frame keypoint"]
    """True where the keypoint is inside the image and nothing is nearer to the camera by more than a limb's radius."""
    boxes: Float32[np.ndarray, "person frame 4"]
    """Box x0, y0, x1, y1 of the person's whole mesh in pixels, clipped to the image; zeros where it is outside."""
    seen: Float32[np.ndarray, "person frame"]
    """Share of the person's pixels that nothing hides, 0 to 1; 0 where none is in the image."""
