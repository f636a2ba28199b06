"""Bulk generation through the served model."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from motion.body import load_body
from motion.errors import InputError
from motion.generator import MotionRequest
from motion.parquet import parquet_files, write_parquet
from motion.sequence import read_motions
from ray_jobs.common.sampler import SamplerConfig, bind_sampler, deployed
from ray_jobs.generate import GenerateConfig, generate, read_requests
from tests.helpers.clips import random_clip


@pytest.fixture(scope="module", autouse=True)
def served(model_file: Path) -> Iterator[None]:
    """Serve the model during the tests, so that the jobs find it running."""
    with deployed(bind_sampler(SamplerConfig(model_file)), "carescene"):
        yield


def config(model: Path, folder: Path, *lines: str, **changes: int) -> GenerateConfig:
    prompts = folder / "prompts.txt"
    prompts.write_text("\n".join(lines))
    return GenerateConfig(model, str(prompts), str(folder / "out"), **{"num_frames": 12, "shard_size": 3} | changes)


def test_prompts_become_labelled_motions_once(model_file: Path, tmp_path: Path) -> None:
    lines = [
        "a person walks forward",
        "",
        '{"prompt": "a patient lies on the floor", "num_frames": 9, "person_class": ["patient"], '
        '"action": ["laying_on_floor"]}',
    ]
    first = config(model_file, tmp_path, *lines, samples_per_prompt=2)
    generate(first)
    motions = read_motions(tmp_path / "out" / "motions")
    assert sorted((m.texts[0], m.num_frames, m.provenance["seed"]) for m in motions) == [
        ("a patient lies on the floor", 9, "2"),
        ("a patient lies on the floor", 9, "3"),
        ("a person walks forward", 12, "0"),
        ("a person walks forward", 12, "1"),
    ]
    assert all("prompt_distance" in m.provenance for m in motions), "the file beside the model is used"
    patient = next(m for m in motions if m.num_frames == 9)
    assert patient.person_class.tolist() == [2]
    assert set(patient.action.ravel().tolist()) == {2}

    written = {path: Path(path).stat().st_mtime_ns for path in parquet_files(tmp_path / "out" / "motions")}
    missing = next(iter(written))
    Path(missing).unlink()
    generate(first)
    kept = {path: Path(path).stat().st_mtime_ns for path in written.keys() - {missing}}
    assert kept
    assert kept == {path: written[path] for path in kept}, "what is there is not made again"
    again = read_motions(tmp_path / "out" / "motions")
    assert sorted(m.id for m in again) == sorted(m.id for m in motions), "only what was missing, nothing twice"


def test_bad_requests_are_rejected_and_good_ones_kept(model_file: Path, tmp_path: Path) -> None:
    lines = ["a person runs", '{"prompt": "a person runs", "num_frames": 500}', '{"prompt": null}']
    with pytest.raises(InputError, match=r"2 of 3 requests were rejected, .*prompt is None"):
        generate(config(model_file, tmp_path, *lines, samples_per_prompt=1))
    assert len(read_motions(tmp_path / "out" / "motions")) == 1
    (rejected,) = parquet_files(tmp_path / "out" / "rejected")
    table = pq.read_table(rejected)
    assert table["id"].to_pylist()[0] == "prompts.txt:3"
    assert table["reason"].to_pylist() == [
        f"{tmp_path / 'prompts.txt'}:3: prompt is None: Input should be a valid string",
        "num_frames is 500, this model takes 1 to 40",
    ]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('{"prompt": "x", ', "prompts.txt:2 is not valid JSON"),
        ('{"prompt": "x", "prompt": "y"}', r"prompts.txt:2 is not valid JSON: the key 'prompt' comes twice"),
        ('{"prompt": "x", "frames": 3}', r"prompts.txt:2 has the unknown field\(s\) frames; known are"),
        ('{"num_frames": 3}', "prompts.txt:2 has no prompt"),
        ('{"prompt": "x", "num_frames": 12.5}', r"prompts.txt:2: num_frames is 12\.5: Input should be a valid integer"),
        ('{"prompt": "x", "num_frames": true}', "prompts.txt:2: num_frames is True: Input should be a valid integer"),
        ('{"prompt": "x", "num_frames": "10"}', "prompts.txt:2: num_frames is '10': Input should be a valid integer"),
        ('{"prompt": "x", "clean_up": 1}', "prompts.txt:2: clean_up is 1: Input should be a valid boolean"),
        ('{"prompt": null}', "prompts.txt:2: prompt is None: Input should be a valid string"),
        ('{"prompt": "x", "clean_up": "never"}', "prompts.txt:2: clean_up is 'never': Input should be a valid boolean"),
        ('{"prompt": "x", "action": "kneeling"}', "prompts.txt:2: action is 'kneeling': expected a list, an entry a"),
        ('{"prompt": "x", "seed": 3}', "prompts.txt:2 has a seed, which --seed gives"),
        ('["a person walks", "a person falls"]', "prompts.txt:2 is part of a JSON list, expected a prompt or one JSON"),
        ("[", "prompts.txt:2 is part of a JSON list"),
        (' [{"prompt": "x"},', "prompts.txt:2 is part of a JSON list"),
        ("]", "prompts.txt:2 is part of a JSON list"),
    ],
)
def test_a_malformed_line_is_named_and_costs_itself_alone(
    model_file: Path, tmp_path: Path, line: str, sentence: str
) -> None:
    requests, bad = read_requests(
        config(model_file, tmp_path, "a person walks", line, "a person sits", samples_per_prompt=2)
    )
    assert [(request.prompt, request.seed) for request in requests] == [
        ("a person walks", 0),
        ("a person walks", 1),
        ("a person sits", 4),
        ("a person sits", 5),
    ], "the seeds stay when the line is mended"
    (place, reason), other = bad
    assert other == (place, reason), "it costs as many requests as a good line has"
    assert place == "prompts.txt:2"
    assert re.search(sentence, reason)
    with pytest.raises(InputError, match=sentence):
        read_requests(config(model_file, tmp_path, "", line))


@pytest.mark.parametrize("line", ['{"prompt": "a person walks", "num_frames": 26}', "a person walks"])
def test_a_byte_order_mark_is_no_part_of_a_prompt(model_file: Path, tmp_path: Path, line: str) -> None:
    (request,), _ = read_requests(config(model_file, tmp_path, "\ufeff" + line, num_frames=26, samples_per_prompt=1))
    assert request == MotionRequest("a person walks", 26, seed=0)


def test_a_prompt_may_begin_with_a_bracket(model_file: Path, tmp_path: Path) -> None:
    (request,), _ = read_requests(config(model_file, tmp_path, "[slowly] a person walks", samples_per_prompt=1))
    assert request.prompt == "[slowly] a person walks"


def test_lists_of_another_form_are_refused(model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.csv").write_text("prompt,num_frames\na person walks,26\n")
    with pytest.raises(InputError, match=r"prompts\.csv is a table, expected one prompt or JSON object a line"):
        read_requests(GenerateConfig(model_file, str(tmp_path / "prompts.csv"), "out"))
    (tmp_path / "prompts.txt").write_text("a person walks", encoding="utf-16")
    with pytest.raises(InputError, match=r"prompts\.txt: is UTF-16, expected one prompt .*; save it as UTF-8"):
        read_requests(GenerateConfig(model_file, str(tmp_path / "prompts.txt"), "out"))


@pytest.mark.parametrize("change", [{"in_flight": 0}, {"samples_per_prompt": -1}, {"seed": -1}, {"seed": 2**63}])
def test_numbers_that_ask_for_nothing_are_refused(change: dict[str, int]) -> None:
    ((name, value),) = change.items()
    with pytest.raises(InputError, match=f"^{name} is {value}, expected "):
        GenerateConfig("model", "prompts", "output", **change)


def test_no_prompts(model_file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no prompt"):
        read_requests(config(model_file, tmp_path, "", " "))
    with pytest.raises(InputError, match="no prompt list at"):
        read_requests(GenerateConfig(model_file, str(tmp_path / "absent.txt"), "out"))


def test_the_test_clips_of_prepared_data_are_asked_for(model_file: Path, tmp_path: Path) -> None:
    body = load_body()
    pair = replace(random_clip(body, persons=2, frames=9, name="pair"), split="test")
    alone = replace(random_clip(body, persons=1, frames=7, name="alone"), split="test", texts=["a person falls"])
    still = replace(alone, id="still", action=np.zeros_like(alone.action), texts=[])
    write_parquet([pair, alone, still, replace(alone, id="seen", split="train")], tmp_path / "motions" / "0.parquet")
    requests, bad = read_requests(GenerateConfig(model_file, str(tmp_path), "out", samples_per_prompt=2))
    assert not bad
    assert requests[0] == MotionRequest(
        "a person moves", num_frames=9, num_persons=2, seed=0, action=("standing_on_floor",) * 2
    )
    assert [(r.prompt, r.num_frames, r.seed) for r in requests[2:]] == [
        ("a person falls", 7, 2),
        ("a person falls", 7, 3),
    ]
    write_parquet([still], tmp_path / "none" / "motions" / "0.parquet")
    with pytest.raises(InputError, match="no clip of the test split that has a caption"):
        read_requests(GenerateConfig(model_file, str(tmp_path / "none"), "out"))
