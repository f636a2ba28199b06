"""Shared fixtures of all tests: a quiet offline environment, seeds, reference data beside the repo, one Ray cluster.

Tests that compare with the reference numbers beside the repo use the `golden` fixture and have `golden` in their name,
so that `-k golden` selects just them; they skip where that folder is absent, or fail where `REFERENCES` demands it.
"""

import os
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

# Read when torch, ray and transformers are first imported, here or in a process that a test starts.
os.environ.update(
    HF_HUB_OFFLINE="1",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_TRAIN_HEALTH_CHECK_INTERVAL_S="0.1",  # the default of 2 s is what each report() then waits
    DS_ACCELERATOR="cpu",
    TOKENIZERS_PARALLELISM="false",
)
if "PYTEST_XDIST_WORKER" in os.environ:  # one test process a core: more threads would only wait for one another
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import hypothesis
import jaxtyping
import numpy as np
import pytest
import torch

if TYPE_CHECKING:
    from motion.body import Body

# An example takes as long as the machine is busy.
hypothesis.settings.register_profile("carescene", deadline=None)
hypothesis.settings.load_profile("carescene")
# The shape checks compiled into a `__main__` that a test runs here would be cached as those of the plain program.
sys.dont_write_bytecode = True

REPO = Path(__file__).resolve().parent.parent
SHARED = REPO.parent / "shared"
REFERENCES = "CARESCENE_REFERENCES"
"""Variable that, set to "required", makes a test fail whose reference data are missing, instead of skip."""
CLIPS = ("humanoid3d_walk", "humanoid3d_run", "humanoid3d_kick")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test that uses `golden` and does not say so in its name."""
    for item in items:
        name = getattr(item, "originalname", item.name)
        if "golden" in getattr(item, "fixturenames", ()) and "golden" not in name:
            raise pytest.UsageError(f"{item.nodeid} uses the fixture golden, so its name must contain golden")


def reference_folder(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        reason = f"no folder shared/{name} beside the repo"
        if os.environ.get(REFERENCES) == "required":
            pytest.fail(f"{reason}, and {REFERENCES}=required says that there is one")
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """Return the folder of reference numbers computed by the original implementations."""
    return reference_folder("golden")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of small samples of the real data sets."""
    return reference_folder("data")


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Give every test the same random weights, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    """Return NumPy's random numbers, the same in every run."""
    return np.random.default_rng(0)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Switch the tests' runtime shape checks off, to meet the product's own as a user does."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def body() -> "Body":
    """Load the default body."""
    from motion.body import load_body

    return load_body()


class Ended(NamedTuple):
    """Exit status and output of a program."""

    status: object
    out: str
    err: str


@pytest.fixture
def run_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Ended]:
    """Run a module with arguments in this process as `python -m` does, in the test's own folder."""
    monkeypatch.chdir(tmp_path)

    def run(module: str, *arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        status: object = 0
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            status = ended.code
        return Ended(status, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def own_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an empty folder from which Ray's workers can import."""
    return tmp_path_factory.mktemp("own_packages")


@pytest.fixture(scope="session")
def ray_cluster(own_packages: Path) -> Iterator[None]:
    """Start one local Ray cluster of 4 logical CPUs (Ray Data deadlocks on 2) for all tests that ask for it."""
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="warning",
        object_store_memory=500_000_000,
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join((str(REPO), str(own_packages)))}},
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a folder with three of DeepMimic's clips."""
    from motion.datasets import deepmimic

    folder = tmp_path_factory.mktemp("clips")
    for clip in deepmimic.list_clips():
        if Path(clip.files[0]).stem in CLIPS:
            shutil.copy(clip.files[0], folder)
    return folder


@pytest.fixture(scope="session")
def prepared(ray_cluster: None, clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepare the three clips as data to train on."""
    from ray_jobs.prepare import PrepareConfig, prepare

    output = tmp_path_factory.mktemp("prepared")
    prepare(PrepareConfig(str(output), (f"deepmimic:{clip_folder}",)))
    return output
