"""Sampling of requests: a sample depends on its request alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from motion.body import Body
from motion.denoiser import Denoiser, DenoiserConfig
from motion.errors import InputError
from motion.features import Normalizer, encode_sequence
from motion.generator import Generator, Model, MotionRequest, clean_up, load_model, model_bytes, request_id
from motion.generator.model_file import FORMAT
from motion.recipes import OptimConfig, Recipe, SamplingConfig
from motion.sequence import MotionSequence
from tests.helpers.clips import motion, simulated

RECIPE = Recipe(
    name="test",
    denoiser=DenoiserConfig(width=64, layers=2, heads=4, feedforward=128, text_dim=384),
    optim=OptimConfig(batch_size=4, steps=100),
    sampling=SamplingConfig(num_steps=10, apart=0.35),
    max_frames=40,
    max_persons=3,
)
WALK = MotionRequest("a person walks forward", num_frames=25, num_persons=2, seed=11)
OTHERS = [
    MotionRequest("a person lies on the floor", 40, 1, seed=2),
    MotionRequest("two carers lift a patient", 13, 3, seed=3, guidance_scale=1.0),
    MotionRequest("a person sits down", 25, 2, seed=11, person_class=("patient", "medical_staff")),
    MotionRequest("a person crawls", 7, 1, seed=5, action=("crawling",)),
    MotionRequest("a person walks forward", 25, 2, seed=12),
    MotionRequest("a person kneels", 33, 1, seed=7, guidance_scale=0.0),
    MotionRequest("a person gets up", 18, 2, seed=8),
]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    path.write_bytes(model_bytes(Denoiser(RECIPE.denoiser), Normalizer(torch.zeros(282), torch.ones(282)), RECIPE))
    return path


@pytest.fixture(scope="module")
def generator(model_file: Path) -> Generator:
    return Generator.load(model_file)


def test_people_are_kept_apart(generator: Generator) -> None:
    """Persons stay as far apart as the recipe says."""
    crowd = [MotionRequest("people meet", 40, 3, seed=seed, clean_up=False) for seed in range(4)]
    nearest = []
    for apart in (1.0, 0.0):
        recipe = replace(generator.recipe, sampling=replace(generator.recipe.sampling, apart=apart))
        made = Generator(Model(generator.network, generator.normalizer, recipe, "test")).generate(crowd)
        pelvis = [torch.from_numpy(motion.joints[:, :, 0, :2]) for motion in made]
        nearest.append(min(float((each[[0, 0, 1]] - each[[1, 2, 2]]).norm(dim=-1).min()) for each in pelvis))
    assert nearest[0] > 0.95
    assert nearest[1] < 0.5


def test_cleaning_up_is_a_switch(generator: Generator) -> None:
    cleaned, raw = generator.generate([WALK, replace(WALK, clean_up=False)])
    expected = clean_up(raw, generator.body)
    np.testing.assert_allclose(cleaned.joints, expected.joints, atol=1e-5)
    assert (cleaned.provenance["cleanup"], "cleanup" in raw.provenance) == ("floor penetration foot_lock", False)
    assert np.abs(cleaned.joints - raw.joints).max() > 1e-3


def test_guidance_has_its_interval(model_file: Path) -> None:
    """Outside of it only the conditional branch is computed, and its scale does not matter."""
    model = load_model(model_file)
    first, never = ({"guidance_stop": 0.5}, {"guidance_start": 0.999, "guidance_stop": 0.999})
    for interval, branches in (({}, 22), (first, 17), (never, 11)):
        sampling = replace(model.recipe.sampling, num_steps=11, sampler="dpmpp_2m", **interval)
        generator = Generator(replace(model, recipe=replace(model.recipe, sampling=sampling)))
        seen, denoise = [], generator.network.denoise
        generator.network.denoise = lambda x, t, prepared, denoise=denoise, seen=seen: (
            seen.append(len(x)) or denoise(x, t, prepared)
        )
        strong, weak = (generator.generate([replace(WALK, guidance_scale=scale)])[0] for scale in (5.0, 0.5))
        assert sum(seen) == 2 * branches
        assert np.array_equal(strong.joints, weak.joints) == (interval is never)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpmpp_2m", "unipc"])
def test_alone_and_in_a_batch_of_eight(model_file: Path, sampler: str) -> None:
    """The noise is the same to the bit, the motion within 1e-4 m, bitwise at equal batch shape."""
    model = load_model(model_file)
    recipe = replace(model.recipe, sampling=replace(model.recipe.sampling, sampler=sampler))
    generator = Generator(replace(model, recipe=recipe))
    noises = {}
    real_noise = generator._noise

    def recorded(requests: list[MotionRequest], generators: list[torch.Generator]) -> torch.Tensor:
        noise = real_noise(requests, generators)
        place = requests.index(WALK)
        noises.setdefault(len(requests), []).append(noise[place, :2, :25])
        return noise

    generator._noise = recorded
    (alone,) = generator.generate([WALK])
    together = generator.generate([*OTHERS[:3], WALK, *OTHERS[3:]])[3]
    assert len(noises[1]) == len(noises[8]) == (11 if sampler == "ddpm" else 1)
    assert all(torch.equal(one, other) for one, other in zip(noises[1], noises[8], strict=True))
    np.testing.assert_allclose(together.joints, alone.joints, atol=1e-4)
    assert together.id == alone.id
    swapped = generator.generate([*reversed(OTHERS[3:]), WALK, *OTHERS[:3]])
    np.testing.assert_allclose(swapped[4].joints, alone.joints, atol=1e-4)
    same_shape = generator.generate([WALK, *[replace(WALK, seed=k) for k in range(7)]])[0]
    other_same_shape = generator.generate([WALK, *[replace(WALK, seed=k, prompt="run") for k in range(20, 27)]])[0]
    assert np.array_equal(same_shape.joints, other_same_shape.joints)


def test_seed_prompt_and_scale_matter(generator: Generator) -> None:
    base = generator.generate([WALK])[0].joints
    for change in ({"seed": 12}, {"prompt": "a person lies down"}, {"guidance_scale": 0.5}):
        assert np.abs(generator.generate([replace(WALK, **change)])[0].joints - base).max() > 1e-3


@pytest.mark.parametrize("text", ["vector", "words"])
def test_each_person_may_have_a_prompt(model_file: Path, text: str) -> None:
    """It matters, affects nobody else in the batch, and stands in where there is no scene caption."""
    model = load_model(model_file)
    denoiser = replace(model.recipe.denoiser, text=text)
    generator = Generator(replace(model, recipe=replace(model.recipe, denoiser=denoiser), network=network(denoiser)))
    own = replace(WALK, person_prompts=("a person walks", "a person kneels"), clean_up=False)
    swapped = replace(own, person_prompts=own.person_prompts[::-1])
    half, alone = replace(own, prompt="", person_prompts=("a person walks", "")), replace(WALK, clean_up=False)
    made = generator.generate([own, swapped, half, alone, OTHERS[1]])
    assert all(np.abs(made[0].joints - other.joints).max() > 1e-4 for other in made[1:4])
    np.testing.assert_allclose(made[3].joints, generator.generate([alone])[0].joints, atol=1e-4)
    np.testing.assert_allclose(made[2].joints, generator.generate([half])[0].joints, atol=1e-4)
    assert made[0].provenance["person_prompts"] == '["a person walks", "a person kneels"]'
    assert "person_prompts" not in made[3].provenance
    assert len({each.id for each in made}) == 5
    assert made[2].texts == ["a person walks"]


def network(config: DenoiserConfig) -> Denoiser:
    torch.manual_seed(0)
    return Denoiser(config).eval()


def test_in_bf16_the_network_alone_is_rounded(model_file: Path) -> None:
    exact, rounded = (Generator.load(model_file, precision=precision) for precision in ("fp32", "bf16"))
    assert {weight.dtype for weight in rounded.network.parameters()} == {torch.bfloat16}
    features = [each.sample_features([WALK]) for each in (exact, rounded)]
    assert features[1].dtype == torch.float32
    off = (features[1] - features[0]).abs().mean()
    assert 1e-5 < off < 0.05 * features[0].std()


def test_the_record_says_where_it_comes_from(generator: Generator) -> None:
    sequence = generator.generate([OTHERS[2]])[0]
    assert sequence.source == "generated"
    assert sequence.texts == ["a person sits down"]
    assert sequence.person_class.tolist() == [2, 3]
    assert sequence.fps == RECIPE.fps
    assert sequence.provenance["seed"] == "11"
    assert sequence.provenance["model"] == generator.version
    assert sequence.id == request_id(OTHERS[2], generator.version) != request_id(WALK, generator.version)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"num_frames": 41}, "num_frames is 41, this model takes 1 to 40"),
        ({"num_frames": 0}, "num_frames is 0"),
        ({"num_persons": 4}, "num_persons is 4, this model takes 1 to 3"),
        ({"seed": -1}, "seed is -1"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan"),
        ({"person_class": ("patient",)}, "person_class has 1 entries, expected 2"),
        ({"action": ("flying", "crawling")}, "action 'flying' is unknown"),
        ({"person_prompts": ("walk",)}, "person_prompts has 1 entries, expected 2"),
        ({"person_prompts": ("walk", " ")}, "the prompt is empty"),
        ({"prompt": "", "person_prompts": ("", "")}, "the prompt is empty"),
        ({"prompt": " "}, "the prompt is empty"),
        ({"prompt": "walk " * 600}, "the prompt has .* tokens, at most"),
    ],
)
def test_bad_requests_are_refused_in_one_sentence(
    generator: Generator, change: dict[str, object], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        generator.generate([replace(WALK, **change)])


def test_bad_model_files_are_refused_in_one_sentence(model_file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"no file of format {FORMAT} at"):
        load_model(tmp_path / "absent.safetensors")
    content = model_file.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[:1000])
    with pytest.raises(InputError, match="damaged or no safetensors file"):
        load_model(tmp_path / "cut.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(InputError, match=f"says format None, expected '{FORMAT}'"):
        load_model(tmp_path / "foreign.safetensors")


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    wider = replace(RECIPE, denoiser=replace(RECIPE.denoiser, width=96, heads=4))
    network = Denoiser(RECIPE.denoiser)
    path = tmp_path / "other.safetensors"
    path.write_bytes(model_bytes(network, Normalizer(torch.zeros(282), torch.ones(282)), wider))
    with pytest.raises(
        InputError,
        match=r"holds another architecture: it has network.\S+ of shape \(64,.*; expected what its description",
    ):
        load_model(path)


def test_people_have_the_bones_that_their_joints_show(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = simulated_people(generator.body)
    features = encode_sequence(clip)[None]
    monkeypatch.setattr(generator, "sample_features", lambda *_: features)
    (made,) = generator.generate([MotionRequest("two people walk", clip.num_frames, 2, clean_up=False)])
    np.testing.assert_allclose(made.joints, clip.joints, atol=2e-3)
    assert made.joints[..., 2].min() == pytest.approx(clip.joints[..., 2].min(), abs=2e-3)


def simulated_people(body: Body) -> MotionSequence:
    """Make a short and a tall person."""
    clip = motion(body, frames=30)
    betas = torch.tensor([[-1.5] + 9 * [0.0], [1.5] + 9 * [0.0]])
    pose = (torch.from_numpy(getattr(clip, name)) for name in ("transl", "global_orient", "body_pose"))
    return simulated(body, *pose, betas)
