"""What `ray_jobs.prepare` leaves for training beside the motions: the features' normaliser."""

from safetensors.torch import load

from motion.errors import InputError
from motion.features import Normalizer
from ray_jobs.common import storage

NORMALIZER_FILE = "normalizer.safetensors"


def read_normalizer(data: str) -> Normalizer:
    uri = storage.join(data, NORMALIZER_FILE)
    if not storage.exists(uri):
        raise InputError(f"no {NORMALIZER_FILE} in {data}; make it with `python -m ray_jobs.prepare --output {data}`")
    tensors = load(storage.read_bytes(uri))
    return Normalizer(tensors["mean"], tensors["std"])
