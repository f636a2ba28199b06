"""Depth networks: Depth Anything V1 and V2 relative, V2 metric, and ZoeDepth's metric head, through `transformers`.

A relative network gives disparity (larger = nearer) up to scale and shift, a metric one metres along the optical axis;
`recon.depth.fusion` joins the two. "tiny" is the stand-in of the same architecture that ships with the repo, trained on
rendered rooms (`recon.training.depth_tiny`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import nn

from motion.errors import InputError
from motion.extensions import check_extension, is_extension, load_extension

if TYPE_CHECKING:
    from transformers import PretrainedConfig

ASSETS = Path(__file__).parents[1] / "assets"
TINY = "tiny"
_AT_ONCE = 4  # images per forward pass


@runtime_checkable
class DepthNetwork(Protocol):
    """Network that gives the depth of RGB images: `DepthModel`, or one of the user's own."""

    def predict(self, images: UInt8[np.ndarray, "image height width 3"]) -> Float32[np.ndarray, "image height width"]:
        """Give disparity (of a relative network) or metres (of a metric one) at the images' own size; NaN: unknown."""


class LoadDepthNetwork(Protocol):
    """Function of the user's own that loads a depth network, for `--relative-depth` and `--metric-depth`."""

    def __call__(self, device: str, bf16: bool) -> DepthNetwork:
        """Load it to `device`; `bf16` asks for its arithmetic to be rounded."""


@dataclass(frozen=True, eq=False)
class DepthModel:
    """Depth network with its image processor; `bf16` runs its arithmetic in bfloat16.

    `metric` says which of the two it predicts: metres (True) or disparity (False).
    """

    network: nn.Module
    processor: Any
    metric: bool
    device: torch.device
    bf16: bool

    @torch.inference_mode()
    def predict(self, images: UInt8[np.ndarray, "image height width 3"]) -> Float32[np.ndarray, "image height width"]:
        """Predict disparity (larger = nearer) or metres for 8-bit RGB images, at their own size."""
        parts = [self._predict(images[i : i + _AT_ONCE]) for i in range(0, len(images), _AT_ONCE)]
        return np.concatenate(parts)

    def _predict(self, images: UInt8[np.ndarray, "image height width 3"]) -> Float32[np.ndarray, "image height width"]:
        pixels = self.processor(images=list(images), return_tensors="pt")["pixel_values"].to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            output = self.network(pixels)
        output.predicted_depth = output.predicted_depth.float()
        sizes = [images.shape[1:3]] * len(images)
        padded = {"source_sizes": sizes} if getattr(self.processor, "do_pad", False) else {}  # ZoeDepth's margin
        maps = self.processor.post_process_depth_estimation(output, target_sizes=sizes, **padded)
        return torch.stack([each["predicted_depth"] for each in maps]).cpu().numpy()


def load_depth_model(spec: str | Path, metric: bool, device: str = "cpu", bf16: bool = False) -> DepthNetwork:
    """Load a depth network: "tiny", a folder written by `save_pretrained`, a hub id, or `package.module:object`.

    A hub id is for example depth-anything/Depth-Anything-V2-Small-hf. `package.module:object` is a LoadDepthNetwork of
    the user's own, which has to know which of the two it gives. Weights are read from safetensors only. Raises
    InputError for a relative network where a metric one is wanted, or the reverse, and for files that are not whole.
    """
    if is_extension(str(spec)):
        network = load_extension(str(spec), LoadDepthNetwork)(device, bf16)
        check_extension(f"what {spec} loaded", network, DepthNetwork)
        return network
    return _load_transformers(_tiny_folder(metric) if spec == TINY else str(spec), metric, device, bf16)


def _load_transformers(source: str, metric: bool, device: str, bf16: bool) -> DepthModel:
    """Load a network of the library transformers from a folder or the hub."""
    from transformers import AutoConfig, AutoImageProcessor, AutoModelForDepthEstimation  # takes seconds

    config = _fetch(AutoConfig, source)
    found = _is_metric(config, source)
    if found != metric:
        kinds = {True: "a metric one (metres)", False: "a relative one (disparity)"}
        raise InputError(f"the depth network {source} is {kinds[found]}, expected {kinds[metric]}")
    processor = _fetch(AutoImageProcessor, source)
    network, report = _fetch(
        AutoModelForDepthEstimation, source, use_safetensors=True, dtype=torch.float32, output_loading_info=True
    )
    wrong = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if wrong:
        raise InputError(f"the weights of {source} lack {wrong[0]} and {len(wrong) - 1} more: the file is not whole")
    return DepthModel(network.eval().to(device), processor, metric, torch.device(device), bf16)


def _tiny_folder(metric: bool) -> str:
    folder = ASSETS / f"depth_tiny_{'metric' if metric else 'relative'}"
    if not folder.is_dir():
        command = f"python -m recon.training.depth_tiny --cache FOLDER --output {folder.parent}"
        raise InputError(f"there is no {folder}: train the stand-in with `{command}`")
    return str(folder)


def _is_metric(config: "PretrainedConfig", source: str) -> bool:
    if config.model_type == "zoedepth":
        return True
    if config.model_type == "depth_anything":
        return bool(config.depth_estimation_type == "metric")
    raise InputError(f"{source} holds a {config.model_type} network, expected depth_anything or zoedepth")


def _fetch(kind: Any, source: str, **options: Any) -> Any:
    """Call `from_pretrained` of a folder or hub id; turn its many ways to fail into one InputError."""
    try:
        return kind.from_pretrained(source, trust_remote_code=False, **options)
    except Exception as error:  # damaged files show as nearly any of them
        if Path(source).is_dir():
            wanted = "config.json, preprocessor_config.json and model.safetensors of a depth network"
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise InputError(f"{source} cannot be read, expected {wanted}: {reason}") from error
        raise InputError(
            f"the depth network {source} is no folder and not to be had from the hub: download it where there is a "
            f"network (`hf download {source} --local-dir FOLDER`) and pass FOLDER"
        ) from error
