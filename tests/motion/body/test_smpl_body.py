"""Bodies: the default one's shape, agreement with smplx and with forward kinematics, and the user's own files."""

import pickle
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roma
import scipy.sparse
import smplx
import torch
from smplx.joint_names import JOINT_NAMES, SMPLH_JOINT_NAMES
from smplx.utils import Struct
from torch import Tensor

from motion.body import NUM_BETAS, load_body
from motion.body.smpl_body import FAMILIES
from motion.errors import InputError
from motion.skeleton import JOINT, LEFT, PARENTS, RIGHT
from motion.smpl_parameters import SmplParameters

ASSET = Path(__file__).parents[3] / "motion" / "assets" / "default_body.npz"
MIRROR = torch.tensor([-1.0, 1.0, 1.0])


def random_motion(people: int, frames: int, seed: int) -> SmplParameters:
    torch.manual_seed(seed)
    return SmplParameters(
        torch.randn(people, frames, 3),
        roma.random_rotmat((people, frames)),
        roma.random_rotmat((people, frames, 23)),
        torch.randn(people, NUM_BETAS),
    )


def still(betas: Tensor) -> SmplParameters:
    rotations = torch.eye(3).expand(len(betas), 1, 24, 3, 3)
    return SmplParameters(torch.zeros(len(betas), 1, 3), rotations[:, :, 0], rotations[:, :, 1:], betas)


def smplx_default() -> smplx.SMPL:
    with np.load(ASSET) as archive:
        arrays = dict(archive)
    arrays["posedirs"] = np.zeros((len(arrays["v_template"]), 3, 207), dtype=np.float32)
    return smplx.SMPL(model_path="", data_struct=Struct(**arrays))


def test_a_body_shows_itself_in_one_line() -> None:
    assert repr(load_body()) == "Body default: 13,718 vertices, 27,420 triangles, 24 joints"


def test_default_body_is_well_formed() -> None:
    body = load_body()
    assert body.name == "default"
    assert ASSET.stat().st_size < 6_000_000
    regressor, weights = body.J_regressor, body.weights
    assert regressor.min() >= 0
    assert (regressor > 0).sum(dim=1).max() < 60
    torch.testing.assert_close(regressor.sum(dim=1), torch.ones(24))
    assert weights.min() >= 0
    assert (weights > 0).sum(dim=1).max() <= 6
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(len(weights)))
    assert body.faces.min() == 0
    assert body.faces.max() == len(body.v_template) - 1


def test_default_body_stands_in_smpls_t_pose() -> None:
    rest = load_body().rest_joints(torch.zeros(NUM_BETAS))
    at = {name: rest[index] for name, index in JOINT.items()}
    assert rest[0].abs().max() < 0.01, "the pelvis is the origin"
    assert at["left_shoulder"][0] > 0.1, "left is +x"
    assert at["head"][1] > at["neck"][1] > at["spine3"][1] > at["spine2"][1] > at["spine1"][1] > 0.05, "y is up"
    assert at["left_foot"][2] > at["left_ankle"][2] + 0.08, "it faces +z"
    for start, end in (("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist")):
        along = (at[end] - at[start]) / (at[end] - at[start]).norm()
        assert along[0] > 0.999, "arms are horizontal and straight"
    assert (at["left_hip"] - at["left_ankle"])[0].abs() < 0.05, "legs are vertical"


def test_default_body_has_palms_down() -> None:
    body = load_body()
    thumb, index, pinky = (
        body.v_template[body.keypoint_vertices[f"left_{finger}"]] for finger in ("thumb", "index", "pinky")
    )
    assert thumb[2] > pinky[2] + 0.05, "the thumb is in front"
    assert abs(index[1] - pinky[1]) < 0.05, "index and little finger are level"


@pytest.mark.parametrize("seed", range(3))
def test_default_body_is_symmetric_for_any_shape(seed: int) -> None:
    torch.manual_seed(seed)
    rest = load_body().rest_joints(torch.randn(20, NUM_BETAS) * 2)
    torch.testing.assert_close(rest[:, RIGHT], rest[:, LEFT] * MIRROR, atol=1e-6, rtol=0)
    middle = [joint for joint in range(24) if joint not in LEFT + RIGHT]
    assert rest[:, middle, 0].abs().max() < 1e-6


def test_default_body_height_and_what_the_first_shape_does() -> None:
    body = load_body()
    betas = torch.zeros(5, NUM_BETAS)
    betas[:, 0] = torch.arange(-2, 3)
    heights = (mesh := body.vertices(still(betas))[:, 0, :, 1]).amax(1) - mesh.amin(1)
    assert 1.6 < heights[2] < 1.8
    assert (heights.diff() > 0.05).all(), "more of it is taller"
    torch.testing.assert_close(body.stature(betas), heights)


def test_bones_keep_a_sensible_length_for_likely_shapes() -> None:
    """No joint may fold into its parent for shapes within three standard deviations."""
    torch.manual_seed(0)
    body = load_body()
    rest = body.rest_joints(torch.randn(500, NUM_BETAS).clamp(-3, 3))
    mean = body.rest_joints(torch.zeros(NUM_BETAS))
    ratio = (rest[:, 1:] - rest[:, PARENTS[1:]]).norm(dim=-1) / (mean[1:] - mean[list(PARENTS[1:])]).norm(dim=-1)
    assert ratio.min() > 0.5
    assert ratio.max() < 1.6


@pytest.mark.parametrize("seed", range(4))
def test_default_body_agrees_with_smplx_and_forward_kinematics(seed: int) -> None:
    motion = random_motion(people=2, frames=5, seed=seed)
    body = load_body()
    with torch.no_grad():
        expected = smplx_default()(
            betas=motion.betas.repeat_interleave(5, 0),
            body_pose=motion.body_pose.flatten(0, 1),
            global_orient=motion.global_orient.flatten(0, 1)[:, None],
            transl=motion.transl.flatten(0, 1),
            pose2rot=False,
        )
    joints, vertices = motion.joints(body).flatten(0, 1), body.vertices(motion).flatten(0, 1)
    torch.testing.assert_close(joints, expected.joints[:, :24], atol=1e-5, rtol=0)
    torch.testing.assert_close(vertices, expected.vertices, atol=1e-5, rtol=0)


def test_turning_the_root_turns_the_mesh_about_the_pelvis() -> None:
    motion = random_motion(people=1, frames=3, seed=0)
    body, turn = load_body(), roma.random_rotmat()
    pelvis = motion.joints(body)[0, :, :1]
    mesh = body.vertices(motion)[0] - pelvis
    turned = body.vertices(replace(motion, global_orient=turn @ motion.global_orient))[0] - pelvis
    torch.testing.assert_close(turned, mesh @ turn.T, atol=1e-5, rtol=0)


def test_meshes_do_not_depend_on_how_frames_are_chunked(monkeypatch: pytest.MonkeyPatch) -> None:
    motion = random_motion(people=2, frames=4, seed=1)
    together = load_body().vertices(motion)
    monkeypatch.setattr("motion.body.smpl_body.FRAMES_AT_ONCE", 3)
    torch.testing.assert_close(load_body().vertices(motion), together, atol=1e-6, rtol=0)


def test_gradients_reach_pose_and_shape() -> None:
    parts = [part.requires_grad_() for part in vars(random_motion(people=1, frames=1, seed=0)).values()]
    motion = SmplParameters(*parts)
    body = load_body()
    (motion.joints(body).square().sum() + body.vertices(motion).square().mean()).backward()
    assert all(part.grad is not None and part.grad.abs().sum() > 0 for part in parts)


def own_joints(count: int) -> np.ndarray:
    """Make a kinematic tree of the family; fingers that are not SMPL's hands hang on the pelvis."""
    parents = np.zeros(count, dtype=np.int64)
    own = FAMILIES[count][1]
    parents[list(own[1:])] = [own[parent] for parent in PARENTS[1:]]
    return parents


def fake_model(joint_count: int, vertices: int = 150, betas: int = 16) -> dict[str, Any]:
    """Draw random arrays of the shapes in an official file."""
    rng = np.random.default_rng(joint_count)
    regressor = rng.random((joint_count, vertices)) * (rng.random((joint_count, vertices)) < 0.1)
    weights = rng.random((vertices, joint_count))
    table = np.array([own_joints(joint_count), range(joint_count)], dtype=np.uint32)
    table[0, 0] = 2**32 - 1
    return {
        "v_template": rng.normal(size=(vertices, 3)),
        "shapedirs": rng.normal(size=(vertices, 3, betas)) * 0.01,
        "posedirs": rng.normal(size=(vertices, 3, 9 * (joint_count - 1))) * 0.001,
        "J_regressor": regressor / np.maximum(regressor.sum(1, keepdims=True), 1e-9),
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": table,
        "f": rng.integers(0, vertices, (40, 3)).astype(np.uint32),
    }


def save_npz(path: Path, **arrays: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("joint_count", "file", "name"),
    [
        (24, "SMPL_NEUTRAL.npz", "smpl-neutral"),
        (24, "basicmodel_f_lbs_10_207_0_v1.1.0.npz", "smpl-female"),
        (24, "mine.npz", "smpl"),
        (52, "male/model.npz", "smplh-male"),
        (52, "SMPLH_FEMALE.npz", "smplh-female"),
        (55, "SMPLX_NEUTRAL.npz", "smplx-neutral"),
    ],
)
def test_family_and_gender_are_told_by_the_file(tmp_path: Path, joint_count: int, file: str, name: str) -> None:
    path = save_npz(tmp_path / file, **fake_model(joint_count))
    assert load_body(path).name == name
    assert load_body(str(path)).name == name


@pytest.mark.parametrize("joint_count", [24, 52, 55])
@pytest.mark.parametrize("seed", range(2))
def test_files_agree_with_smplx_and_forward_kinematics(tmp_path: Path, joint_count: int, seed: int) -> None:
    arrays = fake_model(joint_count)
    body = load_body(save_npz(tmp_path / "model.npz", **arrays))
    motion = random_motion(people=2, frames=3, seed=seed)
    own = torch.eye(3).repeat(6, joint_count, 1, 1)
    moved = 24 if joint_count == 24 else 22
    own[:, :moved] = motion.rotations.flatten(0, 1)[:, :moved]
    tensors = {field: torch.tensor(arrays[field]) for field in arrays if field not in ("kintree_table", "f")}
    vertices, joints = smplx.lbs.lbs(
        motion.betas.repeat_interleave(3, 0).double(),
        own.double(),
        tensors["v_template"],
        tensors["shapedirs"][..., :NUM_BETAS],
        tensors["posedirs"].flatten(0, 1).T,
        tensors["J_regressor"],
        torch.tensor([-1, *own_joints(joint_count)[1:]]),
        tensors["weights"],
        pose2rot=False,
    )
    offset = motion.transl.flatten(0, 1)[:, None].double()
    chosen = joints[:, FAMILIES[joint_count][1]] + offset
    torch.testing.assert_close(motion.joints(body).flatten(0, 1).double(), chosen, atol=1e-5, rtol=0)
    mesh = body.vertices(motion).flatten(0, 1).double()
    torch.testing.assert_close(mesh, vertices + offset, atol=2e-5, rtol=0)


def test_hand_joints_are_the_first_of_the_index_finger() -> None:
    for joint_count, names in ((52, SMPLH_JOINT_NAMES), (55, JOINT_NAMES)):
        assert [names[joint] for joint in FAMILIES[joint_count][1][-2:]] == ["left_index1", "right_index1"]


def test_official_pickle_loads_without_chumpy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Official files hold chumpy arrays and a sparse regressor."""
    module = types.ModuleType("chumpy.ch")
    module.Ch = type("Ch", (), {"__module__": "chumpy.ch"})  # type: ignore[attr-defined]
    arrays = fake_model(24, betas=10)
    content: dict[str, Any] = {**arrays, "bs_type": "lrotmin", "bs_style": "lbs"}
    content["J_regressor"] = scipy.sparse.csc_matrix(arrays["J_regressor"])
    for field in ("v_template", "shapedirs", "posedirs"):
        content[field] = module.Ch()
        content[field].__dict__.update(x=arrays[field], _dirty_vars=set())
    path = tmp_path / "basicModel_neutral_lbs_10_207_0_v1.0.0.pkl"
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
        patch.setitem(sys.modules, "chumpy.ch", module)
        path.write_bytes(pickle.dumps(content, protocol=2))
    body, same = load_body(path), load_body(save_npz(tmp_path / "same.npz", **arrays))
    assert "chumpy" not in sys.modules
    assert body.name == "smpl-neutral"
    motion = random_motion(people=1, frames=2, seed=0)
    torch.testing.assert_close(body.vertices(motion), same.vertices(motion))
    np.testing.assert_array_equal(body.faces, arrays["f"])


def test_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"SMPL_MALE\.pkl.*smpl\.is\.tue\.mpg\.de.*\"default\""):
        load_body(tmp_path / "SMPL_MALE.pkl")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": None}, "lacks weights"),
        ({"v_template": np.float64(1.0)}, "lacks arrays"),
        ({"weights": np.ones((150, 23))}, r"weights of shape \(150, 23\), expected \(150, 24\)"),
        ({"shapedirs": np.ones((150, 3, 4))}, r"shapedirs of shape \(150, 3, 4\), expected \(150, 3, 10\)"),
        ({"kintree_table": np.zeros((2, 30), dtype=np.uint32)}, "has 30 joints"),
        ({"kintree_table": np.zeros((2, 24), dtype=np.uint32)}, "kinematic tree"),
        ({"J_regressor": np.array([{}], dtype=object)}, "holds more than plain arrays"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    arrays = {key: value for key, value in (fake_model(24) | change).items() if value is not None}
    with pytest.raises(InputError, match=message):
        load_body(save_npz(tmp_path / "model.npz", **arrays))


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "model.npz", **fake_model(24))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match="damaged"):
        load_body(path)
    (tmp_path / "model.pkl").write_bytes(b"\x80\x02}q\x00")
    with pytest.raises(InputError, match=r"model\.pkl"):
        load_body(tmp_path / "model.pkl")
    (tmp_path / "model.obj").touch()
    with pytest.raises(InputError, match=r"expected a \.npz or an official \.pkl"):
        load_body(tmp_path / "model.obj")
