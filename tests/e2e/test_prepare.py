"""Preparing job in a process of its own: killed and started again, and writing to an object store.

`kill -9` of its workers and of the job comes at random moments; the rows are those of an undisturbed run.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

from motion.datasets import deepmimic
from motion.parquet import parquet_files
from motion.sequence import read_motions
from ray_jobs.common.prepared_data import read_normalizer
from ray_jobs.prepare import PrepareConfig, prepare
from tests.helpers.object_store import bucket

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

REPO = Path(__file__).parents[2]
FRAMES, STRIDE = 40, 30
# The job as its command line starts it, but with smaller files, so that there are many moments to die between.
JOB = "import ray_jobs.prepare as job; job.CLIPS_PER_FILE = 2; job.cli.run(job.prepare, job.PrepareConfig, '')"

TWICE = """
import logging, sys
from ray_jobs.common import cli
from ray_jobs.prepare import PrepareConfig, prepare
logging.basicConfig(level="INFO")
cli.connect()
for source in sys.argv[2:]:
    prepare(PrepareConfig(sys.argv[1], (f"deepmimic:{source}",)))
"""


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 44 different clips: windows of DeepMimic's."""
    folder = tmp_path_factory.mktemp("windows")
    for path in (Path(clip.files[0]) for clip in deepmimic.list_clips()):
        frames = json.loads(path.read_text())["Frames"]
        for start in range(0, max(1, len(frames) - FRAMES), STRIDE):
            cut = {"Loop": "none", "Frames": frames[start : start + FRAMES]}
            (folder / f"{path.stem}_{start:04}.txt").write_text(json.dumps(cut))
    return folder


@pytest.fixture(scope="module")
def undisturbed(ray_cluster: None, windows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the job undisturbed, on the tests' cluster; return its output."""
    output = tmp_path_factory.mktemp("undisturbed")
    prepare(PrepareConfig(str(output), (f"deepmimic:{windows}",)))
    return output


def start(windows: Path, output: Path) -> subprocess.Popen:
    arguments = ["--output", str(output), "--sources", f"deepmimic:{windows}"]
    with (output / "log.txt").open("a") as said:
        return subprocess.Popen([sys.executable, "-c", JOB, *arguments], cwd=REPO, stdout=said, stderr=said)


def finish(job: subprocess.Popen) -> int:
    return job.wait(timeout=600)


def rows(output: Path) -> dict[str, bytes]:
    """Read joints by id; assert that every id is there once, and nothing half-written beside."""
    clips = read_motions(output / "motions")
    assert len({clip.id for clip in clips}) == len(clips)
    assert not [path for path in (output / "motions").iterdir() if path.suffix != ".parquet"]
    return {clip.id: clip.joints.tobytes() for clip in clips}


def name_of(process: psutil.Process) -> str:
    """Read a process' name, empty once it has ended; the kernel keeps 15 letters."""
    with suppress(psutil.NoSuchProcess):
        return process.name()
    return ""


def kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()


def kill_job(job: subprocess.Popen) -> None:
    """SIGKILL the job itself; its Ray cluster ends on its own, but for two agents that hold no data."""
    alive = psutil.Process(job.pid).children(recursive=True)
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    deadline = time.monotonic() + 60
    while left := {name_of(process) for process in alive} - {"ray::RuntimeEnvAgent", "ray::DashboardAgent", ""}:
        assert time.monotonic() < deadline, left
        _, alive = psutil.wait_procs(alive, timeout=1)
    for agent in alive:
        kill(agent)


def wait_for_files(job: subprocess.Popen, output: Path, more: int) -> None:
    """Wait until the job has written so many files more."""
    wanted = len(parquet_files(output / "motions")) + more
    while len(parquet_files(output / "motions")) < wanted:
        assert job.poll() is None, log(output)
        time.sleep(0.02)


def kill_a_busy_worker(job: subprocess.Popen) -> None:
    """SIGKILL one of the job's workers; fail where the job ended without any."""
    while job.poll() is None:
        family = psutil.Process(job.pid).children(recursive=True)
        if busy := [process for process in family if name_of(process).startswith("ray::MapBatch")]:
            kill(random.choice(busy))
            return
        time.sleep(0.02)
    raise AssertionError("no worker to kill")


def test_killed_workers_and_a_killed_job_change_nothing(windows: Path, undisturbed: Path, tmp_path: Path) -> None:
    """A worker dies, then the whole job; started again, it loses a worker once more and gives the same rows."""
    job = start(windows, tmp_path)
    wait_for_files(job, tmp_path, 3)
    kill_a_busy_worker(job)
    time.sleep(random.uniform(0, 0.5))  # there must be something left to do
    assert job.poll() is None, log(tmp_path)
    kill_job(job)
    job = start(windows, tmp_path)
    wait_for_files(job, tmp_path, 1)
    kill_a_busy_worker(job)
    assert finish(job) == 0, log(tmp_path)
    assert re.search(r"\(([1-9]\d*) of them there before\)", log(tmp_path)), log(tmp_path)
    assert rows(tmp_path) == rows(undisturbed)
    assert_same_normalizer(tmp_path, undisturbed)


def test_the_output_may_be_a_bucket(clip_folder: Path, tmp_path: Path) -> None:
    """The output is on a real S3 server, known from the environment alone; run again, the job knows what it has."""
    clips = sorted(clip_folder.iterdir())
    sources = [tmp_path / "one", tmp_path / "all"]
    for folder, seen in zip(sources, (clips[:1], clips), strict=True):
        folder.mkdir()
        for path in seen:
            shutil.copy2(path, folder)  # with its time, by which a change is seen
    with bucket() as store:
        output = f"{store}/mimic"
        done = subprocess.run([sys.executable, "-c", TWICE, output, *sources], cwd=REPO, capture_output=True)
        assert done.returncode == 0, done.stderr[-3000:]
        assert b"3 motions (1 of them there before) of 3 clips" in done.stderr
        assert len(read_motions(f"{output}/motions")) == 3
        assert read_normalizer(output).mean.shape == (282,)


def log(output: Path) -> str:
    return (output / "log.txt").read_text()[-3000:]


def assert_same_normalizer(one: Path, other: Path) -> None:
    """Assert equality up to the order in which blocks were merged."""
    first, second = read_normalizer(str(one)), read_normalizer(str(other))
    torch.testing.assert_close(first.mean, second.mean, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(first.std, second.std, atol=1e-6, rtol=1e-5)
