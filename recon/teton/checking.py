"""Checks of whole trees: all that is wrong in each sequence, its pixels included, without any network."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from tqdm import tqdm

from motion.errors import InputError
from recon.teton.annotations import PERSON_LABEL
from recon.teton.faults import Faults
from recon.teton.tree import TetonSequence, examine, holds_images, list_sequences, read_sequence


def find_faults(folder: Path) -> list[str]:
    """Find all that is wrong with a sequence, a sentence a kind; a sequence without faults gets [].

    Frames and masks are decoded where the rest is right.
    """
    faults = Faults(folder)
    sequence = examine(folder, faults)
    if sequence is not None:
        for number in range(sequence.num_frames):
            faults.attempt(sequence.frame, number)
        _check_marks(sequence, faults)
    return faults.kinds()


def _check_marks(sequence: TetonSequence, faults: Faults) -> None:
    """Decode masks and measured depth; note where no mask marks a person who is there."""
    for number in sequence.keyframes if sequence.measured else ():
        faults.attempt(sequence.depth, number)
    masks = {number: faults.attempt(sequence.mask, number) for number in sequence.keyframes}
    whole = {number: mask for number, mask in masks.items() if mask is not None}
    if len(whole) < len(masks) or not sequence.masked:
        return
    folder = sequence.folder / "masks"
    for label, track in enumerate(sequence.tracks, start=PERSON_LABEL):
        there = [mask for number, mask in whole.items() if track.present[number]]
        if there and not any(np.any(mask == label) for mask in there):
            faults.note(f"{folder}: no pixel has the label {label}, expected object {track.object_id} to be marked")


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


@dataclass(frozen=True)
class CheckConfig:
    """Check Teton trees or single sequences: list all that is missing or wrong in each.

    For example: python -m recon.teton check rooms
    """

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Roots of Teton trees (ROOT/DEPARTMENT/DEVICE/DATE/DATETIME), or folders of sequences."""


def check(config: CheckConfig) -> None:
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
    if unmasked := sum(not holds_images(folder, "masks") for folder in sequences):
        print(f"without masks: {unmasked}; persons will be known by boxes and keypoints, and the floor by the depth")


def find_sequences(folder: Path) -> list[Path]:
    """List the sequences of a root, or the folder itself where it is one; raises InputError where it is neither."""
    if found := list_sequences(folder):
        return found
    if (folder / "annotations.json").is_file() or (folder / "frames").is_dir():
        return [folder]
    raise InputError(f"{folder}: holds no sequence, expected folders DEPARTMENT/DEVICE/DATE/DATETIME with frames in it")
