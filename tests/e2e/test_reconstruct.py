"""Bulk reconstruction in a process of its own: everything that can die dies, rooms in a bucket, and a full disk."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.fs
import pytest
import torch
from PIL import Image
from ray.cluster_utils import Cluster

from motion.parquet import resolve
from motion.sequence import read_motions
from ray_jobs.common import storage
from ray_jobs.reconstruct import KINDS, BodyActor, DepthActor, FitActor, ReconstructConfig, decode
from recon.depth.networks import ASSETS
from tests.conftest import REPO
from tests.helpers.object_store import bucket
from tests.helpers.rooms import render

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

SEEDS, COPIES = (1, 2, 3, 4), 10
NAMED = ("id", "scene_id", "provenance")
"""Columns with a sequence's name."""
ROUNDING = 1e-5  # metres, radians
QUICK = ("--mode", "regression", "--fit-actors", "1")
DAY = Path("home/room/day")
POISON, CORRUPT = "home/room/day/4-09", "home/room/day/2-03"
MORTAL = '''
import os
import signal
from pathlib import Path

from recon.regressors import load_regressor

HERE = Path(__file__).parent


class GentleBody:
    """The stand-in network that ships."""

    def __init__(self, body):
        self.network = load_regressor("hmr2_tiny")
        self.body, self.crop_size = self.network.body, self.network.crop_size

    def estimate(self, crops):
        return self.network.estimate(crops)


class MortalBody(GentleBody):
    """Network that kills some processes it starts in, and that of black pictures."""

    def __init__(self, body):
        super().__init__(body)
        with (HERE / "starts").open("a") as file:
            file.write(".")
        if (HERE / "starts").stat().st_size in (1, 3):  # the job's own look at the models, and its first actor
            os.kill(os.getpid(), signal.SIGKILL)

    def estimate(self, crops):
        if (crops.flatten(1).amax(1) == crops.flatten(1).amin(1)).any():
            with (HERE / "deaths").open("a") as file:
                file.write(f"{os.getpid()}\\n")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().estimate(crops)


def load(body, device, bf16):
    return MortalBody(body)


def gentle(body, device, bf16):
    return GentleBody(body)
'''


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Render four rooms."""
    root = tmp_path_factory.mktemp("rooms")
    for seed in SEEDS:
        render(root / DAY / str(seed), seed)
    return root


@pytest.fixture(scope="module")
def many(rooms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Link ten copies of each; one has black pictures, and another no end of its annotations."""
    root = tmp_path_factory.mktemp("many")
    for seed in SEEDS:
        for copy in range(COPIES):
            shutil.copytree(rooms / DAY / str(seed), root / DAY / f"{seed}-{copy:02}", copy_function=os.link)
    for path in (root / POISON / "frames").iterdir():
        black = np.zeros_like(Image.open(path))
        path.unlink()
        Image.fromarray(black).save(path)
    annotations = root / CORRUPT / "annotations.json"
    content = annotations.read_text()
    annotations.unlink()
    annotations.write_text(content[: len(content) // 2])
    return root


@pytest.fixture
def mortal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the network that dies where all processes find it."""
    folder = tmp_path / "packages" / "mortal"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(MORTAL)
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # as in a cluster of ray.cluster_utils
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPO), str(folder.parent)]))
    return folder


def start(rooms: Path | str, output: Path | str, *more: str, **environment: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ray_jobs.reconstruct", "--rooms", str(rooms), "--output", str(output), *more]
    with Path(os.environ["LOG"]).open("ab") as log:
        return subprocess.Popen(command, cwd=REPO, stdout=log, stderr=log, env=os.environ | environment)


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Name the file that gets what jobs say."""
    monkeypatch.setenv("LOG", str(tmp_path / "log.txt"))
    return tmp_path / "log.txt"


def ended(job: subprocess.Popen[bytes], log: Path) -> str:
    """Wait for a job that must succeed; return what it said."""
    assert job.wait(timeout=600) == 0, log.read_text()[-5000:]
    return log.read_text()


def wait_until(happened: Callable[[], Any], job: subprocess.Popen[bytes], log: Path) -> None:
    while not happened():
        assert job.poll() is None, log.read_text()[-5000:]
        time.sleep(0.05)


def rows(output: Path | str, kind: str) -> dict[str, dict[str, Any]]:
    """Read the rows of a kind by id; each must be there once, in whole files, and nothing unfinished beside."""
    folder = Path(output) / kind
    found = [row for path in folder.iterdir() for row in storage.read_table(str(path)).to_pylist()]
    assert len({row["id"] for row in found}) == len(found)
    assert not [path for path in Path(output).rglob("*") if path.name.startswith(".") and path.name != ".writer"]
    return {row["id"]: row for row in found}


def assert_same(row: dict[str, Any], expected: dict[str, Any]) -> None:
    """Assert that a row is another's but for its name, and for the rounding that other batches and threads bring."""
    assert row.keys() == expected.keys()
    for key in row.keys() - set(NAMED):
        value, other = row[key], expected[key]
        if np.asarray(value).dtype.kind == "f":
            np.testing.assert_allclose(value, other, rtol=0, atol=ROUNDING, err_msg=f"{row['id']}: {key}")
        else:
            assert value == other, (row["id"], key)


def test_whatever_dies_the_rows_are_those_of_an_undisturbed_run(
    rooms: Path, many: Path, mortal: Path, tmp_path: Path, log: Path
) -> None:
    """A constructor, three actors, a node and the job itself die, and one sequence kills its process each time."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4})
    try:
        second = cluster.add_node(num_cpus=2)
        output = tmp_path / "out"
        arguments = (many, output, "--regressor", "mortal:load", *QUICK)
        parts = output / "parts" / "motions"
        job = start(*arguments, RAY_ADDRESS=cluster.address)
        wait_until(lambda: parts.exists() and len(list(parts.iterdir())) >= 2, job, log)
        for stage in ("FitActor", "DepthActor", "BodyActor"):
            wait_until(lambda stage=stage: kill_one(stage), job, log)
        cluster.remove_node(second, allow_graceful=False)
        wait_until(lambda: len(list(parts.iterdir())) >= 6, job, log)
        os.kill(job.pid, signal.SIGKILL)
        job.wait()
        said = ended(start(*arguments, RAY_ADDRESS=cluster.address), log)
    finally:
        cluster.shutdown()
    assert "40 sequences, " in said
    reasons = dict(storage.read_rows(str(output / "rejected"), ("id", "reason")))
    assert reasons.keys() == {POISON, CORRUPT}
    assert reasons[POISON].startswith(f"{POISON}: its process died 3 times in the body stage")
    assert "annotations.json: is not JSON" in reasons[CORRUPT]
    assert (mortal / "starts").stat().st_size > 4
    assert not (output / "attempts").exists()
    assert not (output / "parts").exists()
    expected_rows = reconstructed_here(rooms, tmp_path / "undisturbed")
    for kind in KINDS:
        expected, found = expected_rows[kind], rows(output, kind)
        assert len(found) == len(SEEDS) * COPIES - 2
        for name, row in found.items():
            assert_same(row, expected[name.partition("-")[0]])


def reconstructed_here(rooms: Path, output: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Reconstruct in this process, on one thread as the actors, sequence by sequence; return the rows of each kind."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config = ReconstructConfig(str(rooms), str(output), mode="regression", regressor="mortal:gentle")
    stages = [actor(config) for actor in (BodyActor, DepthActor, FitActor)]
    for folder in sorted((rooms / DAY).iterdir()):
        row = decode({"folder": str(folder)}, stages[0].regressor.crop_size, str(output))
        batch = {name: np.array([value]) for name, value in row.items()}
        for stage in stages:
            batch = stage(batch)
    torch.set_num_threads(threads)
    return {kind: rows(output / "parts", kind) for kind in KINDS}


def kill_one(stage: str) -> bool:
    """SIGKILL a process of this test's cluster that runs a stage; False where none does just now."""
    for process in psutil.process_iter():
        if _runs(process, stage):
            process.kill()
            return True
    return False


def _runs(process: psutil.Process, stage: str) -> bool:
    with suppress(psutil.Error):
        words = " ".join(process.cmdline())
        ours = process.environ().get("PYTHONPATH") == os.environ["PYTHONPATH"]
        return words.startswith("ray::") and stage in words and ours
    return False


def test_rooms_weights_and_output_may_lie_in_a_bucket(rooms: Path, tmp_path: Path, log: Path) -> None:
    """All lie on a real S3 server, known from the environment alone; one sequence is damaged there."""
    with bucket() as store:
        here = pa.fs.LocalFileSystem()
        for source, target in (
            (rooms / DAY, f"{store}/rooms/{DAY}"),
            (ASSETS / "depth_tiny_metric", f"{store}/metric"),
        ):
            filesystem, path = resolve(target)
            pa.fs.copy_files(str(source), path, source_filesystem=here, destination_filesystem=filesystem)
        storage.write_bytes(f"{store}/rooms/{DAY}/4/annotations.json", b"{")
        more = (*QUICK, "--metric-depth", f"{store}/metric", "--max-rejected-fraction", "0.3")
        said = ended(start(f"{store}/rooms", f"{store}/out", *more), log)
        assert "4 sequences, 0 of them there before, 1 rejected" in said
        made = read_motions(f"{store}/out/motions")
        assert [motion.id for motion in made] == [f"{DAY}/{seed}" for seed in SEEDS[:3]]
        ((name, reason),) = storage.read_rows(f"{store}/out/rejected", ("id", "reason"))
        assert reason.startswith(f"{store}/rooms/{name}/annotations.json: is not JSON")
        assert b"3 sequences, " in storage.read_bytes(f"{store}/out/reconstruction.html")


@contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[None]:
    """Mount a file system of so many megabytes; skip where that is not allowed."""
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.decode()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_ends_the_job_in_a_sentence_and_it_goes_on_after_room_is_made(
    rooms: Path, tmp_path: Path, log: Path
) -> None:
    with small_disk(tmp_path / "disk", 1):
        output = tmp_path / "disk" / "out"
        job = start(rooms, output, *QUICK)
        assert job.wait(timeout=300) == 2, log.read_text()[-5000:]
        last = next(line for line in reversed(log.read_text().splitlines()) if line.startswith("error: "))
        assert "No space left on device" in last
        assert f"make room in {output}" in last
        left = [path for path in output.rglob("*.parquet") if not path.name.startswith(".")]
        for path in left:
            storage.read_table(str(path))  # whole
        assert not list((output / "rejected").glob("*")), "no sequence is to blame"
        subprocess.run(["mount", "-o", "remount,size=100m", tmp_path / "disk"], check=True)
        assert "4 sequences, " in ended(start(rooms, output, *QUICK), log)
        assert len(rows(output, "motions")) == len(rows(output, "scenes")) == len(SEEDS)
