"""Learnt: what a model was trained on, in brief, so that its answers tell how far they are from that.

A model answers every prompt, also one that nothing it was trained on is like, and it may answer by a training clip:

    prompt_distance   1 - cosine between the prompt's vector and that of the nearest caption trained on, of the prompts
                      the farthest: 0 for such a caption; a large one warns, a small one proves nothing
    nearest_clip      training clip that the motion is most like (`motion.metrics.memorisation`, on `FPS` frames/s)
    nearest_clip_m    its distance in metres: within a few centimetres the motion is a copy

`ray_jobs.train` writes the file beside the model. It is a file of its own because it holds joints of the people who
were captured: a model can be passed on without it.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor
from torch.nn.functional import normalize

from motion.errors import InputError
from motion.metrics.memorisation import WindowIndex, build_index, nearest
from motion.sequence import MotionSequence
from motion.text import TextEncoder
from motion.weights import read_weights, weights_bytes

FORMAT = "carescene-learnt/1"
LEARNT_FILE = "learnt.safetensors"
FPS = 5.0  # about, of the joints that are kept
MOST_CAPTIONS = 10_000  # 15 MB of MiniLM's vectors
MOST_FRAMES = 36_000  # 2 h, 10 MB of joints


@dataclass(frozen=True, eq=False)
class Track:
    """Joints of a motion, about `FPS` a second."""

    id: str
    """Id of the motion."""
    fps: float
    """Frames per second."""
    joints: Float32[np.ndarray, "person frame 24 3"]
    """Joint positions in metres, Z up."""
    valid: Bool[np.ndarray, "person frame"]
    """True where the person is present."""

    @classmethod
    def of(cls, motion: MotionSequence) -> "Track":
        """Take every so many frames of a motion."""
        step = max(1, round(motion.fps / FPS))
        return cls(motion.id, motion.fps / step, motion.joints[:, ::step], motion.valid[:, ::step])


@dataclass(frozen=True, eq=False)
class Learnt:
    """Captions and motions that a model was trained on, or a random part of them where they are many."""

    model: str
    """Version of the model."""
    captions: Float[Tensor, "caption dim"]
    """Vectors of the captions, of length 1."""
    tracks: tuple[Track, ...]
    """Clips."""

    @cached_property
    def index(self) -> WindowIndex | None:
        """Index of the clips; None where none lasts a second."""
        try:
            return build_index(self.tracks)
        except InputError:
            return None

    def tell(self, motion: MotionSequence, encode_text: TextEncoder) -> MotionSequence:
        """Note in a generated motion's provenance how far it is from what was learnt."""
        prompts = [motion.provenance["prompt"], *json.loads(motion.provenance.get("person_prompts", "[]"))]
        told = {}
        if len(self.captions) and (prompts := [prompt for prompt in prompts if prompt]):
            near = (normalize(encode_text(prompts), dim=1) @ self.captions.T).amax(dim=1)
            told["prompt_distance"] = f"{1 - near.min():.2f}"
        if self.index is not None and (neighbour := nearest(self.index, Track.of(motion))) is not None:
            told |= {"nearest_clip": neighbour.id, "nearest_clip_m": f"{neighbour.distance:.3f}"}
        return replace(motion, provenance=motion.provenance | told)

    def to_bytes(self) -> bytes:
        """Serialize as a file's content."""
        shapes = [track.valid.shape for track in self.tracks]
        tensors = {
            "captions": self.captions,
            "joints": torch.from_numpy(_joined([track.joints for track in self.tracks], (24, 3), np.float32)),
            "valid": torch.from_numpy(_joined([track.valid for track in self.tracks], (), np.bool_)),
        }
        clips = [[track.id, track.fps, *shape] for track, shape in zip(self.tracks, shapes, strict=True)]
        return weights_bytes(tensors, FORMAT, {"model": self.model, "clips": clips})


def load_learnt(path: str | Path) -> Learnt:
    """Read the file that `ray_jobs.train` wrote, a path or URI; raises InputError for one that is no such file."""
    weights = read_weights(path, FORMAT, "ray_jobs.train")
    try:
        captions, joints, valid = (weights.tensors[name] for name in ("captions", "joints", "valid"))
        clips = weights.description["clips"]
        sizes = [persons * frames for _, _, persons, frames in clips]
        parts = zip(clips, joints.split(sizes), valid.split(sizes), strict=True)
        tracks = [
            Track(name, float(fps), part.view(persons, frames, 24, 3).numpy(), mask.view(persons, frames).numpy())
            for (name, fps, persons, frames), part, mask in parts
        ]
        if len({track.fps for track in tracks}) > 1 or not all(track.fps > 0 for track in tracks):
            raise ValueError(f"its frame rates are {sorted({track.fps for track in tracks})}, expected one above 0")
        return Learnt(str(weights.description["model"]), captions, tuple(tracks))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path} is damaged, expected what `ray_jobs.train` wrote beside its model: {error}"
        ) from error


def summarise(motions: Iterable[MotionSequence], model: str, encode_text: TextEncoder) -> Learnt:
    """Summarise what a model was trained on: its captions and clips, drawn at random where they are many."""
    rng = np.random.default_rng(0)
    captions: dict[str, None] = {}
    tracks: list[Track] = []
    for motion in motions:
        captions |= dict.fromkeys(motion.texts)
        tracks.append(Track.of(motion))
    texts = [list(captions)[number] for number in sorted(rng.permutation(len(captions))[:MOST_CAPTIONS])]
    order = rng.permutation(len(tracks))
    kept = order[np.cumsum([tracks[number].valid.size for number in order]) <= MOST_FRAMES]
    vectors = normalize(encode_text(texts), dim=1) if texts else torch.empty(0, encode_text.dim)
    return Learnt(model, vectors, tuple(tracks[number] for number in sorted(kept)))


def _joined(arrays: Sequence[np.ndarray], rest: tuple[int, ...], kind: type) -> np.ndarray:
    flat = [array.reshape(-1, *rest) for array in arrays]
    return np.concatenate(flat) if flat else np.empty((0, *rest), kind)
