import gc
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_bundle import CLASSES, NAMES, changed, flatbuffers, networks, python, replaced, small_bundle, varied_images
from tensorflow.lite.python import schema_py_generated as schema
from thresholds import widest_gap

from envise_tf.errors import UserError
from envise_tf.export import runtime
from envise_tf.export.runtime import Cascade, LceNetwork, TfliteNetwork
from envise_tf.prior.estimation import WindowPrior

pytestmark = pytest.mark.slow

IMAGES = varied_images(24)


def lce_answers() -> tuple[np.ndarray, np.ndarray]:
    """Logits and scores by Larq's own interpreter class, with its reference kernels."""
    from larq_compute_engine.tflite.python.interpreter import Interpreter

    outputs = Interpreter(flatbuffers()["student"], use_reference_bconv=True).predict(IMAGES)
    places = flatbuffers()["outputs"]["student"]
    return outputs[places["logits"]], outputs[places["score"]][:, 0]


def expected(logits: np.ndarray, score: np.ndarray, thresholds: list) -> list[tuple[str, bool]]:
    """Decides by hand, image by image, with Keras for the teacher."""
    teacher = networks()[1].predict(IMAGES, verbose=0)
    answers = []
    for row, own in enumerate(logits.argmax(axis=1)):
        by_student = thresholds[own] is not None and score[row] >= thresholds[own]
        answers.append((NAMES[CLASSES[own] if by_student else teacher[row].argmax()], bool(by_student)))
    return answers


@pytest.fixture(scope="module")
def thresholds() -> list:
    """Between the scores in the middle, so that about half of the images are deferred; one class always is."""
    logits, score = lce_answers()
    values = [widest_gap(score)] * 7
    values[int(logits[score.argmax()].argmax())] = None
    return values


@pytest.fixture(scope="module")
def intact(tmp_path_factory, thresholds):
    return small_bundle(tmp_path_factory.mktemp("bundle") / "intact", thresholds, thresholds)


@pytest.fixture
def bundle(intact, tmp_path):
    return Path(shutil.copytree(intact, tmp_path / "bundle"))


def message(run) -> str:
    with pytest.raises(UserError) as caught:
        run()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_binary_student_answers_as_by_hand(bundle, thresholds):
    logits, score = lce_answers()
    answers = Cascade.load(bundle).classify_batch(IMAGES)
    found = [(NAMES[label], bool(by)) for label, by in zip(answers.label, answers.by_student, strict=True)]
    assert found == expected(logits, score, thresholds)
    assert 0 < answers.by_student.sum() < len(IMAGES)
    assert len(set(answers.label[answers.by_student])) > 1
    np.testing.assert_allclose(answers.score, score, rtol=1e-5)


def test_the_built_in_student_answers_as_keras(bundle, thresholds):
    logits = networks()[0].predict(IMAGES, verbose=0)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    answers = Cascade.load(bundle, builtin=True).classify_batch(IMAGES)
    found = [(NAMES[label], bool(by)) for label, by in zip(answers.label, answers.by_student, strict=True)]
    assert found == expected(logits, probabilities.max(axis=1), thresholds)


def test_an_old_bundle_answers_as_the_same_one_of_today(bundle):
    answers = Cascade.load(bundle).classify_batch(IMAGES)
    assert json.loads((bundle / "manifest.json").read_text())["schema_version"] == 1
    changed(bundle, lambda manifest: manifest.update(schema_version=2))
    renewed = Cascade.load(bundle).classify_batch(IMAGES)
    np.testing.assert_array_equal(renewed.label, answers.label)
    np.testing.assert_array_equal(renewed.by_student, answers.by_student)


BIAS, SOURCE, PRIOR = np.linspace(-0.5, 0.5, 10), np.arange(1, 11) / 55, np.arange(10, 0, -1) / 55


@pytest.fixture
def adapted(bundle):
    """The bundle with an adapted teacher."""
    shares = {"prior": PRIOR.tolist(), "source_prior": SOURCE.tolist()}
    adaptation = {"temperature": 2.0, "bias": BIAS.tolist(), **shares, "images": 0, "calibration_images": 0}
    changed(bundle, lambda manifest: manifest.update(schema_version=2, adaptation=adaptation))
    return bundle


def calibrated() -> np.ndarray:
    return networks()[1].predict(IMAGES, verbose=0).astype(np.float64) / 2 + BIAS


def test_deferred_images_get_the_adapted_answer(intact, adapted):
    raw, answers = (Cascade.load(one).classify_batch(IMAGES) for one in (intact, adapted))
    np.testing.assert_array_equal(answers.by_student, raw.by_student)
    np.testing.assert_array_equal(answers.label[answers.by_student], raw.label[answers.by_student])
    expected = (calibrated() + np.log(PRIOR / SOURCE)).argmax(axis=1)[~answers.by_student]
    np.testing.assert_array_equal(answers.label[~answers.by_student], expected)
    assert (expected != raw.label[~answers.by_student]).any()


def test_nothing_is_observed_unless_asked_for(adapted):
    cascade = Cascade.load(adapted)
    cascade.classify_batch(IMAGES)
    assert cascade.observation is None
    assert cascade.counters.audited == 0


def test_a_raw_teacher_is_not_observed(bundle):
    assert "has a raw teacher" in message(Cascade.load(bundle).observe)


def test_an_observing_cascade_asks_the_teacher_of_audits_too(adapted):
    plain, cascade = Cascade.load(adapted).classify_batch(IMAGES), Cascade.load(adapted)
    cascade.observe(audit_share=0.5, window=100, seed=3)
    answers = cascade.classify_batch(IMAGES)
    audited = plain.by_student & ~answers.by_student
    assert not (answers.by_student & ~plain.by_student).any()
    assert 0 < audited.sum() < plain.by_student.sum()
    expected = np.where(audited, (calibrated() + np.log(PRIOR / SOURCE)).argmax(axis=1), plain.label)
    np.testing.assert_array_equal(answers.label, expected)
    np.testing.assert_array_equal(answers.score, plain.score)
    counters, deferred = cascade.counters, int((~plain.by_student).sum())
    assert (counters.audited, counters.deferred) == (audited.sum(), deferred)
    assert counters.answered == answers.by_student.sum()
    assert cascade.observation.images == audited.sum() + deferred


def test_once_the_window_is_full_the_teacher_answers_by_the_estimate(adapted):
    cascade, window = Cascade.load(adapted), WindowPrior(100, SOURCE)
    cascade.observe(audit_share=1.0, window=100)
    by_student = Cascade.load(adapted).classify_batch(IMAGES).by_student
    for _ in range(8):
        answers = cascade.classify_batch(IMAGES)
        for rows in (~by_student, by_student):
            window.update(calibrated()[rows])
    np.testing.assert_allclose(cascade.observation.prior, window.prior, atol=1e-3)
    assert (answers.label != (calibrated() + np.log(PRIOR / SOURCE)).argmax(axis=1)).any()
    expected = (calibrated() + np.log(np.maximum(cascade.observation.prior, 1e-6) / SOURCE)).argmax(axis=1)
    for row in range(len(IMAGES)):
        restarted = Cascade.load(adapted)
        restarted.observe(audit_share=1.0, window=100, state=json.loads(json.dumps(cascade.observation.state())))
        assert restarted.classify(IMAGES[row]).label == NAMES[expected[row]]


def test_the_state_of_another_bundle_is_refused(adapted):
    cascade = Cascade.load(adapted)
    cascade.observe()
    state = cascade.observation.state()
    changed(adapted, lambda manifest: manifest["adaptation"].update(temperature=3.0))
    assert "that of another teacher" in message(lambda: Cascade.load(adapted).observe(state=state))


@pytest.mark.parametrize("builtin", [False, True])
def test_one_image_or_a_batch_gives_the_same_and_threads_change_nothing(bundle, builtin):
    answers = Cascade.load(bundle, builtin).classify_batch(IMAGES)
    cascade = Cascade.load(bundle, builtin, threads=2)
    for row, image in enumerate(IMAGES):
        one = cascade.classify(image)
        assert (one.label, one.by_student) == (NAMES[answers.label[row]], answers.by_student[row])
        assert one.score == pytest.approx(answers.score[row], rel=1e-5)


def test_the_teacher_is_loaded_at_the_first_deferral(bundle):
    cascade = Cascade.load(bundle)
    by_student = Cascade.load(bundle).classify_batch(IMAGES).by_student
    (bundle / "teacher.tflite").unlink()
    for image in IMAGES[by_student]:
        assert cascade.classify(image).by_student
    assert "teacher.tflite (it is missing)" in message(lambda: cascade.classify(IMAGES[~by_student][0]))


def test_the_counters_count_images_and_time(bundle):
    cascade = Cascade.load(bundle)
    assert vars(cascade.counters) == {
        "answered": 0,
        "deferred": 0,
        "audited": 0,
        "unpromised": 0,
        "student_milliseconds": 0,
        "teacher_milliseconds": 0,
    }
    by_student = cascade.classify_batch(IMAGES).by_student
    counters = cascade.counters
    assert (counters.answered, counters.deferred) == (by_student.sum(), (~by_student).sum())
    assert counters.student_milliseconds > 0 < counters.teacher_milliseconds
    before = counters.teacher_milliseconds
    cascade.classify(IMAGES[by_student][0])
    assert (counters.answered, counters.teacher_milliseconds) == (by_student.sum() + 1, before)


def test_beyond_the_budget_the_student_answers_and_says_that_nothing_is_promised(bundle):
    plain, cascade = Cascade.load(bundle).classify_batch(IMAGES), Cascade.load(bundle)
    deferred = np.flatnonzero(~plain.by_student)
    cascade.limit(1 / len(IMAGES), window=2 * len(IMAGES))
    answers = cascade.classify_batch(IMAGES)
    assert plain.promised.all()
    np.testing.assert_array_equal(np.flatnonzero(~answers.by_student), deferred[:2])
    np.testing.assert_array_equal(np.flatnonzero(~answers.promised), deferred[2:])
    np.testing.assert_array_equal(answers.label[answers.promised], plain.label[answers.promised])
    assert np.isin(answers.label[~answers.promised], CLASSES).all()
    counters = cascade.counters
    assert (counters.deferred, counters.unpromised) == (2, len(deferred) - 2)
    assert counters.answered == plain.by_student.sum()
    assert cascade.budget.is_spent
    assert not Cascade.load(bundle).budget.is_spent
    assert not cascade.classify(IMAGES[deferred[-1]]).promised


def test_nothing_is_audited_while_the_budget_is_spent(adapted):
    cascade = Cascade.load(adapted)
    cascade.observe(audit_share=1.0, window=100)
    cascade.limit(1 / len(IMAGES), window=len(IMAGES))
    answers = cascade.classify_batch(IMAGES)
    (asked,) = np.flatnonzero(~Cascade.load(adapted).classify_batch(IMAGES).by_student)[:1]
    np.testing.assert_array_equal(np.flatnonzero(~answers.by_student), np.arange(asked + 1))
    assert cascade.observation.images == asked + 1


def test_a_budget_of_no_image_is_one_line(bundle):
    assert "expected a share of at least one image" in message(lambda: Cascade.load(bundle).limit(0.001, window=100))


def test_no_image_is_no_answer(bundle):
    answers = Cascade.load(bundle).classify_batch(IMAGES[:0])
    assert (len(answers.label), len(answers.by_student), len(answers.score)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.zeros((1, 1, 3), np.uint8), "images of uint8 with shape (1, 1, 3): expected uint8 RGB"),
        (np.zeros((32, 32), np.uint8), "with shape (32, 32): expected"),
        (np.zeros((32, 32, 1), np.uint8), "with shape (32, 32, 1): expected"),
        (np.zeros((32, 32, 4), np.uint8), "with shape (32, 32, 4): expected"),
        (np.zeros((32, 32, 3), np.float32), "images of float32 with shape (32, 32, 3)"),
        (np.zeros((32, 32, 3), np.uint16), "images of uint16 with shape (32, 32, 3)"),
        (np.zeros((1, 32, 32, 3), np.uint8), "with shape (1, 32, 32, 3)"),
        (np.uint8(0), "with shape ()"),
    ],
)
def test_an_image_that_would_be_misread_is_refused(bundle, image, told):
    cascade = Cascade.load(bundle)
    told_of_one = message(lambda: cascade.classify(image))
    assert told in told_of_one
    assert "envise_tf.images.photographs.decoded_square" in told_of_one


def test_one_image_is_no_batch(bundle):
    assert "with shape (32, 3)" in message(lambda: Cascade.load(bundle).classify_batch(IMAGES[0]))


def test_logits_that_are_no_numbers_defer_and_from_the_teacher_they_are_an_error(bundle):
    import tensorflow as tf

    layers = tf.keras.layers

    def never_a_number(outputs: int) -> list:
        image = layers.Input((32, 32, 3), dtype="uint8")
        zero = tf.reduce_mean(tf.cast(image, tf.float32), axis=[1, 2, 3])[:, tf.newaxis] * 0.0
        return [image, tf.tile(tf.math.log(zero - 1.0), [1, outputs]), zero + 9.0]

    image, logits, score = never_a_number(7)
    student = tf.keras.Model(image, [logits, tf.identity(logits), score])
    replaced(bundle, "student_builtin", tf.lite.TFLiteConverter.from_keras_model(student).convert())
    assert not Cascade.load(bundle, builtin=True).classify_batch(IMAGES).by_student.any()
    image, logits, _ = never_a_number(10)
    teacher = tf.lite.TFLiteConverter.from_keras_model(tf.keras.Model(image, logits)).convert()
    replaced(bundle, "teacher", teacher)
    cascade = Cascade.load(bundle, builtin=True)
    assert "teacher.tflite gave logits that are not numbers" in message(lambda: cascade.classify(IMAGES[0]))


@pytest.mark.parametrize("builtin", [False, True])
def test_a_cut_flatbuffer_with_a_right_checksum_does_not_end_the_process(bundle, builtin):
    name = "student_builtin" if builtin else "student"
    whole = flatbuffers()[name]
    for length in (1, 4, 8, 64, len(whole) // 2, len(whole) - 100):
        replaced(bundle, name, whole[:length])
        assert "is no whole TensorFlow Lite model" in message(lambda: Cascade.load(bundle, builtin))


def test_names_of_tensors_that_are_no_text_are_refused_in_one_line(bundle):
    whole = flatbuffers()["student_builtin"]
    graph = schema.ModelT.InitFromObj(schema.Model.GetRootAs(whole, 0)).subgraphs[0]
    name = graph.tensors[graph.inputs[0]].name
    replaced(bundle, "student_builtin", whole.replace(name, b"\xff" * len(name)))
    assert "the interpreter refuses" in message(lambda: Cascade.load(bundle, builtin=True))


def test_a_cut_teacher_is_told_at_the_first_deferral(bundle):
    replaced(bundle, "teacher", flatbuffers()["teacher"][:-200])
    changed(bundle, lambda manifest: manifest["student"]["threshold"].update(values=[None] * 7))
    cascade = Cascade.load(bundle)
    assert "teacher.tflite" in message(lambda: cascade.classify(IMAGES[0]))
    assert "is no whole TensorFlow Lite model" in message(lambda: cascade.classify(IMAGES[0]))


def exchange_logits_and_score(manifest):
    outputs = manifest["student"]["outputs"]
    outputs.update(logits=outputs["score"], score=outputs["logits"])


def test_a_network_that_is_not_what_the_manifest_says_is_refused(bundle):
    for change, told in [
        (lambda manifest: manifest["input"].update(size=33), "expected uint8 (1, 33, 33, 3) and float32 (1, 7)"),
        (
            exchange_logits_and_score,
            "by the manifest expected uint8 (1, 32, 32, 3) and float32 (1, 7), float32 (1, 7), float32 (1, 1)",
        ),
        (lambda manifest: manifest["student"]["outputs"].update(score=3), "student.tflite takes uint8 (1, 32, 32, 3)"),
    ]:
        text = (bundle / "manifest.json").read_text()
        changed(bundle, change)
        assert told in message(lambda: Cascade.load(bundle))
        changed(bundle, lambda manifest, text=text: manifest.update(json.loads(text)))


def test_an_exchanged_teacher_is_refused(bundle):
    replaced(bundle, "teacher", flatbuffers()["student_builtin"])
    changed(bundle, lambda manifest: manifest["student"]["threshold"].update(values=[None] * 7))
    cascade = Cascade.load(bundle)
    assert "by the manifest expected uint8 (1, 32, 32, 3) and float32 (1, 10)" in message(
        lambda: cascade.classify(IMAGES[0])
    )


def test_a_binary_student_in_place_of_the_built_in_one_is_refused(bundle):
    replaced(bundle, "student_builtin", flatbuffers()["student"])
    told = message(lambda: Cascade.load(bundle, builtin=True))
    assert "the interpreter refuses" in told
    assert "student_builtin.tflite" in told


def test_a_bundle_of_a_twin_alone_has_only_the_built_in_student(bundle):
    changed(bundle, lambda manifest: manifest.pop("student"))
    assert "has no student: expected one of student_builtin" in message(lambda: Cascade.load(bundle))
    assert len(Cascade.load(bundle, builtin=True).classify_batch(IMAGES).label) == len(IMAGES)


def test_threads_are_at_least_one(bundle):
    assert "0 threads given: expected at least 1" in message(lambda: Cascade.load(bundle, threads=0))


@pytest.mark.parametrize(("network", "name"), [(LceNetwork, "student"), (TfliteNetwork, "teacher")])
def test_a_network_keeps_the_flatbuffer_that_it_runs(network, name):
    content = bytes(bytearray(flatbuffers()[name]))
    opened = network(content, name)
    before = opened(IMAGES[:1])[0]
    length = len(content)
    del content
    gc.collect()
    _ = [np.random.default_rng(0).bytes(length) for _ in range(50)]
    np.testing.assert_array_equal(opened(IMAGES[:1])[0], before)


RUN = """
import sys
from envise_tf.export import runtime
{before}
import numpy as np
try:
    print(runtime.Cascade.load({bundle!r}, builtin={builtin}).classify(np.zeros((32, 32, 3), np.uint8)).label)
except runtime.UserError as error:
    print(error)
print(sorted({{'tensorflow', 'larq', 'larq_compute_engine', 'keras', 'tf_keras'}} & set(sys.modules)))
"""


@pytest.mark.parametrize("builtin", [False, True])
def test_neither_tensorflow_nor_larq_is_imported_by_running(bundle, builtin):
    done = python("-c", RUN.format(before="", bundle=str(bundle), builtin=builtin))
    label, imported = done.stdout.splitlines()
    assert label in NAMES
    assert imported == "[]"


TFLITE = ("ai_edge_litert", "tflite_runtime")


def only(interpreter: str) -> str:
    """Code after which one interpreter of TensorFlow Lite is installed and the other is not."""
    (missing,) = set(TFLITE) - {interpreter}
    return f"sys.modules[{missing!r}] = None"


@pytest.mark.parametrize("interpreter", TFLITE)
def test_the_built_in_student_answers_in_whichever_interpreter_is_there(bundle, thresholds, interpreter, monkeypatch):
    pytest.importorskip(interpreter, reason=f"{interpreter} has no wheel for this Python")
    monkeypatch.setattr(runtime, "_TFLITE_MODULES", (f"{interpreter}.interpreter",))
    student, _ = networks()
    cascade = Cascade.load(bundle, builtin=True)
    assert type(cascade._student._interpreter).__module__ == f"{interpreter}.interpreter"
    logits = np.stack([cascade._student(image[np.newaxis])[cascade._outputs["logits"]][0] for image in IMAGES])
    np.testing.assert_allclose(logits, student.predict(IMAGES, verbose=0), atol=1e-4, rtol=1e-4)
    answers = cascade.classify_batch(IMAGES)
    found = [(NAMES[label], bool(by)) for label, by in zip(answers.label, answers.by_student, strict=True)]
    assert found == expected(logits, answers.score, thresholds)


@pytest.mark.parametrize("interpreter", TFLITE)
def test_one_interpreter_is_enough(bundle, interpreter):
    pytest.importorskip(interpreter, reason=f"{interpreter} has no wheel for this Python")
    code = RUN.format(before=only(interpreter), bundle=str(bundle), builtin=True)
    code += f"print(sorted({set(TFLITE)!r} & {{name for name in sys.modules if sys.modules[name]}}))\n"
    label, imported, used = python("-c", code).stdout.splitlines()
    assert label in NAMES
    assert (imported, used) == ("[]", f"['{interpreter}']")


def test_of_both_interpreters_the_living_one_is_taken(bundle):
    code = RUN.format(before="", bundle=str(bundle), builtin=True)
    code += f"print(sorted({set(TFLITE)!r} & set(sys.modules)))\n"
    assert python("-c", code).stdout.splitlines()[-1] == "['ai_edge_litert']"


@pytest.mark.parametrize(
    ("before", "builtin", "told"),
    [
        ("runtime._LCE_PACKAGE = 'nowhere'", False, "Larq Compute Engine is not installed"),
        ("runtime._TFLITE_MODULES = ('nowhere.interpreter',)", True, "no interpreter of TensorFlow Lite is installed"),
    ],
)
def test_a_missing_interpreter_is_told(bundle, before, builtin, told):
    done = python("-c", RUN.format(before=before, bundle=str(bundle), builtin=builtin))
    assert told in done.stdout
    assert done.returncode == 0


def test_larq_can_still_be_imported_afterwards(bundle):
    code = RUN.format(before="", bundle=str(bundle), builtin=False) + (
        "import envise_tf, larq_compute_engine\n"
        "from larq_compute_engine.tflite.python.interpreter import Interpreter\n"
        f"content = open({str(bundle / 'student.tflite')!r}, 'rb').read()\n"
        "print(Interpreter(content).input_shapes)\n"
    )
    assert python("-c", code).stdout.splitlines()[-1] == "[(1, 32, 32, 3)]"
