"""Motion records of reconstructed persons, with a quality for each person.

World: Z up, metres. Captions are made from the annotated classes and actions; nobody wrote them.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from motion.body import Body
from motion.sequence import MotionSequence
from motion.skeleton import ACTIONS, PERSON_CLASSES
from recon.fitting.bodies import below_skin
from recon.fitting.uncertainty import Uncertainty
from recon.keypoints import body_keypoints
from recon.observations import SURE_CONFIDENCE, Observations
from recon.people import People
from recon.teton import TetonSequence, Track

ACTION_PHRASES = {
    "laying_in_bed": "lies in bed",
    "laying_on_floor": "lies on the floor",
    "sitting_in_bed": "sits in bed",
    "sitting_in_chair": "sits in a chair",
    "sitting_in_lift": "sits in a lift",
    "standing_on_floor": "stands",
    "walking_with_walking_aid": "walks with a walking aid",
    "sitting_in_walker": "sits in a walker",
    "sitting_on_bed_edge": "sits on the edge of the bed",
    "sitting_on_floor": "sits on the floor",
    "kneeling": "kneels",
    "crawling": "crawls",
}
"""Caption phrase of each action; "unknown" has none."""
ADULT_M = (1.45, 2.0)
"""Statures of nearly all adults in metres; a fitted body beyond them is flagged."""
USUAL_SIGMAS = 2.5
"""Standard deviations from the mean shape, beyond which a fitted body is flagged."""
FAR_FROM_DEPTH = 0.15
"""Relative difference from depth, beyond which a distance is flagged; two of depth's standard deviations at least."""
SUNK_M = 0.1
"""Depth under the floor in metres, beyond which a person is flagged."""
UNSURE_M = 0.15
"""Standard deviation of the distance from the camera in metres, beyond which it is flagged: two of them are 0.3 m."""
MISSED = 0.1
"""Median distance to the keypoints relative to the person's size, beyond which a person is flagged."""
MOVED_SIGMAS = 3.0
"""Change of the room in standard deviations, beyond which everyone in it is flagged."""
LIMBS = {
    f"{side} {limb}": tuple(f"{side}_{joint}" for joint in joints)
    for side in ("left", "right")
    for limb, joints in (("arm", ("elbow", "wrist")), ("leg", ("knee", "ankle")))
}
"""Limbs, by the keypoints one of which must be seen for their place to be known."""
MOSTLY = 0.5
"""Share of the frames without a sight of a limb, from which the quality's line names it."""
PERSON_PHRASES = {"unknown": "a person", "person": "a person", "patient": "a patient", "medical_staff": "a carer"}
"""Caption phrase of each person class."""


@dataclass(frozen=True)
class Quality:
    """Quality of one person's reconstruction, as far as the annotations can tell."""

    object_id: str
    """Key of the person in annotations.json."""
    frames: int
    """Number of frames in which the person is reconstructed."""
    regressed: float
    """Share of the annotated frames in which the body network's pose was the person's own."""
    reprojection_px: float | None
    """Mean distance to the visible keypoints in pixels; None without visible keypoints."""
    misfit: float | None
    """Median distance to the visible keypoints relative to the person's size in the image; None without such."""
    below_floor_m: float
    """Greatest depth of the lowest joint under the floor in metres."""
    stature_m: float
    """Height of the fitted body from sole to crown in metres."""
    shape_sigma: float
    """Greatest absolute value of the betas: standard deviations from the mean shape."""
    beyond_depth: float | None
    """Distance of the fitted person beyond the depth at the keypoints, relative to the depth; None where unknown."""
    depth_error: float
    """Standard deviation of that depth, relative to the depth."""
    along_m: float | None
    """Median standard deviation of the distance from the camera in metres; None for nobody."""
    across_m: float | None
    """Median standard deviation along either axis across the ray in metres; None for nobody."""
    room_moved: float
    """Change of the room by its persons, in the standard deviations of floor and size before them."""
    unseen: dict[str, float]
    """Share of the reconstructed frames in which no keypoint of a limb is visible, for each limb of `LIMBS`."""

    @property
    def flags(self) -> tuple[str, ...]:
        """Describe what is implausible about the person and the distance; empty for a plausible reconstruction."""
        if not self.frames:
            return ("not found",)
        least, most = ADULT_M
        beyond = self.beyond_depth or 0.0
        side = "farther away" if beyond > 0 else "nearer"
        unsure, misfit = self.along_m or 0.0, self.misfit or 0.0
        found = {
            f"distance ± {unsure:.2f} m": unsure > UNSURE_M,
            f"room moved by {self.room_moved:.1f} SD": self.room_moved > MOVED_SIGMAS,
            "no visible keypoint": self.misfit is None,
            f"keypoints missed by {misfit:.0%} of the person's size": misfit > MISSED,
            f"{self.stature_m:.2f} m tall": not least <= self.stature_m <= most,
            f"shape of {self.shape_sigma:.1f} SD": self.shape_sigma > USUAL_SIGMAS,
            f"{100 * self.below_floor_m:.0f} cm under the floor": self.below_floor_m > SUNK_M,
            f"{abs(beyond):.0%} {side} than depth shows": abs(beyond) > max(FAR_FROM_DEPTH, 2 * self.depth_error),
        }
        return tuple(flag for flag, raised in found.items() if raised)


def assess(
    person: int,
    track: Track,
    people: People,
    regressed: People,
    observed: Observations,
    sure: Uncertainty,
    room_moved: float,
    body: Body,
) -> Quality:
    """Assess one person; `regressed` is valid where the body network's pose was the person's own.

    `room_moved` says by how many of its standard deviations the fit has changed the room.
    """
    valid, there = people.valid[person], torch.from_numpy(track.present)
    visible = (observed.confidence[person] >= SURE_CONFIDENCE) & valid[:, None]
    points = body_keypoints(body, observed.names)
    seen = people.keypoints(body, points)[person]
    missed = (observed.camera.project(seen) - observed.keypoints[person]).norm(dim=-1)
    share = (missed / _sizes(observed, person))[visible]
    missed = missed[visible]
    skin = observed.camera.to_camera(seen)[..., 2] - below_skin(points, body)
    beyond = (skin / observed.depth[person] - 1)[visible & observed.depth[person].isfinite()]
    betas = people.betas[person]
    lowest = people.joints(body)[person][valid][..., 2]
    return Quality(
        object_id=track.object_id,
        frames=int(valid.sum()),
        regressed=float((regressed.valid[person] & there).sum() / there.sum().clamp_min(1)),
        reprojection_px=float(missed.mean()) if len(missed) else None,
        misfit=float(share.median()) if len(share) else None,
        below_floor_m=float((-lowest).clamp_min(0).max()) if valid.any() else 0.0,
        stature_m=float(body.stature(betas)),
        shape_sigma=float(betas.abs().max()),
        beyond_depth=float(beyond.median()) if len(beyond) else None,
        depth_error=observed.depth_error,
        along_m=_middle(sure.along[person]),
        across_m=_middle(sure.across[person]),
        room_moved=room_moved,
        unseen={
            limb: float(hidden[person][valid].float().mean()) if valid.any() else 0.0
            for limb, hidden in unseen_limbs(observed).items()
        },
    )


def _sizes(observed: Observations, person: int) -> Float[Tensor, "frame 1"]:
    """Compute the diagonal of the box about a person's visible keypoints in each frame, at least a pixel."""
    known = (observed.confidence[person] >= SURE_CONFIDENCE)[..., None]
    low, high = (torch.where(known, observed.keypoints[person], edge) for edge in (torch.inf, -torch.inf))
    return (high.amax(dim=1) - low.amin(dim=1)).norm(dim=-1, keepdim=True).nan_to_num(posinf=1.0).clamp_min(1.0)


def _middle(deviations: Float64[np.ndarray, " frame"]) -> float | None:
    known = deviations[np.isfinite(deviations)]
    return float(np.median(known)) if len(known) else None


def unseen_limbs(observed: Observations) -> dict[str, Bool[Tensor, "person frame"]]:
    """Mark where no keypoint of a limb is visible, so that its pose is what priors and neighbouring frames make it."""
    visible = observed.confidence >= SURE_CONFIDENCE
    return {
        limb: ~visible[..., [name in joints for name in observed.names]].any(dim=-1) for limb, joints in LIMBS.items()
    }


def describe_quality(quality: Sequence[Quality]) -> list[str]:
    """Describe each person's quality in one line."""
    return [
        f"{row.object_id}: CHECK: not found"
        if not row.frames
        else f"{row.object_id}: {row.frames} frames, {_missed(row.reprojection_px)}, at most "
        f"{100 * row.below_floor_m:.1f} cm under the floor, own pose regressed in {row.regressed:.0%}, "
        f"{row.stature_m:.2f} m tall, shape within {row.shape_sigma:.1f} SD{_place(row)}"
        + (f"; CHECK: {'; '.join(row.flags)}" if row.flags else "")
        for row in quality
    ]


def _place(row: Quality) -> str:
    """Describe how sure the place is, and which limbs were mostly not seen."""
    if row.along_m is None or row.across_m is None:
        return ""
    limbs = [limb for limb, share in row.unseen.items() if share >= MOSTLY]
    hidden = f", {', '.join(limbs)} mostly not seen" if limbs else ""
    return f", ± {row.along_m:.2f} m along the ray and ± {row.across_m:.2f} m across{hidden}"


def describe_uncertainty(sure: Uncertainty, observed: Observations, people: People, ids: Sequence[str]) -> str:
    """Write the uncertainty of each person who is valid in some frame as JSON, in the order of the record.

    `along_m` and `across_m` are standard deviations in metres by frame, null where the person is not valid; `unseen`
    holds the frames in which no keypoint of a limb is visible, as pairs of the first and the one after the last.
    """
    hidden = unseen_limbs(observed)
    rows = [
        {
            "object_id": name,
            "along_m": _rounded(sure.along[k]),
            "across_m": _rounded(sure.across[k]),
            "unseen": {limb: _spans((where[k] & people.valid[k]).numpy()) for limb, where in hidden.items()},
        }
        for k, name in enumerate(ids)
        if people.valid[k].any()
    ]
    return json.dumps(rows)


def _rounded(deviations: Float64[np.ndarray, " frame"]) -> list[float | None]:
    return [round(value, 3) if np.isfinite(value) else None for value in deviations.tolist()]


def _spans(where: Bool[np.ndarray, " frame"]) -> list[list[int]]:
    """List the stretches of True as pairs of the first frame and the one after the last."""
    edges = np.flatnonzero(np.diff(where.astype(np.int8), prepend=0, append=0))
    return edges.reshape(-1, 2).tolist()


def _missed(error: float | None) -> str:
    return "no visible keypoints" if error is None else f"{error:.1f} px from the visible keypoints"


def to_record(
    sequence: TetonSequence, people: People, quality: Sequence[Quality], body: Body, provenance: dict[str, str]
) -> MotionSequence:
    """Build the record of the persons who are valid in some frame; other frames hold the nearest valid pose."""
    some = people.valid.any(dim=1)
    whole = hold(people[some])
    tracks = [track for track, there in zip(sequence.tracks, some.tolist(), strict=True) if there]
    valid = whole.valid.numpy()
    return MotionSequence(
        id=sequence.id,
        source="teton",
        split="train",
        fps=sequence.fps,
        **whole.posed_arrays(body),
        valid=valid,
        person_class=np.array([track.person_class for track in tracks], dtype=np.int8),
        action=np.stack([track.action for track in tracks]) * valid,
        texts=[describe(tracks)],
        scene_id=sequence.id,
        provenance=provenance
        | {
            "texts": "made from the annotated classes and actions",
            "quality": json.dumps([asdict(row) | {"flags": row.flags} for row in quality]),
        },
    )


def hold(people: People) -> People:
    """Fill frames in which a person is not valid with the nearest valid frame's pose; all numbers are finite."""
    frames = torch.arange(people.valid.shape[1])
    gap = (frames[:, None] - frames).abs() + len(frames) * ~people.valid[:, None]
    nearest = gap.argmin(dim=-1)
    person = torch.arange(len(nearest))[:, None]
    return replace(people[person, nearest], betas=people.betas, valid=people.valid)


def describe(tracks: Sequence[Track]) -> str:
    """Make a caption from the labels: each person with their most frequent action."""
    persons = (PERSON_PHRASES[PERSON_CLASSES[track.person_class]] for track in tracks)
    return " while ".join(f"{person} {_main_action(track)}" for person, track in zip(persons, tracks, strict=True))


def _main_action(track: Track) -> str:
    counts = np.bincount(track.action[track.present], minlength=len(ACTIONS))
    counts[0] = 0
    return ACTION_PHRASES[ACTIONS[counts.argmax()]] if counts.any() else "is there"
