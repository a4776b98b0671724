"""What avl_tf.mine does: two sets embedded, pairs found, a file of them."""

import csv
import dataclasses
import functools
import io
from collections.abc import Mapping

import numpy as np

from avl_tf import dataset, evaluation, files, mining, processors, trained
from avl_tf.dataset import Records
from avl_tf.records import open_records, record_index
from avl_tf.settings.evaluation import EvaluationConfig
from avl_tf.trained import Embedder, Trained
from avl_tf.wording import counted


def mine(
    path: str,
    named: Mapping[str, str],
    tsv: str,
    n_neighbours: int,
    least_margin: float,
) -> None:
    """Writes the pairs of two sets, and prints how many are known to be right.

    Args:
        path: a run directory or an export.
        named: the two sets by their languages.
        tsv: the file.
        n_neighbours: as mining.mutual_pairs.
        least_margin: of a pair.

    Raises:
        ValueError, FileNotFoundError: the model or a set is not there or does not fit.
    """
    model = trained.look(path)
    sets = {}
    for language, name in named.items():
        opened = dataclasses.replace(open_records(name), language=language)
        evaluation.heard(opened, model.info.model.branches, language, "records")
        sets[language] = model.as_read(opened)
    processors.log("evaluation")
    embedder = model.load()
    found = {k: _embed(model, embedder, k, one) for k, one in sets.items()}
    (first, ids), (second, other_ids) = found.values()
    index, other_index, margins = mining.mutual_pairs(first, second, n_neighbours)
    recordings = [_recordings(one) for one in sets.values()]
    rows, n_same = [], 0
    could_be = set(recordings[0].values()) & set(recordings[1].values())
    for i, j, margin in zip(index, other_index, margins, strict=True):
        if margin < least_margin:
            continue
        ours, theirs = ids[i], other_ids[j]
        same = _of(recordings[0], ours) == _of(recordings[1], theirs)
        n_same += same
        similarity = float(first[i] @ second[j])
        rows.append(
            [f"{margin:.4f}", f"{similarity:.4f}", ours, theirs, str(same).lower()]
        )
    out = io.StringIO()
    writer = csv.writer(out, "excel-tab", lineterminator="\n")
    writer.writerow(["margin", "similarity", *named, "same_recording"])
    writer.writerows(rows)
    files.write_text(tsv, out.getvalue())
    languages = " and ".join(
        f"{counted(len(each), 'clip')} in {k}" for k, (each, _) in found.items()
    )
    print(f"{tsv}: {counted(len(rows), 'pair')} of {languages}.")
    if could_be and rows:
        chance = 100 / max(len(ids), len(other_ids))
        print(
            f"{n_same} of {len(rows)} pairs ({100 * n_same / len(rows):.1f} %) are of "
            f"the same recording; by chance it would be about {chance:.1f} %."
        )


def _embed(
    model: Trained, embedder: Embedder, language: str, records: Records
) -> tuple[np.ndarray, list[str]]:
    """The audio embeddings of a set, float32 [N, D], and the ids of its clips."""
    heard = evaluation.heard(records, embedder.branches, language)
    embed = functools.partial(embedder.embed, heard={"audio": heard["audio"]})
    config = evaluation.by_set(
        {language: records}, model.evaluation or EvaluationConfig()
    )[language]
    batches = dataset.evaluation_batches(
        records,
        config.evaluation_clip_s,
        config.evaluation_batch_size,
        model.log_mel_reference,
    )
    embeddings, ids = evaluation.embed_all(embed, dataset.read(batches, records))
    return embeddings["audio"], ids


def _recordings(records: Records) -> dict[str, str]:
    """The recording of each record."""
    return {
        entry.id: entry.recording_id
        for one in dataset.plain_sets(records)
        for entry in record_index.list_records(one)
    }


def _of(recordings: Mapping[str, str], clip_id: str) -> str:
    """The recording of a clip, whose id is its record's and a span."""
    return recordings[clip_id.rpartition("@")[0]]
