"""Output of OpenPose's `--write_json` (Cao et al. 2019): one file a frame, `NAME_000000000017_keypoints.json`.

Each is an object with `people`, and each person has `pose_keypoints_2d`, x, y and score of 25 keypoints (BODY_25) or 18
(the COCO model). Faces and hands are left out. A folder of pictures gives files `PICTURE_keypoints.json`.
"""

from collections.abc import Mapping, Sequence

from motion.errors import InputError
from recon.teton.checked_json import expect, get, numbers
from recon.teton.importing.detections import FEWEST_SEEN, Annotations, Notes, Person, Picture, track_name, whole_box
from recon.teton.importing.file_names import number_in
from recon.teton.importing.names import OPENPOSE_SETS

SUFFIX = "_keypoints"


def read_openpose(files: Sequence[tuple[str, Mapping[str, object]]]) -> Annotations:
    """Read the files of all frames, given by name and content; raises InputError for one that is not OpenPose's."""
    notes = Notes()
    sizes = {len(keypoints): where for where, people in map(_bodies, files) for keypoints in people}
    if not sizes:
        raise InputError(
            f"{files[0][0]}: none of {len(files)} OpenPose files holds a person, expected pose_keypoints_2d"
        )
    if len(sizes) > 1 or min(sizes) // 3 not in OPENPOSE_SETS or min(sizes) % 3:
        found = " and ".join(f"{size} numbers in {where}" for size, where in sizes.items())
        raise InputError(f"pose_keypoints_2d has {found}, expected x, y, score of 25 (BODY_25) or 18 (COCO) everywhere")
    names = OPENPOSE_SETS[min(sizes) // 3]
    pictures = tuple(_read_picture(where, content, len(names), notes) for where, content in files)
    return Annotations(f"OpenPose-{len(names)}", names, pictures, notes.sentences())


def _bodies(file: tuple[str, Mapping[str, object]]) -> tuple[str, list[list[object]]]:
    """List what is written of each body in a frame; OpenPose before 1.2 called it pose_keypoints."""
    where, content = file
    people = [
        expect(person, dict, f"{where}: people: one", "an object") for person in get(content, "people", list, where)
    ]
    return where, [body for body in map(_body, people) if isinstance(body, list) and body]


def _body(person: Mapping[str, object]) -> object:
    return person.get("pose_keypoints_2d", person.get("pose_keypoints"))


def _read_picture(where: str, content: Mapping[str, object], count: int, notes: Notes) -> Picture:
    people = get(content, "people", list, where)
    persons = [_read_person(person, count, f"{where}: person {k}", notes) for k, person in enumerate(people)]
    name = where.rpartition("/")[2].removesuffix(".json").removesuffix(SUFFIX)
    return Picture(name, number_in(name), persons=tuple(person for person in persons if person is not None))


def _read_person(person: Mapping[str, object], count: int, where: str, notes: Notes) -> Person | None:
    """Read a person; None for one of whom too little is seen."""
    if not _body(person):  # a hand or a face without a body
        return None
    flat = numbers(
        {"pose_keypoints_2d": _body(person)}, "pose_keypoints_2d", (3 * count,), "x, y, score of each", where
    )
    keypoints = flat.reshape(count, 3)
    keypoints[:, 2] = keypoints[:, 2].clip(0, 1)
    keypoints *= keypoints[:, 2:] > 0
    box = whole_box(None, keypoints)
    if box is None:
        notes.add(f"a person with fewer than {FEWEST_SEEN} keypoints is left out")
        return None
    return Person(keypoints, box, track=_read_track(person, where))


def _read_track(person: Mapping[str, object], where: str) -> str | None:
    """Read person_id, a list of one number, which is -1 where OpenPose follows nobody."""
    listed = person.get("person_id")
    number = listed[0] if isinstance(listed, list) and listed else listed or None
    return track_name(number, f"{where}: person_id")
