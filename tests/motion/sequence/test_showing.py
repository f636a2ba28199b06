"""Records on display: a line, and a description of every field."""

import ast
import inspect
import itertools
from dataclasses import fields, replace

import pytest

from motion.parquet import Record
from motion.sequence import MotionSequence, Scene


def test_a_record_shows_itself_in_one_line(clip: MotionSequence, scene: Scene) -> None:
    walk = replace(clip, id="deepmimic/walk", fps=20.0, texts=["a person walks forward"])
    line = 'MotionSequence deepmimic/walk: 2 persons, 7 frames at 20 fps (0.3 s), "a person walks forward"'
    assert repr(walk) == line
    assert repr(replace(walk, texts=["it walks", "goes", "strolls"])).endswith('"it walks" and 2 more captions')
    assert repr(replace(walk, texts=[])).endswith("(0.3 s)")
    one = {name: getattr(walk, name)[:1] for name, spec in walk.ARRAYS.items() if spec.axes[0] == "person"}
    assert "1 person, 7 frames" in repr(replace(walk, **one))
    assert repr(scene) == "Scene room: 50 points (floor, wall, bed, sofa, chair), camera of 640x480 pixels"


@pytest.mark.parametrize("record", [MotionSequence, Scene])
def test_every_field_is_described_where_it_is_defined(record: type[Record]) -> None:
    """A string stands below each field, so that a hover and the API reference show it."""
    body = ast.parse(inspect.getsource(record)).body[0].body  # type: ignore[attr-defined]
    described = {
        one.target.id
        for one, after in itertools.pairwise(body)
        if isinstance(one, ast.AnnAssign)
        and isinstance(one.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
    }
    assert {each.name for each in fields(record)} <= described
