"""Evaluator of ours: text and motion of 1 to N persons in one space, where distance tells how well they fit.

A contrastive pair of encoders after InterGen's InterCLIP (Liang et al. 2024), which takes two persons exactly. Here
frames attend to each other within a person, and persons within a frame; a summary token leads each person, and the mean
of the persons' summaries is the motion. So the order of the persons does not matter, nor where in the world the motion
takes place or which way it faces. The frozen text encoder of `motion.text` gives one vector a caption.

World: Z up, floor at z = 0, metres; `fps` frames a second. Masks: True = valid.

Shape suffixes: B batch, P person, R person of any motion of the batch, T frame (after the summary token), F feature, D
width.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from motion.evaluator.motion_features import Encoded, MotionBatch
from motion.evaluator.network import EvaluatorConfig, EvaluatorNetwork
from motion.evaluator.protocol import CARESCENE, check_rate
from motion.sequence import MotionSequence
from motion.text import load_text_encoder
from motion.weights import read_weights, weights_bytes

FORMAT = "carescene-evaluator/1"
EVALUATOR_FILE = "evaluator.safetensors"
INPUTS_PER_PASS = 32


class Evaluator:
    """Trained evaluator of ours, ready to embed."""

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
        """Load an evaluator's file; raises InputError for another architecture, a damaged or a foreign file."""
        weights = read_weights(path, FORMAT, "ray_jobs.train_evaluator")
        network = weights.load_into(EvaluatorNetwork(EvaluatorConfig(**weights.description)))
        return cls(network, weights.version, device)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Float[Tensor, "text dim"]:
        """Embed each caption as a unit vector."""
        return self.network.embed_text(self.encode_text(texts).to(self.device)).cpu()

    @torch.inference_mode()
    def embed_motions(self, motions: Sequence[MotionSequence]) -> Float[Tensor, "motion dim"]:
        """Embed each motion as a unit vector, in the order given; motions of like length are embedded together.

        Raises InputError for a motion of another frame rate.
        """
        for motion in motions:
            check_rate(motion, self.fps)
        embedded = torch.zeros(len(motions), self.dim)
        order = sorted(range(len(motions)), key=lambda i: (motions[i].num_persons, motions[i].num_frames))
        for start in range(0, len(order), INPUTS_PER_PASS):
            some = order[start : start + INPUTS_PER_PASS]
            seen = [Encoded.of(motions[i]).stretch(0, self.network.config.max_frames) for i in some]
            embedded[some] = self.network.embed_motion(MotionBatch.of(seen).to(self.device)).cpu()
        return embedded


def evaluator_bytes(network: EvaluatorNetwork) -> bytes:
    """Serialize an evaluator as its file's content."""
    return weights_bytes(network.state_dict(), FORMAT, asdict(network.config))
