"""Bodies as the energies see them: joints, and a capsule about every bone, as in `motion.body.capsules`."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from motion.body import Body
from motion.body.capsules import BEFORE_ENDS, ENDS, STARTS, fit_capsules, rest_skin
from motion.skeleton import FEET

SHORTEST = 1e-6  # metres, so that a bone of no length points nowhere


@dataclass(frozen=True, eq=False)
class Physique:
    """What does not change while a person moves."""

    rest_joints: Float[Tensor, "batch person 24 3"]
    beyond: Float[Tensor, "batch person 24"]
    """Metres by which a capsule goes on beyond its last joint."""
    radii: Float[Tensor, "batch person 24"]
    foot_heights: Float[Tensor, "batch person 4"]
    """Of the joints `FEET` above the sole."""

    @classmethod
    def of(cls, body: Body, betas: Float[Tensor, "batch person 10"]) -> "Physique":
        shapes = betas.flatten(0, 1).cpu()
        rest = body.rest_joints(shapes)
        capsules = fit_capsules(rest[:, None].numpy(), shapes.numpy(), body)
        beyond = torch.from_numpy(capsules.ends)[:, 0] - rest[:, ENDS]
        soles = torch.tensor([rest_skin(body, shape)[:, 1].min() for shape in shapes.numpy()])
        parts = (rest, beyond.norm(dim=-1), torch.from_numpy(capsules.radii), rest[:, FEET, 1] - soles[:, None])
        return cls(*(part.to(betas).unflatten(0, betas.shape[:2]) for part in parts))


@dataclass(frozen=True, eq=False)
class Figure:
    """Everybody's joints in every frame; those of frames that are not `valid` mean nothing."""

    joints: Float[Tensor, "batch person frame 24 3"]
    estimate: Float[Tensor, "batch person frame 24 3"]
    """The joints before they were corrected, so that what they tell, as contacts, does not change on the way."""
    physique: Physique
    valid: Bool[Tensor, "batch person frame"]

    def capsules(self) -> tuple[Float[Tensor, "batch person frame 24 3"], Float[Tensor, "batch person frame 24 3"]]:
        """Both ends of every capsule's axis. Bones keep their lengths, so that ends are linear in the joints."""
        ends = self.joints[..., ENDS, :]
        bones = ends - self.joints[..., BEFORE_ENDS, :]
        outward = bones / bones.detach().norm(dim=-1, keepdim=True).clamp_min(SHORTEST)
        return self.joints[..., STARTS, :], ends + self.physique.beyond[:, :, None, :, None] * outward
