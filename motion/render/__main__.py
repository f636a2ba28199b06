"""Draw a motion of a Parquet file: the body's mesh as an animated GIF or a PNG strip, or list what the file holds.

    python -m motion.render motions/                                                    # ids and captions
    python -m motion.render motions/ --id deepmimic/humanoid3d_walk --output walk.gif

World: Z up, floor z = 0, metres. With --sticks it draws stick figures, which is quicker: left limbs light, right dark.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from motion.body import load_body
from motion.errors import InputError
from motion.errors.command_line import run
from motion.parquet import find_record, iter_columns
from motion.render import animate, animate_body, body_strip, strip
from motion.sequence import MotionSequence

LISTED = ("id", "num_persons", "num_frames", "fps", "texts")


@dataclass(frozen=True)
class Picture:
    """Draw one motion of a Parquet file as a GIF of it moving or a PNG strip of its poses, or list all.

    For example: python -m motion.render motions/ --id deepmimic/humanoid3d_walk --output walk.gif
    """

    parquet: Annotated[str, tyro.conf.Positional]
    """File or folder of motions, local or s3:// and the like."""
    id: str | None = None
    """Id of the motion, for example deepmimic/humanoid3d_walk; without it, ids and captions of all are listed."""
    output: Path = Path("motion.gif")
    """Picture to write: .gif for an animation, .png for a strip."""
    sticks: bool = False
    """Draw stick figures instead of the body: some 2 s instead of 10 to 30."""


def draw(picture: Picture) -> None:
    """Write the picture of a motion, or list the motions.

    Raises InputError for an unknown id or ending, where there is no motion, and for one that cannot be shown.
    """
    if picture.id is None:
        try:
            list_motions(picture.parquet)
        except BrokenPipeError:  # `head` has seen enough; Python would complain again when it flushes at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if picture.output.suffix not in (".gif", ".png"):
        raise InputError(f"{picture.output}: expected a name that ends in .gif or .png")
    sequence = find_record(MotionSequence, picture.parquet, picture.id)
    if sequence is None:
        ids = [row["id"] for row in iter_columns(MotionSequence, picture.parquet, ("id",))]
        some = ", ".join(ids[:5]) or "nothing"
        raise InputError(f"{picture.parquet}: no motion has the id {picture.id!r}; it holds {len(ids)}, such as {some}")
    write(sequence, picture)


def write(sequence: MotionSequence, picture: Picture) -> None:
    """Write the picture of a motion; one of a body whose mesh does not ship has stick figures, and says so."""
    moving = picture.output.suffix == ".gif"
    if picture.sticks or sequence.body != "default":
        if not picture.sticks:
            print(f"{sequence.id}: of its body {sequence.body} there is no mesh here, so it is drawn as sticks")
        (animate if moving else strip)(sequence, picture.output)
    else:
        (animate_body if moving else body_strip)(sequence, load_body(), picture.output)
    print(picture.output)


def list_motions(uri: str) -> None:
    """Print a line for each motion: id, persons, length and first caption; raises InputError where there is none."""
    count = 0
    for row in iter_columns(MotionSequence, uri, LISTED):
        persons = f"{row['num_persons']} person{'' if row['num_persons'] == 1 else 's'}"
        length = f"{row['num_frames']} frames ({row['num_frames'] / row['fps']:.1f} s)"
        print(f"{row['id']}  {persons}, {length}  {row['texts'][0] if row['texts'] else '(no caption)'}")
        count += 1
    if not count:
        raise InputError(f"{uri}: holds no motion, expected a Parquet file or folder of motions")
    print(f"motions: {count}; draw one by --id ID", file=sys.stderr)


if __name__ == "__main__":
    run(draw, Picture, __doc__)
