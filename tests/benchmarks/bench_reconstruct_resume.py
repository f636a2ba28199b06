"""Reconstruction of many sequences by `ray job submit`, stopped and submitted again."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from ray_jobs.common import storage
from ray_jobs.common.parts import finished
from ray_jobs.reconstruct import KINDS
from ray_jobs.reconstruct.job import list_places
from ray_jobs.reconstruct.stages import name_of
from tests.helpers.jobs import free_port

REPO = Path(__file__).parents[2]
STOPPED_AT = 100
"""Sequences that are done when the job is stopped."""


def stopped_and_resumed(rooms: Path, output: Path) -> dict[str, float]:
    """Measure the seconds of a job that is stopped once, those of finding what is missing, and the files it leaves."""
    with head_node(output.parent / "ray") as environment:
        began = time.perf_counter()
        name = submit(environment, rooms, output, "--no-wait")
        while len(done(rooms, output)) < STOPPED_AT:
            time.sleep(1)
        call_ray(environment, "job", "stop", name)
        stopped = time.perf_counter()
        there = len(done(rooms, output))
        found = time.perf_counter()
        submit(environment, rooms, output)
        ended = time.perf_counter()
    names, files = done(rooms, output), [path for path in output.rglob("*") if path.is_file()]
    rows = [
        row for path in (output / "motions").iterdir() for row in storage.read_table(str(path)).column("id").to_pylist()
    ]
    assert sorted(rows) == sorted(names), "a sequence is missing or there twice"
    return {
        "submitted_rows": len(rows),
        "submitted_rows_before_the_stop": there,
        "submitted_seconds_before_the_stop": stopped - began,
        "submitted_seconds_after_it": ended - found,
        "submitted_seconds_to_find_what_is_missing": found - stopped,
        "submitted_files": len(files),
        "submitted_files_of_motions": len(list((output / "motions").iterdir())),
    }


def done(rooms: Path, output: Path) -> list[str]:
    """List the sequences that need not be reconstructed again."""
    published, waiting = finished(str(output), KINDS, [name_of(place) for place in list_places(str(rooms))])
    return [*published, *waiting]


def submit(environment: dict[str, str], rooms: Path, output: Path, *options: str) -> str:
    """Submit the job and return its name, at its end unless an option says otherwise."""
    job = ("python", "-m", "ray_jobs.reconstruct", "--rooms", str(rooms), "--output", str(output))
    said = call_ray(environment, "job", "submit", *options, "--working-dir", ".", "--", *job)
    (name, *_) = re.findall(r"raysubmit_\w+", said)
    return str(name)


def call_ray(environment: dict[str, str], *command: str) -> str:
    """Run `ray` and return what it prints."""
    call = ["ray", *command]
    return subprocess.run(call, cwd=REPO, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


@contextmanager
def head_node(folder: Path) -> Iterator[dict[str, str]]:
    """Start a head node of this machine and give the environment that submits to it."""
    dashboard, token = free_port(), folder.with_suffix(".token")
    token.write_text("0123456789abcdef0123456789abcdef")
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    start = ("--head", "--num-cpus=4", f"--port={free_port()}", "--dashboard-host=127.0.0.1", f"--temp-dir={folder}")
    ports = (f"--dashboard-port={dashboard}", f"--ray-client-server-port={free_port()}")
    call_ray(environment, "start", *start, *ports)
    try:
        yield environment
    finally:  # not `ray stop`, which ends every Ray process on the machine
        for process in psutil.process_iter(["cmdline"]):
            if str(folder) in str(process.info["cmdline"]):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
