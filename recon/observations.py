"""Observations of one sequence that fitting and lifting use: 2D keypoints, and depth where it was measured.

Pixels and metres, depths along the camera's optical axis; persons and frames as in `recon.people.People`.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int8
from torch import Tensor

from motion.errors import InputError
from recon.camera import Camera

SURE_CONFIDENCE = 0.5  # from which a keypoint counts as visible


@dataclass(frozen=True, eq=False)
class Observations:
    """2D keypoints and depths of one sequence's persons.

    Raises InputError for shapes that disagree and for NaN pixels with a confidence above 0.
    """

    camera: Camera
    """Camera that all frames were taken with."""
    fps: float
    """Frames per second."""
    names: tuple[str, ...]
    """Name of each keypoint, known to `recon.keypoints`."""
    keypoints: Float[Tensor, "person frame keypoint 2"]
    """Pixels (x, y); ignored where the confidence is 0."""
    confidence: Float[Tensor, "person frame keypoint"]
    """Confidence of each keypoint, 0 to 1; 0 is not annotated, about 0.3 hidden."""
    depth: Float[Tensor, "person frame keypoint"]
    """Depth of the visible skin at the keypoint's pixel, measured inside the person's own mask; NaN where unknown."""
    background: Float[Tensor, "height width"]
    """Depth of the empty room over the whole image, at any resolution; NaN where unknown."""
    covered: Bool[Tensor, "person frame keypoint"] | None = None
    """True where something is before the keypoint, such as a blanket; None where that is not known."""
    depth_error: float = 0.0
    """Standard deviation of `depth`, relative to the depth."""
    room_error: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Standard deviations of the floor's tilt and roll (radians) and of the room's size (relative)."""
    focal_error: float = 0.0
    """Standard deviation of the camera's focal length, relative to the focal length."""
    action: Int8[Tensor, "person frame"] | None = None
    """Action of each person, an index into `motion.skeleton.ACTIONS`; None without annotated actions."""

    def __post_init__(self) -> None:
        shape = (*self.keypoints.shape[:2], len(self.names))
        for name in ("keypoints", "confidence", "depth"):
            found = tuple(getattr(self, name).shape[:3])
            if found != shape:
                raise InputError(f"{name} of observations have shape {found}, expected {shape}")
        if not self.keypoints[self.confidence > 0].isfinite().all():
            raise InputError("a keypoint with confidence above 0 is NaN or infinite, expected pixels or confidence 0")
