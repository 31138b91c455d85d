import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from envise_tf.errors import UserError
from envise_tf.export.shards import SCHEMA, Shards, in_shards, origin, shard_name

PATHS = [f"archive/{number}.jpg" for number in range(10)]


def written(folder, paths, answered_by="student of bundle 1") -> Shards:
    """The files of some images, as if a cascade had answered them."""
    shards = Shards(folder, answered_by)
    folder.mkdir(exist_ok=True)
    rows = [{"origin": origin(path), "class": "cat", "by_student": True, "score": 0.5} for path in paths]
    table = pa.Table.from_pylist(rows, SCHEMA).replace_schema_metadata({b"answered_by": answered_by.encode()})
    pq.write_table(table, folder / shard_name(paths))
    return shards


def test_every_image_is_in_one_file():
    shards = in_shards(PATHS, [], 4)
    assert list(shards.values()) == [PATHS[:4], PATHS[4:8], PATHS[8:]]
    assert len(shards) == 3


def test_after_a_restart_the_same_images_are_in_the_same_files():
    whole = in_shards(PATHS, [], 4)
    first, second, third = whole
    left = in_shards(PATHS, whole[second], 4)
    assert left == {first: whole[first], third: whole[third]}


def test_new_images_of_an_archive_are_what_is_left(tmp_path):
    shards = written(tmp_path / "answers", PATHS[2:5])
    done = shards.read()["origin"].to_pylist()
    assert [path for shard in in_shards(PATHS, done, 4).values() for path in shard] == PATHS[:2] + PATHS[5:]


def test_a_name_of_foreign_bytes_is_known_again(tmp_path):
    path = os.fsdecode(b"archive/\xff.jpg")
    shards = written(tmp_path / "answers", [path])
    assert shards.read()["origin"].to_pylist() == [r"archive/\xff.jpg"]
    assert in_shards([path], shards.read()["origin"].to_pylist(), 4) == {}


def test_no_file_is_no_row(tmp_path):
    table = Shards(tmp_path / "answers", "student of bundle 1").read()
    assert (len(table), table.schema) == (0, SCHEMA)


def test_answers_of_another_bundle_are_refused(tmp_path):
    written(tmp_path, PATHS)
    with pytest.raises(UserError, match="was not answered by student of bundle 2: expected answers of one bundle"):
        Shards(tmp_path, "student of bundle 2").read()


@pytest.mark.parametrize("foreign", ["photo.jpg", "a.parquet"])
def test_a_folder_of_something_else_is_refused(tmp_path, foreign):
    shards = written(tmp_path, PATHS)
    (tmp_path / foreign).touch()
    with pytest.raises(UserError, match=rf"is in use \({foreign}\): expected a new folder"):
        shards.read()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "answers").touch()
    with pytest.raises(UserError, match=r"is in use \(answers\): expected a new folder"):
        Shards(tmp_path / "answers", "student of bundle 1").read()


def test_a_damaged_file_is_told_by_name(tmp_path):
    shards = written(tmp_path, PATHS)
    path = tmp_path / shard_name(PATHS)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(
        UserError, match=rf"{path.name} cannot be read .*: remove it, and its images are answered again"
    ):
        shards.read()


def test_what_killed_workers_have_left_is_no_answer_and_is_cleared(tmp_path):
    shards = written(tmp_path, PATHS)
    (tmp_path / "_unfinished" / "1").mkdir(parents=True)
    (tmp_path / "_unfinished" / "1" / f"unfinished.{shard_name(PATHS)}").write_bytes(b"PAR1")
    assert len(shards.read()) == len(PATHS)
    assert len(pq.read_table(tmp_path)) == len(PATHS)  # as any reader of Parquet sees the folder
    shards.clear()
    assert {path.name for path in tmp_path.iterdir()} == {shard_name(PATHS)}
