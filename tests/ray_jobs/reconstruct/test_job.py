"""Rendered rooms through the whole job on a real Ray cluster, with the networks that ship."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
from PIL import Image

from motion.errors import InputError
from motion.parquet import iter_parquet, write_parquet
from motion.sequence import MotionSequence, Scene, read_motions, read_scenes
from ray_jobs.common import storage
from ray_jobs.common.parts import write_part
from ray_jobs.prepare import PrepareConfig, prepare
from ray_jobs.reconstruct import FitActor, ReconstructConfig, Row, decode, fit_actors, reconstruct, sheet_uri
from tests.helpers.rooms import render

SEEDS = (1, 2)
IDS = [f"home/room/day/{seed}" for seed in SEEDS]


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Render two sequences, the second with measured depth, and one whose annotations are cut short."""
    root = tmp_path_factory.mktemp("rooms")
    for seed in SEEDS:
        render(root / f"home/room/day/{seed}", seed)
    shutil.copytree(root / IDS[1] / "truth" / "depth", root / IDS[1] / "depth")
    shutil.copytree(root / IDS[0], broken(root))
    (broken(root) / "annotations.json").write_text("{")
    return root


def broken(root: Path) -> Path:
    return root / "home/room/day/9"


@pytest.fixture(scope="module")
def config(ray_cluster: None, rooms: Path, tmp_path_factory: pytest.TempPathFactory) -> ReconstructConfig:
    output = tmp_path_factory.mktemp("reconstructed")
    config = ReconstructConfig(rooms, str(output), mode="hybrid", max_rejected_fraction=0.4)
    reconstruct(config)
    return config


def test_each_good_sequence_has_its_motion_scene_and_picture(config: ReconstructConfig) -> None:
    motions, scenes = read_motions(f"{config.output}/motions"), read_scenes(f"{config.output}/scenes")
    assert sorted(motion.id for motion in motions) == sorted(scene.id for scene in scenes) == IDS
    for motion in motions:
        assert motion.scene_id == motion.id
        assert (motion.source, motion.provenance["mode"], motion.fps) == ("teton", "hybrid", 10.0)
        assert Image.open(sheet_uri(config.output, motion.id)).width > 1000
    assert [motion.provenance["depth"] for motion in motions] == ["networks", "measured"]
    assert all(len(scene.points) > 500 for scene in scenes)


def test_the_page_shows_cameras_stages_and_sheets(config: ReconstructConfig) -> None:
    page = Path(config.output, "reconstruction.html").read_text()
    assert "<h1>2 sequences, " in page
    assert '<td>home / room</td><td class="num">2</td>' in page
    assert [stage for stage in ("decode", "body", "depth", "fit") if f"<td>{stage}</td>" in page] == [
        "decode", "body", "depth", "fit"
    ]  # fmt: skip
    assert page.count("<strong>bottleneck</strong>") == 1
    assert page.count('alt="Contact sheet of') == 2
    assert "annotations.json" in page


def test_a_plan_counts_and_times_a_sample_and_keeps_nothing(
    config: ReconstructConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reconstruct(replace(config, output=str(tmp_path / "out"), plan=True, calibrate=1))
    counted, *stages, whole = capsys.readouterr().out.splitlines()
    assert counted.startswith("3 sequences: 12 frames, ")
    assert "; 1 cannot be read, the first: " in counted
    assert [line.split()[0] for line in stages] == ["decode", "body", "depth", "fit", "all"]
    assert "sequences an hour" in whole
    assert not (tmp_path / "out").exists()


def test_a_broken_sequence_is_a_row_with_its_sentence(config: ReconstructConfig) -> None:
    ((name, reason),) = storage.read_rows(f"{config.output}/rejected", ("id", "reason"))
    assert name == "home/room/day/9"
    assert "annotations.json" in reason
    assert "\n" not in reason


def test_what_nobody_foresaw_in_a_sequence_is_its_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        raise ZeroDivisionError("no\nframes")

    monkeypatch.setattr("ray_jobs.reconstruct.stages.read_sequence", fails)
    folder = tmp_path / "a" / "b" / "c" / "d"
    row = decode({"folder": str(folder)}, crop_size=256, output=str(tmp_path / "output"))
    assert row["reason"] == f"{folder}: ZeroDivisionError: no frames"
    assert [len(row[name]) for name in ("crops", "squares", "person", "frame")] == [0] * 4
    written = FitActor(ReconstructConfig(tmp_path, str(tmp_path / "output")))(
        {name: np.array([value]) for name, value in row.items()}
    )
    assert [written[name].tolist() for name in ("id", "reason")] == [["a/b/c/d"], [row["reason"]]]
    assert storage.read_rows(str(tmp_path / "output" / "rejected"), ("id", "reason")) == [("a/b/c/d", row["reason"])]


def test_run_again_it_does_only_what_is_missing(config: ReconstructConfig, rooms: Path, tmp_path: Path) -> None:
    """The broken sequence is mended and another's scene is lost: those two are made, the third is left as it is."""
    mended, output = tmp_path / "rooms", tmp_path / "output"
    shutil.copytree(rooms, mended)
    shutil.copy(mended / IDS[0] / "annotations.json", broken(mended))
    shutil.copytree(config.output, output)
    for kind, kind_of_record in (("motions", MotionSequence), ("scenes", Scene)):  # a file for each sequence
        (shard,) = (output / kind).iterdir()
        for record in iter_parquet(kind_of_record, shard):
            write_parquet([record], output / kind / storage.shard_name([record.id]))
        shard.unlink()
    kept, lost = (output / kind / storage.shard_name([IDS[k]]) for k, kind in ((0, "motions"), (1, "scenes")))
    lost.unlink()
    written = kept.stat().st_mtime_ns
    reconstruct(replace(config, rooms=mended, output=str(output), max_rejected_fraction=0.0))
    assert kept.stat().st_mtime_ns == written
    for kind in ("motions", "scenes"):
        assert len(list((output / kind).iterdir())) == 2
        assert sorted(storage.read_column(str(output / kind), "id")) == [*IDS, "home/room/day/9"]
    assert storage.read_rows(str(output / "rejected"), ("id",)) == []
    assert not (output / "parts").exists()


def test_what_a_killed_job_had_finished_is_not_made_again(
    config: ReconstructConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sequences lie in parts: only the broken one is tried again."""
    output = tmp_path / "output"
    for kind, kind_of_record in (("motions", MotionSequence), ("scenes", Scene)):
        for record in iter_parquet(kind_of_record, f"{config.output}/{kind}"):
            write_part(str(output), kind, record, record.id)
    tried = []

    def noted(places: list[str], crop_size: int, config: ReconstructConfig) -> list[Row]:
        tried.extend(places)
        return []

    monkeypatch.setattr("ray_jobs.reconstruct.job.reconstruct_all", noted)
    reconstruct(replace(config, output=str(output)))
    assert tried == [str(broken(Path(config.rooms)))]
    for kind in ("motions", "scenes"):
        (made, before) = (storage.read_column(str(Path(each) / kind), "id") for each in (output, config.output))
        assert made == before == IDS


def test_too_many_rejected_fails_and_keeps_the_good(config: ReconstructConfig, tmp_path: Path) -> None:
    output = tmp_path / "output"
    shutil.copytree(config.output, output)
    with pytest.raises(InputError, match=r"1 of 3 sequences were rejected, more than max_rejected_fraction = 0.05"):
        reconstruct(replace(config, output=str(output), max_rejected_fraction=0.05))
    assert len(read_motions(output / "motions")) == 2


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("body_actors", 0, "1 or more"),
        ("fit_actors", -1, "0 or more"),
        ("batch_size", -1, "1 or more"),
        ("num_gpus", -1.0, "0, 0.0001 to 1, or a whole number"),
        ("num_gpus", math.nan, "0, 0.0001 to 1, or a whole number"),
    ],
)
def test_numbers_that_no_actor_could_have_are_refused(name: str, value: float, expected: str) -> None:
    with pytest.raises(InputError, match=f"^{name} is {value}, expected {expected}$"):
        ReconstructConfig("rooms", "output", **{name: value})


@pytest.mark.parametrize(("cpus", "asked", "found"), [(2.0, 0, 1), (16.0, 0, 14), (1.0, 0, 1), (16.0, 3, 3)])
def test_fits_take_the_cpus_that_others_leave(
    cpus: float, asked: int, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": cpus})
    assert fit_actors(ReconstructConfig("rooms", "output", fit_actors=asked)) == found


@pytest.mark.parametrize(
    ("num_gpus", "fit_gpus", "found"), [(1.0, 0.5, 4), (0.5, 1.0, 3), (2.0, 1.0, 1), (1.0, 0.1, 14)]
)
def test_fits_take_the_gpus_that_networks_leave(
    num_gpus: float, fit_gpus: float, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 16.0, "GPU": 4.0})
    assert fit_actors(ReconstructConfig("rooms", "output", num_gpus=num_gpus, fit_gpus=fit_gpus)) == found


def test_another_mode_takes_another_output(config: ReconstructConfig) -> None:
    with pytest.raises(InputError, match="was made with mode: hybrid: keep that, or take another output"):
        reconstruct(replace(config, mode="regression"))


def test_missing_weights_are_the_jobs_error(config: ReconstructConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.ckpt"):
        reconstruct(replace(config, output=str(tmp_path / "output"), regressor=str(tmp_path / "nowhere.ckpt")))


def test_what_was_reconstructed_can_be_prepared_for_training(config: ReconstructConfig, tmp_path: Path) -> None:
    prepare(PrepareConfig(str(tmp_path / "data"), (f"teton:{config.output}",)))
    motions = read_motions(tmp_path / "data" / "motions")
    assert sorted(motion.id for motion in motions) == [f"teton/{name}" for name in IDS]
    assert all(motion.fps == 20 and motion.texts[0] for motion in motions)
    assert all(np.abs(motion.joints[0, 0, 0, :2]).max() < 1e-3 for motion in motions)


def test_a_folder_without_sequences_is_refused_and_leaves_nothing(config: ReconstructConfig, tmp_path: Path) -> None:
    empty = replace(config, rooms=tmp_path / "nowhere", output=str(tmp_path / "out"))
    with pytest.raises(InputError, match=r"there is no folder .*nowhere, expected the root of a Teton tree"):
        reconstruct(empty)
    assert not (tmp_path / "out").exists()
