"""Records on display: a line, a picture in a notebook, and a description of every field."""

import ast
import inspect
import itertools
import re
from dataclasses import fields, replace
from xml.etree import ElementTree

import pytest

from motion.body import load_body
from motion.parquet import Record
from motion.sequence import MotionSequence, Scene
from tests.helpers.clips import random_clip
from tests.helpers.scenes import random_scene


@pytest.fixture(scope="module")
def clip() -> MotionSequence:
    return random_clip(load_body())


@pytest.fixture(scope="module")
def scene() -> Scene:
    return random_scene()


def test_a_record_shows_itself_in_one_line(clip: MotionSequence, scene: Scene) -> None:
    walk = replace(clip, id="deepmimic/walk", fps=20.0, texts=["a person walks forward"])
    line = 'MotionSequence deepmimic/walk: 2 persons, 7 frames at 20 fps (0.3 s), "a person walks forward"'
    assert repr(walk) == line
    assert repr(replace(walk, texts=["it walks", "goes", "strolls"])).endswith('"it walks" and 2 more captions')
    assert repr(replace(walk, texts=[])).endswith("(0.3 s)")
    one = {name: getattr(walk, name)[:1] for name, spec in walk.ARRAYS.items() if spec.axes[0] == "person"}
    assert "1 person, 7 frames" in repr(replace(walk, **one))
    assert repr(scene) == "Scene room: 50 points (floor, wall, bed, sofa, chair), camera of 640x480 pixels"


def drawn(record: MotionSequence | Scene) -> tuple[str, list[ElementTree.Element]]:
    """Return the text of a record's notebook view, and the shapes of its picture other than the floor's line."""
    view = ElementTree.fromstring(f"<body>{record._repr_html_()}</body>")
    line, picture = view
    size = [float(number) for number in picture.attrib["viewBox"].split()[2:]]
    for number in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", ElementTree.tostring(picture, "unicode")):
        assert all(0 <= float(value) <= side for value, side in zip(number, size, strict=True)), "outside the picture"
    return line.text or "", [shape for shape in picture if shape.get("stroke") != "#999"]


def test_a_notebook_shows_the_line_and_a_picture(clip: MotionSequence, scene: Scene) -> None:
    quoted = replace(clip, texts=["<b> & more"])
    text, figures = drawn(quoted)
    assert text == repr(quoted), "the caption is text, not markup"
    assert len(figures) == 2 * 7
    seen = clip.valid.copy()
    seen[:] = True
    seen[1, 2:], seen[:, 5] = False, False
    assert len(drawn(replace(clip, valid=seen))[1]) == 6 + 2, "who is not there is not drawn"
    assert drawn(scene)[0] == repr(scene)
    assert len(drawn(scene)[1]) == 50
    empty = {"points": scene.points[:0], "colors": scene.colors[:0], "labels": scene.labels[:0]}
    assert replace(scene, **empty)._repr_html_().endswith("</div>")


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
