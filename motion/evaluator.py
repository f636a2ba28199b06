"""Text and motion in one space: how well a motion of 1 to N persons fits a caption is their distance there.

A contrastive pair of encoders after InterGen's InterCLIP (Liang et al. 2024), which takes two persons exactly. Here
frames attend to each other within a person, and persons within a frame; a summary token leads each person, and the
mean of the persons' summaries is the motion. So the order of the persons does not matter, nor where in the world the
motion takes place or which way it faces. The frozen text encoder of `motion.text` gives one vector a caption.

World: Z up, floor at z = 0, metres; `fps` frames a second. Masks: True = valid.
Shape suffixes: B batch, P person, R person of any motion of the batch, T frame (after the summary token), F feature,
D width.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol as Interface
from typing import runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Complex, Float, Float32, Int
from torch import Tensor, nn

from motion.blocks import sinusoid
from motion.errors import InputError
from motion.humanml3d_evaluator import load_humanml3d_evaluator
from motion.interclip import load_interclip
from motion.metrics.protocol import CARESCENE, Protocol
from motion.sequence import MotionSequence
from motion.skeleton import JOINT, MIRRORED, NUM_JOINTS
from motion.text import load_text_encoder
from motion.weights import read_weights, weights_bytes
from motion.words import mirror_words

FORMAT = "carescene-evaluator/1"
EVALUATOR_FILE = "evaluator.safetensors"
NUM_FEATURES = 2 * NUM_JOINTS * 3 + 4
SMALLEST_VARIANCE = 1e-4  # of a feature, so that what never moves in training is not blown up
MAX_LOGIT_SCALE = math.log(100)  # as CLIP (Radford et al. 2021)
BATCH = 32


@runtime_checkable
class TextMotionEvaluator(Interface):
    """What an evaluation needs of an evaluator, ours or one of the field's."""

    name: str
    version: str
    """The start of the sha256 of its weights."""
    dim: int
    fps: float
    protocol: Protocol
    """The conventions that its published numbers follow."""

    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "text dim"]: ...

    def embed_motions(self, motions: Sequence[MotionSequence]) -> Float[Tensor, "motion dim"]: ...


@dataclass(frozen=True)
class EvaluatorConfig:
    """Sizes of the network; the default has 0.9 M parameters."""

    width: int = 128
    layers: int = 4
    heads: int = 4
    feedforward: int = 256
    dim: int = 64
    """Of the common space. FID needs clearly more motions than this."""
    dropout: float = 0.1
    text_encoder: str = "minilm"
    text_dim: int = 384
    fps: float = 20.0
    max_frames: int = 200
    """Of a longer motion only so many frames are looked at."""

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise InputError(f"width is {self.width}, expected a multiple of 2 * heads = {2 * self.heads}")


@dataclass(frozen=True)
class Encoded:
    """One motion as the network sees it."""

    features: Float32[np.ndarray, "person frame feature"]
    valid: Bool[np.ndarray, "person frame"]

    @classmethod
    def of(cls, motion: MotionSequence) -> "Encoded":
        return cls(motion_features(motion.joints, motion.valid, motion.fps), motion.valid)

    def stretch(self, start: int, length: int) -> "Encoded":
        """`length` frames from `start` on."""
        frames = slice(start, start + length)
        return Encoded(self.features[:, frames], self.valid[:, frames])


@dataclass(frozen=True)
class Batch:
    """Motions padded to the largest."""

    features: Float[Tensor, "batch person frame feature"]
    valid: Bool[Tensor, "batch person frame"]

    @classmethod
    def of(cls, motions: Sequence[Encoded]) -> "Batch":
        persons, frames = (max(motion.valid.shape[axis] for motion in motions) for axis in (0, 1))
        features = torch.zeros(len(motions), persons, frames, NUM_FEATURES)
        valid = torch.zeros(len(motions), persons, frames, dtype=torch.bool)
        for i, motion in enumerate(motions):
            p, f = motion.valid.shape
            features[i, :p, :f] = torch.from_numpy(motion.features)
            valid[i, :p, :f] = torch.from_numpy(motion.valid)
        return cls(features, valid)

    def to(self, device: torch.device | str) -> "Batch":
        return Batch(self.features.to(device), self.valid.to(device))


def motion_features(
    joints: Float32[np.ndarray, "person frame 24 3"], valid: Bool[np.ndarray, "person frame"], fps: float
) -> Float32[np.ndarray, "person frame feature"]:
    """What each person does at each frame, as seen along their own heading: the same wherever they face and stand.

    Joints from the point on the floor below the pelvis (72, m), their velocities (72, m/s), the turn of the heading
    (rad/s), the way to the middle of all persons (2, m) and how many others there are. Zero where invalid.
    """
    plane, up = joints[..., 0] + 1j * joints[..., 1], joints[..., 2]  # the floor as complex numbers
    to_own = _heading(joints).conj()[..., None]
    moved = valid & np.roll(valid, 1, axis=1)
    moved[:, 0] = False
    count = valid.sum(axis=0)
    middle = (plane[:, :, 0] * valid).sum(axis=0) / np.maximum(count, 1)
    turn = np.angle(to_own[:, :-1, 0] * to_own[:, 1:, 0].conj())
    parts = [
        _flat((plane - plane[..., :1]) * to_own, up),
        _flat(_rate(plane, fps) * to_own, _rate(up, fps)) * moved[..., None],
        np.pad(turn, ((0, 0), (1, 0)))[..., None] * fps * moved[..., None],
        _flat((middle - plane[:, :, 0])[..., None] * to_own),
        np.broadcast_to(count - 1, valid.shape)[..., None],
    ]
    return (np.concatenate(parts, axis=-1) * valid[..., None]).astype(np.float32)


def _heading(joints: Float32[np.ndarray, "person frame 24 3"]) -> Complex[np.ndarray, "person frame"]:
    """The direction over the floor that each person faces, of length 1.

    It is at right angles to the line across hips and shoulders, or, where that stands upright because the person lies
    on their side, to that line and the spine.
    """
    across = joints[:, :, JOINT["left_hip"]] - joints[:, :, JOINT["right_hip"]]
    across = across + joints[:, :, JOINT["left_shoulder"]] - joints[:, :, JOINT["right_shoulder"]]
    spine = joints[:, :, JOINT["neck"]] - joints[:, :, JOINT["pelvis"]]
    level = across[..., 1] - 1j * across[..., 0]
    on_side = np.cross(across, spine)
    lying = np.abs(level) < 0.5 * np.linalg.norm(across, axis=-1)
    facing = np.where(lying, on_side[..., 0] + 1j * on_side[..., 1], level)
    return facing / np.maximum(np.abs(facing), 1e-9)


def _rate(values: np.ndarray, fps: float) -> np.ndarray:
    return np.diff(values, axis=1, prepend=values[:, :1]) * fps


def _flat(plane: np.ndarray, *up: np.ndarray) -> np.ndarray:
    """Complex numbers (and heights) of each frame as one row of real ones."""
    return np.stack([plane.real, plane.imag, *up], axis=-1).reshape(*plane.shape[:2], -1)


@dataclass(frozen=True)
class Company:
    """Those who are not alone: which rows (persons) they are, and whom each may look at in a frame."""

    rows: Int[Tensor, " row"]
    seen: Bool[Tensor, "token row row"]

    @classmethod
    def of(cls, sample: Int[Tensor, " person"], valid: Bool[Tensor, "person token"]) -> "Company":
        together = (sample[:, None] == sample) & ~torch.eye(len(sample), dtype=torch.bool, device=sample.device)
        rows = together.any(dim=1).nonzero()[:, 0]
        return cls(rows, together[rows][:, rows] & valid[rows].T[:, None])


class Layer(nn.Module):
    """Pre-norm attention over the frames of each person, then to the others in each frame, then feed-forward."""

    def __init__(self, config: EvaluatorConfig) -> None:
        super().__init__()
        width, self.heads, self.dropout = config.width, config.heads, nn.Dropout(config.dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(2))
        self.out = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.feedforward = nn.Sequential(
            nn.Linear(width, config.feedforward), nn.GELU(), nn.Linear(config.feedforward, width)
        )

    def forward(self, x_RTD: Tensor, valid_RT: Tensor, company: Company) -> Tensor:
        x_RTD = x_RTD + self._attend(0, x_RTD, valid_RT[:, None])
        if len(company.rows):
            among_TRD = self._attend(1, x_RTD[company.rows].transpose(0, 1), company.seen)
            x_RTD = x_RTD.index_add(0, company.rows, among_TRD.transpose(0, 1))
        return x_RTD + self.dropout(self.feedforward(self.norms[2](x_RTD)))

    def _attend(
        self, which: int, x: Float[Tensor, "group token width"], seen: Bool[Tensor, "group #token token"]
    ) -> Float[Tensor, "group token width"]:
        """Attention within each group; nothing for a token that sees none."""
        q, k, v = self.qkv[which](self.norms[which](x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        some = seen.any(dim=-1, keepdim=True)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=(seen | ~some)[:, None])
        return self.dropout(self.out[which](mixed.transpose(1, 2).flatten(2))) * some


class EvaluatorNetwork(nn.Module):
    """Motion features and text vectors to unit vectors in the common space."""

    def __init__(self, config: EvaluatorConfig) -> None:
        super().__init__()
        self.config = config
        # Keeps the mean and variance of all frames it was trained on: the features' normaliser.
        self.normalize = nn.BatchNorm1d(NUM_FEATURES, eps=SMALLEST_VARIANCE, momentum=None, affine=False)
        self.embed = nn.Linear(NUM_FEATURES, config.width)
        self.summary = nn.Parameter(0.02 * torch.randn(config.width))
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.motion_head = nn.Sequential(nn.LayerNorm(config.width), nn.Linear(config.width, config.dim))
        self.text_head = nn.Sequential(
            nn.Linear(config.text_dim, config.width), nn.GELU(), nn.Linear(config.width, config.dim)
        )
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def embed_motion(self, batch: Batch) -> Float[Tensor, "batch dim"]:
        present_BP = batch.valid.any(dim=2)
        sample_R = present_BP.nonzero()[:, 0]
        valid_RT = batch.valid[present_BP]
        x_RTF = torch.zeros_like(batch.features[present_BP])
        x_RTF[valid_RT] = self.normalize(batch.features[batch.valid])
        frames = torch.arange(valid_RT.shape[1], device=valid_RT.device)
        x_RTD = self.embed(x_RTF) + sinusoid(frames, self.config.width)
        x_RTD = torch.cat([self.summary.expand(len(x_RTD), 1, -1), x_RTD], dim=1)
        valid_RT = F.pad(valid_RT, (1, 0), value=True)
        company = Company.of(sample_R, valid_RT)
        for layer in self.layers:
            x_RTD = layer(x_RTD, valid_RT, company)
        summed_BD = x_RTD.new_zeros(len(present_BP), self.config.width).index_add(0, sample_R, x_RTD[:, 0])
        mean_BD = summed_BD / present_BP.sum(dim=1, keepdim=True).clamp_min(1)
        return F.normalize(self.motion_head(mean_BD), dim=-1)

    def embed_text(self, vectors: Float[Tensor, "batch text_dim"]) -> Float[Tensor, "batch dim"]:
        return F.normalize(self.text_head(vectors), dim=-1)


def contrastive_loss(
    texts: Float[Tensor, "batch dim"],
    motions: Float[Tensor, "batch dim"],
    same: Bool[Tensor, "batch batch"],
    logit_scale: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """Symmetric InfoNCE (Radford et al. 2021), where motions of the `same` caption are not told apart.

    Whatever has the caption of the row is a right answer, all of them equally (Khosla et al. 2020).
    """
    logits = logit_scale.clamp_max(MAX_LOGIT_SCALE).exp() * texts @ motions.T
    wanted = same / same.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits, wanted) + F.cross_entropy(logits.T, wanted)) / 2


def training_batch(
    motions: Sequence[Encoded], captions: Sequence[Sequence[str]], max_frames: int, rng: np.random.Generator
) -> tuple[Batch, list[str]]:
    """A random stretch of at least half of each clip, mirrored half the time, and one of its captions."""
    stretches, texts = [], []
    for motion, choices in zip(motions, captions, strict=True):
        frames = motion.valid.shape[1]
        longest = min(frames, max_frames)
        length = int(rng.integers((longest + 1) // 2, longest + 1))
        stretches.append(motion.stretch(int(rng.integers(frames - length + 1)), length))
        texts.append(choices[int(rng.integers(len(choices)))])
    batch = Batch.of(stretches)
    flipped = rng.random(len(motions)) < 0.5
    batch.features[flipped] = mirror_features(batch.features[flipped])
    return batch, [mirror_words(text) if flip else text for text, flip in zip(texts, flipped, strict=True)]


def mirror_features(features: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch feature"]:
    """Those of the mirror image: left and right joints change places, and what points left points right."""
    joints, rest = features[..., :-4].unflatten(-1, (2, NUM_JOINTS, 3)), features[..., -4:]
    mirrored = joints[..., MIRRORED, :] * joints.new_tensor([1, -1, 1])
    return torch.cat([mirrored.flatten(-3), rest * rest.new_tensor([-1, 1, -1, 1])], dim=-1)


class Evaluator:
    """A trained evaluator of ours, ready to embed."""

    name = "carescene"
    protocol = CARESCENE

    def __init__(self, network: EvaluatorNetwork, version: str, device: torch.device | str = "cpu") -> None:
        self.network = network.to(device).eval()
        self.version = version
        self.dim = network.config.dim
        self.fps = network.config.fps
        self.device = device
        self.encode_text = load_text_encoder(network.config.text_encoder)

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> "Evaluator":
        weights = read_weights(Path(path), FORMAT, "ray_jobs.train_evaluator")
        network = EvaluatorNetwork(EvaluatorConfig(**weights.description))
        weights.check(network.state_dict())
        network.load_state_dict(weights.tensors)
        return cls(network, weights.version, device)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "text dim"]:
        return self.network.embed_text(self.encode_text(texts).to(self.device)).cpu()

    @torch.inference_mode()
    def embed_motions(self, motions: Sequence[MotionSequence]) -> Float[Tensor, "motion dim"]:
        """One unit vector a motion, in the order given; motions of like length are embedded together."""
        for motion in motions:
            check_rate(motion, self.fps)
        embedded = torch.zeros(len(motions), self.dim)
        order = sorted(range(len(motions)), key=lambda i: (motions[i].num_persons, motions[i].num_frames))
        for start in range(0, len(order), BATCH):
            some = order[start : start + BATCH]
            seen = [Encoded.of(motions[i]).stretch(0, self.network.config.max_frames) for i in some]
            embedded[some] = self.network.embed_motion(Batch.of(seen).to(self.device)).cpu()
        return embedded


def check_rate(motion: MotionSequence, fps: float) -> None:
    if abs(motion.fps - fps) > 0.01:
        raise InputError(
            f"{motion.id}: has {motion.fps:g} frames per second, the evaluator takes {fps:g}: prepare or resample it so"
        )


def evaluator_bytes(network: EvaluatorNetwork) -> bytes:
    """The content of the evaluator's file."""
    return weights_bytes(network.state_dict(), FORMAT, asdict(network.config))


def load_evaluator(spec: str, device: torch.device | str = "cpu") -> TextMotionEvaluator:
    """Ours from its file, or one of the field's: `interclip:interclip.ckpt`, `humanml3d:FOLDER`."""
    kind, _, path = spec.partition(":")
    loaders: dict[str, Callable[[str, torch.device | str], TextMotionEvaluator]] = {
        "interclip": load_interclip,
        "humanml3d": load_humanml3d_evaluator,
    }
    return loaders[kind](path, device) if kind in loaders else Evaluator.load(spec, device)
