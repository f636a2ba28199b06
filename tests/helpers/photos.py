"""Photos of people in shared/data/people_images as sequences: persons as annotated, the ground marked by hand.

They are outdoors, by unknown cameras: as far from the rooms that the networks learnt from as a picture can be.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from motion.sequence import LABELS
from motion.skeleton import KEYPOINT_SETS
from recon.teton import PERSON_LABEL, Track, write_sequence

FRAMES = 3  # of the same picture, as few as a sequence may have
SCORES = np.array([0.0, 0.3, 1.0], dtype=np.float32)  # of keypoints that are not annotated, hidden and visible
GROUND = {
    785: [[(0, 110), (640, 110), (640, 425), (0, 425)]],
    40083: [
        [(240, 160), (262, 160), (262, 250), (225, 245), (215, 200)],
        [(400, 215), (430, 300), (440, 333), (380, 333), (400, 290)],
    ],
    196141: [[(0, 150), (200, 170), (640, 215), (640, 429), (0, 429)]],
    197388: [[(0, 190), (640, 215), (640, 392), (0, 392)]],
}
"""Polygons of ground in each photo, pixels."""


def write_photo(folder: Path, number: int, shared_data: Path) -> None:
    """Write one photo as a sequence of still people."""
    coco = shared_data / "people_images" / "coco"
    content = json.loads((coco / "test_coco.json").read_text())
    (photo,) = (image for image in content["images"] if image["id"] == number)
    people = [each for each in content["annotations"] if each["image_id"] == number and each["num_keypoints"]]
    people.sort(key=lambda each: each["bbox"][3])  # whoever is near hides whoever is far
    size = (photo["width"], photo["height"])
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    for polygon in GROUND[number]:
        draw.polygon(polygon, fill=LABELS.index("floor"))
    for label, person in enumerate(people, start=PERSON_LABEL):
        for polygon in person["segmentation"]:
            draw.polygon(polygon, fill=label)
    write_sequence(
        folder,
        frames=[np.array(Image.open(coco / photo["file_name"]).convert("RGB"))] * FRAMES,
        tracks=[_track(person) for person in people],
        image_size=size,
        fps=10.0,
        intrinsics=None,
        keypoint_names=KEYPOINT_SETS["coco17"],
        keyframes=(0,),
        masks={0: np.array(mask)},
    )


def _track(person: dict[str, Any]) -> Track:
    x, y, width, height = person["bbox"]
    keypoints = np.array(person["keypoints"], dtype=np.float32).reshape(-1, 3)
    keypoints[:, 2] = SCORES[keypoints[:, 2].astype(int)]
    keypoints[keypoints[:, 2] == 0] = 0
    return Track(
        str(person["id"]),
        person_class=1,
        present=np.ones(FRAMES, dtype=bool),
        boxes=np.array([[x, y, x + width, y + height]] * FRAMES, dtype=np.float32),
        keypoints=np.stack([keypoints] * FRAMES),
        action=np.zeros(FRAMES, dtype=np.int8),
        occluded=np.zeros(FRAMES, dtype=bool),
    )
