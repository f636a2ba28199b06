"""Rendering that all HTML pages share."""

import jinja2
import pytest

from ray_jobs.pages.page import duration, render_page


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (59.97, "1 min 00 s"), (245, "4 min 05 s"), (3720, "1 h 02 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_value_that_is_not_given_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="clips"):
        render_page("dataset_card.html.j2")
