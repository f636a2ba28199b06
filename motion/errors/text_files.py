"""Text files from outside, whatever editor or table program saved them."""

import codecs
from collections import Counter
from pathlib import Path
from typing import Literal

from motion.errors import InputError

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path, expected: str, errors: Literal["strict", "replace"] = "strict") -> str:
    """Read text in UTF-8, whatever the locale, with line ends as "\\n" and without a byte order mark.

    Args:
        path: File to read.
        expected: What the file should hold, for the end of the message.
        errors: "replace" for a file whose words outside ASCII do not matter, which may have another encoding.

    Raises InputError where the file cannot be read, or is UTF-16 or another encoding.
    """
    try:
        with path.open("rb") as file:
            utf_16 = file.read(2) in UTF_16
        text = "" if utf_16 else path.read_text(encoding="utf-8-sig", errors=errors)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), {expected}") from error
    except UnicodeDecodeError as error:
        found = f"byte {error.object[error.start]:#x} at {error.start}"
        raise InputError(f"{path}: is no UTF-8 ({found}), {expected}; save it as UTF-8") from error
    if utf_16:
        raise InputError(f"{path}: is UTF-16, {expected}; save it as UTF-8")
    return text


def each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Build a JSON object, as `object_pairs_hook`; raises ValueError for a key that comes twice."""
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise ValueError(f"the key {twice!r} comes twice")
    return content


def require_utf8(path: str) -> None:
    """Raise InputError for a path that is not UTF-8: neither JSON nor Parquet could name it."""
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the path {path!r} is not UTF-8: rename it") from error
