"""A folder of shards that is made bit by bit: what is done, what is missing, the end.

Each shard that is whole has a note FOLDER/progress/SHARD.json. FOLDER/spec.json,
failures.jsonl and notes.jsonl (what else is worth telling) are written when all shards
are there.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from avl_tf import fields, files, json_text, records
from avl_tf.errors import UserError
from avl_tf.manifest import failures, findings
from avl_tf.manifest.failures import Failure
from avl_tf.manifest.findings import Finding
from avl_tf.records import RecordsSpec, ShardSpec, record_index
from avl_tf.records.spec import check_shard
from avl_tf.whole_files import is_temporary_name
from avl_tf.wording import counted
from data_prep.output_config import OutputConfig


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a manifest that a shard was made for, and its record.

    digest changes with what the line asks for. n_source_bytes is the size of its media
    and image, None if they were not there. n_bytes is the record's, 0 if it failed.
    """

    id: str
    digest: str
    n_source_bytes: int | None
    n_bytes: int = 0
    n_clips: int = 0


@dataclasses.dataclass(frozen=True)
class ShardResult:
    """One shard made; lines are those of its recordings in order, if they are known."""

    name: str
    spec: ShardSpec
    failures: tuple[Failure, ...]
    notes: tuple[Finding, ...] = ()
    lines: tuple[Line, ...] = ()


def deal(ids: Sequence[str], split: str, size: int, seed: int) -> dict[str, list[int]]:
    """Deals a split's recordings to shards of at most `size`, shuffled by the seed.

    Returns:
        Shard name -> indices into ids; the same for the same ids, in whatever order.
    """
    by_id = sorted(range(len(ids)), key=ids.__getitem__)
    order = np.random.default_rng(seed).permutation(by_id)
    n_shards = -(-len(ids) // size)
    return {
        records.shard_name(split, index, n_shards): part.tolist()
        for index, part in enumerate(np.array_split(order, n_shards))
    }


def write(
    folder: str,
    name: str,
    outcomes: Iterable[tuple[bytes, int] | Failure | Finding],
    lines: Sequence[Line] = (),
) -> ShardResult:
    """Writes a shard as its records come, then the note that it is whole.

    Args:
        folder: local or remote.
        name: of the shard.
        outcomes: for each recording (serialised record, number of clips), or what went
            wrong with it; before or after it what else is worth telling.
        lines: of the recordings, to be noted with what became of them.
    """
    failed, sizes, notes = [], [], []

    def note(outcome: tuple[bytes, int] | Failure | Finding) -> bytes | None:
        if isinstance(outcome, Finding):
            notes.append(outcome)
            return None
        if isinstance(outcome, dict):
            # A path may be no UTF-8 text, which the note is.
            outcome = {k: json_text.mended(text) for k, text in outcome.items()}
            failed.append(outcome)
            sizes.append((0, 0))
            return None
        sizes.append((len(outcome[0]), outcome[1]))
        return outcome[0]

    serialized = filter(None, map(note, outcomes))
    spec = records.write_shard(files.join(folder, name), serialized, 0)
    spec = dataclasses.replace(spec, n_clips=sum(n_clips for _, n_clips in sizes))
    noted = tuple(
        dataclasses.replace(line, n_bytes=n_bytes, n_clips=n_clips)
        for line, (n_bytes, n_clips) in zip(lines, sizes, strict=bool(lines))
    )
    result = ShardResult(name, spec, tuple(failed), tuple(notes), noted)
    files.write_json(_note(folder, name), dataclasses.asdict(result))
    return result


def _texts(*names: str) -> fields.Check:
    text = fields.text(longest=2**20, empty=True)
    return fields.items(fields.record(dict.fromkeys(names, text)))


_SIZE = fields.whole(0, 2**62)
_LINE: dict[str, fields.Check] = {
    "id": fields.text(),
    "digest": fields.text(),
    "n_source_bytes": fields.nullable(_SIZE),
    "n_bytes": _SIZE,
    "n_clips": _SIZE,
}
_NOTE = fields.record(
    {
        "name": fields.text(),
        "spec": check_shard,
        "failures": _texts("id", "media", "reason"),
        "notes": _texts(*(field.name for field in dataclasses.fields(Finding))),
        "lines": fields.items(fields.record(_LINE)),
    },
    # Shards of before there were any.
    optional=["notes", "lines"],
)


def note(folder: str, result: ShardResult) -> bool:
    """Notes anew what is known of a shard, unless its lines do not fit it."""
    try:
        _check_lines(result.lines, result.spec)
    except UserError:
        return False
    files.write_json(_note(folder, result.name), dataclasses.asdict(result))
    return True


def _check_lines(lines: tuple[Line, ...], spec: ShardSpec) -> None:
    sizes = [line.n_bytes for line in lines if line.n_bytes]
    if lines and record_index.offsets(sizes)[-1] != spec.n_bytes:
        raise UserError(f"its lines do not add up to {spec.n_bytes} bytes")


def read_result(folder: str, name: str) -> ShardResult | None:
    """The result of a shard that is whole, or None if it is still to be made."""
    files.require_filesystem(folder)
    path, shard = _note(folder, name), files.join(folder, name)
    if not (tf.io.gfile.exists(path) and tf.io.gfile.exists(shard)):
        return None
    value = files.read_json(path)
    try:
        _NOTE(value, "")
        spec = ShardSpec(**value["spec"])
        lines = tuple(Line(**one) for one in value.get("lines", ()))
        _check_lines(lines, spec)
    except UserError as error:
        raise UserError(
            f"{path}: not the note of a shard ({error}). Delete it: the same command "
            "makes the shard anew."
        ) from None
    if tf.io.gfile.stat(shard).length != spec.n_bytes:
        return None
    notes = tuple(Finding(**one) for one in value.get("notes", ()))
    return ShardResult(name, spec, tuple(value["failures"]), notes, lines)


def read_results(config: OutputConfig, names: Iterable[str]) -> dict[str, ShardResult]:
    """The results of the shards of a folder by name, without those still to be made.

    With config.retry_failed a shard in which a recording failed is to be made anew.
    """
    found = ((name, read_result(config.folder, name)) for name in names)
    return {
        name: result
        for name, result in found
        if result and not (config.retry_failed and result.failures)
    }


def finish(
    folder: str,
    spec: RecordsSpec,
    results: Sequence[ShardResult],
    untried: Sequence[Failure] = (),
) -> list[Failure]:
    """Writes spec.json, failures.jsonl and notes.jsonl and prints the counts.

    Returns:
        The failures: those untried, then those of all shards.
    """
    failed = [*untried, *(one for result in results for one in result.failures)]
    path = files.join(folder, "failures.jsonl")
    files.write_text(path, failures.to_lines(failed))
    notes = [note for result in results for note in result.notes]
    files.write_text(files.join(folder, "notes.jsonl"), findings.to_lines(notes))
    whole = dataclasses.replace(spec, shards={r.name: r.spec for r in results})
    files.write_json(files.join(folder, records.SPEC_NAME), whole.to_json())
    for name in files.names(folder):
        # Of workers that were killed.
        if any(is_temporary_name(name, shard) for shard in whole.shards):
            tf.io.gfile.remove(files.join(folder, name))
    n_records = sum(result.spec.n_records for result in results)
    n_bytes = sum(result.spec.n_bytes for result in results)
    print(
        f"{folder}: {counted(n_records, 'recording')} in "
        f"{counted(len(results), 'shard')}, "
        f"{n_bytes / 1e6:.1f} MB"
    )
    for text in findings.summary(notes).values():
        print(f"note: {text}")
    return failed


def _note(folder: str, name: str) -> str:
    return files.join(folder, "progress", f"{name}.json")
