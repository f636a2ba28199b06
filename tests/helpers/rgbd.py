"""Depth and colour of the rooms in shared/data/rgbd_indoor, real and rendered, for the tests of several modules."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

REAL = ("NYU_depth.pgm", "SUN_depth.png", "TUM_depth.png")
RENDERED = tuple(f"depth_0000{number}.png" for number in range(5))


def read_depth(name: str, shared_data: Path) -> Float[np.ndarray, "height width"]:
    """Read depth in metres; NaN where the sensor gave none."""
    folder = shared_data / "rgbd_indoor" / ("redwood_sample" if name in RENDERED else "nyu_tum_sun")
    raw = np.array(Image.open(folder / name)).astype(np.uint16)
    if name.startswith("NYU"):  # Kinect disparity in the other byte order; 351.3 / (1092.5 - d) as in NYU's toolbox
        raw = raw.byteswap()
        depth = np.where(raw < 1092, 351.3 / (1092.5 - raw), 0)
    elif name.startswith("SUN"):
        depth = ((raw >> 3) | (raw << 13)) / 1000
    else:
        depth = raw / (5000 if name.startswith("TUM") else 1000)
    return np.where(depth > 0, depth, np.nan)


def read_color(name: str, shared_data: Path) -> UInt8[np.ndarray, "height width 3"]:
    """Read the picture that was taken with the depth of this name."""
    folder = shared_data / "rgbd_indoor" / ("redwood_sample" if name in RENDERED else "nyu_tum_sun")
    (file,) = folder.rglob(name.partition(".")[0].replace("depth", "color") + ".*")
    return np.array(Image.open(file).convert("RGB"))
