"""Names of picture files: what tools add to them, the number that they hold, and their order."""

import re
from pathlib import Path, PurePosixPath, PureWindowsPath

from motion.errors import InputError
from recon.teton.checked_json import short

# Label Studio puts eight digits before a name that was uploaded, Roboflow the old ending and a hash behind it.
_ADDED = re.compile(r"^[0-9a-f]{8}-|(_(jpe?g|png))?\.rf\.[0-9a-zA-Z]+$")


def stem(name: str) -> str:
    """Return a file's name without folders, ending and what Label Studio and Roboflow add."""
    plain = PureWindowsPath(PurePosixPath(name).name).name
    return _ADDED.sub("", re.sub(r"\.(jpe?g|png|bmp|webp|tiff?|json)$", "", plain, flags=re.IGNORECASE))


def number_in(name: str) -> int | None:
    """Return the last number in a file's name, such as 17 of "frame_000017.PNG"; None where there is none."""
    digits = re.findall(r"\d+", stem(name))
    return int(digits[-1]) if digits and len(digits[-1]) < 16 else None


def natural(path: Path) -> tuple[object, ...]:
    """Give the key by which paths sort as people count: frame2 before frame10."""
    parts = re.split(r"(\d+)", str(path))
    return tuple(int(part) if part.isdecimal() else part for part in parts)


def list_files(folder: Path, *endings: str) -> list[Path]:
    """List the files of a folder with these endings, such as ".jpg", as people count; hidden ones are left out.

    Raises InputError for a folder that cannot be read.
    """
    try:
        files = [path for path in folder.iterdir() if path.suffix.lower() in endings and path.name[0] != "."]
    except OSError as error:
        raise InputError(f"{short(str(folder))}: cannot be read ({error.strerror}), expected a folder") from error
    return sorted(files, key=natural)
