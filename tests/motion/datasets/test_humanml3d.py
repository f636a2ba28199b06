"""HumanML3D: cuts, captions, splits, mirror images and motion of both forms, and damage of all kinds."""

import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from motion.body import Body
from motion.clips.ground import lowest_skin
from motion.clips.transforms import canonical_start
from motion.datasets import humanml3d
from motion.datasets.clip import Clip
from motion.errors import InputError
from motion.sequence import MotionSequence
from motion.skeleton import JOINT_NAMES
from motion.smpl_parameters import SmplParameters
from tests.helpers.sources import humanml3d as source


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full")
    source.write_dataset(folder)
    return folder


@pytest.fixture(scope="module")
def processed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processed")
    source.write_processed(folder)
    return folder


def clips(folder: Path) -> dict[str, Clip]:
    return {clip.id.removeprefix("humanml3d/"): clip for clip in humanml3d.list_clips(folder)}


def level(joints: np.ndarray) -> np.ndarray:
    """Take the height of the floor out."""
    return joints - joints[..., 2].mean() * np.array([0, 0, 1])


def joint_error(record: MotionSequence, pose: SmplParameters, frames: slice) -> float:
    """Compute the largest joint error in metres, but for the height of the floor."""
    return np.abs(level(record.joints[0]) - level(pose.joints(source.BODY)[0, frames].numpy())).max()


def test_lists_the_clips_of_both_forms(tmp_path: Path) -> None:
    for write in (source.write_dataset, source.write_processed):
        expected = write(tmp_path / write.__name__)
        assert sorted(clip.id for clip in humanml3d.list_clips(tmp_path / write.__name__)) == expected


def test_splits_texts_and_times_of_the_full_form(full: Path) -> None:
    found = clips(full)
    assert {name: clip.split for name, clip in found.items() if "@" not in name} == {
        name: split for split, names in source.SPLITS.items() for name in names
    }
    assert found["000004"].texts == ("a person walks", "someone strolls")
    assert (found["000004"].start, found["000004"].stop) == (0.5, 3.0)
    span = found["000004@0.5-1.5"]
    assert (span.start, span.stop, span.texts) == (1.0, 2.0, ("the left knee bends",))
    assert found["M000004@0.5-1.5"].texts == ("the right knee bends",)
    assert found["M000006"].texts == ("a person turns right, then clockwise",)
    assert (found["000006"].start, found["000006"].stop) == (3.2, 4.2)
    assert (found["000001"].start, found["000001"].stop, found["000001"].texts) == (
        *(0.0, None),
        ("a person raises the right arm",),
    )
    assert not any(clip.problem for clip in found.values())


def test_the_start_of_five_subsets_is_skipped(tmp_path: Path) -> None:
    """HumanML3D's own script drops these seconds before it counts frames, and nothing of other subsets."""
    skipped = {
        "Eyes_Japan_Dataset": 3.0,
        "MPI_HDM05": 3.0,
        "TotalCapture": 1.0,
        "MPI_Limits": 1.0,
        "Transitions_mocap": 0.5,
        **dict.fromkeys(["ACCAD", "CMU", "BioMotionLab_NTroje", "MPI_mosh", "SSM_synced", "humanact12"], 0.0),
    }
    rows = ["source_path,start_frame,end_frame,new_name"]
    (tmp_path / "texts").mkdir()
    for number, subset in enumerate(skipped):
        file = tmp_path / subset / ("x.npy" if subset == "humanact12" else "x_poses.npz")
        file.parent.mkdir()
        file.touch()
        (tmp_path / "texts" / f"{number:06}.txt").write_text("a person walks#a/DET#0.0#0.0\n")
        rows.append(f"./pose_data/{subset}/{file.stem}.npy,40,100,{number:06}.npy")
    (tmp_path / "index.csv").write_text("\n".join(rows))
    (tmp_path / "train.txt").write_text("\n".join(f"{number:06}" for number in range(len(skipped))))
    found = [(clip.start, clip.stop, clip.problem) for clip in humanml3d.list_clips(tmp_path)]
    assert found == [(2.0 + seconds, 5.0 + seconds, None) for seconds in skipped.values()]


def pose(**places: tuple[float, float, float]) -> torch.Tensor:
    """Place both legs alike, 10 cm to either side, of a person upright at the origin who faces +x."""
    joints = torch.zeros(1, 22, 3)
    for side, y in (("left", 0.1), ("right", -0.1)):
        for name, place in places.items():
            joints[0, JOINT_NAMES.index(f"{side}_{name}")] = torch.tensor(place) + torch.tensor([0, y, 0])
    joints[0, JOINT_NAMES.index("pelvis"), 2], joints[0, JOINT_NAMES.index("neck"), 2] = 0.95, 1.45
    return joints


WALKS = pose(hip=(0, 0, 0.9), knee=(0.05, 0, 0.5), ankle=(0, 0, 0.1), foot=(0.12, 0, 0.02))
KNEELS = pose(hip=(0, 0, 0.5), knee=(0.05, 0, 0.05), ankle=(-0.35, 0, 0.05), foot=(-0.45, 0, 0))
OVERSTRETCHES = pose(hip=(0, 0, 0.9), knee=(-0.02, 0, 0.5), ankle=(0, 0, 0.1), foot=(0.12, 0, 0.02))


@pytest.mark.parametrize("joints", [WALKS, KNEELS, OVERSTRETCHES], ids=["walks", "kneels", "overstretches"])
@pytest.mark.parametrize("place", [(0, 0, 0), (50, 0, 0), (-50, 0, 0), (0, 50, 0), (0, -50, 0), (9, 9, -50)])
def test_neither_place_nor_kneeling_nor_stretched_knees_exchange_left_and_right(
    joints: torch.Tensor, place: tuple[float, float, float]
) -> None:
    moved = joints + torch.tensor(place, dtype=torch.float32)
    assert not humanml3d.faces_backwards(moved)
    if joints is WALKS:
        assert humanml3d.faces_backwards(torch.from_numpy(source.exchanged(moved.numpy())))


@pytest.mark.parametrize(
    ("name", "fps", "frames"),
    [
        ("000000", 100.0, slice(0, 150)),
        ("000004", 120.0, slice(60, 360)),
        ("000004@0.5-1.5", 120.0, slice(120, 240)),
        ("000006", 60.0, slice(192, 252)),  # 3 s are skipped
        ("000039", 59.99, slice(10, 50)),  # every int(59.99 / 20)th frame
    ],
)
def test_reads_the_cut_of_an_amass_file(full: Path, body: Body, name: str, fps: float, frames: slice) -> None:
    clip = clips(full)[name]
    record = humanml3d.read_clip(clip, body)
    number = name[:6]
    assert (record.id, record.source, record.split, record.fps) == (clip.id, "humanml3d", clip.split, fps)
    assert joint_error(record, source.walk(source.FULL[number][-1], fps, int(number)), frames) < 1e-4
    assert record.texts == list(clip.texts)
    assert record.provenance["frames"] == f"{frames.start}:{frames.stop}"
    assert record.provenance["file"] == "/".join(Path(source.FULL[number][3]).parts[-3:])
    assert abs(lowest_skin(record, body).min()) < 0.03


def test_humanact12_has_its_left_and_right_put_right(full: Path, body: Body) -> None:
    record = humanml3d.read_clip(clips(full)["000001"], body)
    assert (record.fps, record.num_frames) == (15.0, 24)
    assert record.provenance["left_right"] == "exchanged in the file"
    assert joint_error(record, source.walk(1.6, 15.0, 1), slice(None)) < 0.01


def test_a_mirrored_id_is_the_mirror_image_with_its_own_texts(full: Path, body: Body) -> None:
    found = clips(full)
    plain, mirrored = (humanml3d.read_clip(found[name], body) for name in ("000004", "M000004"))
    assert (mirrored.id, mirrored.texts) == ("humanml3d/M000004", ["a person walks", "someone strolls"])
    assert mirrored.provenance["mirrored"] == "true"
    knees = [JOINT_NAMES.index(f"{side}_knee") for side in ("left", "right")]
    heights = [record.joints[0, :, knees, 2] for record in (plain, mirrored)]
    np.testing.assert_allclose(heights[0], heights[1][::-1], atol=2e-3)
    turned = humanml3d.read_clip(found["M000006"], body)
    assert turned.texts == ["a person turns right, then clockwise"]


@pytest.mark.parametrize("name", ["000000", "000004", "M000004", "000004@0.5-1.5"])
def test_reads_the_processed_form(processed: Path, body: Body, name: str) -> None:
    clip = clips(processed)[name]
    record = humanml3d.read_clip(clip, body)
    pose = source.walk(3.0, 20.0, int(name.removeprefix("M")[:6]))
    frames = slice(10, 30) if "@" in name else slice(0, record.num_frames)
    assert record.fps == 20.0
    assert record.num_frames in (20, 59, 60)
    assert "left_right" not in record.provenance
    wanted = MotionSequence(**vars(record) | pose[:, frames].posed_arrays(body))
    found, wanted = (level(canonical_start(sequence, body).joints) for sequence in (record, wanted))
    assert np.abs(found - wanted).max() < 0.02  # of another shape than the mean by the fit


def test_a_mirrored_id_without_a_motion_is_mirrored_in_the_processed_form(processed: Path, body: Body) -> None:
    found = clips(processed)
    assert (found["M000004"].mirrored, found["M000006"].mirrored) == (False, True)
    assert found["M000006"].files == found["000006"].files
    assert humanml3d.read_clip(found["M000006"], body).provenance["mirrored"] == "true"


def test_a_span_a_little_beyond_the_end_ends_there(processed: Path, body: Body, tmp_path: Path) -> None:
    source.write_processed(tmp_path)
    (tmp_path / "texts" / "000000.txt").write_text("a person walks#a/DET#2.0#3.5\n")
    clip = clips(tmp_path)["000000@2-3.5"]
    assert humanml3d.read_clip(clip, body).num_frames == 20


def test_processed_files_are_taken_where_the_index_has_no_motions(tmp_path: Path) -> None:
    source.write_processed(tmp_path)
    (tmp_path / "index.csv").write_text(
        "source_path,start_frame,end_frame,new_name\n./pose_data/CMU/a,0,1,000000.npy\n"
    )
    assert clips(tmp_path)["000000"].files == (str(tmp_path / "new_joints" / "000000.npy"),)


def test_an_index_that_a_table_program_saved_is_the_same(tmp_path: Path) -> None:
    source.write_dataset(tmp_path)
    before, index = humanml3d.list_clips(tmp_path), tmp_path / "index.csv"
    saved = re.sub(r",(-?\d+),(-?\d+),", r",\1.0,\2.0,", index.read_text())
    index.write_text("\ufeff" + saved, encoding="utf-8")
    assert ".0," in saved
    assert humanml3d.list_clips(tmp_path) == before
    index.write_text(saved.replace(".0,", ".5,"))
    problems = [clip.problem or "" for clip in humanml3d.list_clips(tmp_path)]
    assert any("expected whole numbers 0 <= start < end" in problem for problem in problems)


def test_a_subset_may_be_linked_into_the_root(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    root.mkdir()
    source.write_dataset(root)
    before = humanml3d.list_clips(root)
    (root / "amass_data").rename(elsewhere)
    (root / "amass_data").symlink_to(elsewhere)
    assert humanml3d.list_clips(root) == before


def test_something_else_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lacks train\.txt"):
        humanml3d.list_clips(tmp_path)
    (tmp_path / "train.txt").write_text("000000\n")
    with pytest.raises(InputError, match="is no HumanML3D data set"):
        humanml3d.list_clips(tmp_path)
    (tmp_path / "index.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="expected the columns source_path"):
        humanml3d.list_clips(tmp_path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # NumPy parses a damaged header as Python
def test_damaged_arrays_never_raise_anything_else(
    processed: Path, tmp_path: Path, body: Body, rng: np.random.Generator
) -> None:
    path = tmp_path / "joints.npy"
    clip = Clip("humanml3d/damaged", "humanml3d", (str(path),))
    for form in ("new_joints/000000.npy", "new_joint_vecs/000004.npy"):
        whole = np.frombuffer((processed / form).read_bytes(), dtype=np.uint8)
        for attempt in range(60):
            damaged = whole[: rng.integers(len(whole))].copy() if attempt % 2 else whole.copy()
            head = slice(0, min(len(damaged), 130 if attempt % 4 else len(damaged)))
            places = rng.integers(0, max(1, head.stop), size=3)
            damaged[places[places < len(damaged)]] = rng.integers(0, 256)
            path.write_bytes(damaged.tobytes())
            with suppress(InputError):
                humanml3d.read_clip(clip, body)


def test_the_official_sample_is_read(shared_data: Path, tmp_path: Path, body: Body) -> None:
    sample = shared_data / "humanml3d_sample"
    official = np.load(sample / "new_joints_012314.npy")
    for form in ("new_joints", "new_joint_vecs"):
        (tmp_path / form).mkdir()
        (tmp_path / form / "012314.npy").write_bytes((sample / f"{form}_012314.npy").read_bytes())
        joints = humanml3d.read_joints(tmp_path / form / "012314.npy")
        np.testing.assert_allclose(source.y_up(joints), official, atol=1e-4)
    assert not humanml3d.faces_backwards(joints)
    assert humanml3d.faces_backwards(torch.from_numpy(source.exchanged(joints.numpy())))
    record = humanml3d.read_clip(Clip("a", "humanml3d", (str(tmp_path / "new_joints" / "012314.npy"),)), body)
    error = np.linalg.norm(level(record.joints[0, :, :22]) - level(joints.numpy()), axis=-1)
    assert error.mean() < 0.06


def test_the_official_index_finds_all_its_motions_under_either_name(shared_data: Path, tmp_path: Path) -> None:
    """Each row's key is its own, as AMASS names the files today too."""
    lines = (shared_data / "text_annotations" / "humanml3d_index.csv").read_text().splitlines()[1:]
    paths = {line.split(",")[0] for line in lines}
    keys = {humanml3d._key(path) for path in paths}
    assert len(paths) == len(keys) == 11715
    assert None not in keys
    assert humanml3d._key("./pose_data/MPI_HDM05/mm/HDM_mm_01_poses.npy") == humanml3d._key(
        "HDM05/mm/HDM_mm_01_stageii.npz"
    )
