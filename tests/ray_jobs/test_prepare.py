"""Preparation of source files to Parquet on a real Ray cluster."""

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import ray.data
import torch

from motion.body import load_body
from motion.clips.sanity import FLAGS, STATURE
from motion.clips.transforms import windows
from motion.datasets.bvh_names import LAYOUTS
from motion.datasets.splits import Holding
from motion.errors import InputError
from motion.features import encode_sequence
from motion.parquet import parquet_files
from motion.sequence import read_motions
from ray_jobs.common import storage
from ray_jobs.common.prepared_data import read_normalizer
from ray_jobs.prepare import (
    WITH_LISTS,
    PrepareConfig,
    block_moments,
    check_body,
    drop_duplicates,
    list_clips,
    prepare,
    read_functions,
)
from tests.conftest import CLIPS
from tests.helpers.clips import motion, random_clip
from tests.helpers.sources import bvh as bvh_source
from tests.helpers.sources.forms import ORIGINAL, PROCESSED, Form
from tests.helpers.sources.humanml3d import walk


def test_clips_become_records(prepared: Path) -> None:
    clips = read_motions(prepared / "motions")
    assert sorted(clip.id for clip in clips) == sorted(f"deepmimic/{name}" for name in CLIPS)
    assert all(clip.fps == 20 and clip.texts for clip in clips)
    frames = torch.cat([encode_sequence(clip)[0] for clip in clips])
    normal = read_normalizer(str(prepared)).normalize(frames)
    moving = normal.std(dim=0) > 0.5
    torch.testing.assert_close(normal.mean(dim=0), torch.zeros(282), atol=1e-2, rtol=0)
    torch.testing.assert_close(normal.std(dim=0, correction=0)[moving], torch.ones(int(moving.sum())))


def test_a_read_starts_one_reader_of_footers(prepared: Path) -> None:
    """Ray's own default is 32 processes for each read, which a laptop spends seconds and gigabytes on."""
    before = footer_readers()
    assert len(ray.data.read_parquet(str(prepared / "motions")).take_all()) == len(CLIPS)
    assert footer_readers() == before + 1


def footer_readers() -> int:
    """Count the actors that read footers, dead ones included."""
    return sum(actor["ActorClassName"] == "FooterReader" for actor in ray._private.state.actors().values())


def test_run_again_it_reads_only_what_is_missing(ray_cluster: None, clip_folder: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "source", tmp_path / "output"
    source.mkdir()
    shutil.copy(clip_folder / "humanoid3d_walk.txt", source)
    config = PrepareConfig(str(output), (f"deepmimic:{source}",))
    prepare(config)
    (first,) = parquet_files(output / "motions")
    written = Path(first).stat().st_mtime_ns
    shutil.copy(clip_folder / "humanoid3d_run.txt", source)
    prepare(config)
    assert Path(first).stat().st_mtime_ns == written
    assert sorted(clip.id for clip in read_motions(output / "motions")) == [
        "deepmimic/humanoid3d_run",
        "deepmimic/humanoid3d_walk",
    ]


def test_a_caption_that_is_added_and_a_file_that_changes_are_seen(ray_cluster: None, tmp_path: Path) -> None:
    """The same command reads those clips anew, and those alone, as often as they change."""
    source, output = tmp_path / "source", tmp_path / "output"
    source.mkdir()
    for seed, name in enumerate(("one", "two", "three")):
        bvh_source.write_pose(source / f"{name}.bvh", walk(1.0, 30.0, seed), 30.0, bvh_source.BIOVISION, unit=0.01)
    config = PrepareConfig(str(output), (f"bvh:{source}",))

    def captions() -> dict[str, list[str]]:
        prepare(config)
        return {clip.id.removeprefix("bvh/"): clip.texts for clip in read_motions(output / "motions")}

    assert captions() == {"one": [], "two": [], "three": []}
    assert "No clip has a caption" in (output / "card.html").read_text(encoding="utf-8")
    (source / "two.txt").write_text("a person walks", encoding="utf-8")
    assert captions() == {"one": [], "two": ["a person walks"], "three": []}
    assert "No clip has a caption" not in (output / "card.html").read_text(encoding="utf-8")
    (source / "two.txt").unlink()
    bvh_source.write_pose(source / "three.bvh", walk(0.5, 30.0, 3), 30.0, bvh_source.BIOVISION, unit=0.01)
    assert captions() == {"one": [], "two": [], "three": []}
    lengths = {clip.id: clip.num_frames for clip in read_motions(output / "motions")}
    assert lengths["bvh/three"] < lengths["bvh/one"] == lengths["bvh/two"]


def test_bad_clips_are_rejected_with_their_sentence_and_good_ones_kept(
    ray_cluster: None, clip_folder: Path, tmp_path: Path
) -> None:
    source, output = tmp_path / "source", tmp_path / "output"
    shutil.copytree(clip_folder, source)
    (source / "humanoid3d_cut.txt").write_text((source / "humanoid3d_walk.txt").read_text()[:500])
    (source / "humanoid3d_empty.txt").write_text('{"Frames": []}')
    config = PrepareConfig(str(output), (f"deepmimic:{source}",))
    with pytest.raises(InputError, match="2 of 5 clips were rejected, more than max_rejected_fraction"):
        prepare(config)
    assert len(read_motions(output / "motions")) == len(CLIPS)
    (rejected,) = parquet_files(output / "rejected")
    rows = {row["id"]: row["reason"] for row in pq.read_table(rejected).to_pylist()}
    assert set(rows) == {"deepmimic/humanoid3d_cut", "deepmimic/humanoid3d_empty"}
    assert all(name.rsplit("/")[-1] in reason for name, reason in rows.items())
    (source / "humanoid3d_cut.txt").unlink()
    (source / "humanoid3d_empty.txt").unlink()
    prepare(config)
    assert parquet_files(output / "rejected") == [], "what was mended is rejected no longer"


def test_nothing_to_train_on_is_said(ray_cluster: None, tmp_path: Path) -> None:
    (tmp_path / "humanoid3d_bad.txt").write_text("no JSON")
    with pytest.raises(InputError, match="holds no training clips"):
        prepare(PrepareConfig(str(tmp_path / "output"), (f"deepmimic:{tmp_path}",)))
    with pytest.raises(InputError, match="no normalizer.safetensors in"):
        read_normalizer(str(tmp_path))


@pytest.mark.parametrize("forms", [ORIGINAL, PROCESSED], ids=["original", "processed"])
def test_every_source_in_one_run_and_every_malformed_file_rejected(
    ray_cluster: None, tmp_path: Path, forms: dict[str, Form]
) -> None:
    """Ten and more malformed files a source become a row each with its sentence, and the rest is complete."""
    good, bad = [], {}
    for name, form in forms.items():
        good += form.write_dataset(tmp_path / name)
        malformed = form.write_malformed(tmp_path / name)
        assert len(malformed) >= 10, name
        bad |= malformed
    output = tmp_path / "output"
    sources = tuple(f"{name}:{tmp_path / name}" for name in forms)
    prepare(PrepareConfig(str(output), sources, max_rejected_fraction=0.99))
    rejected = dict(storage.read_rows(str(output / "rejected"), ("id", "reason")))
    assert set(rejected) == set(bad)
    assert {name: reason for name, reason in rejected.items() if not re.search(bad[name], reason)} == {}
    assert not [reason for reason in rejected.values() if "while reading" in reason], "no InputError"
    clips = read_motions(output / "motions")
    twice = storage.read_column(str(output / "duplicates.parquet"), "id")
    assert sorted([clip.id for clip in clips] + twice) == sorted(good)
    assert {clip.fps for clip in clips} == {20.0}
    card = (output / "card.html").read_text()
    assert all(f"<td>{name}</td>" in card for name in forms)


def test_a_motion_that_is_there_twice_is_left_out_and_noted(
    ray_cluster: None, clip_folder: Path, tmp_path: Path
) -> None:
    """Name, place and heading do not matter; the clip listed first stays, and a second run changes nothing."""
    source, output = tmp_path / "source", tmp_path / "output"
    shutil.copytree(clip_folder, source)
    config = PrepareConfig(str(output), (f"deepmimic:{source}",))
    prepare(config)
    walk = json.loads((source / "humanoid3d_walk.txt").read_text())
    for frame in walk["Frames"]:
        frame[1] += 3.0
    (source / "humanoid3d_zz.txt").write_text(json.dumps(walk))
    for _ in range(2):  # the second file of motions has no row left
        prepare(config)
        ids = sorted(clip.id for clip in read_motions(output / "motions"))
        assert ids == sorted(f"deepmimic/{name}" for name in CLIPS)
        noted = storage.read_rows(str(output / "duplicates.parquet"), ("id", "same_as"))
        assert noted == [("deepmimic/humanoid3d_zz", "deepmimic/humanoid3d_walk")]
    assert len(parquet_files(output / "motions")) == 2


def test_of_two_the_same_one_with_a_caption_stays_else_the_first_listed(tmp_path: Path) -> None:
    """Names do not matter: the order of the list does, in which a source named first comes first."""
    motions, duplicates = str(tmp_path / "motions"), str(tmp_path / "duplicates.parquet")
    same = np.ones(4, dtype=np.float32)
    row = {"texts": ["a person walks"], "signature": same}
    survey = [row | {"id": name, "clip": name} for name in ("a", "b", "silent")]
    other = row | {"id": "other", "clip": "other", "signature": -same}
    survey[2]["texts"] = []
    left = drop_duplicates([*survey, other], motions, duplicates, ["silent", "b", "a", "other"])
    assert [row["id"] for row in left] == ["b", "other"]
    assert storage.read_rows(duplicates, ("id", "same_as")) == [("a", "b"), ("silent", "b")]


def test_long_clips_are_cut_into_equal_pieces(ray_cluster: None, clip_folder: Path, tmp_path: Path) -> None:
    prepare(PrepareConfig(str(tmp_path), (f"deepmimic:{clip_folder}",), max_seconds=0.7))
    whole = {path.stem: json.loads(path.read_text())["Frames"] for path in clip_folder.iterdir()}
    clips = read_motions(tmp_path / "motions")
    assert max(clip.num_frames for clip in clips) <= 14
    for name, frames in whole.items():
        pieces = [clip for clip in clips if clip.id.startswith(f"deepmimic/{name}@")]
        assert len(pieces) > 1
        seconds = sum(frame[0] for frame in frames[:-1])
        assert abs(sum(piece.num_frames for piece in pieces) - (20 * seconds + 1)) < 1, "no frame is lost"
        for piece in pieces:
            assert np.abs(piece.joints[0, 0, 0, :2]).max() < 1e-4, "each starts from the origin"
            assert piece.texts


def test_what_was_lost_is_made_anew_and_what_is_not_ours_refused(
    ray_cluster: None, clip_folder: Path, tmp_path: Path
) -> None:
    config = PrepareConfig(str(tmp_path), (f"deepmimic:{clip_folder}",))
    prepare(config)
    (file,) = (tmp_path / "motions").iterdir()
    content = read_motions(file)
    file.unlink()
    (tmp_path / "motions" / f".{file.name}.0a.partial").write_text("of a killed worker")
    prepare(config)
    (file,) = (tmp_path / "motions").iterdir()
    assert [clip.id for clip in read_motions(file)] == [clip.id for clip in content]
    shutil.copy(file, tmp_path / "motions" / "mine.parquet")
    with pytest.raises(InputError, match=r"motions holds mine.parquet, which no preparing job wrote"):
        prepare(config)
    (tmp_path / "motions" / "mine.parquet").unlink()
    with pytest.raises(InputError, match=r"was made with fps: 20.0: keep that, or take another output"):
        prepare(replace(config, fps=30.0))
    lines = (tmp_path / "config.yaml").read_text().splitlines()
    (tmp_path / "config.yaml").write_text("\n".join(line for line in lines if "held_out" not in line))
    with pytest.raises(InputError, match=r"was made with held_out: 0.0: keep that, or take another output"):
        prepare(replace(config, held_out=0.2))


def test_each_motion_is_checked_as_a_body() -> None:
    """A reader's odd motion says so in its provenance; a child is let in on request, and nobody without a body is."""
    body = load_body()
    floats = motion(body)
    floats = replace(floats, joints=floats.joints + 3, transl=floats.transl + 3)
    assert "person 1 floats" in check_body(floats, PrepareConfig("o"), body).provenance[FLAGS]
    child = replace(motion(body), provenance={STATURE: "1.05, 1.10"})
    check_body(child, PrepareConfig("o", min_stature=1.0), body)
    with pytest.raises(InputError, match=r"person 1 is 1\.05 m tall, expected 1\.2 to 2\.2 m"):
        check_body(child, PrepareConfig("o"), body)
    with pytest.raises(InputError, match="person 1 moves at"):
        check_body(replace(motion(body), joints=100 * motion(body).joints), PrepareConfig("o"), body)


def test_what_a_user_knows_of_bvh_files_reaches_their_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bvh_source.write_pose(tmp_path / "clip.bvh", walk(0.5, 30.0, 1), 30.0, bvh_source.BIOVISION, unit=0.02)
    text = (tmp_path / "clip.bvh").read_text(encoding="utf-8").replace("JOINT ", "JOINT my")
    (tmp_path / "clip.bvh").write_text(text, encoding="utf-8")
    names = {joint: f"my{name}" for joint, name in LAYOUTS[bvh_source.BIOVISION].joints.items()}
    (tmp_path / "map.yaml").write_text(json.dumps(names), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    config = PrepareConfig("o", (f"bvh:{tmp_path}",), scale=0.02, up_axis="y", bvh_names="map.yaml")
    monkeypatch.chdir("/")  # workers stand elsewhere
    (clip,) = list_clips(config.sources)
    read = read_functions(config)["bvh"](clip, load_body())
    told = {name: read.provenance[name] for name in ("joint_names", "metres_per_unit", STATURE)}
    assert told == {"joint_names": "--bvh-names", "metres_per_unit": "0.02", STATURE: "1.69"}
    with pytest.raises(InputError, match=r"gone\.yaml: cannot be read"):
        read_functions(replace(config, bvh_names="gone.yaml"))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"scale": 0.0}, "scale is 0.0, expected a number above 0"),
        ({"min_stature": 2.5}, "min_stature is 2.5, expected metres below 2.2"),
        ({"scale": 0.01, "sources": ("deepmimic",)}, "scale is for BVH files, expected a source bvh:FOLDER"),
    ],
)
def test_settings_of_bodies_and_of_bvh_files_are_checked(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        PrepareConfig("o", **{"sources": ("bvh:clips",)} | settings)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"fps": 1e9}, "fps is 1000000000.0, expected 5 to 1000"),
        ({"fps": 1e-9}, "fps is 1e-09, expected 5 to 1000"),
        ({"fps": 0.1}, "fps is 0.1, expected 5 to 1000"),
        ({"fps": math.nan}, "fps is nan, expected 5 to 1000"),
        ({"max_seconds": 0.01}, "max_seconds is 0.01, expected 0.2 or more"),
        ({"max_seconds": math.inf}, "max_seconds is inf, expected a finite number"),
    ],
)
def test_rates_and_lengths_that_leave_no_motion_are_refused(settings: dict[str, float], says: str) -> None:
    with pytest.raises(InputError, match=f"^{says}$"):
        PrepareConfig("o", **settings)


def test_the_shortest_pieces_are_still_motions() -> None:
    shortest = PrepareConfig("o", max_seconds=0.2)
    for frames in range(5, 40):
        for start, stop in windows(frames / shortest.fps, shortest.max_seconds):
            assert round(stop * shortest.fps) - round(start * shortest.fps) >= 2


def test_only_training_clips_are_measured_and_a_file_may_hold_none() -> None:
    clip = random_clip(load_body())
    clip.valid[1, 3:] = False  # who is not there has poses all the same, which count for nothing
    rows = [replace(clip, split=split).to_row() for split in ("test", "train", "val")]
    tables = [pa.Table.from_pylist([row], schema=clip.SCHEMA) for row in rows]
    assert [block_moments(table).num_rows for table in tables] == [0, 1, 0]
    assert block_moments(clip.SCHEMA.empty_table()).num_rows == 0
    (moments,) = block_moments(pa.concat_tables(tables)).to_pylist()
    frames = encode_sequence(clip)[torch.from_numpy(clip.valid)].double()
    assert moments["count"] == len(frames) == clip.valid.sum() < clip.valid.size
    torch.testing.assert_close(torch.tensor(moments["mean"], dtype=torch.float64), frames.mean(dim=0))


def write_names(folder: Path, subjects: range) -> None:
    """Write files of which a list of clips reads only the names; all subjects make the same 20 motions."""
    for subject in subjects:
        (folder / f"{subject:02}").mkdir(parents=True)
        for take in range(20):
            (folder / f"{subject:02}" / f"take_{take:02}.bvh").touch()


def splits(source: str, held_out: float) -> dict[str, str]:
    return {clip.id: clip.split for clip in list_clips([source], Holding(held_out))}


def test_about_the_share_is_held_out_of_each_motion_and_each_subject(tmp_path: Path) -> None:
    write_names(tmp_path, range(30))
    found = splits(f"bvh:{tmp_path}", 0.2)
    test = [name for name, split in found.items() if split == "test"]
    assert set(found.values()) == {"train", "test"}
    assert abs(len(test) - 0.2 * len(found)) < 2.5 * (0.2 * 0.8 * len(found)) ** 0.5
    assert len({name.split("/")[1] for name in test}) > 25
    assert len({name.split("/")[2] for name in test}) > 15
    more = splits(f"bvh:{tmp_path}", 0.4)
    assert all(more[name] == "test" for name in test)
    assert set(splits(f"bvh:{tmp_path}", 0.0).values()) == {"train"}


def test_a_source_that_grows_or_moves_keeps_what_is_held_out(tmp_path: Path) -> None:
    write_names(tmp_path / "old", range(5, 10))
    before = splits(f"bvh:{tmp_path / 'old'}", 0.3)
    (tmp_path / "old").rename(tmp_path / "new")
    write_names(tmp_path / "new", range(5))
    after = splits(f"bvh:{tmp_path / 'new'}", 0.3)
    assert len(after) == 2 * len(before)
    assert before.items() <= after.items()
    installed = Path(list_clips(["deepmimic"])[0].files[0]).parent
    assert splits("deepmimic", 0.3) == splits(f"deepmimic:{installed}", 0.3)


def test_spans_of_a_file_and_two_people_are_held_out_together(tmp_path: Path) -> None:
    write_names(tmp_path, range(3))
    files = sorted(tmp_path.rglob("*.bvh"))
    for file in files:
        file.with_suffix(".txt").write_text("a person walks#a#0#1\na person stops#a#1#2\na person moves\n")
    pairs = [f"00/take_{take:02}.bvh,01/take_{take:02}.bvh" for take in range(20)]
    (tmp_path / "pairs.csv").write_text("\n".join(["person1,person2", *pairs]))
    split_of: dict[str, set[str]] = {}
    for clip in list_clips([f"bvh:{tmp_path}"], Holding(0.5)):
        for name in clip.files:
            split_of.setdefault(name, set()).add(clip.split)
    assert split_of.keys() == {str(file) for file in files}
    assert all(len(found) == 1 for found in split_of.values())
    assert set.union(*split_of.values()) == {"train", "test"}


@pytest.mark.parametrize("name", WITH_LISTS)
def test_sources_with_lists_keep_them(name: str, tmp_path: Path) -> None:
    ORIGINAL[name].write_dataset(tmp_path)
    assert splits(f"{name}:{tmp_path}", 0.99) == splits(f"{name}:{tmp_path}", 0.0)


def test_held_out_files_are_written_as_test_with_all_their_pieces(
    ray_cluster: None, clip_folder: Path, tmp_path: Path
) -> None:
    source = f"deepmimic:{clip_folder}"
    by, patterns = "label", ("humanoid3d_{label}",)
    shares = {"held_out": 0.25, "validation": 0.01}
    prepare(PrepareConfig(str(tmp_path), (source,), max_seconds=0.7, held_out_by=by, name_pattern=patterns, **shares))
    clips = read_motions(tmp_path / "motions")
    listed = {clip.id: clip.split for clip in list_clips([source], Holding(0.25, 0.01, by, patterns))}
    assert {name.rpartition("_")[2]: split for name, split in listed.items()} == {
        "kick": "test",
        "walk": "val",
        "run": "train",
    }
    assert len(clips) > len(listed)
    assert {(clip.id.partition("@")[0], clip.split) for clip in clips} == set(listed.items())


def test_a_whole_source_is_held_out(clip_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "walk.bvh").touch()
    listed = list_clips([f"deepmimic:{clip_folder}", f"bvh:{tmp_path}"], Holding(0.001, by="source"))
    of = {clip.source: {other.split for other in listed if other.source == clip.source} for clip in listed}
    assert sorted(map(sorted, of.values())) == [["test"], ["train"]]


@pytest.mark.parametrize("held_out", [-0.1, 1.0, float("nan")])
def test_a_share_leaves_something_to_train_on(held_out: float) -> None:
    expected = "(a finite number|shares of 0 or more, and below 1 together)"
    with pytest.raises(InputError, match=f"^held_out is .*, expected {expected}"):
        PrepareConfig("o", held_out=held_out)


def test_ids_of_two_folders_must_not_meet(clip_folder: Path) -> None:
    twice = (f"deepmimic:{clip_folder}", "deepmimic")
    with pytest.raises(InputError, match=r"deepmimic/humanoid3d_kick is both .* prepare them apart"):
        list_clips(twice)


@pytest.mark.parametrize("source", ["youtube:/videos", "amass", "bvh:"])
def test_a_source_needs_a_reader_and_a_folder(source: str) -> None:
    with pytest.raises(InputError, match=rf"'{source}' is no source, expected NAME:FOLDER"):
        PrepareConfig("o", (source,))
