"""Control over a model's motions: numbers for each kind, over a few real clips.

`clips` are at the model's frame rate, with the default body and, best, captions. Each function samples them in one
batch or two, with clean-up off. A jump is a joint's change of velocity from one frame to the next (m per frame), and is
compared with the 99th percentile of the real clip's own.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from motion.body import Body
from motion.body.capsules import fit_capsules
from motion.body.penetration import person_penetration, scene_penetration
from motion.clips.transforms import canonical_start, crop
from motion.features import decode
from motion.generator import Generator, MotionRequest, extend, in_between, prefix, reaction, trajectory
from motion.generator.editing import OVERLAP_SHARE
from motion.generator.estimate_corrections import steering
from motion.guidance.terms import ApartFromPeople, Keypoints2D, OutOfScene, distance_fields
from motion.metrics.plausibility import SKIN_TOLERANCE_M
from motion.sequence import MotionSequence, Scene

FOCAL_PX, CENTRE_PX = 900.0, (640.0, 360.0)
CAMERA_HEIGHT_M, CAMERA_AWAY_M = 2.2, 6.0  # above the floor and behind the origin, level, looking along +Y
BOX_SIDE_M = 0.6  # of the box that stands in the way
BOX_POINTS = 6000


def keypoint_guidance(generator: Generator, clips: Sequence[MotionSequence]) -> dict[str, float]:
    """Measure the distance in pixels to 2D joints of each clip's first person, seen by a fixed camera.

    The first frame is given, and with it the person's shape, as of a reconstructed person: bones of another length
    could not meet the keypoints. `rise` is the largest change of the mean over clips by a step of the last quarter of
    sampling (below 0: it falls to the end), `falls` the share of clips of which no such step rises by more than 1 %.
    """
    requests, clips = _alone(generator, clips)
    wanted = _padded([project(torch.from_numpy(clip.joints)) for clip in clips])
    seen = _padded([torch.ones(clip.joints.shape[:3]) for clip in clips])
    batch = len(clips)
    intrinsics, extrinsics = (matrix.expand(batch, -1, -1) for matrix in camera())
    term = Keypoints2D(*_always(batch), intrinsics, extrinsics, wanted, seen)
    errors: list[list[float]] = []

    def error(motions: Sequence[Tensor]) -> list[float]:
        return [
            float((project(joints) - project(torch.from_numpy(clip.joints))).norm(dim=-1).mean())
            for joints, clip in zip(motions, clips, strict=True)
        ]

    def record(x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        features = generator.normalizer.denormalize(x0.cpu())
        rows = [row[:, : clip.num_frames] for row, clip in zip(features, clips, strict=True)]
        shapes = [torch.from_numpy(clip.betas) for clip in clips]
        errors.append(
            error(
                [
                    decode(row, generator.body, betas).joints(generator.body)
                    for row, betas in zip(rows, shapes, strict=True)
                ]
            )
        )
        return x0

    given = [prefix(crop(clip, 0, 1)) for clip in clips]
    unguided = generator.generate(requests, given)
    valid = (seen[..., 0] > 0).to(generator.device)
    steps = generator.recipe.diffusion.num_steps
    steered = steering([term], given, valid, generator.normalizer, generator.body, steps)
    guided = generator.generate(requests, given, corrections=[steered, record])
    before, after = (np.array(error([torch.from_numpy(m.joints) for m in made])) for made in (unguided, guided))
    last = np.array(errors)[-len(errors) // 4 - 1 :]
    rises = (last[1:] / last[:-1] - 1).max(axis=0)
    means = last.mean(axis=1)
    return {
        "unguided_px": float(np.median(before)),
        "guided_px": float(np.median(after)),
        "guided_px_worst": float(after.max()),
        "rise": float((means[1:] / means[:-1] - 1).max()),
        "falls": float((rises <= 0.01).mean()),
        "rise_worst": float(rises.max()),
        **{f"step_{i}_px": float(np.median(row)) for i, row in enumerate(errors)},
    }


def trajectory_guidance(generator: Generator, clips: Sequence[MotionSequence]) -> dict[str, float]:
    """Measure the mean distance (m, over the floor) of the pelvis to the path of each clip's first person."""
    requests, clips = _alone(generator, clips)
    targets = [np.where(np.array([True, True, False]), clip.joints[:, :, :1], np.float32(np.nan)) for clip in clips]
    unguided, guided = generator.generate(requests), generator.generate(requests, terms=[trajectory(targets)])
    before, after = (
        np.array(
            [
                np.linalg.norm((m.joints - clip.joints)[:, :, 0, :2], axis=-1).mean()
                for m, clip in zip(made, clips, strict=True)
            ]
        )
        for made in (unguided, guided)
    )
    return {
        "unguided_m": float(np.median(before)),
        "guided_m": float(np.median(after)),
        "guided_m_worst": float(after.max()),
    }


def penetration_guidance(generator: Generator, clips: Sequence[MotionSequence]) -> dict[str, float]:
    """Measure the share of frames with more than 2 cm of one body in another, or of a box in a body.

    Without and with guidance. Two persons are asked to be in one place in the middle of the clip; the box stands where
    a person walked before.
    """
    requests, clips = _alone(generator, clips)
    result: dict[str, float] = {}
    if generator.recipe.max_persons > 1:
        pairs = [replace(request, num_persons=2) for request in requests]
        meet = trajectory([_meeting(request.num_frames) for request in pairs], weight=0.05)
        apart = ApartFromPeople(*_always(len(pairs)))
        for name, terms in (("unguided", [meet]), ("guided", [meet, apart])):
            shares = [_share(_between(m, generator.body)) for m in generator.generate(pairs, terms=terms)]
            result |= _summary(f"persons_{name}", shares)
    walked = generator.generate(requests)
    rooms = [_box(m.joints[0, m.num_frames // 2, 0]) for m in walked]
    away = OutOfScene(*_always(len(requests)), *distance_fields([room.points for room in rooms]))
    for name, made in (("unguided", walked), ("guided", generator.generate(requests, terms=[away]))):
        depths = [_within(m, room, generator.body) for m, room in zip(made, rooms, strict=True)]
        result |= _summary(f"scene_{name}", [_share(depth) for depth in depths])
    return result


def seams(generator: Generator, clips: Sequence[MotionSequence]) -> dict[str, float]:
    """Measure the largest jump at a seam, relative to the 99th percentile of the real clip's jumps.

    Keys that end in `_own` are relative to the jumps of the motion made. Seams are those of in-betweens of the middle
    half of a clip, and of clips extended by as much as a model makes at a time.
    """
    requests, clips = _alone(generator, clips)
    quarters = [max(1, clip.num_frames // 4) for clip in clips]
    given = [
        in_between(crop(clip, 0, q), crop(clip, clip.num_frames - q, clip.num_frames), clip.num_frames)
        for clip, q in zip(clips, quarters, strict=True)
    ]
    kept = [each.kept.astype(int) for each in given]
    between = list(zip(generator.generate(requests, given), kept, clips, strict=True))
    longest = generator.recipe.max_frames
    extended = []
    for request, clip in zip(requests, clips, strict=True):
        made = extend(generator, replace(request, num_frames=clip.num_frames + longest), clip)
        new = np.arange(made.num_frames) - clip.num_frames
        windows = np.where(new < 0, -1, new // (longest - int(OVERLAP_SHARE * longest)))
        extended.append((made, windows[None], clip))
    result: dict[str, float] = {}
    for name, seen in (("in_between", between), ("extend", extended)):
        result |= _summary(name, [seam_ratio(motion, parts, clip) for motion, parts, clip in seen])
        result |= _summary(f"{name}_own", [seam_ratio(motion, parts, motion) for motion, parts, _ in seen])
    return result


def reactions(generator: Generator, clips: Sequence[MotionSequence]) -> dict[str, float]:
    """Generate a second person for each clip's first: whether the given one stayed, and how far apart they are."""
    requests, clips = _alone(generator, clips)
    given = [reaction(clip, [0]) for clip in clips]
    made = generator.generate([replace(request, num_persons=2) for request in requests], given)
    names = ("transl", "global_orient", "body_pose", "betas", "joints")
    kept = [
        all(np.array_equal(getattr(m, name)[:1], getattr(clip, name)) for name in names)
        for m, clip in zip(made, clips, strict=True)
    ]
    apart = [np.linalg.norm((m.joints[0] - m.joints[1])[:, 0], axis=-1) for m in made]
    return {
        "given_kept_to_the_bit": float(np.mean(kept)),
        "apart_m": float(np.median([np.median(each) for each in apart])),
        "nearest_m": float(np.median([each.min() for each in apart])),
        "farthest_m_worst": float(np.max([each.max() for each in apart])),
        **_summary("penetrating", [_share(_between(m, generator.body)) for m in made]),
    }


def jumps(joints: Float[np.ndarray, "person frame joint 3"]) -> Float[np.ndarray, "person step joint"]:
    """Compute changes of velocity about each but the first and the last frame."""
    return np.linalg.norm(np.diff(joints.astype(np.float64), n=2, axis=1), axis=-1)


def seam_ratio(made: MotionSequence, parts: Int[np.ndarray, "person frame"], like: MotionSequence) -> float:
    """Divide the largest jump that involves frames of several parts by the 99th percentile of the jumps of `like`."""
    steps = np.stack([parts[:, :-2], parts[:, 1:-1], parts[:, 2:]])
    across = steps.min(axis=0) < steps.max(axis=0)
    return float(jumps(made.joints)[across].max() / np.quantile(jumps(like.joints), 0.99))


def camera() -> tuple[Float[Tensor, "3 3"], Float[Tensor, "4 4"]]:
    """Return intrinsics, and extrinsics from the world to OpenCV's axes."""
    intrinsics = torch.tensor([[FOCAL_PX, 0, CENTRE_PX[0]], [0, FOCAL_PX, CENTRE_PX[1]], [0, 0, 1]])
    extrinsics = torch.tensor([[1.0, 0, 0, 0], [0, 0, -1, CAMERA_HEIGHT_M], [0, 1, 0, CAMERA_AWAY_M], [0, 0, 0, 1]])
    return intrinsics, extrinsics


def project(points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 2"]:
    """Project to pixels; points nearer to the camera than half a metre are seen as from there."""
    intrinsics, extrinsics = camera()
    seen = points @ extrinsics[:3, :3].T + extrinsics[:3, 3]
    return seen[..., :2] / seen[..., 2:].clamp_min(0.5) * FOCAL_PX + intrinsics[:2, 2]


def _alone(generator: Generator, clips: Sequence[MotionSequence]) -> tuple[list[MotionRequest], list[MotionSequence]]:
    """Take the first person of each clip, from the origin on, no longer than the model's clips, and requests alike."""
    longest = generator.recipe.max_frames
    alone = [reaction(crop(clip, 0, min(clip.num_frames, longest)), [0]).motion for clip in clips]
    alone = [canonical_start(clip, generator.body) for clip in alone]
    requests = [
        MotionRequest(clip.texts[0] if clip.texts else "a person moves", clip.num_frames, seed=i, clean_up=False)
        for i, clip in enumerate(alone)
    ]
    return requests, alone


def _always(batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Wrap a term with a weight that acts from start to stop of sampling."""
    return torch.ones(batch), torch.zeros(batch), torch.ones(batch)


def _padded(arrays: Sequence[Tensor]) -> Tensor:
    """Stack (person, frame, ...) of several clips of one person, padded with zeros."""
    frames = max(array.shape[1] for array in arrays)
    padded = torch.zeros(len(arrays), arrays[0].shape[0], frames, *arrays[0].shape[2:])
    for row, array in zip(padded, arrays, strict=True):
        row[:, : array.shape[1]] = array
    return padded


def _meeting(frames: int) -> Float[np.ndarray, "person frame joint 3"]:
    """Ask two pelvises to meet in one waypoint: a metre ahead of the start in the middle of the clip."""
    targets = np.full((2, frames, 1, 3), np.nan, dtype=np.float32)
    targets[:, frames // 2, :, :2] = 0.0, 1.0
    return targets


def _box(centre: Float[np.ndarray, "3"]) -> Scene:
    """Sample points on the surface of a box that stands on the floor below `centre`."""
    points = np.random.default_rng(0).uniform(-1, 1, (BOX_POINTS, 3))
    rows, face = np.arange(BOX_POINTS), np.abs(points).argmax(axis=1)
    points[rows, face] = np.sign(points[rows, face])
    points = (points * BOX_SIDE_M / 2 + [centre[0], centre[1], BOX_SIDE_M / 2]).astype(np.float32)
    return Scene(
        id="box",
        points=points,
        colors=np.zeros((BOX_POINTS, 3), dtype=np.uint8),
        labels=np.full(BOX_POINTS, 3, dtype=np.int8),
        intrinsics=np.eye(3, dtype=np.float32),
        extrinsics=np.eye(4, dtype=np.float32),
        image_size=(1280, 720),
        floor_inlier_ratio=1.0,
        depth_scale=1.0,
    )


def _between(motion: MotionSequence, body: Body) -> Float[np.ndarray, "frame"]:
    return person_penetration(fit_capsules(motion.joints, motion.betas, body), motion.valid)[1]


def _within(motion: MotionSequence, scene: Scene, body: Body) -> Float[np.ndarray, "person frame"]:
    return scene_penetration(fit_capsules(motion.joints, motion.betas, body), motion.valid, scene)[1]


def _share(depths: Float[np.ndarray, "*frames"]) -> float:
    return float((depths > SKIN_TOLERANCE_M).mean())


def _summary(name: str, values: Sequence[float]) -> dict[str, float]:
    return {name: float(np.median(values)), f"{name}_worst": float(np.max(values))}
