"""Metadata read back by the numbers of the public schema, with the plain reader of flatbuffers."""

import zipfile

import numpy as np
import pytest
from flatbuffers import number_types as numbers
from flatbuffers.table import Table
from small_bundle import NAMES, SIZE, flatbuffers, varied_images
from tensorflow.lite.python import schema_py_generated as schema

from envise_tf.export.conversion import operators, output_indices
from envise_tf.export.flatbuffer import check_flatbuffer
from envise_tf.export.metadata import Described, with_metadata
from envise_tf.export.runtime import TfliteNetwork

pytestmark = pytest.mark.slow

OUTPUTS = [Described("logits", "One a class.", True), Described("score", "How sure.", False)]
LABELS = ["café", *NAMES[1:]]


@pytest.fixture(scope="module")
def described() -> bytes:
    return with_metadata(flatbuffers()["teacher"], "zoo teacher", "It answers.", SIZE, OUTPUTS, LABELS)


class Fields:
    """A table of a flatbuffer, field by field, by their numbers in the schema."""

    def __init__(self, content: bytes, at: int) -> None:
        self._table = Table(content, at)

    @classmethod
    def root(cls, content: bytes) -> "Fields":
        return cls(content, int.from_bytes(content[:4], "little"))

    def _at(self, field: int) -> int:
        place = self._table.Offset(4 + 2 * field)
        assert place, f"field {field} is not set"
        return place + self._table.Pos

    def text(self, field: int) -> str:
        return self._table.String(self._at(field)).decode()

    def number(self, field: int, kind: type = numbers.Uint8Flags) -> int:
        return self._table.Get(kind, self._at(field))

    def table(self, field: int) -> "Fields":
        return Fields(self._table.Bytes, self._table.Indirect(self._at(field)))

    def tables(self, field: int) -> list["Fields"]:
        first, count = self._vector(field)
        return [Fields(self._table.Bytes, self._table.Indirect(first + 4 * index)) for index in range(count)]

    def floats(self, field: int) -> list[float]:
        first, count = self._vector(field)
        return [self._table.Get(numbers.Float32Flags, first + 4 * index) for index in range(count)]

    def has(self, field: int) -> bool:
        return bool(self._table.Offset(4 + 2 * field))

    def _vector(self, field: int) -> tuple[int, int]:
        place = self._at(field) - self._table.Pos
        return self._table.Vector(place), self._table.VectorLen(place)


def metadata_of(flatbuffer: bytes) -> bytes:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(flatbuffer, 0))
    (buffer,) = (entry.buffer for entry in model.metadata if entry.name == b"TFLITE_METADATA")
    return bytes(model.buffers[buffer].data)


def test_the_metadata_name_network_input_and_outputs(described):
    content = metadata_of(described)
    assert content[4:8] == b"M001"
    model = Fields.root(content)
    assert (model.text(0), model.text(1), model.text(7)) == ("zoo teacher", "It answers.", "1.0.0")
    (subgraph,) = model.tables(3)
    logits, score = subgraph.tables(3)
    assert [output.text(0) for output in (logits, score)] == ["logits", "score"]
    (file,) = logits.tables(6)
    assert (file.text(0), file.number(2)) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS
    assert not score.has(6)


def test_the_input_is_an_image_that_is_not_normalised(described):
    (subgraph,) = Fields.root(metadata_of(described)).tables(3)
    (image,) = subgraph.tables(2)
    content, (unit,) = image.table(3), image.tables(4)
    assert (content.number(0), content.table(1).number(0)) == (2, 1)  # ImageProperties, RGB
    size = content.table(1).table(1)
    assert [size.number(field, numbers.Uint32Flags) for field in (0, 1)] == [SIZE, SIZE]
    assert unit.number(0) == 1  # NormalizationOptions
    assert (unit.table(1).floats(0), unit.table(1).floats(1)) == ([0.0], [1.0])
    assert (image.table(5).floats(0), image.table(5).floats(1)) == ([255.0], [0.0])


def test_the_labels_are_a_file_in_the_model(described, tmp_path):
    (tmp_path / "a.tflite").write_bytes(described)
    with zipfile.ZipFile(tmp_path / "a.tflite") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode().splitlines() == LABELS


def test_the_network_is_as_it_was(described):
    before = flatbuffers()["teacher"]
    check_flatbuffer(described, "described")
    assert operators(described) == operators(before)
    assert output_indices(described) == output_indices(before)
    for image in varied_images(5):
        said = [TfliteNetwork(content, "teacher")(image[np.newaxis])[0] for content in (before, described)]
        np.testing.assert_array_equal(*said)


def test_the_same_network_gives_the_same_bytes(described):
    again = with_metadata(flatbuffers()["teacher"], "zoo teacher", "It answers.", SIZE, OUTPUTS, LABELS)
    assert again == described
