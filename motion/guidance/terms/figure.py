"""Bodies as the energies see them: joints, and a capsule about every bone, as in `motion.body.capsules`."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.body import Body
from motion.body.capsules import BEFORE_ENDS, ENDS, STARTS, fit_capsules, heights_over_sole
from motion.skeleton import FEET

SHORTEST_M = 1e-6  # so that a bone of no length points nowhere


@dataclass(frozen=True, eq=False)
class BodyShape:
    """Sizes of each person's body that do not change with the pose; metres."""

    rest_joints: Float[Tensor, "batch person 24 3"]
    """Joints in the rest pose, Y up as SMPL has it."""
    beyond: Float[Tensor, "batch person 24"]
    """Length by which a capsule goes on beyond its last joint, in metres."""
    radii: Float[Tensor, "batch person 24"]
    """Radius of each capsule, in metres."""
    foot_heights: Float[Tensor, "batch person 4"]
    """Height of the joints `FEET` above the sole in the rest pose, in metres."""

    @classmethod
    def of(cls, body: Body, betas: Float[Tensor, "batch person 10"]) -> "BodyShape":
        """Measure the bodies of these shape parameters."""
        shapes = betas.flatten(0, 1).cpu()
        rest = body.rest_joints(shapes)
        capsules = fit_capsules(rest[:, None].numpy(), shapes.numpy(), body)
        beyond = torch.from_numpy(capsules.ends)[:, 0] - rest[:, ENDS]
        feet = torch.from_numpy(heights_over_sole(body, shapes.numpy()))[:, FEET]
        parts = (rest, beyond.norm(dim=-1), torch.from_numpy(capsules.radii), feet)
        return cls(*(part.to(betas).unflatten(0, betas.shape[:2]) for part in parts))


@dataclass(frozen=True, eq=False)
class Figure:
    """Joints of all persons in every frame; those of frames that are not `valid` mean nothing."""

    joints: Float[Tensor, "batch person frame 24 3"]
    """Joints in metres, Z up."""
    estimate: Float[Tensor, "batch person frame 24 3"]
    """Joints before the correction, so that what is read from them, such as contacts, does not change on the way."""
    body_shape: BodyShape
    """Sizes of the persons' bodies."""
    valid: Bool[Tensor, "batch person frame"]
    """True where a person is there."""

    def capsules(self) -> tuple[Float[Tensor, "batch person frame 24 3"], Float[Tensor, "batch person frame 24 3"]]:
        """Compute both ends of every capsule's axis.

        Bones keep their lengths, so that ends are linear in the joints.
        """
        ends = self.joints[..., ENDS, :]
        bones = ends - self.joints[..., BEFORE_ENDS, :]
        outward = bones / bones.detach().norm(dim=-1, keepdim=True).clamp_min(SHORTEST_M)
        return self.joints[..., STARTS, :], ends + self.body_shape.beyond[:, :, None, :, None] * outward
