"""Time HMR2.0 in bf16 and the fit of persons on this machine: `make bench-recon` writes results/recon_speed.md.

Images/s in bf16 and fp32 are those of ViT-H, alternating in one run; person-frames/s are persons times frames a second
in optimisation mode on one core, of 16 sequences of 2 persons and 100 frames.
"""

from datetime import date
from pathlib import Path

import torch

from tests.benchmarks.bench_recon_fit import fit_person_frames_per_s
from tests.benchmarks.bench_recon_hmr2 import hmr2_bf16_speedup
from tests.benchmarks.results_file import cores

RESULTS = Path(__file__).parent / "results" / "recon_speed.md"


def main() -> None:
    """Run the parts, one after the other, and write their table."""
    alone, together = fit_person_frames_per_s()
    hmr2 = hmr2_bf16_speedup()
    machine = f"{cores()}, torch {torch.__version__}, no GPU"
    rows = (
        ("HMR2.0 (ViT-H), fp32, eager", f"{hmr2['fp32_images_per_s']:.2f} images/s"),
        ("HMR2.0 (ViT-H), bf16", f"{hmr2['bf16_images_per_s']:.2f} images/s, {hmr2['speedup']:.2f} times as many"),
        ("mean joint change by bf16, random weights", f"{hmr2['mean_joint_change_mm']:.2f} mm"),
        ("fitting, one sequence after the other", f"{alone:.1f} person-frames/s"),
        ("fitting, 16 sequences together", f"{together:.1f} person-frames/s, {together / alone:.2f} times as many"),
    )
    table = "".join(f"| {what} | {value} |\n" for what, value in rows)
    text = f"# Reconstruction: speed\n\n{date.today()}, {machine}; `make bench-recon`.\n\n| | |\n|---|---|\n{table}"
    RESULTS.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
