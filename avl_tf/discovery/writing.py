"""What was found as files: TSV, JSON, and a TextGrid and a WebVTT a recording."""

import collections
import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from typing import Any

from avl_tf.discovery.concepts import Discovered
from avl_tf.exhibits import texts
from avl_tf.exhibits.spans import Span
from avl_tf.settings.discovery import DiscoveryConfig

CONCEPTS, EXCITATIONS, CLUSTERS = "concepts.tsv", "excitations.tsv", "clusters.tsv"
SUMMARY = "summary.json"


def name(label: str, kind: str, number: int) -> str:
    """What a dimension (kind d) or a cluster (c) is called: "d17 clownfish"."""
    return f"{kind}{number} {label}".rstrip()


def write(
    folder: str, result: Discovered, config: DiscoveryConfig, head: dict[str, Any]
) -> None:
    """Writes all but the page.

    Args:
        folder: where to.
        result: what was found.
        config: settings.
        head: what the summary begins with.
    """
    dimensions = [
        {
            "dimension": concept.dimension,
            "audio_label": concept.audio.label,
            "audio_purity": concept.audio.purity,
            "visual_label": concept.visual.label,
            "visual_purity": concept.visual.purity,
            "geometric_mean": concept.mean,
            "agreement": float(result.agreement[concept.dimension]),
        }
        for concept in result.concepts
    ]
    clusters = [
        {
            "cluster": number,
            "n": label.n,
            "tightness": cluster.tightness,
            "score": cluster.score,
            "label": label.label,
            "purity": label.purity,
        }
        for number, (cluster, label) in enumerate(result.clusters)
    ]
    _table(folder, CONCEPTS, dimensions)
    _table(folder, EXCITATIONS, _excitations(result))
    _table(folder, CLUSTERS, _spans_of_clusters(result))
    summary = {
        **head,
        "settings": dataclasses.asdict(config),
        "comparison": [dataclasses.asdict(row) for row in result.rows],
        "dimensions": dimensions,
        "clusters": clusters,
    }
    text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
    texts.write(folder, SUMMARY, text + "\n")
    _tiers(folder, result, config)


def _excitations(result: Discovered) -> list[dict[str, Any]]:
    rows = []
    for concept in result.concepts:
        heard, seen = result.peaks(concept.dimension)
        for rank, peak in enumerate(heard, 1):
            place = result.span(peak)
            labels = result.said(peak.input)
            row = _row(result, *place, labels, rank=rank, value=peak.value)
            rows.append({"dimension": concept.dimension, "modality": "audio", **row})
        for rank, peak in enumerate(seen, 1):
            record, *times = result.found.clips[peak.input]
            start_s, end_s = (result.headers[record].start_s + t for t in times)
            labels = result.shown(peak.input)
            row = _row(
                result, record, start_s, end_s, labels, rank=rank, value=peak.value
            )
            rows.append({"dimension": concept.dimension, "modality": "visual", **row})
    return rows


def _spans_of_clusters(result: Discovered) -> list[dict[str, Any]]:
    return [
        {
            "cluster": number,
            **_row(result, *result.span(peak), result.said(peak.input), rank=rank),
        }
        for number, (cluster, _) in enumerate(result.clusters)
        for rank, peak in enumerate(result.spans_of(cluster), 1)
    ]


def _row(
    result: Discovered,
    record: int,
    start_s: float,
    end_s: float,
    labels: Sequence[str],
    **more: float,
) -> dict[str, Any]:
    times = {"start_s": start_s, "end_s": end_s}
    header = result.headers[record]
    return {**more, "record": header.id, **times, "labels": ", ".join(labels)}


def _tiers(folder: str, result: Discovered, config: DiscoveryConfig) -> None:
    concepts: dict[int, list[Span]] = collections.defaultdict(list)
    clusters: dict[int, list[Span]] = collections.defaultdict(list)
    for concept in result.concepts[: config.n_dimensions]:
        called = name(concept.audio.label, "d", concept.dimension)
        for peak in result.peaks(concept.dimension)[0]:
            record, start_s, end_s = result.span(peak)
            concepts[record].append(Span(start_s, end_s, called))
    for number, (cluster, label) in enumerate(result.clusters):
        for peak in result.spans_of(cluster):
            record, start_s, end_s = result.span(peak)
            span = Span(start_s, end_s, name(label.label, "c", number))
            clusters[record].append(span)
    for record, header in enumerate(result.headers):
        tiers = {"concepts": concepts[record], "clusters": clusters[record]}
        if words := result.words[record].spans:
            tiers["words"] = [
                Span(
                    header.start_s + span.start_s,
                    min(header.end_s, header.start_s + span.end_s),
                    span.text,
                )
                for span in words
            ]
        found = [*concepts[record], *clusters[record]]
        texts.write_spans(folder, header.id, header.end_s, tiers, found)


def _table(folder: str, name: str, rows: Sequence[dict[str, Any]]) -> None:
    out = io.StringIO()
    writer = csv.writer(out, "excel-tab", lineterminator="\n")
    if rows:
        writer.writerow(rows[0])
    for row in rows:
        writer.writerow(
            f"{value:.4f}" if isinstance(value, float) else value
            for value in row.values()
        )
    texts.write(folder, name, out.getvalue())
