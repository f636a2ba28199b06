"""Mirrored captions: some words change places, others do not, and twice is the text again."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.clips.mirror_words import PARTNER, mirror_words

PAIRS = (
    ("turns left, then RIGHT", "turns right, then LEFT"),
    ("Left-handed wave to the right.", "Right-handed wave to the left."),
    ("steps leftwards and rightward", "steps rightwards and leftward"),
    ("the leftmost chair", "the rightmost chair"),
    ("walks clockwise", "walks counterclockwise"),
    ("Counter-clockwise, counter clockwise", "Clock-wise, clock wise"),
    ("anticlockwise or Anti-Clockwise", "clockways or Clock-Ways"),
    ("swings right/left, left-to-right", "swings left/right, right-to-left"),
    ("moves right away from the bed", "moves left away from the bed"),
    ("stops right after two steps to the left", "stops left after two steps to the right"),
    ("keeps the right angled arm", "keeps the right angled arm"),
)
UNCHANGED = (
    "bright, upright, alright, a leftover, copyright, leftie",
    "he is all right",
    "gets up right away",
    "sits down right now",
    "turns at a right angle",
    "walks in right angles",
    "someone left something on the floor",
    "left the room",
    "lEFT and rIGHT",
    "degreeleftwards",
    "walking counter clock-wise",
)
CLOCKS = ("counter", "anti", "Anti", "clock", "wise", "ways", "counter clock-wise", "clockwiſe", "lefté", "LeFt")
IDIOMS = ("all", "away", "away from", "now", "a", "in", "angle", "angles", "angled", "someone", "left the room")
WORDS = st.sampled_from([*PARTNER, *CLOCKS, *IDIOMS])
GAPS = st.sampled_from([" ", "-", "", ", ", ".", "_", "  ", "\n", "/", "'"])
SIDES = re.compile(
    r"\b(?:(?:left|right)(?:wards?|most|s)?|(?:(?:counter|anti)[ -]?)?clock[ -]?(?:wise|ways))\b", re.IGNORECASE
)
KEPT = re.compile(r"(?:a|in) (?:left|right) angles?|someone (?:left|right)|counter clock-wise")


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_sides_change_places(one: str, other: str) -> None:
    assert mirror_words(one) == other
    assert mirror_words(other) == one


@pytest.mark.parametrize("text", UNCHANGED)
def test_what_names_no_side_stays(text: str) -> None:
    assert mirror_words(text) == text


def test_no_two_words_become_one() -> None:
    assert len(set(PARTNER.values())) == len(PARTNER)
    assert all(PARTNER[other] == one and one != other for one, other in PARTNER.items())


@settings(max_examples=500)
@given(parts=st.lists(st.tuples(WORDS, GAPS), max_size=8))
def test_twice_is_the_text_again(parts: list[tuple[str, str]]) -> None:
    text = "".join(word + gap for word, gap in parts)
    assert mirror_words(mirror_words(text)) == text


@given(text=st.text())
def test_twice_is_any_text_again(text: str) -> None:
    assert mirror_words(mirror_words(text)) == text


def test_real_captions_change_all_their_sides(shared_data: Path) -> None:
    clips = json.loads((shared_data / "text_annotations" / "kitml" / "annotations.json").read_text())
    captions = [caption["text"] for clip in clips.values() for caption in clip["annotations"]]
    assert len(captions) > 12000
    for caption in captions:
        mirrored = mirror_words(caption)
        assert mirror_words(mirrored) == caption
        sides = zip(SIDES.findall(caption), SIDES.findall(mirrored), strict=True)
        assert all(one != other for one, other in sides) or KEPT.search(caption), caption
