"""Calibration of a room's camera: its focal length by people, its tilt and roll by depth and edges."""

from recon.calibration.attitude import attitude_by_depth, attitude_by_edges, strongest_edges
from recon.calibration.focal_length import (
    DEFAULT_FIELD_OF_VIEW_DEG,
    HEIGHT_M,
    HEIGHT_SPREAD_M,
    Calibration,
    estimate_intrinsics,
)

__all__ = [
    "DEFAULT_FIELD_OF_VIEW_DEG",
    "HEIGHT_M",
    "HEIGHT_SPREAD_M",
    "Calibration",
    "attitude_by_depth",
    "attitude_by_edges",
    "estimate_intrinsics",
    "strongest_edges",
]
