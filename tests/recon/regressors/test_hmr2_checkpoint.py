"""Checkpoints in the authors' format, which are read without running anything in them."""

import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from motion.errors import InputError
from motion.weights import sha256_of
from recon.regressors import HMR2, HMR2Config, hmr2
from recon.regressors.hmr2 import read_official

SMALL = HMR2Config(width=32, depth=1, heads=2, head_width=16, head_depth=1, head_heads=2, head_dim=8, head_mlp=16)
NAME = "epoch=35-step=1000000.ckpt"


class CfgNode(dict):
    """Configuration like yacs', which the release's hyper_parameters hold: a class of another library."""


class Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.marker}",)


def description(**head: object) -> dict:
    decoder = {"depth": 1, "heads": 2, "mlp_dim": 16, "dim_head": 8, "context_dim": 32, "norm": "layer"}
    smpl_head = {"TYPE": "transformer_decoder", "IN_CHANNELS": 2048, "TRANSFORMER_DECODER": decoder, **head}
    return {"MODEL": {"IMAGE_SIZE": 256, "BACKBONE": {"TYPE": "vit"}, "SMPL_HEAD": smpl_head}}


def state() -> dict[str, Tensor]:
    own = {name: torch.randn_like(value) for name, value in HMR2(SMALL).state_dict().items()}
    theirs = {"discriminator.D_conv1.weight": torch.ones(2, 2), "smpl.faces_tensor": torch.ones(3, dtype=torch.int64)}
    return {**own, **theirs, "initialized": torch.tensor(True)}


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the folder of a small release; `save` puts a checkpoint into it."""
    monkeypatch.setattr(hmr2, "OFFICIAL", SMALL)
    (tmp_path / "model_config.yaml").write_text(yaml.safe_dump(description()))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path


def save(release: Path, content: object) -> Path:
    path = release / "checkpoints" / NAME
    torch.save(content, path)
    return path


def test_lightning_checkpoint_is_read_and_converted_once(release: Path) -> None:
    weights = state()
    hyper = {
        "cfg": CfgNode(MODEL=CfgNode(IMAGE_SIZE=256)),
        "optimizer": torch.optim.SGD([torch.nn.Parameter(torch.ones(1))]),
    }
    path = save(release, {"epoch": 35, "state_dict": weights, "hyper_parameters": hyper, "path": Path("/tmp")})
    network = read_official(path)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, weights[name], atol=0.0, rtol=0.0)
    converted = path.with_suffix(".safetensors")
    assert sorted(p.name for p in path.parent.iterdir()) == [NAME, converted.name]
    digest = sha256_of(path)
    path.unlink()
    torch.testing.assert_close(read_official(path, digest).state_dict(), network.state_dict())
    with pytest.raises(InputError, match="sha256"):
        read_official(path, "0" * 64)
    again, body = hmr2.read_network(converted)
    assert (asdict(again.config), body) == (asdict(SMALL), "smpl")


def test_newer_checkpoint_is_converted_anew(release: Path) -> None:
    path = save(release, {"state_dict": state()})
    read_official(path)
    changed = state()
    save(release, {"state_dict": changed})
    later = path.with_suffix(".safetensors").stat().st_mtime + 5
    os.utime(path, (later, later))
    torch.testing.assert_close(read_official(path).smpl_head.init_cam, changed["smpl_head.init_cam"])


def test_views_and_parameters_are_tensors_too(release: Path) -> None:
    weights = state()
    proj = "backbone.blocks.0.attn.proj.weight"
    weights[proj] = torch.nn.Parameter(torch.randn(64, 64)[::2, 32:].T)
    network = read_official(save(release, {"state_dict": weights}))
    torch.testing.assert_close(network.state_dict()[proj], weights[proj].detach())


def test_hostile_pickle_runs_nothing(release: Path) -> None:
    marker = release / "ran"
    path = save(release, {"state_dict": state(), "hyper_parameters": Hostile(marker)})
    read_official(path)
    assert not marker.exists()
    hidden = save(release, {"state_dict": {**state(), "backbone.pos_embed": Hostile(marker)}})
    path.with_suffix(".safetensors").unlink()
    with pytest.raises(InputError, match=r"something else than a tensor as 'backbone.pos_embed'"):
        read_official(hidden)
    assert not marker.exists()


def without(name: str) -> Callable[[Path], None]:
    def damage(release: Path) -> None:
        save(release, {"state_dict": {key: value for key, value in state().items() if key != name}})

    return damage


def with_also(name: str) -> Callable[[Path], None]:
    return lambda release: save(release, {"state_dict": {**state(), name: torch.ones(1)}}) and None


def truncated(release: Path) -> None:
    path = save(release, {"state_dict": state()})
    path.write_bytes(path.read_bytes()[:-2000])


def flipped(release: Path) -> None:
    """Flip one bit of a tensor's bytes, which the zip's checksum shows."""
    path = save(release, {"state_dict": state()})
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def rewrite(path: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            changed = change(name, content)
            if changed is not None:
                archive.writestr(name, changed)


def rewritten(change: Callable[[str, bytes], bytes | None]) -> Callable[[Path], None]:
    return lambda release: rewrite(save(release, {"state_dict": state()}), change)


def shared_bytes(release: Path) -> None:
    """Write many tensors of the same bytes, which would take more memory than the file."""
    whole = torch.ones(64, 64, 64)
    save(release, {"state_dict": {**state(), **{f"backbone.{k}": whole for k in range(99)}}})


def second_pickle(release: Path) -> None:
    """Add another data.pkl, in a deeper folder, which is to be ignored."""
    save(release, {"state_dict": {}})
    with zipfile.ZipFile(release / "checkpoints" / NAME, "a") as archive:
        archive.writestr("other/data/data.pkl", b"")


def huge_tensor(release: Path) -> None:
    """Write a tensor of few bytes that claims to have a million million numbers."""
    small = torch.ones(1).as_strided((10**6, 10**6), (0, 0))
    save(release, {"state_dict": {**state(), "backbone.pos_embed": small}})


def overlong_tensor(release: Path) -> None:
    """Write a tensor whose strides lead beyond its bytes."""
    path = save(release, {"state_dict": {**state(), "backbone.pos_embed": torch.ones(5).as_strided((2, 2), (3, 1))}})
    rewrite(path, lambda name, content: content.replace(b"K\x03K\x01\x86", b"K\x63K\x01\x86"))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda release: None, "there is no checkpoint at"),
        (lambda release: (release / "checkpoints" / NAME).write_bytes(b""), "damaged or no PyTorch checkpoint"),
        (lambda release: (release / "checkpoints" / NAME).write_bytes(pickle.dumps({})), "no PyTorch checkpoint"),
        (lambda release: save(release, [1]), "holds no state_dict"),
        (lambda release: save(release, {"model": {}}), "holds no state_dict"),
        (without("smpl_head.decpose.bias"), "lacks smpl_head.decpose.bias"),
        (with_also("smpl_head.extra"), "holds smpl_head.extra too"),
        (truncated, "damaged"),
        (flipped, "damaged"),
        (rewritten(lambda name, content: None if name.endswith("data/3") else content), "bytes of .* are missing"),
        (rewritten(lambda name, content: content[:-4] if name.endswith("data/3") else content), "does not fit"),
        (rewritten(lambda name, content: content[:-50] if name.endswith("data.pkl") else content), "pickle"),
        (rewritten(lambda name, content: b"big" if name.endswith("byteorder") else content), "byte order"),
        (huge_tensor, "bytes of tensors do not fit into it"),
        (shared_bytes, "bytes of tensors do not fit into it"),
        (second_pickle, "lacks backbone"),
        (overlong_tensor, "backbone.pos_embed does not fit into its bytes"),
        (
            lambda release: save(release, {"state_dict": state()}) and (release / "model_config.yaml").unlink(),
            "no model_",
        ),
    ],
)
def test_damaged_file_is_one_sentence(release: Path, damage: Callable[[Path], None], sentence: str) -> None:
    damage(release)
    path = release / "checkpoints" / NAME
    with pytest.raises(InputError, match=sentence) as raised:
        read_official(path)
    assert "\n" not in str(raised.value)
    assert not path.with_suffix(".safetensors").exists()


def test_wrong_sum_stops_before_anything_is_read(release: Path) -> None:
    path = save(release, {"state_dict": state()})
    with pytest.raises(InputError, match="download it again"):
        read_official(path, "ab" * 32)
    read_official(path, sha256_of(path).upper())


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({}, "MODEL.IMAGE_SIZE = None, expected 256"),
        (description(TYPE="mlp"), "TYPE = 'mlp', expected 'transformer_decoder'"),
        (description(TRANSFORMER_INPUT="mean_shape"), "TRANSFORMER_INPUT = 'mean_shape', expected 'zero'"),
        (description(TRANSFORMER_DECODER={"depth": 4}), "TRANSFORMER_DECODER.depth = 4, expected 1"),
    ],
)
def test_other_network_is_named(release: Path, config: dict, sentence: str) -> None:
    (release / "model_config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match=sentence):
        read_official(save(release, {"state_dict": state()}))


@pytest.mark.parametrize(
    "content", ["MODEL: !!python/object/apply:os.system ['true']", "MODEL: 2001-99-99", "MODEL: " + 9999 * "["]
)
def test_yaml_that_is_not_plain_is_refused(release: Path, content: str) -> None:
    (release / "model_config.yaml").write_text(content)
    with pytest.raises(InputError, match="no plain YAML"):
        read_official(save(release, {"state_dict": state()}))
