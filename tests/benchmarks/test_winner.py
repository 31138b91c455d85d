import pytest
from winner import compared


def test_differences_are_paired_by_seed():
    found = compared([0.30, 0.34, 0.29], [0.28, 0.30, 0.29])
    assert found["difference"] == pytest.approx(0.02)
    # Standard deviation of 0.02, 0.04, 0.00 is 0.02; t of 97.5 % with two degrees of freedom is 4.3027.
    half = 4.3027 * 0.02 / 3**0.5
    assert found["interval"] == pytest.approx([0.02 - half, 0.02 + half], abs=1e-5)


def test_one_seed_has_no_interval():
    assert compared([0.3], [0.2]) == {"winner": [0.3], "preset": [0.2], "difference": pytest.approx(0.1)}
