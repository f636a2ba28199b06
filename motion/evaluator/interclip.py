"""Evaluator InterCLIP of text-to-interaction on InterHuman (Liang et al. 2024, github.com/tr3e/InterGen).

It wants one file, `interclip.ckpt` of the authors' release (the README there links it; the code reads it from
`eval_model/`). Published FID and R-precision of InterGen and its followers are distances between these embeddings.

A motion is two persons exactly, at 30 fps, as InterGen's 262 numbers without the foot contacts and not normalized,
person 0 first; the official loader draws which of the two that is, here it is the record's. Its `MAX_FRAMES` are those
of the official loader, which cuts a longer motion out at random: here a longer one is refused.

One thing is unexpected: the text tower, though it starts from CLIP's token and position embeddings, has no causal mask,
and its tokens attend to the padding after the text too.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize, pad
from torch.nn.utils.rnn import pad_sequence

from motion.errors import InputError
from motion.evaluator.protocol import INTERHUMAN
from motion.representations import INTERGEN_FPS, intergen_262
from motion.sequence import MotionSequence
from motion.weights import Weights, read_checkpoint

FEATURES = 262 - 4  # without the foot contacts
TOKENS, CONTEXT = 49408, 77  # of CLIP ViT-L/14@336px
MAX_FRAMES = 300
INPUTS_PER_PASS = 32


class SinusoidTable(nn.Module):
    """Position encodings, read from the official file."""

    pe: Tensor

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.register_buffer("pe", torch.zeros(length, width))


class MotionEncoder(nn.Module):
    """Post-norm transformer over a query token and the frames; the query token becomes the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.query_token = nn.Parameter(torch.zeros(1, 1024))
        self.embed_motion = nn.Linear(2 * FEATURES, 1024)
        self.sequence_pos_encoder = SinusoidTable(2000, 1024)
        self.transformer = _transformer(1024)
        self.out_ln = nn.LayerNorm(1024)
        self.out = nn.Linear(1024, 512)

    def forward(
        self, features: Float[Tensor, "motion frame feature"], valid: Bool[Tensor, "motion frame"]
    ) -> Float[Tensor, "motion 512"]:
        """Embed motions from frames where `valid` is True."""
        query = self.query_token.expand(len(features), 1, -1)
        tokens = torch.cat([query, self.embed_motion(features)], dim=1)
        tokens = tokens + self.sequence_pos_encoder.pe[: tokens.shape[1]]
        states = self.transformer(tokens, src_key_padding_mask=~pad(valid, (1, 0), value=True))
        return self.out(self.out_ln(states[:, 0]))


class InterClip(nn.Module):
    """Both towers of InterCLIP; the keys of its state_dict are the official ones."""

    def __init__(self) -> None:
        super().__init__()
        self.motion_encoder = MotionEncoder()
        self.token_embedding = nn.Embedding(TOKENS, 768)
        self.positional_embedding = nn.Parameter(torch.zeros(CONTEXT, 768))
        self.latent_scale = nn.Parameter(torch.ones(1))
        self.textTransEncoder = _transformer(768)
        self.text_ln = nn.LayerNorm(768)
        self.out = nn.Linear(768, 512)

    def embed_motions(
        self, features: Float[Tensor, "motion frame feature"], valid: Bool[Tensor, "motion frame"]
    ) -> Float[Tensor, "motion 512"]:
        """Embed motions from frames where `valid` is True, at length `latent_scale`."""
        return normalize(self.motion_encoder(features, valid), dim=-1) * self.latent_scale

    def embed_tokens(self, tokens: Int[Tensor, "text token"]) -> Float[Tensor, "text 512"]:
        """Embed tokenized captions at length `latent_scale`."""
        states = self.textTransEncoder(self.token_embedding(tokens) + self.positional_embedding)
        ends = tokens.argmax(dim=-1)  # the end-of-text token is the highest
        last = self.text_ln(states)[torch.arange(len(tokens), device=tokens.device), ends]
        return normalize(self.out(last), dim=-1) * self.latent_scale


def _transformer(width: int) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(width, nhead=8, dim_feedforward=2048, activation="gelu", batch_first=True)
    return nn.TransformerEncoder(layer, num_layers=8, enable_nested_tensor=False)


class InterClipEvaluator:
    """Evaluator of texts and motions of two persons; all embeddings have the length `latent_scale` of the network."""

    name = "interclip"
    dim = 512
    fps = float(INTERGEN_FPS)
    protocol = INTERHUMAN

    def __init__(self, network: InterClip, version: str, device: torch.device | str = "cpu") -> None:
        from open_clip.tokenizer import SimpleTokenizer  # takes seconds, and few processes need it

        self.network = network.to(device).eval()
        self.version = version
        self.device = device
        self._tokenize = SimpleTokenizer(context_length=CONTEXT)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "text 512"]:
        """Embed captions; a caption longer than the context is cut."""
        tokens = self._tokenize(list(texts)).to(self.device)
        return torch.cat([self.network.embed_tokens(batch).cpu() for batch in tokens.split(INPUTS_PER_PASS)])

    @torch.no_grad()
    def embed_motions(self, motions: Sequence[MotionSequence]) -> Float[Tensor, "motion 512"]:
        """Embed motions; raises InputError for one of another rate, person count or too great length."""
        batches = [motions[start : start + INPUTS_PER_PASS] for start in range(0, len(motions), INPUTS_PER_PASS)]
        return torch.cat([self._embed(batch) for batch in batches])

    def _embed(self, motions: Sequence[MotionSequence]) -> Float[Tensor, "motion 512"]:
        features = [interclip_features(motion) for motion in motions]
        valid = pad_sequence([torch.ones(len(motion), dtype=torch.bool) for motion in features], batch_first=True)
        padded = pad_sequence(features, batch_first=True)
        return self.network.embed_motions(padded.to(self.device), valid.to(self.device)).cpu()


def interclip_features(motion: MotionSequence) -> Float[Tensor, "step 516"]:
    """Compute InterGen's numbers of both persons side by side, without the foot contacts.

    Raises InputError unless there are two persons, at most `MAX_FRAMES` frames, at InterGen's rate.
    """
    if motion.num_persons != 2:
        raise InputError(
            f"{motion.id}: has {motion.num_persons} person(s), expected 2, which is all that InterCLIP knows"
        )
    if motion.num_frames > MAX_FRAMES:
        raise InputError(f"{motion.id}: has {motion.num_frames} frames, expected at most {MAX_FRAMES}: crop it first")
    return intergen_262(motion)[..., :FEATURES].transpose(0, 1).flatten(1)


def load_interclip(path: str | Path, device: torch.device | str = "cpu") -> InterClipEvaluator:
    """Load the official `interclip.ckpt`, a Lightning checkpoint; raises InputError if it is not that."""
    path = Path(path)
    state = read_checkpoint(path, ("state_dict",))["state_dict"]
    with torch.device("meta"):
        network = InterClip()
    weights = Weights(path, {key.removeprefix("model."): value for key, value in state.items()})
    return InterClipEvaluator(weights.load_into(network).requires_grad_(False), weights.version, device)
