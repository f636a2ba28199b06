"""Faults of a sequence, collected so that all are said in one run and not one a run."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from motion.errors import InputError

P = ParamSpec("P")
T = TypeVar("T")
MOST_IN_A_SENTENCE = 5


class Faults:
    """Sentences about what is wrong with the sequence in a folder; false while there is none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sentences: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.sentences)

    def attempt(self, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Return what `read` returns; note the sentence of its InputError and return None where it raises one."""
        try:
            return read(*args, **kwargs)
        except InputError as error:
            self.note(str(error))
            return None

    def note(self, sentence: str) -> None:
        """Note a sentence that opens with the path of a file in the folder; control characters of names are escaped."""
        self.sentences.append(re.sub(r"[\x00-\x1f\x7f]", lambda found: repr(found[0])[1:-1], sentence))

    def kinds(self) -> list[str]:
        """List the first sentence of each kind, with the count of those that differ from it in numbers alone.

        Paths are relative to the sequence's folder.
        """
        found: dict[str, list[str]] = {}
        for sentence in self.sentences:
            found.setdefault(re.sub(r"-?\d+(\.\d+)?", "0", sentence), []).append(sentence)
        return [
            alike[0].removeprefix(f"{self.folder}/") + (f" (and {len(alike) - 1} more like it)" if alike[1:] else "")
            for alike in found.values()
        ]

    def error(self) -> InputError:
        """Put the first kinds into one sentence that opens with the folder, and say how to see all."""
        kinds = self.kinds()
        more = len(kinds) - MOST_IN_A_SENTENCE
        all_of_them = [f"and {more} more: see python -m recon.teton check {self.folder}"] if more > 0 else []
        return InputError(f"{self.folder}/{'; '.join(kinds[:MOST_IN_A_SENTENCE] + all_of_them)}")
