"""Named configurations of model, training and sampling.

A recipe is a full, frozen configuration; its function's docstring says what it costs and reaches. The resolved
recipe travels inside the model file, so a model is one file.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal

from motion.denoiser import DenoiserConfig
from motion.diffusion import Prediction, ScheduleName
from motion.errors import InputError
from motion.losses import LossWeights
from motion.samplers import SamplerName


@dataclass(frozen=True)
class DiffusionConfig:
    schedule: ScheduleName = "cosine"
    num_steps: int = 1000
    prediction: Prediction = "x0"
    condition_dropout: float = 0.1
    """Probability of training a sample without its conditions (eq. 2.21)."""
    kind_dropout: float = 0.0
    """Probability of leaving out each kind of condition by itself, class by person and action by frame."""
    known_share: float = 0.0
    """Share of samples that are given some of their frames or persons, as editing gives them."""
    min_snr: float | None = None
    """Cap of the signal-to-noise ratio by which a step's error of x_0 counts (Hang et al. 2023); None: not weighted."""
    t_bar: int = -1
    """Last timestep whose samples also have the losses of `motion.losses`; -1: none has."""
    losses: LossWeights = field(default_factory=LossWeights)


@dataclass(frozen=True)
class VariationConfig:
    """What is done to clips in training; those that have a scene stay as they are."""

    mirrored: float = 0.0
    """Share of clips that are mirrored, left and right exchanged in their captions."""
    composed: float = 0.0
    """Share of batches whose clips are put together to scenes of several people (`motion.clips.composition`)."""


@dataclass(frozen=True)
class SamplingConfig:
    sampler: SamplerName = "ddim"
    num_steps: int = 50
    guidance_scale: float = 3.5
    guidance_start: float = 0.0
    """Share of the way from noise to motion from which on there is guidance (Kynkäänniemi et al. 2024)."""
    guidance_stop: float = 1.0
    apart: float = 0.0
    """Metres that sampling keeps the pelvises of several people apart; 0: people may come out in one another."""


@dataclass(frozen=True)
class OptimConfig:
    batch_size: int
    """Over all workers together."""
    steps: int
    learning_rate: float = 1e-4
    warmup_steps: int = 100
    """Linear warm-up; cosine decay to zero follows."""
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    ema_decay: float = 0.999
    precision: Literal["fp32", "bf16"] = "fp32"


@dataclass(frozen=True)
class Recipe:
    name: str
    denoiser: DenoiserConfig
    optim: OptimConfig
    diffusion: DiffusionConfig = DiffusionConfig()
    variation: VariationConfig = VariationConfig()
    sampling: SamplingConfig = SamplingConfig()
    text_encoder: str = "minilm"
    """`minilm`, or `clip:MODEL:PRETRAINED` as open_clip names them."""
    fps: float = 20.0
    max_frames: int = 100
    """Longest clip in training and the longest that may be asked for."""
    max_persons: int = 1
    """Most people per clip in training and the most that may be asked for."""

    def __post_init__(self) -> None:
        checks = {
            "denoiser.width must be a multiple of 2 * denoiser.heads": (
                self.denoiser.width % (2 * self.denoiser.heads) == 0
            ),
            "max_persons must lie in 1..denoiser.max_persons": (1 <= self.max_persons <= self.denoiser.max_persons),
            "max_frames, fps, steps and batch_size must be positive": (
                min(self.max_frames, self.fps, self.optim.steps, self.optim.batch_size) > 0
            ),
            "shares of dropout, known and varied clips and optim.ema_decay must lie in [0, 1)": all(
                0 <= share < 1
                for share in (
                    self.diffusion.condition_dropout,
                    self.diffusion.kind_dropout,
                    self.diffusion.known_share,
                    self.variation.mirrored,
                    self.variation.composed,
                    self.optim.ema_decay,
                )
            ),
            "diffusion.known_share needs denoiser.editable": (
                self.diffusion.known_share == 0 or self.denoiser.editable
            ),
            "sampling.guidance_start must lie in 0..guidance_stop and that in 0..1": (
                0 <= self.sampling.guidance_start <= self.sampling.guidance_stop <= 1
            ),
            "sampling.apart must lie in [0, 1]": 0 <= self.sampling.apart <= 1,
            "sampling.num_steps must lie in 1..diffusion.num_steps": (
                1 <= self.sampling.num_steps <= self.diffusion.num_steps
            ),
        }
        for rule, holds in checks.items():
            if not holds:
                raise InputError(f"recipe {self.name}: {rule}")


def tiny() -> Recipe:
    """Overfits a handful of mocap clips on two CPU cores in a few minutes (the demo); about 2 M parameters."""
    return Recipe(
        name="tiny",
        denoiser=DenoiserConfig(width=192, layers=4, heads=6, feedforward=512, text_dim=384, dropout=0.0),
        optim=OptimConfig(batch_size=32, steps=1500, learning_rate=5e-4, ema_decay=0.99),
        sampling=SamplingConfig(guidance_scale=2.0),
        max_frames=90,
    )


def thesis() -> Recipe:
    """The author's sizes (140 M parameters): 16 layers of 1024, CLIP ViT-L/14@336px, x_0, cosine, DDIM-50 at 3.5.

    His run took 500 epochs of batch 128 on one GPU; set `optim.steps` to 500 epochs of your data.
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
    """Ours: the thesis' width and depth (150 M parameters) at less than a tenth of the cost of a sample.

    Why each field differs stands beside it; what it does to trained models is in tests/benchmarks/results/model.md.
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
            editable=True,  # given frames and persons are told apart from noisy ones
        ),
        optim=replace(ours.optim, learning_rate=2.5e-4),  # learns in fewer steps; modulated layers bear it
        diffusion=DiffusionConfig(
            kind_dropout=0.1,  # each condition can be guided, or left out, by itself
            known_share=0.1,  # what is given is seen in training
            t_bar=700,
        ),
        variation=VariationConfig(composed=0.2),  # several people and whose caption is whose, from clips of one
        sampling=SamplingConfig(
            sampler="dpmpp_2m",  # second order: 8 steps come near to 50 of DDIM
            num_steps=8,
            apart=0.35,  # real salsa pairs come nearer in fewer than 5 % of their frames
        ),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {"tiny": tiny, "thesis": thesis, "default": default}


def to_dict(recipe: Recipe) -> dict[str, Any]:
    return asdict(recipe)


def from_dict(values: dict[str, Any]) -> Recipe:
    """The recipe that `to_dict` wrote; unknown or missing keys are refused by name."""
    return _build(Recipe, values, "recipe")


def _build(kind: Any, values: dict[str, Any], where: str) -> Any:
    known = {each.name: each.type for each in fields(kind)}
    if unknown := sorted(set(values) - set(known)):
        raise InputError(f"{where} has the unknown key(s) {', '.join(unknown)}; known are {', '.join(known)}")
    if missing := sorted(set(known) - set(values)):
        raise InputError(f"{where} lacks the key(s) {', '.join(missing)}")
    return kind(
        **{
            name: _build(known[name], value, f"{where}.{name}") if is_dataclass(known[name]) else value
            for name, value in values.items()
        }
    )
