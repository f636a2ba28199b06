"""Files of weights: what is written is read, whatever is not as described is refused in one sentence."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from motion.errors import InputError
from motion.features import Normalizer
from motion.weights import (
    Weights,
    normalized_tensors,
    read_checkpoint,
    read_weights,
    save_weights,
    sha256_of,
)

KIND = "carescene-test/1"


def network() -> nn.Module:
    """Weights, biases and a counter, which is no floating-point number."""
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))


def write(path: Path, module: nn.Module, **described: object) -> Path:
    save_weights(path, module.state_dict(), KIND, {"width": 2, **described})
    return path


def test_a_file_holds_weights_description_and_version(tmp_path: Path) -> None:
    trained = network()
    trained.get_buffer("1.num_batches_tracked").fill_(7)
    path = write(tmp_path / "some" / "w.safetensors", trained, names=["a", "b"])
    assert [each.name for each in path.parent.iterdir()] == ["w.safetensors"]
    weights = read_weights(path, KIND, "jobs.train")
    assert weights.description == {"width": 2, "names": ["a", "b"]}
    assert weights.version == hashlib.sha256(path.read_bytes()).hexdigest()[:12] == sha256_of(path)[:12]
    loaded = weights.load_into(network())
    for name, value in trained.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
        assert loaded.state_dict()[name].dtype == value.dtype, name
    assert all(parameter.requires_grad for parameter in loaded.parameters())


def test_half_precision_fills_a_network_that_has_no_memory_yet(tmp_path: Path) -> None:
    trained = network()
    halves = {name: value.half() for name, value in trained.state_dict().items()}
    with torch.device("meta"):
        empty = network()
    loaded = Weights(tmp_path / "theirs.pt", halves).load_into(empty)
    assert loaded is empty
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded[0].weight, trained[0].weight, atol=1e-3, rtol=1e-3)  # type: ignore[index]


def test_a_loaded_network_shares_nothing_with_what_was_read() -> None:
    weights = Weights(Path("w"), network().state_dict())
    weights.load_into(network()).get_parameter("0.bias").data.fill_(9.0)
    assert (weights.tensors["0.bias"] < 9).all()


def test_a_network_and_the_normalizer_of_its_features(tmp_path: Path) -> None:
    trained, normalizer = network(), Normalizer(torch.arange(3.0), torch.arange(3.0) + 1)
    save_weights(tmp_path / "w.safetensors", normalized_tensors(trained, normalizer), KIND, {"width": 2})
    weights, other = read_weights(tmp_path / "w.safetensors", KIND, "jobs.train"), network()
    found = weights.load_normalized(other, num_features=3)
    assert torch.equal(found.mean, normalizer.mean)
    assert torch.equal(found.std, normalizer.std)
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), trained.parameters(), strict=True))
    with pytest.raises(InputError, match=r"has normalizer.mean of shape \(3,\), not \(4,\)"):
        weights.load_normalized(network(), num_features=4)
    weights.tensors["foreign"] = torch.ones(1)
    with pytest.raises(InputError, match="it holds foreign too"):
        weights.load_normalized(network(), num_features=3)


def test_each_difference_is_named() -> None:
    state = network().state_dict()
    del state["0.bias"]
    state["extra"], state["2.bias"] = torch.ones(1), torch.ones(5)
    with pytest.raises(InputError) as error:
        Weights(Path("f.pt"), state).load_into(network())
    assert str(error.value) == (
        "f.pt holds another architecture: it lacks 0.bias, holds extra too, has 2.bias of shape (5,), not (2,); "
        "expected what the authors published"
    )
    with pytest.raises(InputError, match=r"it lacks 0.weight, lacks 0.bias, .*lacks 2.bias; .*its description says"):
        Weights(Path("f.pt"), {}, {"width": 2}).load_into(network())


def test_missing_damaged_and_foreign_files_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"no file of format {KIND} at .*train one with `python -m jobs.train`"):
        read_weights(tmp_path / "absent", KIND, "jobs.train")
    path = write(tmp_path / "w.safetensors", network())
    with pytest.raises(InputError, match=f"says format '{KIND}', expected 'carescene-test/2'"):
        read_weights(path, "carescene-test/2", "jobs.train")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="is damaged or no safetensors file"):
        read_weights(path, KIND, "jobs.train")
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=f"says format None, expected '{KIND}'"):
        read_weights(path, KIND, "jobs.train")
    for metadata in ({}, {"description": "[1"}, {"description": "1"}):
        save_file({"x": torch.zeros(1)}, path, {"format": KIND} | metadata)
        with pytest.raises(InputError, match=r"w\.safetensors has no description of its network, expected a JSON"):
            read_weights(path, KIND, "jobs.train")
    save_file({"x": torch.tensor([1.0, torch.nan])}, path, {"format": KIND, "description": "{}"})
    with pytest.raises(InputError, match=r"holds NaN or infinity in x, expected finite weights"):
        read_weights(path, KIND, "jobs.train")


def test_a_writer_that_fails_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = write(tmp_path / "w.safetensors", network())
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_weights(path, network().state_dict(), KIND, {"width": object()})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_checkpoints_of_others_are_tensors_alone(tmp_path: Path) -> None:
    path, state = tmp_path / "c.pt", network().state_dict()
    torch.save({"state_dict": state, "epoch": 3}, path)
    found = read_checkpoint(path, ["state_dict"])
    assert found.keys() == {"state_dict"}
    assert all(torch.equal(found["state_dict"][name], value) for name, value in state.items())
    with pytest.raises(InputError, match="holds no weights 'ema'"):
        read_checkpoint(path, ["ema"])
    torch.save({"state_dict": state, "path": tmp_path}, path)
    with pytest.raises(InputError, match=r"holds a \S*PosixPath, which could run code"):
        read_checkpoint(path, ["state_dict"])
