"""Teton tree: annotated room videos on disk, read, checked and written."""

from recon.teton.tree import (
    FEWEST_FRAMES,
    FPS_RANGE,
    IMAGE_SIDES,
    PERSON_LABEL,
    TetonSequence,
    Track,
    list_sequences,
    read_sequence,
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
    "list_sequences",
    "read_sequence",
    "sequence_id",
    "write_sequence",
]
