"""Recipes: named configurations of model, training and sampling.

A recipe is a full, frozen configuration; its function's docstring says what it costs and reaches. The resolved recipe
travels inside the model file, so a model is one file.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from motion.denoiser import DenoiserConfig
from motion.diffusion import Prediction, ScheduleName
from motion.errors import InputError
from motion.errors.numbers import SHARE, Range, above, at_least, between, check_numbers
from motion.losses import LossWeights
from motion.samplers import SamplerName

COUNTS = (
    *("max_frames", "max_persons", "optim.batch_size", "optim.steps", "diffusion.num_steps", "sampling.num_steps"),
    *("denoiser.width", "denoiser.layers", "denoiser.heads", "denoiser.feedforward", "denoiser.text_dim"),
    *("denoiser.max_persons", "denoiser.num_features", "denoiser.frames_per_token"),
)
SHARES = (
    *("denoiser.dropout", "diffusion.condition_dropout", "diffusion.kind_dropout", "diffusion.known_share"),
    *("variation.mirrored", "variation.composed", "optim.ema_decay"),
)
RANGES: dict[str, Range] = {
    **dict.fromkeys(COUNTS, at_least(1)),
    **dict.fromkeys(SHARES, SHARE),
    **dict.fromkeys(("fps", "optim.learning_rate", "optim.max_grad_norm", "diffusion.min_snr"), above(0)),
    **dict.fromkeys(("optim.warmup_steps", "optim.weight_decay"), at_least(0)),
    **{f"diffusion.losses.{each.name}": at_least(0) for each in fields(LossWeights)},
    "diffusion.t_bar": at_least(-1),
    "sampling.guidance_scale": between(0, 100),
    **dict.fromkeys(("sampling.guidance_start", "sampling.guidance_stop", "sampling.apart"), between(0, 1)),
}
"""Ranges of the numbers of a recipe."""


@dataclass(frozen=True)
class DiffusionConfig:
    """Noise schedule, prediction target and losses of training."""

    schedule: ScheduleName = "cosine"
    """Noise schedule: linear, or cosine (eq. 2.15)."""
    num_steps: int = 1000
    """Number of timesteps T of the noise schedule."""
    prediction: Prediction = "x0"
    """Quantity that the network predicts: ε, x_0 or v."""
    condition_dropout: float = 0.1
    """Probability of training a sample without its conditions (eq. 2.21)."""
    kind_dropout: float = 0.0
    """Probability of dropping each kind of condition by itself, class by person and action by frame."""
    known_share: float = 0.0
    """Share of samples that get some of their frames or persons as constraints, as editing does."""
    min_snr: float | None = None
    """Cap γ of the signal-to-noise ratio that weighs a step's error of x_0 (Hang et al. 2023); None: not weighted."""
    t_bar: int = -1
    """Last timestep that the losses of `motion.losses` apply to; -1 for none."""
    losses: LossWeights = field(default_factory=LossWeights)
    """Weights of the losses of `motion.losses`."""


@dataclass(frozen=True)
class VariationConfig:
    """Variation of the clips in training; clips that have a scene are not varied."""

    mirrored: float = 0.0
    """Share of clips that are mirrored, left and right exchanged in their captions."""
    composed: float = 0.0
    """Share of batches whose clips are put together to scenes of several persons (`motion.clips.composition`)."""


@dataclass(frozen=True)
class SamplingConfig:
    """Defaults of sampling; a request may ask for others."""

    sampler: SamplerName = "ddim"
    """Sampler: ddpm, ddim, dpmpp_2m or unipc."""
    num_steps: int = 50
    """Number of sampling steps."""
    guidance_scale: float = 3.5
    """Scale of classifier-free guidance (eq. 2.21); 1 for none."""
    guidance_start: float = 0.0
    """Share of the way from noise to motion where guidance begins (Kynkäänniemi et al. 2024)."""
    guidance_stop: float = 1.0
    """Share of the way from noise to motion where guidance ends."""
    apart: float = 0.0
    """Least horizontal distance of the pelvises of several persons in metres; 0: no separation."""


@dataclass(frozen=True)
class OptimConfig:
    """Optimizer and length of training."""

    batch_size: int
    """Clips per step, over all workers together."""
    steps: int
    """Number of training steps."""
    learning_rate: float = 1e-4
    """Highest learning rate of AdamW."""
    warmup_steps: int = 100
    """Steps of linear warm-up; cosine decay to zero follows."""
    weight_decay: float = 0.01
    """Weight decay of AdamW."""
    max_grad_norm: float = 1.0
    """Gradient norm above which gradients are scaled down."""
    ema_decay: float = 0.999
    """Decay per step of the moving average of the weights, which is the model that is saved."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of training."""


@dataclass(frozen=True)
class Recipe:
    """Full configuration of a model: network, training and sampling.

    Raises InputError if the values do not fit together.
    """

    name: str
    """Name of the recipe, for messages and the model file."""
    denoiser: DenoiserConfig
    """Sizes and conditions of the network."""
    optim: OptimConfig
    """Optimiser, batch and length of training."""
    diffusion: DiffusionConfig = DiffusionConfig()
    """Noise schedule, prediction and losses."""
    variation: VariationConfig = VariationConfig()
    """Variations of the clips in training."""
    sampling: SamplingConfig = SamplingConfig()
    """Sampler, steps and guidance."""
    text_encoder: str = "minilm"
    """Text encoder: `minilm`, which ships, or `clip:MODEL:PRETRAINED` or `clip:local-dir:FOLDER` of open_clip."""
    fps: float = 20.0
    """Frame rate of the clips that the model learns and makes."""
    max_frames: int = 100
    """Most frames of a clip in training, which are cut at random from a longer one, and the most to be requested."""
    max_persons: int = 1
    """Most persons per clip in training, where a clip of more is refused, and the most to be requested."""

    def __post_init__(self) -> None:
        check_numbers(self, RANGES, f"recipe {self.name}: ")
        checks = {
            "denoiser.width must be a multiple of 2 * denoiser.heads": (
                self.denoiser.width % (2 * self.denoiser.heads) == 0
            ),
            "max_persons must lie in 1..denoiser.max_persons": (self.max_persons <= self.denoiser.max_persons),
            "diffusion.known_share needs denoiser.editable": (
                self.diffusion.known_share == 0 or self.denoiser.editable
            ),
            "sampling.guidance_start must lie in 0..sampling.guidance_stop": (
                self.sampling.guidance_start <= self.sampling.guidance_stop
            ),
            "sampling.num_steps must lie in 1..diffusion.num_steps": (
                self.sampling.num_steps <= self.diffusion.num_steps
            ),
        }
        for rule, holds in checks.items():
            if not holds:
                raise InputError(f"recipe {self.name}: {rule}")


def tiny() -> Recipe:
    """Make the demo's recipe: 2.3 M parameters, overfits a few mocap clips on two CPU cores in minutes.

    What `default` has learnt makes it quick: steps that modulate the layers, rotary time, four frames a token, and
    eight steps of DPM-Solver++.
    """
    return Recipe(
        name="tiny",
        denoiser=DenoiserConfig(
            width=192,
            layers=4,
            heads=6,
            feedforward=512,
            text_dim=384,
            dropout=0.0,
            step="modulation",
            time="rotary",
            qk_norm=True,
            frames_per_token=4,
        ),
        optim=OptimConfig(batch_size=32, steps=1000, learning_rate=1e-3, ema_decay=0.99),
        sampling=SamplingConfig(sampler="dpmpp_2m", num_steps=8, guidance_scale=1.5),
        max_frames=90,
    )


def thesis() -> Recipe:
    """Make the thesis' recipe (140 M parameters): 16 layers of 1024, CLIP ViT-L/14@336px, x_0, cosine, DDIM-50 at 3.5.

    The author's run took 500 epochs of batch 128 on one GPU; set `--recipe.optim.steps` to 500 epochs of your data.
    """
    return Recipe(
        name="thesis",
        denoiser=DenoiserConfig(width=1024, layers=16, heads=16, feedforward=2048, text_dim=768),
        optim=OptimConfig(batch_size=128, steps=100_000, warmup_steps=2_000, precision="bf16"),
        diffusion=DiffusionConfig(t_bar=700),
        text_encoder="clip:ViT-L-14-336:openai",
        max_frames=300,
        max_persons=16,
    )


def default() -> Recipe:
    """Make our recipe: the thesis' width and depth (150 M parameters) at less than a tenth of the cost of a sample.

    Comments in motion/recipes.py give the reason for each field that differs; tests/benchmarks/results/model.md has its
    effect on trained models.
    """
    ours = thesis()
    return replace(
        ours,
        name="default",
        denoiser=replace(
            ours.denoiser,
            step="modulation",  # the step and the caption reach every layer, not one token among hundreds
            time="rotary",  # attention sees how far apart frames are, at any length
            qk_norm=True,  # attention stays bounded in bf16 and at the higher learning rate
            frames_per_token=4,  # a quarter of the tokens: motion is smooth at 20 frames/s
            editable=True,  # constrained frames and persons carry a mark
        ),
        optim=replace(ours.optim, learning_rate=2.5e-4),  # learns in fewer steps; modulated layers bear it
        diffusion=DiffusionConfig(
            kind_dropout=0.1,  # each condition can be guided, or left out, by itself
            known_share=0.1,  # constraints are seen in training
            t_bar=700,
        ),
        variation=VariationConfig(composed=0.2),  # several persons and whose caption is whose, from clips of one
        sampling=SamplingConfig(
            sampler="dpmpp_2m",  # second order: 8 steps come near to 50 of DDIM
            num_steps=8,
            guidance_stop=0.5,  # what a motion shows is decided early; guided to the end, it is less like real ones
            apart=0.35,  # real salsa pairs come nearer in fewer than 5 % of their frames
        ),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {"tiny": tiny, "thesis": thesis, "default": default}
"""Functions that make the recipes, by name."""


def to_dict(recipe: Recipe) -> dict[str, object]:
    """Convert a recipe to plain values for JSON."""
    return asdict(recipe)


def from_dict(values: Mapping[str, object]) -> Recipe:
    """Build the recipe that `to_dict` wrote; raises InputError that names unknown or missing keys."""
    return _build(Recipe, values, "recipe")


def _build(kind: Any, values: Any, where: str) -> Any:
    if not isinstance(values, Mapping):
        raise InputError(f"{where} is {values!r}, expected its settings by name")
    known = {each.name: each.type for each in fields(kind)}
    if unknown := sorted(set(values) - set(known)):
        raise InputError(f"{where} has the unknown key(s) {', '.join(unknown)}; known are {', '.join(known)}")
    if missing := sorted(set(known) - set(values)):
        raise InputError(f"{where} lacks the key(s) {', '.join(missing)}")
    return kind(**{name: _value(known[name], value, f"{where}.{name}") for name, value in values.items()})


def _value(kind: Any, value: Any, where: str) -> Any:
    if is_dataclass(kind):
        return _build(kind, value, where)
    value = tuple(value) if isinstance(value, list) else value  # JSON has lists alone
    try:
        return TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        raise InputError(f"{where} is {value!r}: {error.errors()[0]['msg']}") from error
