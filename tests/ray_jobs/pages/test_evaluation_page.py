"""Evaluation page and tables: their comparisons, their safety, and that a browser draws the page."""

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motion.body import load_body
from motion.evaluator import Protocol
from motion.metrics.measure import Measure
from motion.sequence import MotionSequence
from ray_jobs.pages.demo_report import ABSENT_MM
from ray_jobs.pages.evaluation_page import BINS, render, table
from tests.helpers.browser import BROWSER, browse
from tests.helpers.clips import motion

HOSTILE = '</script><script>alert("x")</script> a|b'
MEASURES = {
    "fid": ("FID", "", "lower", None),
    "r_precision_1": ("R-precision top 1", "", "higher", None),
    "diversity": ("Diversity", "", "real", None),
    "foot_skate": ("Foot skate", "m/s", "lower", 0.1),
    "scene_penetration_frames": ("Scene penetration", "", "lower", 0.1),
    "stillness": ("Stillness", "", "real", 0.9),
    "memorisation": ("Nearest training clip", "m", "higher", None),
}
# Means of the real clips and of up to three sets; half-widths are a twentieth of the real one's mean or of 1.
MEANS = {
    "fid": (0.02, 4.0, 2.0, 3.99),
    "r_precision_1": (0.8, 0.3, 0.5, 0.2),
    "diversity": (6.0, 4.0, 7.0, 8.9),
    "foot_skate": (0.05, 0.31, 0.08, 0.12),
    "stillness": (0.1, 0.9, 0.95, 0.2),
    "memorisation": (0.12, 0.11, 0.03, 0.12),
}


def evaluation(*names: str) -> dict[str, Any]:
    """Build the results of an evaluation of these generated sets."""
    sets: list[dict[str, Any]] = []
    for index, name in enumerate(("real", *names)):
        metrics = {
            key: {"mean": means[index], "interval": 0.05 * min(1, means[0]), "count": 20}
            for key, means in MEANS.items()
        }
        sets.append(
            {
                "name": name,
                "uri": f"data/{name}",
                "motions": 160,
                "captions": 150,
                "seconds": 512.0,
                "versions": ["ab12"] if index else [],
                "metrics": metrics,
                "worst": [],
            }
        )
    sets[-1]["metrics"]["scene_penetration_frames"] = None
    return {
        "format": "carescene-evaluation/1",
        "created": "2026-11-24T23:40:00+00:00",
        "seconds": 95.2,
        "command": "python -m ray_jobs.evaluate --real 'data/<all>'",
        "evaluator": {"name": "carescene", "version": "0123456789ab", "dim": 64},
        "protocol": Protocol("InterHuman", 96, 6.0, 2.0, diversity_pairs=100, multimodality_pairs=10, repeats=20),
        "notes": ["pools of 96 are not the evaluator's own 32"],
        "measures": {
            key: Measure(title, unit, threshold, "Heusel et al. 2017", f"what {key} is", better)
            for key, (title, unit, better, threshold) in MEASURES.items()
        },
        "sets": sets,
    }


def samples(page: dict[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    """Draw values of each set's motions for three measures, some of them NaN."""
    rng = np.random.default_rng(0)
    return {
        each["name"]: {
            key: np.append(rng.gamma(4, means[index] / 4, 150), [np.nan] * 10)
            for key, means in MEANS.items()
            if key in ("foot_skate", "stillness", "memorisation")
        }
        for index, each in enumerate(page["sets"])
    }


def with_worst(page: dict[str, Any], clips: Sequence[MotionSequence]) -> dict[str, list[MotionSequence]]:
    """Give the generated sets the clips as their worst motions."""
    for each in page["sets"][1:]:
        each["worst"] = [
            {"id": clip.id, "caption": HOSTILE, "measure": "foot_skate", "value": 0.312345, "times": 4.21}
            for clip in clips
        ]
    return {each["name"]: list(clips) for each in page["sets"][1:]}


def rendered(page: dict[str, Any], clips: Sequence[MotionSequence] = ()) -> str:
    worst = with_worst(page, clips)
    return render(page, samples(page), worst)


def columns(markdown: str, first: str) -> list[str]:
    """Find the cells of the row that begins with `first`."""
    line = next(line for line in markdown.splitlines() if line.startswith(f"| {first}"))
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[2:-1]]


def part(page: str, heading: str) -> str:
    """Find the section whose heading has this id."""
    return page.split(f'<section aria-labelledby="{heading}">')[1].split("</section>")[0]


@pytest.fixture(scope="module")
def clips() -> list[MotionSequence]:
    """Make two clips of two persons; the second person of the second clip leaves."""
    there = motion(load_body(), frames=12)
    valid = there.valid.copy()
    valid[1, 6:] = False
    return [replace(there, id="generated/0"), replace(there, id="generated/1", valid=valid)]


def test_bold_only_where_intervals_do_not_overlap() -> None:
    markdown = table(evaluation("a", "b", "c"))
    assert columns(markdown, "real") == ["0.020 ± 0.001", "0.800 ± 0.040", "6.000 ± 0.050"]
    assert columns(markdown, "b") == ["**2.000 ± 0.001**", "**0.500 ± 0.040**", "**7.000 ± 0.050**"]
    assert "**" not in " ".join(columns(markdown, "a") + columns(markdown, "c"))
    close = evaluation("a", "b")
    close["sets"][1]["metrics"]["fid"] = {"mean": 2.01, "interval": 0.0095, "count": 20}
    assert columns(table(close), "b")[0] == "2.000 ± 0.001", "2.001 overlaps 2.0005"
    close["sets"][1]["metrics"]["fid"]["interval"] = 0.008
    assert columns(table(close), "b")[0] == "**2.000 ± 0.001**"


def test_a_single_value_or_a_single_set_is_never_best() -> None:
    assert "**2" not in table(evaluation("a"))
    once = evaluation("a", "b")
    once["sets"][2]["metrics"]["fid"]["count"] = 1
    assert columns(table(once), "b")[0] == "2.000", "no spread is known"


def test_nearer_to_real_counts_the_real_interval() -> None:
    """Distances from 6 are 2 and 1: they differ until the real value itself is uncertain by 0.6."""
    unsure = evaluation("a", "b")
    unsure["sets"][0]["metrics"]["diversity"]["interval"] = 0.6
    assert columns(table(unsure), "b")[2] == "7.000 ± 0.050"
    without = evaluation("a", "b")
    without["sets"][0]["metrics"]["diversity"] = None
    assert columns(table(without), "b")[2] == "7.000 ± 0.050"


def test_missing_measures() -> None:
    page = evaluation("a", "b")
    del page["sets"][1]["metrics"]["fid"]
    page["sets"][2]["metrics"]["stillness"]["mean"] = float("nan")
    assert columns(table(page), "a")[0] == "–"
    assert columns(table(page), "Stillness")[-1] == "–"
    assert "Scene penetration" not in table(page)
    assert "Applies to no motion here: Scene penetration." in rendered(page)


def test_what_lies_beyond_the_threshold_is_marked_in_words() -> None:
    page = evaluation("a", "b")
    assert columns(table(page), "Foot skate (m/s) ↓") == [
        "0.1",
        "0.050 ± 0.003",
        "0.310 ± 0.003 (!)",
        "**0.080 ± 0.003**",
    ]
    cells = re.findall(r'<td class="n beyond">(.*?)</td>', part(rendered(page), "plausibility"))
    assert [cell[:5] for cell in cells] == ["0.310", "0.950"], "foot skate of a, stillness of b"
    assert all("beyond the threshold" in cell for cell in cells)


def test_side_by_side_of_exactly_two_sets() -> None:
    page = evaluation("a", "b")
    page["sets"][2]["metrics"]["foot_skate"]["mean"] = 0.312
    sides = part(rendered(page), "sides")
    verdicts = re.findall(r"<td>(?:<strong>|<span class=\"soft\">)([^<]+)", sides)
    differences = re.findall(r'<td class="n">([+−][^<]+)', sides)
    assert verdicts == ["b", "b", "b", "no difference to be told", "a", "a"]
    assert differences[0] == "−2.000 ± 0.001"
    assert differences[1] == "+0.200 ± 0.057", "0.04 times the root of two"
    for names in (("a",), ("a", "b", "c")):
        assert "no difference to be told" not in rendered(evaluation(*names))
        assert 'id="sides"' not in rendered(evaluation(*names))


def test_histograms_share_bins_and_say_what_lies_outside() -> None:
    page = evaluation("a")
    values = samples(page)
    values["real"]["foot_skate"] = np.append(np.linspace(0, 1, 200), np.nan)
    values["a"]["foot_skate"] = np.append(np.full(992, 0.5), np.full(8, 50.0))
    values["a"]["stillness"] = values["real"]["stillness"] = np.zeros(30)
    section = part(render(page, values, {"a": []}), "distributions")
    skate = section.split("<b>Foot skate</b>")[1].split("</figure>")[0]
    assert skate.count("<rect") == BINS
    assert skate.count("<path") == 2
    assert "(200)" in skate
    assert "10 above 0.99: in the last bin" in skate, "eight of a, two real"
    assert "All 60 motions have 0." in section.split("<b>Stillness</b>")[1]
    shares = [int(text) for text in re.findall(r", a (\d+) %", skate)]
    assert [share for share in shares if share] == [99, 1]
    assert shares[-1] == 1


def test_memorisation_says_which_share_is_nearer_than_real_clips() -> None:
    page = evaluation("a", "b")
    values = samples(page)
    values["real"]["memorisation"] = np.linspace(1, 2, 101)
    values["a"]["memorisation"] = np.array([0.5, 1.0, 1.5, 1.6])
    values["b"]["memorisation"] = np.full(4, np.nan)
    section = " ".join(part(render(page, values, {"a": [], "b": []}), "memorisation").split())
    assert "5 % of the real clips lie below 1.05 m; of a <b>50.0 %</b>." in section


def test_hostile_text_stays_text(clips: list[MotionSequence]) -> None:
    page = evaluation(HOSTILE, "b")
    html, markdown = rendered(page, clips), table(page)
    assert HOSTILE not in html
    assert html.count("<script") == html.count("</script") == 2
    assert "alert(" not in "".join(re.findall(r"<script.*?</script>", html, re.DOTALL))
    assert "&lt;all&gt;" in html
    assert "&lt;/script>" in markdown
    assert "<script" not in markdown
    widths = {line.replace("\\|", "").count("|") for line in markdown.splitlines() if "FID" in line or "alert" in line}
    assert len(widths) == 2


def test_page_asks_no_server(clips: list[MotionSequence]) -> None:
    html = rendered(evaluation("a", "b"), clips)
    for word in ("http:", "https:", "url(", "@import", "fetch(", "XMLHttpRequest", "import(", " src=", " href="):
        assert word not in html
    assert "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'" in html


def test_notes_protocol_and_origin_are_told() -> None:
    html = rendered(evaluation("a"))
    assert "pools of 96 are not the evaluator&#39;s own 32" in html
    assert "among 96 candidates" in html
    assert "multiplied by 6 for FID" in html
    assert "divided by 2" in html
    assert "<code>data/a</code>" in html
    assert "<code>ab12</code>" in html
    assert "1 min 35 s" in html
    quiet = evaluation("a")
    quiet["notes"] = []
    assert "Read this first" not in rendered(quiet)


def test_worst_motions_are_drawn_with_all_persons(clips: list[MotionSequence]) -> None:
    html = rendered(evaluation("a", "b"), clips)
    data = json.loads(re.findall(r'id="data">(.*?)</script>', html)[0])
    assert html.count("<canvas") == len(data["cards"]) == 4
    assert "4.21 times the limit" in html
    assert "Foot skate 0.312 m/s" in html
    for card, clip in zip(data["cards"], clips * 2, strict=True):
        joints = np.frombuffer(base64.b64decode(card["clip"]), "<i2").reshape(clip.joints.shape)
        np.testing.assert_allclose(joints[clip.valid] / 1000, clip.joints[clip.valid], atol=5.1e-4)
        assert (joints[~clip.valid] == ABSENT_MM).all()
    page = evaluation("a")
    worst = with_worst(page, clips)
    assert render(page, samples(page), worst) == render(page, samples(page), {"a": clips[::-1]}), "found by id"


def test_without_worst_motions_there_is_no_script() -> None:
    html = rendered(evaluation("a", "b", "c"))
    assert "<script" not in html
    assert "The worst motions" not in html


PROBE = """
<script>
"use strict";
let frames = 0;
requestAnimationFrame(function wait() {
  if (++frames < 10) return requestAnimationFrame(wait);
  const inks = cards.map(({ canvases: [canvas] }) => {
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return new Set(new Uint32Array(pixels.buffer)).size;
  });
  const time = cards[0].time;
  const persons = [0, 10].map(at => [0, 1].filter(person => isPresent(cards[1].shown[0], cards[1], person, at)).length);
  document.getElementById("all").click();
  const wide = document.documentElement.scrollWidth - innerWidth;
  const playing = cards.map(card => card.playing);
  console.log("<probe>" + JSON.stringify({ inks, time, persons, wide, playing }) + "</probe>");
});
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome is installed")
def test_a_browser_draws_it(clips: list[MotionSequence], tmp_path: Path) -> None:
    probed = tmp_path / "probed.html"
    probed.write_text(rendered(evaluation("a" * 90, HOSTILE), clips).replace("</body>", PROBE + "</body>"))
    console = browse(probed, tmp_path / "profile", window="500,9000")
    assert len(console) == 1, console
    seen = json.loads(console[0].split("<probe>")[1].split("</probe>")[0])
    assert len(seen["inks"]) == 4
    assert min(seen["inks"]) > 10  # colours in each picture
    assert seen["time"] > 0
    assert seen["persons"] == [2, 1]
    assert seen["wide"] <= 0, "the page does not scroll sideways"
    assert seen["playing"] == [False] * 4
