"""A bundle of a run whose teacher is adapted: the file is the raw teacher's, the answers are the adapted one's."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import error_line
from fixed_run import held_back_images
from small_bundle import changed

from envise_tf.errors import UserError
from envise_tf.export.__main__ import main
from envise_tf.export.bundle import file_entry, load_bundle
from envise_tf.export.runtime import Cascade
from envise_tf.export.settings import VerifySettings
from envise_tf.export.verify import Failed, verify
from envise_tf.runs.finished import load_cascade

ENTRIES = ("temperature", "bias", "prior", "source_prior", "images", "calibration_images")


@pytest.fixture
def bundle(exported_adapted, tmp_path):
    return Path(shutil.copytree(exported_adapted, tmp_path / "bundle"))


def golden_of(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "golden.npz") as file:
        return dict(file)


def added(run: Path) -> tuple[float, np.ndarray]:
    """The temperature, and b + log(pi / pi0) with a share of 0 taken as a millionth."""
    said = json.loads((run / "prior.json").read_text())
    ratio = np.maximum(said["prior"], 1e-6) / np.array(said["source_prior"])
    return said["temperature"], np.array(said["bias"]) + np.log(ratio)


def test_the_manifest_says_how_the_teacher_is_adapted(exported_adapted, exported, adapted_run):
    manifest, said = load_bundle(exported_adapted).manifest, json.loads((adapted_run / "prior.json").read_text())
    assert manifest["schema_version"] == 2
    assert manifest["adaptation"] == {key: said[key] for key in ENTRIES}
    raw = load_bundle(exported)
    assert raw.manifest["schema_version"] == 2
    assert "adaptation" not in raw.manifest
    assert raw.adaptation is None


def test_the_file_is_that_of_the_raw_teacher(exported_adapted, exported):
    golden, raw = golden_of(exported_adapted), golden_of(exported)
    np.testing.assert_array_equal(golden["images"], raw["images"])
    np.testing.assert_allclose(golden["teacher_logits"], raw["teacher_logits"], rtol=1e-5, atol=1e-5)
    for key in ("bytes", "flops", "float_macs", "outputs"):
        assert load_bundle(exported_adapted).manifest["teacher"][key] == load_bundle(exported).manifest["teacher"][key]


def test_the_golden_answers_are_adapted(exported_adapted, adapted_run):
    golden = golden_of(exported_adapted)
    temperature, shift = added(adapted_run)
    adapted = golden["teacher_logits"] / temperature + shift
    np.testing.assert_allclose(golden["adapted_logits"], adapted, rtol=1e-4, atol=1e-4)
    deferred = ~golden["by_student"]
    np.testing.assert_array_equal(golden["label"][deferred], adapted.argmax(axis=1)[deferred])
    assert (golden["teacher_logits"].argmax(axis=1) != adapted.argmax(axis=1))[deferred].any()


def test_the_bundle_answers_as_the_run_does_in_keras(exported_adapted, adapted_run):
    images = held_back_images(adapted_run)
    found = Cascade.load(exported_adapted).classify_batch(images)
    expected = load_cascade(str(adapted_run)).classify_batch(images)
    same = (found.label == expected.label) & (found.by_student == expected.by_student)
    assert same.mean() >= 0.998
    agreements = verify(VerifySettings(str(exported_adapted), run=str(adapted_run), images=90))
    assert agreements[2].same_class >= 0.998
    assert agreements[2].median_difference < 0.01


@pytest.mark.parametrize("precision", ["int8", "dynamic"])
def test_a_quantised_teacher_is_adapted_alike(bundle, adapted_run, precision):
    main([str(adapted_run), "--out", str(bundle), "--overwrite", "true", "--teacher_precision", precision])
    golden = golden_of(bundle)
    temperature, shift = added(adapted_run)
    expected = golden["teacher_logits"] / temperature + shift
    np.testing.assert_allclose(golden["adapted_logits"], expected, rtol=1e-4, atol=1e-4)
    assert verify(VerifySettings(str(bundle), run=str(adapted_run), images=90))[2].same_class >= 0.9


def test_another_prior_needs_no_other_file(bundle):
    images = golden_of(bundle)["images"]
    sure = [0.0] * 10
    sure[8] = 1.0
    changed(bundle, lambda manifest: manifest["adaptation"].update(prior=sure, temperature=1000))
    answers = Cascade.load(bundle).classify_batch(images)
    assert set(answers.label[~answers.by_student]) == {8}


def test_verify_tells_another_prior(bundle, adapted_run):
    changed(bundle, lambda manifest: manifest["adaptation"].update(temperature=1.0))
    with pytest.raises(Failed, match=r"answers \d+ of 32 golden images otherwise|other logits than the golden ones"):
        verify(VerifySettings(str(bundle)))
    changed(bundle, lambda manifest: manifest["adaptation"].update(temperature=8.0, images=701))
    verify(VerifySettings(str(bundle)))
    with pytest.raises(UserError, match="thresholds or another prior than"):
        verify(VerifySettings(str(bundle), run=str(adapted_run)))


def test_a_golden_file_without_the_adapted_logits_is_told(bundle):
    golden = golden_of(bundle)
    golden.pop("adapted_logits")
    np.savez_compressed(bundle / "golden.npz", **golden)
    changed(bundle, lambda manifest: manifest["golden"].update(file_entry(bundle / "golden.npz")))
    with pytest.raises(Failed, match=r"has no adapted_logits of shape \(32, 10\)"):
        verify(VerifySettings(str(bundle)))


def test_a_prior_that_is_not_the_networks_is_refused(adapted_run, tmp_path, capsys):
    run = Path(shutil.copytree(adapted_run, tmp_path / "run"))
    said = json.loads((run / "prior.json").read_text())
    (run / "prior.json").write_text(json.dumps(said | {"temperature": 7.0}))
    words = [str(run), "--out", str(tmp_path / "bundle")]
    assert "has another temperature, bias or prior than" in error_line(capsys, main, words)
    (run / "prior.json").unlink()
    assert "is adapted, but there is no prior.json" in error_line(capsys, main, words)
    assert not (tmp_path / "bundle").exists()
