"""Motion to learn from: what is held out, composed postures, and frames beyond a clip's end."""

import math

import torch

from recon.training.poses import HELD_OUT, KINDS, PoseClip, to_and_fro


def test_what_is_held_out_does_not_lend_to_what_is_learnt(clips: list[PoseClip]) -> None:
    captured = {clip.name: clip.held_out for clip in clips if not clip.composed}
    assert all(captured[f"{name}#0"] for name in HELD_OUT)
    for clip in clips:
        if clip.composed:
            source = clip.name.split("/", 2)[2]
            assert clip.held_out == captured[source]


def test_composed_clips_show_care_room_postures(clips: list[PoseClip]) -> None:
    # The cosine of the trunk to the vertical, by how a clip begins.
    cosines = [(clip.name.split("/")[1].split("-")[0], clip.rotations[0, 0, 2, 1]) for clip in clips if clip.composed]
    assert {kind for kind, _ in cosines} <= set(KINDS)
    lying = [abs(cosine) for kind, cosine in cosines if kind in ("supine", "prone", "side_left", "side_right")]
    upright = [cosine for kind, cosine in cosines if kind in ("sit", "kneel")]
    assert max(lying) < math.sin(math.radians(20))
    assert min(upright) > math.sin(math.radians(60))


def test_frames_beyond_the_end_come_back() -> None:
    frames = to_and_fro(torch.arange(-2, 9), torch.tensor(4))
    assert frames.tolist() == [2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert to_and_fro(torch.arange(3), torch.tensor(1)).tolist() == [0, 0, 0], "a clip of one frame has no way"
