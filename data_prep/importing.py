"""What data_prep.import_release does: the authors' pickles and trees into shards."""

import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from absl import logging

from avl_tf import progress, records
from avl_tf.manifest import failures
from data_prep import howto100m, jobs, released_pickles, shards
from data_prep.captions import find_captions, read_captions
from data_prep.output_config import OutputConfig

_Map = Callable[[Callable, Iterable], Iterator]


def import_pickle(
    path: str,
    language: str,
    split: str,
    output: OutputConfig,
    full: bool,
    backbones: tuple[str, str],
) -> None:
    """Makes shards of a released pickle.

    Args:
        path, language, split, full, backbones: of released_pickles.read_clips.
        output: where shards go, and how clips are dealt to them.

    Raises:
        ValueError, OSError: the pickle is none of that form, some of its clips fail, or
            the folder holds other work or cannot be written.
    """
    logging.info("reading %s", path)
    clips = released_pickles.read_clips(
        path, language, split, full=full, backbones=backbones
    )
    # Threads have memory of their own: they would not reuse that of the clips.
    _import(clips, split, output, 64, map)


def import_tree(
    csv: str,
    root: str,
    language: str,
    split: str,
    output: OutputConfig,
    audio_root: str | None,
    captions: str | None,
    captions_dir: str | None,
    n_threads: int,
) -> None:
    """Makes shards of HowTo100M's tree.

    Args:
        csv, root, language, split, audio_root: of howto100m.Tree.
        output: where shards go, and how videos are dealt to them.
        captions: caption.pickle, whose captions become clips.
        captions_dir: instead of it a folder of VIDEO.csv.
        n_threads: videos that are read at a time.

    Raises:
        ValueError, OSError: as import_pickle.
    """
    found = None
    if captions:
        found = read_captions(captions)
    elif captions_dir:
        found = find_captions(captions_dir)
    tree = howto100m.Tree(csv, root, language, split, audio_root, found)
    with concurrent.futures.ThreadPoolExecutor(n_threads) as pool:
        _import(tree, split, output, 16, pool.map)


def _import(
    source: released_pickles.ReleasedClips | howto100m.Tree,
    split: str,
    output: OutputConfig,
    usual_size: int,
    in_order: _Map,
) -> None:
    folder = output.folder
    size = output.recordings_per_shard or usual_size
    dealt = shards.deal(source.ids, split, size, output.seed)
    spec = dataclasses.replace(source.spec, storage=output.storage)
    read = source.fingerprint, sorted(dealt.items())
    dealing = {"seed": output.seed, "recordings_per_shard": size}

    def in_0_1_0() -> str:
        return f"({read[0]!r}, {jobs.repr_0_1_0(spec)}, {read[1]!r})"

    jobs.claim(folder, jobs.Job(spec, jobs.digest(read), dealing, in_0_1_0))
    results = shards.read_results(output, dealt)
    missing = [name for name in dealt if name not in results]
    if missing:
        logging.info("%s: %d of %d shards to make", folder, len(missing), len(dealt))
    with progress.Bar(total=len(source.ids), unit="recording") as bar:
        bar.update(sum(len(dealt[name]) for name in results))
        for name in missing:
            results[name] = _make_shard(source, output, name, dealt[name], in_order)
            bar.update(len(dealt[name]))
    for note in source.notes:
        print(note)
    failed = shards.finish(folder, spec, [results[name] for name in dealt])
    failures.require_none(failed, len(source.ids), "recordings", folder)


def _make_shard(source, output, name, indices, in_order) -> shards.ShardResult:
    def serialize(index):
        try:
            record = source.take(index)
            # Too large for float16: encode tells it better than a warning.
            with np.errstate(over="ignore"):
                return records.encode(record, output.storage), record.n_clips
        except (ValueError, OSError) as error:
            return {
                "id": source.ids[index],
                "media": source.place(index),
                "reason": str(error),
            }

    return shards.write(output.folder, name, in_order(serialize, indices))
