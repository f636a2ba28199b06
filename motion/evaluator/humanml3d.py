"""Evaluator of text-to-motion on HumanML3D (Guo et al. 2022, "text_mot_match"), one person at 20 fps.

It wants one folder that holds (copied or linked) these files of the authors' releases:

    finest.tar                              the networks: text_mot_match/model/ in t2m.zip of
                                            github.com/EricGuo5513/text-to-motion
    mean.npy, std.npy                       what the networks were trained with, which is not the data set's Mean.npy
                                            and Std.npy: Comp_v6_KLD01/meta/ in t2m.zip, or dataset/t2m_mean.npy and
                                            t2m_std.npy of github.com/GuyTevet/motion-diffusion-model
    our_vab_data.npy, our_vab_idx.pkl       GloVe: glove.zip there; its our_vab_words.pkl says nothing that is not
                                            in our_vab_idx.pkl
    texts/*.txt, new_joints/*.npy           HumanML3D's captions with their parts of speech, and at least one of its
                                            motions: the skeleton that all of them have

A caption is its words and parts of speech as HumanML3D's authors tagged them; tagged anew with another version of the
tagger it would give other numbers, so only HumanML3D's captions can be embedded. A motion is put on HumanML3D's
skeleton and becomes its 263 numbers, of which a multiple of 4 from the start, at most `MAX_STEPS`, are taken. The
official loader leaves out 4 more of every third motion and takes them from a random start.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeGuard

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import one_hot, pad
from torch.nn.utils.rnn import pack_sequence

from motion.datasets.clip import read_array
from motion.datasets.humanml3d import read_joints
from motion.errors import InputError
from motion.errors.text_files import read_text
from motion.evaluator.protocol import HUMANML3D
from motion.representations import HUMANML3D_FPS, NUM_JOINTS, bone_lengths, humanml3d_263
from motion.sequence import MotionSequence
from motion.unpickle import load_arrays
from motion.weights import Weights, read_checkpoint

FEATURES = 263
STEPS_PER_MOVEMENT = 4
MAX_STEPS = 196
MAX_WORDS = 20
WORD_DIM = 300
INPUTS_PER_PASS = 32
NETWORKS = ("movement_encoder", "text_encoder", "motion_encoder")

# Kinds of words in the order of their one-hot code; those in VIP have a kind of their own, whatever part of speech.
WORD_KINDS = (
    *("VERB", "NOUN", "DET", "ADP", "NUM", "AUX", "PRON", "ADJ", "ADV"),
    *("Loc_VIP", "Body_VIP", "Obj_VIP", "Act_VIP", "Desc_VIP", "OTHER"),
)
VIP = {
    "Loc_VIP": "left right clockwise counterclockwise anticlockwise forward back backward up down straight curve",
    "Body_VIP": "arm chin foot feet face hand mouth leg waist eye knee shoulder thigh",
    "Obj_VIP": "stair dumbbell chair window floor car ball handrail baseball basketball",
    "Act_VIP": "walk run swing pick bring kick put squat throw hop dance jump turn stumble stop sit lift lower raise "
    "wash stand kneel stroll rub bend balance flap jog shuffle lean rotate spin spread climb",
    "Desc_VIP": "slowly carefully fast careful slow quickly happy angry sad happily angrily sadly",
}
KIND_OF = {word: kind for kind, words in VIP.items() for word in words.split()}


class MovementEncoder(nn.Module):
    """Two strided convolutions: one movement for four steps."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv1d(FEATURES - 4, 512, kernel_size=4, stride=2, padding=1),
            nn.Dropout(0.2),
            nn.LeakyReLU(0.2),
            nn.Conv1d(512, 512, kernel_size=4, stride=2, padding=1),
            nn.Dropout(0.2),
            nn.LeakyReLU(0.2),
        )
        self.out_net = nn.Linear(512, 512)

    def forward(self, features: Float[Tensor, "motion step 259"]) -> Float[Tensor, "motion movement 512"]:
        return self.out_net(self.main(features.mT).mT)


class SequenceEncoder(nn.Module):
    """Bidirectional GRU over sequences of any lengths; its two last states become the embedding."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.input_emb = nn.Linear(features, width)
        self.gru = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.output_net = nn.Sequential(
            nn.Linear(2 * width, width), nn.LayerNorm(width), nn.LeakyReLU(0.2), nn.Linear(width, 512)
        )
        self.hidden = nn.Parameter(torch.zeros(2, 1, width))

    def forward(self, sequences: Sequence[Float[Tensor, "_ feature"]]) -> Float[Tensor, "sequence 512"]:
        packed = pack_sequence([self.input_emb(sequence) for sequence in sequences], enforce_sorted=False)
        _, last = self.gru(packed, self.hidden.repeat(1, len(sequences), 1))
        return self.output_net(torch.cat([last[0], last[1]], dim=-1))


class CaptionEncoder(SequenceEncoder):
    """Encoder of captions: the kind of each word is added to its vector."""

    def __init__(self) -> None:
        super().__init__(WORD_DIM, width=512)
        self.pos_emb = nn.Linear(len(WORD_KINDS), WORD_DIM)

    def forward(self, sequences: Sequence[Float[Tensor, "_ 315"]]) -> Float[Tensor, "sequence 512"]:
        return super().forward([words[:, :WORD_DIM] + self.pos_emb(words[:, WORD_DIM:]) for words in sequences])


class TextMotionMatch(nn.Module):
    """Three networks of the evaluator; the keys of each one's state_dict are the official ones."""

    def __init__(self) -> None:
        super().__init__()
        self.movement_encoder = MovementEncoder()
        self.text_encoder = CaptionEncoder()
        self.motion_encoder = SequenceEncoder(512, width=1024)

    def embed_texts(self, words: Sequence[Float[Tensor, "_ 315"]]) -> Float[Tensor, "text 512"]:
        """Embed captions from the vectors and kinds of their words."""
        return self.text_encoder(words)

    def embed_motions(self, features: Sequence[Float[Tensor, "_ 259"]]) -> Float[Tensor, "motion 512"]:
        """Embed motions from their normalized numbers without the foot contacts."""
        # Padded as far as the official loader does: the padding beyond its end reaches a motion's last movement.
        padded = torch.stack([pad(motion, (0, 0, 0, MAX_STEPS - len(motion))) for motion in features])
        movements = self.movement_encoder(padded)
        lengths = [len(motion) // STEPS_PER_MOVEMENT for motion in features]
        return self.motion_encoder([m[:length] for m, length in zip(movements, lengths, strict=True)])


class WordVectors:
    """Vectors of words (GloVe), and the kind that each word counts as."""

    def __init__(self, vectors: Float[Tensor, "word 300"], rows: dict[str, int]) -> None:
        self.vectors = vectors
        self.rows = rows

    def __call__(self, tokens: Sequence[str]) -> Float[Tensor, "token 315"]:
        """Look up vector and one-hot kind of each word of a caption (`word/TAG`), start and end included."""
        pairs = [token.rsplit("/", 1) for token in ("sos/OTHER", *tokens[:MAX_WORDS], "eos/OTHER")]
        vectors = self.vectors[[self.rows.get(word, self.rows["unk"]) for word, _ in pairs]]
        kinds = torch.tensor([WORD_KINDS.index(self._kind(word, tag)) for word, tag in pairs])
        return torch.cat([vectors, one_hot(kinds, len(WORD_KINDS))], dim=1)

    def _kind(self, word: str, tag: str) -> str:
        kind = KIND_OF.get(word, tag)
        return kind if word in self.rows and kind in WORD_KINDS else "OTHER"


class HumanML3DEvaluator:
    """Evaluator of HumanML3D's captions and motions of one person; embeddings come in the order of the inputs."""

    name = "humanml3d"
    dim = 512
    fps = float(HUMANML3D_FPS)
    protocol = HUMANML3D

    def __init__(
        self,
        network: TextMotionMatch,
        version: str,
        words: WordVectors,
        captions: dict[str, list[str]],
        mean: Float[Tensor, "263"],
        std: Float[Tensor, "263"],
        lengths: Float[Tensor, "22"],
        device: torch.device | str = "cpu",
    ) -> None:
        self.network = network.to(device).eval()
        self.version = version
        self.words = words
        self.captions = captions
        self.mean, self.std, self.lengths = mean, std, lengths
        self.device = device

    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "text 512"]:
        """Embed captions; raises InputError for one that is not HumanML3D's."""
        return self._in_batches(self.network.embed_texts, [self.words(self._tokens(text)) for text in texts])

    def embed_motions(self, motions: Sequence[MotionSequence]) -> Float[Tensor, "motion 512"]:
        """Embed motions; raises InputError for one with several persons, another rate or too few frames."""
        return self._in_batches(self.network.embed_motions, [self.features(motion) for motion in motions])

    @torch.no_grad()
    def _in_batches(
        self, embed: Callable[[list[Tensor]], Tensor], inputs: list[Float[Tensor, "_ feature"]]
    ) -> Float[Tensor, "item 512"]:
        batches = [inputs[start : start + INPUTS_PER_PASS] for start in range(0, len(inputs), INPUTS_PER_PASS)]
        return torch.cat([embed([item.to(self.device) for item in batch]).cpu() for batch in batches])

    def features(self, motion: MotionSequence) -> Float[Tensor, "step 259"]:
        """Compute the normalized numbers of a motion, without the foot contacts.

        Raises InputError for a motion with several persons, another rate or too few frames.
        """
        if motion.num_persons != 1:
            raise InputError(f"{motion.id}: has {motion.num_persons} persons, expected 1, which is all it knows")
        features = humanml3d_263(motion, self.lengths)[0]
        steps = min(len(features), MAX_STEPS) // STEPS_PER_MOVEMENT * STEPS_PER_MOVEMENT
        if not steps:
            raise InputError(f"{motion.id}: has {motion.num_frames} frames, expected more than {STEPS_PER_MOVEMENT}")
        return ((features[:steps] - self.mean) / self.std)[:, :-4]

    def _tokens(self, text: str) -> list[str]:
        if text.strip() not in self.captions:
            raise InputError(
                f"the caption {text!r} is not among HumanML3D's texts, expected one of them: "
                "the evaluator needs the parts of speech that its authors wrote there"
            )
        return self.captions[text.strip()]


def load_humanml3d_evaluator(folder: str | Path, device: torch.device | str = "cpu") -> HumanML3DEvaluator:
    """Load the evaluator from a folder of the module's files; raises InputError where one is missing or damaged."""
    folder = Path(folder)
    parts = read_checkpoint(folder / "finest.tar", NETWORKS)
    with torch.device("meta"):
        network = TextMotionMatch()
    state = {f"{part}.{key}": value for part, values in parts.items() for key, value in values.items()}
    weights = Weights(folder / "finest.tar", state)
    return HumanML3DEvaluator(
        network=weights.load_into(network).requires_grad_(False),
        version=weights.version,
        words=read_words(folder),
        captions=read_tokens(folder / "texts"),
        mean=_read_moment(folder / "mean.npy"),
        std=_read_std(folder / "std.npy"),
        lengths=read_skeleton(folder / "new_joints"),
        device=device,
    )


def read_words(folder: Path) -> WordVectors:
    """Read GloVe as the authors released it: a matrix, and the row of each word.

    Raises InputError where the two files do not belong together.
    """
    vectors = torch.from_numpy(read_array(folder / "our_vab_data.npy"))
    rows = load_arrays(folder / "our_vab_idx.pkl")
    if vectors.shape[1:] != (WORD_DIM,):
        raise InputError(
            f"{folder / 'our_vab_data.npy'}: has shape {tuple(vectors.shape)}, expected (words, {WORD_DIM})"
        )
    if not _are_rows(rows, len(vectors)):
        raise InputError(
            f"{folder / 'our_vab_idx.pkl'} lacks the word unk or names rows beyond the {len(vectors)} of "
            "our_vab_data.npy, expected both files of one release"
        )
    return WordVectors(vectors, rows)


def _are_rows(rows: dict[str, object], count: int) -> TypeGuard[dict[str, int]]:
    return "unk" in rows and all(isinstance(row, int) and 0 <= row < count for row in rows.values())


def read_tokens(folder: Path) -> dict[str, list[str]]:
    """Read the words and tags of each caption from lines caption#word/TAG word/TAG#from#to; skip lines without tags.

    Raises InputError where the folder has no .txt.
    """
    files = sorted(folder.glob("[!.]*.txt"))
    if not files:
        raise InputError(f"{folder} holds no .txt, expected HumanML3D's captions")
    captions: dict[str, list[str]] = {}
    for file in files:
        for line in read_text(file, "expected HumanML3D's captions", errors="replace").splitlines():
            caption, _, rest = line.partition("#")
            tokens = rest.partition("#")[0].split()
            if tokens and all("/" in token for token in tokens):
                captions.setdefault(caption.strip(), tokens)
    return captions


def read_skeleton(folder: Path) -> Float[Tensor, "22"]:
    """Read the bone lengths (m) that all motions of HumanML3D share from the first .npy in `folder`.

    Raises InputError where it has none.
    """
    file = min(folder.glob("[!.]*.npy"), default=None)
    if file is None:
        raise InputError(f"{folder} holds no .npy, expected at least one motion of HumanML3D's new_joints")
    return bone_lengths(read_joints(file)[0, :NUM_JOINTS])


def _read_moment(path: Path) -> Float[Tensor, "263"]:
    try:
        moment = np.load(path, allow_pickle=False)
    except Exception as error:  # a damaged header shows as nearly any of them
        raise InputError(f"{path}: cannot be read ({error}), expected a .npy of {FEATURES} numbers") from error
    if moment.shape != (FEATURES,) or not np.isfinite(moment).all():
        raise InputError(f"{path}: has shape {moment.shape} or NaN, expected {FEATURES} numbers")
    return torch.from_numpy(moment).float()


def _read_std(path: Path) -> Float[Tensor, "263"]:
    std = _read_moment(path)
    if not (std > 0).all():
        raise InputError(f"{path}: holds {std.min():g}, expected standard deviations, which are above 0")
    return std
