"""What a search has found, as JSON: as avl_tf.search prints it, and for the page."""

import dataclasses
import os
from typing import Any

from avl_tf.server.decoding import Decoded
from avl_tf.server.site import Served, kind_of


def as_listed(_served: Served, answer: Any, _decoded: Decoded | None) -> Any:
    """The list of avl_tf.search --json."""
    return [dataclasses.asdict(hit) for hit in answer.hits]


def for_page(served: Served, answer: Any, decoded: Decoded | None) -> dict[str, Any]:
    """The answer with what a browser needs to show it; no path of this machine."""
    hits = []
    for hit in answer.hits:
        fields = dataclasses.asdict(hit)
        path = fields.pop("media")
        fields["name"] = os.path.basename(path) or hit.recording_id
        fields["kind"] = kind_of(path)
        fields["missing"] = hit.missing.replace(path, fields["name"])
        hits.append(fields)
    return {
        "index": served.name,
        "by": decoded.by if decoded else "window",
        "seconds": decoded.seconds if decoded else 0,
        "peaks": decoded.peaks if decoded else (),
        "match": answer.match,
        "threshold": answer.threshold,
        "error_rate": answer.error_rate,
        "calibrated": answer.calibrated,
        "hits": hits,
    }
