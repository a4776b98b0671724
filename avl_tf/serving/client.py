"""A client of exports that are served: TensorFlow Serving, or avl_tf.app.

    from avl_tf.serving import client
    wav = open("query.wav", "rb").read()
    found = client.predict("http://localhost:8501", "ro", {"wav_bytes": [wav]})
    found["audio_embedding"][0], found["valid"][0], found["reason"][0]

REST by the standard library, or gRPC at "grpc://localhost:8500" (pip install
'avl_tf[grpc]'). This file needs nothing else of avl_tf: copy it to where that is not.
"""

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

_GRPC = "grpc://"
_MOST_BYTES = 1 << 30  # of a message of gRPC, whose own limit is 4 MB


class RequestError(OSError):
    """There is no answer, or the server refuses; with its reason."""


def predict(
    address: str,
    name: str,
    inputs: Mapping[str, Any],
    signature: str = "serving_default",
    timeout_s: float = 60.0,
) -> dict[str, Any]:
    """Calls a signature of a model, those that avl_tf.serving lists.

    Args:
        address: http://HOST:PORT or https://..., without a path, or grpc://HOST:PORT.
        name: of the model: of a cascade, of its stage.
        inputs: by their names, lists of what an item is: bytes, or numbers, nested as
            the shape is. NumPy arrays too.
        signature: wav_bytes_es, features and so on.
        timeout_s: seconds to wait for the answer.

    Returns:
        The outputs by their names, as lists.

    Raises:
        RequestError: the server cannot be reached, or refuses; names it.
    """
    if address.startswith(_GRPC):
        return _by_grpc(address, name, inputs, signature, timeout_s)
    model = urllib.parse.quote(name, safe="")
    url = f"{address.rstrip('/')}/v1/models/{model}:predict"
    columns = {key: _plain(value) for key, value in inputs.items()}
    body = json.dumps({"signature_name": signature, "inputs": columns}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            found = json.load(response)["outputs"]
    except urllib.error.HTTPError as error:
        raise RequestError(f"{url}: {error.code}, {_reason(error)}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RequestError(f"{url}: no answer of a model ({error}).") from error
    # Of one output TensorFlow Serving leaves out the name.
    return found if isinstance(found, dict) else {"outputs": found}


def _plain(value: Any) -> Any:
    """Bytes as JSON has them for TensorFlow Serving, in lists; arrays as lists."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _reason(error: urllib.error.HTTPError) -> str:
    text = error.read().decode("utf-8", "replace")
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text[:500] or str(error.reason)


def _by_grpc(
    address: str, name: str, inputs: Mapping[str, Any], signature: str, timeout_s: float
) -> dict[str, Any]:
    # Extras, which bring TensorFlow.
    import grpc
    import numpy as np
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for key, value in inputs.items():
        array = np.asarray(value)
        # Of bytes NumPy's own type would cut zeros off the end.
        if array.dtype.kind in "SUO":
            array = np.asarray(value, object)
        elif array.dtype.kind in "fi" and not hasattr(value, "dtype"):
            array = array.astype(np.float32 if array.dtype.kind == "f" else np.int32)
        request.inputs[key].CopyFrom(tf.make_tensor_proto(array))
    options = [("grpc.max_receive_message_length", _MOST_BYTES)]
    target = address.removeprefix(_GRPC)
    with grpc.insecure_channel(target, options) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            response = stub.Predict(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise RequestError(
                f"{address}: {error.code().name}, {error.details()}"
            ) from error
    return {key: _listed(tf.make_ndarray(one)) for key, one in response.outputs.items()}


def _listed(array: Any) -> Any:
    texts = array.dtype == object
    return [one.decode() for one in array] if texts else array.tolist()
