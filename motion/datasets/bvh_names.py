"""Names of joints in BVH files: families of them, names of the user's own, and a template to write these down.

    python -m motion.datasets.bvh_names FILE > map.yaml

prints SMPL's joints with the names that the nearest family finds in FILE, to be completed; neck, head and feet may stay
empty. `python -m ray_jobs.prepare --bvh-names map.yaml` reads BVH files by it. Names are compared without case, spaces,
`_`, `-` and the prefixes `m_avg_` and `f_avg_` of SMPL's add-on for Blender: `LeftHip` and `left_hip` are one name.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro
import yaml

from motion.datasets.bvh_file import read_bvh, split_persons
from motion.datasets.joint_fitting import NEEDED
from motion.errors import InputError, command_line
from motion.errors.text_files import read_text

POSER_LEG_M = 0.84
IN_FILES = sorted(NEEDED - {"neck"})
"""Joints that each file must have."""
OPTIONAL = ("neck", "head", "left_foot", "right_foot")
"""Joints that a file may lack; a neck is then made up."""
OWN_NAMES = "--bvh-names"

Upright = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class Layout:
    """Naming of joints: SMPL's name to the file's; neck, feet and head may be missing."""

    joints: dict[str, str]
    """File's joint name of each of SMPL's names."""
    leg: float | None = None
    """Length of thigh and shin in metres, where the file's own size means nothing."""
    upright: dict[str, Upright] = field(default_factory=dict)
    """Axes of neck, head and ankles that point up and forward in a standing person, if the zero pose is not upright."""
    others: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Further names that some programs of this family give a joint."""

    def find_in(self, names: Sequence[str]) -> "Layout":
        """Keep the joints that a file with these names has, as the file writes them."""
        written = {_plain(name): name for name in reversed(names)}
        choices = {joint: map(_plain, (name, *self.others.get(joint, ()))) for joint, name in self.joints.items()}
        found = {joint: next(filter(written.__contains__, some), None) for joint, some in choices.items()}
        return replace(self, joints={joint: written[name] for joint, name in found.items() if name})

    def missing(self, joints: Sequence[str]) -> list[str]:
        """List those of SMPL's joints that this layout does not name."""
        return [joint for joint in joints if joint not in self.joints]


def _plain(name: str) -> str:
    return re.sub(r"^[mf]avg", "", re.sub(r"[\W_]", "", name.lower()))


def _family(
    left: str,
    right: str,
    sided: str,
    neck: str = "Neck",
    head: str = "Head",
    leg: float | None = None,
    upright: dict[str, Upright] | None = None,
) -> Layout:
    """Map SMPL's names to a file's; `sided` are its joints from hip to foot, then from shoulder to wrist.

    Where programs differ, | divides their names.
    """
    kinds = ("hip", "knee", "ankle", "foot", "shoulder", "elbow", "wrist")
    choices = {
        f"{side}_{kind}": pattern.replace("{}", word).split("|")
        for kind, pattern in zip(kinds, sided.split(), strict=True)
        for side, word in (("left", left), ("right", right))
    }
    choices |= {"neck": neck.split("|"), "head": head.split("|")}
    others = {joint: tuple(names[1:]) for joint, names in choices.items() if names[1:]}
    return Layout({joint: names[0] for joint, names in choices.items()}, leg, upright or {}, others)


# Bones of Bandai-Namco's zero pose lie along x. Axes are measured on 804 real files: neck and head as means over 8227
# frames of the "normal" style with trunk upright and hips still (the neck's within 2 degrees of its own axes), of the
# feet as the median of 159000 frames with ankle and toes still, in which the toes lie 39.6 degrees below the ankle.
BANDAI_NAMCO_UPRIGHT: dict[str, Upright] = {
    "neck": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "head": ((0.990, -0.141, 0.0), (0.141, 0.990, 0.0)),
    "left_ankle": ((-0.637, 0.0, 0.771), (0.771, 0.0, 0.637)),
    "right_ankle": ((0.637, 0.0, -0.771), (-0.771, 0.0, -0.637)),
}
LAYOUTS = {
    "Poser (cgspeed)": _family(
        *("l", "r", "{}Thigh {}Shin {}Foot {}Foot_end {}Shldr {}ForeArm {}Hand", "neck", "head"), leg=POSER_LEG_M
    ),
    "MotionBuilder (cgspeed, Mixamo)": _family(
        "Left", "Right", "{}UpLeg {}Leg {}Foot {}ToeBase|{}Toe {}Arm {}ForeArm {}Hand"
    ),
    "Bandai-Namco": _family(
        *("L", "R", "UpperLeg_{} LowerLeg_{} Foot_{} Toes_{} UpperArm_{} LowerArm_{} Hand_{}"),
        upright=BANDAI_NAMCO_UPRIGHT,
    ),
    "Biovision (100STYLE, Xsens, OptiTrack; SMPL's left_hip)": _family(
        "Left", "Right", "{}Hip {}Knee {}Ankle {}Toe|{}ToeBase|{}Foot {}Shoulder {}Elbow {}Wrist"
    ),
    "SMPL (L_Hip), GAMES-105": _family(
        *("L", "R", "{}_Hip {}_Knee {}_Ankle {}_Foot|{}_Toe|{}ToeJoint {}_Shoulder {}_Elbow {}_Wrist"),
        neck="Neck|torso_head",
    ),
    "Rokoko": _family("Left", "Right", "{}Thigh {}Shin {}Foot {}Toe|{}ToeBase {}Arm|{}UpperArm {}ForeArm {}Hand"),
    "Xsens (segments), Unity": _family(
        "Left", "Right", "{}UpperLeg {}LowerLeg {}Foot {}Toe|{}Toes|{}ToeBase {}UpperArm {}ForeArm|{}LowerArm {}Hand"
    ),
    "OptiTrack (Motive)": _family("L", "R", "{}Thigh {}Shin {}Foot {}Toe|{}ToeBase {}UArm {}FArm {}Hand"),
    "Biovision, older": _family("Left", "Right", "{}UpLeg {}LowLeg {}Foot {}Toe {}UpArm {}LowArm {}Hand"),
}
"""Families of names; no file has the needed joints of two."""


def find_layout(file: str, names: Sequence[str], own: Layout | None = None) -> tuple[str, Layout]:
    """Find whose names a file with these joints has, those of the user's `own` first, and the joints that it has.

    Raises InputError where it is nobody's, which says what the nearest family has and the file lacks.
    """
    layouts = ({OWN_NAMES: own} if own else {}) | LAYOUTS
    for family, layout in layouts.items():
        found = layout.find_in(names)
        if not found.missing(IN_FILES):
            _check_own(file, family, layout, found)
            return family, found
    nearest, found = _nearest(names)
    lacks = [LAYOUTS[nearest].joints[joint] for joint in found.missing(IN_FILES)]
    raise InputError(
        f"{file}: has the joints {', '.join(names)[:500]}, expected the names of {' or '.join(layouts)}; "
        f"of the nearest, {nearest}, it lacks {', '.join(lacks)}; name them by --bvh-names, "
        f'for which `python -m motion.datasets.bvh_names "{file}"` prints a template'
    )


def _check_own(file: str, family: str, asked: Layout, found: Layout) -> None:
    """Raise InputError where the user's own names hold one that the file lacks: it would be left out in silence."""
    if family == OWN_NAMES and (missing := found.missing(list(asked.joints))):
        named = ", ".join(f"{joint}: {asked.joints[joint]}" for joint in missing)
        raise InputError(f"{file}: lacks what --bvh-names names ({named}), expected such joints; leave it empty there")


def _nearest(names: Sequence[str]) -> tuple[str, Layout]:
    """Find the family most of whose needed joints are there, or, of several, are part of a name that is there."""
    found = {family: layout.find_in(names) for family, layout in LAYOUTS.items()}
    written = " ".join(map(_plain, names))

    def rank(family: str) -> tuple[int, int]:
        similar = [joint for joint in IN_FILES if _plain(LAYOUTS[family].joints[joint]) in written]
        return len(IN_FILES) - len(found[family].missing(IN_FILES)), len(similar)

    nearest = max(found, key=rank)
    return nearest, found[nearest]


def read_names(path: Path) -> Layout:
    """Read names of the user's own, YAML of `joint: name in the file`; raises InputError where a joint is missing."""
    expected = (
        f"expected lines such as `left_hip: LeftUpLeg` for {', '.join(IN_FILES)}, and perhaps {', '.join(OPTIONAL)}"
    )
    try:
        text = read_text(path, expected)
        content, node = yaml.safe_load(text), yaml.compose(text)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: is no YAML ({' '.join(str(error).split())[:200]}), {expected}") from error
    if not isinstance(content, dict) or node is None:
        raise InputError(f"{path}: holds no names, {expected}")
    named = {joint: name for joint, name in content.items() if name is not None}
    if odd := [f"{joint}: {name}" for joint, name in named.items() if not isinstance(name, str)]:
        raise InputError(f"{path}: {odd[0]} is no name, {expected}; put a name that looks like a number into quotes")
    if unknown := [str(joint) for joint in content if joint not in (*IN_FILES, *OPTIONAL)]:
        raise InputError(f"{path}: has {', '.join(unknown)[:200]}, {expected}")
    keys = [key.value for key, _ in node.value]
    if again := [key for key, times in Counter(keys).items() if times > 1]:
        raise InputError(f"{path}: has {again[0]} twice, {expected}")
    if twice := [name for name, times in Counter(named.values()).items() if times > 1]:
        raise InputError(f"{path}: {twice[0]} is the name of two joints, {expected}")
    layout = Layout({joint: name.rsplit(":", 1)[-1] for joint, name in named.items()})
    if missing := layout.missing(IN_FILES):
        raise InputError(f"{path}: has no name for {', '.join(missing)}, {expected}")
    return layout


def template(names: Sequence[str]) -> str:
    """Write the nearest family's names in a file as YAML for `read_names`; what it lacks is left empty."""
    nearest, found = _nearest(names)
    lines = [f"# Nearest is {nearest}. Joints of the file: {', '.join(names)}"]
    for joint in (*IN_FILES, *OPTIONAL):
        if joint in found.joints:
            lines.append(yaml.safe_dump({joint: found.joints[joint]}).strip())
        else:
            may = ", may stay empty" if joint in OPTIONAL else ""
            lines.append(f"{joint}:  # {LAYOUTS[nearest].joints[joint]} there{may}")
    return "\n".join(lines)


@dataclass(frozen=True)
class TemplateConfig:
    """Command that prints names of joints to be completed."""

    file: Annotated[Path, tyro.conf.Positional]
    """BVH file."""


def print_template(config: TemplateConfig) -> None:
    """Print the template for a file's first person."""
    print(template(split_persons(read_bvh(config.file))[0].names))


if __name__ == "__main__":
    command_line.run(print_template, TemplateConfig, __doc__)
