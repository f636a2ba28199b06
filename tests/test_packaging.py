"""Agreement of pyproject.toml with cluster/requirements.lock, which installs anywhere."""

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

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


def test_every_line_pins_a_name_to_a_version() -> None:
    """No line holds an address, path or editable install: the lock must hold on any machine and with any mirror."""
    assert [pin for pin in PINS if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+]+", pin)] == []


def test_no_package_is_pinned_twice() -> None:
    assert len(locked_versions()) == len(PINS)


def test_lock_satisfies_the_project() -> None:
    requirements = {canonicalize_name(Requirement(line).name): Requirement(line) for line in REQUIREMENTS}
    locked = locked_versions()
    assert requirements.keys() - locked.keys() == set()
    assert [name for name, requirement in requirements.items() if locked[name] not in requirement.specifier] == []


def test_tests_run_on_the_locked_versions() -> None:
    names = [canonicalize_name(Requirement(line).name) for line in REQUIREMENTS]
    installed = {name: distribution(name).version for name in names}
    assert installed == {name: locked_versions()[name] for name in names}


def test_lock_leaves_out_what_only_the_exporter_needs() -> None:
    assert {"chumpy", "anny", "carescene"} & locked_versions().keys() == set()
