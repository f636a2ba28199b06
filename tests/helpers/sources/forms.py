"""Forms of data that the readers know: each with its reader and the makers of good and malformed clips."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from motion.datasets import amass, bvh, deepmimic, humanml3d, interhuman
from tests.helpers.sources import amass as amass_files
from tests.helpers.sources import bvh as bvh_files
from tests.helpers.sources import deepmimic as deepmimic_files
from tests.helpers.sources import humanml3d as humanml3d_files
from tests.helpers.sources import interhuman as interhuman_files


class Form(NamedTuple):
    """Form of data: `write_dataset` returns good clips' ids, `write_malformed` what bad ones' sentences must match."""

    reader: ModuleType
    write_dataset: Callable[[Path], list[str]]
    write_malformed: Callable[[Path], dict[str, str]]


ORIGINAL = {
    "amass": Form(amass, amass_files.write_dataset, amass_files.write_malformed),
    "bvh": Form(bvh, bvh_files.write_dataset, bvh_files.write_malformed),
    "deepmimic": Form(deepmimic, deepmimic_files.write_dataset, deepmimic_files.write_malformed),
    "humanml3d": Form(humanml3d, humanml3d_files.write_dataset, humanml3d_files.write_malformed),
    "interhuman": Form(interhuman, interhuman_files.write_dataset, interhuman_files.write_malformed),
}
PROCESSED = {
    "humanml3d": Form(humanml3d, humanml3d_files.write_processed, humanml3d_files.write_malformed_processed),
    "interhuman": Form(interhuman, interhuman_files.write_processed, interhuman_files.write_malformed_processed),
}
