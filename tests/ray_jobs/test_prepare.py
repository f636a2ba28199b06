"""Source files to Parquet on a real Ray cluster."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from motion.errors import InputError
from motion.features import encode_sequence
from motion.sequence import parquet_files, read_motions
from ray_jobs.prepare import PrepareConfig, prepare, read_normalizer
from tests.conftest import CLIPS


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
    config = PrepareConfig(str(output), root=source)
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
    config = PrepareConfig(str(output), root=source)
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
        prepare(PrepareConfig(str(tmp_path / "output"), root=tmp_path))
    with pytest.raises(InputError, match="no normalizer.safetensors in"):
        read_normalizer(str(tmp_path))
