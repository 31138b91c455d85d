"""Metadata of TensorFlow Lite in a flatbuffer: what each input and output means, and the names of the classes.

Android tools read it (Android Studio's model view and code generator, the task libraries, netron); the cascade itself
goes by the manifest. Its layout is public: a flatbuffer of its own, with the identifier M001, in a buffer of the model
that a metadata entry names TFLITE_METADATA; associated files are appended to the model as a ZIP archive, which a reader
finds from the end and an interpreter never looks at [TensorFlow Lite Metadata, schema 1.0.0, metadata_schema.fbs]. It
is written here because the package that writes it, tflite-support, needs an older protobuf than TensorFlow.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import flatbuffers
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

LABELS = "labels.txt"

_ENTRY = b"TFLITE_METADATA"
_IDENTIFIER = b"M001"
_OLDEST_PARSER = "1.0.0"
_TENSOR_AXIS_LABELS = 2
_IMAGE_PROPERTIES, _NORMALIZATION_OPTIONS = 2, 1
_RGB = 1
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Of the archive's entry, so that the same network gives the same bytes."""


@dataclass(frozen=True)
class Described:
    """An output of a network.

    Args:
        name: such as "probabilities".
        description: one sentence.
        has_labels: whether it has a number for each class.
    """

    name: str
    description: str
    has_labels: bool


def with_metadata(
    flatbuffer: bytes, name: str, description: str, size: int, outputs: Sequence[Described], labels: Sequence[str]
) -> bytes:
    """Returns a flatbuffer with metadata and the names of its classes; its operators and weights stay as they are.

    The input is told to be an RGB image of 0..255 that is not normalised (mean 0, deviation 1): that is in the graph.

    Args:
        flatbuffer: of one subgraph with one input, uint8 (1, size, size, 3).
        name: of the network.
        description: one sentence.
        size: of the input, in pixels.
        outputs: in the order of the interpreter.
        labels: the class of each number of the outputs that have them.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(flatbuffer))
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = list(_metadata(name, description, size, outputs))
    entry.name, entry.buffer = _ENTRY, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    archive = io.BytesIO(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    with zipfile.ZipFile(archive, "a") as appended:  # behind what is there
        appended.writestr(zipfile.ZipInfo(LABELS, _EPOCH), "".join(f"{label}\n" for label in labels))
    return archive.getvalue()


# --- The tables of metadata_schema.fbs, by their fields' numbers; what a table refers to is written before it -------


def _metadata(name: str, description: str, size: int, outputs: Sequence[Described]) -> bytes:
    builder = flatbuffers.Builder()
    image = _image_input(builder, size)
    given = [_output(builder, output) for output in outputs]
    subgraph = _table(builder, 7, {2: _tables(builder, [image]), 3: _tables(builder, given)})
    root = _table(
        builder,
        8,
        {
            0: builder.CreateString(name),
            1: builder.CreateString(description),
            3: _tables(builder, [subgraph]),
            7: builder.CreateString(_OLDEST_PARSER),
        },
    )
    builder.Finish(root, _IDENTIFIER)
    return bytes(builder.Output())


def _image_input(builder: flatbuffers.Builder, size: int) -> int:
    default_size = _table(builder, 2, {}, {0: (builder.PrependUint32Slot, size), 1: (builder.PrependUint32Slot, size)})
    properties = _table(builder, 2, {1: default_size}, {0: (builder.PrependInt8Slot, _RGB)})
    content = _table(builder, 3, {1: properties}, {0: (builder.PrependUint8Slot, _IMAGE_PROPERTIES)})
    options = _table(builder, 2, {0: _floats(builder, [0.0]), 1: _floats(builder, [1.0])})
    unit = _table(builder, 2, {1: options}, {0: (builder.PrependUint8Slot, _NORMALIZATION_OPTIONS)})
    fields = {
        0: builder.CreateString("image"),
        1: builder.CreateString("The upright central square of a photograph, resized: RGB, 0 to 255."),
        3: content,
        4: _tables(builder, [unit]),
        5: _table(builder, 2, {0: _floats(builder, [255.0]), 1: _floats(builder, [0.0])}),
    }
    return _table(builder, 7, fields)


def _output(builder: flatbuffers.Builder, output: Described) -> int:
    fields = {0: builder.CreateString(output.name), 1: builder.CreateString(output.description)}
    if output.has_labels:
        strings = {0: builder.CreateString(LABELS), 1: builder.CreateString("The name of each class, one a line.")}
        file = _table(builder, 4, strings, {2: (builder.PrependInt8Slot, _TENSOR_AXIS_LABELS)})
        fields[6] = _tables(builder, [file])
    return _table(builder, 7, fields)


def _table(
    builder: flatbuffers.Builder,
    fields: int,
    offsets: dict[int, int],
    numbers: dict[int, tuple[Callable[[int, int, int], None], int]] | None = None,
) -> int:
    """Writes a table with so many fields, of which some are set; returns where it is."""
    builder.StartObject(fields)
    for field, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(field, offset, 0)
    for field, (prepend, number) in (numbers or {}).items():
        prepend(field, number, 0)
    return builder.EndObject()


def _tables(builder: flatbuffers.Builder, tables: Sequence[int]) -> int:
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    return builder.EndVector()


def _floats(builder: flatbuffers.Builder, values: Sequence[float]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return builder.EndVector()
