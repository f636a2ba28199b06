"""Page about a reconstruction, of motions with qualities that are made up."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from motion.body import load_body
from motion.parquet import write_parquet
from ray_jobs.common.flow import StageUse
from ray_jobs.pages.reconstruction_page import WORST, render
from recon.pipeline.record import Quality
from tests.helpers.clips import random_clip

GOOD = Quality("7", 100, 1.0, 3.0, 0.02, 0.01, 1.7, 1.0, 0.02, 0.05, 0.04, 0.01, 0.5, {})
BAD = replace(GOOD, object_id="8", misfit=0.3, stature_m=1.2)
LOST = replace(GOOD, object_id="9", frames=0, reprojection_px=None, misfit=None, along_m=None, beyond_depth=None)


MASKS = {"marks": "persons by masks, floor by masks", "depth": "networks"}
NO_MASKS = {"marks": "no masks: persons by boxes and keypoints, floor found in the depth", "depth": "measured"}


def provenance(source: dict[str, str], *rows: Quality) -> dict[str, str]:
    return source | {"quality": json.dumps([asdict(row) | {"flags": row.flags} for row in rows])}


@pytest.fixture(scope="module")
def motions(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write twelve good sequences of one camera and two bad ones of another."""
    folder = tmp_path_factory.mktemp("motions")
    clip = random_clip(load_body())
    ids = [f"ward/one/day/{k:02}" for k in range(12)]
    records = [replace(clip, id=name, provenance=provenance(MASKS, GOOD)) for name in ids]
    records += [replace(clip, id=f"ward/two/day/{k}", provenance=provenance(NO_MASKS, BAD, LOST)) for k in range(2)]
    write_parquet(records, folder / "one.parquet")
    return str(folder)


def page(motions: str, *rejected: tuple[str, str]) -> str:
    stages = [StageUse("body", 1, 0.4, 3.0, 0.0, "starved"), StageUse("fit", 2, 0.93, 9.5, 4.0, "bottleneck")]
    return render(motions, stages, rejected, lambda name: f"picture of {name}".encode())


def test_it_counts_by_camera_and_class_and_names_the_bottleneck(motions: str) -> None:
    found = page(motions, ("ward/three/day/1", "<frames> are missing"))
    assert "<h1>14 sequences, 14 persons</h1>" in found
    assert "1,400 frames of a person. 2 persons (14 %) have a flag" in found
    number = '<td class="num">{}</td>'.format
    for name, *counts in (("one", 12, 12, 0, 0), ("two", 2, 2, 2, 0), ("three", 0, 0, 0, 1)):
        assert f"<td>ward / {name}</td>" + "".join(map(number, counts)) in found
    for source in (f"{MASKS['marks']}, depth by networks", f"{NO_MASKS['marks']}, depth measured"):
        assert f"<dt>{source}</dt>" in found
    assert "<td>fit</td><td><strong>bottleneck</strong></td>" in found
    assert "&lt;frames&gt; are missing" in found
    assert "://" not in found


def test_flags_are_counted_by_their_words_and_the_worst_come_first(motions: str) -> None:
    found = page(motions)
    for flag in ("not found", "keypoints missed by … of the person&#39;s size", "… m tall"):
        assert f"<dt>{flag}</dt>" in found
    captions = [part.partition("<")[0] for part in found.split("<figcaption>")[-WORST:]]
    assert len([caption for caption in captions if caption.startswith("ward/")]) == WORST
    assert set(captions[:2]) == {"ward/two/day/0", "ward/two/day/1"}
    assert "8: keypoints missed by 30% of the person&#39;s size; 1.20 m tall · 9: not found" in found


def test_nothing_made_is_a_page_too(tmp_path: Path) -> None:
    found = render(str(tmp_path), [], [("ward/one/day/1", "no frames")], lambda _: b"")
    assert "<h1>0 sequences, 0 persons</h1>" in found
    assert "no frames" in found
