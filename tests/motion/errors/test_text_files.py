"""Text files from outside: marks, encodings, line ends."""

from pathlib import Path

import pytest

from motion.errors import InputError
from motion.errors.text_files import read_text


@pytest.mark.parametrize(
    "content", [b"a\xc3\xa4\nb\n", b"\xef\xbb\xbfa\xc3\xa4\nb\n", b"a\xc3\xa4\r\nb\r\n", b"a\xc3\xa4\rb\r"]
)
def test_a_mark_and_line_ends_of_other_systems_do_not_show(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    assert read_text(tmp_path / "list.txt", "expected lines") == "aä\nb\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_with_its_mark_is_told(tmp_path: Path, encoding: str) -> None:
    mark = "" if encoding == "utf-16" else "\ufeff"
    (tmp_path / "list.txt").write_bytes(f"{mark}a person walks".encode(encoding))
    with pytest.raises(InputError, match=r"list\.txt: is UTF-16, expected lines; save it as UTF-8"):
        read_text(tmp_path / "list.txt", "expected lines", errors="replace")


def test_another_encoding_is_told_or_replaced(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes("aä".encode("latin-1"))
    with pytest.raises(InputError, match=r"is no UTF-8 \(byte 0xe4 at 1\), expected lines; save it as UTF-8"):
        read_text(tmp_path / "list.txt", "expected lines")
    assert read_text(tmp_path / "list.txt", "expected lines", errors="replace") == "a\ufffd"


def test_a_file_that_is_missing_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.txt: cannot be read \(No such file or directory\), expected lines"):
        read_text(tmp_path / "no.txt", "expected lines")
