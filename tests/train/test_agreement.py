"""Agreement of a training is measured on the choosing part of the held-back images."""

import json

import pytest
import tensorflow as tf
from made_run import made_settings

from envise_tf.images.digits import Digits
from envise_tf.images.halves import is_in_part
from envise_tf.train.pipeline import distil

pytestmark = pytest.mark.slow


def test_agreement_is_measured_on_the_choosing_images(tmp_path):
    run = distil(made_settings(tmp_path / "run", objectives={"soft_label": {"weight": 1.0}}), resumed=False).run
    student, teacher = (
        tf.keras.models.load_model(run.folder / f"{name}.keras", compile=False) for name in ("student", "teacher")
    )
    examples = Digits().examples("train", range(7)).batch(2000).get_single_element()
    images = examples["image"][is_in_part(examples["fingerprint"], "choosing", "disjoint")]
    own, taught = (network.predict(images, verbose=0).argmax(axis=-1) for network in (student, teacher))
    result = json.loads((run.folder / "result.json").read_text())
    assert result["agreement"] == pytest.approx((own == taught)[taught < 7].mean(), abs=1e-6)
    assert "choosing" in result["agreement_is_over"]
