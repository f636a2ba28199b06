"""Work that hangs ends its process, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).parents[3]
READING = """
import sys, time
from pathlib import Path

from ray_jobs.common.watchdog import in_time

def read(place):
    return Path(place).read_text()

with in_time(1.0, "reading the first"):
    print(read(sys.argv[1]))
time.sleep(1.5)  # what has ended is no longer watched
with in_time(0.5, "reading the second"):
    read(sys.argv[2])
"""


def test_a_file_that_is_never_read_to_its_end_ends_the_process(tmp_path: Path) -> None:
    file, pipe = tmp_path / "file", tmp_path / "pipe"
    file.write_text("content")
    os.mkfifo(pipe)
    call = [sys.executable, "-u", "-c", READING, str(file), str(pipe)]
    ended = subprocess.run(call, cwd=REPO, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (1, "content\n")
    assert "reading the second has not ended within 0.5 s: this process ends" in ended.stderr
    assert ", line 8 in read" in ended.stderr
