"""InterCLIP at full size with made-up weights, in a file as the authors', against the same sums written out."""

import argparse
import math
import re
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from motion.body import load_body
from motion.errors import InputError
from motion.evaluator.interclip import InterClipEvaluator, load_interclip
from motion.evaluator.protocol import INTERHUMAN
from motion.representations import intergen_262
from motion.sequence import MotionSequence
from tests.helpers import clips

BODY = load_body()
SCALE = 1.7
TEXTS = ["Hello World!", "One pushes the other, who falls to the floor!", "they walk on and " * 40]


def official_shapes() -> dict[str, tuple[int, ...]]:
    """List names and shapes of `interclip.ckpt`, as they follow from InterGen's code and configuration."""
    shapes = {
        "motion_encoder.query_token": (1, 1024),
        "motion_encoder.sequence_pos_encoder.pe": (2000, 1024),
        "token_embedding.weight": (49408, 768),
        "positional_embedding": (77, 768),
        "latent_scale": (1,),
    }
    linear = {"motion_encoder.embed_motion": (1024, 516), "motion_encoder.out": (512, 1024), "out": (512, 768)}
    norms = {"motion_encoder.out_ln": 1024, "text_ln": 768}
    for tower, width in (("motion_encoder.transformer", 1024), ("textTransEncoder", 768)):
        for layer in (f"{tower}.layers.{i}." for i in range(8)):
            shapes |= {f"{layer}self_attn.in_proj_weight": (3 * width, width)}
            shapes |= {f"{layer}self_attn.in_proj_bias": (3 * width,)}
            linear |= {f"{layer}self_attn.out_proj": (width, width)}
            linear |= {f"{layer}linear1": (2048, width), f"{layer}linear2": (width, 2048)}
            norms |= {f"{layer}norm1": width, f"{layer}norm2": width}
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name, width in norms.items():
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    return shapes


def recipe_weight(key: str, shape: tuple[int, ...]) -> Tensor:
    """Compute a weight by the recipe of the golden vectors (their README)."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
    if len(shape) >= 2:
        return 0.02 * x
    return 1.0 + 0.01 * x if key.endswith(".weight") else 0.01 * x


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """Make 150 million numbers."""
    made = {key: recipe_weight(key, shape) for key, shape in official_shapes().items()}
    return made | {"latent_scale": torch.tensor([SCALE])}


@pytest.fixture(scope="module")
def evaluator(weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> InterClipEvaluator:
    path = tmp_path_factory.mktemp("interclip") / "interclip.ckpt"
    prefixed = {f"model.{key}": value for key, value in weights.items()}
    torch.save({"epoch": 5, "pytorch-lightning_version": "1.9.1", "state_dict": prefixed}, path)
    evaluator = load_interclip(path)
    path.unlink()
    return evaluator


def duet(frames: int, seed: int = 0) -> MotionSequence:
    return replace(clips.motion(BODY, frames, seed), fps=30.0)


def layer_norm(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    deviation = (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    return centred / deviation * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def transformer(x: Tensor, w: dict[str, Tensor], tower: str) -> Tensor:
    """Run eight post-norm layers of eight heads over (token, width)."""
    for layer in (f"{tower}.layers.{i}." for i in range(8)):
        qkv = x @ w[f"{layer}self_attn.in_proj_weight"].T + w[f"{layer}self_attn.in_proj_bias"]
        q, k, v = qkv.reshape(len(x), 3, 8, -1).permute(1, 2, 0, 3)
        mixed = ((q @ k.mT) / math.sqrt(q.shape[-1])).softmax(dim=-1) @ v
        x = layer_norm(
            x + linear(mixed.transpose(0, 1).flatten(1), w, f"{layer}self_attn.out_proj"), w, f"{layer}norm1"
        )
        hidden = linear(x, w, f"{layer}linear1")
        hidden = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
        x = layer_norm(x + linear(hidden, w, f"{layer}linear2"), w, f"{layer}norm2")
    return x


def expected_motion(motion: MotionSequence, weights: dict[str, Tensor]) -> Tensor:
    w = {key.removeprefix("motion_encoder."): value for key, value in weights.items() if key.startswith("motion_")}
    one, other = intergen_262(motion)
    tokens = torch.cat([w["query_token"], linear(torch.cat([one[:, :258], other[:, :258]], dim=1), w, "embed_motion")])
    states = transformer(tokens + w["sequence_pos_encoder.pe"][: len(tokens)], w, "transformer")
    out = linear(layer_norm(states[0], w, "out_ln"), w, "out")
    return SCALE * out / out.norm()


def expected_text(tokens: list[int], w: dict[str, Tensor]) -> Tensor:
    padded = torch.tensor(tokens + [0] * (77 - len(tokens)))
    states = transformer(w["token_embedding.weight"][padded] + w["positional_embedding"], w, "textTransEncoder")
    out = linear(layer_norm(states[len(tokens) - 1], w, "text_ln"), w, "out")
    return SCALE * out / out.norm()


def test_motions_of_a_mixed_batch_are_what_the_sums_give_for_each(
    evaluator: InterClipEvaluator, weights: dict[str, Tensor]
) -> None:
    motions = [duet(9, 1), duet(40, 2), duet(23, 3)]
    together = evaluator.embed_motions(motions)
    torch.testing.assert_close(together, torch.stack([expected_motion(m, weights) for m in motions]), atol=1e-5, rtol=0)
    torch.testing.assert_close(evaluator.embed_motions(motions[:1]), together[:1], atol=1e-5, rtol=0)
    assert torch.pdist(together).min() > 1e-2


def test_persons_have_an_order(evaluator: InterClipEvaluator) -> None:
    motion = duet(20)
    turned: dict[str, Any] = {name: np.ascontiguousarray(getattr(motion, name)[::-1]) for name in MotionSequence.ARRAYS}
    both = evaluator.embed_motions([motion, replace(motion, **turned)])
    assert torch.pdist(both).item() > 1e-2


def test_texts_are_what_the_sums_give(evaluator: InterClipEvaluator, weights: dict[str, Tensor]) -> None:
    """The token numbers are CLIP's; a long text is cut and keeps the end token."""
    hello = [49406, 3306, 1002, 256, 49407]  # as CLIP's own notebook shows
    walk = [49406, *(25 * [889, 2374, 525, 537])[:75], 49407]
    expected = torch.stack([expected_text(tokens, weights) for tokens in (hello, walk)])
    found = evaluator.embed_texts(TEXTS)
    torch.testing.assert_close(found[[0, 2]], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(evaluator.embed_texts(TEXTS[1:2]), found[1:2], atol=1e-5, rtol=0)
    assert torch.pdist(found).min() > 1e-2


def test_it_says_what_it_is(evaluator: InterClipEvaluator) -> None:
    assert (evaluator.name, evaluator.dim, evaluator.fps, evaluator.protocol) == ("interclip", 512, 30.0, INTERHUMAN)
    assert re.fullmatch("[0-9a-f]{12}", evaluator.version)
    torch.testing.assert_close(evaluator.embed_texts(TEXTS).norm(dim=1), torch.full((3,), SCALE))


def test_other_than_two_persons_or_too_long_is_refused(evaluator: InterClipEvaluator) -> None:
    with pytest.raises(InputError, match="clip: has 1 person.*expected 2"):
        evaluator.embed_motions([replace(clips.random_clip(BODY, persons=1), fps=30.0)])
    with pytest.raises(InputError, match="has 301 frames, expected at most 300"):
        evaluator.embed_motions([duet(301)])
    with pytest.raises(InputError, match="has 20 frames per second, expected 30"):
        evaluator.embed_motions([clips.motion(BODY)])


def test_each_wrong_weight_is_named(tmp_path: Path) -> None:
    path = tmp_path / "interclip.ckpt"
    torch.save({"state_dict": {"model.latent_scale": torch.ones(2), "model.new": torch.ones(1)}}, path)
    with pytest.raises(InputError) as error:
        load_interclip(path)
    for key in official_shapes().keys() - {"latent_scale"}:
        assert f"lacks {key}," in str(error.value)
    assert "holds new too" in str(error.value)
    assert "has latent_scale of shape (2,), not (1,)" in str(error.value)


def test_a_file_that_holds_code_is_refused_and_its_weights_alone_are_not(tmp_path: Path) -> None:
    path, weights = tmp_path / "interclip.ckpt", {"state_dict": {"model.new": torch.ones(1)}}
    torch.save(weights | {"hyper_parameters": argparse.Namespace(lr=1)}, path)
    with pytest.raises(InputError, match=r"holds a argparse\.Namespace, which could .* dict of nothing but state_dict"):
        load_interclip(path)
    torch.save(weights, path)
    with pytest.raises(InputError, match="holds new too"):
        load_interclip(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "damaged"), (b"hello", "damaged"), (None, "does not exist")],
)
def test_no_such_file_or_a_damaged_one(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "interclip.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        load_interclip(path)


def test_a_file_without_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "interclip.ckpt"
    contents: list[Any] = [{"model": {}}, {"state_dict": {"a": 1}}, torch.ones(1)]
    for content in contents:
        torch.save(content, path)
        with pytest.raises(InputError, match="holds no weights 'state_dict'"):
            load_interclip(path)
