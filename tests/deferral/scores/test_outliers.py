"""What holds for every score: names, options, files, layers, and which way it points."""

from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow as tf
from made_held_back import fit
from sklearn.metrics import roc_auc_score

from envise_tf.deferral.scores import SCORES, NotApplicable, OutlierScore, load_score, outlier_score
from envise_tf.deferral.scores.outputs import Observer, Outputs
from envise_tf.errors import UserError
from envise_tf.images.loading import load_source
from envise_tf.images.scenario import load_scenario
from envise_tf.networks.shipped import shipped_network

pytestmark = pytest.mark.slow


@dataclass
class Smallest(OutlierScore):
    factor: float = 1.0

    def __call__(self, logits, features):
        return -self.factor * tf.reduce_min(logits, axis=-1)


FITTED = {
    "agreement",
    "fdbd",
    "inlier_mass",
    "knn",
    "mahalanobis",
    "nci",
    "odin",
    "react",
    "regret",
    "relative_mahalanobis",
    "vim",
}


def bits(score: np.ndarray) -> np.ndarray:
    assert score.dtype == np.float32
    return score.view(np.int32)


def test_scores_are_called_as_their_files():
    assert set(SCORES) == FITTED | {"energy", "gen", "margin", "max_logit", "msp"}
    for name in SCORES:
        score = outlier_score(name)
        assert type(score).__module__ == f"envise_tf.deferral.scores.{name}"
        assert score.name == name


def test_options_are_set_and_the_others_keep_their_defaults():
    assert outlier_score("gen", {"gamma": 0.5}).options == {"gamma": 0.5, "top": 100}
    assert outlier_score("energy", {"temperature": 2}) == outlier_score("energy", {"temperature": 2.0})
    assert outlier_score("energy") != outlier_score("energy", {"temperature": 2.0})


def test_a_line_in_the_table_makes_a_new_score(tmp_path, monkeypatch, fresh):
    monkeypatch.setattr(Smallest, "__module__", "smallest")  # as if in a file of its own
    monkeypatch.setitem(SCORES, "smallest", Smallest)
    score = outlier_score("smallest", {"factor": 2.0})
    np.testing.assert_array_equal(score.score(fresh), -2.0 * fresh.logits.min(axis=1))
    score.save(tmp_path / "score.npz")
    assert load_score(tmp_path / "score.npz") == score


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("enregy", {}, "no outlier score is called enregy: nearest: energy"),
        ("score", {}, "no outlier score is called score"),
        ("outputs", {}, "no outlier score is called outputs"),
        ("energy", {"temprature": 2.0}, "energy has no option temprature: nearest: temperature"),
        ("energy", {"fitted": {}}, "energy has no option fitted"),
        ("energy", {"temperature": "hot"}, "temperature is 'hot', expected float"),
        ("energy", {"temperature": True}, "temperature is True, expected float"),
        ("gen", {"top": 2.5}, "top is 2.5, expected int"),
        ("energy", {"temperature": 0.0}, "temperature 0.0, expected more than 0"),
        ("odin", {"temperature": -1.0}, "temperature -1.0, expected more than 0"),
        ("energy", {"temperature": float("nan")}, "temperature nan, expected more than 0"),
        ("agreement", {"inverse_penalty": float("nan")}, "inverse_penalty nan, expected more than 0"),
        ("gen", {"gamma": 1.0}, "gamma 1.0, expected more than 0 and less than 1"),
        ("gen", {"top": 0}, "top 0, expected at least 1"),
        ("knn", {"share": 0.0}, "share 0.0, expected more than 0 and at most 1"),
        ("vim", {"share": 1.0}, "share 1.0, expected more than 0 and less than 1"),
        ("react", {"percentile": 101.0}, "percentile 101.0, expected more than 0 and at most 100"),
        ("inlier_mass", {"coverage": 0.0}, "coverage 0.0, expected more than 0 and at most 1"),
        ("inlier_mass", {"min_share": 1.0}, "min_share 1.0, expected at least 0 and less than 1"),
        ("agreement", {"inverse_penalty": 0.0}, "inverse_penalty 0.0, expected more than 0"),
        ("regret", {"penalty": 0.0}, "penalty 0.0, expected more than 0"),
        ("nci", {"alpha": -0.1}, "alpha -0.1, expected at least 0"),
    ],
)
def test_what_makes_no_sense_is_refused(name, options, message):
    with pytest.raises(UserError, match=message):
        outlier_score(name, options)


@pytest.mark.parametrize("name", sorted(FITTED))
def test_a_score_that_is_not_fitted_says_so(name, fresh):
    with pytest.raises(UserError, match=f"{name} is not fitted: call fit"):
        outlier_score(name).score(fresh)


@pytest.mark.parametrize("name", sorted(FITTED - {"agreement", "regret"}))
def test_images_of_classes_that_the_student_lacks_are_no_inliers(name, held_back):
    outputs, _ = held_back
    some = np.arange(5)
    with pytest.raises(NotApplicable, match=f"{name}: the teacher sees a class of the student's in 1 of 5 held-back"):
        fit(outlier_score(name), outputs.chosen(some), np.array([-1, 2, -1, -1, -1]))


def test_loaded_from_a_file_a_score_is_the_same_to_the_last_bit(each_score: OutlierScore, fresh: Outputs, tmp_path):
    each_score.save(tmp_path / "score.npz")
    loaded = load_score(tmp_path / "score.npz")
    assert (type(loaded), loaded.options) == (type(each_score), each_score.options)
    assert list(loaded.fitted) == list(each_score.fitted)
    some = fresh.chosen(np.arange(30))
    np.testing.assert_array_equal(bits(loaded.score(some)), bits(each_score.score(some)))


def test_options_are_in_the_file(tmp_path):
    outlier_score("gen", {"gamma": 0.3, "top": 4}).save(tmp_path / "score")
    assert load_score(tmp_path / "score") == outlier_score("gen", {"gamma": 0.3, "top": 4})


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_file_that_holds_no_score_is_refused(tmp_path, content):
    (tmp_path / "score.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"score.npz \(not a saved score\): expected a file that save wrote"):
        load_score(tmp_path / "score.npz")


def test_other_arrays_and_missing_files_are_refused(tmp_path):
    np.savez(tmp_path / "weights.npz", kernel=np.zeros(3))
    np.save(tmp_path / "array.npy", np.zeros(3))
    for path in (tmp_path / "weights.npz", tmp_path / "array.npy"):
        with pytest.raises(UserError, match="not a saved score"):
            load_score(path)
    with pytest.raises(UserError, match="No such file or directory"):
        load_score(tmp_path / "nowhere.npz")


def test_known_digits_score_higher_than_others(each_score, fresh, outliers):
    inside, outside = each_score.score(fresh), each_score.score(outliers)
    assert np.isfinite([*inside, *outside]).all()
    assert roc_auc_score([1] * len(inside) + [0] * len(outside), [*inside, *outside]) > 0.9


def test_batch_by_batch_is_the_same_as_at_once(each_score, fresh, student):
    some = fresh.chosen(np.arange(45))
    batches = [each_score.score(student(some.images[start : start + 20])) for start in (0, 20, 40)]
    at_once = each_score.score(some)
    # Some are differences of far larger distances, whose rounding they have.
    np.testing.assert_allclose(np.concatenate(batches), at_once, rtol=2e-5, atol=4e-6 * np.abs(at_once).max() + 1e-5)


def test_on_a_phone_the_layer_gives_the_score(each_score, fresh):
    """Through TensorFlow Lite with its own operators alone, none of TensorFlow's."""
    if not each_score.runs_on_device:
        with pytest.raises(UserError, match=f"{each_score.name} does not run on a phone"):
            each_score.layer()
        return
    inputs = [tf.keras.Input(fresh.logits.shape[1:]), tf.keras.Input(fresh.features.shape[1:])]
    model = tf.keras.Model(inputs, each_score.layer()(inputs))
    expected = each_score.score(fresh)
    scored = model([fresh.logits, fresh.features])
    assert scored.dtype == tf.float32
    np.testing.assert_allclose(scored, expected[:, np.newaxis], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(on_tflite(model, [fresh.logits, fresh.features]), expected, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def zoo(tfds_dir) -> tuple[Outputs, np.ndarray, Outputs, Outputs]:
    """What the shipped binary student of 100 classes says of a zoo: held back and pseudo-label, inliers, outliers."""
    source = load_source("cifar100", tfds_dir)
    scenario = load_scenario("cifar100-zoo", source.class_names)
    inside, outside = (
        next(iter(source.examples("test", scenario.labels(kind, source.class_names)).batch(count)))["image"].numpy()
        for kind, count in (("inlier", 300), ("outlier", 100))
    )
    student = Observer(shipped_network("cifar100-disjoint", "student"))
    teacher = shipped_network("cifar100-disjoint", "teacher")
    pseudo_label = teacher(inside[:200], training=False).numpy().argmax(axis=1)
    return student(inside[:200]), pseudo_label, student(inside[200:]), student(outside)


@pytest.mark.parametrize(
    ("name", "least"),
    [("inlier_mass", 0.9), ("knn", 0.75), ("mahalanobis", 0.75), ("relative_mahalanobis", 0.7), ("vim", 0.65)],
)
def test_vehicles_are_outliers_in_a_zoo(zoo, name, least):
    """By the scores that see more than how sure the student is of one of its 100 classes."""
    held_back, pseudo_label, inside, outside = zoo
    score = outlier_score(name)
    fit(score, held_back, pseudo_label)
    scores = [*score.score(inside), *score.score(outside)]
    assert roc_auc_score([1] * len(inside.logits) + [0] * len(outside.logits), scores) > least


def on_tflite(model: tf.keras.Model, inputs: list[np.ndarray]) -> np.ndarray:
    interpreter = tf.lite.Interpreter(model_content=tf.lite.TFLiteConverter.from_keras_model(model).convert())
    signature = interpreter.get_signature_runner()
    names = [tensor.name for tensor in model.inputs]
    outputs = (
        signature(**{name: row[np.newaxis] for name, row in zip(names, rows, strict=True)})
        for rows in zip(*inputs, strict=True)
    )
    return np.array([next(iter(output.values())).item() for output in outputs])
