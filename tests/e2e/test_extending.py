"""The examples of .github/EXTENDING.md through the real jobs, and objects that fail on some of what they are given."""

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from motion.body import Body
from motion.datasets.splits import Holding
from motion.denoiser import Denoiser
from motion.errors import InputError
from motion.evaluator import EvaluatorConfig
from motion.evaluator.carescene import EvaluatorNetwork, evaluator_bytes
from motion.features import Normalizer
from motion.generator.model_file import model_bytes
from motion.parquet import write_parquet
from motion.sequence import MotionSequence, read_motions
from ray_jobs.common import storage
from ray_jobs.common.exports import check_exports, export_motions
from ray_jobs.common.measure_motions import load_metrics
from ray_jobs.common.sampler import SamplerConfig, bind_sampler, deployed
from ray_jobs.evaluate import PAGE, EvaluateConfig, evaluate
from ray_jobs.generate import GenerateConfig, generate
from ray_jobs.prepare import PrepareConfig, list_clips, prepare
from ray_jobs.reconstruct import BodyActor, ReconstructConfig, reconstruct
from recon.depth import load_depth_model
from recon.regressors import load_regressor
from tests.conftest import REPO
from tests.helpers.clips import motion
from tests.helpers.recipe import RECIPE
from tests.helpers.rooms import render

GUIDE = (REPO / ".github" / "EXTENDING.md").read_text()
FAILING = """
import itertools
import os
import signal
from pathlib import Path

import numpy as np

from motion.datasets.clip import Clip
from motion.errors import InputError
from motion.metrics.measure import Measure
from mypackage import bodies, depth, mocap


class FailingReader(mocap.Takes):
    LICENCE = "Secret."

    def list_clips(self, root):
        return [Clip(f"failing/{k}", "failing", (str(root / "a.npy"),)) for k in range(4)]

    def read_clip(self, clip, body):
        if clip.id == "failing/0":
            raise InputError("it is blurred,\\nexpected a sharp one")
        if clip.id == "failing/1":
            return clip.files[len(clip.files)]
        if clip.id == "failing/2":
            return super().read_clip(clip.__class__(**vars(clip) | {"split": "test"}), body)
        return None


class StrayReader(mocap.Takes):
    def list_clips(self, root):
        return [Clip("a", "a", ("/elsewhere/a.npy",))]


class FailingDepth(depth.BothWays):
    def predict(self, images):
        marked = (images[:, :8, :8] > 240).all(axis=(1, 2, 3)).any()
        return images[0] if marked else super().predict(images)


class FailingBody(bodies.MeanPose):
    def estimate(self, crops):
        return super().estimate(crops[1:])


class OtherBody(bodies.MeanPose):
    def __init__(self, body):
        self.body = type("Body", (), {"name": "other"})()


reader, stray = FailingReader(), StrayReader()


def metric_depth(device, bf16):
    return FailingDepth(depth.metric(device, bf16).network)


def body(body, device, bf16):
    return FailingBody(body)


def other_body(body, device, bf16):
    return OtherBody(body)


def nothing(body, device="cpu", bf16=False):
    return None


def share(motion):
    if motion.id.endswith("0"):
        raise InputError("it is too fast")
    if motion.id.endswith("1"):
        return {"share": 0}
    if motion.id.endswith("2"):
        return np.inf
    return 0.5


def fid(motion):
    return 0.0


def undescribed(motion):
    return 0.0


share.measure = fid.measure = Measure("Share", "", 0.1, "ours", "nothing", better="lower")
undescribed.measure = "Share"


def text(motion, stem):
    if motion.texts[0] == "writes nothing":
        return
    if motion.texts[0] == "fails":
        raise KeyError("a")
    stem.with_suffix(".txt").write_text(motion.texts[0])
"""


def examples() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module", autouse=True)
def package(own_packages: Path) -> Iterator[Path]:
    """Write the guide's package, and a module of our own that fails, where Ray's workers find them."""
    folder = own_packages / "mypackage"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "failing.py").write_text(FAILING)
    for block in examples():
        name = block.splitlines()[0].removeprefix("# mypackage/")
        (folder / name).write_text(block)
    sys.path.insert(0, str(own_packages))
    yield folder
    sys.path.remove(str(own_packages))


def some_motion(body: Body, name: str, **changes: Any) -> MotionSequence:
    """Two people who move at random, described by their name."""
    made = motion(body, frames=30, seed=sum(map(ord, name)))
    return replace(made, **{"id": name, "texts": [name], "action": np.zeros_like(made.action)} | changes)


def reasons(output: Path) -> dict[str, str]:
    return dict(storage.read_rows(str(output / "rejected"), ("id", "reason")))


def test_every_example_is_named_by_a_command_and_short() -> None:
    assert len(examples()) == 5
    for example in examples():
        module = example.splitlines()[0].removeprefix("# mypackage/").removesuffix(".py")
        assert re.search(rf"--[a-z-]+ .*mypackage\.{module}:\w+", GUIDE), module
        assert len([line for line in example.splitlines() if line.strip()]) <= 27


@pytest.fixture(scope="module")
def takes(body: Body, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("takes")
    joints = some_motion(body, "a").joints
    np.save(folder / "a.npy", joints[0])
    np.save(folder / "b.npy", joints[1] + np.float32(0.5))
    np.save(folder / "c.npy", joints[0, :, :20])
    return folder


def test_a_source_of_ones_own_is_prepared(ray_cluster: None, takes: Path, tmp_path: Path) -> None:
    sources = (f"mypackage.mocap:reader:{takes}", f"mypackage.failing:reader:{takes}")
    prepare(PrepareConfig(str(tmp_path), sources, max_rejected_fraction=0.9))
    clips = read_motions(tmp_path / "motions")
    assert sorted((clip.id, clip.source, clip.fps) for clip in clips) == [
        ("takes/a", "mypackage.mocap:reader", 20.0),
        ("takes/b", "mypackage.mocap:reader", 20.0),
    ]
    assert "Our own captures" in (tmp_path / "card.html").read_text()
    found = reasons(tmp_path)
    assert set(found) == {"takes/c", *(f"failing/{k}" for k in range(4))}
    assert "joint names are" in found["takes/c"]
    assert found["failing/0"] == "it is blurred, expected a sharp one"
    assert "IndexError while reading" in found["failing/1"]
    assert "read a motion with {'split': 'test'}, expected the clip's own" in found["failing/2"]
    assert "read a NoneType, expected a MotionSequence" in found["failing/3"]
    prepare(replace(PrepareConfig(str(tmp_path), sources[:1]), max_rejected_fraction=0.9))
    assert len(read_motions(tmp_path / "motions")) == 2


def test_clips_of_ones_own_are_held_out_and_checked(takes: Path) -> None:
    listed = list_clips([f"mypackage.mocap:reader:{takes}"], Holding(0.001))
    assert sorted(clip.split for clip in listed) == ["test", "train", "train"]
    with pytest.raises(InputError, match="mypackage.failing:stray listed .* a tuple of paths under .* each a string"):
        list_clips([f"mypackage.failing:stray:{takes}"])
    with pytest.raises(InputError, match="module mypackage.absent cannot be imported"):
        list_clips([f"mypackage.absent:reader:{takes}"])
    with pytest.raises(
        InputError, match=r"lacks LICENCE, expected an object with LICENCE, list_clips\(root\), read_clip"
    ):
        list_clips([f"mypackage.bodies:load:{takes}"])


@pytest.mark.parametrize("source", ["mypackage.mocap:reader", "mypackage.mocap:reader:", "my/package:reader:takes"])
def test_a_source_of_ones_own_needs_a_name_and_a_folder(source: str) -> None:
    with pytest.raises(InputError, match=r"is no source, expected NAME:FOLDER .* or package.module:object:FOLDER"):
        PrepareConfig("o", (source,))


def test_networks_of_ones_own_reconstruct_and_fail_alone(ray_cluster: None, tmp_path: Path) -> None:
    """The metric network fails on the second room, whose corner is white: the first is written, the second is a row."""
    names = [f"home/room/day/{seed}" for seed in (1, 2)]
    for seed, name in enumerate(names, 1):
        render(tmp_path / "rooms" / name, seed)
    for path in (tmp_path / "rooms" / names[1] / "frames").iterdir():
        image = np.array(Image.open(path))
        image[:16, :16] = 255
        Image.fromarray(image).save(path, quality=95)
    config = ReconstructConfig(
        tmp_path / "rooms",
        str(tmp_path / "out"),
        regressor="mypackage.bodies:load",
        relative_depth="mypackage.depth:relative",
        metric_depth="mypackage.failing:metric_depth",
        max_rejected_fraction=0.5,
    )
    reconstruct(config)
    ((rejected, reason),) = reasons(tmp_path / "out").items()
    (made,) = read_motions(tmp_path / "out" / "motions")
    assert [made.id, rejected] == names
    assert reason.startswith("the depth network gave uint8 of shape (")
    assert "expected a float32 array of shape" in reason


def test_a_body_network_that_fails_rejects_its_sequence_alone(tmp_path: Path) -> None:
    actor = BodyActor(ReconstructConfig(tmp_path, str(tmp_path / "out"), regressor="mypackage.failing:body"))
    row = {name: np.array([value]) for name, value in (("folder", "a/b/c/d"), ("reason", ""), ("visits", ""))}
    row["crops"] = np.zeros((1, 3, 64, 64, 3), np.uint8)
    answer = actor(dict(row))
    assert answer["reason"].tolist() == [
        "the body network gave torch.float32 of shape (0, 3, 3) as global_orient of 1 crops, "
        "expected finite floats of shape (crop 3 3)"
    ]
    assert answer["betas"].shape == (1, 0, 10)


def test_networks_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(InputError, match="what mypackage.failing:nothing loaded is of type NoneType and lacks body"):
        load_regressor("mypackage.failing:nothing")
    with pytest.raises(InputError, match=r"what mypackage.failing:nothing loaded .* lacks predict\(images\), expected"):
        load_depth_model("mypackage.failing:nothing", metric=False)
    with pytest.raises(InputError, match=r"cannot be called so, expected a function of \(body, device, bf16\)"):
        load_regressor("mypackage.depth:relative")
    with pytest.raises(InputError, match="mypackage.failing:other_body speaks of the body other, expected default"):
        load_regressor("mypackage.failing:other_body")


@pytest.fixture(scope="module")
def evaluated(body: Body, tmp_path_factory: pytest.TempPathFactory) -> EvaluateConfig:
    """Make ten real clips, ten motions, and an evaluator that learnt nothing."""
    folder = tmp_path_factory.mktemp("evaluated")
    torch.manual_seed(0)
    network = EvaluatorNetwork(EvaluatorConfig(width=16, layers=1, heads=2, feedforward=32, dim=4))
    (folder / "evaluator.safetensors").write_bytes(evaluator_bytes(network))
    for name in ("real", "made"):
        motions = [some_motion(body, f"{name}/{k}", split="test") for k in range(10)]
        write_parquet(motions, folder / name / "motions" / "0.parquet")
    return EvaluateConfig(
        real=str(folder / "real"),
        evaluator=str(folder / "evaluator.safetensors"),
        output=folder / "out",
        generated=(f"made:{folder / 'made'}",),
        memorisation=False,
        pool_size=2,
        diversity_pairs=2,
        multimodality_pairs=1,
        repeats=2,
        metrics=("mypackage.gestures:hands_up",),
    )


def test_a_metric_of_ones_own_stands_beside_the_others(
    ray_cluster: None, evaluated: EvaluateConfig, package: Path
) -> None:
    result = evaluate(evaluated)
    real, made = (row["metrics"]["hands_up"] for row in result["sets"])
    assert result["measures"]["hands_up"].title == "Hands up"
    assert real["count"] == made["count"] == 10
    assert 0 < real["mean"] < 1
    assert "Hands up" in (Path(evaluated.output) / PAGE).read_text()
    assert "--metrics mypackage.gestures:hands_up" in result["command"]
    before = set((Path(evaluated.output) / "samples").iterdir())
    with (package / "gestures.py").open("a") as file:
        file.write("\n# another version\n")
    with pytest.raises(InputError, match="6 of 20 motions were rejected"):
        evaluate(replace(evaluated, metrics=(*evaluated.metrics, "mypackage.failing:share")))
    found = reasons(Path(evaluated.output))
    assert set(found) == {f"{name}/{k}" for name in ("real", "made") for k in range(3)}
    assert found["made/0"] == "it is too fast"
    assert found["made/1"].startswith("made/1: TypeError in the metric share: ")
    assert found["made/2"] == "made/2: the metric share gave inf, expected a number, or NaN where it has none"
    assert len(set((Path(evaluated.output) / "samples").iterdir()) - before) == 2


def test_metrics_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(InputError, match="mypackage.failing:fid: there is another measure named fid"):
        load_metrics(["mypackage.failing:fid"])
    with pytest.raises(InputError, match="mypackage.failing:undescribed.measure is of type str, expected a Measure"):
        load_metrics(["mypackage.failing:undescribed"])
    with pytest.raises(InputError, match=r"lacks measure, expected a function of \(motion\) with measure"):
        load_metrics(["mypackage.depth:relative"])


def test_exports_of_ones_own_are_given_each_motion_once(ray_cluster: None, tmp_path: Path) -> None:
    recipe, model, prompts = RECIPE, tmp_path / "model.safetensors", tmp_path / "prompts.txt"
    network = Denoiser(recipe.denoiser)
    size = recipe.denoiser.num_features
    model.write_bytes(model_bytes(network, Normalizer(torch.zeros(size), torch.ones(size)), recipe))
    prompts.write_text("writes nothing\nfails\na person walks\n")
    config = GenerateConfig(model, str(prompts), str(tmp_path / "out"), samples_per_prompt=1, num_frames=4)
    with deployed(bind_sampler(SamplerConfig(str(model))), "carescene"):
        generate(config)
        assert not (tmp_path / "out" / "exports").exists()
        exports = ("mypackage.tables:csv", "mypackage.failing:text")
        with pytest.raises(InputError, match=r"2 of 9 requests and exports were rejected"):
            generate(replace(config, exports=exports))
    motions = {clip.texts[0]: clip for clip in read_motions(tmp_path / "out" / "motions")}
    found = reasons(tmp_path / "out")
    assert set(found) == {motions["writes nothing"].id, motions["fails"].id}
    assert found[motions["fails"].id].startswith("mypackage.failing:text: generated/")
    assert "it wrote nothing, expected files named generated_" in found[motions["writes nothing"].id]
    folder = tmp_path / "out" / "exports"
    (walk,) = [path for path in (folder / "text").iterdir() if path.is_file()]
    assert walk.name == f"{motions['a person walks'].id.replace('/', '_')}.txt"
    for clip in motions.values():
        table = folder / "csv" / f"{clip.id.replace('/', '_')}_person0.csv"
        numbers = np.loadtxt(table, delimiter=",", skiprows=1)
        np.testing.assert_allclose(numbers, clip.joints[0].reshape(4, 72), atol=1e-4)
        table.unlink()
    assert export_motions(str(tmp_path / "out"), "mypackage.tables:csv") == (0, [])
    assert export_motions(str(tmp_path / "out"), "mypackage.failing:text")[0] == 2


def test_exports_that_share_a_folder_or_lack_something_are_refused() -> None:
    with pytest.raises(InputError, match="two exports are named csv, expected names that differ"):
        check_exports(["mypackage.tables:csv", "mypackage.tables:csv"])
    with pytest.raises(InputError, match=r"cannot be called so, expected a function of \(motion, stem\)"):
        check_exports(["mypackage.gestures:hands_up"])
