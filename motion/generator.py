"""A trained model from its file, and requests to MotionSequences.

A model is one safetensors file: the EMA weights, the normaliser's mean and std, and the recipe as metadata. The same
request and seed give the same motion whatever else is in its batch.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from motion.body import Body, load_body
from motion.cleanup import clean_up
from motion.conditions import Conditions
from motion.denoiser import Denoiser
from motion.diffusion import make_schedule, predicted_x0
from motion.errors import InputError
from motion.features import POSITIONS, Normalizer, decode
from motion.guidance import ClassifierFree, Guide, Unguided
from motion.recipes import Recipe, from_dict, to_dict
from motion.samplers import SAMPLERS, SPACINGS, sample
from motion.sequence import MotionSequence
from motion.skeleton import ACTIONS, NUM_JOINTS, PERSON_CLASSES
from motion.text import TextEncoder, load_text_encoder
from motion.training import empty_conditions, with_captions
from motion.weights import read_weights, weights_bytes

FORMAT = "carescene-model/3"
MODEL_FILE = "model.safetensors"


@dataclass(frozen=True)
class MotionRequest:
    """What is asked for. Lengths are frames at the model's fps."""

    prompt: str
    num_frames: int
    num_persons: int = 1
    seed: int = 0
    guidance_scale: float | None = None
    """None takes the recipe's."""
    person_class: tuple[str, ...] = ()
    """One of `PERSON_CLASSES` per person, or empty."""
    action: tuple[str, ...] = ()
    """One of `ACTIONS` per person for the whole clip, or empty."""
    clean_up: bool = True
    """Whether feet are locked, the floor kept and people pushed apart (`motion.cleanup`)."""


@dataclass(frozen=True)
class Model:
    """What a model file holds; `version` is the start of its sha256."""

    network: Denoiser
    normalizer: Normalizer
    recipe: Recipe
    version: str


def model_bytes(network: Denoiser, normalizer: Normalizer, recipe: Recipe) -> bytes:
    """The model file's content."""
    return weights_bytes(_tensors(network, normalizer), FORMAT, to_dict(recipe))


def load_model(path: Path) -> Model:
    """Read a model file; another architecture, a damaged or a foreign file is refused in one sentence."""
    weights = read_weights(path, FORMAT, "ray_jobs.train")
    recipe = from_dict(weights.description)
    network, size = Denoiser(recipe.denoiser), recipe.denoiser.num_features
    weights.check(_tensors(network, Normalizer(torch.zeros(size), torch.ones(size))))
    network.load_state_dict({name: weights.tensors[f"network.{name}"] for name in network.state_dict()})
    normalizer = Normalizer(weights.tensors["normalizer.mean"], weights.tensors["normalizer.std"])
    return Model(network, normalizer, recipe, weights.version)


def _tensors(network: Denoiser, normalizer: Normalizer) -> dict[str, Tensor]:
    tensors = {f"network.{name}": value.float() for name, value in network.state_dict().items()}
    return tensors | {"normalizer.mean": normalizer.mean, "normalizer.std": normalizer.std}


class Generator:
    """Samples motions in batches from one model."""

    def __init__(self, model: Model, device: torch.device | str = "cpu") -> None:
        self.recipe = recipe = model.recipe
        self.version = model.version
        self.normalizer = model.normalizer
        self.device = torch.device(device)
        self.network = model.network.to(self.device).eval()
        self.schedule = make_schedule(recipe.diffusion.schedule, recipe.diffusion.num_steps).to(self.device)
        self.timesteps = SPACINGS[recipe.sampling.sampler](recipe.diffusion.num_steps, recipe.sampling.num_steps)
        self.text_encoder: TextEncoder = load_text_encoder(recipe.text_encoder)
        self.body: Body = load_body()

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> "Generator":
        return cls(load_model(Path(path)), device)

    def check(self, request: MotionRequest) -> None:
        """Raise InputError where a request cannot be met."""
        recipe = self.recipe
        for name, value, most in (
            ("num_frames", request.num_frames, recipe.max_frames),
            ("num_persons", request.num_persons, recipe.max_persons),
        ):
            if not 1 <= value <= most:
                raise InputError(f"{name} is {value}, this model takes 1 to {most}")
        if request.guidance_scale is not None and not 0 <= request.guidance_scale <= 100:
            raise InputError(f"guidance_scale is {request.guidance_scale}, expected 0 to 100")
        if not 0 <= request.seed < 2**63:
            raise InputError(f"seed is {request.seed}, expected 0 to 2**63 - 1")
        for name, table in (("person_class", PERSON_CLASSES), ("action", ACTIONS)):
            values = getattr(request, name)
            if values and len(values) != request.num_persons:
                raise InputError(f"{name} has {len(values)} entries, expected {request.num_persons}, one a person")
            if unknown := set(values) - set(table):
                raise InputError(f"{name} {sorted(unknown)[0]!r} is unknown, expected one of {', '.join(table)}")
        self.text_encoder([request.prompt])

    def generate(self, requests: Sequence[MotionRequest]) -> list[MotionSequence]:
        """One motion per request, in one batch."""
        for request in requests:
            self.check(request)
        features = self.sample_features(requests)
        return [
            self._to_sequence(request, features[i, : request.num_persons, : request.num_frames])
            for i, request in enumerate(requests)
        ]

    @torch.inference_mode()
    def sample_features(self, requests: Sequence[MotionRequest]) -> Float[Tensor, "batch person frame 282"]:
        """Features in metres, padded to the largest request."""
        generators = [torch.Generator().manual_seed(request.seed) for request in requests]
        conditions = self._conditions(requests, generators).to(self.device)
        scales = torch.tensor([self._guidance_scale(request) for request in requests], device=self.device)
        x0 = sample(
            self._denoise(conditions, ClassifierFree(scales)),
            self.schedule,
            SAMPLERS[self.recipe.sampling.sampler],
            self.timesteps,
            lambda: self._noise(requests, generators),
        )
        return self.normalizer.denormalize(x0.cpu())

    def _denoise(self, conditions: Conditions, guide: Guide) -> Callable[[Tensor, Tensor], Tensor]:
        """Estimates of x_0 at one of `timesteps` after the other, guided within the recipe's interval."""
        sampling, diffusion = self.recipe.sampling, self.recipe.diffusion
        guides = {True: guide, False: Unguided()}
        inside = [
            sampling.guidance_start <= 1 - t / diffusion.num_steps <= sampling.guidance_stop for t in self.timesteps
        ]
        prepared = {guided: self.network.prepare(guides[guided].branches(conditions)) for guided in set(inside)}
        steps = iter(inside)

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            guided = next(steps)
            times = guides[guided].num_forward_passes
            x_t, t = x_t.repeat(times, 1, 1, 1), t.repeat(times)
            output = self.network.denoise(x_t, t, prepared[guided]).float()
            return guides[guided].combine(predicted_x0(self.schedule, diffusion.prediction, output, x_t, t))

        return denoise

    def _guidance_scale(self, request: MotionRequest) -> float:
        asked = request.guidance_scale
        return self.recipe.sampling.guidance_scale if asked is None else asked

    def _conditions(self, requests: Sequence[MotionRequest], generators: Sequence[torch.Generator]) -> Conditions:
        persons = max(request.num_persons for request in requests)
        frames = max(request.num_frames for request in requests)
        conditions = empty_conditions(len(requests), persons, frames, self.recipe)
        for i, (request, generator) in enumerate(zip(requests, generators, strict=True)):
            p, f = request.num_persons, request.num_frames
            conditions.valid[i, :p, :f] = True
            identities = torch.randperm(self.recipe.denoiser.max_persons, generator=generator)
            conditions.identity[i] = identities[:persons]
            if request.person_class:
                codes = [PERSON_CLASSES.index(name) for name in request.person_class]
                conditions.person_class[i, :p] = torch.tensor(codes)
            if request.action:
                codes = [ACTIONS.index(name) for name in request.action]
                conditions.action[i, :p, :f] = torch.tensor(codes)[:, None]
        return with_captions(conditions, [[request.prompt] for request in requests], self.text_encoder, self.recipe)

    def _noise(self, requests: Sequence[MotionRequest], generators: Sequence[torch.Generator]) -> Tensor:
        """Each sample's noise in its own shape from its own generator, then padded with zeros."""
        persons = max(request.num_persons for request in requests)
        frames = max(request.num_frames for request in requests)
        noise = torch.zeros(len(requests), persons, frames, self.recipe.denoiser.num_features)
        for i, (request, generator) in enumerate(zip(requests, generators, strict=True)):
            shape = (request.num_persons, request.num_frames, self.recipe.denoiser.num_features)
            noise[i, : shape[0], : shape[1]] = torch.randn(shape, generator=generator)
        return noise.to(self.device)

    def _to_sequence(self, request: MotionRequest, features: Float[Tensor, "person frame 282"]) -> MotionSequence:
        persons, frames = features.shape[:2]
        # The body's own bones on the pelvis path of someone shorter would push the feet through the floor.
        positions = features[..., POSITIONS].unflatten(-1, (NUM_JOINTS, 3))
        betas = self.body.fit_betas(positions, torch.ones(NUM_JOINTS, dtype=torch.bool))
        pose = decode(features, self.body, betas)
        classes = request.person_class or ("person",) * persons
        actions = [ACTIONS.index(name) for name in request.action or ("unknown",) * persons]
        sequence = MotionSequence(
            id=request_id(request, self.version),
            source="generated",
            split="train",
            fps=self.recipe.fps,
            betas=betas.numpy(),
            **{name: value.numpy() for name, value in vars(pose).items()},
            body=self.body.name,
            valid=np.ones((persons, frames), dtype=np.bool_),
            person_class=np.array([PERSON_CLASSES.index(name) for name in classes], dtype=np.int8),
            action=np.repeat(np.array(actions, dtype=np.int8)[:, None], frames, axis=1),
            texts=[request.prompt],
            provenance={
                "prompt": request.prompt,
                "seed": str(request.seed),
                "guidance_scale": str(self._guidance_scale(request)),
                "sampler": f"{self.recipe.sampling.sampler}-{self.recipe.sampling.num_steps}",
                "model": self.version,
            },
        )
        return clean_up(sequence, self.body) if request.clean_up else sequence


def request_id(request: MotionRequest, model_version: str) -> str:
    """The same for the same request to the same model, so that bulk generation can be resumed."""
    content = json.dumps([asdict(request), model_version], sort_keys=True)
    return f"generated/{hashlib.sha256(content.encode()).hexdigest()[:16]}"
