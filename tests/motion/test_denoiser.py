"""The denoiser: the author's own numbers, and the invariances that conditioning relies on."""

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from motion.denoiser import Conditions, Denoiser, DenoiserConfig
from motion.scene_tokens import POINTS_PER_GROUP

TINY = DenoiserConfig(width=32, layers=2, heads=4, feedforward=64, text_dim=8, dropout=0.0)


def conditions(batch: int, persons: int, frames: int, text_dim: int, groups: int = 0) -> Conditions:
    generator = torch.Generator().manual_seed(3)
    return Conditions(
        valid=torch.ones(batch, persons, frames, dtype=torch.bool),
        identity=torch.arange(persons).expand(batch, persons),
        person_class=torch.zeros(batch, persons, dtype=torch.long),
        action=torch.zeros(batch, persons, frames, dtype=torch.long),
        text=torch.randn(batch, text_dim, generator=generator),
        text_valid=torch.ones(batch, dtype=torch.bool),
        points=torch.randn(batch, groups, POINTS_PER_GROUP, 3, generator=generator),
        points_valid=torch.ones(batch, groups, dtype=torch.bool),
    )


@pytest.fixture
def tiny() -> Denoiser:
    torch.manual_seed(0)
    return Denoiser(TINY).eval()


def recipe_weight(key: str, shape: torch.Size) -> torch.Tensor:
    """The weight recipe of the golden vectors (their README)."""
    x = torch.randn(tuple(shape), generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
    if len(shape) >= 2:
        return 0.02 * x
    return 1.0 + 0.01 * x if key.endswith(".weight") else 0.01 * x


# Our parameter name -> the name in the author's code.
AUTHORS_KEYS = {
    "embed_motion": "emb_motion",
    "embed_text": "emb_desc",
    "embed_identity": "emb_id",
    "embed_frame.mlp": "emb_pos.time_embed",
    "embed_step.mlp": "emb_t.time_embed",
    "output": "unemb_motion",
    "qkv.weight": "self_attn.in_proj_weight",
    "out.weight": "self_attn.out_proj.weight",
    "attention_norm": "norm1",
    "feedforward_norm": "norm2",
    "feedforward.0": "linear1",
    "feedforward.3": "linear2",
}


def authors_key(name: str) -> str:
    if name.startswith("blocks."):
        _, index, rest = name.split(".", 2)
        prefix = f"transformer.layers.{index}."
    else:
        prefix, rest = "", name
    ours = next(key for key in AUTHORS_KEYS if rest == key or rest.startswith(key + "."))
    return prefix + AUTHORS_KEYS[ours] + rest[len(ours) :]


def test_golden_scene_denoiser(golden: Path) -> None:
    """The thesis' network (139.8 M parameters) reproduces the author's forward passes."""
    expected = np.load(golden / "denoisers" / "scene.npz")
    config = DenoiserConfig(
        width=1024, layers=16, heads=16, feedforward=2048, text_dim=768, max_persons=17, num_features=286
    )
    with torch.device("meta"):
        network = Denoiser(config)
    weights = {}
    for name, value in network.state_dict().items():
        new_here = name.startswith(("embed_class", "embed_action", "embed_points"))
        weights[name] = torch.zeros(value.shape) if new_here else recipe_weight(authors_key(name), value.shape)
    network.load_state_dict(weights, assign=True)
    network.eval()

    x = torch.randn((2, 3, 12, 286), generator=torch.Generator().manual_seed(0))
    text = torch.randn((2, 768), generator=torch.Generator().manual_seed(1))
    t = torch.from_numpy(expected["in.t"])
    identity = torch.from_numpy(expected["in.identity_ids"]).expand(2, 3)
    given = replace(conditions(2, 3, 12, 768), text=text, identity=identity)
    masked = replace(
        given,
        valid=torch.from_numpy(expected["in.motion_mask"]),
        text_valid=torch.from_numpy(expected["in.description_mask"]),
    )
    cases = {
        "cond": masked,
        "cond_all_unmasked": given,
        "uncond": given.without(torch.ones(2, dtype=torch.bool)),
    }
    with torch.no_grad():
        for name, case in cases.items():
            np.testing.assert_allclose(network(x, t, case), expected[f"out.{name}"], atol=1e-4, err_msg=name)


def test_padding_changes_nothing(tiny: Denoiser) -> None:
    x, t = torch.randn(1, 2, 6, 282), torch.tensor([7])
    given = conditions(1, 2, 6, 8)
    padded_x = torch.nn.functional.pad(x, (0, 0, 0, 3, 0, 1), value=5.0)
    padded = replace(
        given,
        valid=torch.nn.functional.pad(given.valid, (0, 3, 0, 1)),
        identity=torch.nn.functional.pad(given.identity, (0, 1), value=9),
        person_class=torch.nn.functional.pad(given.person_class, (0, 1)),
        action=torch.nn.functional.pad(given.action, (0, 3, 0, 1)),
    )
    torch.testing.assert_close(tiny(padded_x, t, padded)[:, :2, :6], tiny(x, t, given), atol=1e-5, rtol=0)


def test_persons_are_exchangeable(tiny: Denoiser) -> None:
    """Swapping two persons together with their identities swaps the output."""
    x, t = torch.randn(1, 2, 5, 282), torch.tensor([3])
    given = conditions(1, 2, 5, 8)
    swapped = replace(given, identity=given.identity.flip(1))
    torch.testing.assert_close(tiny(x.flip(1), t, swapped), tiny(x, t, given).flip(1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("condition", ["text", "person_class", "action", "points"])
def test_each_condition_moves_the_output_and_can_be_dropped(tiny: Denoiser, condition: str) -> None:
    x, t = torch.randn(2, 1, 4, 282), torch.tensor([3, 900])
    given = conditions(2, 1, 4, 8, groups=2)
    value = getattr(given, condition)
    changed = replace(given, **{condition: value + 1})
    assert (tiny(x, t, changed) - tiny(x, t, given)).abs().max() > 1e-3
    everyone = torch.ones(2, dtype=torch.bool)
    torch.testing.assert_close(tiny(x, t, changed.without(everyone)), tiny(x, t, given.without(everyone)))


def test_dropping_touches_only_the_chosen_sample(tiny: Denoiser) -> None:
    x, t = torch.randn(2, 1, 4, 282), torch.tensor([3, 900])
    given = conditions(2, 1, 4, 8)
    dropped = tiny(x, t, given.without(torch.tensor([True, False])))
    plain = tiny(x, t, given)
    torch.testing.assert_close(dropped[1], plain[1])
    assert (dropped[0] - plain[0]).abs().max() > 1e-3
