"""Inputs in an object store, copied to this machine while code reads them as files.

Credentials, region and endpoint are those of the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL …), as for outputs.
"""

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.fs

from motion.errors import InputError
from motion.parquet import resolve
from ray_jobs.common import storage

LEVELS = 4
"""Levels of a Teton tree: DEPARTMENT/DEVICE/DATE/DATETIME."""
LISTED_AT_ONCE = 32


def list_folders(root: str) -> list[str]:
    """List the URIs of the folders ROOT/DEPARTMENT/DEVICE/DATE/DATETIME of a URI; what is in them is not looked at.

    Raises InputError where the store cannot be read.
    """
    folders = [root]
    try:
        with ThreadPoolExecutor(LISTED_AT_ONCE) as pool:
            for _ in range(LEVELS):
                folders = [found for some in pool.map(_subfolders, folders) for found in some]
    except (OSError, pa.ArrowException) as error:
        raise InputError(_unreadable(root, error)) from error
    return folders


def _subfolders(uri: str) -> list[str]:
    filesystem, path = resolve(uri)
    found = filesystem.get_file_info(pa.fs.FileSelector(path))
    names = sorted(info.base_name for info in found if info.type == pa.fs.FileType.Directory)
    return [storage.join(uri, name) for name in names]


@contextmanager
def at_hand(place: str | Path) -> Iterator[Path]:
    """Give the local path of a folder or file; one that a URI names is a copy, which is deleted afterwards.

    The copy has the last names of the URI, by which a sequence is known. Raises InputError where there is none to be
    copied; one that is raised meanwhile names the URI in place of the copy.
    """
    if "://" not in str(place):
        yield Path(place)
        return
    with tempfile.TemporaryDirectory(prefix="carescene-") as folder:
        path = _copy(str(place), Path(folder))
        try:
            yield path
        except InputError as error:
            raise InputError(str(error).replace(str(path), str(place))) from error


def _copy(uri: str, into: Path) -> Path:
    try:
        filesystem, path = resolve(uri)
        copied = into.joinpath(*_last_names(path))
        folder = filesystem.get_file_info(path).type == pa.fs.FileType.Directory
        (copied if folder else copied.parent).mkdir(parents=True)
        here = pa.fs.LocalFileSystem()
        pa.fs.copy_files(path, str(copied), source_filesystem=filesystem, destination_filesystem=here)
    except (OSError, pa.ArrowException) as error:
        raise InputError(_unreadable(uri, error)) from error
    return copied


def _last_names(path: str) -> Sequence[str]:
    return [name for name in path.split("/") if name][-LEVELS:]


def _unreadable(uri: str, error: Exception) -> str:
    return f"cannot read {uri}: {' '.join(str(error).split())[:300]}; check the URI and your credentials"
