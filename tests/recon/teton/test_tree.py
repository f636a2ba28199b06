"""Teton tree: written files are read back, broken ones are refused in one sentence."""

import json
import os
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from motion.errors import InputError
from motion.sequence import LABELS
from motion.skeleton import ACTIONS, PERSON_CLASSES
from recon.teton import PERSON_LABEL, Track, list_sequences, read_sequence, require_file_names, tree, write_sequence
from recon.teton.marks import draw_people
from tests.helpers.teton import FRAMES, HEIGHT, KEYFRAMES, NAMES, WIDTH, change_annotations, make_track, write_valid

DAMAGE = "annotations.json"


@given(seed=st.integers(0, 2**32 - 1), persons=st.integers(1, 4), known=st.booleans())
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_tracks_come_back_as_they_were_written(tmp_path: Path, seed: int, persons: int, known: bool) -> None:
    rng = np.random.default_rng(seed)
    tracks = [make_track(rng, f"person {index}") for index in range(persons)]
    intrinsics = np.array([[60.3, 0, 31.7], [0, 59.1, 20.2], [0, 0, 1]]) if known else None
    write_valid(tmp_path / "a" / "b" / "c" / "d", tracks, intrinsics)
    sequence = read_sequence(tmp_path / "a" / "b" / "c" / "d")
    assert (sequence.id, sequence.image_size, sequence.num_frames) == ("a/b/c/d", (WIDTH, HEIGHT), FRAMES)
    assert (sequence.keyframes, sequence.keypoint_names, sequence.fps) == (KEYFRAMES, NAMES, 10.0)
    np.testing.assert_array_equal(sequence.intrinsics, intrinsics)
    assert len(sequence.tracks) == persons
    for read, written in zip(sequence.tracks, tracks, strict=True):
        for name, value in vars(written).items():
            np.testing.assert_array_equal(getattr(read, name), value, err_msg=name)


def test_pixels_come_back(tmp_path: Path) -> None:
    columns = np.linspace(0, 255, WIDTH, dtype=np.uint8)
    frame = np.stack([np.tile(columns, (HEIGHT, 1)), np.full((HEIGHT, WIDTH), 40, np.uint8)] * 2, axis=-1)[..., :3]
    mask = (np.indices((HEIGHT, WIDTH)).sum(axis=0) % 10).astype(np.uint8)
    track = make_track(np.random.default_rng(0), "7")
    write_valid(tmp_path, [track])
    for _ in range(2):  # over what is there, with fewer frames
        write_sequence(
            tmp_path, frames=[frame] * 3, tracks=[_cut(track, 3)], image_size=(WIDTH, HEIGHT), fps=10.0,
            intrinsics=None, keypoint_names=NAMES, keyframes=[1], masks={1: mask}, quality=95,
        )  # fmt: skip
    sequence = read_sequence(tmp_path)
    assert sequence.num_frames == 3
    assert np.abs(sequence.frame(2).astype(int) - frame).mean() < 3
    np.testing.assert_array_equal(sequence.mask(1), mask)


def test_a_sequence_may_have_depth_and_no_masks(tmp_path: Path) -> None:
    """The one that is written over it has none: what was measured before is gone."""
    track, metres = make_track(np.random.default_rng(0), "7"), np.full((HEIGHT, WIDTH), 2.345, dtype=np.float32)
    for depth in ({3: metres}, None):
        write_sequence(
            tmp_path, frames=[np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * FRAMES, tracks=[track],
            image_size=(WIDTH, HEIGHT), fps=10.0, intrinsics=None, keypoint_names=NAMES, keyframes=[3], masks={},
            depth=depth,
        )  # fmt: skip
        sequence = read_sequence(tmp_path)
        assert (sequence.masked, sequence.measured) == (False, depth is not None)
        np.testing.assert_array_equal(sequence.mask(3), draw_people([track], 3, (WIDTH, HEIGHT)))
        if depth:
            np.testing.assert_allclose(sequence.depth(3), metres, atol=5.1e-4)


def _cut(track: Track, stop: int) -> Track:
    arrays = {name: value[:stop] for name, value in vars(track).items() if isinstance(value, np.ndarray)}
    return Track(track.object_id, track.person_class, **arrays)


def test_sequences_whose_files_would_have_one_name_are_refused() -> None:
    one, other = (Path("rooms", *names, "day", "time") for names in (("x_y", "z"), ("x", "y_z")))
    require_file_names([one, other.with_name("noon"), one])
    with pytest.raises(InputError, match="x/y_z/day/time and rooms/x_y/z/day/time would have one name"):
        require_file_names([one, other])


def test_a_name_that_no_file_or_no_table_can_have_is_refused(tmp_path: Path) -> None:
    require_file_names([tmp_path / "a" / "b" / "c" / ("x" * 224)])
    with pytest.raises(InputError, match="its last four names have 231 bytes, expected 230 or fewer"):
        require_file_names([tmp_path / "a" / "b" / "c" / ("x" * 225)])
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a/b/c/x\xff/frames")).mkdir(parents=True)
    with pytest.raises(InputError, match=r"the path '.*/a/b/c/x\\udcff' is not UTF-8: rename it"):
        list_sequences(tmp_path)


def test_sequences_are_listed_without_being_read(tmp_path: Path) -> None:
    for name in ("b/c/d/whole", "b/c/d/torn", "a/c/d/frames_only", "a/c/d/other"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "b/c/d/whole/annotations.json").write_text("no JSON")
    (tmp_path / "b/c/d/torn/annotations.json").touch()
    (tmp_path / "a/c/d/frames_only/frames").mkdir()
    found = [str(path.relative_to(tmp_path)) for path in list_sequences(tmp_path)]
    assert found == ["a/c/d/frames_only", "b/c/d/torn", "b/c/d/whole"]


def meta(**values: Any) -> Callable[[Path], None]:
    return lambda folder: change_annotations(folder, lambda content: content["meta"].update(values))


def without_meta(key: str) -> Callable[[Path], None]:
    return lambda folder: change_annotations(folder, lambda content: content["meta"].pop(key))


def first_frame(**values: Any) -> Callable[[Path], None]:
    return lambda folder: change_annotations(folder, lambda content: content["7"]["frames"]["0"].update(values))


def person(**values: Any) -> Callable[[Path], None]:
    return lambda folder: change_annotations(folder, lambda content: content["7"].update(values))


def top(**values: Any) -> Callable[[Path], None]:
    return lambda folder: change_annotations(folder, lambda content: content.update(values))


def text(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content) and None


def keep(count: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        for number in range(count, FRAMES):
            (folder / "frames" / f"{number:06d}.jpg").unlink()

    return damage


def no_scores(content: dict[str, Any]) -> None:
    for annotation in content["7"]["frames"].values():
        annotation["keypoints"] = [[1, 2, 0]] * len(NAMES)


def truncate(folder: Path) -> None:
    path = folder / "frames" / "000002.jpg"
    path.write_bytes(path.read_bytes()[:-700])


def image(name: str, size: tuple[int, int], value: int = 0, mode: str = "L") -> Callable[[Path], None]:
    return lambda folder: Image.new(mode, size, value).save(folder / name)


def bitmap(folder: Path) -> None:
    Image.new("L", (WIDTH, HEIGHT)).save(folder / "masks/000003.png", "BMP")


POINT = [3.0, 4.0, 1.0]
BROKEN: dict[str, tuple[Callable[[Path], Any], tuple[str, ...]]] = {
    "no annotations": (lambda f: (f / DAMAGE).unlink(), (DAMAGE, "No such file")),
    "no JSON": (text(DAMAGE, '{"meta": '), (DAMAGE, "not JSON")),
    "a list": (text(DAMAGE, "[1, 2]"), (DAMAGE, "[1, 2]")),
    "no meta": (lambda f: change_annotations(f, lambda c: c.pop("meta")), (DAMAGE, "no meta")),
    "no size": (without_meta("image_size"), ("no image_size",)),
    "no fps": (without_meta("fps"), ("fps is None",)),
    "no names": (without_meta("keypoint_names"), ("no keypoint_names",)),
    "size of nothing": (meta(image_size=[0, 48]), ("image_size is [0.0, 48.0]",)),
    "size in words": (meta(image_size="64x48"), ("image_size is '64x48'",)),
    "fps of 0": (meta(fps=0), ("fps is 0",)),
    "fps of NaN": (meta(fps=float("nan")), ("fps is nan",)),
    "unknown names": (meta(keypoint_names=["nose", "hat", "tail"]), ("keypoint_names", "1 are known")),
    "a name twice": (meta(keypoint_names=["nose", *NAMES]), ("'nose' twice",)),
    "no focal length": (meta(intrinsics=[-60, 60, 32, 24]), ("intrinsics", "-60")),
    "short focal length": (meta(intrinsics=[60, 5, 32, 24]), ("intrinsics", "length 5,")),
    "focal lengths that differ": (meta(intrinsics=[60, 100, 32, 24]), ("intrinsics", "60 and 100")),
    "principal point in a corner": (meta(intrinsics=[60, 60, 0, 0]), ("intrinsics", "(0, 0)", "middle")),
    "long focal length": (meta(intrinsics=[60, 6000, 32, 24]), ("intrinsics", "6000")),
    "centre outside": (meta(intrinsics=[60, 60, 32, 900]), ("intrinsics", "(32, 900)")),
    "three intrinsics": (meta(intrinsics=[60, 60, 32]), ("intrinsics is [60, 60, 32]",)),
    "nobody": (lambda f: change_annotations(f, lambda c: c.pop("7")), (DAMAGE, "0 persons")),
    "person of null": (top(**{"7": None}), ("object 7 is None",)),
    "unknown class": (person(**{"class": "robot"}), ("object 7", "class is 'robot'")),
    "no annotated frame": (person(frames={}), ("object 7", "frames is empty")),
    "frame beyond": (person(frames={"90": {}}), ("object 7, frame 90", "0 to 4")),
    "frame in words": (person(frames={"first": {}}), ("object 7, frame first",)),
    "no keypoints anywhere": (lambda f: change_annotations(f, no_scores), (DAMAGE, "score above 0 nowhere")),
    "no keypoints key": (person(frames={"2": {"box": [0, 0, 9, 9], "center": [4, 4]}}), ("frame 2", "no keypoints")),
    "too few keypoints": (first_frame(keypoints=[POINT] * 3), ("object 7, frame 0", "3 entries, expected 17")),
    "keypoints of two": (first_frame(keypoints=[POINT[:2]] * 17), ("object 7, frame 0", "keypoints is [[3.0, 4.0]")),
    "keypoints of NaN": (first_frame(keypoints=[[float("nan"), 0, 1], *[POINT] * 16]), ("frame 0", "keypoints", "nan")),
    "score of 3": (first_frame(keypoints=[POINT] * 16 + [[1, 2, 3]]), ("frame 0", "score [3.]")),
    "box turned over": (first_frame(box=[20, 5, 10, 30]), ("object 7, frame 0", "box", "[20.0, 5.0, 10.0, 30.0]")),
    "box outside": (first_frame(box=[100, 5, 130, 30]), ("object 7, frame 0", "box", "outside", "64x48")),
    "box of infinity": (first_frame(box=[0, 0, float("inf"), 9]), ("object 7, frame 0", "box", "inf")),
    "box of a huge number": (first_frame(box=[-(2**63), 0, 9, 9]), ("object 7, frame 0", "box", "-9.2")),
    "box of null": (first_frame(box=None), ("object 7, frame 0", "box is None")),
    "box in shares": (first_frame(box=[0.1, 0.2, 0.6, 0.9]), ("object 7, frame 0", "looks like shares of the image")),
    "keypoints in shares": (
        first_frame(box=[30, 20, 50, 45], keypoints=[[0.4, 0.6, 1.0]] * 17),
        ("object 7, frame 0", "keypoints lie about [0.4, 0.6], far outside the box [30.0, 20.0, 50.0, 45.0]"),
    ),
    "centre of words": (first_frame(center=["a", "b"]), ("object 7, frame 0", "center is ['a', 'b']")),
    "occluded of 3": (first_frame(occluded=3), ("object 7, frame 0", "occluded is 3")),
    "action out of range": (first_frame(action=12), ("object 7, frame 0", "action is 12")),
    "action below 0": (first_frame(action=-1), ("object 7, frame 0", "action is -1")),
    "no frames": (keep(0), ("frames", "0 .jpg")),
    "one frame": (keep(1), ("frames", "1 .jpg")),
    "two frames": (keep(2), ("frames", "2 .jpg")),
    "a gap": (lambda f: (f / "frames/000001.jpg").unlink(), ("000002.jpg", "000001.jpg was expected")),
    "empty JPEG": (lambda f: (f / "frames/000002.jpg").write_bytes(b""), ("000002.jpg", "0 bytes")),
    "half a JPEG": (truncate, ("000002.jpg", "truncated")),
    "frame of another size": (image("frames/000002.jpg", (32, 24)), ("000002.jpg", "32x24", "64x48")),
    "mask of another size": (image("masks/000003.png", (32, 24)), ("masks/000003.png", "32x24", "64x48")),
    "mask of another format": (bitmap, ("masks/000003.png", "no image")),
    "mask in colour": (image("masks/000003.png", (64, 48), mode="RGB"), ("masks/000003.png", "mode RGB")),
    "mask of nobody": (image("masks/000003.png", (64, 48), PERSON_LABEL + 1), ("masks/000003.png", "label [129]")),
    "mask of an unknown label": (image("masks/000003.png", (64, 48), 10), ("masks/000003.png", "label [10]")),
    "no mask": (lambda f: (f / "masks/000003.png").unlink(), ("masks/000003.png", "missing")),
    "mask that is text": (text("masks/000003.png", "hello"), ("masks/000003.png", "5 bytes")),
    "key frame beyond": (text("keyframes.json", "[0, 5]"), ("keyframes.json", "holds 5", "0 to 4")),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_told_in_one_sentence(folder: Path, case: str) -> None:
    damage, words = BROKEN[case]
    damage(folder)
    with pytest.raises(InputError) as raised:
        read_all(folder)
    sentence = str(raised.value)
    assert sentence.startswith(str(folder))
    assert "\n" not in sentence
    for word in (*words, "expected"):
        assert word in sentence, sentence


def read_all(folder: Path) -> None:
    sequence = read_sequence(folder)
    for number in range(sequence.num_frames):
        sequence.frame(number)
    for number in sequence.keyframes:
        sequence.mask(number)


KEYS = re.findall(r"^    ([\w.]+) +(required|optional) ", tree.__doc__ or "", flags=re.MULTILINE)


@pytest.fixture
def documented(folder: Path) -> Path:
    """Write a folder with the example of the module's docstring in place of its annotations."""
    text = textwrap.dedent(re.search(r"^    \{\n.*?^    \}$", tree.__doc__ or "", flags=re.MULTILINE | re.DOTALL)[0])  # type: ignore[index]
    example = json.loads(text)
    for path in (*folder.glob("frames/*.jpg"), *folder.glob("masks/*.png")):
        Image.open(path).resize(example["meta"]["image_size"], Image.Resampling.NEAREST).save(path)
    (folder / "annotations.json").write_text(text)
    return folder


def test_the_documented_example_is_read(documented: Path) -> None:
    (patient,) = read_sequence(documented).tracks
    assert PERSON_CLASSES[patient.person_class] == "patient"
    assert ACTIONS[patient.action[0]] == "standing_on_floor"
    assert patient.present.tolist() == [True] + [False] * (FRAMES - 1)


@pytest.mark.parametrize(("key", "need"), KEYS)
def test_keys_are_required_as_documented(documented: Path, key: str, need: str) -> None:
    def remove(content: dict[str, Any]) -> None:
        owner, _, name = key.rpartition(".")
        place = {"meta": content["meta"], "ID": content["7"], "": content["7"]["frames"]["0"]}[owner]
        del place[name]

    change_annotations(documented, remove)
    if need == "optional":
        read_sequence(documented)
    else:
        with pytest.raises(InputError, match=key.rpartition(".")[2]):
            read_sequence(documented)


def test_boxes_in_percent_are_refused(documented: Path) -> None:
    def shrink(content: dict[str, Any]) -> None:
        frame = content["7"]["frames"]["0"]
        frame["box"] = [31, 20, 47, 83]
        frame["keypoints"] = [[x / 6.4, y / 4.8, score] for x, y, score in frame["keypoints"]]

    change_annotations(documented, shrink)
    with pytest.raises(
        InputError, match=r"annotations\.json: boxes reach to 83, which looks like percent, expected pixels"
    ):
        read_sequence(documented)


def test_a_stray_keypoint_is_let_in(documented: Path) -> None:
    change_annotations(documented, lambda content: content["7"]["frames"]["0"]["keypoints"][0].__setitem__(0, 5))
    assert read_sequence(documented).tracks[0].keypoints[0, 0, 0] == 5


def test_what_a_mac_leaves_beside_frames_is_passed_over(folder: Path) -> None:
    (folder / "frames" / "._000000.jpg").write_bytes(b"left by macOS")
    assert read_sequence(folder).num_frames == FRAMES


def test_reading_leaves_the_folder_as_it_is(folder: Path) -> None:
    """A mask that is added later makes another key frame."""
    (folder / "keyframes.json").unlink()
    (folder / "masks" / "000000.png").rename(folder / "masks" / "000002.png")
    before = sorted(folder.rglob("*"))
    assert read_sequence(folder).keyframes == (2, 3)
    assert sorted(folder.rglob("*")) == before
    (folder / "masks" / "000002.png").rename(folder / "masks" / "000000.png")
    assert read_sequence(folder).keyframes == (0, 3)


def test_every_key_is_documented() -> None:
    assert len(KEYS) == 11
    assert all(f"{index} {name}" in " ".join(tree.__doc__.split()) for index, name in enumerate(LABELS))  # type: ignore[union-attr]
