"""Mirrored captions: left and right, clockwise and counterclockwise change places.

Words are exchanged in pairs, so that twice is the text again, whatever the text. To that end every spelling of
counterclockwise has a clockwise of its own, and a word that is left alone is so for both sides.

Left alone are words that surely name no side: "all right", "right away" (but not "right away from"), "right now", "a
right angle", "right-angled", "someone left", "left the room". Where both readings occur ("stops right after", "two
steps are left") the side is taken to be meant: a false word does less harm than a false side. Words in mixed case
("lEFT") and "counter clock-wise", which has no partner, are left alone as well.
"""

import re

PAIRS = (
    *(("left", "right"), ("lefts", "rights"), ("leftmost", "rightmost"), ("lefty", "righty")),
    *(("leftward", "rightward"), ("leftwards", "rightwards"), ("leftside", "rightside")),
    *(("lefthand", "righthand"), ("lefthanded", "righthanded")),
    *((f"counter{gap}clockwise", f"clock{gap}wise") for gap in ("", "-", " ")),
    *((f"anti{gap}clockwise", f"clock{gap}ways") for gap in ("", "-", " ")),
)
NO_SIDE = (
    r"all (?:left|right)",
    r"(?:left|right) away(?! from)",
    r"(?:left|right) now",
    r"(?:an?|at|in|into) (?:left|right) angles?",
    r"(?:left|right)[ -]angled",
    r"(?:someone|somebody) (?:left|right)",
    r"(?:left|right) the (?:area|building|house|place|room|scene)",
)

PARTNER = {
    style(one): style(other)
    for pair in PAIRS
    for one, other in (pair, pair[::-1])
    for style in (str.lower, str.upper, str.capitalize, str.title)
}
# Alternatives are tried in order, so longer words come first. A second "counter" is a word that we do not know.
WORDS = re.compile(
    rf"\b(?i:{'|'.join(NO_SIDE)})\b"
    rf"|(?<!(?i:counter)[ -])(?<!(?i:anti)[ -])\b(?:{'|'.join(sorted(PARTNER, key=len, reverse=True))})\b"
)


def mirror_words(text: str) -> str:
    """Write the caption of the mirrored motion; `mirror_words(mirror_words(text)) == text`."""
    return WORDS.sub(lambda match: PARTNER.get(match[0], match[0]), text)
