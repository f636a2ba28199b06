"""Motions that `ray_jobs.reconstruct` made of annotated room videos: Parquet records, ROOT/motions/*.parquet.

Input and output are the same world: Z up, metres, floor z = 0. Motions keep their scene's id, but once a job has turned
and shifted them to a canonical start they no longer lie in that scene's coordinates. A record of another body (SMPL's,
from HMR2.0's official weights) keeps its rotations and its joints' bone lengths on the body asked for.
"""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from motion.body import Body
from motion.datasets.clip import Clip
from motion.errors import InputError
from motion.parquet import find_record, parquet_files
from motion.sequence import MotionSequence
from motion.smpl_parameters import SmplParameters

LICENCE = "Reconstructed from your own videos; simulated rooms move by DeepMimic's clips (MIT)."


def list_clips(root: Path) -> list[Clip]:
    """List all motions under `root`/motions, sorted by id; raises InputError if there is no Parquet file."""
    files = parquet_files(root / "motions")
    if not files:
        raise InputError(f"{root} holds no motions/*.parquet, expected the output of `python -m ray_jobs.reconstruct`")
    clips = [clip for file in files for clip in _clips(file)]
    return sorted(clips, key=lambda clip: clip.id)


def _clips(file: str) -> list[Clip]:
    try:
        rows = pq.read_table(file, columns=["id", "split", "texts"]).to_pylist()
    except (pa.ArrowException, OSError) as error:
        problem = f"{file}: cannot be read ({error}), expected Parquet of motions"
        return [Clip(f"teton/{Path(file).stem}", "teton", (file,), problem=problem)]
    return [Clip(f"teton/{row['id']}", "teton", (file,), row["split"], tuple(row["texts"])) for row in rows]


def read_clip(clip: Clip, body: Body) -> MotionSequence:
    """Read the motion at its own frame rate, posed with `body`; raises InputError if it cannot be read."""
    if clip.problem:
        raise InputError(clip.problem)
    name = clip.id.removeprefix("teton/")
    found = find_record(MotionSequence, clip.files[0], name)
    if found is None:
        raise InputError(f"{clip.files[0]}: no longer holds the motion {name!r}; list the clips again")
    return replace(_on_body(found, body), id=clip.id, split=clip.split)


def _on_body(motion: MotionSequence, body: Body) -> MotionSequence:
    if motion.body == body.name:
        return motion
    seen = torch.from_numpy(motion.joints)
    betas = body.fit_betas(seen, torch.ones(seen.shape[2], dtype=torch.bool))
    posed = SmplParameters.from_pelvis(seen[:, :, 0], motion.parameters.rotations, betas, body)
    return replace(motion, **posed.posed_arrays(body))
