"""A rendered room of two persons as people have it, what an import makes of it, and changes of its annotations."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recon.teton import TetonSequence
from tests.conftest import Ended

Run = Callable[..., Ended]
COUNT = 12
LEVELS = 6  # of 255, mean error of video and JPEG together


class Original(NamedTuple):
    folder: Path
    sequence: TetonSequence
    frames: list[np.ndarray]


def made(root: Path) -> list[Path]:
    return sorted(path.parent for path in root.glob("*/*/*/*/annotations.json"))


def content(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "annotations.json").read_text())


def change(original: Original, path: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    annotations = json.loads((original.folder / "walk.json").read_text())
    edit(annotations)
    path.write_text(json.dumps(annotations))
    return path


def require_same_tracks(found: TetonSequence, original: TetonSequence, places: list[int]) -> None:
    assert [track.object_id for track in found.tracks] == [track.object_id for track in original.tracks]
    for one, other in zip(found.tracks, original.tracks, strict=True):
        assert one.person_class == max(1, other.person_class)
        for name in ("present", "keypoints", "action", "occluded"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name)[places], err_msg=name)
        np.testing.assert_allclose(one.boxes, other.boxes[places], atol=1e-4)
