"""Tilts of floors and sizes of rooms, which the fit of their persons may change.

Depth networks err by a common factor, and a floor that they show is tilted; persons stand upright on it and have
statures. Both are variables of the fit, as multiples of what they are uncertain by: nothing moves that is known. Rooms
that are fitted together do not know of each other.

World: that of each room's camera as it was observed (Z up, metres), in which persons stay while the floor moves under
them.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from motion.body import Body
from motion.rotations import matrix_from_axis_angle
from recon.camera import Camera
from recon.floor import Plane, extrinsics
from recon.people import People


@dataclass(frozen=True, eq=False)
class MovingRooms:
    """Rooms as they were observed, by how much their floors and depths differ from that, and who is in which."""

    cameras: tuple[Camera, ...]
    """Camera of each room over its observed floor."""
    spread: Float64[Tensor, "room 3"]
    """Standard deviations of the floors' tilt and roll (radians), and of all depths (relative)."""
    change: Float64[Tensor, "room 3"]
    """Changes of tilt, roll and the logarithm of all depths, as multiples of `spread`.

    In double precision, as what follows from them: their gradients are sums over persons and frames, which must come
    out the same whatever else is fitted with them.
    """
    room: Int[Tensor, " person"]
    """Room of each person."""

    @cached_property
    def to_camera(self) -> tuple[Float[Tensor, "person 1 3 3"], Float[Tensor, "person 1 1 3"]]:
        """Rotation and translation (metres) from each person's world to the camera."""
        moves = torch.stack([camera.extrinsics for camera in self.cameras])[self.room]
        return moves[:, None, :3, :3], moves[:, None, None, :3, 3]

    @cached_property
    def intrinsics(self) -> Float[Tensor, "person 1 3 3"]:
        """Pinhole matrix of each person's camera in pixels."""
        return torch.stack([camera.intrinsics for camera in self.cameras])[self.room, None]

    @cached_property
    def center(self) -> Float[Tensor, "person 3"]:
        """Position of each person's camera in their world (metres)."""
        return torch.stack([camera.center for camera in self.cameras])[self.room]

    @cached_property
    def scale(self) -> Float64[Tensor, " person"]:
        """Factor by which all depths of each person's room are larger than observed."""
        return (self.change * self.spread)[self.room, 2].exp()

    @cached_property
    def camera_height(self) -> Float64[Tensor, " person"]:
        """Height of each person's camera above the floor (metres)."""
        return self.center[:, 2] * self.scale

    @cached_property
    def turn(self) -> Float64[Tensor, "person 3 3"]:
        """Rotation of the floor's normal in the camera's frame, about its x (tilt) and z (roll)."""
        tilt, roll, _ = (self.change * self.spread)[self.room].unbind(dim=-1)
        return matrix_from_axis_angle(torch.stack([tilt, torch.zeros_like(tilt), roll], dim=-1))

    @cached_property
    def normal(self) -> Float64[Tensor, "person 3"]:
        """Unit normal of the floor, upwards, in each person's world."""
        rotation = self.to_camera[0][:, 0].double()
        return (rotation.mT @ self.turn @ rotation[:, :, 2:])[..., 0]

    def height(self, points: Float[Tensor, "person frame point 3"]) -> Float[Tensor, "person frame point"]:
        """Compute the height of points above the floor (metres)."""
        above = self.camera_height - (self.normal * self.center).sum(dim=-1)
        frames = points.shape[1]
        return (points * by_frame(self.normal, frames)[:, :, None]).sum(dim=-1) + by_frame(above[:, None], frames)

    def seen(self, points: Float[Tensor, "person frame point 3"]) -> Float[Tensor, "person frame point 3"]:
        """Map points to the frame of each person's camera."""
        rotation, translation = self.to_camera
        return points @ rotation.mT + translation

    def fitted_cameras(self) -> list[Camera]:
        """Place each camera over the floor as it is now, at the origin of a world of its own."""
        alone = replace(self, room=torch.arange(len(self.cameras)))
        return [_over_floor(*placed) for placed in zip(self.cameras, alone.turn, alone.camera_height, strict=True)]


def by_frame(values: Float64[Tensor, "person value"], frames: int) -> Float[Tensor, "person frame value"]:
    """Repeat persons' values for each frame, in single precision; gradients are summed in double."""
    return values[:, None].expand(-1, frames, -1).float()


def _over_floor(camera: Camera, turn: Float64[Tensor, "3 3"], height: Float64[Tensor, ""]) -> Camera:
    normal = turn @ camera.extrinsics[:3, 2].double()
    floor = Plane(normal.numpy(), float(height), 1.0)
    return replace(camera, extrinsics=torch.from_numpy(extrinsics(floor)).to(camera.extrinsics))


def moved(people: People, before: Camera, after: Camera, body: Body) -> People:
    """Move persons from the world of a camera to the world of the same camera over another floor."""
    rotation = after.extrinsics[:3, :3].T @ before.extrinsics[:3, :3]
    return people.moved(rotation, after.center - rotation @ before.center, body)
