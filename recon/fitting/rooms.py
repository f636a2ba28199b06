"""Tilt of the floor and size of the room, which the fit of its persons may change.

Depth networks err by a common factor, and a floor that they show is tilted; persons stand upright on it and have
statures. Both are variables of the fit, as multiples of what they are uncertain by: nothing moves that is known.

World: that of the camera as it was observed (Z up, metres), in which persons stay while the floor moves under them.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from motion.body import Body
from motion.rotations import matrix_from_axis_angle
from recon.camera import Camera
from recon.floor import Plane, extrinsics
from recon.people import People


@dataclass(frozen=True, eq=False)
class MovingRoom:
    """Room as it was observed, and by how much floor and depth differ from that."""

    camera: Camera
    """Camera over the observed floor."""
    spread: Float[Tensor, "3"]
    """Standard deviations of the floor's tilt and roll (radians), and of all depths (relative)."""
    change: Float[Tensor, "3"]
    """Changes of tilt, roll and the logarithm of all depths, as multiples of `spread`."""

    @cached_property
    def scale(self) -> Float[Tensor, ""]:
        """Factor by which all depths are larger than observed."""
        return (self.change[2] * self.spread[2]).exp()

    @cached_property
    def camera_height(self) -> Float[Tensor, ""]:
        """Height of the camera above the floor (metres)."""
        return self.camera.center[2] * self.scale

    @cached_property
    def turn(self) -> Float[Tensor, "3 3"]:
        """Rotation of the floor's normal in the camera's frame, about its x (tilt) and z (roll)."""
        tilt, roll = (self.change * self.spread)[:2]
        return matrix_from_axis_angle(torch.stack([tilt, torch.zeros_like(tilt), roll]))

    @cached_property
    def normal(self) -> Float[Tensor, "3"]:
        """Unit normal of the floor, upwards."""
        to_camera = self.camera.extrinsics[:3, :3]
        return to_camera.T @ self.turn @ to_camera[:, 2]

    def height(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
        """Compute the height of points above the floor (metres)."""
        return points @ self.normal + (self.camera_height - self.normal @ self.camera.center)

    def fitted_camera(self) -> Camera:
        """Place the camera over the floor as it is now, at the origin of a world of its own."""
        normal = self.turn @ self.camera.extrinsics[:3, 2]
        floor = Plane(normal.double().numpy(), float(self.camera_height), 1.0)
        return replace(self.camera, extrinsics=torch.from_numpy(extrinsics(floor)).to(self.camera.extrinsics))


def moved(people: People, before: Camera, after: Camera, body: Body) -> People:
    """Move persons from the world of a camera to the world of the same camera over another floor."""
    rotation = after.extrinsics[:3, :3].T @ before.extrinsics[:3, :3]
    return people.moved(rotation, after.center - rotation @ before.center, body)
