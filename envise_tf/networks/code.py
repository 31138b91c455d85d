"""Code inside of a network's file, which Keras would run when it loads it.

A file of Keras may hold Python code (Lambda layers), names of modules to import, and operations of TensorFlow that read
and write files. Whoever loads such a file runs a program of whoever made it. So it is read beforehand, and refused
unless the user has said that code is allowed: by the flag --allow_code, which every command has, or from Python by the
environment variable ENVISE_ALLOW_CODE=1.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2
from tf_keras.protobuf import saved_metadata_pb2

from envise_tf.errors import UserError
from envise_tf.permissions import code_is_allowed

_UNREADABLE = (OSError, KeyError, TypeError, ValueError, RecursionError, zipfile.BadZipFile, DecodeError)
"""What a damaged file makes its readers raise; Keras says what is wrong with it."""

_TRUSTED_MODULES = {"builtins", "envise_tf", "keras", "larq", "tensorflow", "tf_keras"}
_CALCULATING = {
    "__operators__",
    "bitwise",
    "dtypes",
    "image",
    "linalg",
    "math",
    "nn",
    "quantization",
    "ragged",
    "random",
    "sets",
    "signal",
    "sparse",
    "strings",
}
"""Parts of TensorFlow's interface whose functions calculate, and do nothing else."""
_OUTSIDE = {"load_library", "load_op_library", "numpy_function", "print", "py_function"}
"""Functions in no part of it that do something else."""
_OPERATIONS_ON_FILES = {"EagerPyFunc", "MatchingFiles", "PyFunc", "PyFuncStateless", "ReadFile", "WriteFile"}


def load_keras(path: Path) -> tf.keras.Model:
    """Returns the network in a .keras or .h5 file or a SavedModel, not compiled; whatever Keras raises, it raises.

    Raises:
        UserError: it holds code, and none is allowed.
    """
    require_no_code(path)
    return tf.keras.models.load_model(path, compile=False, safe_mode=not code_is_allowed())


def require_no_code(path: Path) -> None:
    """Returns unless a file, or a SavedModel, holds code, and none is allowed.

    Not looked for: what a SavedModel's own operations for saving would overwrite.

    Raises:
        UserError: it does, and none is.
    """
    if code_is_allowed():
        return
    found = next(_code_in(path), None)
    if found is not None:
        raise UserError(
            f"{path} holds code that would run on this computer ({found}): expected a network of Keras' own layers; "
            "if you trust whoever made it, give --allow_code"
        )


def _code_in(path: Path) -> Iterator[str]:
    """Yields each piece of code in a file, in words."""
    model = _saved_model(path)
    for text in _configs(path, model):
        try:
            config = json.loads(text)
        except _UNREADABLE:
            continue
        yield from _code_of(config)
    yield from sorted(_operations(model) & _OPERATIONS_ON_FILES)


def _configs(path: Path, model: saved_model_pb2.SavedModel) -> Iterator[str | bytes]:
    """Yields what a file says of its layers, in JSON, in each form that it could be taken for."""
    with suppress(*_UNREADABLE), zipfile.ZipFile(path) as archive:
        yield archive.read("config.json")
    with suppress(*_UNREADABLE), h5py.File(path) as file:
        yield file.attrs["model_config"]
    with suppress(*_UNREADABLE):
        content = (path / "keras_metadata.pb").read_bytes()
        yield from (node.metadata for node in saved_metadata_pb2.SavedMetadata.FromString(content).nodes)
    # Where that file is missing, Keras reads the same from the graph of objects, as TensorFlow 2.4 has written it.
    yield from (node.user_object.metadata for meta in model.meta_graphs for node in meta.object_graph_def.nodes)


def _code_of(config: Any) -> Iterator[str]:
    if isinstance(config, list):
        for part in config:
            yield from _code_of(part)
    if not isinstance(config, dict):
        return
    kind, inner = config.get("class_name"), config.get("config")
    name = inner.get("name") if isinstance(inner, dict) else None
    if kind in ("Lambda", "__lambda__"):
        yield f"a Lambda layer, {name}" if name else "a lambda"
    elif kind in ("TFOpLambda", "ClassMethod") and _acts(inner):
        yield f"a layer of TensorFlow's {_function(inner)}"
    elif _is_foreign(config):
        yield f"{kind} of the Python module {config['module']}"
    for part in config.values():
        yield from _code_of(part)


def _function(inner: Any) -> str:
    """Returns the name of what a layer calls, such as nn.relu; of a class, where it calls a method of one."""
    return str(inner.get("function") or inner.get("cls_ref")) if isinstance(inner, dict) else ""


def _acts(inner: Any) -> bool:
    """Returns whether the function of a layer is none that is known to calculate alone."""
    function = _function(inner)
    room, dot, _ = function.removeprefix("compat.v1.").partition(".")
    is_keras = function.startswith(("keras.activations.", "keras.backend."))
    return not is_keras and (room not in _CALCULATING if dot else room in _OUTSIDE)


def _is_foreign(config: dict[str, Any]) -> bool:
    """Returns whether a module would be imported that is neither one of ours nor the user's, who has it loaded."""
    module, registered = config.get("module"), config.get("registered_name")
    if not isinstance(module, str) or module.partition(".")[0] in _TRUSTED_MODULES:
        return False
    return not isinstance(registered, str) or tf.keras.saving.get_registered_object(registered) is None


def _saved_model(path: Path) -> saved_model_pb2.SavedModel:
    """Returns what stands in a SavedModel; nothing where it is damaged, or a file of another form."""
    with suppress(*_UNREADABLE):
        return saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    return saved_model_pb2.SavedModel()


def _operations(model: saved_model_pb2.SavedModel) -> set[str]:
    """Returns the kinds of the operations in a SavedModel."""
    graphs = [meta.graph_def for meta in model.meta_graphs]
    inner = [node.op for graph in graphs for function in graph.library.function for node in function.node_def]
    return {*inner, *(node.op for graph in graphs for node in graph.node)}
