"""Time the preparation of 804 BVH files, 73 minutes of motion: `python -m tests.benchmarks prepare`.

Writes results/prepare.md. The files are made from Bandai-Namco's positions and rotations beside the repo; the time is
that of the whole job as a user starts it, from an empty folder, Ray's start included.
"""

import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import ray

from motion.sequence import read_motions
from tests.benchmarks.labelled import shared_data
from tests.benchmarks.results_file import cores
from tests.helpers.sources.bvh import write_bandai_namco

REPO = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results" / "prepare.md"
REPEATS = 3
WANTED_S = 240


def main() -> None:
    """Prepare the clips three times and write the table."""
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder))


def measure(tmp_path: Path) -> None:
    """Time the whole job `REPEATS` times and write the table."""
    files = write_bandai_namco(shared_data() / "bandai_namco" / "bandai_namco_30fps.npz", tmp_path / "bvh", None)
    taken = []
    for repeat in range(REPEATS):
        output = tmp_path / str(repeat)
        arguments = ["--output", str(output), "--sources", f"bvh:{tmp_path / 'bvh'}"]
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "ray_jobs.prepare", *arguments], cwd=REPO, check=True, capture_output=True
        )
        taken.append(time.perf_counter() - start)
    clips = read_motions(output / "motions")
    minutes = sum(clip.num_frames / clip.fps for clip in clips) / 60
    machine = f"{cores()}, Ray {ray.__version__}"
    RESULTS.write_text(
        "# Preparing Bandai-Namco's motions from BVH\n\n"
        f"{date.today()}, {machine}; `python -m tests.benchmarks prepare`; median (least–greatest) of {REPEATS}.\n\n"
        "| files | motions | minutes of motion | seconds |\n|---|---|---|---|\n"
        f"| {files} | {len(clips)} | {minutes:.1f} | {sorted(taken)[REPEATS // 2]:.0f} "
        f"({min(taken):.0f}–{max(taken):.0f}) |\n"
    )
    assert max(taken) < WANTED_S


if __name__ == "__main__":
    main()
