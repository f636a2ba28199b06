"""Simulated sequences: the same seed gives the same one, wishes are met or refused, and a stopped command goes on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from motion.body import load_body
from motion.errors import InputError
from motion.parquet import write_parquet
from recon.simulate import SimulateConfig, Simulated, performances, simulate
from recon.simulate.__main__ import Job, run
from recon.teton import list_sequences
from tests.helpers.simulated import SHORT


def test_same_seed_same_sequence(rooms: list[Simulated]) -> None:
    again = simulate(1, SHORT)
    for name in ("frames", "depth", "labels", "keypoints", "visible", "boxes", "seen"):
        np.testing.assert_array_equal(getattr(again, name), getattr(rooms[1], name))
    np.testing.assert_array_equal(again.motion.joints, rooms[1].motion.joints)
    assert not np.array_equal(rooms[0].frames, rooms[1].frames)


def test_given_number_of_people_and_field_of_view() -> None:
    room = simulate(0, SimulateConfig(num_people=3, num_frames=2, field_of_view=90.0, image_size=(128, 96)))
    assert room.motion.num_persons == 3
    assert float(room.camera.intrinsics[0, 0]) == pytest.approx(64.0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SimulateConfig(num_people=5), "num_people of a simulation is 5, expected 1 to 4"),
        (SimulateConfig(num_people=0), "num_people"),
        (SimulateConfig(tilt=-5.0), "tilt"),
        (SimulateConfig(field_of_view=170.0), "field_of_view"),
        (SimulateConfig(image_size=(512, 0)), r"image_size of a simulation is \(512, 0\), expected 16 to"),
    ],
)
def test_absurd_wishes_are_refused(config: SimulateConfig, message: str) -> None:
    with pytest.raises(InputError, match=message):
        simulate(0, config)


def test_own_motions_are_performed_and_foreign_bodies_refused() -> None:
    clip = performances.clips(load_body())["punch"]
    config = SimulateConfig(num_people=1, num_frames=2, image_size=(64, 48))
    roles = [simulate(seed, config, [clip]).motion.provenance["roles"] for seed in range(6)]
    assert "moving" in roles
    with pytest.raises(InputError, match="smpl-female"):
        simulate(0, config, [replace(clip, body="smpl-female")])
    with pytest.raises(InputError, match="valid in all frames"):
        simulate(0, config, [])


def test_command_line_goes_on_where_it_was(tmp_path: Path) -> None:
    config = SimulateConfig(num_people=1, num_frames=3, image_size=(64, 48))
    motions = tmp_path / "motions.parquet"
    write_parquet([performances.clips(load_body())["walk"]], motions)
    job = Job(tmp_path / "rooms", count=2, seed=5, noisy=True, motions=str(motions), config=config)
    run(job)
    folders = list_sequences(job.output)
    assert len(folders) == 2
    times = [(folder / "annotations.json").stat().st_mtime_ns for folder in folders]
    (folders[1] / "truth" / "motion.parquet").unlink()
    run(job)
    again = [(folder / "annotations.json").stat().st_mtime_ns for folder in folders]
    assert again[0] == times[0]
    assert again[1] > times[1]
    with pytest.raises(InputError, match="coco17"):
        run(Job(tmp_path, keypoints="coco18"))
    with pytest.raises(InputError, match="2 frames at 10 fps are asked for, expected 3 or more at 1 fps or more"):
        run(Job(tmp_path, config=replace(config, num_frames=2)))
