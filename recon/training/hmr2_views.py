"""Crops of persons in rendered rooms, with the SMPL parameters that a perfect regressor would predict.

Squares and pixels are in units of the focal length, the principal point at zero, so that crops of different cameras fit
into one batch. Stored crops show `MARGIN` times what the network will see, and each time one is drawn it is cut anew:
shifted, zoomed, turned, mirrored; the targets follow exactly.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from motion.body import Body, load_body
from motion.errors import InputError
from motion.parquet import whole_file
from motion.rotations import about
from motion.skeleton import MIRRORED
from motion.smpl_parameters import SmplParameters
from recon.camera import project
from recon.regressors.body_regressor import CropEstimates, from_camera
from recon.regressors.crops import crop_square
from recon.regressors.hmr2 import CROP_SIZE
from recon.simulate import SimulateConfig, Simulated, simulate

FRAMES_PER_ROOM, FRAMES_PER_SECOND = 12, 0.8
MARGIN = 1.4
SEEN_SHARE = 0.35  # of a person's pixels, at least
SMALLEST_BOX_PX = 24.0  # of a box's longer side
NEAREST_M = 0.4  # from the camera to each joint
SHIFT_SHARE, ZOOM_RANGE = 0.07, (0.9, 1.22)  # of the square's side
TURN_RAD = math.radians(20)  # at most, of half of the crops
UNIT_CAMERA = torch.eye(3)


@dataclass(frozen=True, eq=False)
class Views:
    """Crops with their squares, and the persons whom they show."""

    images: UInt8[Tensor, "view 256 256 3"]
    """RGB crops, `MARGIN` times as large as `squares`."""
    squares: Float[Tensor, "view 3"]
    """Square that the network shall see: centre x, centre y and side, in focal lengths."""
    people: SmplParameters
    """One person for each crop, in the camera's frame (metres)."""

    def __len__(self) -> int:
        return len(self.images)

    def pick(self, some: Int64[Tensor, " some"]) -> "Views":
        """Take some of the views."""
        return Views(self.images[some], self.squares[some], self.people[some])


@dataclass(frozen=True, eq=False)
class Targets(CropEstimates):
    """Estimates of a perfect regressor, and the joints in the frame of the camera that looks along the crop's ray."""

    joints: Float[Tensor, "view 24 3"]
    """Positions relative to the pelvis in metres."""
    pixels: Float[Tensor, "view 24 2"]
    """Positions of the joints on the square whose sides are at -1 and 1; they may lie outside."""


def render_views(cache: Path, rooms: int) -> list[Path]:
    """Render one file a room into the cache, if not there yet; return the files of the seeds that have a room."""
    cache.mkdir(parents=True, exist_ok=True)
    paths = [cache / f"room_{seed:06d}.npz" for seed in range(rooms)]
    for seed, path in enumerate(paths):
        if not path.exists():
            render_room(seed, path)
    return [path for path in paths if path.exists()]


def render_room(seed: int, path: Path) -> None:
    """Render one room's views into the cache; a seed that has no room is reported and left out."""
    try:
        room = simulate(seed, SimulateConfig(num_frames=FRAMES_PER_ROOM, fps=FRAMES_PER_SECOND, all_clips=True))
    except InputError as error:
        print(f"no views of room {seed}: {error}", flush=True)
        return
    views = views_of(room)
    with whole_file(path) as (_, partial), Path(partial).open("wb") as file:
        tensors = {"images": views.images, "squares": views.squares, **vars(views.people)}
        np.savez(file, **{name: tensor.numpy() for name, tensor in tensors.items()})
    print(f"room {seed}: {len(views)} views", flush=True)


def load_views(paths: list[Path]) -> Views:
    """Load the views of rooms, one room after the other."""
    rooms = [np.load(path) for path in paths]
    tensors = {name: torch.from_numpy(np.concatenate([room[name] for room in rooms])) for name in rooms[0].files}
    return Views(tensors.pop("images"), tensors.pop("squares"), SmplParameters(**tensors))


def views_of(room: Simulated) -> Views:
    """Cut the views of every person who is seen well enough, in any frame."""
    body, extrinsics = load_body(room.motion.body), room.camera.extrinsics
    people = room.motion.parameters.moved(extrinsics[:3, :3], extrinsics[:3, 3], body)
    sizes = (room.boxes[..., 2:] - room.boxes[..., :2]).max(axis=-1)
    near = people.joints(body)[..., 2].amin(dim=-1).numpy() < NEAREST_M
    person, frame = np.nonzero((room.seen >= SEEN_SHARE) & (sizes >= SMALLEST_BOX_PX) & ~near)
    cut = [crop_square(room.frames[f], _enlarged(room.boxes[p, f])) for p, f in zip(person, frame, strict=True)]
    images = np.array([image for image, _ in cut], dtype=np.uint8).reshape(-1, CROP_SIZE, CROP_SIZE, 3)
    squares = torch.from_numpy(np.array([square for _, square in cut], dtype=np.float32).reshape(-1, 3))
    intrinsics = room.camera.intrinsics
    squares[:, :2] -= intrinsics[:2, 2]
    squares[:, 2] /= MARGIN
    return Views(torch.from_numpy(images), squares / intrinsics[0, 0], people[person, frame])


def _enlarged(box: Float[np.ndarray, "4"]) -> Float[np.ndarray, "4"]:
    center, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    return np.concatenate([center - MARGIN * half, center + MARGIN * half])


def plain(views: Views, body: Body) -> tuple[Float[Tensor, "view 3 256 256"], Targets]:
    """Cut images (0 to 1) and targets as at inference."""
    still = torch.zeros(len(views))
    return _cut(views, views.squares, still, still > 0), targets_of(views, views.squares, still, still > 0, body)


def augmented(views: Views, body: Body) -> tuple[Float[Tensor, "view 3 256 256"], Targets]:
    """Cut images (0 to 1) and targets with random shift, zoom, turn, mirror and colours (torch's global generator)."""
    count = len(views)
    shift = SHIFT_SHARE * (2 * torch.rand(count, 2) - 1)
    zoom = ZOOM_RANGE[0] + (ZOOM_RANGE[1] - ZOOM_RANGE[0]) * torch.rand(count, 1)
    side = views.squares[:, 2:]
    squares = torch.cat([views.squares[:, :2] + shift * side, zoom * side], dim=1)
    angle = TURN_RAD * (2 * torch.rand(count) - 1) * (torch.rand(count) < 0.5)
    flip = torch.rand(count) < 0.5
    images = recolored(_cut(views, squares, angle, flip))
    return cover_partly(images), targets_of(views, squares, angle, flip, body)


def targets_of(
    views: Views,
    squares: Float[Tensor, "view 3"],
    angle: Float[Tensor, " view"],
    flip: Bool[Tensor, " view"],
    body: Body,
) -> Targets:
    """Compute the targets of a crop that is first turned about its centre (x towards y), then mirrored."""
    estimates, turn = from_camera(views.people, squares, UNIT_CAMERA, body), about("z", angle)
    # The square shows s (x + tx, y + ty), so bodies that are shifted by (tx, ty, 0) turn and mirror as it does.
    shifted = replace(estimates.bodies, transl=F.pad(estimates.cam[:, 1:], (0, 1)))
    turned = shifted.moved(turn, torch.zeros(3), body)
    own = turned.mirrored(body).where(flip, turned)
    joints, cam = own.joints(body), torch.cat([estimates.cam[:, :1], own.transl[:, :2]], dim=1)
    pixels = (project(views.people.joints(body), UNIT_CAMERA) - squares[:, None, :2]) * 2 / squares[:, None, 2:]
    pixels = torch.einsum("nij,nkj->nki", turn[:, :2, :2], pixels)
    pixels = torch.where(flip[:, None, None], torch.tensor([-1.0, 1.0]) * pixels[:, list(MIRRORED)], pixels)
    return Targets(own.global_orient, own.body_pose, own.betas, cam, joints - joints[:, :1], pixels)


def _cut(
    views: Views, squares: Float[Tensor, "view 3"], angle: Float[Tensor, " view"], flip: Bool[Tensor, " view"]
) -> Float[Tensor, "view 3 256 256"]:
    """Cut turned and mirrored squares out of the stored crops."""
    stored = MARGIN * views.squares[:, 2:]
    back = about("z", -angle)[:, :2, :2].clone()  # from the new crop to the one before it was turned
    back[:, :, 0] = torch.where(flip[:, None], -back[:, :, 0], back[:, :, 0])
    linear = back * (squares[:, 2:] / stored)[..., None]
    offset = (squares[:, :2] - views.squares[:, :2]) * 2 / stored
    # grid_sample counts from the middles of border pixels, squares from pixel 0.
    half = torch.full((2,), 1 / CROP_SIZE)
    theta = torch.cat([linear, (offset + half - linear @ half)[..., None]], dim=-1)
    grid = F.affine_grid(theta, [len(views), 3, CROP_SIZE, CROP_SIZE], align_corners=False)
    return F.grid_sample(views.images.permute(0, 3, 1, 2).float() / 255, grid, align_corners=False)


def recolored(images: Float[Tensor, "view 3 256 256"]) -> Float[Tensor, "view 3 256 256"]:
    """Change exposure, contrast, saturation, tint, sharpness and noise at random; `images` is written to."""

    def factor(spread: float, channels: int = 1) -> Float[Tensor, "view channel 1 1"]:
        return torch.exp(spread * torch.randn(len(images), channels, 1, 1))

    blurred = torch.rand(len(images)) < 0.25
    images[blurred] = F.avg_pool2d(images[blurred], 5, stride=1, padding=2)
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * factor(0.4)
    level = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (level + (images - level) * factor(0.2)) * factor(0.2) * factor(0.08, 3)
    return (images + 0.03 * torch.rand(len(images), 1, 1, 1) * torch.randn_like(grey)).clamp(0, 1)


def cover_partly(images: Float[Tensor, "view 3 256 256"]) -> Float[Tensor, "view 3 256 256"]:
    """Cover a third of the persons partly by a rectangle of one colour, as furniture would."""
    steps = torch.linspace(-1, 1, CROP_SIZE)
    center, half = 1.4 * torch.rand(len(images), 2) - 0.7, 0.08 + 0.3 * torch.rand(len(images), 2)
    columns, rows = ((steps - center[:, i : i + 1]).abs() < half[:, i : i + 1] for i in (0, 1))
    hidden = rows[:, None, :, None] & columns[:, None, None, :] & (torch.rand(len(images), 1, 1, 1) < 0.33)
    return torch.where(hidden, torch.rand(len(images), 3, 1, 1), images)
