"""Page about a prepared data set."""

import base64
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from motion.sequence import read_motions
from ray_jobs.pages.dataset_card import BINS, Histogram, render, survey
from tests.conftest import CLIPS


@pytest.fixture(scope="module")
def page(prepared: Path) -> str:
    return (prepared / "card.html").read_text()


def test_it_counts_clips_minutes_rates_captions_and_licences(prepared: Path, page: str) -> None:
    clips = read_motions(prepared / "motions")
    minutes = sum(clip.num_frames / clip.fps for clip in clips) / 60
    assert f"<h1>3 clips, {minutes:.1f} minutes of motion</h1>" in page
    captions = [text for clip in clips for text in clip.texts]
    assert len(captions) == len(set(captions)) > 3
    assert f"{len(captions)} captions, {len(captions)} of them different" in page
    row = re.search(r"<tr><td>deepmimic</td>.*</tr>", page)
    assert row
    assert "30 (" in row[0] or "<td>30</td>" in row[0], "the rates of the files, not that of the records"
    assert "DeepMimic: MIT" in row[0]


def test_it_shows_clips(page: str) -> None:
    pictures = re.findall(r"data:image/png;base64,([^\"]+)", page)
    assert len(pictures) == 2
    for picture in pictures:
        assert Image.open(BytesIO(base64.b64decode(picture))).width > 1000
    assert sum(f"<figcaption>deepmimic/{name}</figcaption>" in page for name in CLIPS) == 2


def test_it_asks_no_server(page: str) -> None:
    assert "://" not in page


def test_it_names_what_was_rejected_and_escapes_it(prepared: Path, ray_cluster: None) -> None:
    motions = str(prepared / "motions")
    page = render(survey(motions), motions, {"deepmimic": "MIT"}, [("a/b", "b.txt: holds <script>")])
    assert "<td>a/b</td><td>b.txt: holds &lt;script&gt;</td>" in page


def test_it_shows_what_looks_odd_and_nothing_where_nothing_does(prepared: Path, page: str, ray_cluster: None) -> None:
    motions = str(prepared / "motions")
    rows = survey(motions)
    assert {row["flags"] for row in rows} == {""}
    assert "looks odd" not in page
    rows[1]["flags"] = "person 1 floats 0.40 m above the floor throughout"
    odd = render(rows, motions, {}, [])
    assert "<strong>1 clip looks odd.</strong>" in odd
    assert f"<tr><td>{rows[1]['id']}</td><td>person 1 floats 0.40 m above the floor throughout</td></tr>" in odd


def test_it_shows_which_captions_are_on_both_sides(prepared: Path, page: str, ray_cluster: None) -> None:
    motions = str(prepared / "motions")
    rows = survey(motions)
    assert "have a caption that a training clip has" not in page, "nothing is held out"
    rows[0]["split"], rows[2]["split"], rows[2]["texts"] = "test", "test", rows[1]["texts"]
    assert "Of 2 captioned clips of the split test, 1 (50 %) have a caption that a training clip has, too" in render(
        rows, motions, {}, []
    )


def test_histograms() -> None:
    spread = Histogram.of("Length", "s", list(np.linspace(0, 10, 1000)))
    assert sum(spread.counts) == 1000
    assert len(spread.counts) == BINS
    assert spread.counts[-1] > spread.counts[0], "what lies beyond is counted in the last bin"
    whole = Histogram.of("Persons", "a clip", [1, 1, 2, 4], whole=True)
    assert whole.counts == [2, 1, 0, 1]
    assert whole.ends == (1, 4)
    still = Histogram.of("Speed", "m/s", [0.0, 0.0])
    assert sum(still.counts) == 2
