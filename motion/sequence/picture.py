"""Small pictures of the records for notebooks, as inline SVG: no drawing library, no file."""

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from motion.skeleton import BONES

MOST_POSES = 8
MOST_POINTS = 1500
PX_PER_M = 60
MARGIN_M = 0.15
COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")
_ACROSS = np.array([1.0, 1.0]) / np.sqrt(2)  # seen obliquely: who faces +y is seen neither from the front nor the side


def skeleton_strip(joints: Float32[np.ndarray, "person frame 24 3"], valid: Bool[np.ndarray, "person frame"]) -> str:
    """Draw stick figures of a few frames side by side, on the floor, without persons who are not valid in a frame."""
    num_frames = joints.shape[1]
    frames = np.unique(np.linspace(0, num_frames - 1, MOST_POSES).round().astype(int))
    across, up = joints[..., :2] @ _ACROSS, joints[..., 2]
    spans = [_span(across[valid[:, frame], frame]) for frame in frames]
    column = max(high - low for low, high in spans) + 2 * MARGIN_M
    low_z, high_z = min(0.0, float(up.min())) - MARGIN_M, float(up.max()) + MARGIN_M
    figures = [
        _figure((k + 0.5) * column + across[person, frame] - sum(span) / 2, high_z - up[person, frame], person)
        for k, (frame, span) in enumerate(zip(frames, spans, strict=True))
        for person in np.flatnonzero(valid[:, frame]).tolist()
    ]
    width, floor = len(frames) * column, high_z * PX_PER_M
    line = f'<path d="M0 {floor:.1f}H{width * PX_PER_M:.1f}" stroke="#999"/>'
    return _svg(width, high_z - low_z, line + "".join(figures))


def top_view(points: Float32[np.ndarray, "point 3"], colors: UInt8[np.ndarray, "point 3"]) -> str:
    """Draw a room from above, world x to the right and y up the page, higher points over lower ones."""
    if not len(points):
        return ""
    some = np.linspace(0, len(points) - 1, min(len(points), MOST_POINTS)).astype(int)
    some = some[np.argsort(points[some, 2])]
    low, high = points[some].min(axis=0).tolist(), points[some].max(axis=0).tolist()
    left, top = low[0], high[1]
    dots = [
        f'<circle cx="{PX_PER_M * (x - left):.0f}" cy="{PX_PER_M * (top - y):.0f}" r="3" fill="rgb({r},{g},{b})"/>'
        for (x, y, _), (r, g, b) in zip(points[some], colors[some], strict=True)
    ]
    return _svg(high[0] - low[0], high[1] - low[1], "".join(dots))


def _span(across: Float[np.ndarray, "person 24"]) -> tuple[float, float]:
    """Find the least and the greatest coordinate; a point where no person is."""
    return (float(across.min()), float(across.max())) if across.size else (0.0, 0.0)


def _figure(x: Float[np.ndarray, "24"], y: Float[np.ndarray, "24"], person: int) -> str:
    places = [f"{PX_PER_M * a:.0f} {PX_PER_M * b:.0f}" for a, b in zip(x, y, strict=True)]
    bones = "".join(f"M{places[one]}L{places[other]}" for one, other in BONES)
    return f'<path d="{bones}" stroke="{COLORS[person % len(COLORS)]}" stroke-width="2"/>'


def _svg(width_m: float, height_m: float, content: str) -> str:
    width, height = (max(1, round(PX_PER_M * side)) for side in (width_m, height_m))
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" fill="none"'
    return f'{opening} style="max-width:100%">{content}</svg>'
