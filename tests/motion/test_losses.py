"""Losses against InterGen's and the thesis' numbers, on padding, on crowds and where they must be zero."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from motion import losses
from motion.clips.transforms import to_z_up
from motion.diffusion import cosine_schedule, l_simple, q_sample
from motion.losses import (
    CONTACT_HEIGHTS_M,
    INTERGEN_STILL_M2,
    FrameErrors,
    LossWeights,
    bone_length,
    distance_map,
    facing,
    foot_contact,
    foot_contacts,
    joint_affinity,
    motion_losses,
    per_sample,
    relative_orientation,
    velocity,
)
from motion.skeleton import FEET

WEIGHTS = LossWeights()
T_BAR = 700
INTERACTION = {
    "distance_map": distance_map,
    "joint_affinity": joint_affinity,
    "relative_orientation": relative_orientation,
}
THESIS_CASES = (
    "batch 1, 3 people, t=[40]",
    "batch 1, 2 people, t=[40]",
    "batch 2, 2 people, t=[40, 650]",
    "batch 2, 2 people, t=[40, 900] (their pairwise mask mixes the samples here)",
)


def standing_foot(predicted: Tensor, true: Tensor, valid: Tensor) -> FrameErrors:
    return foot_contact(predicted, foot_contacts(true), valid)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], FrameErrors]] = {
    "velocity": velocity,
    "bone_length": bone_length,
    "foot_contact": standing_foot,
    **INTERACTION,
}


def crowd(persons: int = 3, frames: int = 7, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Draw predicted and true joints of persons who touch and whose feet keep to the floor, and their valid frames."""
    true = 0.3 * torch.randn(batch, persons, 1, 24, 3) + 0.02 * torch.randn(batch, persons, frames, 24, 3)
    true[..., FEET, :] = true[:, :, :1, FEET, :] * torch.tensor([1.0, 1.0, 0.0])
    valid = torch.ones(batch, persons, frames, dtype=torch.bool)
    valid[0, -1, -3:] = False
    valid[-1, :, 5:] = False
    return true + 0.1 * torch.randn_like(true), true, valid


def features_of(joints: Tensor) -> Tensor:
    return torch.cat([joints.flatten(-2), torch.randn(*joints.shape[:-2], 282 - 72)], dim=-1)


def predicted_by(network_input: Tensor, t: Tensor) -> Tensor:
    """Return the closed-form network of both golden files."""
    return torch.tanh(0.9 * network_input) + 1e-6 * t.view(-1, *(1,) * (network_input.ndim - 1))


def mean_of_all(errors: FrameErrors) -> float:
    """Average all errors over the whole batch, each with the same weight, as in the thesis' code."""
    return (errors.total.sum() / errors.count.sum()).item()


# InterGen


def intergen_terms(predicted: Tensor, true: Tensor, valid: Tensor, t: Tensor) -> dict[str, float]:
    """Compute InterGen's terms by our functions, with InterGen's own idea of what counts."""

    def mean(errors: FrameErrors) -> float:
        return per_sample(errors)[t <= T_BAR].mean().item()

    # They count each step by its first frame, so also the one into the padding; with one frame more, so do we.
    into_padding = valid.clone()
    into_padding[:, :, 1:] |= valid[:, :, :-1]
    terms = {}
    for person, name in enumerate("AB"):  # summed up by them; our mean over persons is half of it
        guess, truth, present, stepping = (x[:, person : person + 1] for x in (predicted, true, valid, into_padding))
        feet = guess[..., FEET, :]  # a foot stands where the prediction says so, by the height before the step
        low = feet[..., :-1, :, 2] < torch.tensor(CONTACT_HEIGHTS_M)
        contacts = (feet.diff(dim=2).square().sum(dim=-1) < INTERGEN_STILL_M2) & low
        terms[f"VEL_{name}"] = WEIGHTS.velocity * mean(velocity(guess, truth, stepping))
        terms[f"BL_{name}"] = WEIGHTS.bone_length * mean(bone_length(guess, truth, present))
        terms[f"FC_{name}"] = WEIGHTS.foot_contact * mean(foot_contact(guess, contacts, stepping))
    terms["DM"] = WEIGHTS.distance_map * mean(distance_map(predicted, true, valid))
    terms["JA"] = WEIGHTS.joint_affinity * mean(joint_affinity(predicted, true, valid))
    # Their mask lacks the axis of pairs here, so that they average over the batch as well, whatever t is.
    orientation = relative_orientation(predicted, true, valid)
    terms["RO"] = WEIGHTS.relative_orientation * mean_of_all(orientation)
    return terms


@pytest.fixture
def intergen(golden: Path) -> tuple[dict[str, Tensor], dict[str, dict[str, float]]]:
    folder = golden / "intergen_motion"
    arrays = np.load(folder / "intergen_motion.npz")
    return {k: torch.from_numpy(v) for k, v in arrays.items()}, json.loads((folder / "losses.json").read_text())


def intergen_joints(values: dict[str, Tensor], normalised: Tensor) -> Tensor:
    """Compute (batch, person, frame, joint) of normalized features with the persons before the 262."""
    features = normalised * values["norm_std"] + values["norm_mean"]
    return to_z_up(features[..., :66].unflatten(-1, (22, 3))).movedim(2, 1)


@pytest.mark.parametrize("padding", ["x_start", "x_start_zero_padded"])
def test_golden_intergen_training(intergen: tuple[dict, dict], padding: str) -> None:
    values, table = intergen
    ending = {"x_start": "padded with the last frame", "x_start_zero_padded": "padded with zeros"}[padding]
    (expected,) = (terms for case, terms in table.items() if case.endswith(ending))
    t, valid = values["loss.t"], values["loss.mask"].bool().movedim(-1, 1)
    x0 = (values[f"loss.{padding}"].unflatten(-1, (2, 262)) - values["norm_mean"]) / values["norm_std"]
    noise = values["loss.noise"].unflatten(-1, (2, 262))
    predicted = predicted_by(q_sample(cosine_schedule(), x0, t, noise), t)
    joints = [intergen_joints(values, x) for x in (predicted, x0)]
    found = intergen_terms(*joints, valid, t)
    if padding == "x_start_zero_padded":
        assert np.isnan(expected["RO"])  # 0/0 at their padding; ours does not look at it
        (padded_well,) = (terms for case, terms in table.items() if case.endswith("padded with the last frame"))
        expected = expected | {"RO": padded_well["RO"]}
    assert found == pytest.approx({name: expected[name] for name in found}, rel=1e-5)
    # The training's function counts frames, samples and close joints itself; it averages over the persons.
    _, terms = motion_losses(*(x.flatten(-2) for x in joints), valid, t, T_BAR, WEIGHTS)
    bones = (expected["BL_A"] + expected["BL_B"]) / 2
    counted = {"distance_map": expected["DM"], "joint_affinity": expected["JA"], "bone_length": bones}
    assert {name: terms[name].item() for name in counted} == pytest.approx(counted, rel=1e-5)
    assert l_simple(predicted.movedim(2, 1), x0.movedim(2, 1), valid, torch.ones(4)).item() == pytest.approx(
        expected["simple"], rel=1e-5
    )
    # The right value is that of clips cut to their length, and is not theirs.
    guess, truth, present = joints[0][:, :1], joints[1][:, :1], valid[:, :1]
    right = per_sample(velocity(guess, truth, present))[t <= T_BAR].mean().item()
    cut = [(guess - truth)[i, 0, : present[i].sum()].diff(dim=0).square().mean() for i in range(4) if t[i] <= T_BAR]
    assert right == pytest.approx(sum(cut).item() / len(cut), rel=1e-5)
    assert WEIGHTS.velocity * right != pytest.approx(expected["VEL_A"], rel=1e-4)


def test_golden_intergen_near_the_truth(intergen: tuple[dict, dict]) -> None:
    values, table = intergen
    joints = [intergen_joints(values, values[f"loss2.{kind}_normalised"]) for kind in ("prediction", "target")]
    found = intergen_terms(*joints, values["loss.mask"].bool().movedim(-1, 1), values["loss.t"])
    expected = table["managers on loss2.*"]
    assert found == pytest.approx({name: expected[name] for name in found}, rel=1e-5)


# The thesis' code


@pytest.mark.parametrize("case", THESIS_CASES)
def test_golden_thesis(golden: Path, case: str) -> None:
    values = {k: torch.from_numpy(v) for k, v in np.load(golden / "sceneintergen" / "scene_motion.npz").items()}
    expected = json.loads((golden / "sceneintergen" / "losses.json").read_text())[case]
    name = case.split(" (")[0]
    t = torch.tensor(json.loads(name.split("t=")[1]))
    x0, valid, noise = (values[f"loss.{name}.{key}"] for key in ("x", "mask", "noise"))
    normalised = (predicted_by(q_sample(cosine_schedule(), x0, t, noise), t), x0)
    # They average over the batch, so a sample above t_bar is one that is not there.
    metres = [x * values["std"] + values["mean"] for x in normalised]
    features = [x[t <= T_BAR] for x in metres]
    predicted, true = (x[..., :72].unflatten(-1, (24, 3)) for x in features)
    _, terms = motion_losses(*metres, valid, t, T_BAR, WEIGHTS)
    assert l_simple(*metres, valid, torch.ones(len(t))).item() == pytest.approx(expected["simple_loss"], rel=1e-5)
    valid = valid[t <= T_BAR]

    contacts = foot_contacts(true)
    steps = valid[..., 1:] & valid[..., :-1]
    assert torch.equal(contacts[steps], features[1][..., 1:, -4:][steps] > 0.5)
    slide = foot_contact(predicted, contacts, valid)
    found = {
        "vel_loss": 3 * mean_of_all(velocity(predicted, true, valid)),  # they sum over the coordinates
        "foot_loss": 3 * (slide.total.sum() / slide.valid.sum()).item(),  # and over the feet
        "bone_length_loss": mean_of_all(bone_length(predicted, true, valid)),
        "pairwise_dist_loss": mean_of_all(distance_map(predicted, true, valid)),
        "ro_loss": thesis_orientation(predicted, true, valid),
    }
    if "mixes the samples" in case:
        del found["pairwise_dist_loss"]
    if len(valid) == 1:  # they weigh every frame alike, ours every sample
        found |= {"vel_loss": terms["velocity"].item() / 10, "bone_length_loss": terms["bone_length"].item() / 10}
    assert found == pytest.approx({name: expected[name] for name in found}, rel=1e-5)


def test_golden_thesis_has_no_losses_beyond_t_bar(golden: Path) -> None:
    values = {k: torch.from_numpy(v) for k, v in np.load(golden / "sceneintergen" / "scene_motion.npz").items()}
    case = "batch 1, 2 people, t=[900]"
    expected = json.loads((golden / "sceneintergen" / "losses.json").read_text())[case]
    x0, valid, noise = (values[f"loss.{case}.{key}"] for key in ("x", "mask", "noise"))
    t = torch.tensor([900])
    normalised = (predicted_by(q_sample(cosine_schedule(), x0, t, noise), t), x0)
    metres = [x * values["std"] + values["mean"] for x in normalised]
    total, _ = motion_losses(*metres, valid, t, T_BAR, WEIGHTS)
    assert total.item() == expected["reg_loss"] == 0
    assert l_simple(*metres, valid, torch.ones(1)).item() == pytest.approx(expected["total"], rel=1e-5)


def thesis_orientation(predicted: Tensor, true: Tensor, valid: Tensor) -> float:
    """Compute the thesis' relative orientation: cosines, halved, over all ordered pairs and everyone with themselves.

    It comes of reading InterGen's Y-up components of q in a Z-up world: left cannot be told from right. Here it checks
    only which way persons face.
    """
    cosines = [torch.einsum("bifc,bjfc->bijf", facing(x), facing(x)) for x in (predicted, true)]
    both = valid[:, :, None] & valid[:, None]
    return (0.5 * (cosines[0] - cosines[1]).square()[both].mean()).item()


# What must hold


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("joints", [22, 24])
def test_zero_at_the_truth(name: str, joints: int) -> None:
    """The distances of touching joints are the exception: they are drawn together beyond the truth."""
    _, true, valid = crowd()
    true = true[..., :joints, :].clone().requires_grad_()
    values = per_sample(LOSSES[name](true, true.detach(), valid))
    assert torch.autograd.grad(values.sum(), true)[0].isfinite().all()
    if name == "joint_affinity":
        assert ((values > 0) & (values < 0.1**2)).all()
    else:
        assert torch.equal(values, torch.zeros(2))


@pytest.mark.parametrize("name", LOSSES)
def test_padding_is_never_seen(name: str) -> None:
    """NaN in the padding changes neither a value nor a gradient, whichever padding it is and however far it goes."""
    predicted, true, valid = crowd()
    with_nan = [torch.where(valid[..., None, None], x, torch.nan).requires_grad_() for x in (predicted, true)]
    found, found_nan = LOSSES[name](predicted.requires_grad_(), true, valid), LOSSES[name](*with_nan, valid)
    assert torch.equal(per_sample(found), per_sample(found_nan))
    (per_sample(found).sum() + per_sample(found_nan).sum()).backward()
    assert torch.equal(predicted.grad, with_nan[0].grad)
    assert not predicted.grad[~valid].any()
    assert predicted.grad[valid].any()
    alone = LOSSES[name](predicted[1:, :, :5], true[1:, :, :5], valid[1:, :, :5])
    torch.testing.assert_close(per_sample(found)[1:], per_sample(alone))
    assert torch.equal(per_sample(LOSSES[name](predicted, true, torch.zeros_like(valid))), torch.zeros(2))


@pytest.mark.parametrize("name", LOSSES)
def test_the_order_of_persons_does_not_matter(name: str) -> None:
    case, order = crowd(persons=4), [2, 0, 3, 1]
    expected = per_sample(LOSSES[name](*case))
    torch.testing.assert_close(per_sample(LOSSES[name](*(x[:, order] for x in case))), expected)
    assert (expected > 0).all()


@pytest.mark.parametrize("name", INTERACTION)
def test_all_pairs(name: str) -> None:
    """A crowd costs the mean over the frames of its pairs; a person alone costs nothing."""
    case = crowd(persons=4)
    pairs = [INTERACTION[name](*(x[:, [i, j]] for x in case)) for i in range(4) for j in range(i)]
    means = [per_sample(pair) * pair.valid.sum(dim=(1, 2)) for pair in pairs]
    frames = sum(pair.valid.sum(dim=(1, 2)) for pair in pairs)
    torch.testing.assert_close(per_sample(INTERACTION[name](*case)), sum(means) / frames)
    assert torch.equal(per_sample(INTERACTION[name](*(x[:, :1] for x in case))), torch.zeros(2))


@pytest.mark.parametrize("name", INTERACTION)
def test_blocks_of_rows_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    predicted, true, valid = crowd()
    predicted.requires_grad_()
    whole = per_sample(INTERACTION[name](predicted, true, valid)).sum()
    monkeypatch.setattr(losses, "PAIR_ROWS", 5)
    parts = per_sample(INTERACTION[name](predicted, true, valid)).sum()
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(*(torch.autograd.grad(loss, predicted)[0] for loss in (parts, whole)))


def test_known_values() -> None:
    """One person slides 0.3 m along x in each step, stretched to twice the size; another is turned by 90°."""
    _, true, valid = crowd(persons=2, batch=1)
    valid = torch.ones_like(valid)
    true = true[:, :, :1].expand(-1, -1, 7, -1, -1)
    slide = 0.3 * torch.arange(7.0)[:, None, None] * torch.tensor([1.0, 0.0, 0.0])
    assert per_sample(velocity(true + slide, true, valid)).item() == pytest.approx(0.3**2 / 3)
    assert per_sample(standing_foot(true + slide, true, valid)).item() == pytest.approx(0.3**2 / 3)
    lengths = losses._bone_lengths(true)
    assert per_sample(bone_length(2 * true, true, valid)).item() == pytest.approx(lengths.square().mean().item())
    turned = true.clone()
    turned[:, 1] = turned[:, 1] @ torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    angles = [torch.atan2(f[..., 1], f[..., 0]) for f in (facing(true), facing(turned))]
    before, after = (((a[:, 1] - a[:, 0] + torch.pi) % (2 * torch.pi) - torch.pi) / 2 for a in angles)
    expected = (1 - (after - before).cos()).mean().item()  # ½ |q̂ - q|²
    assert per_sample(relative_orientation(turned, true, valid)).item() == pytest.approx(expected, rel=1e-4)


def test_facing() -> None:
    joints = torch.zeros(24, 3)
    joints[1, 0], joints[2, 0] = 0.1, -0.1  # left hip at +x: SMPL at rest, which upright in our world looks to -y
    torch.testing.assert_close(facing(joints), torch.tensor([0.0, -1.0]))


def test_someone_lying_on_their_side_has_a_bounded_gradient() -> None:
    """Hips (nearly) above each other face nowhere."""
    predicted, true, valid = crowd(persons=2)
    predicted[:, 0, :, 2, :2] = predicted[:, 0, :, 1, :2] + 1e-6
    predicted[:, 0, ::2, 2, :2] = predicted[:, 0, ::2, 1, :2]
    predicted.requires_grad_()
    per_sample(relative_orientation(predicted, true, valid)).sum().backward()
    assert predicted.grad.isfinite().all()
    assert predicted.grad.abs().max() < 1 / losses.MIN_HIPS_M


# The training's function


def test_terms_are_weighted_means_over_the_samples_that_count() -> None:
    """Neither a sample above t_bar nor one that is all padding changes a term or its gradient."""
    predicted, true, valid = crowd(batch=4)
    valid[2] = False
    t = torch.tensor([T_BAR, T_BAR + 1, 0, 0])
    features = [features_of(x) for x in (predicted, true)]
    features[0].requires_grad_()
    total, terms = motion_losses(*features, valid, t, T_BAR, WEIGHTS)
    for name, weight in asdict(WEIGHTS).items():
        values = per_sample(LOSSES[name](predicted[[0, 3]], true[[0, 3]], valid[[0, 3]]))
        torch.testing.assert_close(terms[name], weight * values.mean())
    torch.testing.assert_close(total, sum(terms.values()))
    total.backward()
    assert features[0].grad[[0, 3]].any(dim=-1)[valid[[0, 3]]].all()
    assert not features[0].grad[[1, 2]].any()


def test_nothing_that_counts_costs_nothing() -> None:
    predicted, true, valid = (features_of(x) if x.ndim == 5 else x for x in crowd())
    predicted.requires_grad_()
    total, terms = motion_losses(predicted, true, valid, torch.tensor([999, 999]), T_BAR, WEIGHTS)
    total.backward()
    assert total == 0
    assert set(terms) == set(asdict(WEIGHTS))
    assert torch.equal(predicted.grad, torch.zeros_like(predicted))
