"""Pose priors: energies of body poses, lower for more plausible ones, that a fit keeps low.

    "default"         Gaussian mixture over 21 joints' axis-angles, learnt by `recon.training.pose_prior`, and limits of
                      knees and elbows
    NAME.safetensors  a mixture of that kind, learnt anew
    NAME.pkl          SMPLify's Gaussian mixture (gmm_08.pkl; Bogo et al. 2016)
    NAME.ckpt/.pt     VPoser v2 (V02_05; Pavlakos et al. 2019, repository nghorbani/human_body_prior)

The default's energy is 0 at the most likely pose and below 10 for 95 of 100 real ones; that of SMPLify's mixture is as
published, about 35 for real poses. Each has a finite gradient everywhere, at rest too.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn.functional import leaky_relu, pad

from motion.errors import InputError
from motion.rotations import matrix_from_6d
from motion.skeleton import JOINT
from motion.unpickle import load_arrays
from motion.weights import read_checkpoint, read_weights

ASSETS = Path(__file__).parent / "assets"
FORMAT, MADE_BY = "carescene-pose-prior/1", "recon.training.pose_prior"
POSES = 64  # whose energies are computed in one matrix product
JOINTS = 21  # of body_pose; hands are left out
# Where knees and elbows bend: the component of their axis-angle, and its sign.
HINGES = {"left_knee": (0, 1), "right_knee": (0, 1), "left_elbow": (1, -1), "right_elbow": (1, 1)}
OVERSTRETCH_RAD = math.radians(10)  # that knees and elbows can do
HINGE_WEIGHT = 20.0  # energy of one radian beyond that
NEARLY_HALF_TURN = -1.9  # twice the cosine of the angle from which it counts as half a turn
_SINE_AND_TRACE = torch.zeros(9, 4)
"""Sums of a rotation matrix's entries, row by row, that are 2 sin(angle) axis and its trace."""
_SINE_AND_TRACE[[7, 2, 3], [0, 1, 2]] = 1.0
_SINE_AND_TRACE[[5, 6, 1], [0, 1, 2]] = -1.0
_SINE_AND_TRACE[[0, 4, 8], 3] = 1.0
BATCH_NORM_EPS = 1e-5  # torch's default, which VPoser was trained with
VPOSER_LAYERS = {  # shapes of VPoser v2's layers, whose weights have these keys
    "encoder_net.1": (63,),
    "encoder_net.2": (512, 63),
    "encoder_net.4": (512,),
    "encoder_net.6": (512, 512),
    "encoder_net.7": (512, 512),
    "encoder_net.8.mu": (32, 512),
    "decoder_net.0": (512, 32),
    "decoder_net.3": (512, 512),
    "decoder_net.5": (126, 512),
}


@runtime_checkable
class PosePrior(Protocol):
    """Differentiable energy of SMPL body poses, lower for more plausible ones."""

    def __call__(self, body_pose: Float[Tensor, "pose 23 3 3"]) -> Float[Tensor, " pose"]: ...


def load_prior(spec: str | Path = "default") -> PosePrior:
    """Load the shipped prior ("default") or a file: .safetensors of ours, SMPLify's .pkl, VPoser's .ckpt or .pt.

    Raises InputError for any other file.
    """
    if spec == "default":
        return read_mixture(ASSETS / "pose_prior.safetensors")
    path = Path(spec)
    match path.suffix:
        case ".safetensors":
            return read_mixture(path)
        case ".pkl":
            return _read_smplify(path)
        case ".ckpt" | ".pt":
            return _read_vposer(path)
    raise InputError(
        f'{path} is no pose prior: expected "default", SMPLify\'s gmm_08.pkl, a .ckpt or .pt of VPoser v2 or a '
        f".safetensors of {MADE_BY}"
    )


@dataclass(frozen=True, eq=False)
class Mixture:
    """Energy `scale (-log sum_k w_k N(x; m_k, C_k) - lowest)` of 21 joints' axis-angles x, plus limits of hinges.

    A Gaussian is equally wide on either side, so it alone takes a knee bent backward for a rare one (SMPLify has such a
    term too).
    """

    means: Float[Tensor, "component 63"]
    factors: Float[Tensor, "component 63 63"]
    """Cholesky factors F of the precisions: C^-1 = F F^T."""
    log_weights: Float[Tensor, " component"]
    """Logarithm of each component's weighted density at its mean, up to a constant."""
    lowest: float
    scale: float

    def __call__(self, body_pose: Float[Tensor, "pose 23 3 3"]) -> Float[Tensor, " pose"]:
        vector = axis_angles(body_pose.tensor_split([JOINTS], dim=1)[0]).flatten(1)
        return self.scale * (self.negative_log_likelihood(vector) - self.lowest) + wrong_bends(vector)

    def negative_log_likelihood(self, vector: Float[Tensor, "pose 63"]) -> Float[Tensor, " pose"]:
        """Compute the negative log likelihood up to the constant 63/2 log 2 pi."""
        distance = _squared_distance(vector, self.means, self.factors)
        return -torch.logsumexp(self.log_weights.to(vector) - distance / 2, dim=-1)


@dataclass(frozen=True, eq=False)
class SmplifyMixture:
    """Energy `min_k (d_k^2 / 2 - log c_k)`, d Mahalanobis' distance and c the weights in SMPLify's own scaling."""

    means: Float[Tensor, "component 69"]
    factors: Float[Tensor, "component 69 69"]
    log_weights: Float[Tensor, " component"]

    def __call__(self, body_pose: Float[Tensor, "pose 23 3 3"]) -> Float[Tensor, " pose"]:
        vector = axis_angles(body_pose).flatten(1)
        distance = _squared_distance(vector, self.means, self.factors)
        return (distance / 2 - self.log_weights.to(vector)).amin(dim=-1)


@dataclass(frozen=True, eq=False)
class VPoser:
    """VPoser's energy: half the mean latent code's squared norm, plus the pose's squared distance to its decoding."""

    state: Mapping[str, Tensor]

    def __call__(self, body_pose: Float[Tensor, "pose 23 3 3"]) -> Float[Tensor, " pose"]:
        pose = body_pose[:, :JOINTS]
        code = self._encode(axis_angles(pose).flatten(1))
        decoded = matrix_from_6d(self._decode(code).unflatten(-1, (JOINTS, 6)))
        return code.square().sum(dim=-1) / 2 + (decoded - pose).square().sum(dim=(1, 2, 3))

    def _encode(self, vector: Float[Tensor, "pose 63"]) -> Float[Tensor, "pose 32"]:
        hidden = self._linear("encoder_net.2", self._normalized("encoder_net.1", vector))
        hidden = self._normalized("encoder_net.4", leaky_relu(hidden))
        for layer in ("encoder_net.6", "encoder_net.7", "encoder_net.8.mu"):
            hidden = self._linear(layer, hidden)
        return hidden

    def _decode(self, code: Float[Tensor, "pose 32"]) -> Float[Tensor, "pose 126"]:
        hidden = leaky_relu(self._linear("decoder_net.0", code))
        return self._linear("decoder_net.5", leaky_relu(self._linear("decoder_net.3", hidden)))

    def _linear(self, layer: str, value: Tensor) -> Tensor:
        return torch.nn.functional.linear(value, self.state[f"{layer}.weight"], self.state[f"{layer}.bias"])

    def _normalized(self, layer: str, value: Tensor) -> Tensor:
        mean, variance, weight, bias = (
            self.state[f"{layer}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
        )
        return torch.nn.functional.batch_norm(value, mean, variance, weight, bias, eps=BATCH_NORM_EPS)


def axis_angles(rotations: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Convert rotation matrices to axis-angles with a finite gradient also at rest and at half turns."""
    found = rotations.flatten(-2) @ _SINE_AND_TRACE.to(rotations)  # 2 sin(angle) axis, 1 + 2 cos(angle)
    across, cosine = found[..., :3], found[..., 3:] - 1
    square = across.square().sum(dim=-1, keepdim=True)
    small = square < 1e-8
    sine = torch.where(small, 1.0, square).sqrt()
    vector = torch.where(small, 0.5, _angle(sine, cosine) / sine) * across
    far = cosine[..., 0] < NEARLY_HALF_TURN
    return vector.index_put((far,), _axis_angles_of_far(rotations[far])) if far.any() else vector


def _axis_angles_of_far(rotations: Float[Tensor, "rotation 3 3"]) -> Float[Tensor, "rotation 3"]:
    """Convert rotations by nearly half a turn, whose sine is too small to tell the axis."""
    quaternion = roma.rotmat_to_unitquat(rotations)
    vector, real = torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion).tensor_split([3], dim=-1)
    sine = vector.norm(dim=-1, keepdim=True)
    return 2 * _angle(sine, real) / sine * vector


def _angle(sine: Float[Tensor, "*batch"], cosine: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Compute the angle (radians) of points in the plane, exactly the same whatever others there are.

    What does not fill a processor's vector takes another path through the mathematics library, which rounds otherwise.
    """
    sides = (pad(side.flatten(), (0, -side.numel() % POSES)) for side in (sine, cosine))
    return torch.atan2(*sides)[: sine.numel()].view_as(sine)


def wrong_bends(vector: Float[Tensor, "pose 63"]) -> Float[Tensor, " pose"]:
    """Compute the energy (no unit) of knees and elbows that bend the wrong way by more than OVERSTRETCH_RAD.

    `vector` holds the axis-angles of joints 1 to 21, three numbers (radians) a joint.
    """
    bends = [sign * vector[:, 3 * (JOINT[name] - 1) + axis] for name, (axis, sign) in HINGES.items()]
    return HINGE_WEIGHT * (-torch.stack(bends, dim=-1) - OVERSTRETCH_RAD).clamp_min(0).square().sum(dim=-1)


def _squared_distance(vector: Tensor, means: Tensor, factors: Tensor) -> Float[Tensor, "pose component"]:
    """Compute the squared Mahalanobis distance to each component.

    Matrix products have blocks of one size, so that a pose's energy is exactly the same whatever others there are.
    """
    components, _, size = factors.shape
    blocks = pad(vector, (0, 1, 0, -len(vector) % POSES), value=1.0).unflatten(0, (-1, POSES))  # 1: takes the mean off
    turn = torch.cat([factors.transpose(0, 1).flatten(1), -(means[:, None] @ factors).flatten()[None]]).to(vector)
    away = (blocks @ turn.expand(len(blocks), -1, -1)).unflatten(-1, (components, size)).flatten(0, 1)
    return _SquaredNorm.apply(away)[: len(vector)]


class _SquaredNorm(torch.autograd.Function):
    """Sum the squares of the last axis; the gradient of torch's own product of a vector with itself takes it twice."""

    @staticmethod
    def forward(ctx: FunctionCtx, vector: Tensor) -> Tensor:
        ctx.save_for_backward(vector)
        return torch.linalg.vecdot(vector, vector)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        (vector,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return (2 * gradient)[..., None] * vector


def read_mixture(path: Path) -> Mixture:
    """Read a mixture that `recon.training.pose_prior` wrote."""
    weights = read_weights(path, FORMAT, MADE_BY)
    components, size = weights.description["components"], 3 * JOINTS
    shapes = {"means": (components, size), "factors": (components, size, size), "log_weights": (components,)}
    weights.check({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    return Mixture(**weights.tensors, lowest=weights.description["lowest"], scale=weights.description["scale"])


def _read_smplify(path: Path) -> SmplifyMixture:
    """Read SMPLify's mixture.

    SMPLify divides each weight by `(2 pi)^(69/2) sqrt(det C_k)`, relative to the smallest of these roots.
    """
    content = load_arrays(path)
    means, covariances, weights = (_array(content, name, path) for name in ("means", "covars", "weights"))
    components = len(np.atleast_1d(weights))
    if means.shape != (components, 69) or covariances.shape != (components, 69, 69) or weights.shape != (components,):
        raise InputError(
            f"{path} has means of shape {means.shape}, covars {covariances.shape} and weights {weights.shape}, "
            "expected (8, 69), (8, 69, 69) and (8,) as in SMPLify's gmm_08.pkl"
        )
    if not (weights > 0).all():
        raise InputError(f"{path} has weights down to {weights.min():g}, expected positive ones")
    log_roots = np.linalg.slogdet(covariances)[1] / 2
    try:
        factors = np.linalg.cholesky(np.linalg.inv(covariances))
    except np.linalg.LinAlgError as error:
        raise InputError(f"{path} has covars that are not positive definite, expected covariances") from error
    log_weights = np.log(weights) - 69 / 2 * math.log(2 * math.pi) - (log_roots - log_roots.min())
    tensors = (torch.from_numpy(np.ascontiguousarray(a, dtype=np.float32)) for a in (means, factors, log_weights))
    return SmplifyMixture(*tensors)


def _array(content: Mapping[str, object], name: str, path: Path) -> np.ndarray:
    value = content.get(name)
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or not np.isfinite(value).all():
        raise InputError(f"{path} holds no finite numbers {name!r}, expected SMPLify's gmm_08.pkl")
    return value.astype(np.float64)


def _read_vposer(path: Path) -> VPoser:
    """Read encoder and decoder from a Lightning checkpoint ("vp_model." before each key) or a plain one."""
    state = read_checkpoint(path, ["state_dict"])["state_dict"]
    own = {key.removeprefix("vp_model."): value.detach().float() for key, value in state.items()}
    kept = {}
    for layer, shape in VPOSER_LAYERS.items():
        vectors = ("bias",) if len(shape) == 2 else ("bias", "running_mean", "running_var")
        for name, expected in {"weight": shape, **dict.fromkeys(vectors, shape[:1])}.items():
            key = f"{layer}.{name}"
            found = tuple(own[key].shape) if key in own else None
            if found != expected:
                raise InputError(f"{path} has {key} of shape {found}, expected {expected} as in VPoser v2 (V02_05)")
            if not own[key].isfinite().all():
                raise InputError(f"{path} has NaN or infinity in {key}, expected numbers")
            kept[key] = own[key]
    return VPoser(kept)
