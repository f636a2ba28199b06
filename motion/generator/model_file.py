"""Model file: one safetensors file with EMA weights, the normalizer's mean and std, and the recipe as metadata."""

from dataclasses import dataclass
from pathlib import Path

from motion.denoiser import Denoiser
from motion.features import Normalizer
from motion.recipes import Recipe, from_dict, to_dict
from motion.skeleton import ACTIONS, PERSON_CLASSES
from motion.weights import Weights, normalized_tensors, read_weights, weights_bytes

FORMAT = "carescene-model/3"
MODEL_FILE = "model.safetensors"


@dataclass(frozen=True)
class Model:
    """Content of a model file; `version` is the start of its sha256."""

    network: Denoiser
    """Network with the averaged (EMA) weights."""
    normalizer: Normalizer
    """Normalizer of the features it was trained on."""
    recipe: Recipe
    """Recipe it was trained by."""
    version: str
    """Start of the file's sha256."""


def model_bytes(network: Denoiser, normalizer: Normalizer, recipe: Recipe) -> bytes:
    """Serialize a model as its file's content."""
    return weights_bytes(normalized_tensors(network, normalizer), FORMAT, to_dict(recipe))


def load_model(path: str | Path) -> Model:
    """Read a model file, a path or URI; raises InputError for another architecture, a damaged or a foreign file."""
    weights = read_weights(path, FORMAT, "ray_jobs.train")
    recipe = from_dict(_with_tables(weights))
    network = Denoiser(recipe.denoiser)
    normalizer = weights.load_normalized(network, recipe.denoiser.num_features)
    return Model(network, normalizer, recipe, weights.version)


def _with_tables(weights: Weights) -> dict[str, object]:
    """Add the names of actions and person classes to the description of a file that lacks them.

    Both tables only grew at their end since, so such a network knows as many of the first names as it has embeddings.
    """

    def first(table: tuple[str, ...], layer: str) -> tuple[str, ...]:
        return table[: len(weights.tensors.get(f"network.{layer}.weight", table))]

    tables = {
        "actions": first(ACTIONS, "embed_action"),
        "person_classes": first(PERSON_CLASSES, "embed_class"),
    }
    return weights.description | {"denoiser": tables | weights.description["denoiser"]}
