"""HMR2.0's network against the authors' numbers, and the regressor around it."""

import functools
import importlib.util
import json
import re
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import smplx.lbs
import torch
from torch import Tensor

from motion.body import load_body
from motion.errors import InputError
from motion.weights import weights_bytes
from recon.camera import intrinsics_matrix
from recon.regressors import HMR2, BodyRegressor, CropEstimates, HMR2Config, HMR2Regressor, hmr2, load_regressor
from recon.regressors.body_regressor import in_camera
from recon.regressors.hmr2 import OFFICIAL, normalize

TINY = HMR2Config(width=48, depth=2, heads=2, head_width=32, head_depth=1, head_heads=2, head_dim=16, head_mlp=32)


def recipe(key: str, shape: tuple[int, ...]) -> Tensor:
    """Generate the weights that the reference numbers were made with (golden/README.md)."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
    if len(shape) >= 2:
        return 0.02 * x
    return 0.01 * x + 1.0 if re.search(r"norm\d*\.weight$", key) else 0.01 * x


def official_network(golden: Path) -> HMR2:
    """Build a network with every key of the release's backbone and head, no more and no less."""
    keys = json.loads((golden / "hmr2" / "state_dict_keys.json").read_text())
    kept = np.load(golden / "hmr2" / "kept_small_buffers.npz")
    state = {}
    for entry in keys:
        key, shape = entry["key"], tuple(entry["shape"])
        if key.startswith(("backbone.", "smpl_head.")):
            state[key] = torch.from_numpy(kept[key]) if key in kept else recipe(key, shape)
    with torch.device("meta"):
        network = HMR2(OFFICIAL)
    network.load_state_dict(state, strict=True, assign=True)
    return network.requires_grad_(False).eval()


def fake_smpl(golden: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_fake_smpl", golden / "scripts" / "make_fake_smpl.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def keypoints_44(estimates: CropEstimates, golden: Path) -> Tensor:
    """Compute the release's `pred_keypoints_3d`: OpenPose's 25 of smplx' 45 joints, then 19 of a regressor."""
    smpl, extra, _ = fake_smpl(golden).build()
    arrays = {name: torch.from_numpy(np.asarray(smpl[name], dtype=np.float32)) for name in smpl if name[:3] != "bs_"}
    pose = torch.cat([estimates.global_orient[:, None], estimates.body_pose], dim=1)
    vertices, joints = smplx.lbs.lbs(
        estimates.betas, pose, arrays["v_template"], arrays["shapedirs"], arrays["posedirs"].reshape(-1, 207).T,
        arrays["J_regressor"], torch.from_numpy(smpl["kintree_table"][0]), arrays["weights"], pose2rot=False,
    )  # fmt: skip
    kept = np.load(golden / "hmr2" / "kept_small_buffers.npz")
    on_skin = torch.from_numpy(kept["smpl.vertex_joint_selector.extra_joints_idxs"])
    all_joints = torch.cat([joints, vertices[:, on_skin]], dim=1)[:, torch.from_numpy(kept["smpl.joint_map"])]
    return torch.cat([all_joints, smplx.lbs.vertices2joints(torch.from_numpy(extra).float(), vertices)], dim=1)


def watched(network: HMR2) -> dict[str, Tensor]:
    """Keep the tensors on the way through the network, in its order, that the reference numbers have as `mid.`."""
    found: dict[str, Tensor] = {}
    blocks, head = network.backbone.blocks, network.smpl_head
    each: dict[str, tuple[torch.nn.Module, Callable[[Tensor], Tensor]]] = {
        "patch_conv[:, ::160]": (network.backbone.patch_embed["proj"], lambda x: x[:, ::160]),
        **{f"block{i:02}[:, ::16, ::80]": (blocks[i], lambda x: x[:, ::16, ::80]) for i in (0, 1, 15, 31)},
        "backbone[:, ::80]": (network.backbone, lambda x: x.mT.unflatten(2, (16, 12))[:, ::80]),
        "token_out": (head.transformer.transformer, lambda x: x),
        "decpose": (head.decpose, lambda x: x),
        "decshape": (head.decshape, lambda x: x),
        "deccam": (head.deccam, lambda x: x),
    }
    for name, (module, cut) in each.items():

        def keep(_: torch.nn.Module, __: object, out: Tensor, name: str = name, cut: Callable = cut) -> None:
            found[f"mid.{name}"] = cut(out)

        module.register_forward_hook(keep)
    return found


def test_golden_forward_pass(golden: Path) -> None:
    network = official_network(golden)
    images = torch.randn((2, 3, 256, 256), generator=torch.Generator().manual_seed(0))
    check = np.load(golden / "hmr2" / "input_check.npz")
    np.testing.assert_array_equal(images[:, :, : check["first"].shape[2], : check["first"].shape[3]], check["first"])
    on_the_way = watched(network)
    with torch.inference_mode():
        found = network(images)
    expected = {name: torch.from_numpy(v) for name, v in np.load(golden / "hmr2" / "outputs.npz").items()}
    # Off the axis 4D-Humans knows no camera; on it `in_camera` is its formula.
    squares = torch.tensor([[128.0, 128.0, 256.0]]).expand(2, 3)
    bodies = in_camera(found, squares, intrinsics_matrix(5000.0, 5000.0, 128.0, 128.0), load_body())
    points = keypoints_44(found, golden)
    placed = points + bodies.transl[:, None]
    ours = {
        "pred_smpl_params.global_orient": found.global_orient[:, None],
        "pred_smpl_params.body_pose": found.body_pose,
        "pred_smpl_params.betas": found.betas,
        "pred_cam": found.cam,
        "pred_keypoints_3d": points,
        "pred_keypoints_2d": placed[..., :2] / placed[..., 2:] * 5000 / 256,
    }
    for name, value in {**on_the_way, **ours}.items():
        torch.testing.assert_close(value, expected[name], atol=5e-5, rtol=0.0, msg=lambda m, n=name: f"{n}: {m}")
    torch.testing.assert_close(bodies.transl, expected["pred_cam_t"], atol=5e-5, rtol=1e-5)  # metres; z is about 40
    torch.testing.assert_close(bodies.global_orient, found.global_orient)


@pytest.fixture
def network() -> HMR2:
    return HMR2(TINY).eval()


def crops(count: int, rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(rng.integers(0, 256, (count, 256, 256, 3), dtype=np.uint8))


def test_estimates_are_proper_and_do_not_depend_on_the_batch(network: HMR2, rng: np.random.Generator) -> None:
    regressor = HMR2Regressor(network, load_body())
    assert isinstance(regressor, BodyRegressor)
    some = crops(3, rng)
    found = regressor.estimate(some)
    for rotations in (found.global_orient, found.body_pose):
        torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3).expand_as(rotations), atol=1e-5, rtol=0.0)
        torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(rotations.shape[:-2]))
    torch.testing.assert_close(regressor.estimate(some[1:2]).body_pose, found.body_pose[1:2], atol=1e-5, rtol=0.0)
    assert (found.betas[0] - found.betas[1]).abs().max() > 1e-6


def test_the_sides_are_not_looked_at(network: HMR2, rng: np.random.Generator) -> None:
    regressor, some = HMR2Regressor(network, load_body()), crops(1, rng)
    found = regressor.estimate(some).cam
    some[:, :, :32], some[:, :, -32:] = 0, 255
    torch.testing.assert_close(regressor.estimate(some).cam, found, atol=0.0, rtol=0.0)
    some[:, :, 32:40] = 0
    assert (regressor.estimate(some).cam - found).abs().max() > 0


def test_the_network_sees_colours_as_imagenets_networks_do(network: HMR2, rng: np.random.Generator) -> None:
    """Red, green and blue have means and deviations of their own; torchvision has them too."""
    from torchvision.transforms._presets import ImageClassification

    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    some = crops(1, rng)
    expected = torch.from_numpy(((some.numpy() / 255 - mean) / std).transpose(0, 3, 1, 2)).float()
    torch.testing.assert_close(normalize(some), expected, atol=1e-6, rtol=0.0)
    theirs = ImageClassification(crop_size=256, resize_size=256)(some.permute(0, 3, 1, 2))
    torch.testing.assert_close(theirs, expected, atol=1e-6, rtol=0.0)
    found = HMR2Regressor(network, load_body()).estimate(some)
    torch.testing.assert_close(found.cam, network(expected).cam, atol=1e-5, rtol=0.0)


def test_layer_norms_add_the_authors_epsilons_to_the_variance(network: HMR2) -> None:
    """The vision transformer has 1e-6, the decoder torch's own 1e-5; tokens that vary little show which."""
    norms = {name: module for name, module in network.named_modules() if isinstance(module, torch.nn.LayerNorm)}
    assert len(norms) == 2 * TINY.depth + 1 + 3 * TINY.head_depth
    for name, norm in norms.items():
        token = 1e-3 * torch.randn(norm.normalized_shape)
        eps = 1e-6 if name.startswith("backbone.") else 1e-5
        exact = token.double()
        expected = (exact - exact.mean()) / (exact.var(correction=0) + eps).sqrt()
        torch.testing.assert_close(norm(token).double(), expected, atol=1e-4, rtol=0.0, msg=name)


def test_bf16_rounds_the_backbone_alone(network: HMR2, rng: np.random.Generator) -> None:
    some = crops(2, rng)
    exact = HMR2Regressor(network, load_body()).estimate(some)
    rounded = HMR2Regressor(network, load_body(), bf16=True)
    found = rounded.estimate(some)
    assert found.body_pose.dtype == torch.float32
    assert {p.dtype for p in network.smpl_head.parameters()} == {torch.float32}
    assert network.backbone.blocks[0].attn.qkv.weight.dtype == torch.bfloat16
    assert 0 < (found.body_pose - exact.body_pose).abs().max() < 0.02


def test_answers_that_are_no_numbers_are_refused(network: HMR2, rng: np.random.Generator) -> None:
    torch.nn.init.constant_(network.smpl_head.deccam.bias, torch.nan)
    with pytest.raises(InputError, match="answers NaN"):
        HMR2Regressor(network, load_body()).estimate(crops(1, rng))


def test_a_compiled_network_estimates_the_same(
    network: HMR2, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """The network is traced as `torch.compile` does; C++ of it, which would take a minute, is not made.

    The tests' own shape checks cannot be traced, so there are several graphs here.
    """
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(HMR2, "compile", functools.partialmethod(HMR2.compile, backend=keep))
    some = crops(2, rng)
    plain = HMR2Regressor(network, load_body()).estimate(some)
    assert graphs == []
    compiled = HMR2Regressor(network, load_body(), compiled=True).estimate(some)
    assert graphs
    for name, value in vars(plain).items():
        torch.testing.assert_close(getattr(compiled, name), value, atol=1e-5, rtol=0.0)


def write(path: Path, body: str, network: HMR2, **described: object) -> Path:
    state = {name: value.half() for name, value in network.state_dict().items()}
    path.write_bytes(weights_bytes(state, hmr2.FORMAT, {"config": asdict(network.config), "body": body, **described}))
    return path


def test_own_weights_are_read_and_speak_of_the_default_body(
    tmp_path: Path, network: HMR2, rng: np.random.Generator
) -> None:
    path = write(tmp_path / "own.safetensors", "default", network, motion="some")
    regressor = load_regressor(path)
    assert regressor.body.name == "default"
    some = crops(1, rng)
    found, expected = regressor.estimate(some), HMR2Regressor(network, load_body()).estimate(some)
    torch.testing.assert_close(found.body_pose, expected.body_pose, atol=5e-3, rtol=0.0)  # the file is in half
    with pytest.raises(InputError, match="default body, expected no SMPL file"):
        load_regressor(path, smpl="SMPL_NEUTRAL.pkl")
    with pytest.raises(InputError, match=r"a sha256 is given for .*own.safetensors"):
        hmr2.load_hmr2(path, sha256="ab" * 32)


def test_weights_of_smpl_ask_for_its_file(tmp_path: Path, network: HMR2) -> None:
    path = write(tmp_path / "theirs.safetensors", "smpl", network)
    with pytest.raises(
        InputError, match=r"speaks of SMPL's body, whose file is not given: register at smpl.is.tue.mpg"
    ):
        load_regressor(path)
    with pytest.raises(InputError, match="whose file is not given"):  # before the large file is looked at
        load_regressor(tmp_path / "absent.ckpt")
    with pytest.raises(InputError, match='no body model at "nowhere.pkl"'):
        load_regressor(path, smpl="nowhere.pkl")
    with pytest.raises(InputError, match="expected a file of SMPL but default is of default"):
        load_regressor(path, smpl="default")


@pytest.mark.parametrize(
    ("description", "sentence"),
    [
        ({}, "does not say its sizes"),
        ({"config": {"size": 3}, "body": "default"}, "does not say its sizes"),
        ({"config": {"width": -64}, "body": "default"}, "does not say its sizes"),
    ],
)
def test_weights_without_sizes_are_one_sentence(tmp_path: Path, description: dict, sentence: str) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(weights_bytes({"x": torch.ones(1)}, hmr2.FORMAT, description))
    with pytest.raises(InputError, match=sentence):
        load_regressor(path)
    with pytest.raises(InputError, match="no file of format carescene-hmr2/1"):
        load_regressor(tmp_path / "absent.safetensors")
