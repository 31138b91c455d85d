"""Files of PyTorch's old format are read without it; whatever else a pickle asks for is refused."""

import collections
import os
import pickle
from datetime import date

import numpy as np
import pytest
from torch_files import HEADER, View, whole, write

from envise_tf.errors import UserError
from envise_tf.networks.torch_file import torch_tensors

VALUES = np.arange(24, dtype="f4")


def test_tensors_come_back_in_their_order_shape_and_type(tmp_path):
    given = {
        "kernel": np.random.default_rng(0).normal(size=(2, 3, 4)).astype("f4"),
        "half": np.array([1.5, -2], "f2"),
        "count": np.array([2**40], "i8"),
    }
    read = torch_tensors(write(tmp_path / "x.pth", {name: whole(values) for name, values in given.items()}))
    assert list(read) == list(given)
    for name, values in given.items():
        assert read[name].dtype == values.dtype
        np.testing.assert_array_equal(read[name], values)


def test_a_scalar_has_no_sides(tmp_path):
    scalar = torch_tensors(write(tmp_path / "x.pth", {"x": View(np.array([3], "i8"), (), ())}))["x"]
    assert scalar.shape == ()
    assert scalar == 3


def test_views_of_one_storage_are_read_through_their_strides(tmp_path):
    views = {"transposed": View(VALUES, (4, 6), (1, 4)), "later": View(VALUES, (2,), (3,), offset=20)}
    read = torch_tensors(write(tmp_path / "x.pth", views))
    np.testing.assert_array_equal(read["transposed"], VALUES.reshape(6, 4).T)
    np.testing.assert_array_equal(read["later"], [20, 23])


@pytest.mark.parametrize(
    "view",
    [
        View(VALUES, (25,), (1,)),
        View(VALUES, (4,), (1,), offset=21),
        View(VALUES, (4,), (1,), offset=-1),
        View(VALUES, (4,), (-1,), offset=3),
        View(VALUES, (4, -4), (6, 1)),
        View(VALUES, (4, 6), (6,)),
        View(VALUES, (30,), (1,), count=30),
    ],
    ids=["too long", "too late", "before its start", "backwards", "negative side", "a stride too few", "false count"],
)
def test_a_view_outside_of_its_storage_is_refused(tmp_path, view):
    with pytest.raises(UserError, match="no state dict"):
        torch_tensors(write(tmp_path / "x.pth", {"x": view}))


class Malicious:
    """Runs a command where it is unpickled freely."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self):
        return os.system, (self._command,)


@pytest.mark.parametrize("place", range(5))
def test_a_pickle_that_names_anything_else_is_refused_and_runs_nothing(tmp_path, place):
    harm = tmp_path / "harm"
    pickles = [*HEADER, collections.OrderedDict(), []]
    pickles[place] = Malicious(f"touch {harm}")
    path = tmp_path / "x.pth"
    path.write_bytes(b"".join(pickle.dumps(each, protocol=2) for each in pickles))
    with pytest.raises(UserError, match=r"it names (posix|nt)\.system, which no state dict needs"):
        torch_tensors(path)
    assert not harm.exists()
    for each in pickles[: place + 1]:
        pickle.loads(pickle.dumps(each, protocol=2))
    assert harm.exists()


@pytest.mark.parametrize("other", [date(2020, 1, 1), np.arange(3), View], ids=["date", "array", "class"])
def test_harmless_names_are_refused_too(tmp_path, other):
    path = tmp_path / "x.pth"
    path.write_bytes(b"".join(pickle.dumps(each, protocol=2) for each in (*HEADER, {"x": other}, [])))
    with pytest.raises(UserError, match="which no state dict needs"):
        torch_tensors(path)


@pytest.mark.parametrize("kept", [0, 10, 100, -1, -90])
def test_a_cut_file_is_refused(tmp_path, kept):
    path = write(tmp_path / "x.pth", {"x": whole(VALUES)})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"x.pth is no state dict"):
        torch_tensors(path)


@pytest.mark.parametrize("content", [b"hello world", b"PK\x03\x04" + bytes(60), b"\x80\x02}q\x00."])
def test_another_format_is_refused(tmp_path, content):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"x.pth is no state dict"):
        torch_tensors(tmp_path / "x.pth")


def test_another_version_of_the_format_is_refused(tmp_path):
    with pytest.raises(UserError, match="its first numbers are others"):
        torch_tensors(write(tmp_path / "x.pth", {"x": whole(VALUES)}, (HEADER[0], 1000, HEADER[2])))


def test_a_file_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*nowhere.pth"):
        torch_tensors(tmp_path / "nowhere.pth")
