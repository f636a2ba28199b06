"""Check annotated room videos: all that is missing or wrong in each sequence, in one run and without any network.

    python -m recon.teton check rooms

`recon/teton/tree.py` describes the folder. The exit status is 2 where a sequence has faults.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tqdm import tqdm

from motion.errors import InputError, command_line
from recon.teton.checking import find_faults
from recon.teton.tree import list_sequences


@dataclass(frozen=True)
class CheckConfig:
    """Command that checks Teton trees or single sequences."""

    command: Annotated[Literal["check"], tyro.conf.Positional]
    """Work to do; check is all there is."""
    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Roots of Teton trees (ROOT/DEPARTMENT/DEVICE/DATE/DATETIME), or folders of sequences."""


def run(config: CheckConfig) -> None:
    """Print what is wrong in each sequence; raises InputError at the end where anything is, or nothing was found."""
    if not config.folders:
        raise InputError("no folder is given, expected roots of Teton trees or folders of sequences")
    sequences = [found for folder in config.folders for found in find_sequences(folder)]
    bad = 0
    for folder in (bar := tqdm(sequences, desc="check", unit="sequence", disable=None)):
        if faults := find_faults(folder):
            bad += 1
            bar.write("\n  ".join([str(folder), *faults]))
    if bad:
        raise InputError(f"{bad} of {len(sequences)} sequences have faults; `recon/teton/tree.py` describes the format")
    print(f"sequences: {len(sequences)}, all without faults")


def find_sequences(folder: Path) -> list[Path]:
    """List the sequences of a root, or the folder itself where it is one; raises InputError where it is neither."""
    if found := list_sequences(folder):
        return found
    if (folder / "annotations.json").is_file() or (folder / "frames").is_dir():
        return [folder]
    raise InputError(f"{folder}: holds no sequence, expected folders DEPARTMENT/DEVICE/DATE/DATETIME with frames in it")


if __name__ == "__main__":
    command_line.run(run, CheckConfig, __doc__)
