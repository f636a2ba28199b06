"""Loading of evaluators by a name on the command line: whose loader reads which path."""

from pathlib import Path

import pytest

from motion.errors import InputError
from motion.evaluator import Evaluator, evaluator_bytes, load_evaluator


def test_our_evaluator_is_a_plain_path(evaluator: Evaluator, tmp_path: Path) -> None:
    path = tmp_path / "evaluator.safetensors"
    path.write_bytes(evaluator_bytes(evaluator.network))
    assert (load_evaluator(str(path)).name, load_evaluator(str(path)).dim) == ("carescene", 16)


@pytest.mark.parametrize(
    ("spec", "asked"),
    [
        ("interclip:{}/interclip.ckpt", "interclip.ckpt"),
        ("humanml3d:{}", "finest.tar"),
        ("{}/ours.safetensors", "ours.safetensors"),
        ("unknown:{}/ours.safetensors", "unknown:.*ours.safetensors"),
    ],
)
def test_each_kind_asks_for_its_own_file(spec: str, asked: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=asked):
        load_evaluator(spec.format(tmp_path))
