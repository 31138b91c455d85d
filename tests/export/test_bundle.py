import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_bundle import CLASSES, NAMES, changed, small_bundle, vouch

from envise_tf.errors import UserError
from envise_tf.export.bundle import file_entry, load_bundle, write_manifest

pytestmark = pytest.mark.slow

FILES = ("student.tflite", "student_builtin.tflite", "teacher.tflite", "labels.txt", "golden.npz")


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    return small_bundle(tmp_path_factory.mktemp("bundle") / "intact", thresholds=(0.5, None, -0.25, 0, 1, 2, 1 / 3))


@pytest.fixture
def bundle(intact, tmp_path):
    return Path(shutil.copytree(intact, tmp_path / "bundle"))


def message(folder) -> str:
    with pytest.raises(UserError) as caught:
        load_bundle(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_bundle_says_what_its_manifest_says(bundle):
    loaded = load_bundle(bundle)
    assert loaded.class_names == NAMES
    assert loaded.teacher_classes == CLASSES
    assert loaded.image_size == 32
    assert loaded.files == ("student", "student_builtin", "teacher", "labels", "golden")
    assert loaded.path("golden") == bundle / "golden.npz"
    assert loaded.content("teacher") == (bundle / "teacher.tflite").read_bytes()
    thresholds = loaded.thresholds("student")
    assert thresholds.dtype == np.float32
    assert thresholds.tolist() == [0.5, np.inf, -0.25, 0, 1, 2, np.float32(1 / 3)]
    assert loaded.thresholds("student_builtin").tolist() == [0] * 7


def test_a_bundle_without_the_binary_student_says_so(bundle):
    changed(bundle, lambda manifest: manifest.pop("student"))
    loaded = load_bundle(bundle)
    assert loaded.files == ("student_builtin", "teacher", "labels", "golden")
    with pytest.raises(UserError, match="has no student: expected one of student_builtin, teacher"):
        loaded.thresholds("student")


def test_the_entry_of_a_file_is_that_of_sha256sum(tmp_path):
    path = tmp_path / "some file"
    path.write_bytes(b"abc")
    # The test vector of FIPS 180-2.
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_entry(path) == {"file": "some file", "bytes": 3, "sha256": sha256}


def test_the_checksum_of_the_manifest_is_what_sha256sum_checks(bundle):
    subprocess.run(["sha256sum", "--check", "--strict", "manifest.sha256"], cwd=bundle, check=True, capture_output=True)


@pytest.mark.parametrize("name", [*FILES, "manifest.json", "manifest.sha256"])
def test_one_flipped_bit_in_any_file_is_named(bundle, name):
    path = bundle / name
    whole = path.read_bytes()
    for place in np.linspace(0, len(whole) - 1, 25).astype(int):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        assert re.search(re.escape(name), message(bundle))
    path.write_bytes(whole)
    load_bundle(bundle)


@pytest.mark.parametrize("name", [*FILES, "manifest.json", "manifest.sha256"])
def test_a_missing_empty_or_short_file_is_named(bundle, name):
    path = bundle / name
    whole = path.read_bytes()
    for content in (b"", whole[:-1]):
        path.write_bytes(content)
        assert name in message(bundle)
    path.unlink()
    assert f"cannot read {path} (it is missing)" in message(bundle)
    path.mkdir()
    assert f"cannot read {path} (Is a directory)" in message(bundle)


def test_no_bundle_at_all_is_told(tmp_path):
    assert "there is no bundle" in message(tmp_path / "nowhere")
    assert f"cannot read {tmp_path / 'manifest.json'} (it is missing)" in message(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "no", '{"schema_version": NaN}', "[" * 100_000, "\xff"])
def test_what_is_not_json_is_told(bundle, text):
    (bundle / "manifest.json").write_bytes(text.encode("latin-1"))
    assert "manifest.json is not JSON (" in message(bundle)


@pytest.mark.parametrize("version", [0, 3])
def test_another_schema_version_is_said_before_all_else(bundle, version):
    (bundle / "manifest.json").write_text(json.dumps({"schema_version": version, "strange": True}))
    told = message(bundle)
    assert f"has schema version {version}, expected 1 or 2: export the bundle again" in told
    assert "strange" not in told


def put(value, *keys):
    def change(manifest):
        for key in keys[:-1]:
            manifest = manifest[key]
        manifest[keys[-1]] = value

    return change


def share_an_output(manifest):
    outputs = manifest["student"]["outputs"]
    outputs["score"] = outputs["logits"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (put("1", "schema_version"), "at schema_version: '1' is not one of [1, 2]"),
        (lambda manifest: manifest.pop("teacher"), "at its top: 'teacher' is a required property"),
        (put(1, "teacher", "threshold"), "at teacher: Additional properties are not allowed ('threshold'"),
        (put(0, "input", "size"), "at input.size: 0 is less than the minimum of 1"),
        (put("float32", "input", "dtype"), "at input.dtype: 'uint8' was expected"),
        (put("../teacher.tflite", "teacher", "file"), "at teacher.file: 'teacher.tflite' was expected"),
        (put("x", "student", "threshold", "values", 3), "at student.threshold.values[3]: 'x' is not"),
        (put(True, "teacher_classes", 0), "at teacher_classes[0]: True is not of type 'integer'"),
        (put(-1, "teacher_classes", 0), "at teacher_classes[0]: -1 is less than the minimum of 0"),
        (put(0, "teacher_classes", 0), "at teacher_classes: [0, 0, 9, 3, 1, 8, 2] has non-unique elements"),
        (put([], "teacher_classes"), "at teacher_classes: [] should be non-empty"),
        (put(10, "teacher_classes", 0), "teacher_classes has class 10, expected 0 to 9: there are 10 class names"),
        (put([0.5], "student", "threshold", "values"), "student has 1 thresholds, expected 7"),
        (put(1e39, "student_builtin", "threshold", "values", 0), "student_builtin has the threshold 1e+39, expected"),
        (share_an_output, "expected an index of its own for each"),
        (put("class\na", "class_names", 0), "at class_names[0]"),
        (put("class z", "class_names", 0), "labels.txt has 10 labels, beginning with ['class a']; expected the 10"),
    ],
)
def test_a_manifest_that_does_not_fit_says_where(bundle, change, told):
    changed(bundle, change)
    assert told in message(bundle)


def adapted(**entries):
    """Gives the manifest an adaptation with some entries of its own."""
    shares = [0.1] * 10
    adaptation = {"temperature": 1.5, "bias": [0.25] * 10, "prior": shares, "source_prior": shares}
    counts = {"images": 500, "calibration_images": 0}
    return lambda manifest: manifest.update(schema_version=2, adaptation={**adaptation, **counts, **entries})


def test_an_adaptation_is_what_the_manifest_says(bundle):
    assert load_bundle(bundle).adaptation is None
    prior = [0.5, 0.5, *[0.0] * 8]
    changed(bundle, adapted(prior=prior))
    found = load_bundle(bundle).adaptation
    assert found.temperature == 1.5
    assert found.prior.tolist() == prior
    logits = np.random.default_rng(0).normal(size=(3, 10))
    expected = logits / 1.5 + 0.25 + np.log(np.array([5.0, 5.0, *[1e-5] * 8]))
    np.testing.assert_allclose(found.adapted(logits), expected, rtol=1e-6)


def alone(version):
    def change(manifest):
        adapted()(manifest)
        manifest["schema_version"] = version

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (alone(1), "at schema_version: 2 was expected"),
        (adapted(temperature=-1), "at adaptation.temperature: -1 is less than the minimum of 0.001"),
        (adapted(temperature=0), "at adaptation.temperature: 0 is less than the minimum of 0.001"),
        (adapted(temperature="1"), "at adaptation.temperature: '1' is not of type 'number'"),
        (adapted(temperature=True), "at adaptation.temperature: True is not of type 'number'"),
        (adapted(bias=[0.0] * 9), "adaptation has a bias of 9 numbers, expected 10: one for each class name"),
        (adapted(bias=[None, *[0.0] * 9]), "at adaptation.bias[0]: None is not of type 'number'"),
        (adapted(bias=[1e4, *[0.0] * 9]), "at adaptation.bias[0]: 10000.0 is greater than the maximum of 1000"),
        (adapted(prior=[0.125] * 8), "adaptation has a prior of 8 numbers, expected 10"),
        (adapted(prior=[0.125] * 10), "adaptation has a prior that sums to 1.25, expected shares that sum to 1"),
        (adapted(prior=[-0.1, 0.3, *[0.1] * 8]), "at adaptation.prior[0]: -0.1 is less than the minimum of 0"),
        (adapted(source_prior=[0.0, 0.2, *[0.1] * 8]), "at adaptation.source_prior[0]: 0.0 is less than or equal to"),
        (adapted(source_prior=[0.01] * 10), "adaptation has a source_prior that sums to 0.1, expected"),
        (adapted(images=-1), "at adaptation.images: -1 is less than the minimum of 0"),
        (adapted(images=1.5), "at adaptation.images: 1.5 is not of type 'integer'"),
        (adapted(strange=1), "at adaptation: Additional properties are not allowed ('strange'"),
    ],
)
def test_an_adaptation_that_does_not_fit_says_where(bundle, change, told):
    changed(bundle, change)
    assert told in message(bundle)


@pytest.mark.parametrize("key", ["temperature", "bias", "prior", "source_prior"])
@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_an_adaptation_of_infinite_numbers_is_refused(bundle, key, constant):
    adaptation = {"temperature": 1.5, "bias": [0.25] * 10, "prior": [0.1] * 10, "source_prior": [0.1] * 10}
    marked = 123456 if key == "temperature" else [123456, *adaptation[key][1:]]
    changed(bundle, adapted(**{key: marked}))
    path = bundle / "manifest.json"
    path.write_text(path.read_text().replace("123456", constant))
    vouch(bundle)
    told = message(bundle)
    assert f"at adaptation.{key}" in told or f"{constant} is no number of JSON" in told


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_threshold_that_is_no_finite_number_is_refused(bundle, constant):
    path = bundle / "manifest.json"
    path.write_text(re.sub(r"-0\.25", constant, path.read_text()))
    vouch(bundle)
    told = message(bundle)
    assert ("threshold inf, expected a finite" if constant == "1e999" else f"{constant} is no number of JSON") in told


def test_a_manifest_changed_by_hand_is_refused_until_its_checksum_is_made_again(bundle):
    path = bundle / "manifest.json"
    path.write_text(path.read_text().replace("-0.25", "0.75"))
    assert "manifest.json is not what manifest.sha256 vouches for" in message(bundle)
    vouch(bundle)
    assert load_bundle(bundle).thresholds("student")[2] == 0.75


def test_a_long_reason_keeps_both_ends(bundle):
    changed(bundle, put({"x" * 1000: 1}, "class_names"))
    told = message(bundle)
    assert len(told) < 500
    assert "is not of type 'array'" in told


def test_a_file_that_changes_after_loading_is_noticed(bundle):
    loaded = load_bundle(bundle)
    (bundle / "teacher.tflite").write_bytes(b"TFL3")
    with pytest.raises(UserError, match=r"teacher\.tflite has 4 bytes, expected"):
        loaded.content("teacher")


def test_only_a_manifest_that_can_be_read_is_written(bundle, tmp_path):
    manifest = load_bundle(bundle).manifest
    write_manifest(tmp_path, manifest)
    assert (tmp_path / "manifest.json").read_bytes() == (bundle / "manifest.json").read_bytes()
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(UserError, match="class 11, expected 0 to 9"):
        write_manifest(tmp_path, {**manifest, "teacher_classes": [1, 2, 3, 4, 5, 6, 11]})
    with pytest.raises(UserError, match="NaN is no number of JSON"):
        write_manifest(tmp_path, {**manifest, "versions": float("nan")})
    assert (tmp_path / "manifest.json").read_bytes() == (bundle / "manifest.json").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_every_key_of_the_schema_is_described():
    import envise_tf.export

    schema = json.loads((Path(envise_tf.export.__file__).parent / "schema/manifest.schema.json").read_text())

    def undescribed(part):
        for name, value in part.get("properties", {}).items():
            referred = schema["$defs"][value["$ref"].rpartition("/")[2]] if "$ref" in value else value
            if "description" not in referred and name not in ("logits", "probabilities", "score"):
                yield name
            yield from undescribed(referred)

    assert list(undescribed(schema)) == []


@pytest.mark.parametrize("module", ["bundle", "flatbuffer", "observation", "runtime", "classify"])
def test_no_training_library_is_imported(module):
    code = (
        f"import sys, envise_tf.export.{module}\n"
        "found = {'tensorflow', 'larq', 'larq_compute_engine', 'keras', 'tf_keras', 'scipy'} & set(sys.modules)\n"
        "sys.exit(str(found) if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
