"""Measure the reconstruction's errors on rendered rooms: `python -m tests.benchmarks recon_errors`.

Runs `python -m recon.pipeline --simulate 20 --seed 910000 --report …` twice and keeps its reports as they are:
results/recon.md, whose people move by clips that the networks that ship have learnt from, and results/recon_other.md,
where some move by Bandai-Namco's, which none has seen. Interrupted reports in build/recon go on where they were.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.labelled import shared_data
from tests.helpers.sources.bvh import write_bandai_namco

RESULTS = Path(__file__).parent / "results"
ROOMS, SEED = 20, 910_000
BUILD = Path("build/recon")


def main() -> None:
    """Make both reports."""
    others = shared_data() / "bandai_namco" / "bandai_namco_30fps.npz"
    report("own", RESULTS / "recon.md")
    motions = BUILD / "bandai_namco"
    if not (motions / "card.html").exists():
        files = BUILD / "files"
        write_bandai_namco(others, files, None)
        run("ray_jobs.prepare", "--output", motions, "--sources", f"bvh:{files}")
    report("other", RESULTS / "recon_other.md", "--motions", motions / "motions")


def report(name: str, result: Path, *arguments: object) -> None:
    """Render rooms, reconstruct them and keep the table."""
    folder = BUILD / name
    run("recon.pipeline", "--simulate", ROOMS, "--seed", SEED, "--report", folder, *arguments)
    shutil.copy(folder / "report.md", result)


def run(module: str, *arguments: object) -> None:
    subprocess.run([sys.executable, "-m", module, *map(str, arguments)], check=True)


if __name__ == "__main__":
    main()
