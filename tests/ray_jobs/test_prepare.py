"""Source files to Parquet on a real Ray cluster."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from motion.errors import InputError
from motion.features import encode_sequence
from motion.sequence import parquet_files, read_motions
from ray_jobs import storage
from ray_jobs.prepare import PrepareConfig, prepare, read_normalizer
from tests.conftest import CLIPS
from tests.motion.sources import amass, bvh, deepmimic, humanml3d, interhuman

ORIGINAL = {
    "amass": (amass.write_dataset, amass.write_malformed),
    "bvh": (bvh.write_dataset, bvh.write_malformed),
    "deepmimic": (deepmimic.write_dataset, deepmimic.write_malformed),
    "humanml3d": (humanml3d.write_dataset, humanml3d.write_malformed),
    "interhuman": (interhuman.write_dataset, interhuman.write_malformed),
}
PROCESSED = {
    "humanml3d": (humanml3d.write_processed, humanml3d.write_malformed_processed),
    "interhuman": (interhuman.write_processed, interhuman.write_malformed_processed),
}


def test_clips_become_records(prepared: Path) -> None:
    clips = read_motions(prepared / "motions")
    assert sorted(clip.id for clip in clips) == sorted(f"deepmimic/{name}" for name in CLIPS)
    assert all(clip.fps == 20 and clip.texts for clip in clips)
    frames = torch.cat([encode_sequence(clip)[0] for clip in clips])
    normal = read_normalizer(str(prepared)).normalize(frames)
    moving = normal.std(dim=0) > 0.5
    torch.testing.assert_close(normal.mean(dim=0), torch.zeros(282), atol=1e-2, rtol=0)
    torch.testing.assert_close(normal.std(dim=0, correction=0)[moving], torch.ones(int(moving.sum())))


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
    ray_cluster: None, tmp_path: Path, forms: dict[str, tuple[Callable, Callable]]
) -> None:
    """Ten and more malformed files a source: each becomes a row with its sentence, and the rest is complete."""
    good, bad = [], {}
    for name, (write_dataset, write_malformed) in forms.items():
        good += write_dataset(tmp_path / name)
        malformed = write_malformed(tmp_path / name)
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
