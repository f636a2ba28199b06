"""Text–motion evaluator: what it must not depend on, its file, and what it refuses."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.body import load_body
from motion.clips.augment import translate, yaw
from motion.errors import InputError
from motion.evaluator import Evaluator, EvaluatorConfig, EvaluatorNetwork, evaluator_bytes, load_evaluator
from motion.evaluator.carescene import FORMAT
from motion.evaluator.protocol import CARESCENE
from motion.sequence import MotionSequence
from tests.helpers.clips import motion
from tests.helpers.evaluators import CONFIG, embed


@settings(max_examples=10)
@given(angle=st.floats(-3.1, 3.1), x=st.floats(-9, 9), y=st.floats(-9, 9))
def test_where_it_happens_and_which_way_it_faces_do_not_matter(angle: float, x: float, y: float) -> None:
    body = load_body()
    torch.manual_seed(1)
    evaluator = Evaluator(EvaluatorNetwork(CONFIG), "version")
    clip = motion(body)
    moved = translate(yaw(clip, angle, body), np.array([x, y], dtype=np.float32), body)
    here, there = embed(evaluator, clip, moved)
    assert (here - there).abs().max() < 1e-4


def test_a_file_holds_the_whole_evaluator_and_names_its_version(
    evaluator: Evaluator, dance: MotionSequence, tmp_path: Path
) -> None:
    path = tmp_path / "evaluator.safetensors"
    path.write_bytes(evaluator_bytes(evaluator.network))
    loaded = load_evaluator(str(path))
    assert torch.equal(loaded.embed_motions([dance]), evaluator.embed_motions([dance]))
    texts = ["a person falls", "a person walks"]
    assert torch.equal(loaded.embed_texts(texts), evaluator.embed_texts(texts))
    assert (loaded.name, loaded.dim, loaded.fps, loaded.protocol) == ("carescene", 16, 20.0, CARESCENE)
    again = tmp_path / "again.safetensors"
    again.write_bytes(evaluator_bytes(EvaluatorNetwork(CONFIG)))
    assert len(loaded.version) == 12
    assert load_evaluator(str(again)).version != loaded.version


def test_what_is_refused(evaluator: Evaluator, dance: MotionSequence, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="made/up: has 30 frames per second, the evaluator takes 20"):
        embed(evaluator, replace(dance, fps=30.0))
    with pytest.raises(InputError, match=f"no file of format {FORMAT} at .*ray_jobs.train_evaluator"):
        load_evaluator(str(tmp_path / "absent.safetensors"))
    with pytest.raises(InputError, match="width is 30, expected a multiple of 2 \\* heads = 8"):
        EvaluatorConfig(width=30, heads=4)
    for name, value in (("heads", 0), ("dim", -1), ("dropout", math.nan), ("fps", math.nan)):
        with pytest.raises(InputError, match=f"^{name} is {value}, expected "):
            EvaluatorConfig(**{name: value})
    wider = EvaluatorNetwork(replace(CONFIG, width=64))
    other = tmp_path / "other.safetensors"
    other.write_bytes(evaluator_bytes(wider).replace(b'\\"width\\": 64', b'\\"width\\": 32'))
    with pytest.raises(
        InputError, match="holds another architecture: it has summary of shape .*expected what its description says"
    ):
        load_evaluator(str(other))
