"""Pictures of records in a notebook: who is there is drawn, and captions are text."""

import re
from dataclasses import replace
from xml.etree import ElementTree

from motion.sequence import MotionSequence, Scene


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
