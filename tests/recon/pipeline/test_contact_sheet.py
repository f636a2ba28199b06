"""Contact sheet of a reconstruction: bodies are drawn over the persons."""

import json
from dataclasses import replace

import numpy as np
import torch
from PIL import Image, ImageChops

from recon.pipeline import Bodies, reconstruct
from recon.pipeline.contact_sheet import contact_sheet, from_above, overlay, unseen
from recon.pipeline.record import describe_quality
from tests.helpers.rooms import Rendered


def test_the_picture_shows_bodies_where_people_are(room: Rendered, bodies: Bodies) -> None:
    made = reconstruct(room.sequence, room.perception, bodies, "regression")
    sheet = contact_sheet(room.sequence, made.scene, made.motion, bodies.body, describe_quality(made.quality))
    assert sheet.width > 1200
    keyframe = room.sequence.keyframes[0]
    painted = np.asarray(overlay(room.sequence, made.scene, made.motion, bodies.body, keyframe)).astype(int)
    changed = (np.abs(painted - room.sequence.frame(keyframe)).sum(axis=-1) > 20)[30:, 60:]
    person = (room.sequence.mask(keyframe) >= 128)[30:, 60:]
    assert (changed & person).sum() / (changed | person).sum() > 0.75


def changed(one: Image.Image, other: Image.Image) -> tuple[int, int, int, int]:
    """Find the box (left, upper, right, lower) in which two pictures differ."""
    box = ImageChops.difference(one, other).getbbox()
    assert box is not None
    return box


def test_limbs_that_nobody_saw_are_dotted(room: Rendered, bodies: Bodies) -> None:
    made = reconstruct(room.sequence, room.perception, bodies, "regression")
    told = json.loads(made.motion.provenance["uncertainty"])
    for row in told:
        row["unseen"] = {"left arm": [[1, 3]]} if row is told[0] else {}
    motion = replace(made.motion, provenance={"uncertainty": json.dumps(told)})
    assert [unseen(motion, number) for number in range(4)] == [[], [(0, "left arm")], [(0, "left arm")], []]
    silent = replace(motion, provenance={})
    pictures = [overlay(room.sequence, made.scene, each, bodies.body, 1) for each in (silent, motion)]
    box = changed(*pictures)
    chain = motion.joints[0, 1, [16, 18, 20]]  # left shoulder, elbow, wrist
    pixels = made.room.camera.project(torch.from_numpy(chain)).numpy()
    expected = np.concatenate([pixels.min(axis=0) - 2, pixels.max(axis=0) + 3])
    np.testing.assert_allclose(box, expected, atol=1.5)


def test_an_ellipse_from_above_shows_how_sure_a_place_is(room: Rendered, bodies: Bodies) -> None:
    """Whoever is 1 m uncertain along the ray has an outline 2 m long; one centimetre across makes it a line."""
    made = reconstruct(room.sequence, room.perception, bodies, "regression")
    moments, size = np.array([0]), (600, 600)
    frames = made.motion.num_frames
    told = [{"along_m": [1.0] * frames, "across_m": [0.01] * frames, "unseen": {}} for _ in range(2)]
    motion = replace(made.motion, provenance={"uncertainty": json.dumps(told)})
    plain, shown = (from_above(made.scene, each, moments, size) for each in (replace(motion, provenance={}), motion))
    narrow = json.dumps([row | {"along_m": [0.01] * frames} for row in told])
    dots = from_above(made.scene, replace(motion, provenance={"uncertainty": narrow}), moments, size)
    assert changed(plain, shown) != changed(plain, dots)
    wide, small = (np.ptp(np.reshape(changed(plain, each), (2, 2)), axis=0).max() for each in (shown, dots))
    assert wide > small + 60
