"""Teton tree: annotated room videos on disk, read, checked and written."""

from recon.teton.annotations import FPS_RANGE, IMAGE_SIDES, PERSON_LABEL, Track
from recon.teton.checking import find_faults, require_readable
from recon.teton.tree import (
    FEWEST_FRAMES,
    TetonSequence,
    file_name,
    list_sequences,
    read_sequence,
    require_file_names,
    sequence_id,
    write_sequence,
)

__all__ = [
    "FEWEST_FRAMES",
    "FPS_RANGE",
    "IMAGE_SIDES",
    "PERSON_LABEL",
    "TetonSequence",
    "Track",
    "file_name",
    "find_faults",
    "list_sequences",
    "read_sequence",
    "require_file_names",
    "require_readable",
    "sequence_id",
    "write_sequence",
]
