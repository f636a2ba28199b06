"""Vertex colours of simulated persons: skin, hair and clothes by the joint that moves the skin; linear RGB."""

import numpy as np
from jaxtyping import Float, Float32, Int

from motion.body import Body
from motion.skeleton import JOINT
from recon.simulate.materials import color, random_material

UNIFORMS = ((0.5, 0.62), (0.45, 0.55), (0.0, 1.0))
"""Hue ranges of staff's uniforms: blue, teal, or any hue at low saturation."""


def dress(rng: np.random.Generator, body: Body, staff: bool) -> Float32[np.ndarray, "vertex 3"]:
    """Draw a linear RGB colour for each vertex; staff wear one colour above and below the belt."""
    rest, owner = body.v_template.numpy(), body.weights.argmax(dim=1).numpy()
    skin = color(rng, (0.04, 0.09), (0.25, 0.6), (0.3, 0.95))
    colors = np.tile(skin, (len(rest), 1))
    shirt_colors, trouser_colors = _cloths(rng, rest, staff)
    short_sleeves, shorts = rng.random() < (0.8 if staff else 0.5), rng.random() < 0.15 and not staff
    hip, knee, elbow = _joints(body, "left_hip", "left_knee", "left_elbow")
    sleeve = elbow[0] * (0.75 if short_sleeves else 1.0) + (0.0 if short_sleeves else 0.2)
    cuff = knee[1] + 0.03 if shorts else -10.0
    above_belt = rest[:, 1] > hip[1] + rng.uniform(0.0, 0.1)
    in_shirt = _moved_by(owner, "spine", "collar", "shoulder", "elbow", "pelvis") & above_belt
    in_shirt &= np.abs(rest[:, 0]) < sleeve
    in_trousers = _moved_by(owner, "pelvis", "hip", "knee", "spine") & ~above_belt & (rest[:, 1] > cuff)
    colors[in_shirt], colors[in_trousers] = shirt_colors[in_shirt], trouser_colors[in_trousers]
    _add_hair_and_shoes(rng, body, owner, colors)
    return colors.astype(np.float32)


def _add_hair_and_shoes(
    rng: np.random.Generator, body: Body, owner: Int[np.ndarray, " vertex"], colors: Float[np.ndarray, "vertex 3"]
) -> None:
    """Colour, in place, the hair of most persons and the shoes of many; `owner` is each vertex's strongest joint."""
    rest, (ankle, head) = body.v_template.numpy(), _joints(body, "left_ankle", "head")
    hairline = head[1] + 0.12 - 0.35 * np.clip(head[2] + 0.08 - rest[:, 2], 0, 0.25)
    if rng.random() < 0.9:
        in_hair = _moved_by(owner, "head", "neck") & (rest[:, 1] > hairline)
        colors[in_hair] = color(rng, (0.04, 0.12), (0.0, 0.6), (0.08, 0.85))
    if rng.random() < 0.75:
        in_shoes = _moved_by(owner, "ankle", "foot") & (rest[:, 1] < ankle[1] + 0.02)
        colors[in_shoes] = color(rng, (0.0, 1.0), (0.0, 0.5), (0.05, 0.9))


def _cloths(
    rng: np.random.Generator, rest: Float32[np.ndarray, "vertex 3"], staff: bool
) -> tuple[Float[np.ndarray, "vertex 3"], Float[np.ndarray, "vertex 3"]]:
    """Draw the colours that shirt and trousers would have at each vertex; a uniform has one for both."""
    cloths = [random_material(rng, "cloth") for _ in range(2)]
    if not staff:
        shirt, trousers = (cloth.albedo(rest, np.tile([0.0, 0.0, 1.0], (len(rest), 1))) for cloth in cloths)
        return shirt, trousers
    hue = UNIFORMS[rng.integers(len(UNIFORMS))]
    plain = np.tile(color(rng, hue, (0.0, 0.15) if hue[1] == 1.0 else (0.3, 0.7), (0.5, 0.95)), (len(rest), 1))
    return plain, plain


def _joints(body: Body, *names: str) -> list[Float32[np.ndarray, "3"]]:
    return [body.joint_template[JOINT[name]].numpy() for name in names]


def _moved_by(owner: np.ndarray, *words: str) -> np.ndarray:
    """Mark the vertices whose strongest joint has one of these words in its name."""
    joints = [index for name, index in JOINT.items() if any(word in name for word in words)]
    return np.isin(owner, joints)
