"""Bodies that `recon.fitting` moves: their kinematics, and the points of a body that the energies use."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from motion.body import Body
from motion.body.capsules import ENDS, STARTS, fit_capsules
from motion.body.raycasting import cast, scene_of
from motion.kinematics import forward_kinematics
from motion.rotations import matrix_to_6d
from motion.skeleton import JOINT
from recon.fitting.rooms import by_frame
from recon.keypoints import BodyKeypoints, body_keypoints, known_names
from recon.people import People

FROZEN = ("left_foot", "right_foot", "left_hand", "right_hand")
FREE = [joint for name, joint in JOINT.items() if name not in FROZEN]
SOLES = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("heel", "big_toe", "small_toe"))
DIRECTIONS = 512  # in which the skin is looked for
ALONG_SHARES = (0.25, 0.75)  # of a bone's length, where the two balls sit that stand for it between persons


@dataclass(frozen=True, eq=False)
class Posed:
    """Bodies posed in the world, metres."""

    rotations: Float[Tensor, "person frame 24 3 3"]
    """Rotations of the joints, as `SmplParameters.rotations` are."""
    betas: Float[Tensor, "person 10"]
    joints: Float[Tensor, "person frame 24 3"]
    keypoints: Float[Tensor, "person frame keypoint 3"]
    """Positions of the observed keypoints."""
    soles: Float[Tensor, "person frame sole 3"]
    """Points of the skin under heels and toes."""


@dataclass(frozen=True, eq=False)
class FittedBodies:
    """Constants of a fit: the body, its points, and the persons' radii."""

    body: Body
    points: BodyKeypoints
    """Observed keypoints, then the soles."""
    num_keypoints: int
    """Number of observed keypoints at the start of `points`."""
    skin: Float[Tensor, " 24"]
    """Distance of each joint from the nearest skin in metres."""
    ball_radii: Float[Tensor, "person ball"]
    """Radius in metres of the balls along the bones that `balls` returns."""
    keypoint_radius: Float[Tensor, " keypoint"]
    """Depth of each observed keypoint below the skin in metres; zero for points of the skin."""

    @classmethod
    def of(cls, people: People, body: Body, names: tuple[str, ...]) -> "FittedBodies":
        """Prepare a fit of these persons with `body` to the keypoints `names`."""
        known = known_names(body)
        points = body_keypoints(body, (*names, *(name for name in SOLES if name in known)))
        skin = to_skin(body)
        capsules = fit_capsules(people.joints(body)[:, :1].numpy(), people.betas.numpy(), body)
        radii = torch.from_numpy(capsules.radii).repeat(1, len(ALONG_SHARES))
        return cls(body, points, len(names), skin, radii, below_skin(points, body)[: len(names)])

    def sizes(self, betas: Float[Tensor, "person 10"]) -> Float[Tensor, "person 1"]:
        """Compute each person's size relative to the mean shape, by the joints' distances from the pelvis."""
        spread, mean = (
            (joints - joints[:, :1]).norm(dim=-1).mean(dim=-1)
            for joints in (self.body.rest_joints(betas), self.body.joint_template[None])
        )
        return (spread / mean)[:, None]

    def posed(
        self,
        transl: Float[Tensor, "person frame 3"],
        rotations: Float[Tensor, "person frame 24 3 3"],
        betas: Float[Tensor, "person 10"],
    ) -> Posed:
        """Compute joints, keypoints and soles of persons from what `SmplParameters` holds."""
        shape = betas.double()  # its gradients are sums over frames, which must not depend on the batch
        rest = by_frame(self.body.rest_joints(shape).flatten(1), transl.shape[1]).unflatten(-1, (24, 3))
        joints, world = forward_kinematics(rest, transl + rest[:, :, 0], rotations)
        points = self.points.positions(joints, world, shape[:, None])
        keypoints, soles = points.tensor_split([self.num_keypoints], dim=2)
        return Posed(rotations, betas, joints, keypoints, soles)


def to_skin(body: Body) -> Float[Tensor, " 24"]:
    """Measure the distance of each joint from the nearest skin in metres."""
    return torch.cdist(body.joint_template, body.v_template).min(dim=1).values


def below_skin(points: BodyKeypoints, body: Body) -> Float[Tensor, " keypoint"]:
    """Measure how deep keypoints lie below the skin that a camera sees before them, in metres; zero for skin points.

    It is the first quartile over all directions, at rest: a joint is seen from where less of the body is before it.
    """
    directions = np.random.default_rng(0).normal(size=(DIRECTIONS, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    skin = scene_of(body.v_template.numpy()[None], body.faces)
    starts = np.repeat(body.joint_template[points.joint].numpy(), DIRECTIONS, axis=0)
    rays = np.concatenate([starts, np.tile(directions, (len(points.joint), 1))], axis=1).astype(np.float32)
    deep = np.quantile(cast(skin, rays)["t_hit"].reshape(-1, DIRECTIONS), 0.25, axis=1).astype(np.float32)
    return torch.where(points.template.norm(dim=-1) > 0, 0.0, torch.from_numpy(deep))


def balls(joints: Float[Tensor, "*batch 24 3"]) -> Float[Tensor, "*batch ball 3"]:
    """Place two points on every bone (for the head, the joint twice)."""
    starts, ends = (joints.index_select(-2, torch.from_numpy(at).to(joints.device)) for at in (STARTS, ENDS))
    return torch.cat([starts + at * (ends - starts) for at in ALONG_SHARES], dim=-2)


def free_6d(people: People) -> Float[Tensor, "person frame free 6"]:
    """Extract the rotations that are fitted as 6D; hands and toes keep theirs."""
    return matrix_to_6d(people.rotations[:, :, FREE])


def with_free_6d(
    rotations: Float[Tensor, "person frame 24 3 3"], free: Float[Tensor, "person frame free 6"]
) -> Float[Tensor, "person frame 24 3 3"]:
    """Replace the rotations that are fitted by `free`, as `matrix_from_6d` does, with all frames side by side."""
    first, second = free.unflatten(-1, (3, 2)).movedim((-1, -3, -2), (0, 1, 2)).contiguous()
    first = first / (first * first).sum(dim=1, keepdim=True).sqrt()
    second = second - (first * second).sum(dim=1, keepdim=True) * first
    second = second / (second * second).sum(dim=1, keepdim=True).sqrt()
    turned = torch.stack([first, second, torch.linalg.cross(first, second, dim=1)], dim=2)
    front = rotations.movedim((-3, -2, -1), (0, 1, 2)).contiguous()
    return front.index_copy(0, torch.tensor(FREE, device=front.device), turned).movedim((0, 1, 2), (-3, -2, -1))
