"""2D keypoints on a body: at one of SMPL's joints, or at a point of the skin that is fixed to one of them.

Skin points (nose, eyes, ears, mouth, thumbs, fingers, toes, heels) turn with one joint and keep their place relative to
it, so that no mesh is needed: `keypoint = joint + R_joint (offset of the rest mesh)`, exact for rigid heads and feet.
COCO's and OpenPose's hips and shoulders are clicked up to a few centimetres from SMPL's joints of that name; mid_hip
stands for the pelvis, as in SMPLify-X (Pavlakos et al. 2019).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import smplx.vertex_ids
import torch
from jaxtyping import Float, Int
from torch import Tensor

from motion.body import Body
from motion.errors import InputError
from motion.skeleton import JOINT

ALIASES = {"mid_hip": "pelvis", "left_foot_index": "left_big_toe", "right_foot_index": "right_big_toe"}
FEWEST = 4  # known keypoints without which a person cannot be placed
# Joint that each skin point turns with, and smplx's name for its vertex; a name with {side} stands for both sides.
_SKIN_PATTERNS = {
    "nose": ("head", "nose"),
    "{side}_eye": ("head", "{s}eye"),
    "{side}_eye_inner": ("head", ""),
    "{side}_eye_outer": ("head", ""),
    "{side}_ear": ("head", "{s}ear"),
    "mouth_{side}": ("head", ""),
    "{side}_thumb": ("{side}_wrist", "{s}thumb"),
    "{side}_index": ("{side}_wrist", "{s}index"),
    "{side}_pinky": ("{side}_wrist", "{s}pinky"),
    "{side}_big_toe": ("{side}_foot", "{S}BigToe"),
    "{side}_small_toe": ("{side}_foot", "{S}SmallToe"),
    "{side}_heel": ("{side}_ankle", "{S}Heel"),
}
_ON_SKIN = {
    pattern.format(side=side): tuple(text.format(side=side, s=side[0], S=side[0].upper()) for text in entry)
    for pattern, entry in _SKIN_PATTERNS.items()
    for side in ("left", "right")
}
KEYPOINT_NAMES = (*JOINT, *_ON_SKIN, *ALIASES)
"""All keypoints that a body can have, aliases last; the default body has them all."""


@dataclass(frozen=True, eq=False)
class BodyKeypoints:
    """Keypoints of one body, in the order of `names`."""

    names: tuple[str, ...]
    """Name of each keypoint."""
    joint: Int[Tensor, " keypoint"]
    """Index of the joint that each keypoint is, or turns with."""
    template: Float[Tensor, "keypoint 3"]
    """Offset from that joint at rest in metres; zero for joints."""
    shapedirs: Float[Tensor, "keypoint 3 10"]
    """Change of that offset per unit of each beta, in metres."""

    def positions(
        self,
        joints: Float[Tensor, "*batch 24 3"],
        rotations: Float[Tensor, "*batch 24 3 3"],
        betas: Float[Tensor, "*shape 10"],
    ) -> Float[Tensor, "*batch keypoint 3"]:
        """Compute keypoint positions from joints (metres) and their world rotations.

        Both are as `motion.kinematics.forward_kinematics` gives them; `betas` must broadcast against the batch.
        """
        offsets = self.template.to(betas) + (betas[..., None, None, :] * self.shapedirs.to(betas)).sum(dim=-1)
        offsets = offsets.expand(*joints.shape[:-2], -1, -1).to(joints)
        turned = torch.einsum("...kij,...kj->...ki", rotations.index_select(-3, self.joint), offsets)
        return joints.index_select(-2, self.joint) + turned


def body_keypoints(body: Body, names: Sequence[str]) -> BodyKeypoints:
    """Look up keypoints on `body` by name; raises InputError for one that it does not have."""
    skin, known = _skin(body), known_names(body)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"the body {body.name} has no keypoint {unknown[0]!r}, expected some of {', '.join(known)}")
    joint, template, shapedirs = [], [], []
    for name in (ALIASES.get(name, name) for name in names):
        if name in JOINT:
            index, offset, directions = JOINT[name], torch.zeros(3), torch.zeros(3, 10)
        else:
            owner, vertex = skin[name]
            index = JOINT[owner]
            offset = body.v_template[vertex] - body.joint_template[index]
            directions = body.shapedirs[vertex] - body.joint_shapedirs[index]
        joint.append(index)
        template.append(offset)
        shapedirs.append(directions)
    return BodyKeypoints(tuple(names), torch.tensor(joint), torch.stack(template), torch.stack(shapedirs))


def known_names(body: Body) -> tuple[str, ...]:
    """List all keypoints that this body has, aliases included."""
    own = (*JOINT, *_skin(body))
    return (*own, *(alias for alias, name in ALIASES.items() if name in own))


def _skin(body: Body) -> dict[str, tuple[str, int]]:
    """Map each skin point to its joint and vertex: by the body's own table, or smplx's for the official bodies."""
    family = {6890: "smplh", 10475: "smplx"}.get(len(body.v_template), "")
    theirs = smplx.vertex_ids.vertex_ids.get(family, {})
    found = {
        name: (joint, body.keypoint_vertices.get(name, theirs.get(vertex)))
        for name, (joint, vertex) in _ON_SKIN.items()
    }
    return {name: (joint, index) for name, (joint, index) in found.items() if index is not None}
