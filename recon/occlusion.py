"""Whose body is it? Regressed poses that belong to a neighbour, or to nobody (thesis, 4.1).

A body network that is given the box of somebody who is hidden describes the one in front. Masks are True where a
pose is the person's own. Distances are pixels, weighted by the keypoints' scores, and compared by the size of the
projected body, its bounding box's diagonal.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from recon.keypoints import FEWEST

FARTHEST = 0.3  # of the size; a keypoint says no more than this, so that wrong ones do not decide
NEAR = 0.06  # of the size, a usual error: where nobody annotated the person, a body this near to another is another's
DOUBT = 0.5  # keypoints' worth of doubt: without keypoints the own distance is NEAR and another's FARTHEST
UNLIKE = 0.18  # of the size: the mean error from which a pose is nobody's


def mask_duplicates(
    projected: Float[Tensor, "person frame keypoint 2"], keypoints: Float[Tensor, "person frame keypoint 3"]
) -> Bool[Tensor, "person frame"]:
    """False where a projected pose is nearer to another person's keypoints (x, y, score) than to its own."""
    size = _extent(projected, torch.ones_like(projected[..., 0]))
    distance, evidence = _distances(projected[:, None], keypoints[None], size[:, None])
    own, other = (
        (distance * evidence + DOUBT * unknown * size[:, None]) / (evidence + DOUBT) for unknown in (NEAR, FARTHEST)
    )
    themselves = torch.eye(len(projected), dtype=torch.bool)[..., None]
    nearest_other = other.masked_fill(themselves, torch.inf).amin(dim=1)
    return own.diagonal(dim1=0, dim2=1).mT <= nearest_other


def mask_unlike(
    projected: Float[Tensor, "person frame keypoint 2"],
    keypoints: Float[Tensor, "person frame keypoint 3"],
    threshold: float = UNLIKE,
) -> Bool[Tensor, "person frame"]:
    """False where the mean distance to the person's own keypoints exceeds this share of the annotated size.

    The size is the larger of this frame's and the person's median, as few keypoints span little. Where fewer than
    FEWEST are annotated nobody can tell: True.
    """
    score = keypoints[..., 2]
    size = _extent(keypoints[..., :2], score)
    told = (score > 0).sum(dim=-1) >= FEWEST
    usual = size.masked_fill(~told, torch.nan).nanmedian(dim=1, keepdim=True).values.nan_to_num()
    size = size.maximum(usual)
    return (_distances(projected, keypoints, size)[0] <= threshold * size) | ~told


def _distances(
    projected: Float[Tensor, "*#batch keypoint 2"], keypoints: Float[Tensor, "*#batch keypoint 3"], size: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean distance weighted by score, each at most FARTHEST, and the sum of scores, which may be 0."""
    apart = (projected - keypoints[..., :2]).norm(dim=-1).minimum(FARTHEST * size[..., None])
    score = keypoints[..., 2].expand_as(apart)
    evidence = score.sum(dim=-1)
    return (apart * score).sum(dim=-1) / evidence.clamp_min(1e-6), evidence


def _extent(
    points: Float[Tensor, "person frame keypoint 2"], score: Float[Tensor, "person frame keypoint"]
) -> Float[Tensor, "person frame"]:
    """Diagonal of the bounding box of the points with a score; 0 where there are none."""
    unknown = (score <= 0)[..., None]
    low = points.masked_fill(unknown, torch.inf).amin(dim=2)
    high = points.masked_fill(unknown, -torch.inf).amax(dim=2)
    return (high - low).norm(dim=-1).where((score > 0).any(dim=2), 0.0)
