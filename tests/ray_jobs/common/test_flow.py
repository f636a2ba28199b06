"""Flow of rows through stages, from notes that are made by hand or by visits."""

import json
import time

import pytest

from ray_jobs.common.flow import Clock, Flow, Visit, describe


def notes(*visits: tuple[str, str, float, float, float, float]) -> str:
    return "".join(json.dumps(each) + "\n" for each in visits)


def test_waits_and_work_are_shares_of_the_time_that_passed() -> None:
    """Two rows in ten seconds: `fit` computes for 8 s of them, `body` for 2 s on each of two workers."""
    flow = Flow()
    flow.add(notes(("body", "a", 0, 2, 5, 7), ("fit", "c", 3, 7, 0, 4)))
    flow.add(notes(("body", "b", 0, 2, 0, 2), ("fit", "c", 6, 10, 4, 8)))
    body, fit = flow.uses()
    assert (body.stage, body.workers, body.busy, body.inside, body.waiting) == ("body", 2, 0.2, 0.4, 0.0)
    assert (fit.workers, fit.busy, fit.inside, fit.waiting) == (1, 0.8, 0.8, 0.5)
    assert describe([body, fit]) == "body starved (2 × 20% busy), fit bottleneck (1 × 80% busy)"


@pytest.mark.parametrize(("busy", "waited", "label"), [(7.0, 0, "balanced"), (3, 1, "starved"), (3, 12, "buffered")])
def test_a_stage_is_judged_beside_the_busiest(busy: float, waited: float, label: str) -> None:
    flow = Flow()
    for _ in range(2):
        flow.add(
            notes(("decode", "a", 0, 1, 0, 0.1), ("body", "b", 1 + waited, 2 + waited, 0, busy * (3 + waited) / 10))
        )
    flow.add(notes(("decode", "a", 0, 1, 0, 0.1), ("fit", "c", 1, 3 + waited, 0, 0.8 * (3 + waited))))
    assert {use.stage: use.label for use in flow.uses()} == {"decode": "starved", "body": label, "fit": "bottleneck"}


def test_no_row_no_stage() -> None:
    assert Flow().uses() == []


def test_visits_are_noted_line_by_line() -> None:
    clock = Clock()
    decoding = Visit("decode", clock.seconds)
    with clock.running():
        time.sleep(0.05)
        sum(range(1000))
    visits = decoding.end()
    flow = Flow()
    flow.add(Visit("fit", lambda: 3.0).end(visits))
    decode, fit = flow.uses()
    assert (decode.stage, fit.stage, fit.busy) == ("decode", "fit", 0.0)
    assert decode.inside > 0.9
    assert 0 < decode.busy < 0.5, "who sleeps does not compute"
