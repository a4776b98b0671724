"""TensorFlow Serving's REST API of an export: JSON in, its signatures, JSON out.

A request is {"signature_name", "instances": [...]}, an item a row, or {"inputs":
{...}}, a column an input. Bytes are {"b64": "..."}. The answer is {"predictions"} or
{"outputs"}, of one output without its name.
"""

import base64
import binascii
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

from avl_tf import files, json_text
from avl_tf.errors import UserError
from avl_tf.server.refusals import Refusal

_DEFAULT = "serving_default"
# Lines around what the runtime of a graph has to say.
_NO_REASON = re.compile(r"\s*(Graph exec|Detected at|<stack|File \"|\[\[|\d+ root|$)")
_MOST_NUMBERS = 50_000_000


class Export:
    """A SavedModel, loaded when it is first asked for something."""

    def __init__(self, path: str):
        """Takes the folder RUN_DIR/export/N."""
        self.path = path
        name = os.path.basename(os.path.normpath(path))
        self.version = name if name.isdecimal() else "1"
        self._signatures: Mapping[str, Any] | None = None

    def status(self) -> dict[str, Any]:
        """What TensorFlow Serving says of a model that it serves."""
        state = {"error_code": "OK", "error_message": ""}
        one = {"version": self.version, "state": "AVAILABLE", "status": state}
        return {"model_version_status": [one]}

    def metadata(self, name: str) -> dict[str, Any]:
        """The signatures, as TensorFlow Serving tells them."""
        saved = saved_model_pb2.SavedModel()
        with tf.io.gfile.GFile(files.join(self.path, "saved_model.pb"), "rb") as file:
            saved.ParseFromString(file.read())
        (graph,) = saved.meta_graphs
        found = {
            key: {
                "inputs": {k: _told(info) for k, info in signature.inputs.items()},
                "outputs": {k: _told(info) for k, info in signature.outputs.items()},
                "method_name": signature.method_name,
            }
            for key, signature in graph.signature_def.items()
        }
        spec = {"name": name, "signature_name": "", "version": self.version}
        signatures = {"signature_def": {"signature_def": found}}
        return {"model_spec": spec, "metadata": signatures}

    def predict(self, text: bytes) -> dict[str, Any]:
        """Answers the body of a request.

        Raises:
            Refusal: 400, with what is wrong with it.
        """
        try:
            asked = json_text.parse(text, "the request")
        except UserError as error:
            raise Refusal(400, str(error)) from error
        if not isinstance(asked, dict):
            raise Refusal(400, "the request is not a JSON object.")
        rows, columns = asked.get("instances"), asked.get("inputs")
        if (rows is None) == (columns is None):
            raise Refusal(400, "give either 'instances' or 'inputs'.")
        function = self._signature(asked.get("signature_name") or _DEFAULT)
        specs = function.structured_input_signature[1]
        named = _of_rows(rows, specs) if columns is None else _named(columns, specs)
        given = {name: _tensor(named[name], spec) for name, spec in specs.items()}
        try:
            found = {key: value.numpy() for key, value in function(**given).items()}
        except (tf.errors.InvalidArgumentError, ValueError) as error:
            raise Refusal(400, _reason(error)) from error
        except tf.errors.ResourceExhaustedError as error:
            raise Refusal(400, "it takes more memory than there is.") from error
        outputs = {key: _plain(value) for key, value in sorted(found.items())}
        if columns is not None:
            only = next(iter(outputs.values()))
            return {"outputs": only if len(outputs) == 1 else outputs}
        if len(outputs) == 1:
            return {"predictions": next(iter(outputs.values()))}
        each = zip(*outputs.values(), strict=True)
        return {"predictions": [dict(zip(outputs, one, strict=True)) for one in each]}

    def _signature(self, name: Any) -> Any:
        if self._signatures is None:
            with files.local_copy(self.path) as local, files.plain(local) as plain:
                self._loaded = tf.saved_model.load(plain)
            self._signatures = self._loaded.signatures
        if not isinstance(name, str) or name not in self._signatures:
            known = ", ".join(sorted(self._signatures))
            raise Refusal(
                400,
                f"Serving signature name: {str(name)[:80]!a} not found in signature "
                f"def. There are {known}.",
            )
        return self._signatures[name]


def _reason(error: Exception) -> str:
    """The line of TensorFlow's text that says what is wrong with the inputs."""
    text = str(getattr(error, "message", error))
    if asserted := re.search(r"assertion failed: \[([^\]]+)\]", text):
        return f"{asserted[1]}."
    lines = [line for line in text.splitlines() if not _NO_REASON.match(line)]
    return files.reason(ValueError("\n".join(lines) or text))


def _told(info: Any) -> dict[str, Any]:
    """A TensorInfo as TensorFlow Serving's JSON has it: int64 is text."""
    dims = [{"size": str(dim.size), "name": dim.name} for dim in info.tensor_shape.dim]
    return {
        "dtype": types_pb2.DataType.Name(info.dtype),
        "tensor_shape": {"dim": dims, "unknown_rank": info.tensor_shape.unknown_rank},
        "name": info.name,
    }


def _of_rows(rows: Any, specs: Mapping[str, tf.TensorSpec]) -> dict[str, list[Any]]:
    if not isinstance(rows, list) or not rows:
        raise Refusal(400, "'instances' is a list of one item or more.")
    named = [_named(row, specs) for row in rows]
    return {name: [row[name] for row in named] for name in specs}


def _named(value: Any, specs: Mapping[str, tf.TensorSpec]) -> dict[str, Any]:
    """The inputs by their names; of one input the name may be left out."""
    is_bytes = isinstance(value, dict) and value.keys() == {"b64"}
    if len(specs) == 1 and (not isinstance(value, dict) or is_bytes):
        return {name: value for name in specs}
    if not isinstance(value, dict) or value.keys() != specs.keys():
        got = sorted(value) if isinstance(value, dict) else type(value).__name__
        raise Refusal(
            400, f"expected the inputs {', '.join(sorted(specs))}, got {got!s:.200}."
        )
    return value


def _tensor(value: Any, spec: tf.TensorSpec) -> tf.Tensor:
    kind, shape = spec.dtype.as_numpy_dtype, spec.shape
    what = f"'{spec.name}' is {spec.dtype.name} {shape}"
    try:
        if spec.dtype == tf.string:
            array = np.array(_bytes(value), object)
        else:
            # Texts and objects would be taken for numbers, or fail in NumPy's words.
            array = np.array(value)
            if array.dtype.kind not in ("b" if kind == np.bool_ else "iuf"):
                raise ValueError(f"it holds {array.dtype.name}")
            if array.dtype.kind == "f" and np.dtype(kind).kind in "iu":
                raise ValueError("it holds numbers that are not whole")
            if array.dtype != kind and np.dtype(kind).kind in "iu":
                limits = np.iinfo(kind)
                if array.size and not (
                    limits.min <= array.min() and array.max() <= limits.max
                ):
                    raise ValueError(f"it holds numbers beyond {np.dtype(kind).name}")
            array = array.astype(kind)
    except (ValueError, TypeError, OverflowError, binascii.Error) as error:
        raise Refusal(400, f"{what}, and cannot be made of this: {error}.") from error
    if not shape.is_compatible_with(array.shape) or array.size > _MOST_NUMBERS:
        raise Refusal(400, f"{what}, got {list(array.shape)}.")
    return tf.constant(array, spec.dtype, array.shape)


def _bytes(value: Any) -> Any:
    """Texts and {"b64"} as bytes, in the lists that they stand in."""
    if isinstance(value, list):
        return [_bytes(one) for one in value]
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and value.keys() == {"b64"}:
        if isinstance(value["b64"], str):
            return base64.b64decode(value["b64"], validate=True)
    raise ValueError(f'a {type(value).__name__} is no text and no {{"b64": "..."}}')


def _plain(value: np.ndarray) -> Any:
    if value.dtype != object:
        return value.tolist()
    texts = [one.decode("utf-8", "replace") for one in value.ravel()]
    return np.array(texts, object).reshape(value.shape).tolist()
