"""Checks of whole trees: all that is wrong in each sequence, its pixels included, without any network."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from motion.errors import InputError
from motion.sequence import LABELS
from recon.teton.checked_json import require
from recon.teton.faults import Faults
from recon.teton.tree import TetonSequence, examine, read_sequence


def find_faults(folder: Path) -> list[str]:
    """Find all that is wrong with a sequence, a sentence a kind; a sequence without faults gets [].

    Frames and masks are decoded where the rest is right.
    """
    faults = Faults(folder)
    sequence = examine(folder, faults)
    if sequence is not None:
        for number in range(sequence.num_frames):
            faults.attempt(sequence.frame, number)
        faults.attempt(_check_floor, sequence, faults)
    return faults.kinds()


def _check_floor(sequence: TetonSequence, faults: Faults) -> None:
    """Decode the masks; raises InputError where none of them marks the floor, by which the room is laid level."""
    masks = [faults.attempt(sequence.mask, number) for number in sequence.keyframes]
    floor = LABELS.index("floor")
    marked = any(mask is None or np.any(mask == floor) for mask in masks)
    require(marked, f"{sequence.folder / 'masks'}: no pixel has the label {floor}, expected the floor to be marked")


def require_readable(folders: Iterable[Path]) -> None:
    """Raise InputError where none of the sequences can be read, with what is wrong with the first.

    It stops at the first that can be: a job calls it before it loads networks in vain.
    """
    reasons = []
    for folder in folders:
        try:
            read_sequence(folder)
        except InputError as error:
            reasons.append(error)
        else:
            return
    if reasons:
        raise InputError(f"none of {len(reasons)} sequences can be read; the first: {reasons[0]}")
