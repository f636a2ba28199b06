"""Folders of imported sequences in the Teton tree: ROOT/DEPARTMENT/DEVICE/DATE/DATETIME."""

import re
import shutil
from pathlib import Path

from motion.errors import InputError
from recon.teton.importing.recording import Recording

DEPARTMENT = "imported"
_PART = r"[\w-][\w.-]*"


def place(root: Path, name: str | None, recording: Recording) -> Path:
    """Name the folder of a recording's sequences by DEPARTMENT/DEVICE and the time (UTC) at which it was made.

    Without a name the department is "imported" and the device the file's name. Raises InputError for a name that is
    not of two parts.
    """
    name = _default_name(recording.path) if name is None else name
    if not re.fullmatch(f"{_PART}/{_PART}", name):
        raise InputError(f"--name is {name!r}, expected DEPARTMENT/DEVICE, such as ward-3/camera-1")
    return root / name / f"{recording.recorded:%Y-%m-%d}" / f"{recording.recorded:%Y-%m-%dT%H-%M-%S}"


def _default_name(path: Path) -> str:
    device = re.sub(r"[^\w.-]+", "-", path.absolute().stem).strip(".-")
    return f"{DEPARTMENT}/{device or 'video'}"


def number(folder: Path, count: int) -> list[Path]:
    """Name the folders of a recording's sequences: its own for one alone, or else that with -000, -001, …."""
    if count == 1:
        return [folder]
    return [folder.with_name(f"{folder.name}-{part:03d}") for part in range(count)]


def existing(folder: Path) -> list[Path]:
    """List what is there already of a recording's sequences, one alone or parts."""
    parts = re.compile(re.escape(folder.name) + r"(-\d{3,})?")
    return sorted(path for path in folder.parent.glob("*") if parts.fullmatch(path.name))


def require_free(folder: Path, replace: bool) -> None:
    """Raise InputError where a recording has sequences already, unless they may be replaced."""
    found = existing(folder)
    if found and not replace:
        what = f"{found[0]}" + (f" and {len(found) - 1} more" if found[1:] else "")
        raise InputError(f"{what}: is there already, expected a new name: choose one by --name, or say --replace")


def remove(folder: Path) -> None:
    """Remove a recording's sequences."""
    for path in existing(folder):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
