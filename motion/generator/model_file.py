"""Model file: one safetensors file with EMA weights, the normalizer's mean and std, and the recipe as metadata."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from motion.denoiser import Denoiser
from motion.features import Normalizer
from motion.recipes import Recipe, from_dict, to_dict
from motion.weights import read_weights, weights_bytes

FORMAT = "carescene-model/3"
MODEL_FILE = "model.safetensors"


@dataclass(frozen=True)
class Model:
    """Content of a model file; `version` is the start of its sha256."""

    network: Denoiser
    normalizer: Normalizer
    recipe: Recipe
    version: str


def model_bytes(network: Denoiser, normalizer: Normalizer, recipe: Recipe) -> bytes:
    """Serialize a model as its file's content."""
    return weights_bytes(_tensors(network, normalizer), FORMAT, to_dict(recipe))


def load_model(path: Path) -> Model:
    """Read a model file; raises InputError for another architecture, a damaged or a foreign file."""
    weights = read_weights(path, FORMAT, "ray_jobs.train")
    recipe = from_dict(weights.description)
    network, size = Denoiser(recipe.denoiser), recipe.denoiser.num_features
    weights.check(_tensors(network, Normalizer(torch.zeros(size), torch.ones(size))))
    network.load_state_dict({name: weights.tensors[f"network.{name}"] for name in network.state_dict()})
    normalizer = Normalizer(weights.tensors["normalizer.mean"], weights.tensors["normalizer.std"])
    return Model(network, normalizer, recipe, weights.version)


def _tensors(network: Denoiser, normalizer: Normalizer) -> dict[str, Tensor]:
    tensors = {f"network.{name}": value.float() for name, value in network.state_dict().items()}
    return tensors | {"normalizer.mean": normalizer.mean, "normalizer.std": normalizer.std}
