"""Masks of regressed poses that belong to a neighbour or to nobody (thesis §4.1).

A body network that is given the box of a hidden person describes the person in front. Masks are True where a pose is
the person's own. Distances are pixels, weighted by the keypoints' scores, and relative to the size of the projected
body, its bounding box's diagonal.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon.keypoints import FEWEST

FARTHEST_SHARE = 0.3  # of the size; larger distances count as this, so that wrong keypoints do not decide
USUAL_ERROR_SHARE = 0.06  # of the size; assumed own distance of a person without keypoints
PSEUDO_KEYPOINTS = 0.5  # weight, in keypoints, of the prior: USUAL_ERROR_SHARE for the own, FARTHEST_SHARE for another
UNLIKE_SHARE = 0.18  # of the size; a larger mean error means that the pose is nobody's


def mask_duplicates(
    projected: Float[Tensor, "person frame keypoint 2"], keypoints: Float[Tensor, "person frame keypoint 3"]
) -> Bool[Tensor, "person frame"]:
    """Mask out projected poses that are nearer to another person's keypoints (x, y, score) than to their own.

    True = the pose is the person's own. Pixels.
    """
    size = _extent(projected, torch.ones_like(projected[..., 0]))
    distance, evidence = _distances(projected[:, None], keypoints[None], size[:, None])
    own, other = (
        (distance * evidence + PSEUDO_KEYPOINTS * unknown * size[:, None]) / (evidence + PSEUDO_KEYPOINTS)
        for unknown in (USUAL_ERROR_SHARE, FARTHEST_SHARE)
    )
    themselves = torch.eye(len(projected), dtype=torch.bool)[..., None]
    nearest_other = other.masked_fill(themselves, torch.inf).amin(dim=1)
    return own.diagonal(dim1=0, dim2=1).mT <= nearest_other


def mask_unlike(
    projected: Float[Tensor, "person frame keypoint 2"],
    keypoints: Float[Tensor, "person frame keypoint 3"],
    threshold: float = UNLIKE_SHARE,
) -> Bool[Tensor, "person frame"]:
    """Mask out projected poses far from the person's own keypoints (x, y, score): True = near enough.

    `threshold` bounds the mean distance, relative to the annotated size: the larger of this frame's and the person's
    median, as few keypoints span little. Frames with fewer than FEWEST annotated keypoints cannot be judged and are
    True.
    """
    score = keypoints[..., 2]
    size = _extent(keypoints[..., :2], score)
    annotated = (score > 0).sum(dim=-1) >= FEWEST
    usual = size.masked_fill(~annotated, torch.nan).nanmedian(dim=1, keepdim=True).values.nan_to_num()
    size = size.maximum(usual)
    return (_distances(projected, keypoints, size)[0] <= threshold * size) | ~annotated


def _distances(
    projected: Float[Tensor, "*#batch keypoint 2"], keypoints: Float[Tensor, "*#batch keypoint 3"], size: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute mean distances weighted by score, each at most FARTHEST_SHARE of the size, and the sum of scores."""
    apart = (projected - keypoints[..., :2]).norm(dim=-1).minimum(FARTHEST_SHARE * size[..., None])
    score = keypoints[..., 2].expand_as(apart)
    evidence = score.sum(dim=-1)
    return (apart * score).sum(dim=-1) / evidence.clamp_min(1e-6), evidence


def _extent(
    points: Float[Tensor, "person frame keypoint 2"], score: Float[Tensor, "person frame keypoint"]
) -> Float[Tensor, "person frame"]:
    """Compute the diagonal of the bounding box of points with a score above 0; 0 where there are none."""
    unknown = (score <= 0)[..., None]
    low = points.masked_fill(unknown, torch.inf).amin(dim=2)
    high = points.masked_fill(unknown, -torch.inf).amax(dim=2)
    return (high - low).norm(dim=-1).where((score > 0).any(dim=2), 0.0)
