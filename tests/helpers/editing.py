"""A real pair of persons, a generator that can imitate it, and constraints cut from it."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from motion.body import load_body
from motion.clips.ground import settle
from motion.clips.transforms import canonical_start, crop, resample, transform
from motion.datasets import deepmimic
from motion.denoiser import Denoiser, DenoiserConfig
from motion.features import Moments, encode_sequence
from motion.generator import Generator, Given, Model, MotionRequest, in_between, prefix, reaction
from motion.generator.constraints import KEPT
from motion.recipes import OptimConfig, Recipe, SamplingConfig
from motion.sequence import MotionSequence
from tests.helpers.clips import simulated

BODY = load_body()
FRAMES = 26
RECIPE = Recipe(
    name="test",
    denoiser=DenoiserConfig(width=32, layers=1, heads=2, feedforward=64, text_dim=384, editable=True),
    optim=OptimConfig(batch_size=4, steps=100),
    sampling=SamplingConfig(num_steps=3),
    max_frames=FRAMES,
    max_persons=3,
)


def real_pair() -> MotionSequence:
    """Join a walking and, 1.5 m beside, a kicking person; a tall and a short one."""
    clips = {clip.id.removeprefix("deepmimic/humanoid3d_"): clip for clip in deepmimic.list_clips()}
    pair = [resample(deepmimic.read_clip(clips[name], BODY), 20.0, BODY) for name in ("walk", "kick")]
    transl, orient, pose = (
        torch.from_numpy(np.concatenate([getattr(clip, name)[:, :FRAMES] for clip in pair])) for name in KEPT[:3]
    )
    transl[1, :, 0] += 1.5
    betas = torch.tensor([[0.8, 0.5], [-0.8, 0.2]]).repeat(1, 5)
    action = np.stack([np.full(FRAMES, 6), np.arange(FRAMES) % 13]).astype(np.int8)
    clip = simulated(BODY, transl, orient, pose, betas, person_class=np.array([2, 3], dtype=np.int8), action=action)
    return canonical_start(settle(clip, BODY), BODY)


CLIP = real_pair()
NORMALIZER = Moments.of(torch.cat([encode_sequence(CLIP)[0], encode_sequence(CLIP)[1]])).normalizer()
PAIR = MotionRequest("two people move", FRAMES, 2, seed=3)


def placed(clip: MotionSequence) -> MotionSequence:
    """Move a clip elsewhere in the world, turned by about two right angles."""
    turn = np.array([[-0.8, -0.6, 0], [0.6, -0.8, 0], [0, 0, 1]], dtype=np.float32)
    return transform(clip, turn, np.array([7, -3, 0], dtype=np.float32), BODY)


def generator(editable: bool = True, **sampling: object) -> Generator:
    torch.manual_seed(0)
    denoiser = replace(RECIPE.denoiser, editable=editable)
    recipe = replace(RECIPE, denoiser=denoiser, sampling=replace(RECIPE.sampling, **sampling))
    return Generator(Model(Denoiser(denoiser), NORMALIZER, recipe, "test"))


def imitate(model: Generator, clip: MotionSequence) -> None:
    """Make the network predict this clip, whatever it is asked."""
    features = NORMALIZER.normalize(encode_sequence(clip))
    model.network.denoise = lambda x, t, prepared: features[:, : x.shape[2]].expand(len(x), -1, -1, -1).clone()


def others() -> list[Given]:
    """Choose the start, both ends, and one of two persons, of a clip somewhere in the world."""
    clip = placed(CLIP)
    return [
        prefix(crop(clip, 0, 10)),
        in_between(crop(clip, 0, 7), crop(clip, 20, FRAMES), FRAMES),
        reaction(clip, [1]),
    ]


def always(weight: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    return torch.tensor([weight]), torch.zeros(1), torch.ones(1)
