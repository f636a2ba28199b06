"""Measure the floor under masks as people draw them: `python -m tests.benchmarks floors` writes results/floors.md.

Rooms are rendered, so their floors are known; masks of the floor are grown by some pixels, as annotators draw them, and
a tenth of foreign pixels is added. Some rooms are seen as a structured-light sensor sees them, and cut so that little
floor is left in view. The real rooms beside the repository have no true floor: there, the floor under a grown mask is
compared with the one that is found without a mask.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import product
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import binary_dilation, binary_opening, gaussian_filter, zoom
from tqdm import tqdm

from motion.errors import InputError
from motion.metrics.pose_error import floor_error
from motion.sequence import LABELS
from recon.camera import intrinsics_matrix, unproject_image
from recon.floor import Plane, find_floor, fit_floor
from recon.simulate import SimulateConfig, simulate
from tests.benchmarks.labelled import shared_data
from tests.benchmarks.results_file import cores
from tests.helpers.rgbd import REAL, RENDERED, read_depth

RESULTS = Path(__file__).parent / "results" / "floors.md"
ROOMS, SEED = 100, 920_000
GROWN_PX = (0, 4, 8, 12, 16)
FOREIGN = 0.1  # of a mask's pixels, added anywhere else
LEFT: tuple[float | None, ...] = (None, 0.15, 0.05)  # share of the picture that is floor; None: all of it
FEWEST_ROWS = 100
SEEDS = 5  # of foreign pixels in the real rooms
WRONG_DEG = 5.0
NEAR_M = 0.04  # of the floor found without a mask, within which a real pixel is marked as floor
KINECT = intrinsics_matrix(525.0, 525.0, 319.5, 239.5).double()
BASELINE_PX_M, NOISE_PX, FARTHEST_M = 525 * 0.075, 0.06, 8.0
TEXT = """\
# The floor under rough masks

{conditions}; `python -m tests.benchmarks floors`.

100 rendered rooms. *Depth*: the true one, or as a structured-light sensor sees it. *Floor*: all that the picture
shows, or its lower part is cut off until this share of it is floor. Masks are grown by some pixels, and a tenth of
foreign pixels is added. *Wrong*: by more than 5°. Errors of the floors that were not refused: mean, the worst in
brackets.

| depth | floor | grown by, px | refused | wrong | angle, ° | height, m |
|---|---|---:|---:|---:|---:|---:|
{masked}

Without a mask (`find_floor`):

| depth | floor | refused | wrong | angle, ° | height, m |
|---|---|---:|---:|---:|---:|
{found}

Real rooms (NYUv2, SUN RGB-D, TUM, and five of ICL-NUIM, rendered), five draws of foreign pixels each. They have no true
floor: compared with the one that is found without a mask.

| grown by, px | refused | wrong | angle, ° | height, m |
|---:|---:|---:|---:|---:|
{real}
"""

Points = Float[np.ndarray, "height width 3"]
Outcome = tuple[float, float] | None
"""Angle (degrees) and height (m) by which a floor is wrong; None where it was refused."""


@dataclass(frozen=True, eq=False)
class View:
    """Room as a camera sees it: points (metres, NaN where unknown), pixels of the floor, and the true plane."""

    points: Points
    floor: Bool[np.ndarray, "height width"]
    true: Plane

    def marked(self, pixels: int, seed: int) -> Float[np.ndarray, "point 3"]:
        """Return the points under the floor's mask, grown by `pixels`, and under a tenth of foreign pixels."""
        mask = binary_dilation(self.floor, np.ones((3, 3)), iterations=pixels) if pixels else self.floor.copy()
        known = np.isfinite(self.points[..., 0])
        others = np.flatnonzero(~mask & known)
        count = min(len(others), int(FOREIGN * mask.sum()))
        mask.flat[np.random.default_rng(seed).choice(others, count, replace=False)] = True
        return self.points[mask & known]


@dataclass(frozen=True, eq=False)
class Picture:
    """Rendered room: depth (metres), pixels of the floor, and its camera."""

    depth: Float[np.ndarray, "height width"]
    floor: Bool[np.ndarray, "height width"]
    intrinsics: torch.Tensor
    true: Plane

    def view(self, left: float | None, rng: np.random.Generator | None) -> View:
        """Show the room with so little floor `left`, and as a sensor sees it where there is an `rng`."""
        rows = len(self.depth)
        if left is not None:
            share = self.floor.sum(axis=1).cumsum() / (np.arange(1, rows + 1) * self.floor.shape[1])
            rows = max(int(np.argmax(share >= left)) + 1 if (share >= left).any() else rows, FEWEST_ROWS)
        depth = self.depth if rng is None else sensed(self.depth, rng)
        points = unproject_image(torch.from_numpy(depth[:rows]), self.intrinsics).numpy()
        return View(points, self.floor[:rows], self.true)


def main() -> None:
    """Measure all views and write the tables."""
    pictures = [render(SEED + k) for k in tqdm(range(ROOMS), desc="render")]
    masked, found = [], []
    for sensor, left in tqdm(list(product((False, True), LEFT)), desc="floors"):
        views = [p.view(left, np.random.default_rng(k) if sensor else None) for k, p in enumerate(pictures)]
        what = f"{'sensor' if sensor else 'true'} | {'all' if left is None else f'{left:.0%}'}"
        found.append(f"| {what} | {summary([outcome(find_floor, v.points, v.true) for v in views])} |")
        for px in GROWN_PX:
            outcomes = [outcome(fit_floor, v.marked(px, k), v.true) for k, v in enumerate(views)]
            masked.append(f"| {what} | {px} | {summary(outcomes)} |")
    real = [real_view(name, shared_data()) for name in (*REAL, *RENDERED)]
    of_real = [
        f"| {px} | {summary([outcome(fit_floor, v.marked(px, seed), v.true) for v in real for seed in range(SEEDS)])} |"
        for px in GROWN_PX
    ]
    text = TEXT.format(
        conditions=f"{date.today()}, {cores()}",
        masked="\n".join(masked),
        found="\n".join(found),
        real="\n".join(of_real),
    )
    RESULTS.write_text(text, encoding="utf-8")


def render(seed: int) -> Picture:
    """Render one empty room."""
    room = simulate(seed, SimulateConfig(num_people=1, num_frames=1))
    extrinsics = room.camera.extrinsics.double().numpy()
    normal = extrinsics[:3, 2]
    true = Plane(normal, float(-normal @ extrinsics[:3, 3]), 1.0)
    floor = room.background_labels == LABELS.index("floor")
    return Picture(room.background_depth.astype(np.float64), floor, room.camera.intrinsics.double(), true)


def sensed(depth: Float[np.ndarray, "height width"], rng: np.random.Generator) -> Float[np.ndarray, "height width"]:
    """Measure depth as a structured-light sensor does: edges smeared, distorted by 1 %, and in steps of disparity.

    Focal length, base line, steps of 1/8 pixel and noise are those of the first Kinect (Khoshelham & Elberink 2012):
    7 cm a step and 4 cm of noise at 5 m. One pixel in twenty, and all beyond 8 m, is unknown.
    """
    smeared = gaussian_filter(depth, 1.5)
    depth = np.where(np.abs(smeared - depth) > 0.03, smeared, depth)
    coarse = rng.standard_normal((5, 6))
    depth = depth * (1 + 0.01 * zoom(coarse, np.divide(depth.shape, coarse.shape), order=3))
    disparity = BASELINE_PX_M / depth + NOISE_PX * rng.standard_normal(depth.shape)
    depth = BASELINE_PX_M / np.maximum(np.round(8 * disparity) / 8, 1e-3)
    return np.where((rng.random(depth.shape) < 0.05) | (depth > FARTHEST_M), np.nan, depth)


def real_view(name: str, folder: Path) -> View:
    """Take the floor that is found without a mask for the true one, and mark what lies in it."""
    points = unproject_image(torch.from_numpy(read_depth(name, folder)), KINECT).numpy()
    plane = find_floor(points)
    return View(points, binary_opening(np.abs(plane.distance(points)) < NEAR_M, iterations=2), plane)


def outcome(find: Callable[..., Plane], points: Float[np.ndarray, "*batch 3"], true: Plane) -> Outcome:
    """Find a floor and compare it with the true one."""
    try:
        plane = find(points)
    except InputError:
        return None
    return floor_error(plane.normal, plane.offset, true.normal, true.offset)


def summary(outcomes: Sequence[Outcome]) -> str:
    """Format how many were refused and wrong, and the errors' mean and worst."""
    angles, heights = (np.array([each[i] for each in outcomes if each]) for i in (0, 1))
    refused, wrong = len(outcomes) - len(angles), int((angles > WRONG_DEG).sum())
    cells = [f"{refused} of {len(outcomes)}", str(wrong)]
    cells += [f"{x.mean():.2f} ({x.max():.2f})" if len(x) else "–" for x in (angles, heights)]
    return " | ".join(cells)


if __name__ == "__main__":
    main()
