"""Videos as FFmpeg writes them: rates, turns, shapes of pixels, and damage."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from motion.errors import InputError
from recon.teton.importing.video import open_video, turned
from tests.helpers.recordings import write_video

WIDTH, HEIGHT = 64, 48


def frames(count: int, width: int = WIDTH, height: int = HEIGHT) -> list[np.ndarray]:
    """Draw frames with a bright upper left corner and a level that says their number."""
    drawn = []
    for number in range(count):
        frame = np.full((height, width, 3), 20 + 7 * number, dtype=np.uint8)
        frame[: height // 4, : width // 4] = 255
        drawn.append(frame)
    return drawn


def levels(path: Path, numbers: list[int]) -> list[int]:
    recording = open_video(path)
    return [round(frame[-8:, -8:].mean()) for frame in recording.read(numbers, recording.size)]


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4")])
def test_frames_have_their_numbers_and_times(tmp_path: Path, name: str, codec: str) -> None:
    path = tmp_path / name
    times = [k / 25 for k in range(20)]
    write_video(path, frames(20), times, codec=codec)
    recording = open_video(path)
    np.testing.assert_allclose(recording.times, times, atol=2e-3)
    assert (recording.size, recording.shown_size, recording.length) == ((64, 48), (64, 48), 20)
    assert recording.notes == ()
    expected = [20 + 7 * k for k in (0, 1, 7, 19)]
    assert np.abs(np.array(levels(path, [0, 1, 7, 19])) - expected).max() <= 3
    assert np.abs(recording.thumbnails[:, -1, -1, 0].astype(int) - [20 + 7 * k for k in range(20)]).max() <= 3


def test_a_variable_rate_keeps_its_times(tmp_path: Path) -> None:
    times = [0, 0.1, 0.13, 0.3, 0.39, 0.78, 0.8]
    write_video(tmp_path / "a.mp4", frames(7), times)
    np.testing.assert_allclose(open_video(tmp_path / "a.mp4").times, times, atol=1e-3)


def test_the_first_time_need_not_be_zero(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", frames(4), [5, 5.1, 5.2, 5.3])
    np.testing.assert_allclose(open_video(tmp_path / "a.mkv").times, [0, 0.1, 0.2, 0.3], atol=1e-3)


@pytest.mark.parametrize("turn", [0, 90, 180, -90])
@pytest.mark.parametrize("mirrored", [False, True])
def test_frames_are_upright_as_players_show_them(tmp_path: Path, turn: int, mirrored: bool) -> None:
    """Check against NumPy's turns, counter-clockwise as the flag of the file."""
    path = tmp_path / "a.mp4"
    picture = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    picture[: HEIGHT // 2, : WIDTH // 2, 0] = 250
    picture[HEIGHT // 2 :, : WIDTH // 2] = 120
    write_video(path, [picture] * 4, [0, 0.1, 0.2, 0.3], turn=turn, mirrored=mirrored)
    recording = open_video(path)
    expected = np.rot90(picture, turn // 90)
    if mirrored:  # FFmpeg mirrors after the turn
        expected = expected[:, ::-1]
    assert recording.size == expected.shape[1::-1] == recording.shown_size
    (frame,) = recording.read([2], recording.size)
    assert np.abs(frame.astype(int) - expected).mean() < 8
    assert bool(recording.notes) == (turn != 0 or mirrored)


def test_turns_are_exact() -> None:
    """Check that a point x, y goes to `(x, y) @ turn`, whatever the turn."""
    frame = np.arange(HEIGHT * WIDTH * 3, dtype=np.int64).reshape(HEIGHT, WIDTH, 3).astype(np.uint8)
    for turn in ([[0, 1], [-1, 0]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[-1, 0], [0, 1]], [[0, 1], [1, 0]]):
        matrix = np.array(turn)
        corner = np.array([[0, 0], [WIDTH - 1, HEIGHT - 1]]) @ matrix
        x, y = np.array([5, 9]) @ matrix - corner.min(axis=0)
        np.testing.assert_array_equal(turned(frame, matrix)[y, x], frame[9, 5])


def test_a_turn_between_is_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames(3), [0, 0.1, 0.2], turn=30)
    with pytest.raises(InputError, match="is turned by 30 degrees when shown, expected quarter turns"):
        open_video(tmp_path / "a.mp4")


@pytest.mark.parametrize(("turn", "shown"), [(0, (128, 48)), (90, (48, 128))])
def test_pixels_that_are_not_square(tmp_path: Path, turn: int, shown: tuple[int, int]) -> None:
    write_video(tmp_path / "a.mp4", frames(3), [0, 0.1, 0.2], turn=turn, aspect=Fraction(2, 1))
    recording = open_video(tmp_path / "a.mp4")
    assert recording.size == ((64, 48) if turn == 0 else (48, 64))
    assert recording.shown_size == shown
    assert any("pixels are not square (2 times as wide as high)" in note for note in recording.notes)


def test_the_time_of_the_recording(tmp_path: Path) -> None:
    for created, expected in (
        ("2024-05-01T23:20:30.000000Z", "2024-05-01 23:20"),
        ("1904-01-01T00:00:00Z", "2023-11-14 22:13"),
    ):
        path = tmp_path / "a.mp4"
        write_video(path, frames(3), [0, 0.1, 0.2], created=created)
        os.utime(path, (1_700_000_000, 1_700_000_000))
        assert f"{open_video(path).recorded:%Y-%m-%d %H:%M}" == expected


def test_a_rate_takes_the_place_of_times(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames(5), [0, 0.1, 0.2, 3, 4])
    np.testing.assert_allclose(open_video(tmp_path / "a.mp4", fps=5.0).times, [0, 0.2, 0.4, 0.6, 0.8])


def test_the_end_stops_early_and_the_count_stays(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames(20), [k / 10 for k in range(20)])
    recording = open_video(tmp_path / "a.mp4", end=0.5)
    assert (len(recording.times), recording.length) == (7, 20)


def raw(path: Path) -> Path:
    """Write the bare stream of a codec, which has no times."""
    write_video(path.with_suffix(".mp4"), frames(6), [k / 10 for k in range(6)])
    with av.open(str(path.with_suffix(".mp4"))) as source, av.open(str(path), "w", format="h264") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return path


def test_a_bare_stream_needs_its_rate(tmp_path: Path) -> None:
    path = raw(tmp_path / "a.h264")
    with pytest.raises(InputError, match="frame 0 has no time, expected one: say the rate by --recorded-fps"):
        open_video(path)
    assert len(open_video(path, fps=10.0).times) == 6


def damaged(path: Path, kind: str) -> Path:
    """Write a file that is no whole video."""
    if kind == "missing":
        return path
    write_video(path, frames(30), [k / 10 for k in range(30)])
    content = path.read_bytes()
    if kind == "sound":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=44100)
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
            sound.rate = 44100
            container.mux(stream.encode(sound))
            container.mux(stream.encode())
    else:
        path.write_bytes({"empty": b"", "text": b"no video", "cut": content[: len(content) // 2]}[kind])
    return path


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("missing", "is missing, expected a video file or a folder"),
        ("empty", "is no video that can be read"),
        ("text", "is no video that can be read"),
        ("cut", "is no video that can be read"),
        ("sound", "has no pictures, expected a video file"),
    ],
)
def test_what_is_no_video_is_a_sentence(tmp_path: Path, kind: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        open_video(damaged(tmp_path / "a.mp4", kind))


def test_a_video_that_changes_its_size_is_refused(tmp_path: Path) -> None:
    """Put two bare streams of two sizes after one another."""
    first, second = raw(tmp_path / "a.h264"), tmp_path / "b.mp4"
    write_video(second, frames(6, 80, 60), [k / 10 for k in range(6)])
    with av.open(str(second)) as source, av.open(str(tmp_path / "b.h264"), "w", format="h264") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    first.write_bytes(first.read_bytes() + (tmp_path / "b.h264").read_bytes())
    with pytest.raises(InputError, match="frame 6 is 80x60 and those before 64x48, expected one size"):
        open_video(first, fps=10.0)


def test_a_playlist_does_not_lead_to_the_network(tmp_path: Path) -> None:
    (tmp_path / "a.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(InputError, match=r"a.m3u8: (is no video that can be read|has no pictures)"):
        open_video(tmp_path / "a.m3u8")
