"""Quality of a recipe's samples: whether they show the caption, resemble real clips, and keep persons apart.

The prompts are the captions of held-out clips, at the clips' lengths, one clip for each caption. The judge is a
classifier of actions that has seen real training clips alone.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from motion.clips.transforms import canonical_start
from motion.denoiser import Conditions
from motion.diffusion import l_simple, make_schedule, predicted_x0, q_sample
from motion.evaluator import ActionClassifier, ClassifierConfig, load_evaluator
from motion.evaluator.classifier_training import accuracy, fit
from motion.features import Normalizer
from motion.generator import Generator, Model, MotionRequest, reaction
from motion.metrics.fid import fid
from motion.metrics.memorisation import WindowIndex, build_index, nearest
from motion.recipes import VariationConfig
from motion.sequence import MotionSequence, read_motions
from motion.training import collate
from ray_jobs.common.prepared_data import read_normalizer
from ray_jobs.generate import like
from tests.benchmarks.labelled import ACTIONS, CONTENTS, SALSA, STYLES, captions

MERGED_M = 0.2  # between two pelvises
BATCH = 16
JUDGE_STEPS = 800


def labels_of_captions() -> dict[str, str]:
    """Map each first caption to the label behind it."""
    contents = {captions(content, style)[0]: content for content in CONTENTS for style in STYLES}
    return contents | {texts[0]: action for action, texts in ACTIONS.items()} | {SALSA[0]: "salsa"}


@dataclass(frozen=True)
class Task:
    """Real clips, requests like them, and the judge."""

    real: list[MotionSequence]
    asked: list[MotionSequence]
    names: tuple[str, ...]
    judge: ActionClassifier
    normalizer: Normalizer
    learnt: WindowIndex
    """Clips that were trained on."""

    @property
    def alone(self) -> list[MotionSequence]:
        """Requests for one person."""
        return [clip for clip in self.asked if clip.num_persons == 1]

    def label(self, clip: MotionSequence) -> np.ndarray:
        return np.full(clip.num_persons, self.names.index(labels_of_captions()[clip.texts[0]]))

    def accuracy(self, motions: Sequence[MotionSequence]) -> float:
        """Compute the share of persons to whom the judge gives the label of the motion's first caption."""
        schedule, labels = make_schedule("cosine", 1000), [self.label(motion) for motion in motions]
        return accuracy(self.judge, schedule, motions, labels, self.normalizer)


def make_tasks(data: Path) -> dict[str, Task]:
    """Build a task of each held-out split, val and test: its clips, requests for them, and the judge they share.

    The judge is trained on the train split; labels that it does not know are left out.
    """
    labels, normalizer = labels_of_captions(), read_normalizer(str(data))
    motions = [motion for motion in read_motions(data / "motions") if motion.texts and motion.texts[0] in labels]
    train = [motion for motion in motions if motion.split == "train"]
    names = tuple(sorted({labels[motion.texts[0]] for motion in train}))
    config = ClassifierConfig(names)
    learnt = build_index(train)
    known = [np.full(clip.num_persons, names.index(labels[clip.texts[0]])) for clip in train]
    judge = fit(config, make_schedule("cosine", 1000), train, known, normalizer, JUDGE_STEPS, noisy=False)
    tasks = {}
    for split in ("val", "test"):
        real = [clip for clip in motions if clip.split == split and labels[clip.texts[0]] in names]
        asked = list({clip.texts[0]: clip for clip in real}.values())
        tasks[split] = Task(real, asked, names, judge, normalizer, learnt)
    return tasks


def sampled(generator: Generator, requests: Sequence[MotionRequest]) -> tuple[list[MotionSequence], float]:
    """Sample a motion for each request, those of one length together; also return the processor time it took (s)."""
    order = sorted(range(len(requests)), key=lambda index: (requests[index].num_persons, requests[index].num_frames))
    motions, start = {}, time.process_time()
    for first in range(0, len(order), BATCH):
        chosen = order[first : first + BATCH]
        motions |= dict(zip(chosen, generator.generate([requests[index] for index in chosen]), strict=True))
    return [motions[index] for index in range(len(requests))], time.process_time() - start


def measure(generator: Generator, task: Task, evaluator: Path, seeds: int) -> dict[str, list[float]]:
    """Measure for each seed, without clean-up, how well the samples show captions and resemble real clips.

    `nearest_m` is the median distance of the samples from the nearest training clip (`motion.metrics.memorisation`).
    """
    judged = load_evaluator(str(evaluator))
    real = judged.embed_motions(task.real).numpy()
    found: dict[str, list[float]] = {"adherence": [], "frechet": [], "nearest_m": [], "motions_per_s": []}
    for seed in range(seeds):
        requests = [replace(like(clip), seed=1000 * seed + i, clean_up=False) for i, clip in enumerate(task.asked)]
        motions, seconds = sampled(generator, requests)
        found["adherence"].append(task.accuracy(motions))
        found["frechet"].append(fid(real, judged.embed_motions(motions).numpy()))
        found["nearest_m"].append(distance_from(task.learnt, motions))
        found["motions_per_s"].append(len(motions) / seconds)
    return found


def distance_from(learnt: WindowIndex, motions: Sequence[MotionSequence]) -> float:
    """Compute the median distance of motions from the training clip nearest to each, in metres."""
    found = [nearest(learnt, motion) for motion in motions]
    return float(np.median([neighbour.distance for neighbour in found if neighbour is not None]))


def heard(generator: Generator, task: Task) -> float:
    """Compute the share of the error of x_0 from pure noise that is gone when the network reads the clip's own caption.

    Compared with another clip's caption. What a motion shows is decided at the noisiest steps: where this is near 0, no
    guidance makes captions heard.
    """
    recipe = replace(generator.recipe, variation=VariationConfig())
    alone = task.alone
    batch = collate(
        alone, recipe, generator.normalizer, generator.text_encoder, generator.body, np.random.default_rng(0)
    )
    other = np.random.default_rng(0).permutation(len(alone)).tolist()
    told = batch.conditions
    wrong = replace(told, text=told.text[other], text_valid=told.text_valid[other])
    t = torch.full((len(alone),), generator.schedule.num_steps - 1)
    noise = torch.randn(batch.x0.shape, generator=torch.Generator().manual_seed(0))
    x_t = q_sample(generator.schedule, batch.x0, t, noise)

    def error(conditions: Conditions) -> float:
        with torch.inference_mode():
            output = generator.network(x_t, t, conditions)
        x0 = predicted_x0(generator.schedule, recipe.diffusion.prediction, output, x_t, t)
        return float(l_simple(x0, batch.x0, told.valid, torch.ones(len(alone))))

    return 1 - error(told) / error(wrong)


def own_captions(generator: Generator, task: Task, persons: int, scenes: int) -> float:
    """Compute the share of persons to whom the judge gives the label of their own caption.

    Each is judged alone, from the origin on, as the judge knows persons.
    """
    alone = task.alone
    groups = [[alone[(i + scenes * n) % len(alone)] for n in range(persons)] for i in range(scenes)]
    requests = [
        MotionRequest(
            "",
            max(clip.num_frames for clip in group),
            persons,
            seed=i,
            person_prompts=tuple(clip.texts[0] for clip in group),
            clean_up=False,
        )
        for i, group in enumerate(groups)
    ]
    motions, _ = sampled(generator, requests)
    people = [
        canonical_start(reaction(motion, [person]).motion, generator.body)
        for motion in motions
        for person in range(persons)
    ]
    labels = [task.label(clip) for group in groups for clip in group]
    return accuracy(task.judge, make_schedule("cosine", 1000), people, labels, task.normalizer)


def sampled_by(model: Model, **changes: Any) -> Generator:
    """Make a generator of a model whose sampling settings are its recipe's, but for `changes`."""
    sampling = replace(model.recipe.sampling, **changes)
    return Generator(replace(model, recipe=replace(model.recipe, sampling=sampling)))


def merged_share(model: Model, task: Task, persons: int, prompts: int) -> float:
    """Compute the share of frames in which two persons have their pelvises in one place.

    It is the network's own: without clean-up, and without the sampler's rule that keeps persons apart.
    """
    generator = sampled_by(model, apart=0.0)
    alone = task.alone[:: max(len(task.asked) // prompts, 1)][:prompts]
    requests = [
        MotionRequest(clip.texts[0], clip.num_frames, persons, seed=i, clean_up=False) for i, clip in enumerate(alone)
    ]
    motions, _ = sampled(generator, requests)
    return float(np.concatenate([_merged(motion.joints[:, :, 0]) for motion in motions]).mean())


def _merged(pelvis: np.ndarray) -> np.ndarray:
    apart = torch.cdist(*[torch.from_numpy(pelvis).transpose(0, 1)] * 2)
    pairs = torch.triu_indices(len(pelvis), len(pelvis), offset=1)
    return (apart[:, pairs[0], pairs[1]] < MERGED_M).any(dim=1).numpy()
