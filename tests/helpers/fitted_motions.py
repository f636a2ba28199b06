"""Motion capture for the tests of smoothing and fitting: DeepMimic's clips as `People`, and ways to spoil them."""

import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import roma
import torch

from motion.body import load_body
from motion.clips import transforms as unify
from motion.datasets import deepmimic
from recon.camera import Camera, intrinsics_matrix
from recon.fitting.bodies import FittedBodies
from recon.observations import Observations
from recon.people import People, people_of

FIELDS = ("transl", "global_orient", "body_pose", "betas", "valid")


@lru_cache(maxsize=16)
def clip(name: str, fps: float) -> People:
    """Read one person who does what DeepMimic's `humanoid3d_{name}` does."""
    found = next(clip for clip in deepmimic.list_clips() if Path(clip.files[0]).stem == f"humanoid3d_{name}")
    motion = unify.resample(deepmimic.read_clip(found, load_body()), fps, load_body())
    return people_of(motion)


def jittered(people: People, seed: int, metres: float) -> People:
    """Add noise to translation and every rotation that moves joints by so many metres (rms) along each axis."""
    body = load_body()
    joints = people.joints(body)
    scale = 1.0
    for _ in range(4):
        noisy = disturbed(people, seed, math.radians(3) * scale, 0.01 * scale)
        scale *= metres / float((noisy.joints(body) - joints).square().mean().sqrt())
    return noisy


def disturbed(people: People, seed: int, radians: float, metres: float) -> People:
    """Add noise of this size about and along each axis in every frame."""
    random = torch.Generator().manual_seed(seed)
    shape = people.valid.shape
    turns = roma.rotvec_to_rotmat(radians * torch.randn(*shape, 24, 3, generator=random))
    return replace(
        people,
        transl=people.transl + metres * torch.randn(*shape, 3, generator=random),
        global_orient=people.global_orient @ turns[:, :, 0],
        body_pose=people.body_pose @ turns[:, :, 1:],
    )


def room_camera() -> Camera:
    """Place a camera 2.4 m above the world's origin that looks along +y and 30 degrees down."""
    tilt = math.radians(30)
    forward = torch.tensor([0.0, math.cos(tilt), -math.sin(tilt)])
    right = torch.tensor([1.0, 0.0, 0.0])
    extrinsics = torch.eye(4)
    extrinsics[:3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward])
    extrinsics[:3, 3] = -extrinsics[:3, :3] @ torch.tensor([0.0, 0.0, 2.4])
    focal = 256 / math.tan(math.radians(37.5))
    return Camera(intrinsics_matrix(focal, focal, 255.5, 191.5), extrinsics, (512, 384))


def standing_at(people: People, x: float, y: float) -> People:
    """Move persons over the floor so that the first frame's pelvis is there."""
    pelvis = people.joints(load_body())[:, :1, 0]
    target = torch.tensor([x, y]) - pelvis[..., :2]
    return replace(people, transl=people.transl + torch.nn.functional.pad(target, (0, 1)))


def both(*people: People) -> People:
    """Join persons of equally many frames."""
    return People(**{field: torch.cat([getattr(one, field) for one in people]) for field in FIELDS})


def observed(people: People, names: tuple[str, ...], key_frames: int = 6, noise: float = 0.0) -> Observations:
    """Observe persons by the camera of a bare room; depth is known in every `key_frames`th frame."""
    body, camera = load_body(), room_camera()
    bodies = FittedBodies.of(people, body, names)
    points = bodies.posed(people.transl, people.rotations, people.betas).keypoints
    skin = camera.to_camera(points)[..., 2] - bodies.keypoint_radius
    depth = torch.full_like(skin, torch.nan)
    depth[:, ::key_frames] = skin[:, ::key_frames]
    pixels = camera.project(points)
    pixels += noise * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(7))
    confidence = people.valid[..., None].float().expand_as(skin).clone()
    return Observations(camera, 10.0, names, pixels, confidence, depth, torch.full((24, 32), torch.nan))
