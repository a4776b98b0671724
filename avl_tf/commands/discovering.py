"""What avl_tf.concepts does: records embedded, dimensions labelled, a page of them."""

import collections
import dataclasses
import itertools
import os
from collections.abc import Sequence

import numpy as np
from absl import logging

from avl_tf import dataset, evaluation, exhibits, processors, trained
from avl_tf.discovery import embedding, labels, showing, tables, writing
from avl_tf.discovery.concepts import Discovered
from avl_tf.discovery.embedding import Found
from avl_tf.discovery.labels import Annotated
from avl_tf.errors import UserError
from avl_tf.exhibits import page, sources, texts
from avl_tf.exhibits.spans import Span
from avl_tf.manifest import Recording
from avl_tf.records import headers, open_records
from avl_tf.records.headers import Header
from avl_tf.settings.discovery import DiscoveryConfig
from avl_tf.wording import counted

_LONG_S = 1e6
_NO_WORDS = (
    "Without words or labels dimensions are in the order of their agreement: how high "
    "the other modality stands in the same clips."
)


def discover(
    model_path: str,
    records_path: str,
    manifest: str,
    language: str,
    out_dir: str,
    config: DiscoveryConfig,
) -> None:
    """Writes the page and the files of a set, and prints the tables.

    Args:
        model_path: a run directory or an export.
        records_path: the set.
        manifest: that its records were made of, for the media; "" shows none.
        language: of the records; "" is their own.
        out_dir: the folder of the page.
        config: settings.

    Raises:
        UserError, FileNotFoundError: something is not there or does not fit.
    """
    exhibits.check(out_dir)
    model = trained.look(model_path)
    model.info.model.require_vectors(model_path)
    branches = model.info.model.branches
    if not any(name.startswith("audio") for name in branches):
        raise UserError(
            f"{model_path}: the model hears nothing: it has no audio branch."
        )
    opened = dataclasses.replace(open_records(records_path), language=language)
    heard = evaluation.heard(opened, branches, flag="records")["audio"]
    (records,) = dataset.plain_sets(model.as_read(opened))
    listed = list(headers.read(records))
    recordings = _recordings(manifest, listed)
    annotated = [
        _annotated(header, recordings[number] if recordings else header)
        for number, header in enumerate(listed)
    ]
    word_field, words = labels.spoken(config.audio_labels, annotated)
    seen_field, seen = labels.seen(config.visual_labels, annotated)
    if word_field not in (labels.NONE, labels.CLIPS) and not any(words):
        raise UserError(
            f"{records_path}: nothing is spoken in it, by the labels' {word_field} of "
            f"its {counted(len(listed), 'record')}. --audio_labels=none finds what "
            "sounds alike without words."
        )
    processors.log("concepts")
    batches = model.batches(records)
    found = embedding.embed(model.load(), heard, records, listed, batches, config)
    _require_heard(found, records_path)
    result = Discovered(found, listed, words, seen, config)
    told = {
        "Model": model_path,
        "Records": records_path,
        "Words": word_field,
        "Labels of what is seen": seen_field,
    }
    _warn_of_few(result, words, config)
    with exhibits.replacing(out_dir) as folder:
        head = {
            "model": model_path,
            "records": records_path,
            "branch": heard,
            "audio_labels": word_field,
            "visual_labels": seen_field,
            "n_clips": len(found.clips),
            "n_audio_steps": len(found.step_clips),
            "step_s": found.step_s,
            "most_frequent": dict(zip(("audio", "visual"), result.shares, strict=True)),
        }
        writing.write(folder, result, config, head)
        shown = showing.parts(folder, result, config, recordings, told)
        text = page.html(f"Concepts of {model_path}", shown)
        texts.write(folder, exhibits.INDEX, text)
    _print(result, config)
    print(os.path.join(out_dir, exhibits.INDEX))


def _recordings(manifest: str, listed: list[Header]) -> list[Recording] | None:
    if not manifest:
        return None
    by_id = sources.from_manifest(manifest)
    sources.require(by_id, [header.id for header in listed], manifest)
    return [by_id[header.id] for header in listed]


def _annotated(header: Header, source: Header | Recording) -> Annotated:
    """What a manifest has come to know since is taken before what the record knows."""
    clips = [Span(clip.start_s, clip.end_s, clip.label) for clip in header.clips]
    return Annotated(header.id, source.labels or header.labels, clips)


def _require_heard(found: Found, records_path: str) -> None:
    embedded = found.place_embeddings
    if np.ptp(embedded, axis=0).max() <= 1e-6 * np.abs(embedded).max():
        raise UserError(
            f"{records_path}: the model hears no difference, all {len(embedded)} audio "
            "steps have the same embedding. Its training has collapsed, or the records "
            "are silent."
        )


def _warn_of_few(
    result: Discovered, words: Sequence[Sequence[Span]], config: DiscoveryConfig
) -> None:
    heard, seen = zip(
        *(map(len, result.peaks(c.dimension)) for c in result.concepts), strict=True
    )
    for what, most in (("audio", max(heard)), ("visual", max(seen))):
        if most < config.k:
            logging.warning(
                "there are %d %s inputs a dimension at most, fewer than --k=%d.",
                most,
                what,
                config.k,
            )
    spoken: collections.Counter[str] = collections.Counter()
    for span in itertools.chain(*words):
        length_s = min(span.end_s, _LONG_S) - span.start_s
        spoken[span.text] += 1 + int(length_s / config.window_s)
    k = min(config.k, max(heard))
    if 0 < (times := max(spoken.values(), default=0)) < k:
        logging.warning(
            "no word is spoken more than about %d times: of %d inputs no dimension's "
            "audio can be much purer than %.2f.",
            times,
            k,
            times / k,
        )


def _print(result: Discovered, config: DiscoveryConfig) -> None:
    best = result.concepts[: config.n_dimensions]
    print(tables.markdown(*tables.concept_table(result, best)))
    if result.rows:
        cells = [tables.row_cells(row) for row in result.rows]
        print(f"\n{tables.markdown(tables.ROW_HEADER, cells)}")
        shares = [
            f"'{label}' is in {share:.1%} of all {kind}"
            for kind, (label, share) in zip(
                ("audio steps", "clips"), result.shares, strict=True
            )
        ]
        print(f"\n{', '.join(shares)}.")
    else:
        print(f"\n{_NO_WORDS}")
    n_clusters = len(result.clusters)
    print(f"{counted(n_clusters, 'cluster')} of spans.")
    if n_clusters and any(label.label for _, label in result.clusters):
        for n in dict.fromkeys((min(config.n_dimensions, n_clusters), n_clusters)):
            own, drawn = result.cluster_purity(n, config.seed)
            print(
                f"Purity of the best {n}: {own:.3f}; of random spans in their place: "
                f"{drawn:.3f}."
            )
