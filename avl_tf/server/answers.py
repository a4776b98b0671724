"""What a search has found, as JSON: as avl_tf.search prints it, and for the page."""

import dataclasses
import os
from typing import Any

from starlette.responses import JSONResponse, Response

from avl_tf.retrieval import calibrated
from avl_tf.server.decoding import Decoded
from avl_tf.server.site import Served, kind_of


def as_listed(served: Served, answer: Any, _decoded: Decoded | None) -> Response:
    """The list of avl_tf.search --json; why something is a match is in a header."""
    answer = dataclasses.replace(answer, calibrated=_calibrated(served, answer))
    told = answer.calibrated.encode("ascii", "replace").decode()
    return JSONResponse(answer.as_list(), headers={"X-Avl-Calibration": told})


def for_page(served: Served, answer: Any, decoded: Decoded | None) -> Response:
    """The answer with what a browser needs to show it; no path of this machine.

    heard_s: how much of a longer sound the model heard, 0 if all of it.
    """
    hits = []
    for hit in answer.hits:
        fields = dataclasses.asdict(hit)
        path = fields.pop("media")
        fields["name"] = os.path.basename(path) or hit.recording_id
        fields["kind"] = kind_of(path)
        fields["missing"] = hit.missing.replace(path, fields["name"])
        hits.append(fields)
    clip_s = served.engine.embedder.clip_s
    is_cut = decoded and decoded.by == "audio" and decoded.seconds > clip_s
    found = {
        "index": served.name,
        "by": decoded.by if decoded else "window",
        "seconds": decoded.seconds if decoded else 0,
        "heard_s": clip_s if is_cut else 0,
        "peaks": decoded.peaks if decoded else (),
        "match": answer.match,
        "threshold": answer.threshold,
        "error_rate": answer.error_rate,
        "calibrated": _calibrated(served, answer),
        "hits": hits,
    }
    return JSONResponse(found)


def _calibrated(served: Served, answer: Any) -> str:
    """What the scores mean; how to calibrate is for who started the server alone."""
    if answer.match is None and calibrated.Kept.of(served.store) is None:
        return "the index is not calibrated."
    return " ".join(answer.calibrated.split())
