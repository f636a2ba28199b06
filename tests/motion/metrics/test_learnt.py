"""Learnt: an answer tells how far its prompt and its motion are from what the model was trained on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from motion.body import load_body
from motion.clips.augment import translate, yaw
from motion.errors import InputError
from motion.metrics import learnt
from motion.metrics.learnt import Learnt, load_learnt, summarise
from motion.sequence import MotionSequence
from motion.text import load_text_encoder
from motion.weights import save_weights
from tests.helpers.clips import motion

BODY = load_body()
ENCODE = load_text_encoder("minilm")
CAPTIONS = ("a person walks forward", "a person sits down on a chair", "a person does a cartwheel")
CLIPS = [
    replace(motion(BODY, frames=61, seed=seed), id=f"clip/{seed}", texts=[text]) for seed, text in enumerate(CAPTIONS)
]
SUMMARY = summarise(CLIPS, "abc", ENCODE)


def answer(prompt: str, clip: MotionSequence, **provenance: str) -> MotionSequence:
    return replace(clip, id="generated/1", provenance={"prompt": prompt, "model": "abc"} | provenance)


def test_a_copy_of_a_clip_for_a_caption_trained_on_is_near_both() -> None:
    copy = translate(yaw(CLIPS[1], 2.0, BODY), np.array([3.0, -4.0], dtype=np.float32), BODY)
    told = SUMMARY.tell(answer(CAPTIONS[1], copy), ENCODE).provenance
    assert told == {
        "prompt": CAPTIONS[1],
        "model": "abc",
        "prompt_distance": "0.00",
        "nearest_clip": "clip/1",
        "nearest_clip_m": "0.000",
    }


def test_the_distance_of_a_prompt_is_one_less_the_cosine() -> None:
    prompt = "two cars crash at a crossing"
    vectors = ENCODE([prompt, *CAPTIONS])
    told = SUMMARY.tell(answer(prompt, CLIPS[0]), ENCODE).provenance
    assert told["prompt_distance"] == f"{1 - cosine_similarity(vectors[:1], vectors[1:]).max():.2f}"
    assert float(told["prompt_distance"]) > 0.5
    other = SUMMARY.tell(answer("someone is walking straight ahead", CLIPS[0]), ENCODE).provenance
    assert 0 < float(other["prompt_distance"]) < 0.5, "other words for a caption"


def test_of_several_prompts_the_farthest_counts() -> None:
    both = answer("", CLIPS[0], person_prompts='["a person walks forward", "two cars crash at a crossing"]')
    alone = answer("two cars crash at a crossing", CLIPS[0])
    told = [SUMMARY.tell(each, ENCODE).provenance["prompt_distance"] for each in (both, alone)]
    assert told[0] == told[1]


def test_another_motion_is_far_from_all_clips() -> None:
    other = replace(CLIPS[0], joints=CLIPS[0].joints * np.float32(0.5))
    told = SUMMARY.tell(answer(CAPTIONS[0], other), ENCODE).provenance
    assert float(told["nearest_clip_m"]) > 0.1
    still = replace(CLIPS[0], valid=np.zeros_like(CLIPS[0].valid))
    assert "nearest_clip" not in SUMMARY.tell(answer(CAPTIONS[0], still), ENCODE).provenance, "nobody is there"


def test_a_file_gives_the_same_back(tmp_path: Path) -> None:
    path = tmp_path / "learnt.safetensors"
    path.write_bytes(SUMMARY.to_bytes())
    again = load_learnt(path)
    asked = answer("a person strolls", CLIPS[2])
    assert again.tell(asked, ENCODE).provenance == SUMMARY.tell(asked, ENCODE).provenance
    assert again.model == "abc"
    assert path.stat().st_size < 100_000, "five frames a second and a vector a caption"


@pytest.mark.parametrize("clips", [[["clip/0", 5.0, 1, 99]], [["clip/0", 5.0, 1, 2], ["clip/1", 4.0, 1, 3]]])
def test_what_is_damaged_is_refused(clips: list[list[object]], tmp_path: Path) -> None:
    """It lacks frames, or has frame rates that nothing can be compared at."""
    description = {"model": "abc", "clips": clips}
    tensors = {"captions": torch.zeros(1, 384), "joints": torch.zeros(5, 24, 3), "valid": torch.ones(5).bool()}
    save_weights(tmp_path / "bad.safetensors", tensors, learnt.FORMAT, description)
    with pytest.raises(InputError, match=r"bad\.safetensors is damaged, expected what `ray_jobs\.train` wrote"):
        load_learnt(tmp_path / "bad.safetensors")


def test_no_captions_and_no_second_of_motion_tell_nothing() -> None:
    nothing = Learnt("abc", torch.empty(0, 384), ())
    assert nothing.tell(answer("a person walks", CLIPS[0]), ENCODE).provenance.keys() == {"prompt", "model"}
    assert len(summarise([replace(CLIPS[0], texts=[])], "abc", ENCODE).captions) == 0


def test_of_many_only_some_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learnt, "MOST_CAPTIONS", 2)
    monkeypatch.setattr(learnt, "MOST_FRAMES", 2 * 16 * CLIPS[0].num_persons)  # 61 frames at 20 a second: 16 at 5
    few = summarise(CLIPS, "abc", ENCODE)
    assert len(few.captions) == len(few.tracks) == 2
