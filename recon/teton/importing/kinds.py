"""Annotations of any known format, recognised by what the files hold."""

from collections import defaultdict
from pathlib import Path

from motion.errors import InputError
from recon.teton.checked_json import read_json, short
from recon.teton.importing.coco import read_coco
from recon.teton.importing.detections import Annotations
from recon.teton.importing.file_names import natural
from recon.teton.importing.mmpose import is_picture, is_video, read_mmpose
from recon.teton.importing.openpose import read_openpose

EXPECTED = "a COCO keypoints file, or the JSON of OpenPose (a file a frame) or MMPose"
EMPTY = "empty"  # as MMPose writes a picture without persons
_COCO_KEYS = ("images", "annotations", "categories")
File = tuple[Path, object]


def read_annotations(path: Path) -> Annotations:
    """Read a file or folder of annotations.

    Raises InputError for what is of no known format or of several, and for what is wrong inside.
    """
    kinds: dict[str, list[File]] = defaultdict(list)
    for file in _json_files(path):
        content = read_json(file, EXPECTED)
        kinds[_kind(content, file)].append((file, content))
    empty = kinds.pop(EMPTY, [])
    if len(kinds) > 1 or len(kinds.get("COCO", ())) > 1:
        found = ", ".join(f"{len(files)} of {kind} ({files[0][0].name}, …)" for kind, files in kinds.items())
        raise InputError(
            f"{path}: holds files of several annotations, {found}, expected one: name the one that is meant"
        )
    return _read(*(next(iter(kinds.items())) if kinds else ("MMPose", [])), empty)


def _read(kind: str, files: list[File], empty: list[File]) -> Annotations:
    """Read the files of one kind; empty ones are pictures of MMPose without persons."""
    if kind == "COCO":
        ((path, content),) = files
        assert isinstance(content, dict)
        return read_coco(content, str(path))
    if kind == "OpenPose":
        return read_openpose([(str(path), content) for path, content in files if isinstance(content, dict)])
    together = sorted((*files, *empty), key=lambda file: natural(file[0]))
    return read_mmpose([(str(path), content) for path, content in together])


def _json_files(path: Path) -> list[Path]:
    """List the JSON files that a path names, those in folders inside it included, as tools export them."""
    if not path.exists():
        raise InputError(f"{path}: is missing, expected {EXPECTED}")
    if not path.is_dir():
        hint = ": unpack the archive" if path.suffix.lower() in (".zip", ".tar", ".gz", ".7z") else ""
        if not path.is_file() or hint:
            raise InputError(f"{path}: is no JSON file, expected {EXPECTED}{hint}")
        return [path]
    files = sorted((file for file in path.rglob("*.json") if file.name[0] != "."), key=natural)
    if not files:
        others = sorted(file.name for file in path.iterdir())
        raise InputError(f"{path}: holds no .json but {short(others)}, expected {EXPECTED}")
    return files


def _kind(content: object, path: Path) -> str:
    """Recognise the format of a file by its keys; raises InputError that says what was found."""
    if content == []:
        return EMPTY
    keys = content.keys() if isinstance(content, dict) else set()
    tests = {
        "COCO": keys >= set(_COCO_KEYS),
        "OpenPose": "people" in keys,
        "MMPose": is_picture(content) or is_video(content),
    }
    found = [kind for kind, holds in tests.items() if holds]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"{path}: could be of {' or '.join(found)} by its keys {short(sorted(keys))}, expected {EXPECTED}"
        )
    raise InputError(f"{path}: {_describe(content)}, expected {EXPECTED}")


def _describe(content: object) -> str:
    """Say what an unknown file holds, and what it may be."""
    if isinstance(content, dict):
        missing = [key for key in _COCO_KEYS if key not in content]
        partly = f", as COCO but without {' and '.join(missing)}" if 0 < len(missing) < len(_COCO_KEYS) else ""
        return f"is an object of {short(sorted(content))}{partly}"
    first = content[0] if isinstance(content, list) and content else None
    if not isinstance(first, dict):
        return f"is {short(content)}"
    if "image_id" in first:
        return "is a list of COCO results, which lacks the names of pictures and keypoints"
    if "data" in first:
        return "is Label Studio's own JSON, whose export as COCO can be read"
    return f"is a list of objects of {short(sorted(first))}"
