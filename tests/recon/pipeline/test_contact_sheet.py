"""Contact sheet of a reconstruction: bodies are drawn over the persons."""

import numpy as np

from recon.pipeline import Bodies, reconstruct
from recon.pipeline.contact_sheet import contact_sheet, overlay
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
