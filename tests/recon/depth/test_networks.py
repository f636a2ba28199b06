"""Depth networks of every kind, which load and predict maps of the image's size."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    BeitConfig,
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTConfig,
    DPTImageProcessor,
    ZoeDepthConfig,
    ZoeDepthForDepthEstimation,
    ZoeDepthImageProcessor,
)

from motion.errors import InputError
from recon.depth import load_depth_model
from recon.depth.networks import TINY
from recon.training.depth_tiny import metric_loss, relative_loss


def save_depth_anything(folder: Path, kind: str) -> Path:
    """Save a tiny Depth Anything network with random weights."""
    backbone = Dinov2Config(
        hidden_size=24,
        num_hidden_layers=4,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=56,
        patch_size=14,
        out_indices=[1, 2, 3, 4],
        initializer_range=0.2,
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=24,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=8,
        initializer_range=0.2,
        depth_estimation_type=kind,
        max_depth=20 if kind == "metric" else 1,
    )
    network = DepthAnythingForDepthEstimation(config)
    torch.nn.init.constant_(network.head.conv3.bias, 0.1)  # off the flat side of the last ReLU
    network.save_pretrained(folder)
    size = {"height": 56, "width": 56}
    DPTImageProcessor(size=size, keep_aspect_ratio=True, ensure_multiple_of=14).save_pretrained(folder)
    return folder


def save_zoedepth(folder: Path) -> Path:
    """Save a tiny ZoeDepth network with random weights."""
    backbone = BeitConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=64,
        patch_size=16,
        use_relative_position_bias=True,
        reshape_hidden_states=False,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = ZoeDepthConfig(
        backbone_config=backbone,
        backbone_hidden_size=16,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        bottleneck_features=8,
        num_relative_features=8,
        bin_embedding_dim=8,
        num_attractors=[4, 2, 2, 1],
        bin_configurations=[{"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0, "name": "nyu"}],
    )
    ZoeDepthForDepthEstimation(config).save_pretrained(folder)
    ZoeDepthImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (5, 48, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["relative", "metric"])
def test_depth_anything_gives_what_transformers_gives(kind: str, tmp_path: Path, images: np.ndarray) -> None:
    folder = save_depth_anything(tmp_path / kind, kind)
    found = load_depth_model(folder, metric=kind == "metric").predict(images)
    network = DepthAnythingForDepthEstimation.from_pretrained(folder).eval()
    processor = DPTImageProcessor.from_pretrained(folder)
    inputs = processor(images=list(images), return_tensors="pt")
    assert inputs["pixel_values"].shape == (5, 3, 42, 56)
    with torch.no_grad():
        expected = network(**inputs).predicted_depth
    expected = torch.nn.functional.interpolate(expected[:, None], (48, 64), mode="bicubic", align_corners=False)
    assert found.shape == (5, 48, 64)
    assert found.std() > 0.01
    np.testing.assert_allclose(found, expected[:, 0], atol=1e-4 * found.max())


def test_an_images_depth_does_not_depend_on_the_others(tmp_path: Path, images: np.ndarray) -> None:
    model = load_depth_model(save_depth_anything(tmp_path, "relative"), metric=False)
    np.testing.assert_allclose(model.predict(images[4:])[0], model.predict(images)[4], atol=1e-5)


def test_losses_of_the_stand_ins_are_zero_for_the_truth_alone() -> None:
    """The relative loss is zero at any scale and shift, the metric one in metres only."""
    depth = 1 + 4 * torch.rand(2, 24, 32)
    valid = torch.rand(depth.shape) < 0.9
    spoilt = torch.where(valid, depth, 1000.0)
    assert relative_loss(3 / spoilt + 2, 1 / depth, valid) < 1e-4
    assert relative_loss(spoilt, 1 / depth, valid) > 1
    assert metric_loss(spoilt, depth, valid) < 1e-3
    assert metric_loss(1.1 * spoilt, depth, valid) > 0.09


def test_bf16_is_near(tmp_path: Path, images: np.ndarray) -> None:
    folder = save_depth_anything(tmp_path, "metric")
    exact, rough = (load_depth_model(folder, metric=True, bf16=bf16).predict(images) for bf16 in (False, True))
    assert rough.dtype == np.float32
    assert 0 < np.abs(exact - rough).max() < 0.05 * exact.max()


def test_zoedepth_gives_metres_without_its_margin(tmp_path: Path, images: np.ndarray) -> None:
    found = load_depth_model(save_zoedepth(tmp_path), metric=True).predict(images)
    assert found.shape == (5, 48, 64)
    assert np.isfinite(found).all()
    assert 0 < found.min() <= found.max() <= 10


def test_a_relative_network_is_no_metric_one(tmp_path: Path) -> None:
    relative = save_depth_anything(tmp_path / "relative", "relative")
    metric = save_depth_anything(tmp_path / "metric", "metric")
    zoe = save_zoedepth(tmp_path / "zoe")
    with pytest.raises(InputError, match=r"is a relative one \(disparity\), expected a metric one"):
        load_depth_model(relative, metric=True)
    for folder in (metric, zoe):
        with pytest.raises(InputError, match=r"is a metric one \(metres\), expected a relative one"):
            load_depth_model(folder, metric=False)


def test_a_hub_id_that_cannot_be_had_says_what_to_do() -> None:
    with pytest.raises(InputError, match=r"hf download nobody/none-hf --local-dir FOLDER`\) and pass FOLDER"):
        load_depth_model("nobody/none-hf", metric=False)


def test_broken_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read, expected config.json"):
        load_depth_model(tmp_path, metric=False)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text('{"model_type": "depth_anything", "backbone_config": 3}')
    with pytest.raises(InputError, match="cannot be read, expected config.json"):
        load_depth_model(tmp_path / "odd", metric=False)
    DPTConfig().save_pretrained(tmp_path / "dpt")
    with pytest.raises(InputError, match="holds a dpt network, expected depth_anything or zoedepth"):
        load_depth_model(tmp_path / "dpt", metric=False)
    folder = save_depth_anything(tmp_path / "pickled", "relative")
    weights = folder / "model.safetensors"
    torch.save({}, folder / "pytorch_model.bin")
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read, expected config.json"):
        load_depth_model(folder, metric=False)
    weights.unlink()
    with pytest.raises(InputError, match="cannot be read, expected config.json"):
        load_depth_model(folder, metric=False)


def test_code_in_a_folder_is_never_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}')
    (tmp_path / "own.py").write_text("from pathlib import Path\nPath(__file__).with_name('was_run').touch()")
    with pytest.raises(InputError, match="contains custom code"):
        load_depth_model(tmp_path, metric=False)
    assert not (tmp_path / "was_run").exists()


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    folder = save_depth_anything(tmp_path, "relative")
    config = DepthAnythingConfig.from_pretrained(folder)
    config.head_hidden_size = 6
    config.save_pretrained(folder)
    with pytest.raises(InputError, match="expected config.json|lack head"):
        load_depth_model(folder, metric=False)


@pytest.mark.parametrize("metric", [False, True])
def test_stand_in_loads_offline(metric: bool) -> None:
    depth = load_depth_model(TINY, metric=metric).predict(np.full((1, 96, 128, 3), 128, dtype=np.uint8))
    assert depth.shape == (1, 96, 128)
    assert np.isfinite(depth).all()
