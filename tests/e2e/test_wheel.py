"""The package as an installed wheel: nothing of the checkout is importable, and the working directory is empty."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

from motion.generator import load_model

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

REPO = Path(__file__).parents[2]
PACKAGES = ("motion", "recon", "ray_jobs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, without a network, from a copy of what it is made of."""
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPO / name, source)
    for name in PACKAGES:
        shutil.copytree(REPO / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(output), str(source))
    (built,) = output.iterdir()
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a virtual environment that has the wheel and sees the locked packages, but no editable install.

    Python follows a .pth file to a folder, but not the .pth files in that folder, one of which leads to the checkout.
    """
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, symlinks=True)
    site = folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    (site / "locked.pth").write_text(sysconfig.get_path("purelib"))
    pip("install", "--no-deps", "--no-index", "--target", str(site), str(wheel))
    return folder / "bin" / "python"


def pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *arguments], check=True, timeout=120)


def run(python: Path, folder: Path, *arguments: str) -> str:
    """Run Python in `folder`, without the environment variables that lead back to the checkout."""
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        [python, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    """Every template, asset, DeepSpeed's configuration and py.typed are in the wheel as well as the modules."""
    files = {path.relative_to(REPO) for name in PACKAGES for path in (REPO / name).rglob("*") if path.is_file()}
    wanted = {str(path) for path in files if "__pycache__" not in path.parts}
    assert {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name} == wanted


def test_the_wheel_trains_from_an_empty_folder(python: Path, prepared: Path, tmp_path: Path) -> None:
    where = run(python, tmp_path, "-c", "import motion, recon, ray_jobs; print(motion.__file__, ray_jobs.__file__)")
    assert all(Path(path).is_relative_to(python.parents[1]) for path in where.split())
    steps = ("--recipe.optim.steps", "2", "--recipe.optim.batch-size", "2")
    run(python, tmp_path, "-m", "ray_jobs.train", "tiny", "--data", str(prepared), "--output", "run", *steps)
    assert load_model(tmp_path / "run" / "model.safetensors").recipe.optim.steps == 2
