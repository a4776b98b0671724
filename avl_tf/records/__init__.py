"""Folders of records: shards (uncompressed TFRecords), their spec.json, sets of them.

GZIP would read two to three times slower. What a record is, is in schema, and
what a spec.json says in spec; their names are here too.
"""

import dataclasses
import hashlib
import re
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from avl_tf import files
from avl_tf.errors import UserError
from avl_tf.local_paths import NO_RECORDS
from avl_tf.records.schema import Clip, Record, decode, encode, parse
from avl_tf.records.spec import SHARD_NAME, RecordsSpec, ShardSpec
from avl_tf.settings.stored import AUTHORS_2D, AUTHORS_3D, FeatureSpec
from avl_tf.whole_files import Reader

__all__ = [
    "AUTHORS_2D",
    "AUTHORS_3D",
    "SHARD_NAME",
    "SPEC_NAME",
    "Clip",
    "FeatureSpec",
    "Record",
    "RecordSet",
    "RecordsSpec",
    "ShardSpec",
    "Span",
    "decode",
    "encode",
    "open_records",
    "other_version",
    "parse",
    "shard_name",
    "split_of",
    "write_shard",
]

SPEC_NAME = "spec.json"
_SUFFIX = ".tfrecord"


def shard_name(split: str, index: int, n_shards: int) -> str:
    """Names a shard: train-00003-of-00016.tfrecord."""
    return f"{split}-{index:05d}-of-{n_shards:05d}{_SUFFIX}"


def other_version(shard: str, number: int) -> str:
    """Another name for a shard while a file of the first is needed; 0 is the first.

    train-00003-of-00016.1.tfrecord, where the shard without .1 would be.
    """
    stem = re.sub(r"(\.\d+)?\.tfrecord$", "", shard)
    return stem + (f".{number}" if number else "") + _SUFFIX


def split_of(shard: str) -> str:
    """The split that a shard's name tells."""
    return shard.rsplit("-", 3)[0]


def write_shard(path: str, records: Iterable[bytes], n_clips: int) -> ShardSpec:
    """Writes a file of serialised records, whole or not at all."""
    digest, n_bytes, n_records = hashlib.sha256(), 0, 0
    with files.replacing(path) as temporary:
        with tf.io.TFRecordWriter(temporary) as writer:
            for record in records:
                writer.write(record)
                n_records += 1
        # Piece by piece: a shard may be large, and a file object holds what it reads
        # twice.
        with tf.io.gfile.GFile(temporary, "rb") as stream:
            while piece := stream.read(1 << 20):
                digest.update(piece)
                n_bytes += len(piece)
    return ShardSpec(n_records, n_clips, n_bytes, digest.hexdigest())


@dataclasses.dataclass(frozen=True)
class Span:
    """Records of a shard that lie one behind the other, from a byte of the file on."""

    shard: str
    offset: int
    n_records: int
    n_clips: int


@dataclasses.dataclass(frozen=True)
class RecordSet:
    """The shards that one name on the command line stands for.

    spans are the records to read: all of them, unless training_records chose. n_skipped
    counts those that are damaged and left out. language is what a flag calls it, "" if
    it does not. A local folder that grows keeps the shards as long as reader lives.
    """

    name: str
    spec: RecordsSpec
    folder: str
    shards: tuple[str, ...]  # file names in the folder
    spans: tuple[Span, ...]
    n_skipped: int = 0
    language: str = ""
    reader: Reader | None = dataclasses.field(default=None, compare=False, repr=False)

    def path(self, shard: str) -> str:
        """The path of one of the shards."""
        return files.join(self.folder, shard)

    @property
    def paths(self) -> list[str]:
        """The paths of the shards, in their order."""
        return [self.path(shard) for shard in self.shards]

    @property
    def spoken(self) -> tuple[str, ...]:
        """The languages it is in: what a flag calls it, else its records' own."""
        return (self.language,) if self.language else self.spec.languages

    @property
    def n_records(self) -> int:
        """How many records are read."""
        return sum(span.n_records for span in self.spans)

    @property
    def n_clips(self) -> int:
        """How many clips the records that are read have."""
        return sum(span.n_clips for span in self.spans)

    @property
    def fingerprint(self) -> str:
        """Changes with the content of a shard, and with the number left out."""
        sums = [self.spec.shards[name].sha256 for name in self.shards]
        sums += [f"{self.n_skipped} skipped"] if self.n_skipped else []
        return hashlib.sha256("".join(sums).encode()).hexdigest()[:16]


def open_records(path: str, any_length: bool = False) -> RecordSet:
    """Finds the shards of a folder (DIR) or of one of its splits (DIR/train).

    Args:
        path: local or remote.
        any_length: take shards that are not as long as spec.json says.

    Raises:
        FileNotFoundError: no spec.json or no such split, with what was looked for.
        ValueError: a shard is missing or is not as long as spec.json says (it was cut
            or is being written), or there is no recording at all.
    """
    files.require_filesystem(path)
    path = path.rstrip("/")
    if tf.io.gfile.isdir(files.join(path, "")):  # a bucket is one with the slash only
        folder, split = path, ""
    else:
        folder, _, split = path.rpartition("/")
        folder = folder or "."
    spec_path = files.join(folder, SPEC_NAME)
    if not tf.io.gfile.exists(spec_path):
        raise FileNotFoundError(NO_RECORDS.format(path, spec_path))
    reader, read = _read(spec_path)
    spec = RecordsSpec.from_json(read, spec_path)
    splits = sorted(set(map(split_of, spec.shards)))
    names = sorted(n for n in spec.shards if split_of(n) == split or not split)
    if split and not names:
        raise FileNotFoundError(
            f"{path}: {spec_path} lists no split '{split}', only {', '.join(splits)}."
        )
    whole = {name: spec.shards[name] for name in names}
    spans = [Span(name, 0, s.n_records, s.n_clips) for name, s in whole.items()]
    found = RecordSet(path, spec, folder, tuple(names), tuple(spans), reader=reader)
    for shard, expected in zip(found.paths, whole.values(), strict=True):
        n_bytes = tf.io.gfile.stat(shard).length if tf.io.gfile.exists(shard) else None
        if n_bytes is None or not any_length and n_bytes != expected.n_bytes:
            if files.read_json(spec_path) != read:  # it has grown meanwhile
                return open_records(path, any_length)
            raise UserError(
                f"{shard}: "
                + ("missing" if n_bytes is None else f"{n_bytes} bytes long")
                + f", {SPEC_NAME} says {expected.n_bytes} bytes. Delete it "
                "and run the same data_prep.extract again: it makes what is missing."
            )
    if not found.n_records:
        raise UserError(
            f"{path}: 0 recordings. See failures.jsonl in {folder} for what went wrong "
            "in extraction."
        )
    return found


def _read(spec_path: str) -> tuple[Reader | None, Any]:
    """A spec.json, with what keeps its shards from being removed."""
    local = files.local_path(spec_path)
    if "://" in local:
        return None, files.read_json(spec_path)
    while True:
        reader = Reader(local)
        read = files.read_json(spec_path)
        if reader.has(local):  # it was not replaced meanwhile
            return reader, read
