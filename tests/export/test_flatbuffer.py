import struct

import pytest
from flatbuffers import builder as flatbuffer_builder
from small_bundle import flatbuffers
from tensorflow.lite.python import schema_py_generated as schema

from envise_tf.errors import UserError
from envise_tf.export.flatbuffer import check_flatbuffer

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["student", "student_builtin", "teacher"])
def test_a_whole_flatbuffer_passes_and_one_cut_anywhere_does_not(name):
    content = flatbuffers()[name]
    check_flatbuffer(content, name)
    for length in [*range(0, len(content), 37), *range(len(content) - 40, len(content))]:
        with pytest.raises(UserError, match=rf"^{name} \({length} bytes\) is no whole TensorFlow Lite model: "):
            check_flatbuffer(content[:length], name)


@pytest.mark.parametrize(
    ("place", "number"), [("inputs", -2), ("inputs", 10_000), ("outputs", -1), ("outputs", 10_000), ("graph", -1)]
)
def test_tensors_that_there_are_not_are_refused(place, number):
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(flatbuffers()["student"], 0))
    graph = model.subgraphs[0]
    of, named = (graph, "outputs") if place == "graph" else (graph.operators[-1], place)
    setattr(of, named, [number, *getattr(of, named)[1:]])
    builder = flatbuffer_builder.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    with pytest.raises(UserError, match=r"the numbers at byte \d+ name tensors that there are not"):
        check_flatbuffer(bytes(builder.Output()), "x")


def test_what_is_no_flatbuffer_is_told():
    for content in (b"", b"TFL3", b"PK\x03\x04" * 10):
        with pytest.raises(UserError, match=r"x .* is no whole TensorFlow Lite model"):
            check_flatbuffer(content, "x")


def test_a_table_without_fields_is_whole_and_one_with_a_field_outside_is_not():
    # Root offset, identifier, a vtable of one field (its length, the table's length, the field), the table.
    def made(field: int) -> bytes:
        return struct.pack("<I4sHHHHiI", 16, b"TFL3", 6, 8, field, 0, 8, 0)

    check_flatbuffer(made(4), "x")
    with pytest.raises(UserError, match="the table at byte 16 has a field outside of it"):
        check_flatbuffer(made(8), "x")


def test_offsets_that_point_before_the_file_are_refused():
    backwards = struct.pack("<I4si", 8, b"TFL3", 1000)
    with pytest.raises(UserError, match="it refers to bytes -992 to -991"):
        check_flatbuffer(backwards, "x")
