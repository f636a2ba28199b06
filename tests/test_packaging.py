"""pyproject.toml and cluster/requirements.lock agree, and the lock installs anywhere."""

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPO = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
LOCK_LINES = (REPO / "cluster" / "requirements.lock").read_text().splitlines()
PINS = [line for line in LOCK_LINES if not line.startswith("#")]
# `body` only exports the default body anew: the result is in the repo, so the lock need not hold it.
LOCKED_EXTRAS = [extra for extra in PROJECT["optional-dependencies"] if extra != "body"]
REQUIREMENTS = PROJECT["dependencies"] + [
    line for extra in LOCKED_EXTRAS for line in PROJECT["optional-dependencies"][extra]
]


def locked_versions() -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in (pin.split("==") for pin in PINS)}


@pytest.mark.parametrize("pin", PINS)
def test_every_line_pins_a_name_to_a_version(pin: str) -> None:
    """No address, path or editable install: the lock must hold on any machine and with any mirror."""
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+]+", pin)


def test_no_package_is_pinned_twice() -> None:
    assert len(locked_versions()) == len(PINS)


@pytest.mark.parametrize("line", REQUIREMENTS)
def test_lock_satisfies_the_project(line: str) -> None:
    requirement = Requirement(line)
    version = locked_versions().get(canonicalize_name(requirement.name))
    assert version is not None, f"{requirement.name} is not in the lock"
    assert version in requirement.specifier


@pytest.mark.parametrize("name", [Requirement(line).name for line in REQUIREMENTS])
def test_tests_run_on_the_locked_version(name: str) -> None:
    assert distribution(name).version == locked_versions()[canonicalize_name(name)]


@pytest.mark.parametrize("name", ["chumpy", "anny", "carescene"])
def test_lock_leaves_out(name: str) -> None:
    assert name not in locked_versions()
