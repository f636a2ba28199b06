"""Denoiser: the author's own numbers, and the invariances that conditioning relies on."""

import math
import zlib
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from motion.denoiser import Conditions, Denoiser, DenoiserConfig
from motion.denoiser.conditions import CONDITION_KINDS
from motion.recipes import default
from tests.helpers.conditions import conditions
from tests.helpers.restated_denoiser import Restated

TINY = DenoiserConfig(width=32, layers=2, heads=4, feedforward=64, text_dim=8, dropout=0.0)
OURS = replace(TINY, step="modulation", time="rotary", text="words", qk_norm=True, frames_per_token=4, height_map=True)


@pytest.fixture(params=[TINY, OURS], ids=["thesis", "ours"])
def tiny(request: pytest.FixtureRequest) -> Denoiser:
    return random_network(request.param)


def random_network(config: DenoiserConfig) -> Denoiser:
    torch.manual_seed(0)
    network = Denoiser(config).eval()
    for parameter in network.parameters():  # modulation and output begin at zero
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    return network


def recipe_weight(key: str, shape: torch.Size) -> torch.Tensor:
    """Compute a weight by the recipe of the golden vectors (their README)."""
    x = torch.randn(tuple(shape), generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
    if len(shape) >= 2:
        return 0.02 * x
    return 1.0 + 0.01 * x if key.endswith(".weight") else 0.01 * x


KIND_OF = {"points": "scene", "heights": "scene"}

# Our parameter name -> the name in the author's code.
AUTHORS_KEYS = {
    "embed_motion": "emb_motion",
    "embed_text": "emb_desc",
    "embed_identity": "emb_id",
    "embed_frame.mlp": "emb_pos.time_embed",
    "embed_step.mlp": "emb_t.time_embed",
    "output": "unemb_motion",
    "attention.qkv.weight": "self_attn.in_proj_weight",
    "attention.out.weight": "self_attn.out_proj.weight",
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
    given = replace(conditions(2, 3, 12, 768), text=text[:, None, None], identity=identity)
    masked = replace(
        given,
        valid=torch.from_numpy(expected["in.motion_mask"]),
        text_valid=torch.from_numpy(expected["in.description_mask"])[:, None, None],
    )
    cases = {
        "cond": masked,
        "cond_all_unmasked": given,
        "uncond": given.without(torch.ones(2, dtype=torch.bool)),
    }
    with torch.no_grad():
        for name, case in cases.items():
            np.testing.assert_allclose(network(x, t, case), expected[f"out.{name}"], atol=1e-4, err_msg=name)


@pytest.mark.parametrize(
    "config",
    [
        replace(OURS, editable=True),
        replace(OURS, text="vector", frames_per_token=3, height_map=False, layers=1),
        replace(OURS, qk_norm=False, frames_per_token=1, layers=1),
    ],
    ids=["all", "vector", "a frame a token"],
)
def test_the_modulated_network_agrees_with_its_second_statement(config: DenoiserConfig) -> None:
    network = random_network(config)
    for name, parameter in network.named_parameters():
        if "q_norm" in name or "k_norm" in name:
            torch.nn.init.normal_(parameter, mean=1.0, std=0.3)
    restated = Restated(network, config)
    x, given = told_all(config)
    answer = network(x, torch.tensor([3, 870]), given).double().detach().numpy()
    assert np.abs(answer).max() > 0.3
    for sample, t in enumerate((3, 870)):
        there = given.valid[sample].numpy()
        expected = restated(x, t, given, sample)
        np.testing.assert_allclose(answer[sample][there], expected[there], atol=2e-5)


def told_all(config: DenoiserConfig) -> tuple[torch.Tensor, Conditions]:
    """Make two samples of two persons, by a rule, that hold every kind of condition, and padding of each kind."""
    words = 3 if config.text == "words" else 1
    given = conditions(2, 2, 7, 8, groups=2, heights=config.height_map)
    given = replace(
        given,
        identity=torch.tensor([[3, 1], [0, 5]]),
        person_class=torch.tensor([[1, 2], [0, 3]]),
        action=torch.arange(28).view(2, 2, 7) % 5,
        known=torch.arange(28).view(2, 2, 7) % 3 == 0,
        text=waves(2, 3, words, 8),
        text_valid=torch.ones(2, 3, words, dtype=torch.bool),
        points=waves(*given.points.shape),
        heights=waves(*given.heights.shape).abs(),
    )
    given.valid[0, 1, 5:], given.valid[1, 1, 2:] = False, False
    given.action[~given.valid], given.known[~given.valid] = 0, False
    given.text_valid[0, 1, -1:], given.text_valid[1, 0] = False, False
    given.points_valid[1, 1] = False
    return waves(2, 2, 7, 282), given


def waves(*shape: int, start: float = 0.0) -> torch.Tensor:
    """Make numbers of size 1 that look like noise and are the same with every version of PyTorch."""
    return torch.sin(start + 0.7 * torch.arange(math.prod(shape)) ** 1.3).view(shape)


def test_a_forward_pass_of_default_is_kept() -> None:
    """A file of weights means tomorrow what it means today; `default` is made narrow, its variants are kept."""
    config = replace(default().denoiser, width=64, layers=2, heads=4, feedforward=96, text_dim=8)
    network = Denoiser(config).eval()
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters()):
            parameter.copy_(0.15 * waves(*parameter.shape, start=number))
        for embedding in (network.embed_class, network.embed_action, network.embed_known):
            embedding.weight[0] = 0  # not known
    x, given = told_all(config)
    answer = network(x, torch.tensor([3, 870]), given)
    kept = [answer[0, 0, 0, 0], answer[0, 0, 6, 281], answer[0, 1, 4, 100], answer[1, 0, 3, 7], answer[1, 1, 1, 200]]
    assert [value.item() for value in kept] == pytest.approx(
        [-1.42765, -0.94992, -0.52487, -0.35438, -1.52418], abs=1e-4
    )


def test_padding_changes_nothing(tiny: Denoiser) -> None:
    x, t = torch.randn(1, 2, 6, 282), torch.tensor([7])
    given = conditions(1, 2, 6, 8, heights=tiny.config.height_map)
    padded_x = torch.nn.functional.pad(x, (0, 0, 0, 3, 0, 1), value=5.0)
    padded = replace(
        given,
        valid=torch.nn.functional.pad(given.valid, (0, 3, 0, 1)),
        known=torch.nn.functional.pad(given.known, (0, 3, 0, 1)),
        identity=torch.nn.functional.pad(given.identity, (0, 1), value=9),
        person_class=torch.nn.functional.pad(given.person_class, (0, 1)),
        action=torch.nn.functional.pad(given.action, (0, 3, 0, 1)),
    )
    torch.testing.assert_close(tiny(padded_x, t, padded)[:, :2, :6], tiny(x, t, given), atol=1e-5, rtol=0)


def test_persons_are_exchangeable(tiny: Denoiser) -> None:
    """Swapping two persons together with their identities swaps the output."""
    x, t = torch.randn(1, 2, 5, 282), torch.tensor([3])
    given = conditions(1, 2, 5, 8, heights=tiny.config.height_map)
    swapped = replace(given, identity=given.identity.flip(1))
    torch.testing.assert_close(tiny(x.flip(1), t, swapped), tiny(x, t, given).flip(1), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("config", "condition"),
    [*product([TINY, OURS], ["text", "person_class", "action", "points"]), (OURS, "heights")],
)
def test_each_condition_moves_the_output_and_can_be_dropped(config: DenoiserConfig, condition: str) -> None:
    tiny = random_network(config)
    x, t = torch.randn(2, 1, 4, 282), torch.tensor([3, 900])
    given = conditions(2, 1, 4, 8, groups=2, heights=tiny.config.height_map)
    changed = replace(given, **{condition: getattr(given, condition) + 1})
    assert (tiny(x, t, changed) - tiny(x, t, given)).abs().max() > 1e-3
    everyone = torch.ones(2, dtype=torch.bool)
    torch.testing.assert_close(tiny(x, t, changed.without(everyone)), tiny(x, t, given.without(everyone)))
    kind = KIND_OF.get(condition, condition)
    torch.testing.assert_close(
        tiny(x, t, changed.without(everyone, [kind])), tiny(x, t, given.without(everyone, [kind]))
    )
    others = [other for other in CONDITION_KINDS if other != kind]
    assert (tiny(x, t, changed.without(everyone, others)) - tiny(x, t, given.without(everyone, others))).abs().max() > 0


def test_dropping_touches_only_the_chosen_sample(tiny: Denoiser) -> None:
    x, t = torch.randn(2, 1, 4, 282), torch.tensor([3, 900])
    given = conditions(2, 1, 4, 8, heights=tiny.config.height_map)
    dropped = tiny(x, t, given.without(torch.tensor([True, False])))
    plain = tiny(x, t, given)
    torch.testing.assert_close(dropped[1], plain[1])
    assert (dropped[0] - plain[0]).abs().max() > 1e-3


def test_a_caption_of_ones_own_belongs_to_that_person() -> None:
    network, x, t = random_network(OURS), torch.randn(1, 2, 8, 282), torch.tensor([3])
    given = conditions(1, 2, 8, 8, heights=True)
    words = torch.randn(1, 3, 4, 8)
    told = replace(given, text=words, text_valid=torch.ones(1, 3, 4, dtype=torch.bool))
    swapped = replace(told, text=words[:, [0, 2, 1]], identity=told.identity.flip(1))
    torch.testing.assert_close(network(x.flip(1), t, swapped), network(x, t, told).flip(1), atol=1e-5, rtol=0)
    mixed_up = replace(told, text=words[:, [0, 2, 1]])
    assert (network(x, t, mixed_up) - network(x, t, told)).abs().max() > 1e-3


def test_an_editable_network_is_told_which_frames_are_given() -> None:
    x, t, given = torch.randn(1, 2, 8, 282), torch.tensor([500]), conditions(1, 2, 8, 8, heights=True)
    known = replace(given, known=torch.arange(8).expand(1, 2, 8) < 4)
    for editable in (False, True):
        network = random_network(replace(OURS, editable=editable))
        assert bool((network(x, t, known) != network(x, t, given)).any()) == editable


def test_a_new_network_of_ours_says_nothing() -> None:
    assert not Denoiser(OURS)(torch.randn(1, 2, 8, 282), torch.tensor([3]), conditions(1, 2, 8, 8, heights=True)).any()


def test_conditions_prepared_once_do_for_all_steps(tiny: Denoiser) -> None:
    given = conditions(2, 2, 8, 8, groups=1, heights=tiny.config.height_map)
    prepared = tiny.prepare(given)
    assert prepared.mask is None, "without padding no mask is made"
    for step in (3, 900):
        x, t = torch.randn(2, 2, 8, 282), torch.tensor([step, step])
        assert torch.equal(tiny.denoise(x, t, prepared), tiny(x, t, given))


def test_time_is_what_rotary_attention_sees() -> None:
    """Frames in another order are another motion."""
    network = random_network(replace(OURS, frames_per_token=1))
    x, t = torch.randn(1, 1, 6, 282), torch.tensor([3])
    given = conditions(1, 1, 6, 8, heights=True)
    assert (network(x.flip(2), t, given).flip(2) - network(x, t, given)).abs().max() > 1e-3
