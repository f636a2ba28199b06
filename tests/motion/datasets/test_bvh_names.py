"""Names of joints in BVH files: every family, names of the user's own, and what the template says."""

from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest
import yaml

from motion.datasets.bvh_names import IN_FILES, LAYOUTS, OPTIONAL, OWN_NAMES, Layout, find_layout, read_names, template
from motion.errors import InputError
from tests.conftest import Ended
from tests.helpers.sources import bvh as source
from tests.helpers.sources.humanml3d import walk

BOTH = ("Left", "Right")
SIDES = ("L", "R")


def sided(pattern: str, sides: tuple[str, str] = BOTH) -> list[str]:
    return [name.format(side) for side in sides for name in pattern.split()]


# As the programs write them, with their spines and what hangs on the ends.
SKELETONS: dict[str, tuple[list[str], str]] = {
    "biovision": (
        ["Hips", "Chest", "Neck", "Head", *sided("{}Hip {}Knee {}Ankle {}Collar {}Shoulder {}Elbow {}Wrist")],
        "Biovision (100STYLE, Xsens, OptiTrack; SMPL's left_hip)",
    ),
    "100style": (
        [
            *("Hips", "Chest", "Chest2", "Chest3", "Chest4", "Neck", "Head"),
            *sided("{}Collar {}Shoulder {}Elbow {}Wrist {}Hip {}Knee {}Ankle {}Toe"),
        ],
        "Biovision (100STYLE, Xsens, OptiTrack; SMPL's left_hip)",
    ),
    "biovision, older": (
        ["Hips", "Chest", "Neck", "Head", *sided("{}UpLeg {}LowLeg {}Foot {}Collar {}UpArm {}LowArm {}Hand")],
        "Biovision, older",
    ),
    "smpl": (
        [
            *("pelvis", "spine1", "spine2", "spine3", "neck", "head"),
            *sided(
                "{}_hip {}_knee {}_ankle {}_foot {}_collar {}_shoulder {}_elbow {}_wrist {}_hand", ("left", "right")
            ),
        ],
        "Biovision (100STYLE, Xsens, OptiTrack; SMPL's left_hip)",
    ),
    "smpl, short": (
        [
            *("Pelvis", "Spine1", "Spine2", "Spine3", "Neck", "Head"),
            *sided("{}_Hip {}_Knee {}_Ankle {}_Foot {}_Collar {}_Shoulder {}_Elbow {}_Wrist {}_Hand", SIDES),
        ],
        "SMPL (L_Hip), GAMES-105",
    ),
    "smpl, blender": (
        [
            *("m_avg_Pelvis", "m_avg_Spine1", "m_avg_Neck", "m_avg_Head"),
            *sided("m_avg_{}_Hip m_avg_{}_Knee m_avg_{}_Ankle m_avg_{}_Foot m_avg_{}_Collar", SIDES),
            *sided("m_avg_{}_Shoulder m_avg_{}_Elbow m_avg_{}_Wrist m_avg_{}_Hand", SIDES),
        ],
        "SMPL (L_Hip), GAMES-105",
    ),
    "games-105": (
        [
            *("RootJoint", "pelvis_lowerback", "lowerback_torso", "torso_head"),
            *sided("{}Hip {}Knee {}Ankle {}ToeJoint {}Torso_Clavicle {}Shoulder {}Elbow {}Wrist", ("l", "r")),
        ],
        "SMPL (L_Hip), GAMES-105",
    ),
    "rokoko": (
        [
            *("Hips", "Spine1", "Spine2", "Spine3", "Spine4", "Neck", "Head"),
            *sided("{}Shoulder {}Arm {}ForeArm {}Hand {}Thigh {}Shin {}Foot {}Toe"),
        ],
        "Rokoko",
    ),
    "xsens": (
        [
            *("Pelvis", "L5", "L3", "T12", "T8", "Neck", "Head"),
            *sided("{}Shoulder {}UpperArm {}ForeArm {}Hand {}UpperLeg {}LowerLeg {}Foot {}Toe"),
        ],
        "Xsens (segments), Unity",
    ),
    "motive": (
        [
            "Hip",
            "Ab",
            "Chest",
            "Neck",
            "Head",
            *sided("{}Shoulder {}UArm {}FArm {}Hand {}Thigh {}Shin {}Foot {}Toe", SIDES),
        ],
        "OptiTrack (Motive)",
    ),
    "mixamo": (
        [
            *("Hips", "Spine", "Spine1", "Spine2", "Neck", "Head"),
            *sided("{}Shoulder {}Arm {}ForeArm {}Hand {}UpLeg {}Leg {}Foot {}ToeBase"),
        ],
        source.MOTION_BUILDER,
    ),
}


@pytest.mark.parametrize("program", SKELETONS)
def test_each_programs_names_belong_to_one_family_with_all_they_have(program: str) -> None:
    names, family = SKELETONS[program]
    fitting = [name for name, layout in LAYOUTS.items() if not layout.find_in(names).missing(IN_FILES)]
    assert fitting == [family]
    found, layout = find_layout("a.bvh", names)
    assert found == family
    assert set(layout.joints.values()) <= set(names)
    feet = any("Toe" in name or "oot" in name.replace("RootJoint", "") for name in names)
    if program != "biovision, older":
        assert ("left_foot" in layout.joints) == feet
    assert "neck" in layout.joints
    for side in ("left", "right"):
        ours = {joint.removeprefix(f"{side}_"): name for joint, name in layout.joints.items() if joint.startswith(side)}
        assert all(name.removeprefix("m_avg_").lower().startswith(side[0]) for name in ours.values()), ours
        assert "Collar" not in ours["shoulder"]


def test_every_spelling_of_a_family_is_its_own() -> None:
    """No file that has the needed joints of one family has those of another, whichever of the names it uses."""
    for family, layout in LAYOUTS.items():
        names = [*layout.joints.values(), *chain.from_iterable(layout.others.values())]
        assert [name for name, other in LAYOUTS.items() if not other.find_in(names).missing(IN_FILES)] == [family]


def test_the_shoulder_of_motion_builder_is_no_shoulder() -> None:
    """Its LeftShoulder is the collar, that of Biovision the shoulder."""
    joints = {
        name: find_layout("a.bvh", SKELETONS[name][0])[1].joints["left_shoulder"] for name in ("mixamo", "100style")
    }
    assert joints == {"mixamo": "LeftArm", "100style": "LeftShoulder"}


def test_unknown_names_are_refused_with_what_the_nearest_family_lacks() -> None:
    names = [name.replace("LeftKnee", "LeftCalf") for name in SKELETONS["100style"][0] if name != "RightWrist"]
    with pytest.raises(InputError) as refused:
        find_layout("a b.bvh", names)
    said = str(refused.value)
    assert said.startswith("a b.bvh: has the joints Hips, Chest,")
    assert (
        "of the nearest, Biovision (100STYLE, Xsens, OptiTrack; SMPL's left_hip), it lacks LeftKnee, RightWrist;"
        in said
    )
    assert '`python -m motion.datasets.bvh_names "a b.bvh"` prints a template' in said
    assert "\n" not in said


def write_names(path: Path, change: Callable[[dict[str, object]], object] = lambda names: names) -> Path:
    names: dict[str, object] = {joint: f"ab:{joint[0]}_{joint.split('_')[1]}_x" for joint in IN_FILES}
    path.write_text(yaml.safe_dump(change(names)), encoding="utf-8")
    return path


def test_names_of_ones_own_come_first(tmp_path: Path) -> None:
    own = read_names(write_names(tmp_path / "map.yaml", lambda names: names | {"head": "skull", "neck": None}))
    names = ["root", *own.joints.values(), *SKELETONS["mixamo"][0]]
    family, layout = find_layout("a.bvh", names, own)
    assert family == OWN_NAMES
    assert (layout.joints["left_hip"], layout.joints["head"]) == ("l_hip_x", "skull")
    assert "neck" not in layout.joints
    assert find_layout("a.bvh", SKELETONS["mixamo"][0], own)[0] == source.MOTION_BUILDER


def test_a_name_of_ones_own_that_the_file_lacks_is_told(tmp_path: Path) -> None:
    own = read_names(write_names(tmp_path / "map.yaml", lambda names: names | {"neck": "noneck"}))
    with pytest.raises(InputError, match=r"a\.bvh: lacks what --bvh-names names \(neck: noneck\)"):
        find_layout("a.bvh", ["root", *[own.joints[joint] for joint in IN_FILES]], own)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda names: {**names, "left_hip": "x", "left_knee": "x"}, "x is the name of two joints"),
        (lambda names: {**names, "left_hip": None}, "has no name for left_hip, expected lines such as"),
        (lambda names: {**names, "left_hip": 3}, "left_hip: 3 is no name"),
        (lambda names: {**names, "tail": "Tail"}, "has tail, expected lines such as"),
        (lambda names: list(names), "holds no names, expected lines such as"),
        (lambda names: None, "holds no names, expected lines such as"),
    ],
)
def test_a_bad_list_of_names_is_refused(tmp_path: Path, change: Callable, says: str) -> None:
    with pytest.raises(InputError, match=rf"map\.yaml: {says}"):
        read_names(write_names(tmp_path / "map.yaml", change))


def test_a_list_that_is_no_yaml_or_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_names(tmp_path / "gone.yaml")
    (tmp_path / "map.yaml").write_text("left_hip: [", encoding="utf-8")
    with pytest.raises(InputError, match="is no YAML"):
        read_names(tmp_path / "map.yaml")
    names = write_names(tmp_path / "map.yaml").read_text(encoding="utf-8")
    (tmp_path / "map.yaml").write_text(f"{names}left_hip: other\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"map\.yaml: has left_hip twice, expected lines such as"):
        read_names(tmp_path / "map.yaml")


def test_a_template_is_completed_to_a_list(tmp_path: Path) -> None:
    names = [name.replace("LeftKnee", "LeftCalf") for name in SKELETONS["biovision"][0]]
    text = template(names)
    assert "left_knee:  # LeftKnee there" in text.splitlines()
    assert "left_foot:  # LeftToe there, may stay empty" in text.splitlines()
    (tmp_path / "map.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="has no name for left_knee, expected"):
        read_names(tmp_path / "map.yaml")
    (tmp_path / "map.yaml").write_text(text.replace("left_knee:", "left_knee: LeftCalf"), encoding="utf-8")
    assert find_layout("a.bvh", names, read_names(tmp_path / "map.yaml"))[1].joints["left_knee"] == "LeftCalf"


def test_the_command_prints_a_template(tmp_path: Path, run_program: Callable[..., Ended]) -> None:
    source.write_pose(tmp_path / "clip.bvh", walk(0.2, 30.0, 0), 30.0, source.MOTION_BUILDER, prefix="mixamorig:")
    ended = run_program("motion.datasets.bvh_names", "clip.bvh")
    assert ended.status == 0
    (tmp_path / "map.yaml").write_text(ended.out, encoding="utf-8")
    assert read_names(tmp_path / "map.yaml") == Layout(
        {
            joint: name
            for joint, name in LAYOUTS[source.MOTION_BUILDER].joints.items()
            if joint in (*IN_FILES, *OPTIONAL)
        }
    )
    assert "error: gone.bvh" in run_program("motion.datasets.bvh_names", "gone.bvh").err
