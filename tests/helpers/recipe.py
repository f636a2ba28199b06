"""Smallest recipe that trains."""

from motion.denoiser import DenoiserConfig
from motion.recipes import OptimConfig, Recipe, SamplingConfig

RECIPE = Recipe(
    name="test",
    denoiser=DenoiserConfig(width=32, layers=1, heads=2, feedforward=64, text_dim=384, dropout=0.0),
    optim=OptimConfig(batch_size=4, steps=6, warmup_steps=2),
    sampling=SamplingConfig(num_steps=10),
    max_frames=40,
    max_persons=2,
)
