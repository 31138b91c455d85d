"""What evaluating a run says of its promise, on a run whose student was never trained."""

import json

import pytest
import tensorflow as tf
from made_run import made_run

from envise_tf.evaluate.__main__ import main
from envise_tf.images.digits import Digits
from envise_tf.images.halves import is_in_part

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("few_scores", "no_report")]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made_run(tmp_path_factory.mktemp("made") / "run").folder


def agreements(run):
    """Agreement on the images of the promise, all of them and those of the student's classes."""
    examples = Digits().examples("train", range(7)).batch(2000).get_single_element()
    images = examples["image"].numpy()[is_in_part(examples["fingerprint"], "promising", "disjoint").numpy()]
    own, teacher = (
        tf.keras.models.load_model(run / f"{name}.keras", compile=False).predict(images, verbose=0).argmax(axis=-1)
        for name in ("student", "teacher")
    )
    return len(images), (own == teacher).mean(), (own == teacher)[teacher < 7].mean()


def test_a_promise_out_of_reach_is_told_with_what_helps_and_the_agreement_on_its_own_images(run, capsys):
    main([str(run), "--rule", "risk", "--epsilon", "0.001", "--score", "msp"])
    printed = " ".join(capsys.readouterr().out.split())
    found = json.loads((run / "result.json").read_text())["evaluation"]
    images, of_all, of_its_classes = agreements(run)
    assert found["held_back"]["promising"] == images
    assert found["agreement"]["all"] == pytest.approx(of_all)
    assert found["agreement"]["of_its_classes"] == pytest.approx(of_its_classes)
    assert f"agreement on the {images} images of the promise: {100 * of_all:.1f} %" in printed
    assert "which does not show at most 0.1 % with confidence 95 %" in printed
    assert "what helps: a longer training (--windows of train); a larger --epsilon promises less" in printed


def test_the_default_promise_and_what_helps_where_it_is_out_of_reach(run, capsys):
    main([str(run), "--score", "msp"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "to which epsilon means another thing; --rule risk keeps that promise" in printed
    found = json.loads((run / "result.json").read_text())["evaluation"]["threshold"]
    assert found["options"] == {"epsilon": 0.01, "confidence": 0.95, "bound": "betting"}
    assert "does not show at most 1 % with confidence 95 %" in found["why_all_deferred"]
    assert "what helps: " in printed
    assert "a larger --epsilon promises less" in printed


def test_with_too_few_images_the_advice_names_flags_and_numbers(run, capsys):
    # 0.99^299 <= 0.05 < 0.99^298: a recall of 99 % takes 299 inliers, of which fifteen training images give one.
    main([str(run), "--rule", "recall", "--recall", "0.99", "--score", "msp"])
    printed = " ".join(capsys.readouterr().out.split())
    found = json.loads((run / "result.json").read_text())["evaluation"]
    images = found["held_back"]["promising"]
    assert f"images of the promise, {images} now, take about" in printed
    needed = int(printed.split("what helps: ")[1].split(" images")[0].replace(",", ""))
    assert 299 <= needed <= 299 * images / (images - 5)  # nearly all of them are inliers
    assert f"take about {15 * needed:,} stream images; a smaller --recall promises less" in printed
