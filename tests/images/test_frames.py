import io
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from videos import video

from envise_tf.errors import UserError
from envise_tf.images.frames import Batch, Frames, PhotographFrames, VideoFrames
from envise_tf.images.photographs import decoded_square

RANDOM = np.random.default_rng(0)
SIDE = 8


def photograph(path: Path, shade: int, changed: float, size=(20, 12)) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, 0, 0)).save(path)
    os.utime(path, (changed, changed))
    return str(path)


def broken(path: Path, changed: float) -> str:
    path.write_bytes(b"no image")
    os.utime(path, (changed, changed))
    return str(path)


def folder_of(tmp_path: Path, count: int, broken_at: tuple[int, ...] = ()) -> Path:
    """Photographs whose shade is their position, with broken files between them; their names do not tell the order."""
    for number in range(count):
        path = tmp_path / f"{number * 7 % count:02}.png"
        broken(path, 1000 + number) if number in broken_at else photograph(path, number, 1000 + number)
    return tmp_path


def whole(frames: Frames, first: int = 0, batch_size: int = 4) -> list[tuple[int, bytes]]:
    """Number and pixels of every image."""
    batches = frames.batches(first, batch_size)
    return [
        (int(n), image.tobytes()) for batch in batches for n, image in zip(batch.numbers, batch.images, strict=True)
    ]


def numbers(frames: Frames, first: int = 0, batch_size: int = 4) -> list[list[int]]:
    return [batch.numbers.tolist() for batch in frames.batches(first, batch_size)]


def red(frames: Frames) -> list[int]:
    return [int(shade) for batch in frames.batches(0, 4) for shade in batch.images[:, 0, 0, 0]]


def message(make) -> str:
    with pytest.raises(UserError) as caught:
        make()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_photographs_come_by_time_of_change_and_then_by_path(tmp_path):
    oldest = photograph(tmp_path / "z.jpg", 1, 1000)
    second = photograph(tmp_path / "b" / "a.webp", 2, 1000.5)
    alike = [photograph(tmp_path / name, 3, 2000) for name in ("a.png", "c/a.png", "d.PNG")]
    photograph(tmp_path / ".hidden.png", 9, 1)
    (tmp_path / "notes.txt").write_text("none")
    frames = PhotographFrames(str(tmp_path), SIDE)
    assert frames.paths == (oldest, second, *alike)
    assert frames.length == 5
    assert (frames.name, frames.class_names, frames.phase_names, frames.phase_starts) == (tmp_path.name, (), (), ())
    np.testing.assert_allclose(red(frames), [1, 2, 3, 3, 3], atol=2)  # two of them are lossy


def test_photographs_are_cut_and_resized_as_everywhere(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(RANDOM.integers(0, 256, (31, 50, 3), np.uint8)).save(path)
    (batch,) = PhotographFrames(str(tmp_path), SIDE).batches(0, 4)
    np.testing.assert_array_equal(batch.images, decoded_square(path.read_bytes(), SIDE)[np.newaxis])


def test_a_batch_of_photographs_has_neither_truth_nor_phase(tmp_path):
    batch = next(PhotographFrames(str(folder_of(tmp_path, 5)), SIDE).batches(0, 3))
    assert isinstance(batch, Batch)
    assert batch.images.shape == (3, SIDE, SIDE, 3)
    assert batch.images.dtype == np.uint8
    for column, expected in ((batch.numbers, [0, 1, 2]), (batch.truth, [-1] * 3), (batch.phase, [-1] * 3)):
        assert column.dtype == np.int64
        assert column.tolist() == expected


def test_the_last_batch_may_be_smaller(tmp_path):
    frames = PhotographFrames(str(folder_of(tmp_path, 10)), SIDE)
    assert numbers(frames) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert numbers(frames, 8) == [[8, 9]]
    assert numbers(frames, 10) == numbers(frames, 99) == []
    assert red(frames) == list(range(10))


@pytest.mark.parametrize("first", [1, 3, 4, 5, 100, 149])
def test_photographs_go_on_from_any_position(tmp_path, first):
    frames = PhotographFrames(str(folder_of(tmp_path, 150, broken_at=(0, 4, 70))), SIDE)
    assert whole(frames, first) == [frame for frame in whole(frames) if frame[0] >= first]


def test_a_broken_photograph_is_named_once_and_leaves_a_gap(tmp_path, caplog):
    frames = PhotographFrames(str(folder_of(tmp_path, 8, broken_at=(1, 5))), SIDE)
    with caplog.at_level(logging.WARNING, "envise_tf"):
        assert numbers(frames) == numbers(frames) == [[0, 2, 3, 4], [6, 7]]
    assert frames.length == 8
    assert set(frames.unreadable) == {frames.paths[1], frames.paths[5]}
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        f"skipped {frames.paths[1]}",
        f"skipped {frames.paths[5]}",
    ]


def test_a_list_written_earlier_keeps_its_order_though_files_came_and_went(tmp_path):
    earlier = PhotographFrames(str(folder_of(tmp_path, 6)), SIDE)
    before = whole(earlier)
    photograph(tmp_path / "new.png", 99, 1)
    os.utime(earlier.paths[0], (9999, 9999))
    os.remove(earlier.paths[3])
    assert PhotographFrames(str(tmp_path), SIDE).paths != earlier.paths
    resumed = PhotographFrames(str(tmp_path), SIDE, list(earlier.paths))
    assert resumed.length == 6
    assert whole(resumed) == [frame for frame in before if frame[0] != 3]
    assert set(resumed.unreadable) == {earlier.paths[3]}


def test_a_link_to_nowhere_is_an_unreadable_file(tmp_path):
    photograph(tmp_path / "a.png", 5, 1000)
    (tmp_path / "b.png").symlink_to(tmp_path / "nowhere.png")
    frames = PhotographFrames(str(tmp_path), SIDE)
    assert numbers(frames) == [[1]]
    assert set(frames.unreadable) == {str(tmp_path / "b.png")}


def test_only_a_few_photographs_are_decoded_ahead(tmp_path):
    frames = PhotographFrames(str(folder_of(tmp_path, 200)), SIDE).frames(0)
    next(frames)
    for path in tmp_path.iterdir():
        path.unlink()
    assert len(list(frames)) <= 65


def test_a_folder_without_photographs_is_a_user_error(tmp_path):
    assert "holds no JPEG, PNG or WebP file: expected at least one" in message(
        lambda: PhotographFrames(str(tmp_path), 8)
    )
    assert "there is no folder" in message(lambda: PhotographFrames(str(tmp_path / "nowhere"), 8))
    photograph(tmp_path / "a.png", 1, 1)
    assert "there is no folder" in message(lambda: PhotographFrames(str(tmp_path / "a.png"), 8))
    assert "image size 0 given" in message(lambda: PhotographFrames(str(tmp_path), 0))


def shades(count: int) -> np.ndarray:
    """Images whose red is ten times their position."""
    images = np.zeros((count, 32, 48, 3), np.uint8)
    images[..., 0] = 10 * np.arange(count)[:, np.newaxis, np.newaxis]
    return images


def damaged(path: Path, frames: tuple[int, ...], name: str = "damaged.avi") -> Path:
    """Returns a copy of a Motion JPEG whose given frames are overwritten with zeros."""
    content = bytearray(path.read_bytes())
    starts, start = [], content.find(b"movi")
    while (start := content.find(b"00dc", start + 1)) != -1:
        starts.append(start)
    for start in [starts[frame] for frame in frames]:
        size = int.from_bytes(content[start + 4 : start + 8], "little")
        content[start + 8 : start + 8 + size] = bytes(size)
    copy = path.parent / name
    copy.write_bytes(content)
    return copy


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


@pytest.mark.parametrize("shape", [(32, 48), (48, 32), (40, 40), (8, 8)])
def test_a_frame_is_cut_and_resized_as_a_photograph_of_it(tmp_path, shape):
    images = RANDOM.integers(0, 256, (3, *shape, 3), np.uint8)
    frames = VideoFrames(str(video(tmp_path / "a.avi", images)), SIDE)
    (batch,) = frames.batches(0, 4)
    np.testing.assert_array_equal(batch.images, [decoded_square(png(image), SIDE) for image in images])
    assert (frames.name, frames.size, frames.length) == ("a.avi", SIDE, 3)
    assert batch.truth.tolist() == batch.phase.tolist() == [-1] * 3


@pytest.mark.parametrize(("every", "expected"), [(1, list(range(10))), (3, [0, 3, 6, 9]), (4, [0, 4, 8]), (50, [0])])
def test_every_so_many_frames_are_taken_and_numbered_from_zero(tmp_path, every, expected):
    frames = VideoFrames(str(video(tmp_path / "a.avi", shades(10))), SIDE, every)
    assert red(frames) == [10 * index for index in expected]
    assert numbers(frames, 0, 20) == [list(range(len(expected)))]
    assert frames.length == len(expected)


@pytest.mark.parametrize("first", [1, 2, 3, 7, 8])
def test_a_video_goes_on_from_any_position(tmp_path, first):
    whole_video = video(tmp_path / "a.avi", RANDOM.integers(0, 256, (16, 24, 32, 3), np.uint8), "MJPG")
    frames = VideoFrames(str(damaged(whole_video, (4, 5, 6, 9))), SIDE, 2)
    expected = [frame for frame in whole(frames) if frame[0] >= first]
    assert whole(frames, first) == expected
    assert [number for number, _ in expected] == [number for number in (0, 1, 4, 5, 6, 7) if number >= first]


def test_a_damaged_frame_is_named_once_and_leaves_a_gap(tmp_path, caplog):
    path = damaged(video(tmp_path / "a.avi", shades(12), "MJPG"), (0, 4, 5))
    frames = VideoFrames(str(path), SIDE)
    with caplog.at_level(logging.WARNING, "envise_tf"):
        assert numbers(frames, 0, 20) == numbers(frames, 0, 20) == [[1, 2, 3, 6, 7, 8, 9, 10, 11]]
    np.testing.assert_allclose(red(frames), [10, 20, 30, 60, 70, 80, 90, 100, 110], atol=4)  # lossy
    assert set(frames.unreadable) == {f"{path}, frame {index}" for index in (0, 4, 5)}
    assert len(caplog.records) == 3


def test_a_damaged_frame_that_is_not_taken_does_not_count(tmp_path):
    frames = VideoFrames(str(damaged(video(tmp_path / "a.avi", shades(8), "MJPG"), (1, 5))), SIDE, 2)
    assert numbers(frames) == [[0, 1, 2, 3]]
    assert not frames.unreadable


def test_a_video_that_was_cut_short_ends_with_its_frames(tmp_path):
    path = video(tmp_path / "a.avi", shades(12), "MJPG")
    content = path.read_bytes()
    start = content.find(b"movi")
    for _ in range(6):
        start = content.find(b"00dc", start + 1)
    path.write_bytes(content[: start + 20])
    frames = VideoFrames(str(path), SIDE)
    assert frames.length == 12  # what the file still says of itself
    assert numbers(frames, 0, 20) == [[0, 1, 2, 3, 4]]
    assert not frames.unreadable


def test_what_is_no_video_is_a_user_error(tmp_path, capfd):
    assert "there is no file" in message(lambda: VideoFrames(str(tmp_path / "nowhere.mp4"), 8))
    assert "there is no file" in message(lambda: VideoFrames(str(tmp_path), 8))
    for name, content in (("a.txt", b"text\n" * 50), ("a.mp4", b"text\n" * 50), ("b.mp4", b""), ("c.yaml", b"a: 1")):
        (tmp_path / name).write_bytes(content)
        assert f"{name} is no video: expected a whole MP4" in message(lambda name=name: VideoFrames(tmp_path / name, 8))
    whole_video = video(tmp_path / "whole.mp4", shades(12), "mp4v")
    whole_video.write_bytes(whole_video.read_bytes()[:700])
    assert "is no video" in message(lambda: VideoFrames(str(whole_video), 8))
    assert capfd.readouterr().err == ""


def test_a_video_without_a_good_frame_is_a_user_error(tmp_path):
    path = damaged(video(tmp_path / "a.avi", shades(3), "MJPG"), (0, 1, 2))
    assert "has no frame that can be decoded" in message(lambda: VideoFrames(str(path), 8))


def test_every_and_the_size_must_be_at_least_one(tmp_path):
    path = str(video(tmp_path / "a.avi", shades(2)))
    assert "every 0 given: expected at least 1" in message(lambda: VideoFrames(path, 8, 0))
    assert "image size 0 given" in message(lambda: VideoFrames(path, 0))


def test_a_list_of_photographs_is_found_again_from_another_folder(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (9, 9), "red").save(tmp_path / "photos" / "a.png")
    monkeypatch.chdir(tmp_path)
    paths = PhotographFrames("photos", 8).paths
    monkeypatch.chdir("/")
    assert [frame.number for frame in PhotographFrames(str(tmp_path / "photos"), 8, paths).frames(0)] == [0]
