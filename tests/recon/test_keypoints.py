"""Keypoints of the default body lie where their names say."""

import pytest
import torch

from motion.body import Body
from motion.body.export_default import KEYPOINT_VERTICES
from motion.errors import InputError
from motion.rotations import matrix_from_axis_angle
from motion.skeleton import JOINT, JOINT_NAMES, KEYPOINT_SETS, MIRRORED
from motion.smpl_parameters import SmplParameters
from recon.keypoints import KEYPOINT_NAMES, body_keypoints, known_names


def at_rest(body: Body, names: tuple[str, ...], betas: torch.Tensor) -> torch.Tensor:
    rest = body.rest_joints(betas)
    return body_keypoints(body, names).positions(rest, torch.eye(3).expand(24, 3, 3), betas)


@pytest.mark.parametrize(("name", "count"), [("smpl24", 24), ("coco17", 17), ("openpose25", 25), ("blazepose33", 33)])
def test_every_set_has_its_number_of_keypoints_all_on_the_body(body: Body, name: str, count: int) -> None:
    names = KEYPOINT_SETS[name]
    assert len(names) == len(set(names)) == count
    assert set(names) <= set(known_names(body))


def test_the_default_body_has_all_keypoints_in_their_order(body: Body) -> None:
    assert known_names(body) == KEYPOINT_NAMES


def test_joints_are_keypoints_as_they_stand(body: Body) -> None:
    betas = torch.randn(10)
    torch.testing.assert_close(at_rest(body, JOINT_NAMES, betas), body.rest_joints(betas))


@pytest.mark.parametrize("betas", [torch.zeros(10), torch.linspace(-2, 2, 10)])
def test_faces_look_forward_and_left_is_left(body: Body, betas: torch.Tensor) -> None:
    names = KEYPOINT_SETS["blazepose33"]
    place = dict(zip(names, at_rest(body, names, betas), strict=True))
    head = body.rest_joints(betas)[JOINT["head"]]
    assert place["nose"][2] > place["left_eye"][2] > place["left_ear"][2]
    assert place["left_eye_inner"][0] < place["left_eye"][0] < place["left_eye_outer"][0] < place["left_ear"][0]
    assert place["mouth_left"][1] < place["nose"][1] < place["left_eye"][1]
    assert (place["nose"] - head).norm() < 0.2
    for side, sign in (("left", 1), ("right", -1)):
        ankle = body.rest_joints(betas)[JOINT[f"{side}_ankle"]]
        assert place[f"{side}_foot_index"][2] > ankle[2] + 0.1
        assert place[f"{side}_heel"][2] < ankle[2] < place[f"{side}_foot_index"][2]
        assert place[f"{side}_heel"][1] < ankle[1]
        assert sign * place[f"{side}_index"][0] > sign * place[f"{side}_wrist"][0]
        assert place[f"{side}_thumb"][2] > place[f"{side}_index"][2] > place[f"{side}_pinky"][2]


def test_skin_points_are_the_assets_and_a_new_export_keeps_them(body: Body) -> None:
    """The networks that ship have learnt these points: whoever moves one trains them again."""
    assert body.keypoint_vertices == KEYPOINT_VERTICES
    places = {
        "nose": (0.0, 0.558, 0.165),
        "left_eye": (0.030, 0.601, 0.141),
        "left_index": (0.837, 0.353, 0.059),
        "left_pinky": (0.835, 0.361, -0.025),
        "left_small_toe": (0.144, -0.970, 0.176),
        "right_heel": (-0.113, -0.971, -0.053),
    }
    found = at_rest(body, tuple(places), torch.zeros(10))
    torch.testing.assert_close(found, torch.tensor(list(places.values())), atol=1e-3, rtol=0)


def test_left_and_right_mirror_each_other(body: Body) -> None:
    names = KEYPOINT_SETS["openpose25"]
    place = dict(zip(names, at_rest(body, names, torch.zeros(10)), strict=True))
    for name in names:
        if name.startswith("left_"):
            mirrored = place[name] * torch.tensor([-1.0, 1.0, 1.0])
            torch.testing.assert_close(place["right_" + name[5:]], mirrored, atol=2e-3, rtol=0)
    assert MIRRORED[JOINT["left_hip"]] == JOINT["right_hip"]


def test_skin_points_of_head_and_feet_are_those_of_the_mesh(body: Body) -> None:
    pose = matrix_from_axis_angle(0.5 * torch.randn(1, 1, 23, 3))
    orient = matrix_from_axis_angle(torch.randn(1, 1, 3))
    transl, betas = torch.randn(1, 1, 3), torch.randn(1, 10)
    parameters = SmplParameters(transl, orient, pose, betas)
    keypoints = body_keypoints(body, ("nose", "left_ear", "right_heel"))
    seen = keypoints.positions(*parameters.kinematics(body), betas[:, None])[0, 0]
    mesh = body.vertices(parameters)[0, 0]
    torch.testing.assert_close(seen, mesh[[5038, 12006, 6202]], atol=5e-3, rtol=0)


def test_a_foreign_name_is_refused(body: Body) -> None:
    with pytest.raises(InputError, match="has no keypoint 'tail', expected some of pelvis"):
        body_keypoints(body, ("nose", "tail"))
