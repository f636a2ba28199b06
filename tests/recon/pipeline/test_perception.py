"""Crops of all persons, which go through a network in any batches and come back at their person and frame."""

import shutil
from dataclasses import fields

import numpy as np
import pytest
import torch

from motion.body import load_body
from motion.skeleton import KEYPOINT_SETS
from recon.pipeline.perception import (
    Perception,
    by_person_and_frame,
    crop_people,
    estimate,
    measured_depth,
    perceive,
    read_keyframes,
)
from recon.regressors import BodyRegressor, CropEstimates
from recon.regressors.crops import crop_square
from recon.teton import TetonSequence, Track, read_sequence, write_sequence
from recon.teton.images import depth_path, write_depth
from tests.helpers.brightness import Brightness

WIDTH, HEIGHT, FRAMES, SIZE = 64, 48, 5, 32
NAMES = KEYPOINT_SETS["coco17"]
KEYFRAMES = (0, 3)
PRESENT = np.array([[1, 1, 0, 1, 0], [1, 0, 0, 1, 1]], dtype=bool)  # nobody in frame 2


@pytest.fixture(scope="module")
def sequence(tmp_path_factory: pytest.TempPathFactory) -> TetonSequence:
    """Write two persons who come and go; frame t has brightness 40 t, with a gradient to the right."""
    folder = tmp_path_factory.mktemp("tree") / "a" / "b" / "c" / "d"
    ramp = np.broadcast_to(np.arange(WIDTH, dtype=np.uint8)[:, None], (HEIGHT, WIDTH, 3))
    write_sequence(
        folder,
        frames=[ramp + np.uint8(40 * number) for number in range(FRAMES)],
        tracks=[track(k, present) for k, present in enumerate(PRESENT)],
        image_size=(WIDTH, HEIGHT),
        fps=10.0,
        intrinsics=None,
        keypoint_names=NAMES,
        keyframes=KEYFRAMES,
        masks={number: np.zeros((HEIGHT, WIDTH), dtype=np.uint8) for number in KEYFRAMES},
    )
    return read_sequence(folder)


def track(person: int, present: np.ndarray) -> Track:
    """Annotate a person in the left half of the image, or the right."""
    boxes = np.tile([4.0 + 32 * person, 6.0, 20.0 + 32 * person, 40.0], (FRAMES, 1))
    keypoints = np.ones((FRAMES, len(NAMES), 3)) * [10 + 32 * person, 20, 1]
    return Track(
        str(person),
        1,
        present,
        (boxes * present[:, None]).astype(np.float32),
        (keypoints * present[:, None, None]).astype(np.float32),
        np.zeros(FRAMES, dtype=np.int8),
        np.zeros(FRAMES, dtype=bool),
    )


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the frames that are decoded."""
    numbers: list[int] = []
    original = TetonSequence.frame

    def frame(self: TetonSequence, number: int) -> np.ndarray:
        numbers.append(number)
        return original(self, number)

    monkeypatch.setattr(TetonSequence, "frame", frame)
    return numbers


def test_everybody_is_cut_out_frame_by_frame_and_each_frame_decoded_once(
    sequence: TetonSequence, decoded: list[int]
) -> None:
    crops = crop_people(sequence, SIZE)
    assert decoded == [0, 1, 3, 4]
    assert list(zip(crops.frame, crops.person, strict=True)) == [(0, 0), (0, 1), (1, 0), (3, 0), (3, 1), (4, 1)]
    assert crops.images.shape == (6, SIZE, SIZE, 3)
    for k, (person, number) in enumerate(zip(crops.person, crops.frame.tolist(), strict=True)):
        image, square = crop_square(sequence.frame(number), sequence.tracks[person].boxes[number], SIZE)
        np.testing.assert_array_equal(crops.images[k], image)
        np.testing.assert_array_equal(crops.squares[k], square)


def test_key_frames_are_read_in_their_order(sequence: TetonSequence, decoded: list[int]) -> None:
    images = read_keyframes(sequence)
    assert decoded == list(KEYFRAMES)
    assert images.shape == (2, HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(images[1], sequence.frame(3))


class Unasked:
    def predict(self, images: np.ndarray) -> np.ndarray:
        raise AssertionError(f"{len(images)} images of measured depth were given to a network")


def test_measured_depth_takes_the_place_of_networks(sequence: TetonSequence) -> None:
    (sequence.folder / "depth").mkdir()
    for number in KEYFRAMES:
        write_depth(np.full((HEIGHT, WIDTH), 2.0 + number, dtype=np.float32), depth_path(sequence.folder, number))
    measured = read_sequence(sequence.folder)
    disparity, metric = measured_depth(measured)
    np.testing.assert_allclose(metric[:, 0, 0], [2, 5], rtol=1e-6)
    np.testing.assert_allclose(disparity, 1 / metric)
    found = perceive(measured, Brightness(load_body(), SIZE, []), Unasked(), Unasked())
    np.testing.assert_array_equal(found.metric, metric)
    shutil.rmtree(sequence.folder / "depth")


@pytest.mark.parametrize(("batch_size", "batches"), [(1, [1] * 6), (4, [4, 2]), (6, [6]), (16, [6])])
def test_batches_change_no_estimate(sequence: TetonSequence, batch_size: int, batches: list[int]) -> None:
    network = Brightness(load_body(), SIZE, [])
    assert isinstance(network, BodyRegressor)
    images = crop_people(sequence, network.crop_size).images
    found, whole = estimate(network, images, batch_size), network.estimate(torch.from_numpy(images))
    assert network.batches[:-1] == batches
    for field in fields(CropEstimates):
        torch.testing.assert_close(getattr(found, field.name), getattr(whole, field.name))
    assert len(found.betas.unique(dim=0)) == 6  # the crops differ, so order counts


def test_values_of_crops_land_at_their_person_and_frame(sequence: TetonSequence) -> None:
    crops = crop_people(sequence, SIZE)
    estimates = Brightness(load_body(), SIZE, []).estimate(torch.from_numpy(crops.images))
    nothing = np.zeros((0, 1, 1), dtype=np.float32)
    perception = Perception(crops.squares, crops.person, crops.frame, estimates, nothing, nothing)
    for values in (torch.from_numpy(crops.squares), estimates.body_pose):
        table = by_person_and_frame(values, perception, (2, FRAMES))
        assert table.shape == (2, FRAMES, *values.shape[1:])
        assert not table[torch.from_numpy(~PRESENT)].any()
        for value, person, number in zip(values, crops.person, crops.frame, strict=True):
            torch.testing.assert_close(table[person, number], value)
