"""Motions in formats of the user's own: each motion of an output is given once to each export.

    OUTPUT/exports/NAME/         files that the export NAME (its object's name) wrote
    OUTPUT/exports/NAME/done/    Parquet files of one column, `id`: which motions were exported

An export writes to a temporary folder, from which its files are copied, so that an output may be anywhere. What was
exported before is left as it is; delete exports/NAME to have all of it again.
"""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from motion.errors import InputError
from motion.extensions import load_extension, object_name
from motion.parquet import from_table, write_table
from motion.sequence import MotionSequence
from ray_jobs.common import storage


class Export(Protocol):
    """Function of the user's own that writes a motion in some format, for `--exports package.module:object`."""

    def __call__(self, motion: MotionSequence, stem: Path) -> None:
        """Write one or more local files named `stem` and a suffix; raise InputError where the format cannot hold it."""


def check_exports(names: Sequence[str]) -> None:
    """Import each `package.module:object` once; raises InputError where two write to the same folder."""
    folders = [object_name(name) for name in names]
    for name, folder in zip(names, folders, strict=True):
        load_extension(name, Export)
        if folders.count(folder) > 1:
            raise InputError(f"{name}: two exports are named {folder}, expected names that differ")


def export_motions(output: str, name: str) -> tuple[int, list[tuple[str, str]]]:
    """Export what lies in `output` and was not exported by `name` yet.

    Return how many motions that were, and (id, reason) of those that could not be exported.
    """
    motions, folder = storage.join(output, "motions"), storage.join(output, "exports", object_name(name))
    done = storage.read_column(storage.join(folder, "done"), "id")
    asked = set(storage.read_column(motions, "id")).difference(done)
    if not asked:
        return 0, []
    rejected = storage.dataset(motions).map_batches(
        partial(export_block, name=name, folder=folder, asked=asked), batch_size=None, batch_format="pyarrow"
    )
    return len(asked), [(row["id"], row["reason"]) for row in rejected.iter_rows()]


def export_block(motions: pa.Table, name: str, folder: str, asked: set[str]) -> pa.Table:
    """Export those of a block's motions that are asked for and return the rejected ones' rows."""
    export: Export = load_extension(name, Export)
    done: list[str] = []
    bad: list[dict[str, str]] = []
    rows = motions.filter(pc.is_in(motions["id"], value_set=pa.array(sorted(asked), pa.string())))
    for motion in from_table(MotionSequence, rows):
        try:
            export_motion(motion, export, folder)
            done.append(motion.id)
        except InputError as error:
            bad.append({"id": motion.id, "reason": f"{name}: {' '.join(str(error).split())}"})
        except Exception as error:  # an export's own mistake must not cost the other motions of a long job
            bad.append({"id": motion.id, "reason": f"{name}: {motion.id}: {type(error).__name__}: {error}"})
    if done:
        write_table(pa.table({"id": done}), storage.join(folder, "done", storage.shard_name(done)))
    return pa.Table.from_pylist(bad, schema=storage.REJECTED)


def export_motion(motion: MotionSequence, export: Export, folder: str) -> None:
    """Let the export write a motion's files to a temporary folder and copy them to `folder`."""
    stem = motion.id.replace("/", "_")
    with tempfile.TemporaryDirectory() as temporary:
        export(motion, Path(temporary) / stem)
        files = sorted(Path(temporary).iterdir())
        if not files or not all(file.is_file() and file.name.startswith(stem) for file in files):
            found = ", ".join(file.name for file in files) or "nothing"
            raise InputError(f"{motion.id}: it wrote {found}, expected files named {stem} and a suffix")
        for file in files:
            storage.write_bytes(storage.join(folder, file.name), file.read_bytes())
