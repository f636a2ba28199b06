"""Motion generation: the request, the model file, sampling, editing and clean-up."""

from motion.generator.cleanup import CleanupConfig, clean_up
from motion.generator.constraints import Given
from motion.generator.editing import extend, held, in_between, prefix, reaction, trajectory
from motion.generator.model_file import MODEL_FILE, Model, load_model, model_bytes
from motion.generator.request import MotionRequest, request_id
from motion.generator.sampling import Generator

__all__ = [
    "MODEL_FILE",
    "CleanupConfig",
    "Generator",
    "Given",
    "Model",
    "MotionRequest",
    "clean_up",
    "extend",
    "held",
    "in_between",
    "load_model",
    "model_bytes",
    "prefix",
    "reaction",
    "request_id",
    "trajectory",
]
