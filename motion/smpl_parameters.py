"""SMPL's parameters as one value, and the one trap of the field: SMPL turns a body about its rest pelvis.

With J0 the pelvis of the rest body (`Body.rest_joints(betas)[0]`), a pelvis lies at `transl + J0`. So a change of the
frame of reference that takes points p to `R p + t` takes the parameters to

    global_orient* = R global_orient        transl* = R (transl + J0) - J0 + t

The thesis prints eq. 4.6 as `(R global_orient^-1)^-1`, a misprint, and moves `transl` without J0: bodies would be off
by `R J0 - J0`, tens of centimetres. Nothing else in the tree needs to know this: all code that moves, mirrors or
places a body does it here.

Metres and rotation matrices, in any frame of reference; rest joints in SMPL's own (y up, facing +z, left = +x).
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, TypedDict, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from motion.kinematics import forward_kinematics
from motion.rotations import rotate, slerp
from motion.skeleton import MIRRORED

Some = TypeVar("Some", bound="SmplParameters")

# S, which takes x to -x, in the world and in SMPL's rest frame alike.
_FLIP = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))


@runtime_checkable
class RestBody(Protocol):
    """Interface of a body: its name, and its rest joints for each shape; `motion.body.Body` has both."""

    @property
    def name(self) -> str:
        """Name that a record stores."""

    def rest_joints(self, betas: Float[Tensor, "*batch 10"]) -> Float[Tensor, "*batch 24 3"]:
        """Compute T-pose joints in SMPL's own frame (m)."""


class PosedArrays(TypedDict):
    """Fields of a `MotionSequence` that follow from the parameters and the body."""

    transl: Float32[np.ndarray, "person frame 3"]
    global_orient: Float32[np.ndarray, "person frame 3 3"]
    body_pose: Float32[np.ndarray, "person frame 23 3 3"]
    betas: Float32[np.ndarray, "person 10"]
    joints: Float32[np.ndarray, "person frame 24 3"]
    body: str


@dataclass(frozen=True, eq=False)
class SmplParameters:
    """SMPL's parameters of bodies of any batch shape, mostly (person, frame).

    The axes of `betas` are the first ones of the batch: (person,) says that a person keeps one shape in all frames.
    """

    transl: Float[Tensor, "*batch 3"]
    """SMPL's translation, metres; the pelvis lies at `transl` plus the rest pelvis."""
    global_orient: Float[Tensor, "*batch 3 3"]
    """Rotation of the pelvis, from SMPL's own frame to the frame of reference."""
    body_pose: Float[Tensor, "*batch 23 3 3"]
    """Rotations of joints 1 to 23, each against its parent."""
    betas: Float[Tensor, "*person 10"]
    """Shape coefficients of the body, in standard deviations."""

    @staticmethod
    def from_pelvis(
        pelvis: Float[Tensor, "*batch 3"],
        rotations: Float[Tensor, "*batch 24 3 3"],
        betas: Float[Tensor, "*person 10"],
        body: RestBody,
    ) -> "SmplParameters":
        """Place bodies by their pelvis; `rotations` are those of `SmplParameters.rotations`."""
        placed = SmplParameters(pelvis, rotations[..., 0, :, :], rotations[..., 1:, :, :], betas)
        return replace(placed, transl=pelvis - placed._rest_pelvis(body))

    @property
    def rotations(self) -> Float[Tensor, "*batch 24 3 3"]:
        """Rotations of all joints: `global_orient`, then `body_pose`."""
        return torch.cat([self.global_orient[..., None, :, :], self.body_pose], dim=-3)

    def rest_joints(self, body: RestBody) -> Float[Tensor, "*batch 24 3"]:
        """Compute the T-pose joints of each body's shape, in SMPL's own frame (m)."""
        rest, shared = body.rest_joints(self.betas), self.transl.ndim - self.betas.ndim
        return rest[(..., *[None] * shared, slice(None), slice(None))].expand(*self.transl.shape[:-1], -1, -1)

    def kinematics(self, body: RestBody) -> tuple[Float[Tensor, "*batch 24 3"], Float[Tensor, "*batch 24 3 3"]]:
        """Compute positions (m) and rotations of the 24 joints, both in the frame of reference."""
        rest = self.rest_joints(body)
        return forward_kinematics(rest, self.transl + rest[..., 0, :], self.rotations)

    def joints(self, body: RestBody) -> Float[Tensor, "*batch 24 3"]:
        """Compute positions (m) of the 24 joints in the frame of reference."""
        return self.kinematics(body)[0]

    def moved(
        self: Some, rotation: Float[Tensor, "*r 3 3"], translation: Float[Tensor, "*t 3"], body: RestBody
    ) -> Some:
        """Turn the bodies about the origin, then shift them: each of their points p goes to `rotation p + translation`.

        `translation` is in metres. One rotation and translation for all, or one for each of the batch. Orientations
        become `rotation @ global_orient`: eq. 4.6, whose print inverts `global_orient`, a misprint. SMPL turns a body
        about its rest pelvis J0, so `transl` becomes `rotation @ (transl + J0) - J0 + translation`.
        """
        rest_pelvis = self._rest_pelvis(body)
        turned = rotate(rotation, self.transl + rest_pelvis)
        return replace(self, transl=turned - rest_pelvis + translation, global_orient=rotation @ self.global_orient)

    def mirrored(self: Some, body: RestBody) -> Some:
        """Mirror the bodies in the plane x = 0, left and right of the body exchanged.

        The pelvis is mirrored exactly, the other joints as far as the body is symmetric.
        """
        rest_pelvis, rotations = self._rest_pelvis(body), mirrored_rotations(self.rotations)
        return replace(
            self,
            transl=(self.transl + rest_pelvis) @ _FLIP.to(self.transl) - rest_pelvis,
            global_orient=rotations[..., 0, :, :],
            body_pose=rotations[..., 1:, :, :],
        )

    def blended(self: Some, other: "SmplParameters", weight: Float[Tensor, "*batch"]) -> Some:
        """Interpolate from these bodies (weight 0) to the others (1): translations linearly, rotations by slerp."""
        return replace(
            self,
            transl=torch.lerp(self.transl, other.transl, weight[..., None]),
            global_orient=slerp(self.global_orient, other.global_orient, weight),
            body_pose=slerp(self.body_pose, other.body_pose, weight[..., None].expand(self.body_pose.shape[:-2])),
        )

    def where(self: Some, mask: Bool[Tensor, "*batch"], other: "SmplParameters") -> Some:
        """Keep these poses where `mask` is True and take the other's elsewhere; shapes stay."""
        number, matrix, matrices = (mask[(..., *[None] * axes)] for axes in (1, 2, 3))
        return replace(
            self,
            transl=torch.where(number, self.transl, other.transl),
            global_orient=torch.where(matrix, self.global_orient, other.global_orient),
            body_pose=torch.where(matrices, self.body_pose, other.body_pose),
        )

    def __getitem__(self: Some, index: Any) -> Some:
        """Index the batch's axes as a tensor's, here persons and frames: `parameters[persons, frames]`."""
        index = index if isinstance(index, tuple) else (index,)
        chosen = {field.name: getattr(self, field.name)[index] for field in fields(self) if field.name != "betas"}
        return replace(self, **chosen, betas=self.betas[index[: self.betas.ndim - 1]])

    def posed_arrays(self, body: RestBody) -> PosedArrays:
        """Return the fields of a record of these bodies, its joints among them."""
        return PosedArrays(
            transl=self.transl.float().numpy(),
            global_orient=self.global_orient.float().numpy(),
            body_pose=self.body_pose.float().numpy(),
            betas=self.betas.float().numpy(),
            joints=self.joints(body).float().numpy(),
            body=body.name,
        )

    def _rest_pelvis(self, body: RestBody) -> Float[Tensor, "*batch 3"]:
        """Compute J0 of each body."""
        return self.rest_joints(body)[..., 0, :]


def mirrored_rotations(rotations: Float[Tensor, "*batch 24 3 3"]) -> Float[Tensor, "*batch 24 3 3"]:
    """Mirror a pose in the plane x = 0: a rotation R becomes S R S, left and right exchanged."""
    flip = _FLIP.to(rotations)
    return flip @ rotations[..., list(MIRRORED), :, :] @ flip
