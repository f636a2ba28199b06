"""Training of the HMR2.0 stand-in: targets follow each cut of a crop; the loss falls; a stopped run goes on."""

from pathlib import Path

import numpy as np
import pytest
import roma
import torch

from motion.body import load_body
from motion.smpl_parameters import SmplParameters
from recon.camera import project
from recon.regressors import HMR2Config, load_regressor
from recon.regressors.body_regressor import in_camera
from recon.regressors.crops import crop_square
from recon.regressors.hmr2 import SIDE_CUT
from recon.training import hmr2_tiny, hmr2_views
from recon.training.hmr2_views import MARGIN, UNIT_CAMERA, Views, augmented, load_views, plain, render_views, targets_of

BODY = load_body()
SMALL = HMR2Config(width=32, depth=1, heads=2, head_width=32, head_depth=1, head_heads=2, head_dim=16, head_mlp=32)
FOCAL = 400.0


def some_views(count: int) -> Views:
    """Draw persons as blots alone: the left wrist red, the head green, the right foot blue."""
    random = torch.Generator().manual_seed(0)
    betas = torch.randn(count, 10, generator=random)
    low, high = torch.tensor([-0.75, -0.5, 4.5]), torch.tensor([0.75, 0.5, 5.5])
    pelvis = low + (high - low) * torch.rand(count, 3, generator=random)
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    orient = upright @ roma.rotvec_to_rotmat(0.3 * torch.randn(count, 3, generator=random))
    pose = roma.rotvec_to_rotmat(0.2 * torch.randn(count, 23, 3, generator=random))
    people = SmplParameters.from_pelvis(pelvis, torch.cat([orient[:, None], pose], dim=1), betas, BODY)
    pixels = project(people.joints(BODY), UNIT_CAMERA) * FOCAL + 250
    rows, columns = np.mgrid[:500, :500]
    images, squares = [], []
    for joints in pixels.numpy():
        image = np.zeros((500, 500, 3))
        for channel, joint in ((0, 20), (1, 15), (2, 11)):
            x, y = joints[joint]
            image[..., channel] = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 3.0**2))
        first, last = joints.min(axis=0), joints.max(axis=0)
        center, reach = (first + last) / 2, MARGIN * (last - first).max() / 2 * np.array([0.7, 1.0])
        crop, square = crop_square(image.astype(np.uint8), np.concatenate([center - reach, center + reach]))
        images.append(crop)
        squares.append((square - [250, 250, 0]) / [1, 1, MARGIN] / FOCAL)
    stacked = torch.from_numpy(np.stack(squares)).float()
    return Views(torch.from_numpy(np.stack(images)), stacked, people)


VIEWS = some_views(8)


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


def test_joints_learn_to_point_at_their_patches() -> None:
    network, pointer = hmr2_tiny.new_network(SMALL, VIEWS, 0), torch.nn.Linear(SMALL.width, 24)
    optimizer = torch.optim.AdamW([*network.parameters(), *pointer.parameters()], lr=1e-3)
    images, targets = plain(VIEWS, BODY)

    def loss() -> float:
        tokens = network.backbone(hmr2_tiny.normalized(images)[..., SIDE_CUT:-SIDE_CUT])
        return hmr2_tiny.patch_loss(pointer(tokens), targets).item()

    before = loss()
    for _ in range(20):
        hmr2_tiny.train_step(network, pointer, optimizer, images, targets, BODY)
    assert loss() < before - 0.5


def test_training_falls_goes_on_and_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hmr2_tiny, "REPORT_S", 0.0)
    before = hmr2_tiny.validate(hmr2_tiny.new_network(SMALL, VIEWS, 0), VIEWS, BODY)
    hmr2_tiny.train(VIEWS, VIEWS, 2.0, tmp_path / "checkpoint.pt", 0, SMALL)
    steps = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"]
    network = hmr2_tiny.train(VIEWS, VIEWS, 3.0, tmp_path / "checkpoint.pt", 0, SMALL)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] > steps > 0
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in capsys.readouterr().out.splitlines()]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    after = hmr2_tiny.validate(network, VIEWS, BODY)
    assert after["crop_pixels"] < before["crop_pixels"]
    hmr2_tiny.save(network, tmp_path / "w.safetensors", {"motion": hmr2_tiny.MOTION, **after})
    assert load_regressor(tmp_path / "w.safetensors").estimate(VIEWS.images).cam.shape == (len(VIEWS), 3)
