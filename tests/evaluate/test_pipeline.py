"""The evaluation of a fixed run on digits, its figures computed a second time from the networks and the labels."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from commands import error_line
from scipy.special import softmax
from thresholds import widest_gap

from envise_tf.deferral.scores import SCORES
from envise_tf.errors import UserError
from envise_tf.evaluate.__main__ import main
from envise_tf.evaluate.evaluation import OUTLIER_RATES
from envise_tf.images.digits import Digits
from envise_tf.prior.adaptation import PRIOR_FILE, Adaptation
from envise_tf.prior.adapted import adapted_teacher
from envise_tf.prior.calibration import Calibration
from envise_tf.runs.finished import load_cascade, load_run, networks_of


def evaluated(run: Path) -> dict:
    return json.loads((run / "result.json").read_text())["evaluation"]


def error_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    return error_line(capsys, main, list(words))


@pytest.fixture(scope="module")
def digits_images():
    examples = Digits().examples("test").batch(1000).get_single_element()
    return examples["image"].numpy(), examples["label"].numpy()


@pytest.fixture
def copied(digits_run, tmp_path):
    return Path(shutil.copytree(digits_run, tmp_path / "run"))


def test_the_figures_at_every_outlier_rate_follow_from_networks_and_labels(digits_run, digits_images):
    images, labels = digits_images
    student = tf.keras.models.load_model(digits_run / "student.keras", compile=False)
    teacher = tf.keras.models.load_model(digits_run / "teacher.keras", compile=False)
    logits = student.predict(images, verbose=0)
    student_right = logits.argmax(1) == labels  # the student's seven classes are the teacher's first seven
    teacher_right = teacher.predict(images, verbose=0).argmax(1) == labels
    threshold = evaluated(digits_run)["threshold"]["values"][0]
    deferred = tf.nn.softmax(logits).numpy().max(1) < threshold
    is_inlier = labels < 7
    points = evaluated(digits_run)["rates"]
    assert [point["outlier_rate"] for point in points] == list(OUTLIER_RATES)
    for point in points:
        rate = point["outlier_rate"]

        def mixed(values, rate=rate):
            return (1 - rate) * values[is_inlier].mean() + rate * values[~is_inlier].mean()

        cascade_right = np.where(deferred, teacher_right, student_right)
        assert point["accuracy_student"] == pytest.approx(mixed(student_right))
        assert point["accuracy_teacher"] == pytest.approx(mixed(teacher_right))
        assert point["accuracy_cascade"] == pytest.approx(mixed(cascade_right))
        assert point["deferral_rate"] == pytest.approx(mixed(deferred))
        assert point["outliers_caught"] == pytest.approx(rate * deferred[~is_inlier].mean())
        work = evaluated(digits_run)["work"]
        share = work["student"]["flops"] / work["teacher"]["flops"]
        assert point["gie"] == pytest.approx(1 - share - mixed(deferred))


def test_the_run_says_what_student_and_teacher_reach_on_inliers(digits_run, digits_images):
    images, labels = digits_images
    result = json.loads((digits_run / "result.json").read_text())
    for name in ("student", "teacher"):
        model = tf.keras.models.load_model(digits_run / f"{name}.keras", compile=False)
        right = model.predict(images[labels < 7], verbose=0).argmax(1) == labels[labels < 7]
        assert result[f"accuracy_{name}"] == pytest.approx(right.mean())


def test_the_student_answers_and_keeps_its_promise(digits_run):
    found = evaluated(digits_run)
    assert found["threshold"]["why_all_deferred"] is None
    assert found["threshold"]["coverage"] > 0.5
    assert not found["promise"]["refuted"]


def test_the_true_loss_follows_from_networks_and_labels(digits_run, digits_images):
    images, labels = (values[digits_images[1] < 7] for values in digits_images)
    found = evaluated(digits_run)
    student, teacher = (
        tf.keras.models.load_model(digits_run / f"{name}.keras", compile=False).predict(images, verbose=0)
        for name in ("student", "teacher")
    )
    answered = tf.nn.softmax(student).numpy().max(1) >= found["threshold"]["values"][0]
    cascade = np.where(answered, student.argmax(1), teacher.argmax(1))
    promise = found["promise"]
    assert promise["figure"] == "accuracy lost"
    assert promise["measured"] == pytest.approx((teacher.argmax(1) == labels).mean() - (cascade == labels).mean())
    assert promise["lower"] < promise["measured"] < promise["upper"]
    assert promise["images"] == len(labels)
    assert promise["verdict"] in ("kept", "not decided")
    assert 0 <= found["estimated"] < promise["promised"]
    report = (digits_run / "report.html").read_text()
    assert "as far as the teacher&#39;s probabilities are right" in report
    assert all(word in report for word in ("accuracy lost", "promised", "estimated", "measured"))


def test_both_teachers_are_shown_and_gie_at_equal_accuracy_against_each(digits_run):
    found = evaluated(digits_run)
    for point in found["rates"]:
        against = found["equal_accuracy"][str(point["outlier_rate"])]
        own = against["adapted" if (digits_run / "prior.json").exists() else "raw"]
        assert own["accuracy"] == pytest.approx(point["accuracy_teacher"])
        assert list(own["gie"]) == ["0.0", "0.005", "0.01", "0.02"]
        gains = list(own["gie"].values())
        assert gains == sorted(gains)
        assert gains[2] == pytest.approx(found["scores"]["msp"]["gie_at_equal_accuracy"][str(point["outlier_rate"])])
        assert all(0 <= error < 0.3 for error in own["gie_standard_error"].values())
    assert "raw teacher alone, accuracy" in (digits_run / "report.html").read_text()


def written_folder(folder, images, labels):
    """A folder with a sub-folder per class."""
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / Digits.class_names[label] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tf.io.encode_png(image).numpy())
    return folder


@pytest.mark.usefixtures("few_scores")
def test_an_adapted_teacher_is_shown_beside_the_raw_one_and_labelled_images_bound_what_is_lost(
    copied, digits_run, digits_images, tmp_path, capsys
):
    prior = np.array([0.4, 0.4, 0.01, 0.01, 0.01, 0.01, 0.01, 0.05, 0.05, 0.05])
    adaptation = Adaptation(
        Calibration(4.0, (0.5, 0, 0, -0.25, 0, 0, 0, 0, 0, 0.5)), np.full(10, 0.1), prior, prior, prior, 0.0, 500, 0
    )
    teacher = tf.keras.models.load_model(copied / "teacher.keras", compile=False)
    adapted_teacher(teacher, adaptation.calibration, adaptation.log_ratio).save(copied / "teacher.keras")
    (copied / PRIOR_FILE).write_text(json.dumps(adaptation.as_dict()))
    images, labels = (values[:240] for values in digits_images)
    folder = written_folder(tmp_path / "labelled", images, labels)
    assert "does not know the class shares" in error_of(capsys, str(digits_run), "--calibrate", str(folder))
    main([str(copied), "--score", "msp", "--rule", "rate", "--rate", "0.2", "--calibrate", str(folder)])
    assert not evaluated(copied)["is_by_labels"]  # which is for accuracy
    labelled, threshold = evaluated(copied)["labelled"], evaluated(copied)["threshold"]["values"][0]
    assert (labelled["images"], labelled["confidence"]) == (240, 0.95)
    assert "promise: by 240 labelled images, answers are right at most" in " ".join(capsys.readouterr().out.split())
    student, teacher = (
        tf.keras.models.load_model(copied / f"{name}.keras", compile=False).predict(images, verbose=0)
        for name in ("student", "teacher")
    )
    answered = tf.nn.softmax(student).numpy().max(1) >= threshold
    lost = ((teacher.argmax(1) == labels).astype(float) - (student.argmax(1) == labels)) * answered
    estimate = sum(share * lost[labels == label].mean() for label, share in enumerate(prior))
    assert estimate < labelled["most_lost"] < 1
    for point in evaluated(copied)["rates"]:
        rate = str(point["outlier_rate"])
        against = evaluated(copied)["equal_accuracy"][rate]
        assert list(against) == ["raw", "adapted"]
        came = evaluated(digits_run)["equal_accuracy"][rate]["raw"]
        assert against["raw"]["accuracy"] == pytest.approx(came["accuracy"])
        assert against["adapted"]["accuracy"] == pytest.approx(point["accuracy_teacher"])
        assert against["adapted"]["accuracy"] < against["raw"]["accuracy"]  # a prior that the test images lack
    assert list(evaluated(copied)["calibration"]) == ["raw", "adapted", "student"]
    report = (copied / "report.html").read_text()
    assert "Which classes the stream shows" in report
    assert "at most 20 % of the images" in report
    main([str(copied), "--score", "msp", "--epsilon", "0.25", "--calibrate", str(folder)])
    assert evaluated(copied)["is_by_labels"]
    assert evaluated(copied)["labelled"]["most_lost"] <= 0.25
    assert "by 240 labelled images, as far as images of a class look alike" in evaluated(copied)["threshold"]["promise"]
    assert "Promised by the labels" in (copied / "report.html").read_text()


def test_how_sure_each_network_is_stands_beside_how_often_it_is_right(digits_run):
    finished = load_run(str(digits_run))
    job = finished.job
    (examples,) = job.tested.examples("test", job.inliers).batch(9999).as_numpy_iterator()
    images, truth = examples["image"], examples["label"]
    found = evaluated(digits_run)["calibration"]
    assert set(found) == {"raw", "student"}  # this run's teacher is not adapted
    student = networks_of(finished).student(images).logits
    for name, logits, classes in (
        ("raw", job.teacher(images), np.arange(job.teacher.classes)),
        ("student", student, np.array(finished.teacher_classes)),
    ):
        probabilities = softmax(logits, axis=1)
        gap = probabilities.max(axis=1).mean() - (classes[probabilities.argmax(axis=1)] == truth).mean()
        assert found[name]["overconfidence"] == pytest.approx(gap, abs=1e-6)
        assert found[name]["error"] >= abs(gap) - 1e-6
    report = (digits_run / "report.html").read_text()
    assert "How sure the networks are" in report
    assert "Which classes the stream shows" not in report


def test_every_score_is_measured_or_says_why_not(digits_run):
    found = evaluated(digits_run)
    assert set(found["scores"]) | set(found["not_applicable"]) == set(SCORES)
    assert list(found["not_applicable"]) == ["inlier_mass"]  # the head has just the frequent classes
    for name, figures in found["scores"].items():
        assert 0 <= figures["auroc"] <= 1, name
        for rate in OUTLIER_RATES:
            assert figures["gie_at_equal_accuracy"][str(rate)] < 1


def test_held_back_images_are_counted_in_two_parts(digits_run):
    job, held_back = load_run(str(digits_run)).job, evaluated(digits_run)["held_back"]
    for part in ("choosing", "promising"):
        images = np.concatenate(list(getattr(job, f"{part}_images")(64).as_numpy_iterator()))
        assert held_back[part] == len(images)


def test_the_adaptation_is_charged(digits_run):
    work = evaluated(digits_run)["work"]
    adaptation = work["adaptation"]
    assert adaptation["trained"] == 16 * 640
    choosing, promising = (evaluated(digits_run)["held_back"][part] for part in ("choosing", "promising"))
    assert adaptation["labelled"] == 16 * 640 + choosing + promising
    validated = 16 * choosing + promising
    assert adaptation["validated"] == validated
    as_float = 2 * (work["student"]["float_macs"] + work["student"]["binary_macs"])
    flops = adaptation["labelled"] * work["teacher"]["flops"] + (3 * 16 * 640 + validated) * as_float
    assert adaptation["flops"] == pytest.approx(flops)
    saved = work["stream"]["gie"] * work["teacher"]["flops"]
    assert adaptation["break_even_images"] == pytest.approx(flops / saved)


def test_the_cascade_of_a_run_answers_alike_one_by_one_and_in_a_batch(digits_run, digits_images):
    images, _ = digits_images
    cascade = load_cascade(str(digits_run))
    cascade.thresholds[:] = widest_gap(cascade.classify_batch(images[:60]).score)
    answers = cascade.classify_batch(images[:60])
    assert 15 <= answers.by_student.sum() <= 45
    for row in range(60):
        answer = cascade.classify(images[row])
        assert answer.label == cascade.class_names[answers.label[row]]
        assert answer.by_student == answers.by_student[row]
        # A sum of the stem next to zero may have another sign where kernels depend on the batch.
        assert answer.score == pytest.approx(answers.score[row], abs=0.01)


@pytest.mark.parametrize(("threshold", "name"), [(np.inf, "teacher"), (-np.inf, "student")])
def test_deferring_everything_is_the_teacher_and_nothing_the_student(digits_run, digits_images, threshold, name):
    images, _ = digits_images
    cascade = load_cascade(str(digits_run))
    cascade.thresholds[:] = threshold
    model = tf.keras.models.load_model(digits_run / f"{name}.keras", compile=False)
    expected = model.predict(images, verbose=0).argmax(1)
    np.testing.assert_array_equal(cascade.classify_batch(images).label, expected)


@pytest.mark.usefixtures("few_scores", "no_report")
def test_another_rule_and_score_replace_the_threshold_and_the_terminal_tells_the_verdict(copied, capsys):
    main([str(copied), "--rule", "rate", "--rate", "0.3", "--score", "energy", "--confidence", "0.9"])
    found = evaluated(copied)
    assert found["threshold"]["rule"] == "rate"
    assert found["threshold"]["options"] == {"rate": 0.3, "confidence": 0.9}
    assert 0.7 <= found["threshold"]["coverage"] < 1
    assert load_cascade(str(copied)).thresholds.shape == (7,)
    assert "at most 30 % of the images" in found["threshold"]["promise"]
    cells = [[cell.strip() for cell in line.split("│")[1:3]] for line in capsys.readouterr().out.splitlines()]
    told = dict(cell for cell in cells if len(cell) == 2)
    assert told["answered by the student"] == f"{100 * found['threshold']['coverage']:.1f} %"
    assert told["work saved (GiE)"] == f"{100 * found['work']['stream']['gie']:.1f} %"
    assert told["promised"] == "≤ 30 %"
    assert told["deferral rate, by labels"] == f"{100 * found['promise']['measured']:.2f} %"
    assert told["the promise is"] == found["promise"]["verdict"]


@pytest.mark.usefixtures("few_scores", "no_report")
def test_a_promise_that_cannot_be_made_defers_everything_and_says_why(copied, capsys):
    main([str(copied), "--epsilon", "0.001"])
    found = evaluated(copied)
    assert found["score"] == ("msp" if "regret" in found["not_applicable"] else "regret")
    assert "does not show at most 0.1 % with confidence 95 %" in found["threshold"]["why_all_deferred"]
    assert found["rates"][0]["accuracy_cascade"] == found["rates"][0]["accuracy_teacher"]
    assert found["work"]["adaptation"]["break_even_images"] is None
    printed = capsys.readouterr().out
    assert "everything is deferred: " in printed
    assert "what helps: " in printed
    assert "a larger --epsilon promises less" in printed


def test_mistakes_are_one_line(copied, capsys, tmp_path):
    assert "holds no run of train" in error_of(capsys, str(tmp_path / "nowhere"))
    assert "no outlier score is called mps: nearest: msp" in error_of(capsys, str(copied), "--score", "mps")
    assert "--epsilon 2 given: expected more than 0 and less than 1" in error_of(capsys, str(copied), "--epsilon", "2")
    assert "inlier_mass" in error_of(capsys, str(copied), "--score", "inlier_mass")
    assert "run" in error_of(capsys)
    (copied / "student.keras").unlink()
    assert f"--resume {copied}" in error_of(capsys, str(copied))


def test_a_cascade_needs_a_threshold(copied):
    (copied / "threshold.json").unlink()
    with pytest.raises(UserError, match=r"python -m envise_tf\.evaluate"):
        load_cascade(str(copied))
