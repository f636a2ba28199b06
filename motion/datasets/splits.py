"""Splits: which clips are kept from training, so that what is tested is not what was learnt.

Takes of one performer, style or content are alike: a test on other takes of what was trained on measures recall. So
whole groups of clips go to one split. The place or the name of a file says its group:

    file                   all clips of a file (of a pair, of person 1's); the least that is honest
    folder                 the files of a folder
    source                 all of a source
    subject, style, label  the part of the name that the pattern calls so; subjects of AMASS are always its folders

A pattern is the file's name without its ending, `{}` for what does not matter: `dataset-{}_{label}_{style}_{}` for
Bandai-Namco's, `{subject}_{}` for CMU's. With / in it, it is matched with as many folders as it names.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from motion.datasets.clip import Clip
from motion.errors import InputError

Grouping = Literal["file", "folder", "subject", "style", "label", "source"]
"""Kind of group whose clips all go to one split."""
NAMED = ("subject", "style", "label")
"""Groupings that a pattern of names tells."""
PART = re.compile(r"\{(\w*)\}")


@dataclass(frozen=True)
class Holding:
    """Shares of the groups that are held out, and what a group is."""

    test: float = 0.0
    """Share of the groups that become the test split."""
    validation: float = 0.0
    """Share of the groups that become the validation split."""
    by: Grouping = "file"
    """Kind of group that goes to one split as a whole."""
    patterns: tuple[str, ...] = ()
    """Patterns of the files' names, of which the first that fits a name counts; none where none is needed."""

    def __post_init__(self) -> None:
        if not (min(self.test, self.validation) >= 0 and self.test + self.validation < 1):
            raise InputError(
                f"held_out is {self.test:g} and validation {self.validation:g}, expected shares of 0 or more, and "
                "below 1 together, as the rest is trained on"
            )
        if self.test == self.validation == 0 and (self.by != "file" or self.patterns):
            raise InputError(
                f"nothing is held out by {self.by}, expected --held-out or --validation with a share, such as 0.2"
            )
        for pattern in self.patterns:
            parts = PART.findall(pattern)
            if odd := [part for part in parts if part and part not in NAMED]:
                raise InputError(f"the pattern {pattern!r} names {odd[0]!r}, expected {', '.join(NAMED)}, or {{}}")
            if self.by not in NAMED:
                raise InputError(
                    f"the pattern {pattern!r} is not for --held-out-by {self.by}, expected one of {', '.join(NAMED)}"
                )
            if parts.count(self.by) != 1:
                raise InputError(
                    f"the pattern {pattern!r} does not tell one {self.by}, expected one {{{self.by}}} in it"
                )


NOTHING = Holding()
"""Everything is trained on, but for what a source's own lists hold out."""


def hold_out(clips: Sequence[tuple[Clip, Path | None]], holding: Holding) -> list[Clip]:
    """Assign clips, each with its source's folder, to splits: whole groups, in the order of the hashes of their names.

    A group's hash depends on its name alone, from that folder on, so groups that join later move none, but for this:
    where a share asks for something and no group's hash lies in it, the next group takes its place. Raises InputError
    where groups are too few for that.
    """
    if holding.test == holding.validation == 0:
        return [clip for clip, _ in clips]
    groups = [group(clip, root, holding) for clip, root in clips]
    splits = _splits(sorted(set(groups), key=_place), holding)
    held = {name: split for name, split in splits.items() if split != "train"}
    return [replace(clip, split=held.get(name, clip.split)) for (clip, _), name in zip(clips, groups, strict=True)]


def group(clip: Clip, root: Path | None, holding: Holding) -> str:
    """Name the clip's group; raises InputError where its file's name does not tell it."""
    file = Path(clip.files[0])
    name = file.relative_to(root or file.parent)
    if holding.by == "file":
        return name.as_posix()
    if holding.by == "folder":
        return name.parent.as_posix()
    if holding.by == "source":
        return clip.source
    if clip.source == "amass" and holding.by == "subject":
        return name.parent.as_posix()
    if not holding.patterns:
        raise InputError(
            f"{clip.source} does not say the {holding.by} of {name}, expected --name-pattern, such as "
            f"{{{holding.by}}}_{{}} for files named so"
        )
    found = next(filter(None, (_match(pattern, name) for pattern in holding.patterns)), None)
    if found is None:
        raise InputError(
            f"{name} does not follow --name-pattern {' or '.join(holding.patterns)}, expected that it does"
        )
    return found[holding.by]


def _match(pattern: str, name: Path) -> re.Match[str] | None:
    words = PART.split(pattern)
    parts = [f"(?P<{word}>[^/]+?)" if word in NAMED else "[^/]+?" for word in words[1::2]]
    regex = "".join(map(str.__add__, map(re.escape, words[::2]), [*parts, ""]))
    return re.fullmatch(regex, "/".join(name.with_suffix("").parts[-1 - pattern.count("/") :]))


def _place(name: str) -> float:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64


def _splits(names: Sequence[str], holding: Holding) -> dict[str, str]:
    """Split the names, which are in the order of their places."""
    shares = {"test": holding.test, "val": holding.validation}
    split, stop, taken = dict.fromkeys(names, "train"), 0.0, 0
    for name, share in shares.items():
        stop += share
        inside = sum(_place(each) < stop for each in names)
        until = max(inside, taken + 1) if share else taken
        split |= dict.fromkeys(names[taken:until], name)
        taken = max(until, taken)
    if taken >= len(names):
        raise InputError(
            f"{len(names)} groups by {holding.by} are too few to hold some out and to train on others; choose smaller "
            "shares or another --held-out-by"
        )
    return split
