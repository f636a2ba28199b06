"""Accuracy report: errors of reconstructions whose errors are known, and the table made of them."""

import json
import math
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from motion.body import load_body
from motion.errors import InputError
from recon.depth import DepthModel
from recon.people import people_of
from recon.pipeline import Bodies, Reconstruction, load_bodies, reconstruct
from recon.pipeline import accuracy_report as report
from recon.pipeline.accuracy_report import (
    JITTER_M,
    Figures,
    Models,
    against_bars,
    cell,
    figures_of,
    keep_settings,
    read_figures,
    shake,
    smoothing_gain,
    statures,
    sure,
    to_markdown,
    with_true_depth,
)
from recon.pipeline.perception import Perception
from recon.regressors import CropEstimates
from recon.teton import TetonSequence
from tests.helpers.brightness import Brightness
from tests.helpers.rooms import render
from tests.helpers.truths import true_room, walk

BODY = load_body()
FIGURES = Figures(
    sequence="simulated/room-1/day/time",
    annotations="clean",
    depth="true",
    mode="hybrid",
    persons=2,
    floor_angle=0.25,
    floor_height_mm=4.0,
    mpjpe_mm=30.0,
    pa_mpjpe_mm=20.0,
    world_mpjpe_mm=50.0,
    acceleration_error=1.5,
    found=1.0,
    seconds=2.0,
)


def test_a_shaken_motion_is_off_by_the_jitter_and_smoothing_takes_most_of_the_acceleration_away() -> None:
    motion = walk()
    people = people_of(motion)
    shaken = shake(people, BODY, torch.Generator().manual_seed(0))
    moved = (shaken.joints(BODY) - people.joints(BODY)).square().mean().sqrt()
    assert moved.item() == pytest.approx(JITTER_M, rel=0.05)
    cut, added = smoothing_gain(motion, BODY, 0)
    assert 0.7 < cut < 1
    assert added < 0.005


def test_unknown_depth_stays_unknown() -> None:
    truth = true_room("1")
    depth = np.array([[2.0, 4.0], [0.0, 5.0]], dtype=np.float32)
    room = replace(truth, depth={3: depth + 1, 0: depth})
    none = np.zeros(0, dtype=np.int64)
    nobody = CropEstimates(torch.zeros(0, 3, 3), torch.zeros(0, 23, 3, 3), torch.zeros(0, 10), torch.zeros(0, 3))
    guessed = np.ones((2, 2, 2), dtype=np.float32)
    seen = with_true_depth(Perception(np.zeros((0, 3), dtype=np.float32), none, none, nobody, guessed, guessed), room)
    np.testing.assert_array_equal(seen.metric[0], [[2, 4], [np.nan, 5]])
    np.testing.assert_allclose(seen.disparity[0], [[0.5, 0.25], [np.nan, 0.2]])
    assert seen.metric[1, 0, 0] == 3
    assert depth[1, 0] == 0


@pytest.mark.filterwarnings("error")
def test_what_cannot_be_reconstructed_is_a_row_and_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but one mode fail in these rooms; a report that goes on repeats nothing."""
    folder = Path("simulated", "room", "day", "time")
    for kind in ("clean", "noisy"):
        rendered = render(tmp_path / kind / folder, 1)

    def some(sequence: TetonSequence, perception: Perception, bodies: Bodies, mode: str) -> Reconstruction:
        if mode != "regression":
            raise InputError("nobody could be reconstructed")
        return reconstruct(sequence, perception, bodies, mode)

    monkeypatch.setattr(report, "reconstruct", some)
    monkeypatch.setattr(report, "perceive", lambda *_: rendered.perception)
    depth = DepthModel(nn.Identity(), None, True, torch.device("cpu"), False)
    models = Models(Brightness(BODY, 32, []), depth, depth, load_bodies())
    rows = figures_of(tmp_path, folder, models)
    assert len(rows) == 12
    for row in rows:
        assert (row.world_mpjpe_mm is None) == (row.mode != "regression")
        assert row.found == (row.mode == "regression")
    assert len(list((tmp_path / "sheets").glob("*-regression.png"))) == len(list((tmp_path / "sheets").iterdir())) == 4
    (file,) = (tmp_path / "sequences").iterdir()
    whole = file.read_text()
    for damaged in ("", whole[: len(whole) // 2], "{}", "[]", '[{"a": 1}]'):
        file.write_text(damaged)
        assert [row.mode for row in figures_of(tmp_path, folder, models)] == [row.mode for row in rows]
    file.write_text(whole)
    monkeypatch.setattr(report, "perceive", None)
    assert figures_of(tmp_path, folder, models) == rows


def test_cells_are_mean_and_worst() -> None:
    rows = [FIGURES, replace(FIGURES, mpjpe_mm=50.0, found=0.5), replace(FIGURES, mpjpe_mm=None, found=0.0)]
    assert cell("mpjpe_mm", rows) == "40 (50)"
    assert cell("found", rows) == "0.5 (0)"
    assert cell("mpjpe_mm", rows[2:]) == "–"


def test_the_table_has_a_row_for_each_mode_and_input() -> None:
    noisy = replace(FIGURES, annotations="noisy", depth="shipped", mode="regression", sequence="simulated/room-2/a/b")
    rows = [FIGURES, replace(noisy, persons=1)]
    text = to_markdown(rows, {30: (0.125, 0.004)}, [(0.8, 0.001), (0.7, -0.003)], "python -m this --motions that")
    lines = text.splitlines()
    assert lines[0] == "# Reconstruction of 2 rendered sequences"
    assert "`python -m this --motions that`." in text
    assert "1 two people or more" in text
    same = "0.25 (0.25) | 4 (4) | 50 (50) | 30 (30) | 20 (20) | 1.5 (1.5) | 1 (1) | 2 (2) |"
    assert f"| clean | true | hybrid | {same}" in lines
    assert f"| noisy | shipped | regression | {same}" in lines
    assert "| clean | shipped | hybrid | – | – | – | – | – | – | – | – |" in lines
    assert sum(line.startswith(("| clean |", "| noisy |")) for line in lines) == 2 * 12, "errors, and their uncertainty"
    assert "| 30° | 0.12° | 4.0 |" in lines
    assert "acceleration error cut by 75% (least 70%)," in lines
    assert "MPJPE changed by -1.0 mm" in text


def test_the_worst_sequence_is_held_against_each_bar(tmp_path: Path) -> None:
    """Bars: 0.5 degrees, 10 mm, 45 mm after Procrustes alignment, 70 mm in the world, 100 mm with noisy keypoints."""
    good = replace(FIGURES, floor_angle=0.5, floor_height_mm=10.0, pa_mpjpe_mm=45.0, world_mpjpe_mm=60.0)
    rows = [good, replace(good, world_mpjpe_mm=80.0), replace(good, annotations="noisy", world_mpjpe_mm=None)]
    rows += [replace(good, depth="shipped", world_mpjpe_mm=500.0), replace(good, mode="regression", pa_mpjpe_mm=200.0)]
    table = against_bars(rows, [(0.8, 0.0), (0.61, 0.0)])
    assert ("clean: floor angle ≤ 0.5", "hybrid", "0.5", "yes", "0.5", "yes", "2 of 2") in table
    assert ("clean: floor height mm ≤ 10", "hybrid", "10", "yes", "10", "yes", "2 of 2") in table
    assert ("clean: pa mpjpe mm ≤ 45", "hybrid", "45", "yes", "45", "yes", "2 of 2") in table
    assert ("clean: world mpjpe mm ≤ 70", "hybrid", "70", "yes", "80", "**no**", "1 of 2") in table
    assert ("noisy: world mpjpe mm ≤ 100", "hybrid", "inf", "**no**", "inf", "**no**", "0 of 1") in table
    assert ("clean: floor angle ≤ 0.5", "optimisation", *"–––––") in table
    assert table[-1][2:] == ("0.295", "yes", "0.39", "**no**", "1 of 2"), "smoothing leaves 20 and 39 %"


def test_figures_that_are_not_whole_are_not_taken(tmp_path: Path) -> None:
    """A file of another version lacks a figure; one that was mended by hand has NaN, or another room's row."""
    file, folder = tmp_path / "room.json", Path(FIGURES.sequence)
    kinds = product(("clean", "noisy"), ("true", "shipped"), ("regression", "optimisation", "hybrid"))
    rows = [asdict(replace(FIGURES, annotations=a, depth=d, mode=m)) for a, d, m in kinds]
    file.write_text(json.dumps(rows))
    assert [row.mode for row in read_figures(file, folder)[:3]] == ["regression", "optimisation", "hybrid"]
    older = [{name: value for name, value in row.items() if name != "stature_error"} for row in rows]
    other, unknown = [*rows[:-1], rows[-1] | {"sequence": "other"}], [*rows[:-1], rows[-1] | {"mpjpe_mm": math.nan}]
    for spoiled in (rows[:3], older, other, unknown, {"rows": rows}, None):
        file.write_text(json.dumps(spoiled))
        assert read_figures(file, folder) == [], spoiled
    file.write_text(json.dumps(rows)[:-9])
    assert read_figures(file, folder) == []


def test_a_report_is_made_with_one_setting(tmp_path: Path) -> None:
    keep_settings(tmp_path / "report" / "settings.json", {})
    keep_settings(tmp_path / "report" / "settings.json", {})
    with pytest.raises(InputError, match="was made with what ships: keep that, or take another --report"):
        keep_settings(tmp_path / "report" / "settings.json", {"motions": "falls"})
    keep_settings(tmp_path / "other.json", {"motions": "falls"})
    with pytest.raises(InputError, match="was made with --motions falls"):
        keep_settings(tmp_path / "other.json", {"motions": "walks"})
    (tmp_path / "sequences").mkdir()
    with pytest.raises(InputError, match="gone.json is gone, so nobody knows what .* was made with"):
        keep_settings(tmp_path / "gone.json", {})
    for damaged in ("null", '{"motions": "fa'):
        (tmp_path / "other.json").write_text(damaged)
        with pytest.raises(InputError, match="other.json is damaged, expected the report's settings"):
            keep_settings(tmp_path / "other.json", {"motions": "falls"})
    with pytest.raises(InputError, match="other.json is damaged, expected the report's settings; take another"):
        keep_settings(tmp_path / "other.json", {"motions": "falls"})


def test_flags_are_counted_against_persons_who_are_far_off() -> None:
    """Persons are 0.4, 0.2, 0.5 and 0.1 m off, the first two are flagged: half are found, half are right."""
    made = replace(FIGURES, away_m=(0.4, 0.2), along_m=(0.16, 0.3), within_sigma=0.5)
    other = replace(FIGURES, away_m=(0.5, 0.1), along_m=(0.14, 0.0), within_sigma=0.7)
    (row,) = [row for row in sure([made, other]) if row[:3] == ("clean", "true", "hybrid")]
    assert row[3:] == ("0.6 (0.5)", "2 of 4", "2", "0.50", "0.50")
    (row,) = [row for row in sure([made, other]) if row[:3] == ("noisy", "true", "hybrid")]
    assert row[3:] == ("–", "0 of 0", "0", "–", "–")


def test_statures_are_compared_person_by_person() -> None:
    made = replace(FIGURES, stature_error=(0.1, -0.02))
    other = replace(FIGURES, stature_error=(-0.08, 0.04))
    assert statures([made, other]) == [("clean", "true", "hybrid", "+1.0%", "6.0%", "10.0%", "3 of 4")]
