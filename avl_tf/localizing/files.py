"""What a page of matchmaps has beside it: spans.tsv, TextGrids, WebVTT, an array."""

import csv
import io
import os
from collections.abc import Sequence

import numpy as np

from avl_tf.exhibits import texts
from avl_tf.exhibits.spans import Span
from avl_tf.localizing import Matched

SPANS, MAPS = "spans.tsv", "matchmaps.npz"
_HEADER = ("clip_id", "start_s", "end_s", "top", "left", "bottom", "right", "value")


def write(folder: str, matched: Sequence[Matched]) -> None:
    """Writes all but the page.

    spans.tsv has a line a span, its box in parts of the image's sides; matchmaps.npz
    the matchmaps float32 [H, W, T] by clip id; textgrid/ and webvtt/ a file a clip,
    whose times are those of the media.
    """
    out = io.StringIO()
    writer = csv.writer(out, "excel-tab", lineterminator="\n")
    writer.writerow(_HEADER)
    for one in matched:
        named = []
        for span in one.spans:
            times, box = one.times(span), one.box(span)
            numbers = (f"{x:.4f}" for x in (*times, *box.values(), span.value))
            writer.writerow([one.clip_id, *numbers])
            named.append(Span(*times, one.region(span)))
        tiers = {"matchmap": named}
        if one.words:
            tiers["words"] = [Span(*word) for word in one.words]
        texts.write_spans(folder, one.clip_id, one.end_s, tiers, named)
    texts.write(folder, SPANS, out.getvalue())
    arrays = {one.clip_id: one.matchmap for one in matched}
    with open(os.path.join(folder, MAPS), "wb") as file:
        np.savez_compressed(file, **arrays)
