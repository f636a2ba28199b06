"""HumanML3D's evaluator with made-up weights, in files as the authors', against the same sums written out."""

import pickle
import re
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from motion.body import load_body
from motion.errors import InputError
from motion.evaluator.humanml3d import HumanML3DEvaluator, load_humanml3d_evaluator
from motion.evaluator.protocol import HUMANML3D
from motion.representations import bone_lengths, humanml3d_263
from motion.sequence import MotionSequence
from tests.helpers import clips

BODY = load_body()
WORDS = ["unk", "sos", "eos", "a", "person", "walk", "the", "quickly", "and"]
KINDS = (
    *("VERB", "NOUN", "DET", "ADP", "NUM", "AUX", "PRON", "ADJ", "ADV"),
    *("Loc_VIP", "Body_VIP", "Obj_VIP", "Act_VIP", "Desc_VIP", "OTHER"),
)
WALK = "a person walks quickly"
LONG = "the person walks and walks"
TEXTS = {
    "000001.txt": f"{WALK}#a/DET person/NOUN walk/VERB quickly/ADV#0.0#0.0\na cartwheel#a/DET cartwheel/NOUN#0.0#0.0\n",
    "M000001.txt": f"{LONG}#the/DET person/NOUN {'walk/VERB and/CCONJ ' * 12}#1.0#4.5\nuntagged#\n",
}
LENGTHS = bone_lengths(torch.from_numpy(clips.random_clip(BODY, seed=5).joints[0, 0, :22]))


def official_shapes() -> dict[str, dict[str, tuple[int, ...]]]:
    """List the content of `finest.tar`, as it follows from the authors' modules.py and evaluator_wrapper.py."""
    movement = {"main.0.weight": (512, 259, 4), "main.0.bias": (512,), "main.3.weight": (512, 512, 4)}
    movement |= {"main.3.bias": (512,), "out_net.weight": (512, 512), "out_net.bias": (512,)}
    text = {"pos_emb.weight": (300, 15), "pos_emb.bias": (300,)} | recurrent(300, 512)
    return {"movement_encoder": movement, "text_encoder": text, "motion_encoder": recurrent(512, 1024)}


def recurrent(features: int, width: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"hidden": (2, 1, width)}
    for name, shape in {
        "input_emb": (width, features),
        "output_net.0": (width, 2 * width),
        "output_net.3": (512, width),
    }.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for way in ("l0", "l0_reverse"):
        shapes |= {f"gru.weight_ih_{way}": (3 * width, width), f"gru.weight_hh_{way}": (3 * width, width)}
        shapes |= {f"gru.bias_ih_{way}": (3 * width,), f"gru.bias_hh_{way}": (3 * width,)}
    return shapes | {"output_net.1.weight": (width,), "output_net.1.bias": (width,)}


def recipe_weight(key: str, shape: tuple[int, ...]) -> Tensor:
    """Compute a weight by the recipe of the golden vectors (their README)."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
    if len(shape) >= 2:
        return 0.02 * x
    return 1.0 + 0.01 * x if key.endswith(".weight") else 0.01 * x


def write_tables(folder: Path) -> None:
    """Write all files but the weights."""
    rng = np.random.default_rng(0)
    np.save(folder / "mean.npy", rng.normal(size=263).astype(np.float32))
    np.save(folder / "std.npy", rng.uniform(0.5, 2, size=263).astype(np.float32))
    np.save(folder / "our_vab_data.npy", rng.normal(size=(len(WORDS), 300)))
    (folder / "our_vab_idx.pkl").write_bytes(pickle.dumps({word: row for row, word in enumerate(WORDS)}))
    (folder / "texts").mkdir()
    for name, lines in TEXTS.items():
        (folder / "texts" / name).write_text(lines)
    (folder / "new_joints").mkdir()
    np.save(folder / "new_joints" / "000021.npy", clips.random_clip(BODY, seed=5).joints[0, :, :22])


@pytest.fixture(scope="module")
def weights() -> dict[str, dict[str, Tensor]]:
    return {
        part: {key: recipe_weight(f"{part}.{key}", shape) for key, shape in shapes.items()}
        for part, shapes in official_shapes().items()
    }


@pytest.fixture(scope="module")
def folder(weights: dict[str, dict[str, Tensor]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("t2m")
    write_tables(folder)
    torch.save(weights | {"opt_motion_encoder": {"state": {}}, "epoch": 3, "iter": 9}, folder / "finest.tar")
    return folder


@pytest.fixture(scope="module")
def evaluator(folder: Path) -> HumanML3DEvaluator:
    return load_humanml3d_evaluator(folder)


def solo(frames: int, seed: int = 0) -> MotionSequence:
    both = clips.motion(BODY, frames, seed)
    first: dict[str, Any] = {name: getattr(both, name)[:1] for name in MotionSequence.ARRAYS}
    return replace(both, **first)


def linear(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.2 * x)


def convolve(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    """Convolve with kernel 4 and stride 2 over (step, feature), one step of zeros at each end."""
    zeros = torch.zeros(1, x.shape[1])
    windows = torch.cat([zeros, x, zeros]).unfold(0, 4, 2)
    return leaky(torch.einsum("tfk,ofk->to", windows, w[f"{name}.weight"]) + w[f"{name}.bias"])


def last_state(x: Tensor, w: dict[str, Tensor], way: str, state: Tensor) -> Tensor:
    """Run a GRU as in Cho et al. 2014, with PyTorch's place of the reset gate."""
    for step in x:
        r_in, z_in, n_in = (w[f"gru.weight_ih_{way}"] @ step + w[f"gru.bias_ih_{way}"]).chunk(3)
        r, z, n = (w[f"gru.weight_hh_{way}"] @ state + w[f"gru.bias_hh_{way}"]).chunk(3)
        update = torch.sigmoid(z_in + z)
        state = (1 - update) * torch.tanh(n_in + torch.sigmoid(r_in + r) * n) + update * state
    return state


def encode_sequence(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    x = linear(x, w, "input_emb")
    ahead, back = w["hidden"][:, 0]
    hidden = linear(
        torch.cat([last_state(x, w, "l0", ahead), last_state(x.flip(0), w, "l0_reverse", back)]), w, "output_net.0"
    )
    hidden = hidden - hidden.mean()
    hidden = hidden / (hidden.square().mean() + 1e-5).sqrt() * w["output_net.1.weight"] + w["output_net.1.bias"]
    return linear(leaky(hidden), w, "output_net.3")


def expected_motion(motion: MotionSequence, folder: Path, weights: dict[str, dict[str, Tensor]]) -> Tensor:
    mean, std = (torch.from_numpy(np.load(folder / f"{name}.npy")) for name in ("mean", "std"))
    features = ((humanml3d_263(motion, LENGTHS)[0] - mean) / std)[:, :259]
    count = min(len(features) // 4, 49)
    padded = torch.cat([features[: 4 * count], torch.zeros(196 - 4 * count, 259)])
    w = weights["movement_encoder"]
    movements = linear(convolve(convolve(padded, w, "main.0"), w, "main.3"), w, "out_net")
    return encode_sequence(movements[:count], weights["motion_encoder"])


def expected_text(words: str, folder: Path, w: dict[str, Tensor]) -> Tensor:
    vectors = torch.from_numpy(np.load(folder / "our_vab_data.npy")).float()
    pairs = [pair.split("/") for pair in words.split()]
    rows = torch.stack([vectors[WORDS.index(word)] for word, _ in pairs])
    kinds = torch.stack([torch.eye(15)[KINDS.index(kind)] for _, kind in pairs])
    return encode_sequence(rows + linear(kinds, w, "pos_emb"), w)


def test_motions_of_a_mixed_batch_are_what_the_sums_give_for_each(
    evaluator: HumanML3DEvaluator, folder: Path, weights: dict[str, dict[str, Tensor]]
) -> None:
    """The first 8 of 9 steps count, the first 196 of 230; embeddings come back in the order given."""
    motions = [solo(10, 1), solo(231, 2), solo(40, 3)]
    together = evaluator.embed_motions(motions)
    expected = torch.stack([expected_motion(m, folder, weights) for m in motions])
    torch.testing.assert_close(together, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(evaluator.embed_motions(motions[2:]), together[2:], atol=1e-5, rtol=0)
    assert torch.pdist(together).min() > 1e-2


def test_captions_are_what_the_sums_give(
    evaluator: HumanML3DEvaluator, folder: Path, weights: dict[str, dict[str, Tensor]]
) -> None:
    """Words of interest have a kind of their own, unknown ones are unk, of a long caption 20 words count."""
    words = [
        "sos/OTHER a/DET person/NOUN walk/Act_VIP quickly/Desc_VIP eos/OTHER",
        "sos/OTHER the/DET person/NOUN " + "walk/Act_VIP and/OTHER " * 9 + "eos/OTHER",
        "sos/OTHER a/DET unk/OTHER eos/OTHER",
    ]
    expected = torch.stack([expected_text(text, folder, weights["text_encoder"]) for text in words])
    found = evaluator.embed_texts([WALK, LONG, "a cartwheel"])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(evaluator.embed_texts([f" {WALK}\n"]), found[:1], atol=1e-5, rtol=0)
    assert torch.pdist(found).min() > 1e-2


def test_it_says_what_it_is(evaluator: HumanML3DEvaluator) -> None:
    assert (evaluator.name, evaluator.dim, evaluator.fps, evaluator.protocol) == ("humanml3d", 512, 20.0, HUMANML3D)
    assert re.fullmatch("[0-9a-f]{12}", evaluator.version)


@pytest.mark.parametrize("caption", ["somebody waves", "untagged"])
def test_a_caption_that_nobody_tagged_is_refused(evaluator: HumanML3DEvaluator, caption: str) -> None:
    with pytest.raises(InputError, match=f"'{caption}' is not among HumanML3D's texts.*parts of speech"):
        evaluator.embed_texts([WALK, caption])


def test_other_than_one_person_or_too_short_is_refused(evaluator: HumanML3DEvaluator) -> None:
    with pytest.raises(InputError, match="clip: has 2 persons, expected 1"):
        evaluator.embed_motions([clips.random_clip(BODY)])
    with pytest.raises(InputError, match="clip: has 4 frames, expected more than 4"):
        evaluator.embed_motions([clips.random_clip(BODY, persons=1, frames=4)])
    with pytest.raises(InputError, match="expected 20"):
        evaluator.embed_motions([replace(solo(9), fps=30.0)])


def test_each_wrong_weight_is_named(weights: dict[str, dict[str, Tensor]], tmp_path: Path) -> None:
    wrong = {part: dict(values) for part, values in weights.items()}
    del wrong["text_encoder"]["hidden"]
    wrong["motion_encoder"] |= {"new": torch.ones(1), "hidden": torch.ones(2, 1)}
    torch.save(wrong, tmp_path / "finest.tar")
    says = (
        r"lacks text_encoder.hidden, holds motion_encoder.new too, "
        r"has motion_encoder.hidden of shape \(2, 1\), not \(2, 1, 1024\)"
    )
    with pytest.raises(InputError, match=says):
        load_humanml3d_evaluator(tmp_path)


def remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("name", "spoil", "says"),
    [
        ("mean.npy", Path.unlink, "cannot be read"),
        ("mean.npy", lambda path: np.save(path, np.zeros(251)), r"\(251,\).*expected 263"),
        ("std.npy", lambda path: np.save(path, np.zeros(263)), "above 0"),
        ("std.npy", lambda path: np.save(path, np.array([print]), allow_pickle=True), "cannot be read"),
        ("our_vab_data.npy", lambda path: np.save(path, np.zeros((9, 50))), r"\(9, 50\), expected \(words, 300\)"),
        ("our_vab_data.npy", lambda path: np.save(path, np.zeros((8, 300))), "rows beyond the 8"),
        ("our_vab_idx.pkl", lambda path: path.write_bytes(pickle.dumps({"a": 0})), "lacks the word unk"),
        ("our_vab_idx.pkl", lambda path: path.write_bytes(pickle.dumps({"unk": print})), "asks for builtins.print"),
        ("texts", remove, "holds no .txt"),
        ("new_joints", remove, "holds no .npy"),
    ],
)
def test_a_bad_file_is_named(
    folder: Path, tmp_path: Path, name: str, spoil: Callable[[Path], object], says: str
) -> None:
    write_tables(tmp_path)
    (tmp_path / "finest.tar").symlink_to(folder / "finest.tar")
    spoil(tmp_path / name)
    with pytest.raises(InputError, match=says) as error:
        load_humanml3d_evaluator(tmp_path)
    assert name in str(error.value)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"finest\.tar does not exist"):
        load_humanml3d_evaluator(tmp_path)
