"""A second job on an output is refused while the first writes; the output of a killed one is free."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from motion.errors import InputError
from ray_jobs.common import only_writer as module
from ray_jobs.common import storage
from ray_jobs.common.only_writer import LEASES, only_writer, writes_output
from tests.helpers.object_store import bucket

HOLD = """
import sys
from ray_jobs.common.only_writer import only_writer
with only_writer(sys.argv[1]):
    print("held", flush=True)
    input()
"""


@dataclass(frozen=True)
class Config:
    """Settings of a job that writes."""

    output: str


def refused(output: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence), only_writer(output):
        raise AssertionError


def test_a_second_job_on_a_folder_is_refused_until_the_first_ends_or_is_killed(tmp_path: Path) -> None:
    output = tmp_path / "o'b ü?"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(output)], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    refused(str(output), rf"another job writes to .* \(process {holder.pid} on .*: wait for its end")
    holder.kill()
    holder.wait()
    with only_writer(str(output)):
        (output / "result").touch()
    assert (output / "result").exists()


def test_a_job_that_wrote_nothing_leaves_no_folder(tmp_path: Path) -> None:
    @writes_output
    def job(config: Config) -> None:
        assert (tmp_path / "new").exists()
        raise InputError("bad input")

    with pytest.raises(InputError, match="bad input"):
        job(Config(str(tmp_path / "new")))
    assert not (tmp_path / "new").exists()


def test_where_nothing_can_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for output in (tmp_path / "file", tmp_path / "file" / "out", Path("/proc/out")):
        refused(str(output), f"cannot write to {output}: .*; choose another --output")


def test_a_second_job_on_a_uri_is_refused_and_a_killed_ones_lease_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RENEWED_S", 1.0)
    monkeypatch.setattr(module, "STALE_S", 5.0)
    monkeypatch.setattr(module, "POLL_S", 1.2)
    with bucket() as store:
        with only_writer(f"{store}/run"):
            refused(f"{store}/run", rf"another job writes to {store}/run \(it renews")
        storage.write_bytes(f"{store}/run/{LEASES}/killed", b"process 1")
        with only_writer(f"{store}/run"):
            assert set(module._leases(f"{store}/run")).isdisjoint({"killed"})
        assert not module._leases(f"{store}/run")
        refused("s3://absent/run", "cannot write to s3://absent/run: .*check the URI and your credentials")
    refused("nonsense://a", "cannot write to nonsense://a")


def test_the_readers_process_is_not_the_writer(tmp_path: Path) -> None:
    with only_writer(str(tmp_path)):
        assert f"process {os.getpid()} on " in (tmp_path / ".writer").read_text(encoding="utf-8")
