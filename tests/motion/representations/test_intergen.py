"""InterGen's 262 and SceneInterGen's 286 numbers and back: identities, and the authors' own numbers."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from motion.denoiser import DenoiserConfig
from motion.features import NUM_FEATURES, Normalizer, decode, encode_sequence
from motion.kinematics import forward_kinematics
from motion.recipes import OptimConfig, Recipe
from motion.representations import encode_262, encode_286, intergen_262, joints_from_262, mirror, split_492
from motion.rotations import matrix_from_6d, matrix_from_axis_angle, matrix_to_6d
from motion.text import TextEncoder
from motion.training import collate
from tests.helpers.clips import random_clip, simulated
from tests.helpers.golden import assert_near, load, matrix_from_wxyz, y_up
from tests.helpers.representations import BODY, any_clip, assert_same_up_to_start, build, without_heights


@given(**any_clip)
@settings(max_examples=30)
def test_record_to_intergen_and_back(persons: int, frames: int, turns: float | None, seed: int) -> None:
    """One turn and shift carries all persons, so that they stay where they are to each other."""
    clip = build(persons, frames, turns, seed, fps=30.0)
    features = intergen_262(clip)
    assert features.shape == (clip.num_persons, clip.num_frames - 1, 262)
    expected = without_heights(torch.from_numpy(clip.joints[:, :, :22]))[:, :-1]
    joints = joints_from_262(features)
    assert_same_up_to_start(joints, expected)
    torch.testing.assert_close(joints[0, 0, 0, :2], torch.zeros(2), atol=1e-6, rtol=0)
    steps = features[..., 66:132].unflatten(-1, (22, 3))
    positions = features[..., :66].unflatten(-1, (22, 3))
    torch.testing.assert_close(positions[:, :-1] + steps[:, :-1], positions[:, 1:], atol=1e-5, rtol=0)
    local = matrix_from_6d(features[..., 132:258].unflatten(-1, (21, 6)))
    np.testing.assert_allclose(local, clip.body_pose[:, :-1, :21], atol=1e-5)


@given(**any_clip)
@settings(max_examples=15)
def test_record_to_sceneintergen_and_back(persons: int, frames: int, turns: float | None, seed: int) -> None:
    clip = build(persons, frames, turns, seed)
    features = encode_286(torch.from_numpy(clip.joints), torch.from_numpy(clip.body_pose))
    assert torch.equal(features[..., :NUM_FEATURES], encode_sequence(clip))
    pose = decode(features[..., :NUM_FEATURES], BODY, torch.from_numpy(clip.betas))
    np.testing.assert_allclose(pose.joints(BODY), clip.joints, atol=1e-4)


def test_mirroring_is_its_own_inverse_and_mirrors_a_pose() -> None:
    """The mirrored rotations carry the mirrored rest pose to the mirrored pose."""
    clip = random_clip(BODY, persons=1, frames=3)
    joints, body_pose = torch.from_numpy(clip.joints[0, :, :22]), torch.from_numpy(clip.body_pose[0, :, :21])
    mirrored, rotations = mirror(joints, matrix_to_6d(body_pose))
    torch.testing.assert_close(mirror(mirrored, rotations)[0], joints)
    torch.testing.assert_close(mirrored[:, 20], joints[:, 21] * torch.tensor([-1, 1, 1]))
    flip = torch.diag(torch.tensor([-1.0, 1, 1]))
    torch.testing.assert_close(matrix_from_6d(rotations)[:, 17], flip @ body_pose[:, 18] @ flip)


@pytest.mark.parametrize("swapped", ["", ".swapped"])
def test_golden_intergen(golden: Path, swapped: str) -> None:
    reference = load(golden / "intergen_motion" / "intergen_motion.npz")
    people = [split_492(reference[f"raw.person{number}"]) for number in (1, 2)]
    if swapped:
        people = [mirror(*person) for person in people]
    for number, person in enumerate(people, 1):
        loaded = torch.cat([part.flatten(-2) for part in person], dim=-1)
        assert_near(loaded, reference[f"load_motion.person{number}{swapped}"])
    joints, rotations = (torch.stack(parts) for parts in zip(*people, strict=True))
    together, alone = encode_262(joints, rotations), encode_262(joints[1:], rotations[1:])[0]
    process = {name.replace(f"process{swapped}.", ""): array for name, array in reference.items()}
    assert_near(together[0], process["person1"])
    assert_near(together[1], process["person2"])
    assert_near(alone, process["person2_before_placing"])

    # Where each starts, and the second as seen from the first: twice the angle, turned back, then the shift.
    for number, features in ((1, together[0]), (2, alone)):
        shifted = y_up(joints[number - 1]).double() - process[f"root_pos_init{number}"]
        placed = shifted @ matrix_from_wxyz(process[f"root_quat_init{number}"][0]).double().T
        placed[..., 1] -= placed[..., 1].min()
        assert_near(features[:, :66].unflatten(-1, (22, 3)), placed[:-1])
    angle, x, z = process["relative(angle,x,z)"]
    back = matrix_from_axis_angle(torch.tensor([0, -2 * angle, 0]))
    moved = alone[:, :66].unflatten(-1, (22, 3)) @ back.T + torch.tensor([x, 0, z])
    assert_near(together[1, :, :66].unflatten(-1, (22, 3)), moved)


@pytest.mark.parametrize("sample", ["sample0", "sample1"])
def test_golden_sceneintergen(golden: Path, sample: str) -> None:
    reference = load(golden / "sceneintergen" / "scene_motion.npz")
    fake_body = runpy.run_path(str(golden / "scripts" / "make_fake_smpl.py"))["build"]()[0]
    rest = torch.from_numpy(fake_body["J_regressor"] @ fake_body["v_template"]).float()
    transl, orient, pose = (reference[f"{sample}.{name}"] for name in ("translation", "global_orient", "body_pose"))
    rotations = torch.cat([orient[:, :, None], pose], dim=2)
    joints, _ = forward_kinematics(rest.expand(*transl.shape[:2], 24, 3), transl + rest[0], rotations)
    assert_near(joints, reference[f"{sample}.out.joints"])
    features = encode_286(joints, pose)
    assert_near(features[:, 1:, 72:144].unflatten(-1, (24, 3)), reference[f"{sample}.out.joint_vels"])
    assert torch.equal(features[:, 1:, 282:].bool(), reference[f"{sample}.out.foot_contact"])
    assert_near(features, reference[f"{sample}.out.x"])
    normalizer = Normalizer(reference["mean"], reference["std"] + 1e-6)
    normal = normalizer.normalize(features)
    # Compared in the features' own units: float32's rounding of metres is all that the small deviations magnify.
    assert_near(normal * normalizer.std, reference[f"{sample}.out.x_normalised"] * normalizer.std)


def test_golden_sceneintergen_batch(golden: Path) -> None:
    """A batch of both samples holds their numbers and mask; ours are zero also where a person is not valid."""
    reference = load(golden / "sceneintergen" / "scene_motion.npz")
    std = (reference["std"] + 1e-6)[:NUM_FEATURES]
    normalizer = Normalizer(reference["mean"][:NUM_FEATURES], std)
    clips = []
    for sample in ("sample0", "sample1"):
        arrays = {key.removeprefix(f"{sample}."): value for key, value in reference.items() if key.startswith(sample)}
        names = ("translation", "global_orient", "body_pose")
        clip = simulated(BODY, *(arrays[name] for name in names), torch.zeros(len(arrays["motion_mask"]), 10))
        clips.append(replace(clip, joints=arrays["out.joints"].numpy(), valid=arrays["motion_mask"].numpy()))
        assert torch.equal(arrays["out.mask"], arrays["motion_mask"])
    unheard = TextEncoder("none", 8, 9, len, lambda texts: [], lambda texts: [])  # the samples have no captions
    recipe = Recipe("test", DenoiserConfig(8, 1, 1, 8, text_dim=8), OptimConfig(batch_size=2, steps=1), max_frames=24)
    batch = collate(clips, recipe, normalizer, unheard, BODY, np.random.default_rng(0))
    mask = reference["collated.mask"]
    assert torch.equal(batch.conditions.valid, mask)
    expected = torch.where(mask[..., None], reference["collated.x"][..., :NUM_FEATURES], 0)
    assert_near(batch.x0 * std, expected * std)
