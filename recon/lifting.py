"""Lifting of annotated 2D keypoints to a first SMPL pose in the world, from which optimisation starts.

World: Z up, floor z = 0, metres. A small temporal network, trained by `recon.training.lifter` on motion seen by random
cameras (no images), sees a person along the ray to the middle of their keypoints, in a frame of reference that is
turned about Z so that this ray points along +x. Its answers therefore turn with the world. It knows the camera's height
above the floor, which together with the position of the feet tells a person's distance, and the depth of the skin where
that was measured.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from motion.body import Body, load_body
from motion.errors import InputError
from motion.rotations import about, matrix_from_6d, rotate
from motion.skeleton import JOINT_NAMES, KEYPOINT_SETS
from motion.smpl_parameters import SmplParameters
from motion.weights import read_weights
from recon.camera import unproject
from recon.keypoints import ALIASES, FEWEST
from recon.observations import Observations
from recon.people import People

ASSETS = Path(__file__).parent / "assets"
FORMAT, MADE_BY = "carescene-lifter/1", "recon.training.lifter"
NAMES: tuple[str, ...] = tuple(
    dict.fromkeys(ALIASES.get(name, name) for names in (JOINT_NAMES, *KEYPOINT_SETS.values()) for name in names)
)
"""Keypoints of all sets, aliases replaced, in the order of the network's inputs."""
WINDOW_FRAMES = 24  # that the network sees at once
STEP_FRAMES = WINDOW_FRAMES // 2  # from one window to the next
LONGEST_GAP_S = 0.5  # without keypoints that is still filled in
SMALLEST_RAD = 0.01  # least size of a person in the image
FARTHEST_SIZES = 4.0  # from the middle; beyond it a keypoint is an outlier
NOMINAL_SIZE_M = 0.25  # typical size of a person, as measured here
PER_KEYPOINT, PER_FRAME = 6, 6  # input features
OUTPUTS = 24 * 6 + 2 + 1 + 10  # rotations, pelvis across and along the ray, betas
WIDTH, LAYERS, HEADS = 256, 3, 4


@dataclass(frozen=True, eq=False)
class Sight:
    """Direction and size in which the camera sees a person: the ray to the middle of the keypoints, in radians."""

    azimuth: Float[Tensor, "person frame"]
    elevation: Float[Tensor, "person frame"]
    size: Float[Tensor, "person frame"]
    """Median distance of the keypoints from the middle, as the tangent of an angle."""

    @property
    def axes(self) -> Float[Tensor, "person frame 3 3"]:
        """Axes of the view in the frame turned by the azimuth; rows along the ray, left of it, up across it."""
        return about("y", self.elevation)


@dataclass(frozen=True, eq=False)
class Lifted:
    """Bodies in each frame's own frame of reference: turned by the azimuth, origin on the floor below the camera."""

    pelvis: Float[Tensor, "person frame 3"]
    """Position of the pelvis in metres."""
    rotations: Float[Tensor, "person frame 24 3 3"]
    """Rotation of the pelvis to the frame of reference, of the other joints to their parents."""
    betas: Float[Tensor, "person frame 10"]
    """Shape of the default body."""

    def in_world(self, view: Sight) -> "Lifted":
        """Turn the bodies to the world's directions; the origin stays on the floor below the camera."""
        turn = about("z", view.azimuth)
        orient = turn @ self.rotations[:, :, 0]
        rotations = torch.cat([orient[:, :, None], self.rotations[:, :, 1:]], dim=2)
        return replace(self, pelvis=rotate(turn, self.pelvis), rotations=rotations)

    def first(self, frames: int) -> "Lifted":
        """Keep the first frames."""
        return Lifted(self.pelvis[:, :frames], self.rotations[:, :frames], self.betas[:, :frames])


class LifterNetwork(nn.Module):
    """Network that embeds each frame, then attends between the frames of a window."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(len(NAMES) * PER_KEYPOINT + PER_FRAME, WIDTH)
        self.refine = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)
        )
        self.place = nn.Parameter(torch.zeros(WINDOW_FRAMES, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True)
        self.frames = nn.TransformerEncoder(layer, LAYERS, norm=nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.answer = nn.Linear(WIDTH, OUTPUTS)

    def forward(self, features: Float[Tensor, "person frame feature"]) -> Float[Tensor, "person frame output"]:
        """Predict the answers that `decode` reads, for at most `WINDOW_FRAMES` frames."""
        hidden = self.embed(features)
        hidden = hidden + self.refine(hidden) + self.place[: features.shape[1]]
        return self.answer(self.frames(hidden))


@dataclass(frozen=True, eq=False)
class Lifter:
    """Trained lifting network; its shapes are the default body's."""

    network: LifterNetwork

    @classmethod
    def load(cls, path: Path | None = None) -> "Lifter":
        """Load the weights at `path`, or those that ship when it is None."""
        weights = read_weights(path or ASSETS / "lifter.safetensors", FORMAT, MADE_BY)
        return cls(weights.load_into(LifterNetwork()).eval().requires_grad_(False))

    def lift(self, observations: Observations, body: Body) -> People:
        """Lift all persons into the world.

        Valid are frames with `FEWEST` known keypoints or more, and short gaps between them. Raises InputError for a
        camera that is not above the floor and for a keypoint that the network does not know.
        """
        frames = observations.confidence.shape[1]
        view, inputs, height = _look(observations)
        lifted = decode(self._answers(inputs), view, height).in_world(view).first(frames)
        ground = observations.camera.center.to(height) * torch.tensor([1.0, 1.0, 0.0])
        known = (observations.confidence > 0).sum(dim=-1) >= FEWEST
        valid = _without_gaps(known, observations.fps)
        betas = _shape(lifted, valid, body)
        parameters = SmplParameters.from_pelvis(lifted.pelvis + ground, lifted.rotations, betas, body)
        return People(**vars(parameters), valid=valid)

    @torch.no_grad()
    def _answers(self, inputs: Float[Tensor, "person frame feature"]) -> Float[Tensor, "person frame output"]:
        """Average the network's answers where windows overlap; a window's middle counts more than its ends."""
        people, frames = inputs.shape[:2]
        weight = torch.hann_window(WINDOW_FRAMES + 2, periodic=False)[1:-1, None]
        total, weights = inputs.new_zeros(people, frames, OUTPUTS), inputs.new_zeros(frames, 1)
        for start in [*range(0, frames - WINDOW_FRAMES, STEP_FRAMES), frames - WINDOW_FRAMES]:
            at = slice(start, start + WINDOW_FRAMES)
            total[:, at] += weight * self.network(inputs[:, at])
            weights[at] += weight
        return total / weights


def _look(
    observations: Observations,
) -> tuple[Sight, Float[Tensor, "person frame feature"], Float[Tensor, " person"]]:
    """Compute the views of all persons, the network's input and the camera's height above the floor.

    A sequence shorter than a window continues with frames in which nobody is seen.
    """
    camera = observations.camera
    if not camera.center[2] > 0:
        raise InputError(f"the camera is {float(camera.center[2]):.2f} m above the floor, expected it above (Z up)")
    order = [_input_of(name) for name in observations.names]
    people, frames = observations.confidence.shape[:2]
    rays = torch.zeros(people, max(frames, WINDOW_FRAMES), len(NAMES), 3)
    confidence = torch.zeros(rays.shape[:3])
    ranges = torch.full_like(confidence, torch.nan)
    pixels = torch.nan_to_num(observations.keypoints.float())
    along = unproject(pixels, torch.ones_like(pixels[..., 0]), camera.intrinsics.float())
    rays[:, :frames, order] = along @ camera.extrinsics[:3, :3].float()
    confidence[:, :frames, order] = torch.nan_to_num(observations.confidence.float()).clamp(0, 1)
    ranges[:, :frames, order] = observations.depth.float() * along.norm(dim=-1)
    height = camera.center[2].float().expand(people)
    view = sight(rays, confidence > 0)
    return view, features(rays, confidence, ranges, height, torch.full((people,), observations.fps), view), height


def _input_of(name: str) -> int:
    """Look up a keypoint's index in `NAMES`."""
    own = ALIASES.get(name, name)
    if own not in NAMES:
        raise InputError(f"the lifter knows no keypoint {name!r}, expected some of {', '.join(NAMES)}")
    return NAMES.index(own)


def _without_gaps(known: Bool[Tensor, "person frame"], fps: float) -> Bool[Tensor, "person frame"]:
    """Fill gaps of at most `LONGEST_GAP_S` between known frames."""
    before, after = _neighbours(known)
    frame = torch.arange(known.shape[1])
    within = (before <= frame) & (frame <= after) & known.any(dim=1, keepdim=True)
    return within & (after - before - 1 <= LONGEST_GAP_S * fps)


def _shape(lifted: Lifted, valid: Bool[Tensor, "person frame"], body: Body) -> Float[Tensor, "person 10"]:
    """Average the betas over valid frames, as betas of `body`."""
    weight = valid.to(lifted.betas)[..., None]
    betas = (lifted.betas * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)
    if body.name == "default":
        return betas
    return body.fit_betas(load_body().rest_joints(betas)[:, None], torch.ones(24, dtype=torch.bool))


def sight(rays: Float[Tensor, "person frame keypoint 3"], seen: Bool[Tensor, "person frame keypoint"]) -> Sight:
    """Compute middle and size of the seen keypoints; medians, so that outliers count little.

    `rays` are world directions, `seen` is True where a keypoint is known. Frames with fewer than `FEWEST` take them
    from the frames before and after.
    """
    enough = seen.sum(dim=-1) >= FEWEST
    mean = (normalize(rays, dim=-1) * seen[..., None]).sum(dim=-2)
    around = _along(mean)
    apart = torch.where(seen[..., None], _across(_turned(rays, -around.azimuth), around), torch.nan)
    middle = pad(torch.nan_to_num(apart.nanmedian(dim=-2).values), (1, 0), value=1.0)
    middle = _turned(middle[..., None, :] @ around.axes, around.azimuth)[..., 0, :]
    middle = _filled(torch.where(enough[..., None], normalize(middle, dim=-1), 0), enough)
    view = _along(middle)
    across = _across(_turned(rays, -view.azimuth), view)
    spread = torch.where(seen, across.norm(dim=-1), torch.nan).nanmedian(dim=-1).values
    size = _filled(torch.where(enough, torch.nan_to_num(spread), 0)[..., None], enough)[..., 0]
    return replace(view, size=size.clamp_min(SMALLEST_RAD))


def _along(direction: Float[Tensor, "person frame 3"]) -> Sight:
    """Compute the view along a direction; along +x where the direction has no length."""
    azimuth = torch.atan2(direction[..., 1], direction[..., 0])
    elevation = torch.atan2(direction[..., 2], direction[..., :2].norm(dim=-1))
    return Sight(azimuth, elevation, torch.ones_like(azimuth))


def features(
    rays: Float[Tensor, "person frame keypoint 3"],
    confidence: Float[Tensor, "person frame keypoint"],
    ranges: Float[Tensor, "person frame keypoint"],
    height: Float[Tensor, " person"],
    fps: Float[Tensor, " person"],
    view: Sight,
) -> Float[Tensor, "person frame feature"]:
    """Compute the network's input.

    Keypoints are in the order of `NAMES`; `ranges` are metres along the ray, NaN where unknown. Per keypoint: its place
    across the ray relative to the size, its confidence, how far it would be on the floor, and how far its skin is;
    distances are logarithms in units of the distance at which one metre has that size.
    """
    seen = confidence > 0
    turned = _turned(rays, -view.azimuth)
    across = (_across(turned, view) / view.size[..., None, None]).clamp(-FARTHEST_SIZES, FARTHEST_SIZES)
    scale = (view.size / NOMINAL_SIZE_M)[..., None]
    down = -normalize(turned, dim=-1)[..., 2]
    on_floor = (height[:, None, None] * scale / down.clamp_min(0.05)).log().clamp(-2, 2)
    known = ranges.isfinite() & seen
    skin = torch.where(known, (ranges.clamp_min(0.1) * scale).log(), 0).clamp(-2, 2)
    each = torch.cat([across, torch.stack([on_floor, skin], dim=-1)], dim=-1) * seen[..., None]
    each = torch.cat([each, confidence[..., None], known[..., None].to(each)], dim=-1).flatten(-2)
    frames = rays.shape[1]
    whole = torch.stack(
        [
            view.elevation.sin(),
            view.elevation.cos(),
            (height[:, None] * view.size / NOMINAL_SIZE_M).log(),
            (view.size / 0.2).log(),
            (fps / 12).log()[:, None].expand(-1, frames),
            (seen.sum(dim=-1) >= FEWEST).to(each),
        ],
        dim=-1,
    )
    return torch.cat([each, whole], dim=-1)


def decode(answer: Float[Tensor, "person frame output"], view: Sight, height: Float[Tensor, " person"]) -> Lifted:
    """Decode the network's numbers to bodies; `height` is the camera's above the floor (metres)."""
    turns, across, along, betas = answer.split([24 * 6, 2, 1, 10], dim=-1)
    identity = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]).to(turns)
    rotations = matrix_from_6d(turns.unflatten(-1, (24, 6)) + identity)
    direction = torch.cat([torch.ones_like(along), across * view.size[..., None]], dim=-1)
    direction = normalize((direction[..., None, :] @ view.axes)[..., 0, :], dim=-1)
    pelvis = direction * along.clamp(-3, 3).exp() * (NOMINAL_SIZE_M / view.size)[..., None]
    camera = pad(height[:, None, None], (2, 0))
    return Lifted(pelvis + camera, rotations, betas)


def _across(rays: Tensor, view: Sight) -> Tensor:
    """Compute where rays (in the turned frame of reference) cross the plane at distance 1 across the view: left, up."""
    seen = rays @ view.axes.mT
    return seen[..., 1:] / seen[..., :1].clamp_min(0.05 * rays.norm(dim=-1, keepdim=True).clamp_min(1e-6))


def _turned(points: Float[Tensor, "person frame keypoint 3"], angle: Float[Tensor, "person frame"]) -> Tensor:
    return rotate(about("z", angle)[..., None, :, :], points)


def _filled(values: Float[Tensor, "person frame number"], known: Bool[Tensor, "person frame"]) -> Tensor:
    """Interpolate values of unknown frames linearly between known ones."""
    before, after = _neighbours(known)
    frame = torch.arange(known.shape[1])
    weight = ((frame - before) / (after - before).clamp_min(1)).to(values)[..., None]
    start, end = (values.gather(1, at[..., None].expand_as(values)) for at in (before, after))
    return torch.lerp(start, end, weight)


def _neighbours(known: Bool[Tensor, "person frame"]) -> tuple[Int[Tensor, "person frame"], Int[Tensor, "person frame"]]:
    """Find the last known frame up to each frame, and the first from it on.

    Where one of them is missing it is the other; where no frame is known they are the last and the first frame.
    """
    frame = torch.arange(known.shape[1])
    before = torch.where(known, frame, -1).cummax(dim=1).values
    after = torch.where(known, frame, len(frame)).flip(1).cummin(dim=1).values.flip(1)
    nearest = torch.where(before >= 0, before, after), torch.where(after < len(frame), after, before)
    return nearest[0].clamp_max(len(frame) - 1), nearest[1].clamp_min(0)
