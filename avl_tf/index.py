r"""Makes an index of videos to search, or brings one up to date.

    python -m avl_tf.index --model=runs/demo/es --videos=videos --index_dir=index
    python -m avl_tf.index --index_dir=index

The second line is for every night: only what is new, changed or gone since is worked
on, and a file that was renamed keeps its vectors. Killed anywhere, it goes on from what
was kept. --videos is a folder of videos (.mp4 and so on) and sounds (.wav and so on),
nested at will; of a model that sees images, of images and sounds. A video without sound
is found by what it shows, a sound by what is said in it (avl_tf.search --output=audio).
--manifest names recordings one by one, as for data_prep.extract; --records takes
what that has extracted, and decodes nothing. Several sources are added one after the
other; settings that are not given again stay. What cannot be indexed is listed with the
reason in failures.jsonl; the exit status is then 1.
"""

import dataclasses
import os

from absl import flags

from avl_tf import local_paths, manifest, program, settings
from avl_tf.errors import UserError
from avl_tf.manifest import failures, line
from avl_tf.retrieval import exporting, index_settings
from avl_tf.retrieval.index_settings import IndexSettings
from avl_tf.retrieval.origins import MANIFEST, RECORDS, VIDEOS, Origin, require_apart
from avl_tf.retrieval.store import Store, require_local
from avl_tf.retrieval.windows import WindowConfig
from avl_tf.settings.limits import Limits
from avl_tf.wording import counted

_INDEX_DIR = flags.DEFINE_string(
    "index_dir", None, "Folder of the index, on a local disk.", required=True
)
_MODEL = flags.DEFINE_string(
    "model",
    None,
    "Run directory of a trained stage, or an export of one; needed once.",
)
_VIDEOS = flags.DEFINE_string("videos", None, "Folder of media, nested at will.")
_MANIFEST = flags.DEFINE_string(
    "manifest",
    None,
    "Instead: a manifest (JSON lines). Beside --records: where their media are.",
)
_RECORDS = flags.DEFINE_string(
    "records", None, "Instead: records that data_prep.extract wrote, DIR or DIR/SPLIT."
)
_LANGUAGE = flags.DEFINE_string(
    "language",
    None,
    "What is spoken in --videos, as in es; a model of several languages needs it.",
)
settings.define_flags(WindowConfig, heading="Windows")
settings.define_flags(manifest.SoundConfig, heading="Sound")
settings.define_flags(Limits, heading="Limits")
_VALIDATION = flags.DEFINE_string(
    "validation",
    None,
    "Records of clips whose speech and pictures fit, DIR/SPLIT: tells avl_tf.search "
    "what score is a match. Best a split that the model was not trained on.",
)
_WEIGHTS_2D = flags.DEFINE_string(
    "weights_2d", None, "Weights file of the model's image CNN, if it needs one."
)
_WEIGHTS_3D = flags.DEFINE_string("weights_3d", None, "Weights file of its video CNN.")
_WORKERS = flags.DEFINE_integer(
    "workers",
    None,
    "Worker processes, a core each; as many as there are cores if left out.",
    lower_bound=1,
    upper_bound=1000,
)
_SCHEDULER = flags.DEFINE_string(
    "scheduler",
    "",
    "Address of a dask scheduler (tcp://HOST:8786): its workers do the work instead of "
    "local ones. They need this package, and the same paths for media and model.",
)
_STORE = flags.DEFINE_string(
    "store",
    None,
    "Where vectors are searched: faiss, here; or milvus:http://HOST:19530, a server, "
    "for what outgrows a machine; milvus:FILE.db is milvus-lite. Kept in the index.",
)
_RETRY = flags.DEFINE_boolean(
    "retry_failed", False, "Try again the recordings that failed before."
)
_REMOVE = flags.DEFINE_multi_string(
    "remove",
    [],
    "Take out recordings, by their ids or paths, with commas between, and do no more. "
    "They stay out until their files change.",
)
_WATCH = flags.DEFINE_boolean(
    "watch", False, "Go on, and follow what is added to the folders until Ctrl-C."
)
_POLL_S = settings.define_float(
    "poll_s",
    5.0,
    "With --watch: seconds from one look at the folders to the next.",
    0.1,
    86_400,
)
_REBUILD = flags.DEFINE_boolean(
    "rebuild",
    False,
    "Make the index anew from its media: of a damaged one, or with another --model. It "
    "finds nothing meanwhile.",
)
_CHECK = flags.DEFINE_boolean(
    "check", False, "Read the whole index, say whether it is damaged, and do no more."
)
_EXPORT = flags.DEFINE_string(
    "export",
    None,
    "Write the vectors for another engine, and do no more: a new folder of visual.npy, "
    "audio.npy (float16, a row a window) and windows.jsonl.",
)


def main() -> None:
    index_dir = _INDEX_DIR.value
    require_local(index_dir)
    alone = {
        "check": _CHECK.value,
        "export": _EXPORT.value,
        "remove": _REMOVE.value,
        "watch": _WATCH.value,
    }
    given = [name for name, value in alone.items() if value]
    if len(given) > 1:
        raise UserError(f"Give --{given[0]} or --{given[1]}, not both.")
    if _CHECK.value:
        with Store.open(index_dir) as store:
            store.check()
            print(f"{index_dir}: whole, {counted(store.n_windows, 'window')}")
        return
    if _EXPORT.value:
        with Store.open(index_dir) as store:
            n_windows = exporting.export(store, _EXPORT.value)
        print(f"{_EXPORT.value}: {counted(n_windows, 'window')}")
        return
    if _REMOVE.value:
        Store.open(index_dir).close()

        from avl_tf.commands import index_upkeep

        n_removed = index_upkeep.remove(index_dir, _REMOVE.value)
        print(f"{index_dir}: {counted(n_removed, 'recording')} taken out")
        return
    _update(index_dir, _settings(index_dir))


def _update(index_dir: str, wanted: IndexSettings) -> None:
    validation = _VALIDATION.value
    if validation:
        local_paths.require_records(validation)
        validation = validation if "://" in validation else os.path.abspath(validation)

    from avl_tf.commands import index_upkeep, indexing

    limits = settings.from_flags(Limits)
    spread = _WORKERS.value, _SCHEDULER.value
    with indexing.Indexer(index_dir, limits, *spread, _RETRY.value) as indexer:
        if _MODEL.value or _REBUILD.value or wanted.note is None:
            held = None if _REBUILD.value else wanted.note
            wanted = indexer.look(dataclasses.replace(wanted, note=held))
        config = wanted.windows.settled(wanted.trained_s)
        if _REBUILD.value:
            indexer.list(wanted, config)  # before anything goes
            index_upkeep.rebuild(index_dir)
        if _WATCH.value:
            try:
                index_upkeep.watch(indexer, wanted, _POLL_S.value)
            except KeyboardInterrupt:
                print(f"{index_dir}: stopped; what was kept stays")
            return
        done = indexer.update(wanted)
    print(f"{index_dir}: {done}")
    index_upkeep.calibrate(index_dir, validation or "")
    n_tried = done.n_recordings + len(done.failed)
    failures.require_none(done.failed, n_tried, "recordings", index_dir)


def _settings(index_dir: str) -> IndexSettings:
    """What the flags say, and where they say nothing what the index does."""
    try:
        held = index_settings.read(index_dir)
    except UserError:
        if not _REBUILD.value:
            raise
        held = index_settings.beside(index_dir)
    found = held or IndexSettings()
    if model := _MODEL.value:
        local_paths.require_folder(model, "neither a run directory nor an export")
        model = model if "://" in model else os.path.abspath(model)
        found = dataclasses.replace(found, model=model)
    found = dataclasses.replace(
        found,
        weights_2d=_weights(_WEIGHTS_2D) or found.weights_2d,
        weights_3d=_weights(_WEIGHTS_3D) or found.weights_3d,
        store=_STORE.value or found.store,
    )
    windows = settings.from_flags(WindowConfig, base=found.windows)
    origins = {one.key: one for one in found.origins}
    if origin := _origin():
        origins[origin.key] = origin
    require_apart(list(origins.values()))
    if not found.model:
        raise UserError(
            f"{index_dir}: no index here yet: give --model, and --videos, --manifest "
            "or --records."
        )
    if not origins:
        raise UserError("Give --videos, --manifest or --records: what is to be found.")
    every = tuple(origins.values())
    return dataclasses.replace(found, windows=windows, origins=every)


def _weights(flag: flags.FlagHolder[str | None]) -> str:
    local_paths.require_file(flag.name, flag.value)
    return os.path.abspath(flag.value) if flag.value else ""


def _origin() -> Origin | None:
    """The source that flags name; None if they name none."""
    videos, listed, records = _VIDEOS.value, _MANIFEST.value, _RECORDS.value
    track = settings.from_flags(manifest.SoundConfig).track
    if videos and (listed or records):
        raise UserError("Give --videos by itself, or --manifest, or --records.")
    if _LANGUAGE.value is not None:
        line.require_language(_LANGUAGE.value)
    if videos:
        manifest.require_local(videos)
        local_paths.require_folder(videos, "no folder of media")
        language = _LANGUAGE.value or "und"
        return Origin(VIDEOS, os.path.abspath(videos), language, track)
    if listed:
        manifest.require_local(listed)
        local_paths.require_file("manifest", listed)
        listed = os.path.abspath(listed)
    if records:
        local_paths.require_records(records)
        path = records if "://" in records else os.path.abspath(records)
        return Origin(RECORDS, path, _LANGUAGE.value or "", None, listed or "")
    return Origin(MANIFEST, listed) if listed else None


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()
