"""What is kept of labelled images, on disk and back."""

import numpy as np
import pytest

from envise_tf.errors import UserError
from envise_tf.networks.labelled import LabelledLogits

RANDOM = np.random.default_rng(0)
LOGITS, LABELS = RANDOM.normal(0, 4, (40, 300)).astype(np.float32), RANDOM.integers(0, 300, 40)


def test_batches_are_put_together_in_their_order():
    labelled = LabelledLogits.of([(LOGITS[:30], LABELS[:30]), (LOGITS[30:], LABELS[30:])], 300)
    np.testing.assert_array_equal(labelled.logits, LOGITS)
    np.testing.assert_array_equal(labelled.labels, LABELS)
    assert len(labelled) == 40


def test_there_may_be_none():
    assert LabelledLogits.of([], 7).logits.shape == (0, 7)


def test_a_file_holds_the_labels_and_the_logits_in_half_precision(tmp_path):
    LabelledLogits(LOGITS, LABELS).save(tmp_path / "calibration.npz")
    read = LabelledLogits.load(tmp_path / "calibration.npz")
    np.testing.assert_array_equal(read.labels, LABELS)
    np.testing.assert_allclose(read.logits, LOGITS, rtol=2**-11, atol=1e-6)
    assert read.logits.dtype == np.float32


def test_another_file_is_a_user_error(tmp_path):
    (tmp_path / "calibration.npz").write_text("no archive")
    with pytest.raises(UserError, match=r"cannot read calibration logits in .*expected logits and labels"):
        LabelledLogits.load(tmp_path / "calibration.npz")
    with pytest.raises(UserError, match="expected logits and labels"):
        LabelledLogits.load(tmp_path / "missing.npz")
