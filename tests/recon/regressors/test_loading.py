"""Body networks by the name that a user gives: files of weights, or a function of the user's own."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from motion.errors import InputError
from recon.regressors import load_regressor

MODULE = """
from dataclasses import dataclass, replace
from motion.body import Body
@dataclass
class Own:
    body: Body
    crop_size: int = 64
    device: str = "cpu"
    bf16: bool = False
    def estimate(self, crops): ...
def load(body, device, bf16): return Own(body, 64, device, bf16)
def other(body, device, bf16): return Own(replace(body, name="smpl-female"))
def nothing(body, device, bf16): return 3
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own_bodies.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    del sys.modules["own_bodies"]


@pytest.mark.usefixtures("own_module")
def test_a_function_of_the_users_own_is_given_body_device_and_precision() -> None:
    loaded = load_regressor("own_bodies:load", device="meta", bf16=True)
    assert (loaded.body.name, loaded.device, loaded.bf16) == ("default", "meta", True)


@pytest.mark.usefixtures("own_module")
def test_what_it_returns_is_checked() -> None:
    with pytest.raises(InputError, match="own_bodies:other speaks of the body smpl-female, expected default"):
        load_regressor("own_bodies:other")
    with pytest.raises(InputError, match="what own_bodies:nothing loaded is of type int and lacks body"):
        load_regressor("own_bodies:nothing")
    with pytest.raises(InputError, match="no body model at"):
        load_regressor("own_bodies:load", smpl="nowhere.pkl")


def test_other_names_are_weights(tmp_path: Path) -> None:
    assert load_regressor().crop_size == 256, "the stand-in ships"
    with pytest.raises(InputError, match=r"no file of format carescene-hmr2/1 at .*absent\.safetensors"):
        load_regressor(tmp_path / "absent.safetensors")
