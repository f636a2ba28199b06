"""Action classifier and guidance by it: exact where the classifier is, and what neither must depend on."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import roma
import torch
from torch import Tensor, nn

from motion.body import Body, load_body
from motion.clips.augment import translate
from motion.clips.transforms import crop
from motion.diffusion import cosine_schedule, q_sample, signal_and_noise
from motion.errors import InputError
from motion.evaluator import ActionClassifier, ClassifierConfig, classifier_bytes, load_classifier
from motion.evaluator.action_classifier import FORMAT
from motion.evaluator.classifier_training import (
    Example,
    LabelledBatch,
    accuracy,
    action_labels,
    classifier_loss,
    fit,
    placed_anew,
    prevailing,
    training_step,
)
from motion.features import POSITIONS, VELOCITIES, Moments, Normalizer, encode_sequence
from motion.guidance import ClassifierGuidance
from motion.guidance.classifier import MAX_SHIFT_STD
from motion.samplers import ddim, dpmpp_2m, respaced, sample, trailing
from motion.sequence import MotionSequence
from motion.weights import weights_bytes
from tests.helpers.clips import UPRIGHT, motion, simulated, smooth_pose

CONFIG = ClassifierConfig(names=("one", "two", "three"), num_features=6, width=16, layers=2, heads=2)
SCHEDULE = cosine_schedule()
STANDING, LYING = 0, 1


def random_classifier(config: ClassifierConfig = CONFIG) -> ActionClassifier:
    """Build a classifier in double precision whose steps and layers matter: as made, all layers are identities."""
    torch.manual_seed(0)
    network = ActionClassifier(config).double().eval().requires_grad_(False)
    nn.init.normal_(network.modulation.weight, std=0.3)
    return network


def noised(batch: int = 2, persons: int = 3, frames: int = 10) -> tuple[Tensor, Tensor, Tensor]:
    """Draw x_t, t and valid frames."""
    x_t = torch.randn(batch, persons, frames, CONFIG.num_features, dtype=torch.float64)
    valid = torch.ones(batch, persons, frames, dtype=torch.bool)
    valid[0, 1, 7:], valid[0, 2] = False, False
    return x_t, torch.arange(batch) * 300 + 200, valid


def guidance(classifier: nn.Module, valid: Tensor, labels: Tensor, scale: float = 1.0) -> ClassifierGuidance:
    scales, start, stop = (torch.full((len(valid),), value) for value in (scale, 0.0, 1.0))
    return ClassifierGuidance(classifier, SCHEDULE, valid, labels, scales, start, stop)


class TwoGaussians(nn.Module):
    """Exact classifier of x_0 ~ N(±middle, spread² I), each half of the time, and the exact denoiser."""

    def __init__(self, middle: Tensor, spread: float) -> None:
        super().__init__()
        self.middle, self.spread = middle, spread

    def forward(self, x_t: Tensor, t: Tensor, valid: Tensor) -> Tensor:
        signal, noise = signal_and_noise(SCHEDULE, t, x_t)
        evidence = signal * self.middle * x_t / (signal**2 * self.spread**2 + noise**2)
        total = evidence.sum(dim=(2, 3))
        return torch.stack([total, -total], dim=-1)

    def conditional(self, x_t: Tensor, t: Tensor, sign: Tensor) -> Tensor:
        """Compute the conditional estimate E[x_0 | x_t, which of the two]."""
        signal, noise = signal_and_noise(SCHEDULE, t, x_t)
        gain = signal * self.spread**2 / (signal**2 * self.spread**2 + noise**2)
        return sign * self.middle + gain * (x_t - signal * sign * self.middle)

    def unconditional(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Compute the unconditional estimate E[x_0 | x_t]."""
        first = self(x_t, t, x_t[..., 0] == 0).softmax(dim=-1)[..., :1, None]
        return first * self.conditional(x_t, t, x_t.new_ones(1)) + (1 - first) * self.conditional(
            x_t, t, -x_t.new_ones(1)
        )


def test_an_exact_classifier_makes_the_unconditional_estimate_the_conditional_one() -> None:
    """E[x_0 | x_t] becomes E[x_0 | x_t, y] at s = 1 in eq. 2.20, at every noise level."""
    t = torch.arange(1000)
    middle = torch.linspace(-0.5, 0.5, 6, dtype=torch.float64).expand(4, 6) / 2
    exact = TwoGaussians(middle, spread=0.4)
    labels = (t % 2)[:, None]
    x_0 = (1 - 2 * labels)[..., None, None] * middle + 0.4 * torch.randn(1000, 1, 4, 6, dtype=torch.float64)
    x_t = q_sample(SCHEDULE, x_0, t.flip(0), torch.randn_like(x_0))
    valid = torch.ones(1000, 1, 4, dtype=torch.bool)
    for asked in (labels, 1 - labels):
        guided = guidance(exact, valid, asked)(exact.unconditional(x_t, t.flip(0)), x_t, t.flip(0))
        conditional = exact.conditional(x_t, t.flip(0), (1 - 2 * asked)[..., None, None].double())
        torch.testing.assert_close(guided, conditional, atol=1e-9, rtol=0)


def shares_of_first(made: Tensor) -> tuple[float, float]:
    """Compute the share of the first Gaussian among samples with an even number, and among those with an odd one."""
    first = (made.mean(dim=(1, 2, 3)) > 0).float()
    return float(first[::2].mean()), float(first[1::2].mean())


def test_samples_are_of_the_class_that_each_asks_for() -> None:
    exact, labels = TwoGaussians(torch.full((3, 6), 0.3), spread=0.3), torch.arange(200)[:, None] % 2
    noise, valid = torch.randn(200, 1, 3, 6), torch.ones(200, 1, 3, dtype=torch.bool)

    def made(scale: float) -> Tensor:
        guide = guidance(exact, valid, labels, scale)
        denoise = lambda x_t, t: guide(exact.unconditional(x_t, t), x_t, t)  # noqa: E731
        with torch.inference_mode():
            return sample(denoise, SCHEDULE, ddim, respaced(1000, 20), lambda: noise)

    assert shares_of_first(made(0.0)) == pytest.approx((0.5, 0.5), abs=0.12)
    some, all_ = shares_of_first(made(0.3)), shares_of_first(made(1.0))
    assert some[0] > 0.6
    assert some[1] < 0.4
    assert all_[0] > 0.97
    assert all_[1] < 0.03


def test_a_learnt_classifier_guides_from_pure_noise_and_samples_stay_where_the_data_are() -> None:
    """UniPC's and DPM-Solver's steps begin where 1 / sqrt(ᾱ) is 20,000: the least error would throw samples far off."""
    exact, labels = TwoGaussians(torch.full((4, 6), 0.7), spread=0.7), torch.arange(200)[:, None] % 2
    network = ActionClassifier(replace(CONFIG, names=("one", "two"), layers=1)).train()
    optimizer, steps = torch.optim.AdamW(network.parameters(), 1e-2), 120
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    noise, valid = torch.randn(200, 1, 4, 6), torch.ones(200, 1, 4, dtype=torch.bool)
    for step in range(steps):
        x_0 = (1 - 2 * labels)[..., None, None] * exact.middle + 0.7 * torch.randn(200, 1, 4, 6)
        generator = torch.Generator().manual_seed(step)
        training_step(network, optimizer, rates, classifier_loss(network, SCHEDULE, x_0, valid, labels, generator))
    guide = guidance(network.eval(), valid, labels)
    denoise = lambda x_t, t: guide(exact.unconditional(x_t, t), x_t, t)  # noqa: E731
    with torch.inference_mode():
        made = sample(denoise, SCHEDULE, dpmpp_2m, trailing(1000, 10), lambda: noise)
    asked, other = shares_of_first(made)
    assert asked > 0.9
    assert other < 0.1
    assert made[::2].mean() == pytest.approx(0.7, abs=0.2)
    assert made[1::2].mean() == pytest.approx(-0.7, abs=0.2)


def test_the_gradient_is_that_of_finite_differences() -> None:
    network, (x_t, t, valid) = random_classifier(), noised()
    labels = torch.tensor([[0, 2, 1], [1, 0, 2]])
    guide = guidance(network, valid, labels, scale=1e-3)  # small enough not to be cut
    alphas = SCHEDULE.alphas_cumprod[t]
    gradient = guide(torch.zeros_like(x_t), x_t, t) / (1e-3 * (1 - alphas) / alphas.sqrt()).view(-1, 1, 1, 1)

    def log_probability(x: Tensor) -> Tensor:
        chosen = network(x, t, valid).log_softmax(dim=-1).gather(2, labels[..., None])[..., 0]
        return (chosen * valid.any(dim=2)).sum(dim=1)

    for _ in range(3):
        way = torch.randn_like(x_t)
        expected = (log_probability(x_t + 1e-5 * way) - log_probability(x_t - 1e-5 * way)) / 2e-5
        torch.testing.assert_close((gradient * way).sum(dim=(1, 2, 3)), expected, rtol=1e-5, atol=1e-8)
    assert gradient.abs().sum(dim=(2, 3))[valid.any(dim=2)].min() > 1e-3
    assert not gradient[~valid].any()


def test_who_is_asked_nothing_comes_back_to_the_bit() -> None:
    """Scale 0, no label, nobody valid, or a step outside of start to stop; each sample has its own, and its own t."""
    network = random_classifier().float()
    valid = torch.ones(6, 2, 8, dtype=torch.bool)
    valid[4] = False
    guide = ClassifierGuidance(
        classifier=network,
        schedule=SCHEDULE,
        valid=valid,
        labels=torch.tensor([[0, 1], [0, 1], [-1, 2], [-1, -1], [0, 1], [0, 1]]),
        scale=torch.tensor([0.0, 2.0, 2.0, 2.0, 2.0, 2.0]),
        start=torch.tensor([0.0, 0.2, 0.0, 0.0, 0.0, 0.6]),
        stop=torch.tensor([1.0, 0.6, 1.0, 1.0, 1.0, 1.0]),
    )
    x0, x_t = torch.randn(2, 6, 2, 8, CONFIG.num_features).unbind()
    with torch.inference_mode():
        guided = guide(x0, x_t, torch.full((6,), 500))
        late = guide(x0, x_t, torch.full((6,), 300))
    changed = [[not torch.equal(a, b) for a, b in zip(*each, strict=True)] for each in zip(guided, x0, strict=True)]
    assert changed == [[False, False], [True, True], [False, True], [False, False], [False, False], [False, False]]
    assert torch.equal(late[1], x0[1])
    assert not torch.equal(late[5], x0[5])


def test_near_pure_noise_the_shift_is_bounded() -> None:
    network, (x_t, _, valid) = random_classifier(), noised()
    labels = torch.tensor([[0, 2, 1], [1, 0, 2]])
    shift = guidance(network, valid, labels, 50.0)(torch.zeros_like(x_t), x_t, torch.full((2,), 999))
    sizes = (shift.square().sum(dim=(2, 3)) / valid.sum(dim=2).clamp_min(1) / CONFIG.num_features).sqrt()
    torch.testing.assert_close(sizes, MAX_SHIFT_STD * valid.any(dim=2).double())


def test_persons_padding_and_neighbours_do_not_matter() -> None:
    """Neither logits nor guidance depend on them; the number of frames is no multiple of a token's."""
    network, (x_t, t, valid) = random_classifier(), noised(frames=10)
    labels = torch.tensor([[0, 2, 1], [1, 0, 2]])
    logits, guided = network(x_t, t, valid), guidance(network, valid, labels)(x_t, x_t, t)
    order = [2, 0, 1]
    torch.testing.assert_close(network(x_t[:, order], t, valid[:, order]), logits[:, order])
    wide, there = torch.full((2, 4, 17, 6), torch.nan, dtype=torch.float64), torch.zeros(2, 4, 17, dtype=torch.bool)
    wide[:, :3, :10], there[:, :3, :10] = x_t, valid
    torch.testing.assert_close(network(wide, t, there)[:, :3], logits)
    assert network(wide, t, there).isfinite().all()
    padded = guidance(network, there, nn.functional.pad(labels, (0, 1), value=-1))(wide, wide, t)
    torch.testing.assert_close(padded[:, :3, :10], guided)
    for i in range(2):
        alone = guidance(network, valid[i : i + 1], labels[i : i + 1])(x_t[i : i + 1], x_t[i : i + 1], t[i : i + 1])
        torch.testing.assert_close(alone[0], guided[i])
    assert (logits[0, 0] - logits[1, 0]).abs().max() > 1e-3


def clip(body: Body, action: int, seed: int) -> MotionSequence:
    """Move two persons a little while they stand, or while they lie on their backs."""
    generator = torch.Generator().manual_seed(seed)
    pose = smooth_pose(2, 20, 0.2, generator)
    down = torch.tensor([0.0, -math.pi / 2, 0.0]) if action == LYING else torch.zeros(3)
    height = torch.tensor([0.0, 0.0, 0.2 if action == LYING else 0.9])
    orient = roma.rotvec_to_rotmat(down) @ UPRIGHT @ pose[:, :, 0]
    somewhere = torch.tensor([1.0, 1.0, 0.1]) * torch.randn(2, 1, 3, generator=generator)
    transl = height + somewhere.expand(-1, 20, -1)
    return simulated(body, transl, orient, pose[:, :, 1:], torch.zeros(2, 10), id=f"{action}/{seed}")


@pytest.fixture(scope="module")
def data() -> tuple[list[MotionSequence], list[np.ndarray], Normalizer]:
    """Make clips, their persons' labels and the normalizer; every fourth person has no label."""
    body = load_body()
    clips = [clip(body, seed % 2, seed) for seed in range(16)]
    labels = [np.array([seed % 2, -1 if seed % 4 > 1 else seed % 2]) for seed in range(16)]
    frames = torch.cat([encode_sequence(each).flatten(0, 1) for each in clips])
    return clips, labels, Moments.of(frames).normalizer()


@pytest.fixture(scope="module")
def trained(data: tuple[list[MotionSequence], list[np.ndarray], Normalizer]) -> ActionClassifier:
    config = ClassifierConfig(names=("standing", "lying"), width=16, layers=1, heads=2)
    return fit(config, SCHEDULE, *data, steps=60, learning_rate=1e-2)


def test_it_learns_from_noise_what_it_tells_of_others(
    trained: ActionClassifier, data: tuple[list[MotionSequence], list[np.ndarray], Normalizer]
) -> None:
    """The classifier judges motions that it has not seen, elsewhere in the world; worse at higher noise."""
    body, normalizer = load_body(), data[2]
    place = np.array([1.5, -1], dtype=np.float32)
    others = [translate(clip(body, seed % 2, seed), place, body) for seed in range(100, 120)]
    truth = [np.array([seed % 2, seed % 2]) for seed in range(100, 120)]
    found = [accuracy(trained, SCHEDULE, others, truth, normalizer, t) for t in (None, 0, 600, 999)]
    assert min(found[:2]) > 0.9
    assert found[2] > 0.8
    assert found[3] < 0.75
    assert accuracy(trained, SCHEDULE, others, [1 - each for each in truth], normalizer) == pytest.approx(1 - found[0])
    assert math.isnan(accuracy(trained, SCHEDULE, others, [each * 0 - 1 for each in truth], normalizer))


def test_a_judge_learns_from_motions_as_they_are(
    data: tuple[list[MotionSequence], list[np.ndarray], Normalizer], trained: ActionClassifier
) -> None:
    judge = fit(trained.config, SCHEDULE, *data, steps=20, learning_rate=1e-2, noisy=False)
    again = fit(trained.config, SCHEDULE, *data, steps=20, learning_rate=1e-2, noisy=False)
    assert accuracy(judge, SCHEDULE, *data) > 0.9
    assert torch.equal(judge.output.weight, again.output.weight), "the same seed, the same judge"


def test_the_loss_hangs_on_labelled_persons_alone() -> None:
    network, (x, t, valid) = random_classifier(), noised()
    labels = torch.tensor([[0, -1, -1], [1, -1, 2]])

    def loss(x: Tensor, labels: Tensor, noisy: bool) -> Tensor:
        return classifier_loss(network, SCHEDULE, x, valid, labels, torch.Generator().manual_seed(0), noisy)

    other = x.clone()
    other[labels < 0] += 3
    for noisy in (True, False):
        torch.testing.assert_close(loss(other, labels, noisy), loss(x, labels, noisy))
        assert (loss(x, labels.clamp_min(0), noisy) - loss(x, labels, noisy)).abs() > 1e-3
        assert loss(x, torch.full_like(labels, -1), noisy) == 0
    clean = network(x, torch.zeros_like(t), valid).log_softmax(dim=-1)
    expected = -(clean[0, 0, 0] + clean[1, 0, 1] + clean[1, 2, 2]) / 3
    torch.testing.assert_close(loss(x, labels, False), expected)
    assert (loss(x, labels, True) - expected).abs() > 1e-3


def test_a_person_has_the_label_of_most_of_their_valid_frames() -> None:
    labels = torch.tensor([[0, 0, 2, 2, 2], [0, 0, 2, 2, 2], [-1, -1, -1, 1, 1], [1, 1, 1, 1, 1]])
    valid = torch.ones(4, 5, dtype=torch.bool)
    valid[1, 3:], valid[3] = False, False
    assert prevailing(labels, valid).tolist() == [2, 0, -1, -1]
    clip = motion(load_body(), frames=41)  # its actions are 0, 1, 2, 3 and 4 for ten frames each
    codes = action_labels(clip, ("laying_on_floor", "laying_in_bed"))
    assert codes[0, ::10].tolist() == [-1, 1, 0, -1, -1]


def test_stretches_and_new_places_are_those_of_motions() -> None:
    body = load_body()
    whole = motion(body)
    example = Example.of(whole, action_labels(whole, ("kneeling", "crawling"))).stretch(5, 20)
    assert torch.equal(example.features, encode_sequence(crop(whole, 5, 25)))
    moved = placed_anew(example.features, np.random.default_rng(0))
    before, after = (each[..., POSITIONS].unflatten(-1, (24, 3)) for each in (example.features, moved))
    torch.testing.assert_close(after[..., 2], before[..., 2])
    torch.testing.assert_close(torch.cdist(after, after), torch.cdist(before, before), atol=1e-4, rtol=0)
    torch.testing.assert_close(moved[:, 1:, VELOCITIES], after.diff(dim=1).flatten(-2), atol=1e-5, rtol=0)
    assert not moved[:, 0, VELOCITIES].any()
    assert torch.equal(moved[..., VELOCITIES.stop :], example.features[..., VELOCITIES.stop :])
    assert (after - before)[..., :2].abs().amin(dim=(1, 2, 3)).max() < (after - before)[..., :2].abs().amax()
    ways = (after - before)[:, 0, 0, :2]
    assert (ways[0] - ways[1]).norm() > 0.1, "each person has a place of their own"


def test_a_file_holds_the_whole_classifier(
    trained: ActionClassifier, data: tuple[list[MotionSequence], list[np.ndarray], Normalizer], tmp_path: Path
) -> None:
    clips, _, normalizer = data
    path = tmp_path / "classifier.safetensors"
    path.write_bytes(classifier_bytes(trained, normalizer, "cosine", 1000))
    loaded = load_classifier(path)
    batch = LabelledBatch.of([Example.of(clips[0], np.zeros((2, 20), dtype=int))], normalizer)
    t = torch.tensor([40])
    assert torch.equal(loaded.network(batch.x0, t, batch.valid), trained(batch.x0, t, batch.valid))
    assert loaded.network.config == trained.config
    assert len(loaded.version) == 12
    assert [loaded.label(name) for name in ("standing", "lying", "unknown")] == [0, 1, -1]
    loaded.check_fits(normalizer, "cosine", 1000)


def test_what_is_refused(
    trained: ActionClassifier, data: tuple[list[MotionSequence], list[np.ndarray], Normalizer], tmp_path: Path
) -> None:
    normalizer = data[2]
    path, content = tmp_path / "classifier.safetensors", classifier_bytes(trained, normalizer, "cosine", 1000)
    with pytest.raises(InputError, match=f"no file of format {FORMAT} at .*ray_jobs.train_classifier"):
        load_classifier(path)
    path.write_bytes(content)
    loaded = load_classifier(path)
    with pytest.raises(InputError, match="knows no 'flying', expected one of standing, lying"):
        loaded.label("flying")
    with pytest.raises(InputError, match="the cosine schedule of 1000 steps, the model on the linear one of 1000"):
        loaded.check_fits(normalizer, "linear", 1000)
    with pytest.raises(InputError, match="the cosine schedule of 1000 steps, the model on the cosine one of 500"):
        loaded.check_fits(normalizer, "cosine", 500)
    with pytest.raises(InputError, match="takes 282 features, the model has 286"):
        loaded.check_fits(Normalizer(torch.zeros(286), torch.ones(286)), "cosine", 1000)
    with pytest.raises(InputError, match="normalized otherwise than the model's"):
        loaded.check_fits(replace(normalizer, std=normalizer.std * 1.1), "cosine", 1000)
    path.write_bytes(content.replace(b'\\"width\\": 16', b'\\"width\\": 32'))
    with pytest.raises(InputError, match="holds another architecture"):
        load_classifier(path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="is damaged or no safetensors file"):
        load_classifier(path)
    path.write_bytes(weights_bytes({}, "carescene-model/3", {}))
    with pytest.raises(InputError, match=f"says format 'carescene-model/3', expected '{FORMAT}'"):
        load_classifier(path)
    with pytest.raises(InputError, match="width is 18, expected a multiple of 2 \\* heads = 8"):
        ClassifierConfig(width=18)
    with pytest.raises(InputError, match="the classes are one, one, expected at least two different ones"):
        ClassifierConfig(names=("one", "one"))
