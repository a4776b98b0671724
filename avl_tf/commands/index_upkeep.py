"""What else is done to an index: followed, emptied, and recordings taken out of it."""

import collections
import functools
import os
import time
from collections.abc import Mapping, Sequence

from absl import logging

from avl_tf.commands.indexing import Indexer
from avl_tf.errors import UserError
from avl_tf.manifest import failures
from avl_tf.manifest.failures import Failure
from avl_tf.retrieval import milvus, vectors
from avl_tf.retrieval.calibrated import Kept
from avl_tf.retrieval.index_settings import IndexSettings
from avl_tf.retrieval.origins import NothingThere, Wanted
from avl_tf.retrieval.store import Store
from avl_tf.retrieval.writing import Busy, discard, writing

# A file that nobody has written to for so long is not growing any more.
_RIPE_S = 60.0


def rebuild(index_dir: str) -> None:
    """Empties an index, damaged or not, but for what --remove took out of a whole one.

    Raises:
        Busy: another process writes it.
    """
    try:
        with writing(index_dir) as writer:
            milvus.drop(writer)
            writer.clear()
    except Busy:
        raise
    except UserError as error:
        logging.warning("%s", error)
        discard(index_dir)


def watch(indexer: Indexer, settings: IndexSettings, poll_s: float) -> None:
    """Follows the origins until it is interrupted; each change is told in a line.

    A file is taken when it has not grown from one look to the next.
    """
    config = settings.windows.settled(settings.trained_s)
    before: dict[str, tuple[int, int]] = {}
    last: list[Wanted] | None = None
    told = ""
    failed: list[Failure] = []
    while True:
        try:
            wanted, _ = indexer.list(settings, config)
            now = {one.source.media: _status(one) for one in wanted}
            is_ripe = functools.partial(_is_ripe, before)
            # What was not ripe at the last look may be now.
            if wanted != last or before != now:
                done = indexer.update(settings, is_ripe)
                if new := [one for one in done.failed if one not in failed]:
                    n_tried = done.n_recordings + len(done.failed)
                    about = new, n_tried, "recordings", indexer.index_dir
                    logging.warning("%s", failures.told(*about))
                failed = done.failed
                if done.did_something:
                    print(f"{indexer.index_dir}: {done}", flush=True)
                    calibrate(indexer.index_dir)
                unripe = [one for one in wanted if not is_ripe(one)]
                last, before = None if unripe else wanted, now
            told = ""
        except (Busy, FileNotFoundError, NothingThere) as error:
            if str(error) != told:
                logging.warning("%s Looking again every %g s.", error, poll_s)
            told = str(error)
        time.sleep(poll_s)


def calibrate(index_dir: str, records: str = "") -> None:
    """Calibrates an index with validation records; see retrieval/calibrating.py.

    Without records, anew with those of before, if it has grown by a tenth since.

    Raises:
        UserError, FileNotFoundError: the records are not there, or do not fit.
    """
    with Store.open(index_dir) as store:
        held = Kept.of(store)
        if not records and not (held and held.is_stale(store.n_windows)):
            return
    from avl_tf.retrieval import calibrating  # it imports TensorFlow

    path = records or (held.records if held else "")
    try:
        with writing(index_dir) as writer:
            print(f"{index_dir}: {calibrating.calibrate(writer, path)}", flush=True)
    except (UserError, OSError) as error:
        if records:
            raise
        logging.warning(
            "the index has grown, and cannot be calibrated anew: %s Give its records "
            "by --validation. Until then fewer queries are told to fit.",
            error,
        )


def _status(one: Wanted) -> tuple[int, int]:
    return one.source.size, one.source.mtime_ns


def _is_ripe(before: dict[str, tuple[int, int]], one: Wanted) -> bool:
    age_s = time.time() - one.source.mtime_ns / 1e9
    return age_s > _RIPE_S or before.get(one.source.media) == _status(one)


def remove(index_dir: str, names: Sequence[str]) -> int:
    """Takes recordings out by their ids or paths; they stay out. Returns how many.

    A name that nothing has is taken for several, with commas between.

    Raises:
        UserError: nothing has such a name; nothing is taken out then.
    """
    with writing(index_dir) as writer:
        of_name: dict[str, set[int]] = collections.defaultdict(set)
        for one in writer.media():
            source = one.source
            for name in (source.record_id, source.recording_id, source.media):
                of_name[name].add(one.id)
        found: set[int] = set()
        for name in names:
            parts = [name] if _named(of_name, name) else name.split(",")
            for part in parts:
                own = _named(of_name, part.strip())
                if not own:
                    raise UserError(
                        f"--remove={part}: no recording of {index_dir} has this id or "
                        "path."
                    )
                found |= own
        writer.remove(sorted(found), keep_out=True)
        vectors.refresh(writer)
    return len(found)


def _named(of_name: Mapping[str, set[int]], name: str) -> set[int]:
    """The media of this id or path; none of no name."""
    paths = {name, os.path.abspath(name)} if name else set()
    return set().union(*(of_name.get(path, set()) for path in paths))
