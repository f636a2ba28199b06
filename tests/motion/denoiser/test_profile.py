"""Profile of a step: its FLOPs are those of the formulas, and the command prints them."""

import runpy
import sys
from dataclasses import replace

import pytest
import torch

from motion.denoiser import DenoiserConfig
from motion.denoiser.__main__ import CAPTION_WORDS, Arguments, count_flops, make_step, measure
from motion.errors import InputError
from motion.features import NUM_FEATURES
from motion.recipes import Recipe, tiny

THESIS = DenoiserConfig(width=32, layers=3, heads=4, feedforward=48, text_dim=8)
OURS = replace(THESIS, step="modulation", time="rotary", text="words", qk_norm=True, frames_per_token=4)
PERSONS, FRAMES, BATCH, BRANCHES = 2, 10, 3, 2


def recipe(denoiser: DenoiserConfig) -> Recipe:
    return replace(tiny(), denoiser=denoiser)


@pytest.mark.parametrize(
    ("denoiser", "prefix", "motion"),
    [(THESIS, 2, 20), (OURS, CAPTION_WORDS, 6), (replace(OURS, height_map=True), CAPTION_WORDS + 16, 6)],
)
def test_flops_are_those_of_the_formulas(denoiser: DenoiserConfig, prefix: int, motion: int) -> None:
    step = make_step(recipe(denoiser), PERSONS, FRAMES, BATCH, BRANCHES, torch.float32)
    assert step.tokens() == (prefix, motion)
    flops = count_flops(step.run())
    width, inner, layers, rows, tokens = 32, 48, 3, BATCH * BRANCHES, prefix + motion
    modulation = 8 * width * width if denoiser.step == "modulation" else 0
    ends = motion * 2 * width * NUM_FEATURES * denoiser.frames_per_token
    assert flops == {
        "attention: projections": 2 * layers * rows * tokens * 4 * width**2,
        "attention: scores and sums": 2 * layers * rows * 2 * tokens**2 * width,
        "feed-forward": 2 * layers * rows * tokens * 2 * width * inner,
        "embedding, step and output": 2 * rows * (ends + 2 * width**2 + modulation),
        "total": flops["total"],
    }
    assert flops["total"] == sum(flops.values()) - flops["total"]


def test_a_step_in_bf16_is_the_same_network() -> None:
    """The step is counted alike, and has the same numbers but for rounding."""
    exact = make_step(recipe(THESIS), PERSONS, FRAMES, BATCH, BRANCHES, torch.float32)
    rounded = make_step(recipe(THESIS), PERSONS, FRAMES, BATCH, BRANCHES, torch.bfloat16)
    rounded.network.load_state_dict(exact.network.state_dict())
    rounded = replace(rounded, x_t=exact.x_t, conditions=exact.conditions)
    assert count_flops(rounded.run()) == count_flops(exact.run())
    torch.testing.assert_close(rounded.run()().float(), exact.run()(), atol=0.05, rtol=0)


def test_the_second_branch_is_not_told() -> None:
    conditions = make_step(recipe(THESIS), PERSONS, FRAMES, BATCH, BRANCHES, torch.float32).conditions
    assert conditions.text_valid.flatten().tolist() == [True] * BATCH + [False] * BATCH
    assert conditions.valid.all()


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="persons is 17, this network takes 1 to 16"):
        measure(Arguments(recipe="tiny", persons=17))
    with pytest.raises(InputError, match="frames is 0"):
        measure(Arguments(recipe="tiny", frames=0))


@pytest.mark.filterwarnings("ignore:'motion.denoiser' found in sys.modules")
def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--profile", "--recipe", "tiny", "--persons", "1", "--frames", "8"]
    monkeypatch.setattr(sys, "argv", ["denoiser", *arguments])
    runpy.run_module("motion.denoiser", run_name="__main__")
    printed = capsys.readouterr().out
    assert "3 tokens: 1 before the motion, 2 of it; 2 sequences" in printed
    assert "GFLOP/s" in printed
    monkeypatch.setattr(sys, "argv", ["denoiser"])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_module("motion.denoiser", run_name="__main__")
    assert "nothing to do" in capsys.readouterr().err
