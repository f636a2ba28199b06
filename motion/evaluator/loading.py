"""One door to every evaluator, ours and the field's."""

from collections.abc import Callable

import torch

from motion.evaluator.carescene import Evaluator
from motion.evaluator.humanml3d import load_humanml3d_evaluator
from motion.evaluator.interclip import load_interclip
from motion.evaluator.protocol import TextMotionEvaluator


def load_evaluator(spec: str, device: torch.device | str = "cpu") -> TextMotionEvaluator:
    """Ours from its file, or one of the field's: `interclip:interclip.ckpt`, `humanml3d:FOLDER`."""
    kind, _, path = spec.partition(":")
    loaders: dict[str, Callable[[str, torch.device | str], TextMotionEvaluator]] = {
        "interclip": load_interclip,
        "humanml3d": load_humanml3d_evaluator,
    }
    return loaders[kind](path, device) if kind in loaders else Evaluator.load(spec, device)
