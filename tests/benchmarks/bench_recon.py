"""Time HMR2.0 in bf16 and the fit of persons on this machine: `make bench-recon`.

The last line is JSON: `hmr2_bf16_speedup` (images/s in bf16 over those in fp32, ViT-H, alternating in one run) and
`fit_person_frames_per_s` (persons times frames a second in optimisation mode, 2 persons, 100 frames), with what they
were made of.
"""

import json

from tests.benchmarks.bench_recon_fit import fit_person_frames_per_s
from tests.benchmarks.bench_recon_hmr2 import hmr2_bf16_speedup


def main() -> None:
    """Run the parts, one after the other, and print their ratios as JSON."""
    fit = fit_person_frames_per_s()
    hmr2 = hmr2_bf16_speedup()
    rounded = {f"hmr2_{name}": round(value, 3) for name, value in hmr2.items() if name != "speedup"}
    print(
        json.dumps({"hmr2_bf16_speedup": round(hmr2["speedup"], 3), "fit_person_frames_per_s": round(fit, 2)} | rounded)
    )


if __name__ == "__main__":
    main()
