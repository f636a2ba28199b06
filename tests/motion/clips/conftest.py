"""Motion capture to try clips' transforms on."""

import pytest

from motion.body import Body
from motion.clips.transforms import resample
from motion.datasets.deepmimic import list_clips, read_clip
from motion.sequence import MotionSequence


@pytest.fixture(scope="session")
def mimic(body: Body) -> dict[str, MotionSequence]:
    """Read five motions of DeepMimic at 20 fps."""
    pytest.importorskip("pybullet_data")
    names = [f"deepmimic/humanoid3d_{name}" for name in ("crawl", "getup_faceup", "jump", "run", "walk")]
    clips = [read_clip(clip, body) for clip in list_clips() if clip.id in names]
    return {clip.id: resample(clip, 20.0, body) for clip in clips}
