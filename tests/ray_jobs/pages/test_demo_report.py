"""Demo page: its numbers, its safety, and that a browser draws it."""

import base64
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from motion.body import load_body
from motion.errors import InputError
from motion.sequence import MotionSequence
from motion.skeleton import JOINT, NUM_JOINTS
from ray_jobs.pages.demo_report import (
    PROMISE_M,
    Chart,
    Report,
    compare,
    loss_chart,
    mean_best_error,
    nearest_other_error,
    promises,
    recognised,
    row_hits,
    write_report,
)
from tests.helpers.browser import BROWSER, browse
from tests.helpers.clips import random_clip

HOSTILE = '</script><script>alert("x")</script> & <b>bold</b>'
CAPTIONS = ("a person walks", "a person jumps", HOSTILE)
JPEG = b"\xff\xd8 a picture \xff\xd9"


@pytest.fixture(scope="module")
def real() -> list[MotionSequence]:
    body = load_body()
    clips = [random_clip(body, persons=1, frames=5 + k, seed=k, name=f"clip/{k}") for k in range(len(CAPTIONS))]
    return [replace(clip, texts=[caption]) for clip, caption in zip(clips, CAPTIONS, strict=True)]


def sampled(clip: MotionSequence, seed: int, error: float) -> MotionSequence:
    """Move one wrist of the clip so far that the mean error over all joints is `error`."""
    joints = clip.joints.copy()
    joints[:, :, JOINT["left_wrist"], 0] += error * NUM_JOINTS
    provenance = {
        "prompt": clip.texts[0],
        "seed": str(seed),
        "guidance_scale": "3.5",
        "sampler": "ddim-50",
        "model": "0a1b",
    }
    return replace(clip, id=f"generated/{seed}", source="generated", joints=joints, provenance=provenance)


@pytest.fixture(scope="module")
def generated(real: list[MotionSequence]) -> list[MotionSequence]:
    """Make three samples per caption, their errors 0.3, 0.05 and 0.2 m by rising seed, in another order."""
    samples = [
        sampled(clip, 10 * k + n, error) for k, clip in enumerate(real) for n, error in enumerate((0.3, 0.05, 0.2))
    ]
    return samples[::-1]


def make_report(real: list[MotionSequence], generated: list[MotionSequence]) -> Report:
    """Build a report of these clips whose texts need escaping."""
    return Report(
        model_version="0a1b",
        num_parameters=1234567,
        recipe="tiny",
        loss=[(10, 1.5), (20, 0.5), (30, 0.02)],
        rows=compare(real, generated),
        stages={"prepare": 2.0, "train": 65.0},
        places={"MLflow store": "sqlite:////demo/<run>/mlflow.db"},
        rooms={HOSTILE: JPEG},
    )


class Page(HTMLParser):
    """Parsed page: every tag, the text in each cell of the table, the text in each h3 and the data."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.headings: list[str] = []
        self.scripts: list[str] = []
        self.into: list[str] | None = None
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        places = {"td": self.cells, "th": self.cells, "h3": self.headings, "script": self.scripts}
        if tag in places:
            self.into = places[tag]
            self.into.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th", "h3", "script"):
            self.into = None

    def handle_data(self, data: str) -> None:
        if self.into is not None:
            self.into[-1] += data


@pytest.fixture(scope="module")
def page_path(
    real: list[MotionSequence], generated: list[MotionSequence], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("demo") / "report.html"
    write_report(path, make_report(real, generated))
    return path


@pytest.fixture(scope="module")
def page(page_path: Path) -> Page:
    return Page(page_path)


def test_compare_sorts_by_seed_and_finds_the_best(real: list[MotionSequence], generated: list[MotionSequence]) -> None:
    rows = compare(real, generated)
    assert [row.caption for row in rows] == list(CAPTIONS)
    assert [row.num_frames for row in rows] == [5, 6, 7]
    for row in rows:
        assert [sample.id for sample in row.samples] == sorted(sample.id for sample in row.samples)
        assert row.errors == pytest.approx([0.3, 0.05, 0.2], rel=1e-4)
        assert (row.best, row.best_error) == (1, row.errors[1])
        assert row.mean_error == pytest.approx(0.55 / 3, rel=1e-4)
    assert mean_best_error(rows) == pytest.approx(0.05, rel=1e-4)


def test_nearest_other_clip(real: list[MotionSequence]) -> None:
    """Two clips that differ by 0.1 m in the frames they share have each other; the third is far off."""
    clip = real[1]
    near = replace(sampled(clip, 0, 0.1), texts=["near"])
    shorter = replace(
        near, **{name: getattr(near, name)[:, :4] for name, spec in near.ARRAYS.items() if len(spec.axes) > 1}
    )
    clips = [clip, shorter]
    assert nearest_other_error(compare(clips, clips_as_samples(clips))) == pytest.approx(0.1, rel=1e-4)
    assert np.isnan(nearest_other_error(compare(clips[:1], clips_as_samples(clips[:1]))))


def clips_as_samples(clips: list[MotionSequence]) -> list[MotionSequence]:
    return [replace(clip, provenance={"seed": "0"}) for clip in clips]


def test_uncaptioned_clips_are_left_out(real: list[MotionSequence], generated: list[MotionSequence]) -> None:
    assert len(compare([*real, replace(real[0], texts=[])], generated)) == len(real)


def test_compare_refuses_what_does_not_match(real: list[MotionSequence], generated: list[MotionSequence]) -> None:
    with pytest.raises(InputError, match="nothing was generated for 3 caption"):
        compare(real, [])
    with pytest.raises(InputError, match="'a person walks', which is no real clip's caption"):
        compare(real[1:], generated)
    with pytest.raises(InputError, match="4 real clips have 3 captions"):
        compare([*real, real[0]], generated)
    with pytest.raises(InputError, match="0 real clips have 0 captions"):
        compare([], generated)
    with pytest.raises(InputError, match="expected the same shape"):
        compare(real, [*generated, replace(generated[0], texts=[CAPTIONS[0]])])


def test_one_card_per_caption(page: Page) -> None:
    assert page.headings == list(CAPTIONS)
    assert sum(attributes.get("class") == "card" for _, attributes in page.tags) == len(CAPTIONS)
    assert sum(tag == "canvas" for tag, _ in page.tags) == 2 * len(CAPTIONS)
    assert sum(attributes.get("type") == "radio" for _, attributes in page.tags) == 3 * len(CAPTIONS)


def test_table_holds_the_numbers_of_compare(
    page: Page, real: list[MotionSequence], generated: list[MotionSequence]
) -> None:
    rows = compare(real, generated)
    expected = [
        cell
        for row in rows
        for cell in (
            row.caption,
            str(row.num_frames),
            str(len(row.samples)),
            f"{row.best_error:.3f}",
            f"{row.mean_error:.3f}",
            row.samples[row.best].provenance["seed"],
            row.samples[row.best].id,
        )
    ]
    heading = 4 + 3 * 4 + 7  # the table of promises, then the titles of this one
    assert page.cells[heading : heading + len(expected)] == expected
    assert page.cells[5:8] == [f"{mean_best_error(rows):.3f} m", "≤ 0.100 m", "yes"]


def test_hostile_text_stays_text(page: Page) -> None:
    assert "alert(" in page.source
    assert HOSTILE not in page.source
    assert len(page.scripts) == 2
    assert not any("alert" in script for script in page.scripts)
    assert "sqlite:////demo/&lt;run&gt;/mlflow.db" in page.source


def embedded(picture: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"


def test_page_asks_no_server(page: Page) -> None:
    for word in ("http:", "https:", "url(", "@import", "fetch(", "XMLHttpRequest", "import("):
        assert word not in page.source
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    others = [attributes for tag, attributes in page.tags if tag != "img"]
    assert not any({"src", "href", "srcset", "data", "action"} & set(attributes) for attributes in others)
    assert [(image["src"], image["alt"]) for image in pictures] == [(embedded(JPEG), HOSTILE)]
    policy = next(attributes["content"] for _, attributes in page.tags if "http-equiv" in attributes)
    assert policy == "default-src 'none'; img-src data:; script-src 'unsafe-inline'; style-src 'unsafe-inline'"


def test_joints_arrive_to_the_millimetre(page: Page, real: list[MotionSequence]) -> None:
    cards = json.loads(page.scripts[0])["cards"]
    for card, clip in zip(cards, real, strict=True):
        joints = np.frombuffer(base64.b64decode(card["real"]), "<i2").reshape(clip.joints.shape) / 1000
        np.testing.assert_allclose(joints, clip.joints, atol=5.1e-4)
        assert (card["frames"], card["fps"], len(card["samples"])) == (clip.num_frames, 20.0, 3)


def test_page_says_whether_the_promise_holds(page: Page, real: list[MotionSequence], tmp_path: Path) -> None:
    worse = [sampled(clip, k, 1.2 * PROMISE_M) for k, clip in enumerate(real)]
    write_report(tmp_path / "report.html", make_report(real, worse))
    assert "All that the demo promises holds." in page.source
    assert "Not all that the demo promises holds." in (tmp_path / "report.html").read_text()


def test_promises_are_measured(real: list[MotionSequence], generated: list[MotionSequence]) -> None:
    """Other words for each clip, all answered by their clip; a person who leans by 20 degrees for a frame."""
    others = [replace(clip, texts=[f"other words {k}"]) for k, clip in enumerate(real)]
    asked = [sampled(clip, k, 0.0) for k, clip in enumerate(others)]
    upright = real[0].joints.copy()
    upright[:, :, JOINT["neck"]] = upright[:, :, JOINT["pelvis"]] + np.float32([0.0, 0.0, 0.5])
    upright[:, 3, JOINT["neck"], 1] += np.float32(0.5 * np.tan(np.radians(20)))
    walking = [replace(sample, joints=upright) if sample.texts == real[0].texts else sample for sample in generated]
    report = replace(make_report(real, walking), walk=CAPTIONS[0], others=compare(others, asked))
    found = {promise.what: promise for promise in promises(report)}
    lean, shares = found["greatest lean of who walks"], found["the same in other words"]
    assert lean.measured == pytest.approx(20, abs=0.01)
    assert not lean.kept
    assert replace(lean, measured=14.9).kept
    assert shares.measured == 1.0
    assert [promise.bound for promise in found.values()] == [0.1, 0.25, 0.95, 0.85, 15.0]


def test_a_sample_that_moves_as_another_clip_is_not_recognised(real: list[MotionSequence]) -> None:
    """Three samples, of which that for clip 1 moves as clip 0; it lasts as long as clip 1 does."""
    rows = compare(real, [sampled(clip, k, 0.0) for k, clip in enumerate(real)])
    assert recognised(rows) == 1.0
    wrong = replace(rows[1].samples[0], joints=np.concatenate([real[0].joints, real[0].joints[:, -1:]], axis=1))
    rows[1] = replace(rows[1], samples=[wrong])
    assert [row_hits(row, rows) for row in rows] == [[True], [False], [True]]
    assert recognised(rows) == pytest.approx(2 / 3)


def test_page_is_written_without_loss(
    real: list[MotionSequence], generated: list[MotionSequence], tmp_path: Path
) -> None:
    write_report(tmp_path / "report.html", replace(make_report(real, generated), loss=[]))
    assert "No loss was logged." in (tmp_path / "report.html").read_text()


def test_page_of_the_whole_demo_is_small(tmp_path: Path) -> None:
    clip = random_clip(load_body(), persons=1, frames=89)
    clips = [replace(clip, texts=[f"caption {k}"]) for k in range(15)]
    samples = [sampled(clip, 8 * k + n, 0.1) for k, clip in enumerate(clips) for n in range(8)]
    write_report(tmp_path / "report.html", make_report(clips, samples))
    assert (tmp_path / "report.html").stat().st_size < 5e6


@pytest.mark.parametrize("loss", [[(7, 0.3)], [(0, 2.0), (1, 2.0)], [(k, 10.0**-k) for k in range(1, 9)]])
def test_loss_chart_stays_in_its_frame(loss: list[tuple[int, float]]) -> None:
    chart = loss_chart(loss)
    assert chart is not None
    left, top, right, bottom = Chart.frame
    assert [(step, value) for _, _, step, value in chart.points] == loss
    assert all(left <= x <= right and top <= y <= bottom for x, y, _, _ in chart.points)
    assert all(left <= x <= right for x, _ in chart.step_ticks)
    assert all(top <= y <= bottom for y, _ in chart.value_ticks)


def test_loss_chart_is_logarithmic() -> None:
    chart = loss_chart([(1, 1.0), (2, 0.1), (3, 0.01), (4, float("nan")), (5, 0.0)])
    assert chart is not None
    heights = [y for _, y, _, _ in chart.points]
    assert len(heights) == 3
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.2)
    assert [label for _, label in chart.value_ticks] == ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1"]


PROBE = """
<script>
"use strict";
const inks = () => cards.flatMap(card => card.canvases).map(canvas => {
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return new Set(new Uint32Array(pixels.buffer)).size;
});
let frames = 0;
requestAnimationFrame(function wait() {
  if (++frames < 10) return requestAnimationFrame(wait);
  const card = cards[0], last = card.element.querySelectorAll(".seeds input")[2];
  const before = { inks: inks(), time: card.time };
  card.button.click();
  last.click();
  document.getElementById("all").click();
  const canvas = card.canvases[1], azimuth = card.view.azimuth;
  canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft" }));
  const after = { playing: cards.map(card => card.playing), switched: card.shown[1] === card.clips.samples[2],
    turned: card.view.azimuth - azimuth };
  console.log("<probe>" + JSON.stringify({ ...before, ...after }) + "</probe>");
});
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome is installed")
def test_a_browser_draws_it(page: Page, tmp_path: Path) -> None:
    probed = tmp_path / "probed.html"
    probed.write_text(page.source.replace("</body>", PROBE + "</body>"))
    console = browse(probed, tmp_path / "profile")
    assert len(console) == 1, console
    seen = json.loads(console[0].split("<probe>")[1].split("</probe>")[0])
    assert len(seen["inks"]) == 2 * len(CAPTIONS)
    assert min(seen["inks"]) > 10  # colours in each picture
    assert seen["time"] > 0
    assert seen["playing"] == [False] * len(CAPTIONS)
    assert seen["switched"]
    assert seen["turned"] == pytest.approx(0.1)


@pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome is installed")
def test_a_broken_script_would_be_noticed(page: Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text(page.source.replace("readColors();\nconst cards", "nothing();\nconst cards"))
    assert any("nothing is not defined" in line for line in browse(broken, tmp_path / "profile"))
