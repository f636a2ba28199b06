"""Loading of any evaluator, ours or the field's, by a name on the command line."""

from collections.abc import Callable

import torch

from motion.evaluator.carescene import Evaluator
from motion.evaluator.humanml3d import load_humanml3d_evaluator
from motion.evaluator.interclip import load_interclip
from motion.evaluator.protocol import TextMotionEvaluator


def load_evaluator(spec: str, device: torch.device | str = "cpu") -> TextMotionEvaluator:
    """Load our evaluator from its file, or one of the field's: `interclip:interclip.ckpt`, `humanml3d:FOLDER`.

    Raises InputError if its files cannot be read.
    """
    kind, _, path = spec.partition(":")
    loaders: dict[str, Callable[[str, torch.device | str], TextMotionEvaluator]] = {
        "interclip": load_interclip,
        "humanml3d": load_humanml3d_evaluator,
    }
    return loaders[kind](path, device) if kind in loaders else Evaluator.load(spec, device)
