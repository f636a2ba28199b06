"""Crops to learn HMR2.0 from: pictures and targets follow each cut alike, and views come back from their files."""

from pathlib import Path

import pytest
import torch

from recon.regressors.body_regressor import in_camera
from recon.training import hmr2_tiny, hmr2_views
from recon.training.hmr2_views import UNIT_CAMERA, augmented, load_views, plain, render_views, targets_of
from tests.helpers.crop_views import BODY, VIEWS


def blots(images: torch.Tensor) -> torch.Tensor:
    """Compute the centre of each channel's light, on the square from -1 to 1 in which the crop's pixel 128 is 0."""
    at = (torch.arange(256) - 128) / 128
    weight = images / images.sum(dim=(-2, -1), keepdim=True)
    return torch.stack([(weight.sum(dim=-2) * at).sum(dim=-1), (weight.sum(dim=-1) * at).sum(dim=-1)], dim=-1)


@pytest.mark.parametrize("mirror", [False, True])
def test_pictures_and_targets_are_turned_and_mirrored_alike(mirror: bool) -> None:
    count = len(VIEWS)
    jitter = torch.tensor([0.05, -0.04, 0.0]) * VIEWS.squares[:, 2:] + VIEWS.squares * torch.tensor([1.0, 1.0, 1.15])
    angle, flip = torch.linspace(-0.3, 0.3, count), torch.full((count,), mirror)
    seen = blots(hmr2_views._cut(VIEWS, jitter, angle, flip))
    targets = targets_of(VIEWS, jitter, angle, flip, BODY)
    # What was the left wrist is the right one in a mirror.
    wanted = targets.pixels[:, [21, 15, 10] if mirror else [20, 15, 11]]
    inside = (wanted.abs() < 0.9).all(dim=-1)
    assert inside.float().mean() > 0.5
    assert (seen - wanted)[inside].abs().max() < 1.5 / 128
    _, pixels = hmr2_tiny.seen_joints(targets, BODY)
    assert (pixels - targets.pixels).abs().mean() < 0.03  # weak perspective is not perspective


def test_plain_targets_are_what_in_camera_undoes() -> None:
    _, targets = plain(VIEWS, BODY)
    found = in_camera(targets, VIEWS.squares, UNIT_CAMERA, BODY)
    torch.testing.assert_close(found.transl, VIEWS.people.transl, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.global_orient, VIEWS.people.global_orient, atol=1e-5, rtol=0.0)
    losses = hmr2_tiny.losses_of(targets, targets, BODY)
    assert all(value < 1e-6 for name, value in losses.items() if name != "pixels")


def test_views_of_rooms_come_back_from_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms = [VIEWS.pick(torch.arange(3)), VIEWS.pick(torch.arange(3, len(VIEWS)))]
    monkeypatch.setattr(hmr2_views, "simulate", lambda seed, config: rooms[seed])
    monkeypatch.setattr(hmr2_views, "views_of", lambda room: room)
    again = load_views(render_views(tmp_path, len(rooms)))
    for one, other in ((again.images, VIEWS.images), (again.squares, VIEWS.squares)):
        assert torch.equal(one, other)
    for name, tensor in vars(VIEWS.people).items():
        assert torch.equal(getattr(again.people, name), tensor)


def test_augmented_pictures_are_pictures() -> None:
    images, targets = augmented(VIEWS, BODY)
    assert images.shape == (len(VIEWS), 3, 256, 256)
    assert 0 <= images.min() <= images.max() <= 1
    assert torch.isfinite(targets.cam).all()
