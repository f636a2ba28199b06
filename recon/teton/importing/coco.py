"""COCO keypoints (Lin et al. 2014), also as CVAT and Label Studio export them.

The file is one object of `images` (id, file_name, width, height), `categories` (id, name and, for persons, keypoints)
and `annotations` (image_id, category_id, and of bbox, keypoints and segmentation what there is). A category is a person
where it has keypoints or is named as one of `motion.skeleton.PERSON_CLASSES`, and a part of the room where it is named
as one of `motion.sequence.LABELS`. CVAT adds `attributes` to an annotation: track_id, occluded, and what the annotators
chose, of which `action` counts: a name of `motion.skeleton.ACTIONS`, or its number in a Teton tree.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64
from scipy.optimize import linear_sum_assignment

from motion.errors import InputError
from motion.sequence import LABELS
from motion.skeleton import ACTIONS, PERSON_CLASSES
from recon.teton.annotations import IMAGE_SIDES
from recon.teton.checked_json import expect, get, numbers, require, short
from recon.teton.importing.detections import (
    FEWEST_SEEN,
    HIDDEN_SCORE,
    Annotations,
    Notes,
    Person,
    Picture,
    RoomPart,
    overlap,
    track_name,
    whole_box,
)
from recon.teton.importing.file_names import number_in
from recon.teton.importing.names import meant_names
from recon.teton.importing.outlines import Outline, read_outline

Id = int | str
SAME_PERSON = 0.3  # overlap of the boxes of a skeleton and of an outline that are annotated apart
_FLAG_SCORES = np.array([0.0, HIDDEN_SCORE, 1.0])  # of COCO's v: not annotated, hidden, visible


@dataclass(frozen=True)
class Category:
    """Meaning of a category; neither a person nor a part of the room where all is None."""

    name: str
    person_class: int | None = None
    label: int | None = None
    columns: tuple[int | None, ...] = ()
    """Place of each of its keypoints in `Annotations.keypoint_names`; None for one that a body does not have."""


@dataclass(frozen=True, eq=False)
class Entry:
    """Annotation with its checked fields."""

    where: str
    category: Category
    box: Float64[np.ndarray, "4"] | None
    keypoints: Float64[np.ndarray, "keypoint 3"]
    outline: Outline | None
    fields: Mapping[str, object]
    """Other fields; those of `attributes` count before the annotation's own."""


Scoring = Callable[[Entry], Float64[np.ndarray, " keypoint"]]


def read_coco(content: Mapping[str, object], where: str) -> Annotations:
    """Read a COCO file; raises InputError that names the entry, what was found and what was expected."""
    notes = Notes()
    categories, names = _read_categories(content, where, notes)
    pictures = _read_pictures(content, where)
    entries: dict[Id, list[Entry]] = defaultdict(list)
    for place, value in enumerate(get(content, "annotations", list, where)):
        annotation = expect(value, dict, f"{where}: annotation {place}", "an object")
        spot = f"{where}: annotation {annotation.get('id', place)}"
        image = _owner(annotation, "image_id", pictures, "images", spot)
        category = categories[_owner(annotation, "category_id", categories, "categories", spot)]
        if _counts(annotation, category, notes):
            entries[image].append(_read_entry(annotation, category, len(names), spot))
    to_score = _scoring([entry for some in entries.values() for entry in some], notes)
    filled = tuple(_fill(picture, entries[key], to_score, notes) for key, picture in pictures.items())
    return Annotations("COCO keypoints", names, filled, notes.sentences())


def _owner(annotation: Mapping[str, object], key: str, known: Collection[Id], owners: str, where: str) -> Id:
    """Read the id of the picture or category of an annotation."""
    value = _id(annotation, key, where)
    require(value in known, f"{where}: {key} is {value!r}, expected the id of one of {owners}")
    return value


def _read_categories(
    content: Mapping[str, object], where: str, notes: Notes
) -> tuple[dict[Id, Category], tuple[str, ...]]:
    """Read the categories, and the names of all their keypoints together."""
    categories: dict[Id, Category] = {}
    places: dict[str, int] = {}
    for place, value in enumerate(get(content, "categories", list, where)):
        entry = expect(value, dict, f"{where}: category {place}", "an object")
        name = get(entry, "name", str, f"{where}: category {short(entry.get('id'))}")
        spot = f"{where}: category {name!r}"
        columns = _read_columns(entry.get("keypoints"), places, spot, notes)
        categories[_id(entry, "id", spot)] = _category(name, columns, notes)
    if not places:
        found = ", ".join(category.name for category in categories.values()) or "no category"
        raise InputError(
            f"{where}: no category has keypoints (found {found}), expected COCO keypoints: export skeletons, in CVAT "
            "as COCO Keypoints 1.0, in Label Studio with model_index in each KeyPointLabels"
        )
    return categories, tuple(places)


def _read_columns(keypoints: object, places: dict[str, int], where: str, notes: Notes) -> tuple[int | None, ...]:
    """Find the place of each keypoint of a category among those of all, and add those that are new."""
    if not keypoints:
        return ()
    given = expect(keypoints, list, f"{where}: keypoints", "names")
    require(all(isinstance(name, str) for name in given), f"{where}: keypoints is {short(given)}, expected names")
    meant = meant_names(given, where)
    for name, known in zip(given, meant, strict=True):
        if known is None:
            notes.add(f"the keypoint {name!r} is left out: recon/keypoints.py does not know it")
    return tuple(None if name is None else places.setdefault(name, len(places)) for name in meant)


def _category(name: str, columns: tuple[int | None, ...], notes: Notes) -> Category:
    plain = _plain(name)
    if columns and plain not in PERSON_CLASSES:
        notes.add(f"the category {name!r} is taken as person; classes are {', '.join(PERSON_CLASSES[1:])}")
        plain = "person"
    label = LABELS.index(plain) if plain in LABELS[1:] else None
    return Category(name, PERSON_CLASSES.index(plain) if plain in PERSON_CLASSES else None, label, columns)


def _plain(name: str) -> str:
    """Write a name as our tables do: "Medical Staff" as medical_staff."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _read_pictures(content: Mapping[str, object], where: str) -> dict[Id, Picture]:
    """Read the pictures in the order of their ids."""
    pictures: dict[Id, Picture] = {}
    for place, value in enumerate(get(content, "images", list, where)):
        entry = expect(value, dict, f"{where}: image {place}", "an object")
        key = _id(entry, "id", f"{where}: image {short(entry.get('file_name'))}")
        spot = f"{where}: image {key}"
        require(key not in pictures, f"{spot} comes twice, expected each id once")
        name = expect(entry.get("file_name") or "", str, f"{spot}: file_name", "a name")
        pictures[key] = Picture(name or None, number_in(name), _read_size(entry, spot))
    require(bool(pictures), f"{where}: images is empty, expected the annotated pictures")
    return dict(sorted(pictures.items(), key=lambda item: (isinstance(item[0], str), item[0])))


def _read_size(entry: Mapping[str, object], where: str) -> tuple[int, int] | None:
    width, height = entry.get("width") or None, entry.get("height") or None
    if width is None and height is None:
        return None
    low, high = IMAGE_SIDES
    if isinstance(width, int) and isinstance(height, int) and low <= min(width, height) <= max(width, height) <= high:
        return width, height
    raise InputError(f"{where}: is {short(width)}x{short(height)}, expected sides from {low} to {high} pixels")


def _id(entry: Mapping[str, object], key: str, where: str) -> Id:
    value = entry.get(key)
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise InputError(f"{where}: {key} is {short(value)}, expected a number")
    return value


def _counts(annotation: Mapping[str, object], category: Category, notes: Notes) -> bool:
    """Tell whether an annotation is of a person or of a part of the room; notes what it is otherwise."""
    crowd = bool(annotation.get("iscrowd")) and category.person_class is not None
    other = category.person_class is None and category.label is None
    if crowd or other:
        kind = "a crowd (iscrowd)" if crowd else f"the category {category.name!r}"
        notes.add(f"an annotation of {kind} is left out")
    return not (crowd or other)


def _read_entry(annotation: Mapping[str, object], category: Category, count: int, where: str) -> Entry:
    """Read an annotation; `count` keypoints are those of all categories."""
    keypoints = _read_keypoints(annotation, category.columns, count, where)
    outline = read_outline(annotation.get("segmentation"), f"{where}: segmentation")
    attributes = expect(annotation.get("attributes") or {}, dict, f"{where}: attributes", "an object")
    fields = dict(annotation) | attributes
    return Entry(where, category, _read_box(annotation, where), keypoints, outline, fields)


def _read_keypoints(
    annotation: Mapping[str, object], columns: Sequence[int | None], count: int, where: str
) -> Float64[np.ndarray, "keypoint 3"]:
    """Read x, y, v of the category's keypoints and put them in their columns; zeros where there are none."""
    keypoints = np.zeros((count, 3))
    if columns and annotation.get("keypoints"):
        flat = numbers(annotation, "keypoints", (3 * len(columns),), "x, y, v of each of the category's", where)
        known = [place for place, column in enumerate(columns) if column is not None]
        keypoints[[column for column in columns if column is not None]] = flat.reshape(-1, 3)[known]
    return keypoints


def _read_box(annotation: Mapping[str, object], where: str) -> Float64[np.ndarray, "4"] | None:
    if not annotation.get("bbox"):
        return None
    x, y, width, height = numbers(annotation, "bbox", (4,), "[x, y, width, height]", where)
    require(bool(min(width, height) >= 0), f"{where}: bbox is {width:g} x {height:g} large, expected no negative size")
    return np.array([x, y, x + width, y + height])


def _scoring(entries: Sequence[Entry], notes: Notes) -> Scoring:
    """Choose how the third number of a keypoint becomes a score: COCO's v is 0, 1 or 2, but detectors write scores."""
    graded = [entry for entry in entries if not np.isin(entry.keypoints[:, 2], (0, 1, 2)).all()]
    if not graded:
        return lambda entry: _FLAG_SCORES[entry.keypoints[:, 2].astype(int)]
    third = np.concatenate([entry.keypoints[:, 2] for entry in entries])
    require(
        bool(((third >= 0) & (third <= 1)).all()),
        f"{graded[0].where}: keypoints has the v {short(graded[0].keypoints[:, 2].tolist())}, expected 0 (not "
        "annotated), 1 (hidden) or 2 (visible), or scores from 0 to 1 in the whole file",
    )
    notes.add("the third number of a keypoint is taken as its score, as it is not always 0, 1 or 2")
    return lambda entry: entry.keypoints[:, 2]


def _fill(picture: Picture, entries: Sequence[Entry], to_score: Scoring, notes: Notes) -> Picture:
    """Sort the annotations of a picture into persons and the room."""
    people = [each for each in entries if each.category.label is None]
    outlines = [each for each in people if each.outline and not each.category.columns]
    read = [_read_person(each, to_score(each), notes) for each in people if each not in outlines]
    persons = _join([person for person in read if person is not None], outlines, notes)
    return replace(picture, persons=tuple(persons), room=tuple(_room(entries)))


def _room(entries: Sequence[Entry]) -> list[RoomPart]:
    return [RoomPart(each.category.label, each.outline) for each in entries if each.category.label and each.outline]


def _read_person(entry: Entry, scores: Float64[np.ndarray, " keypoint"], notes: Notes) -> Person | None:
    """Make a person of an annotation; None where neither a box nor keypoints say where."""
    keypoints = np.concatenate([entry.keypoints[:, :2], scores[:, None]], axis=1) * (scores > 0)[:, None]
    box = whole_box(entry.box, keypoints)
    if box is None:
        notes.add(f"an annotation of a person without a box is left out, as it has fewer than {FEWEST_SEEN} keypoints")
        return None
    assert entry.category.person_class is not None
    return Person(
        keypoints,
        box,
        entry.category.person_class,
        _read_action(entry.fields.get("action"), notes),
        entry.fields.get("occluded") is True,
        track_name(entry.fields.get("track_id"), f"{entry.where}: track_id"),
        entry.outline,
    )


def _read_action(value: object, notes: Notes) -> int:
    """Read an action as index into ACTIONS; unknown (0) where it is none of them."""
    if value is None or value == "":
        return 0
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(ACTIONS) - 1:
        return 1 + value
    if _plain(str(value)) in ACTIONS:
        return ACTIONS.index(_plain(str(value)))
    notes.add(f"the action {short(value)} is taken as unknown; actions are {', '.join(ACTIONS[1:])}")
    return 0


def _join(persons: Sequence[Person], outlines: Sequence[Entry], notes: Notes) -> list[Person]:
    """Give outlines that are annotated apart from the skeletons to the persons whose boxes they overlap most."""
    joined = list(persons)
    if joined and outlines:
        shared = overlap(np.stack([person.box for person in joined]), np.stack([_box(each) for each in outlines]))
        for person, outline in zip(*linear_sum_assignment(shared, maximize=True), strict=True):
            if shared[person, outline] >= SAME_PERSON:
                joined[person] = replace(joined[person], outline=outlines[outline].outline)
    used = [person.outline for person in joined]
    notes.add(
        "an outline of a person is left out: no keypoints are there", sum(e.outline not in used for e in outlines)
    )
    return joined


def _box(entry: Entry) -> Float64[np.ndarray, "4"]:
    assert entry.outline is not None
    return entry.outline.box() if entry.box is None else entry.box
