"""Action classifier of motions at any noise level: the f(y | x_t, t) of classifier guidance (eq. 2.20).

It sees one person at a time: normalized features (`motion.features`) as the sampler has them at step t, or finished
motions if it is trained as a judge. `motion.guidance.ClassifierGuidance` moves the sampler's estimates by it.

Lengths in metres, Z up. Masks: True = valid. A label is the index of a class, -1 for none.

Shape suffixes: R row (one person of one sample), T frame, F feature, N token, D width, M modulation.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from motion.denoiser.blocks import NUM_MODULATIONS, ModulatedBlock, SinusoidEmbedding, rotary_turns
from motion.diffusion import ScheduleName
from motion.errors import InputError
from motion.errors.numbers import at_least, check_numbers
from motion.features import NUM_FEATURES, Normalizer
from motion.skeleton import ACTIONS
from motion.weights import normalized_tensors, read_weights, weights_bytes

FORMAT = "carescene-classifier/1"
CLASSIFIER_FILE = "classifier.safetensors"
DROPOUT = 0.1
CLIPS_PER_BATCH = 32


SIZES = ("num_features", "width", "layers", "heads", "frames_per_token")


@dataclass(frozen=True)
class ClassifierConfig:
    """Sizes of the network; the default has 0.8 M parameters.

    Raises InputError if the sizes or the classes do not fit together.
    """

    names: tuple[str, ...] = ACTIONS[1:]
    """Actions that it tells apart."""
    num_features: int = NUM_FEATURES
    """Numbers per person and frame (`motion.features`)."""
    width: int = 128
    """Length of a token's vector."""
    layers: int = 4
    """Number of transformer layers."""
    heads: int = 4
    """Attention heads per layer."""
    frames_per_token: int = 4
    """Frames of a person per token."""

    def __post_init__(self) -> None:
        check_numbers(self, dict.fromkeys(SIZES, at_least(1)))
        if self.width % (2 * self.heads):
            raise InputError(f"width is {self.width}, expected a multiple of 2 * heads = {2 * self.heads}")
        if len(set(self.names)) != len(self.names) or len(self.names) < 2:
            raise InputError(f"the classes are {', '.join(self.names) or 'none'}, expected at least two different ones")


class ActionClassifier(nn.Module):
    """Network from noisy features of each person by themselves to the logits of their action."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.embed = nn.Linear(config.num_features * config.frames_per_token, width)
        self.embed_step = SinusoidEmbedding(width)
        self.modulation = nn.Linear(width, NUM_MODULATIONS * width)
        sizes = (width, config.heads, 2 * width, DROPOUT, True)
        self.blocks = nn.ModuleList(ModulatedBlock(*sizes) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, len(config.names))
        nn.init.zeros_(self.modulation.weight)  # all layers begin as identity
        nn.init.zeros_(self.modulation.bias)

    def forward(
        self,
        x_t: Float[Tensor, "batch person frame feature"],
        t: Int[Tensor, " batch"],
        valid: Bool[Tensor, "batch person frame"],
    ) -> Float[Tensor, "batch person class"]:
        """Classify each person from normalized features at step `t`; frames where `valid` is False are not read."""
        x_RND, frames_RN = self._tokens(x_t.flatten(0, 1), valid.flatten(0, 1))
        modulation_BMD = self.modulation(F.silu(self.embed_step(t))).unflatten(-1, (NUM_MODULATIONS, -1))
        modulation_RMD = modulation_BMD.repeat_interleave(valid.shape[1], dim=0)
        seen_RN = frames_RN > 0
        seen_RN = seen_RN | ~seen_RN.any(dim=1, keepdim=True)  # attention to no token would be NaN
        starts = self.config.frames_per_token * torch.arange(x_RND.shape[1], device=x_t.device)
        turns = rotary_turns(starts, self.config.width // self.config.heads)
        for block in self.blocks:
            x_RND = block(x_RND, seen_RN[:, None, None], turns, modulation_RMD)
        shares_RN = frames_RN / frames_RN.sum(dim=1, keepdim=True).clamp_min(1)
        mean_RD = (self.norm(x_RND) * shares_RN[..., None].to(x_RND)).sum(dim=1)
        return self.output(mean_RD).unflatten(0, valid.shape[:2])

    def _tokens(self, x_RTF: Tensor, valid_RT: Tensor) -> tuple[Tensor, Tensor]:
        """Embed neighbouring frames as one token, and count how many of them are valid."""
        together = self.config.frames_per_token
        missing = -x_RTF.shape[1] % together
        x_RTF = F.pad(torch.where(valid_RT[..., None], x_RTF, 0), (0, 0, 0, missing))
        frames_RN = F.pad(valid_RT, (0, missing)).unflatten(1, (-1, together)).sum(dim=-1)
        return self.embed(x_RTF.unflatten(1, (-1, together)).flatten(-2)), frames_RN


@dataclass(frozen=True)
class Classifier:
    """Content of a classifier's file; `version` is the start of its sha256."""

    network: ActionClassifier
    """Network in evaluation mode."""
    normalizer: Normalizer
    """Scales of the features that it was trained on."""
    schedule: ScheduleName
    """Noise schedule that it was trained on."""
    num_steps: int
    """Timesteps of that schedule."""
    version: str
    """First 12 digits of the file's sha256."""

    def label(self, name: str) -> int:
        """Look up the label of a class; -1 for "unknown", which leaves a person unguided.

        Raises InputError for a class that it was not trained on.
        """
        names = self.network.config.names
        if name != ACTIONS[0] and name not in names:
            raise InputError(f"the classifier knows no {name!r}, expected one of {', '.join(names)}")
        return names.index(name) if name in names else -1

    def check_fits(self, normalizer: Normalizer, schedule: ScheduleName, num_steps: int) -> None:
        """Raise InputError unless it was trained on the noisy features that a model of these settings samples."""
        ours, theirs = len(self.normalizer.mean), len(normalizer.mean)
        if ours != theirs:
            raise InputError(f"the classifier takes {ours} features, the model has {theirs}: train one on its data")
        if (self.schedule, self.num_steps) != (schedule, num_steps):
            raise InputError(
                f"the classifier was trained on the {self.schedule} schedule of {self.num_steps} steps, the model on "
                f"the {schedule} one of {num_steps}: train a classifier with --schedule and --num-steps of the model"
            )
        if not all(torch.allclose(getattr(normalizer, name), each) for name, each in vars(self.normalizer).items()):
            raise InputError(
                "the classifier was trained on features normalized otherwise than the model's: "
                "train one with `python -m ray_jobs.train_classifier` on the data of the model"
            )


def classifier_bytes(
    network: ActionClassifier, normalizer: Normalizer, schedule: ScheduleName, num_steps: int
) -> bytes:
    """Serialize a classifier as its file's content."""
    description = {"network": asdict(network.config), "schedule": schedule, "num_steps": num_steps}
    return weights_bytes(normalized_tensors(network, normalizer), FORMAT, description)


def load_classifier(path: str | Path) -> Classifier:
    """Read a classifier's file; raises InputError for another architecture, a damaged or a foreign file."""
    weights = read_weights(path, FORMAT, "ray_jobs.train_classifier")
    settings = weights.description["network"]
    config = ClassifierConfig(**settings | {"names": tuple(settings["names"])})
    network = ActionClassifier(config)
    normalizer = weights.load_normalized(network, config.num_features)
    schedule, num_steps = weights.description["schedule"], weights.description["num_steps"]
    return Classifier(network.eval().requires_grad_(False), normalizer, schedule, num_steps, weights.version)
