"""Settings of bulk reconstruction."""

from dataclasses import dataclass

from motion.errors import InputError
from motion.errors.numbers import at_least, check_numbers
from ray_jobs.common import cli
from ray_jobs.common.places import settle, settle_files
from ray_jobs.common.resources import GPUS
from recon.pipeline.options import ReconstructionOptions

NETWORKS = ("regressor", "smpl", "relative_depth", "metric_depth", "pose_prior")
FIXED_SETTINGS = ("mode", *NETWORKS)
"""Settings that all sequences of one output share."""


@dataclass(frozen=True)
class ReconstructConfig(ReconstructionOptions):
    """Settings of bulk reconstruction."""

    rooms: str
    """Teton tree, ROOT/DEPARTMENT/DEVICE/DATE/DATETIME: a folder that every node of the cluster sees, or a URI (s3://…).

    Networks may be URIs, too; their files are copied to where they are needed.
    """
    output: str
    """Folder or URI (s3://…) to write to."""
    body_actors: int = 1
    """Actors that run the body network."""
    depth_actors: int = 1
    """Actors that run the depth networks."""
    fit_actors: int = 0
    """Actors that fit persons to their keypoints and write, each on a CPU; 0 takes the CPUs that the others leave."""
    num_gpus: float = 0.0
    """GPUs of each actor that runs networks, such as 0.5; 0 keeps them on the CPU."""
    fit_gpus: float = 0.0
    """GPUs of each actor that fits; 0 keeps the fits on the CPU."""
    batch_size: int = 16
    """Crops that the body network sees at a time, of several sequences."""
    max_rejected_fraction: float = 0.05
    """Share of rejected sequences above which the job fails at its end; good output is kept."""
    plan: bool = False
    """Count sequences, frames, crops and bytes, say how long the job would take, and write nothing."""
    calibrate: int = 0
    """Sequences that a plan reconstructs, and deletes, to learn how long each stage takes; 0 only counts."""
    experiment: str = "reconstruct"
    """MLflow experiment of the run."""
    tracking_uri: str | None = None
    """MLflow store for rates, shares and counts while the job runs, such as http://…; without one they are not kept."""

    def __post_init__(self) -> None:
        cli.check_fraction(self.max_rejected_fraction)
        ranges = dict.fromkeys(("body_actors", "depth_actors", "batch_size"), at_least(1))
        ranges |= dict.fromkeys(("fit_actors", "calibrate"), at_least(0)) | dict.fromkeys(
            ("num_gpus", "fit_gpus"), GPUS
        )
        check_numbers(self, ranges)
        if self.calibrate and not self.plan:
            raise InputError(f"--calibrate is {self.calibrate} without --plan, expected them together")
        settle(self, "rooms")
        settle_files(self, *NETWORKS)

    @property
    def device(self) -> str:
        """Torch device of the networks."""
        return "cuda" if self.num_gpus else "cpu"

    @property
    def fit_device(self) -> str:
        """Torch device of the fits."""
        return "cuda" if self.fit_gpus else "cpu"
