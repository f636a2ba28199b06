"""Ray Train with two workers and a real DeepSpeed engine, tracked in a real MLflow store."""

import math
import os
import shutil
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from motion.body import load_body
from motion.errors import InputError
from motion.generator import Generator, MotionRequest, load_model
from motion.parquet import local_file, write_parquet
from ray_jobs.common import storage, tracking
from ray_jobs.common.tracker import UNSENT_FILE
from ray_jobs.prepare import NORMALIZER_FILE
from ray_jobs.train import TrainConfig, make_trainer, read_inputs, train
from tests.helpers.clips import random_clip
from tests.helpers.jobs import assert_refused, known_checkpoint, logged_steps, one_worker_killed, wait_for
from tests.helpers.mlflow_server import mlflow_server
from tests.helpers.object_store import bucket
from tests.helpers.recipe import RECIPE

pytestmark = pytest.mark.timeout(600)  # DeepSpeed compiles its communication op once


def runs_of(config: TrainConfig) -> list:
    client = MlflowClient(tracking.local_store(config.output))
    experiment = client.get_experiment_by_name("carescene")
    return client.search_runs([experiment.experiment_id])


def test_the_model_file_samples(model_file: Path) -> None:
    generator = Generator.load(model_file)
    assert generator.recipe == RECIPE
    motion = generator.generate([MotionRequest("a person walks forward", 20, seed=1)])[0]
    assert motion.joints.shape == (1, 20, 24, 3)
    assert np.isfinite(motion.joints).all()


def test_mlflow_shows_the_run(train_config: TrainConfig, model_file: Path) -> None:
    """The run has parameters, loss curve, resolved config and sample pictures."""
    (run,) = runs_of(train_config)
    assert run.info.status == "FINISHED"
    assert run.data.params["recipe.denoiser.width"] == "32"
    store = tracking.local_store(train_config.output)
    assert [step for step, _ in tracking.loss_curve(store, run.info.run_id)] == [2, 4, 6]
    client = MlflowClient(store)
    assert {item.path for item in client.list_artifacts(run.info.run_id)} == {"config.yaml", "samples"}
    assert [item.path for item in client.list_artifacts(run.info.run_id, "samples")] == [
        "samples/a_person_walks_forward.png"
    ]


def test_a_finished_run_is_left_alone_and_a_cut_one_goes_on(train_config: TrainConfig, model_file: Path) -> None:
    written, weights = model_file.stat().st_mtime_ns, model_file.read_bytes()
    assert train(train_config) == str(model_file)
    assert model_file.stat().st_mtime_ns == written
    model_file.unlink()  # as if the driver had died between training and this file
    assert train(train_config) == str(model_file)
    assert model_file.read_bytes() == weights


def test_an_output_belongs_to_one_configuration(train_config: TrainConfig, model_file: Path) -> None:
    other = replace(train_config, recipe=replace(RECIPE, denoiser=replace(RECIPE.denoiser, width=64)))
    with pytest.raises(InputError, match=r"another configuration \(width: 32; width: 64\)"):
        train(other)


def test_weights_are_the_same_for_the_same_seed_in_an_object_store(
    train_config: TrainConfig, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run of the same configuration, whose output is a URI: model and checkpoints lie there."""
    monkeypatch.chdir(tmp_path)
    with bucket() as store:
        options = f"scheme=http&endpoint_override={os.environ['AWS_ENDPOINT_URL'].removeprefix('http://')}"
        output = f"{store.replace('://', '://a:b@')}/again?{options}&region=us-east-1"
        again = train(replace(train_config, output=output))
        assert again == f"{store.replace('://', '://a:b@')}/again/model.safetensors?{options}&region=us-east-1"
        with local_file(again) as copy:
            assert_same_weights(model_file, copy, atol=1e-6)
        assert storage.exists(storage.join(output, "train", "step-0000006", "model.safetensors"))
        assert train(replace(train_config, output=output)) == again
    assert [path.name for path in tmp_path.iterdir()] == ["mlartifacts", "mlflow.db"], "not s3:"


def test_a_killed_worker_is_replaced_and_bf16_trains(train_config: TrainConfig) -> None:
    """One of two workers gets SIGKILL when the first checkpoint is known: the run ends at its last step, in one run."""
    recipe = replace(RECIPE, optim=replace(RECIPE.optim, steps=40, precision="bf16"))
    config = replace(train_config, recipe=recipe, output=str(Path(train_config.output).with_name("killed")), repeats=80)
    with one_worker_killed(after=known_checkpoint(config.output)):
        model = Path(train(config))
    (run,) = runs_of(config)
    assert run.info.status == "FINISHED"
    steps = logged_steps(config.output, run.info.run_id)
    assert (max(steps), steps.count(2)) == (40, 1), "it went on from the checkpoint, not from the start"
    weights = load_model(model).network.state_dict()
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in weights.values())


def test_a_server_that_is_killed_costs_nothing(train_config: TrainConfig, tmp_path: Path) -> None:
    """It is away while a worker is replaced and until after the end; the same command sends what it missed, once."""
    recipe = replace(RECIPE, optim=replace(RECIPE.optim, steps=40))
    with mlflow_server(tmp_path / "server") as server:
        config = replace(train_config, recipe=recipe, output=str(tmp_path / "out"), repeats=80, tracking_uri=server.uri)
        known = known_checkpoint(config.output)
        killer = Thread(target=lambda: (wait_for(known), server.kill()))
        killer.start()
        with one_worker_killed(after=known):
            model = Path(train(config))
        killer.join()
        written, rest = model.stat().st_mtime_ns, Path(config.output) / UNSENT_FILE
        assert rest.exists()
        server.start()
        train(config)
        assert (model.stat().st_mtime_ns, rest.exists()) == (written, False)
        client = MlflowClient(server.uri)
        run_id = tracking.find_run(server.uri, config.experiment, config.output)
        assert run_id is not None
        steps = [metric.step for metric in client.get_metric_history(run_id, "loss")]
        assert steps == list(range(2, 41, 2))
        assert client.get_run(run_id).info.status == "FINISHED"
        assert [file.path for file in client.list_artifacts(run_id)] == ["config.yaml", "samples"]


def assert_same_weights(one: Path, other: Path, atol: float) -> None:
    weights, others = (load_model(path).network.state_dict() for path in (one, other))
    for name, value in weights.items():
        torch.testing.assert_close(value, others[name], atol=atol, rtol=0, msg=name)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"num_workers": 3}, "optim.batch_size 4 does not divide among 3 workers"),
        ({"deepspeed": Path("absent.json")}, "no DeepSpeed configuration at absent.json"),
        ({"data": "nowhere"}, "no motions in .*/nowhere; make them with"),
        ({"repeats": 1}, "an epoch of 3 clips x 1 repeats is less than one batch of 4"),
        (
            {"recipe": replace(RECIPE, denoiser=replace(RECIPE.denoiser, text_dim=768))},
            "minilm gives 384 numbers, denoiser.text_dim is 768",
        ),
    ],
)
def test_bad_configurations_leave_nothing_behind(
    train_config: TrainConfig, tmp_path: Path, change: dict[str, object], sentence: str
) -> None:
    assert_refused(train, replace(train_config, output=tmp_path / "run", **change), sentence)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"num_workers": 0}, "num_workers is 0, expected 1 or more"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0, expected 1 or more"),
        ({"cpus_per_worker": 0.0}, "cpus_per_worker is 0.0, expected 0.0001 or more"),
        ({"cpus_per_worker": math.nan}, "cpus_per_worker is nan, expected 0.0001 or more"),
        ({"max_failures": -7}, "max_failures is -7, expected 0 or more"),
        ({"seed": -1}, r"seed is -1, expected 0 to 2\*\*63 - 1"),
        ({"sample_prompts": ("a person walks", " ")}, "one of sample_prompts is empty, expected captions"),
    ],
)
def test_settings_that_would_fail_late_are_refused(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        TrainConfig(RECIPE, "/data", "/out", **change)


def test_data_without_captions_is_no_data_for_text_to_motion(train_config: TrainConfig, tmp_path: Path) -> None:
    shutil.copy(Path(train_config.data) / NORMALIZER_FILE, tmp_path)
    silent = [replace(random_clip(load_body(), name=name), texts=[]) for name in ("a", "b")]
    spoken = replace(random_clip(load_body(), name="c"), texts=["a person walks"], split="test")
    write_parquet([*silent, spoken], tmp_path / "motions" / "0.parquet")
    config = replace(train_config, data=str(tmp_path))
    with pytest.raises(InputError, match=r"no clip of the train split in .* has a caption, .* or say --captionless"):
        read_inputs(config)
    read_inputs(replace(config, captionless=True))


def test_clips_of_another_rate_than_the_recipes_are_refused(train_config: TrainConfig) -> None:
    """The model would show them in slow motion."""
    config = replace(train_config, recipe=replace(RECIPE, fps=30.0))
    with pytest.raises(InputError, match=r"has 20 frames per second, recipe\.fps is 30: make them agree"):
        read_inputs(config)


def test_what_is_tested_on_is_never_trained_on(train_config: TrainConfig, tmp_path: Path) -> None:
    body = load_body()
    held_out = replace(random_clip(body, persons=5, name="held out"), split="test")
    write_parquet([held_out, random_clip(body, name="seen")], tmp_path / "motions" / "0.parquet")
    normalizer = Path(train_config.data) / NORMALIZER_FILE
    shutil.copy(normalizer, tmp_path)
    config = replace(train_config, data=str(tmp_path))
    inputs = read_inputs(config)  # 5 persons are more than the recipe takes
    shown = make_trainer(config, inputs, "store").datasets["train"]
    read = [row["id"] for row in shown.take_all()]
    assert set(read) == {"seen"}
    assert len(read) == config.repeats
    write_parquet([held_out], tmp_path / "motions" / "0.parquet")
    with pytest.raises(InputError, match="no motions of the train split in"):
        read_inputs(config)
