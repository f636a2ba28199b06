"""The two records that everything passes around: `MotionSequence` (a clip of persons) and `Scene` (a room).

World: right-handed, Z up, floor = the plane z = 0, metres. Rotations are matrices that act on column vectors. Times are
frame numbers over `fps`. Masks are True = present (valid, visible, given, may be attended to), except those whose name
says something else (occluded, dropped, intruding); a place where a library wants the opposite says so. `motion.parquet`
stores the records, one row a record.
"""

from motion.parquet import iter_parquet, write_parquet
from motion.sequence.records import LABELS, SOURCES, SPLITS, MotionSequence, Scene, read_motions, read_scenes

__all__ = [
    "LABELS",
    "SOURCES",
    "SPLITS",
    "MotionSequence",
    "Scene",
    "iter_parquet",
    "read_motions",
    "read_scenes",
    "write_parquet",
]
