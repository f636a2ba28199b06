"""Sampling of motions in batches from one model.

The same request and seed give the same motion whatever else is in its batch.

At a step of sampling, the constrained frames (`Given`) replace the network's guided estimate of x_0. Each
`EstimateCorrection` then changes the rest, such as a classifier's guidance; after them persons are kept apart, and last
the terms of guidance (`steer`) act. An editable network sees constrained frames clean; any other one sees them noised
for the step, with the noise that sampling started from.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from motion.body import Body, load_body
from motion.denoiser import Conditions
from motion.denoiser.conditions import empty_conditions, own_numbers, with_captions
from motion.diffusion import make_schedule, predicted_x0, q_sample
from motion.errors import InputError
from motion.features import POSITIONS, decode
from motion.generator.cleanup import clean_up
from motion.generator.constraints import Given, blend_into, fade_cleanup
from motion.generator.estimate_corrections import EstimateCorrection, check_terms, keeping_apart, steering
from motion.generator.model_file import Model, load_model
from motion.generator.request import MotionRequest, batch_shape, captions_of, labels_of, optional_provenance, request_id
from motion.guidance import ClassifierFree, Guide, Unguided
from motion.guidance.terms import Term
from motion.samplers import SAMPLERS, SPACINGS, sample
from motion.sequence import MotionSequence
from motion.skeleton import ACTIONS, NUM_JOINTS, PERSON_CLASSES
from motion.text import TextEncoder, load_text_encoder


class Generator:
    """Sampler of motions in batches from one model."""

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
    def load(
        cls, path: str | Path, device: torch.device | str = "cpu", precision: Literal["fp32", "bf16"] = "fp32"
    ) -> "Generator":
        """Load a generator from a model file; raises InputError if it cannot be read.

        In bf16 the network is rounded so coarsely that a sample's neighbours in a batch may show in it.
        """
        model = load_model(path)
        if precision == "bf16":
            model.network.to(torch.bfloat16)
        return cls(model, device)

    def check(self, request: MotionRequest, given: Given | None = None) -> None:
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
        for name in ("person_class", "action", "person_prompts"):
            values = getattr(request, name)
            if values and len(values) != request.num_persons:
                raise InputError(f"{name} has {len(values)} entries, expected {request.num_persons}, one a person")
        for name, own, table in (
            ("person_class", recipe.denoiser.person_classes, PERSON_CLASSES),
            ("action", recipe.denoiser.actions, ACTIONS),
        ):
            known = [each for each in own if each in table]
            if unknown := set(getattr(request, name)) - set(known):
                raise InputError(f"{name} {sorted(unknown)[0]!r} is unknown, expected one of {', '.join(known)}")
        self.text_encoder([caption for caption in captions_of(request) if caption is not None])
        if given is not None:
            given.check(request.num_persons, request.num_frames, recipe.fps, self.body)
            self._own_labels(request, given)

    def generate(
        self,
        requests: Sequence[MotionRequest],
        given: Sequence[Given | None] = (),
        terms: Sequence[Term] = (),
        corrections: Sequence[EstimateCorrection] = (),
    ) -> list[MotionSequence]:
        """Generate one motion per request, in one batch; raises InputError where a request cannot be met.

        `given` has one constraint (or None) a request, or is empty. Guidance: the requests' scales guide without a
        classifier (eq. 2.21), `terms` of guidance pull joints toward targets (world, m; of the batch's size), and
        `corrections` change the normalized estimate of x_0 at every step, such as a `ClassifierGuidance`.
        """
        given = given or [None] * len(requests)
        if len(given) != len(requests):
            raise InputError(f"given has {len(given)} entries, expected {len(requests)}, one a request")
        for request, each in zip(requests, given, strict=True):
            self.check(request, each)
        check_terms(terms, len(requests), *batch_shape(requests))
        features = self.sample_features(requests, given, terms, corrections)
        return [
            self._to_sequence(request, features[i, : request.num_persons, : request.num_frames], given[i], terms, i)
            for i, request in enumerate(requests)
        ]

    @torch.inference_mode()
    def sample_features(
        self,
        requests: Sequence[MotionRequest],
        given: Sequence[Given | None] = (),
        terms: Sequence[Term] = (),
        corrections: Sequence[EstimateCorrection] = (),
    ) -> Float[Tensor, "batch person frame 282"]:
        """Sample features in metres, each sample's in the network's frame, padded to the largest request.

        Arguments are those of `generate`, but are not checked.
        """
        given = given or [None] * len(requests)
        generators = [torch.Generator().manual_seed(request.seed) for request in requests]
        conditions = self._conditions(requests, given, generators).to(self.device)
        scales = torch.tensor([self._guidance_scale(request) for request in requests], device=self.device)
        clean = self._given_features(given, conditions.known)
        if self.recipe.sampling.apart and conditions.valid.shape[1] > 1:
            apart = keeping_apart(self.recipe.sampling.apart, conditions.valid, conditions.known, self.normalizer)
            corrections = [*corrections, apart]
        if terms:
            steps = self.recipe.diffusion.num_steps
            steered = steering(terms, given, conditions.valid, self.normalizer, self.body, steps)
            corrections = [*corrections, steered]
        x0 = sample(
            self._denoise(conditions, ClassifierFree(scales), clean, corrections),
            self.schedule,
            SAMPLERS[self.recipe.sampling.sampler],
            self.timesteps,
            lambda: self._noise(requests, generators),
        )
        return self.normalizer.denormalize(x0.cpu())

    def _denoise(
        self, conditions: Conditions, guide: Guide, clean: Tensor, corrections: Sequence[EstimateCorrection]
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """Make the function that estimates x_0 at each of `timesteps` in turn.

        All guidance is applied here, in this order: classifier-free guidance (`guide`, eq. 2.21) mixes the network's
        estimates within the recipe's interval; then each of `corrections` acts: classifier guidance (eq. 2.20), persons
        kept apart, terms on joints. Constrained frames are restored after each.
        """
        sampling, diffusion = self.recipe.sampling, self.recipe.diffusion
        guides = {True: guide, False: Unguided()}
        inside = [
            sampling.guidance_start <= 1 - t / diffusion.num_steps <= sampling.guidance_stop for t in self.timesteps
        ]
        prepared = {guided: self.network.prepare(guides[guided].branches(conditions)) for guided in set(inside)}
        steps = iter(inside)
        known = conditions.known[..., None]
        noise: Tensor | None = None

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            nonlocal noise
            noise = x_t if noise is None else noise
            guided = next(steps)
            times = guides[guided].num_forward_passes
            there = clean if self.recipe.denoiser.editable else q_sample(self.schedule, clean, t, noise)
            seen, steps_t = torch.where(known, there, x_t).repeat(times, 1, 1, 1), t.repeat(times)
            output = self.network.denoise(seen, steps_t, prepared[guided]).float()
            x0 = guides[guided].combine(predicted_x0(self.schedule, diffusion.prediction, output, seen, steps_t))
            x0 = torch.where(known, clean, x0)
            for correct in corrections:
                x0 = torch.where(known, clean, correct(x0, x_t, t))
            return x0

        return denoise

    def _given_features(self, given: Sequence[Given | None], known: Tensor) -> Tensor:
        """Encode the constraints, normalized and padded."""
        clean = torch.zeros(*known.shape, self.recipe.denoiser.num_features)
        for row, each in zip(clean, given, strict=True):
            if each is not None:
                persons, frames = each.kept.shape
                row[:persons, :frames] = self.normalizer.normalize(each.features(self.body))
        return clean.to(self.device)

    def _guidance_scale(self, request: MotionRequest) -> float:
        asked = request.guidance_scale
        return self.recipe.sampling.guidance_scale if asked is None else asked

    def _own_labels(
        self, request: MotionRequest, given: Given | None
    ) -> tuple[Int[np.ndarray, " person"], Int[np.ndarray, "person frame"]]:
        """Convert the class of each person and the action of each frame to the network's numbers.

        Raises InputError where the network does not know one.
        """
        person_class, action = labels_of(request, given, "unknown")
        config = self.recipe.denoiser
        return (
            own_numbers(person_class, PERSON_CLASSES, config.person_classes, "person_class"),
            own_numbers(action, ACTIONS, config.actions, "action"),
        )

    def _conditions(
        self,
        requests: Sequence[MotionRequest],
        given: Sequence[Given | None],
        generators: Sequence[torch.Generator],
    ) -> Conditions:
        persons, frames = batch_shape(requests)
        conditions = empty_conditions(len(requests), persons, frames, self.recipe.denoiser)
        for i, (request, each, generator) in enumerate(zip(requests, given, generators, strict=True)):
            p, f = request.num_persons, request.num_frames
            conditions.valid[i, :p, :f] = True
            identities = torch.randperm(self.recipe.denoiser.max_persons, generator=generator)
            conditions.identity[i] = identities[:persons]
            person_class, action = self._own_labels(request, each)
            conditions.person_class[i, :p] = torch.from_numpy(person_class)
            conditions.action[i, :p, :f] = torch.from_numpy(action)
            if each is not None:
                conditions.known[i, :p, :f] = torch.from_numpy(each.in_clip(p, f))
        captions = [captions_of(request) for request in requests]
        most = 1 + (persons if any(len(row) > 1 for row in captions) else 0)
        captions = [row + [None] * (most - len(row)) for row in captions]
        return with_captions(conditions, captions, self.text_encoder, self.recipe.denoiser)

    def _noise(self, requests: Sequence[MotionRequest], generators: Sequence[torch.Generator]) -> Tensor:
        """Draw each sample's noise in its own shape from its own generator, then pad it with zeros."""
        persons, frames = batch_shape(requests)
        noise = torch.zeros(len(requests), persons, frames, self.recipe.denoiser.num_features)
        for i, (request, generator) in enumerate(zip(requests, generators, strict=True)):
            shape = (request.num_persons, request.num_frames, self.recipe.denoiser.num_features)
            noise[i, : shape[0], : shape[1]] = torch.randn(shape, generator=generator)
        return noise.to(self.device)

    def _to_sequence(
        self,
        request: MotionRequest,
        features: Float[Tensor, "person frame 282"],
        given: Given | None,
        terms: Sequence[Term],
        row: int,
    ) -> MotionSequence:
        # The body's own bones on the pelvis path of someone shorter would push the feet through the floor.
        positions = features[..., POSITIONS].unflatten(-1, (NUM_JOINTS, 3))
        betas = self.body.fit_betas(positions, torch.ones(NUM_JOINTS, dtype=torch.bool))
        if given is not None:
            betas[: given.motion.num_persons] = torch.from_numpy(given.motion.betas)
        person_class, action = labels_of(request, given, "person")
        sequence = MotionSequence(
            id=request_id(request, self.version, given, terms, row),
            source="generated",
            split="train",
            fps=self.recipe.fps,
            **decode(features, self.body, betas).posed_arrays(self.body),
            valid=np.ones(features.shape[:2], dtype=np.bool_),
            person_class=person_class,
            action=action,
            texts=[request.prompt or " while ".join(filter(None, request.person_prompts))],
            provenance={
                "prompt": request.prompt,
                "seed": str(request.seed),
                "guidance_scale": str(self._guidance_scale(request)),
                "sampler": f"{self.recipe.sampling.sampler}-{self.recipe.sampling.num_steps}",
                "model": self.version,
                **optional_provenance(request, given, terms, row),
            },
        )
        if given is not None:
            sequence = blend_into(sequence, given, self.body)
        cleaned = clean_up(sequence, self.body) if request.clean_up else sequence
        return fade_cleanup(cleaned, sequence, given, self.body) if given is not None and request.clean_up else cleaned
