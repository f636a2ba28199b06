"""Data of `ray_jobs.prepare` as training reads it: the features' normalizer, and the clips' frame rate."""

from safetensors import SafetensorError
from safetensors.torch import load

from motion.errors import InputError
from motion.features import Normalizer
from ray_jobs.common import storage

NORMALIZER_FILE = "normalizer.safetensors"


def check_rate(data: str, rates: set[float], fps: float, setting: str) -> None:
    """Raise InputError unless the clips of `data` have the frame rate that `setting` says; they would be misread."""
    if rates != {fps}:
        found = ", ".join(f"{rate:g}" for rate in sorted(rates))
        raise InputError(f"{data} has {found} frames per second, {setting} is {fps:g}: make them agree")


def read_normalizer(data: str) -> Normalizer:
    """Read the features' normalizer of prepared data; raises InputError where there is none."""
    uri = storage.join(data, NORMALIZER_FILE)
    if not storage.exists(uri):
        raise InputError(f"no {NORMALIZER_FILE} in {data}; make it with `python -m ray_jobs.prepare --output {data}`")
    try:
        tensors = load(storage.read_bytes(uri))
        mean, std = tensors["mean"], tensors["std"]
    except (SafetensorError, KeyError) as error:
        raise InputError(f"{uri} is damaged ({error}); delete it and prepare again") from error
    if not mean.isfinite().all() or not (std > 0).all() or not std.isfinite().all():
        raise InputError(f"{uri} holds a mean or a standard deviation that is no number; delete it and prepare again")
    return Normalizer(mean, std)
