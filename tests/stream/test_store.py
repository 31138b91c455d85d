"""The state of a stream as a file."""

import numpy as np
import pytest

from envise_tf.stream.store import read_tree, write_tree


def test_a_tree_comes_back_as_it_was(tmp_path):
    tree = {
        "images": np.random.default_rng(0).integers(0, 256, (3, 2, 2, 3), np.uint8),
        "nested": [{"weights": [np.float32([0.1, 0.2]), np.array(0.3, np.float32)]}, None, "text", True],
        "random": np.random.default_rng(1).bit_generator.state,  # has numbers of 128 bits
        "small": 0.1 + 0.2,
        "none": float("inf"),
    }
    write_tree(tmp_path / "state.npz", tree)
    found = read_tree(tmp_path / "state.npz")
    np.testing.assert_equal(found, tree)
    assert found["images"].dtype == np.uint8
    assert found["nested"][0]["weights"][1].dtype == np.float32


def test_numbers_of_numpy_become_plain(tmp_path):
    write_tree(tmp_path / "state.npz", {"count": np.int64(3), "share": np.float32(0.5)})
    assert read_tree(tmp_path / "state.npz") == {"count": 3, "share": 0.5}


def test_what_is_neither_plain_nor_an_array_is_refused(tmp_path):
    with pytest.raises(TypeError, match="set in the state"):
        write_tree(tmp_path / "state.npz", {"known": {1, 2}})


def test_objects_are_not_unpickled(tmp_path):
    np.savez(tmp_path / "state.npz", tree=np.array([{1}], object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_tree(tmp_path / "state.npz")
