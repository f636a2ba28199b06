"""Calibration of a room's camera: its focal length by people and edges, its tilt and roll by depth and edges."""

from recon.calibration.attitude import Edges, attitude_by_depth, attitude_by_edges, strongest_edges
from recon.calibration.focal_length import (
    DEFAULT_FIELD_OF_VIEW_DEG,
    HEIGHT_M,
    HEIGHT_SPREAD_M,
    Calibration,
    estimate_intrinsics,
)
from recon.calibration.vanishing_points import focal_by_edges

__all__ = [
    "DEFAULT_FIELD_OF_VIEW_DEG",
    "HEIGHT_M",
    "HEIGHT_SPREAD_M",
    "Calibration",
    "Edges",
    "attitude_by_depth",
    "attitude_by_edges",
    "estimate_intrinsics",
    "focal_by_edges",
    "strongest_edges",
]
