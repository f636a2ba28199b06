"""Space of BVH files: the metres of a unit, and the axis that points up, which the format leaves open.

The unit is the one of `UNITS` in which thigh and shin make a person's leg. Up is y, or z where zero pose and frames
both stand along z, as Blender may export it.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from motion.clips.sanity import FAST_SHARE, FASTEST_M_PER_S
from motion.datasets.bvh_file import Bvh, joint_transforms
from motion.datasets.bvh_names import Layout
from motion.errors import InputError

UNITS = {"m": 1.0, "CMU's 0.45 inch": 0.0254 / 0.45, "inch": 0.0254, "cm": 0.01, "mm": 0.001}  # metres
# Thigh and shin of the longest, and of anyone to their stature: of adults only one unit fits.
LONGEST_LEG_M, LEG_OF_STATURE = 1.15, 0.458
UPRIGHT = 0.7  # cosine between the trunk and an axis, above which it points along it
MOST_LOOKED_AT = 200  # frames


def common_up_axis(files: tuple[str, ...], people: list[Bvh], layout: Layout) -> str:
    """Find the axis that points up, "y" or "z", which all persons of a recording must share.

    Raises InputError where they do not, or where it is neither or cannot be found.
    """
    axes = {_up_axis(file, bvh, layout) for file, bvh in zip(files, people, strict=True)}
    if len(axes) > 1:
        raise InputError(f"{', '.join(files)}: one person stands along y and another along z, expected one space")
    return axes.pop()


def _up_axis(file: str, bvh: Bvh, layout: Layout) -> str:
    """Find the axis along which hips to neck point in the zero pose and in most frames, "y" or "z".

    A lying person's zero pose stands, and the zero pose of some skeletons, such as Bandai-Namco's, lies while its
    frames stand: only where both agree on another axis, y is not up. Raises InputError where that is none of the two,
    and where the zero pose stands along z and the frames do not: one who lies with z up, or who stands with y up in a
    skeleton whose zero pose lies.
    """
    hips, neck = [bvh.names.index(layout.joints[f"{side}_hip"]) for side in ("left", "right")], layout.joints["neck"]
    every = -(-len(bvh.frames) // MOST_LOOKED_AT)
    positions, _ = joint_transforms(replace(bvh, frames=bvh.frames[::every]))
    poses = np.concatenate([bvh.zero_pose()[None], positions])
    trunk = poses[:, bvh.names.index(neck)] - poses[:, hips].mean(axis=1)
    trunk /= np.linalg.norm(trunk, axis=-1, keepdims=True).clip(min=1e-9)
    zero, most = trunk[0], np.median(trunk[1:], axis=0)
    axis = int(np.abs(zero).argmax())
    sign = np.sign(zero[axis])
    if (axis, sign) == (2, 1) and zero[2] >= UPRIGHT and most[2] < UPRIGHT:
        raise InputError(
            f"{file}: stands along z in its zero pose and not in its frames, expected a zero pose along y, "
            "or frames that tell whether y or z is up; say it by --up-axis y or z"
        )
    if (axis, sign) == (1, 1) or sign * zero[axis] < UPRIGHT or sign * most[axis] < UPRIGHT:
        return "y"
    if (axis, sign) != (2, 1):
        found = ("-" if sign < 0 else "") + "xyz"[axis]
        raise InputError(f"{file}: stands along {found} in its zero pose and its frames, expected y or z to point up")
    return "z"


def leg_length(tracks: Float64[np.ndarray, "frame joint 3"], joints: list[str]) -> float:
    """Measure the left thigh and shin."""
    hip, knee, ankle = (tracks[:, joints.index(f"left_{joint}")] for joint in ("hip", "knee", "ankle"))
    return float(np.median(np.linalg.norm(hip - knee, axis=-1) + np.linalg.norm(knee - ankle, axis=-1)))


def find_scale(
    file: str,
    tracks: Float64[np.ndarray, "frame joint 3"],
    joints: list[str],
    fps: float,
    leg: float | None,
    min_stature: float,
) -> float:
    """Find the metres per unit of the file: the one unit in which a person of this size, and no faster than any, moves.

    Raises InputError where there is none, or, as may be of children, more than one.
    """
    found = leg_length(tracks, joints)
    if leg and found > 0:
        return leg / found
    hips = [joints.index(f"{side}_hip") for side in ("left", "right")]
    speeds = fps * np.linalg.norm(np.diff(tracks[:, hips].mean(axis=1), axis=0), axis=-1)
    speed = np.quantile(speeds, 1 - FAST_SHARE) if len(speeds) else 0.0
    shortest = LEG_OF_STATURE * min_stature
    sizes = {unit: metres for unit, metres in UNITS.items() if shortest < metres * found < LONGEST_LEG_M}
    fits = [unit for unit, metres in sizes.items() if len(sizes) == 1 or metres * speed <= FASTEST_M_PER_S]
    if len(fits) > 1:
        may_be = " or ".join(f"{UNITS[unit] * found:.2g} m in {unit}" for unit in fits)
        raise InputError(f"{file}: thigh and shin may be {may_be}, expected one unit that fits; say which by --scale")
    if not fits:
        raise InputError(
            f"{file}: thigh and shin measure {found:g}, expected {shortest:.2f} to {LONGEST_LEG_M} m in one of "
            f"{', '.join(UNITS)}; say the metres of another unit by --scale"
        )
    return UNITS[fits[0]]
