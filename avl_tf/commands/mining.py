"""What avl_tf.mine does: two sets embedded, pairs found, a file of them."""

import csv
import dataclasses
import functools
import io
from collections.abc import Mapping

from avl_tf import dataset, evaluation, files, mining, processors, trained
from avl_tf.dataset import Records
from avl_tf.records import open_records, record_index
from avl_tf.settings.evaluation import EvaluationConfig
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
    model.info.model.require_vectors(path)
    sets, heard = {}, {}
    for language, name in named.items():
        opened = dataclasses.replace(open_records(name), language=language)
        branches = model.info.model.branches
        heard[language] = evaluation.heard(opened, branches, language, "records")
        sets[language] = model.as_read(opened)
    processors.log("evaluation")
    embedder = model.load()
    configs = evaluation.by_set(sets, model.evaluation or EvaluationConfig())
    found = {}
    for language, records in sets.items():
        embed = functools.partial(
            embedder.embed, heard={"audio": heard[language]["audio"]}
        )
        embedded = evaluation.embed_set(
            embed, records, configs[language], model.log_mel_reference
        )
        found[language] = embedded.embeddings["audio"], embedded.clip_ids
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
