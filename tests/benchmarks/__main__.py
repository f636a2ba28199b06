"""Run benchmarks, each of which writes its table in tests/benchmarks/results.

    python -m tests.benchmarks joints prepare     # these, one after the other
    python -m tests.benchmarks                    # all but `recipes`, which takes hours and has options of its own

`joints`, `prepare`, `evaluation`, `splits`, `recon_errors`, `floors` and `recipes` need samples of the real data sets
beside the repository.
"""

import importlib
import sys

from motion.errors import command_line

NAMES = (
    "joints",
    "kinematics",
    "sampling",
    "prepare",
    "evaluation",
    "splits",
    "model",
    "recon",
    "recon_errors",
    "recon_ways",
    "floors",
    "reconstruct",
)


def main(names: list[str]) -> None:
    """Run the benchmarks of these names, all where none is given; an unknown name ends with exit status 2."""
    if unknown := sorted(set(names) - set(NAMES)):
        print(f"error: no benchmark {unknown[0]!r}, expected some of {', '.join(NAMES)}", file=sys.stderr)
        sys.exit(2)
    for name in names or NAMES:
        print(f"== {name}", flush=True)
        importlib.import_module(f"tests.benchmarks.bench_{name}").main()


if __name__ == "__main__":
    command_line.exit_on_bad_input(lambda: main(sys.argv[1:]))
