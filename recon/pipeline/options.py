"""Options that every program of the reconstruction takes: the method and its networks."""

from dataclasses import dataclass

from recon.pipeline.steps import Mode


@dataclass(frozen=True, kw_only=True)
class ReconstructionOptions:
    """Method of the reconstruction, and the networks it uses."""

    mode: Mode = "hybrid"
    """Method: regression (smoothed network poses), optimisation (fit to keypoints), hybrid (fit from network poses)."""
    regressor: str = "hmr2_tiny"
    """Body network: "hmr2_tiny" (the stand-in), the path of HMR2.0's official checkpoint, or package.module:object.

    The checkpoint needs `smpl`; the object is a function of your own that loads a network (see .github/EXTENDING.md).
    """
    smpl: str | None = None
    """SMPL file (.npz or .pkl) that the official checkpoint needs; without it the default body is used."""
    relative_depth: str = "tiny"
    """Relative depth network: "tiny" (the stand-in), a folder or hub id, or package.module:object.

    The folder or hub id is that of a relative Depth Anything, the object a function of your own that loads a network
    (see .github/EXTENDING.md).
    """
    metric_depth: str = "tiny"
    """Metric depth network: "tiny" (the stand-in), a folder or hub id, or package.module:object.

    The folder or hub id is that of a metric Depth Anything or ZoeDepth, the object a function of your own that loads a
    network (see .github/EXTENDING.md).
    """
    pose_prior: str = "default"
    """Pose prior: "default" (ours), or the path of a Gaussian mixture (SMPLify's .pkl) or a VPoser checkpoint."""
    bf16: bool = False
    """Run the networks in bfloat16."""
