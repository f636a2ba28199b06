"""Forward kinematics of the SMPL skeleton and its closed-form inverse.

Positions are metres in the Z-up world, rotations are matrices. `rest_joints` are the body's T-pose joints in
SMPL's own frame (y up, facing +z, left = +x), as `motion.body.Body.rest_joints` gives them.

Joints to rotations: a joint with one child turns its rest bone onto the bone seen by the shortest rotation
(swing); joints with several children are orthogonal Procrustes fits; what turns about a bone (twist) is read
from the bones further out. Thigh and upper arm turn so that knee and elbow flex about their hinges.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import roma
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import FunctionCtx

from motion.rotations import rotate, shortest_rotation
from motion.skeleton import JOINT, NUM_JOINTS, PARENTS

CHILD: dict[int, int] = {parent: child for child, parent in enumerate(PARENTS) if PARENTS.count(parent) == 1}
"""Only child of each joint that has one."""
# Bend at which the plane of a limb counts half for its twist; knees overstretch, which turns their plane around.
KNEE_BEND_RAD, ELBOW_BEND_RAD = math.radians(20), math.radians(12)
REST_TRUST = 0.3  # how much the untwisted limb counts where straight, against 1 for the plane of a bent one
FOOT_TRUST = 0.5  # how much the foot's direction counts for a straight leg
SHIN_SHARE = 0.5  # of the foot's turn against the thigh; the ankle has the rest
TWIST_SMOOTHING_FRAMES = 4.0  # standard deviation; straight limbs learn from bent ones before and after


def _levels() -> list[tuple[int, ...]]:
    """List, for each depth of the tree below the pelvis, the places of the joints' parents.

    The places count within the depth above; SMPL numbers its joints depth by depth.
    """
    depths: list[tuple[int, ...]] = [(0,)]
    while children := tuple(child for child, parent in enumerate(PARENTS) if parent in depths[-1]):
        depths.append(children)
    return [tuple(above.index(PARENTS[joint]) for joint in below) for above, below in pairwise(depths)]


LEVELS = _levels()


def forward_kinematics(
    rest_joints: Float[Tensor, "*batch 24 3"],
    pelvis: Float[Tensor, "*batch 3"],
    rotations: Float[Tensor, "*batch 24 3 3"],
) -> tuple[Float[Tensor, "*batch 24 3"], Float[Tensor, "*batch 24 3 3"]]:
    """Compute the world joints and world rotations of the 24 joints (SMPL: Loper et al. 2015, eq. 3-4).

    `pelvis` is its place in the world, `rotations` are the pelvis' to the world and the others' to their parents. All
    joints of one depth in the tree are turned at once, which gradients pass sooner than 23 joints one after the other,
    and the batch is the last axis meanwhile: sums over three are slow where three numbers are all that lie together.
    """
    batch = rotations.ndim - 3
    bones = _ToFront.apply(rest_joints - _each(rest_joints, (0, *PARENTS[1:]), dim=-2), 2)
    local = torch.cat([_ToFront.apply(rotations, 3), bones[:, :, None]], dim=2)
    root, *levels = local.split([1, *(len(parents) for parents in LEVELS)])  # gradients of slices were mostly zeros
    joints, world = [_ToFront.apply(pelvis, 1)[None]], [root.split([3, 1], dim=2)[0]]
    for parents, children in zip(LEVELS, levels, strict=True):
        turned, bone = _Product.apply(_each(world[-1], parents, dim=0), children).split([3, 1], dim=2)
        joints.append(_each(joints[-1], parents, dim=0) + bone[:, :, 0])
        world.append(turned)
    return _ToFront.apply(torch.cat(joints), batch), _ToFront.apply(torch.cat(world), batch)


class _Product(torch.autograd.Function):
    """Multiply matrices whose rows and columns are axes 1 and 2, with nothing larger than they are in between."""

    @staticmethod
    def forward(ctx: FunctionCtx, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        product = left[:, :, 0, None] * right[:, None, 0]
        for k in range(1, left.shape[2]):
            product.addcmul_(left[:, :, k, None], right[:, None, k])
        return product

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        left, right = ctx.saved_tensors  # type: ignore[attr-defined]
        return _Product.apply(gradient, right.transpose(1, 2)), _Product.apply(left.transpose(1, 2), gradient)


class _ToFront(torch.autograd.Function):
    """Move a tensor's last axes to its front, and lay both it and its gradient out anew."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor, axes: int) -> Tensor:
        ctx.others = values.ndim - axes  # type: ignore[attr-defined]
        return values.movedim(tuple(range(-axes, 0)), tuple(range(axes))).contiguous()

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return _ToFront.apply(gradient, ctx.others), None  # type: ignore[attr-defined]


def root_orientation(
    joints: Float[Tensor, "*batch 24 3"], rest_joints: Float[Tensor, "*batch 24 3"]
) -> Float[Tensor, "*batch 3 3"]:
    """Compute the pelvis rotation that best carries the rest hips and spine onto the given ones (eq. 4.7).

    Hips and first spine joint hang rigidly on the pelvis, so this orthogonal Procrustes fit is exact for consistent
    joints. It replaces the thesis' 1000 Adam steps after eq. 4.7.
    """
    return _procrustes(joints, rest_joints, "pelvis", ["left_hip", "right_hip", "spine1"])


def pose_from_joints(
    joints: Float[Tensor, "*batch frame 24 3"], rest_joints: Float[Tensor, "*batch 24 3"]
) -> Float[Tensor, "*batch frame 24 3 3"]:
    """Compute the rotations (the pelvis' to the world, the others' relative to their parents) that show the joints.

    The joints come back exactly where the bones have the body's lengths; else the bones' directions do. A bone of no
    length has no direction: its joint keeps still against its parent.
    """
    rest = rest_joints.unsqueeze(-3)
    chain = _Chain(_bones(joints), _bones(rest), {})
    chain.world[0] = root_orientation(joints, rest.expand_as(joints))
    chest = _procrustes(joints, rest.expand_as(joints), "spine3", ["neck", "left_collar", "right_collar"])
    _turn_trunk(chain, chest)
    for side in ("left", "right"):
        _turn_leg(chain, *(JOINT[f"{side}_{name}"] for name in ("hip", "knee", "ankle")))
        chain.swing(JOINT[f"{side}_collar"])
        _turn_arm(chain, *(JOINT[f"{side}_{name}"] for name in ("shoulder", "elbow")))
        chain.swing(JOINT[f"{side}_wrist"])
    for leaf in ("head", "left_foot", "right_foot", "left_hand", "right_hand"):
        chain.world[JOINT[leaf]] = chain.world[PARENTS[JOINT[leaf]]]
    world = torch.stack([chain.world[joint] for joint in range(NUM_JOINTS)], dim=-3)
    return torch.cat([world[..., :1, :, :], world[..., PARENTS[1:], :, :].mT @ world[..., 1:, :, :]], dim=-3)


@dataclass(frozen=True)
class _Chain:
    """Unit bones seen and at rest, each stored at the joint it leads to, and the world rotations found so far."""

    seen: Tensor
    rest: Tensor
    world: dict[int, Tensor]

    def swing(self, joint: int) -> None:
        """Turn a joint from its parent's rotation by the least that aligns the bone to its only child."""
        child, parent = CHILD[joint], self.world[PARENTS[joint]]
        bone = rotate(parent, self.rest[..., child, :])
        self.world[joint] = shortest_rotation(bone, self.seen[..., child, :]) @ parent

    def twist(self, joint: int, angle: Tensor) -> None:
        """Turn a joint about its own bone."""
        turn = roma.rotvec_to_rotmat(angle.unsqueeze(-1) * self.rest[..., CHILD[joint], :])
        self.world[joint] = self.world[joint] @ turn

    def local(self, joint: int, bone: Tensor) -> Tensor:
        """Express a world direction in a joint's frame."""
        return rotate(self.world[joint].mT, bone)


def _turn_trunk(chain: _Chain, chest: Tensor) -> None:
    """Turn spine and neck; the chest's twist against the pelvis is spread evenly over the three spine joints."""
    spine = [JOINT["spine1"], JOINT["spine2"]]
    for joint in spine:
        chain.swing(joint)
    up = chain.rest[..., JOINT["spine3"], :]
    twist = _twist_about(up, chain.world[spine[-1]].mT @ chest)
    for number, joint in enumerate(spine, start=1):
        chain.twist(joint, twist * number / 3)
    chain.world[JOINT["spine3"]] = chest
    chain.swing(JOINT["neck"])


def _turn_leg(chain: _Chain, hip: int, knee: int, ankle: int) -> None:
    """Turn a leg: the knee flexes backward about the body's lateral axis; the foot gives a straight leg's twist."""
    chain.swing(hip)
    plane = _Plane.across(chain.rest[..., knee, :], axis=(1.0, 0.0, 0.0), toward=(0.0, 0.0, -1.0))
    foot = plane.turn(chain.local(hip, chain.seen[..., CHILD[ankle], :]), chain.rest[..., CHILD[ankle], :])
    chain.twist(hip, _hinge_twist(plane, chain, hip, knee, KNEE_BEND_RAD, FOOT_TRUST * foot + REST_TRUST))
    chain.swing(knee)
    chain.twist(knee, _shin_twist(chain, knee, ankle))
    chain.swing(ankle)


def _turn_arm(chain: _Chain, shoulder: int, elbow: int) -> None:
    """Turn an arm: the elbow flexes forward about the vertical axis of the T-pose."""
    chain.swing(shoulder)
    plane = _Plane.across(chain.rest[..., elbow, :], axis=(0.0, 1.0, 0.0), toward=(0.0, 0.0, 1.0))
    chain.twist(shoulder, _hinge_twist(plane, chain, shoulder, elbow, ELBOW_BEND_RAD, torch.tensor(REST_TRUST)))
    chain.swing(elbow)


@dataclass(frozen=True)
class _Plane:
    """Plane across a rest bone as complex numbers: real along a hinge's axis, imaginary where it flexes to."""

    bone: Tensor
    axis: Tensor
    real: Tensor
    imag: Tensor
    sign: Tensor
    """+1 where a turn from real to imaginary is right-handed about the bone, else -1."""

    @classmethod
    def across(cls, bone: Tensor, axis: tuple[float, ...], toward: tuple[float, ...]) -> "_Plane":
        hinge, flexed = torch.tensor(axis).to(bone), torch.tensor(toward).to(bone)
        real = _unit(hinge - (bone @ hinge).unsqueeze(-1) * bone)
        imag = torch.linalg.cross(bone, real)
        sign = torch.sign(imag @ flexed)
        return cls(bone, hinge, real, sign.unsqueeze(-1) * imag, sign)

    def project(self, direction: Tensor) -> Tensor:
        return torch.complex((direction * self.real).sum(dim=-1), (direction * self.imag).sum(dim=-1))

    def turn(self, seen: Tensor, rest: Tensor) -> Tensor:
        """Compute the turn about the bone from one direction to another, as long as both lie in the plane."""
        return self.project(seen) * self.project(rest).conj()

    def hinge_turn(self, seen: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the unit turn about the bone after which a hinge alone carries the next bone from `rest` to `seen`.

        The second value is the sine of the bend, which weighs it. A hinge keeps the next bone's component along its
        axis. That fixes the real part of the direction before the turn; its length fixes the imaginary part, whose sign
        is where the joint can flex to.
        """
        kept = rest @ self.axis - (seen * self.bone).sum(dim=-1) * (self.bone @ self.axis)
        kept = kept / (self.real @ self.axis)
        across = self.project(seen)
        bend = (across.abs().square() - kept.square()).clamp_min(0).sqrt()
        turn = across * torch.complex(kept, -bend)
        return turn / turn.abs().clamp_min(1e-9), bend


def _hinge_twist(plane: _Plane, chain: _Chain, start: int, hinge: int, trusted: float, straight: Tensor) -> Tensor:
    """Compute the angle by which a limb turns about its upper bone.

    Bent limbs give it by their plane; straight ones take it from the bent limb's before and after, and from `straight`.
    """
    end = CHILD[hinge]
    turn, bend = plane.hinge_turn(chain.local(start, chain.seen[..., end, :]), chain.rest[..., end, :])
    weight = bend**4 / (bend**4 + math.sin(trusted) ** 4)
    turn = weight * turn + (1 - weight) * (_smooth(weight * turn) + straight)
    return plane.sign * turn.angle()


def _shin_twist(chain: _Chain, knee: int, ankle: int) -> Tensor:
    """Compute the shin's share of the foot's turn against the thigh, none where the foot is stretched or unknown."""
    plane = _Plane.across(chain.rest[..., ankle, :], axis=(1.0, 0.0, 0.0), toward=(0.0, 0.0, -1.0))
    foot = CHILD[ankle]
    turn = _smooth(plane.turn(chain.local(knee, chain.seen[..., foot, :]), chain.rest[..., foot, :])) + REST_TRUST
    # The angle itself would jump between 180 and -180 degrees for a foot that points backward.
    sine = turn.imag / turn.abs().clamp_min(1e-9)
    return plane.sign * SHIN_SHARE * sine.asin()


def _smooth(turns: Tensor) -> Tensor:
    """Compute the Gaussian mean over the frames, the last axis, of complex numbers."""
    radius = math.ceil(3 * TWIST_SMOOTHING_FRAMES)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1).to(turns.real) / TWIST_SMOOTHING_FRAMES).square())
    rows = torch.view_as_real(turns).movedim(-1, -2).reshape(-1, 1, turns.shape[-1])
    padded = torch.nn.functional.pad(rows, (radius, radius), mode="replicate")
    smooth = torch.nn.functional.conv1d(padded, (kernel / kernel.sum())[None, None])
    return torch.view_as_complex(smooth.view(*turns.shape[:-1], 2, turns.shape[-1]).movedim(-2, -1).contiguous())


def _each(values: Tensor, numbers: Sequence[int], dim: int) -> Tensor:
    """Pick rows along `dim`, each as often as it is named; unlike an index, it needs no copy to a GPU."""
    rows = values.unbind(dim)
    return torch.stack([rows[number] for number in numbers], dim=dim)


def _bones(joints: Tensor) -> Tensor:
    """Compute unit vectors from each joint's parent to it; zeros for the root and where the two coincide."""
    return _unit(joints - joints[..., [0, *PARENTS[1:]], :])


def _unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1, eps=1e-6)


def _procrustes(joints: Tensor, rest: Tensor, center: str, around: list[str]) -> Tensor:
    """Compute the rotation that best carries joints, as they lie about `center` at rest, to where they are seen."""
    at, attached = JOINT[center], [JOINT[name] for name in around]
    seen = joints[..., attached, :] - joints[..., at : at + 1, :]
    own = rest[..., attached, :] - rest[..., at : at + 1, :]
    return roma.special_procrustes(seen.mT @ own)


def _twist_about(axis: Tensor, rotation: Tensor) -> Tensor:
    """Compute the angle of the part of a rotation that turns about `axis` (swing-twist decomposition)."""
    x, y, z = rotation[..., 2, 1], rotation[..., 0, 2], rotation[..., 1, 0]
    vector = torch.stack([x - rotation[..., 1, 2], y - rotation[..., 2, 0], z - rotation[..., 0, 1]], dim=-1)
    trace = rotation.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    return 2 * torch.atan2((vector * axis).sum(dim=-1), 1 + trace)
