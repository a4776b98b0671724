"""What avl_tf.index does: an index brought to what its folders and manifests hold."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from absl import logging
from distributed import KilledWorker

from avl_tf import offspring, progress
from avl_tf.commands.index_summary import Updated, summarise
from avl_tf.manifest.failures import Failure
from avl_tf.retrieval import changes, merging, milvus, origins, tasks, vectors
from avl_tf.retrieval.entries import Embedded
from avl_tf.retrieval.index_settings import IndexSettings
from avl_tf.retrieval.origins import Origin, Wanted
from avl_tf.retrieval.tasks import Failed, Model, Task
from avl_tf.retrieval.windows import WindowConfig
from avl_tf.retrieval.writing import Writer, writing
from avl_tf.settings.limits import Limits
from avl_tf.spreading.processes import Processes

_Result = TypeVar("_Result")
# What a killed run has to make again, at most.
_COMMIT_S, _COMMIT_WINDOWS = 15.0, 4096


class Indexer:
    """Brings an index up to date, once or again and again; a context manager.

    Worker processes are started when there is something to embed.
    """

    def __init__(
        self,
        index_dir: str,
        limits: Limits,
        workers: int | None = None,
        scheduler: str = "",
        retry_failed: bool = False,
    ):
        """Takes the index directory, what may be decoded, and who does it.

        Args:
            index_dir: the index directory.
            limits: of media.
            workers: processes, a core each; None is as many as there are cores.
            scheduler: address of a dask scheduler whose workers work instead.
            retry_failed: try again what failed before.
        """
        self.index_dir, self._limits = index_dir, limits
        self._workers, self._scheduler = workers, scheduler
        self._retry_failed = retry_failed
        self._resources = contextlib.ExitStack()
        self._processes: Processes | None = None
        self._has_eyes = self._looked = False

    def __enter__(self) -> "Indexer":
        return self

    def __exit__(self, *error) -> None:
        self._resources.__exit__(*error)

    def look(self, settings: IndexSettings) -> IndexSettings:
        """Asks a worker what the model is.

        Raises:
            UserError, FileNotFoundError: it cannot be loaded, or embeds otherwise than
                settings.note says.
        """
        known = settings.note, self.index_dir
        try:
            about = self.run(tasks.describe, self._model(settings), *known)
        except FileNotFoundError as error:
            if settings.note is None:
                raise
            raise FileNotFoundError(
                f"{error} {self.index_dir} was made with it: say where it is now by "
                "--model=FOLDER."
            ) from error
        self._looked = True
        return dataclasses.replace(
            settings,
            note=about.note,
            trained_s=about.trained_s,
            sees_images=about.sees_images,
            hears=about.hears,
        )

    def update(
        self,
        settings: IndexSettings,
        is_ripe: Callable[[Wanted], bool] = lambda one: True,
    ) -> Updated:
        """Embeds what is new and changed, takes out what is gone.

        Args:
            settings: from look, or an index's own.
            is_ripe: what is not, as a file that grows still, is left for later.
        """
        config = settings.windows.settled(settings.trained_s)
        wanted, faults = self.list(settings, config)  # before anything is made
        with writing(self.index_dir) as writer:
            if settings.note is None:
                raise ValueError("the model was not looked at")
            writer.claim(settings.note)
            writer.require_files()
            milvus.choose(writer, settings.store)
            settings.write(writer)
            listed = {one.key for one in settings.origins}
            found = changes.find(writer.media(), wanted, listed, self._retry_failed)
            found.make = [one for one in found.make if is_ripe(one)]
            _tell_of_languages(found.make, settings.hears)
            if found.make and not self._looked:  # it may have been trained again
                looked = self.look(settings).note
                writer.claim(looked or settings.note)
            if found.gone:
                writer.remove(found.gone)
            if found.keep:
                writer.update(found.keep)
            if found.make:
                found.n_made = self._make(writer, found.make, settings, config)
            merging.merge_small(writer)
            for report in vectors.refresh(writer):
                print(report)
            return summarise(writer, found, faults)

    def list(
        self, settings: IndexSettings, config: WindowConfig
    ) -> tuple[list[Wanted], list[Failure]]:
        """What the origins hold now, and lines of manifests that cannot be used."""
        wanted: list[Wanted] = []
        faults: list[Failure] = []
        for origin in settings.origins:
            if origin.kind == origins.RECORDS:
                model = self._model(settings)
                listed = self.run(tasks.list_records, model, origin.path)
                wanted += origins.of_records(origin, config, listed)
            else:
                found, wrong = origins.of_media(origin, config, settings.sees_images)
                wanted += found
                faults += wrong
        return wanted, faults

    def _make(
        self,
        writer: Writer,
        wanted: Sequence[Wanted],
        settings: IndexSettings,
        config: WindowConfig,
    ) -> int:
        """Embeds recordings, and returns how many could be."""
        model = self._model(settings)
        # A cluster's workers may not have the folder.
        folder = None if self._scheduler else self.index_dir
        to_do = _tasks(wanted, model, config, settings.origins, folder)
        pool = self._pool(len(to_do))
        if not self._has_eyes and any(one.recording for one in wanted):
            pool.run(tasks.require_eyes, model)
            self._has_eyes = True
        waiting: list[Embedded] = []
        n_made = 0
        committed = time.monotonic()
        try:
            for one in _shown(_outcomes(pool, to_do), len(wanted)):
                if isinstance(one, Failed):
                    writer.add_failure(one.source, one.reason)
                else:
                    waiting.append(one)
                    n_made += 1
                n_windows = sum(len(each.spans) for each in waiting)
                now = time.monotonic()
                if n_windows >= _COMMIT_WINDOWS or now - committed > _COMMIT_S:
                    _commit(writer, waiting)
                    committed = now
        finally:
            _commit(writer, waiting)
        return n_made

    def run(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """Returns function(*arguments) by one worker; see Processes.run."""
        return self._pool(1).run(function, *arguments)

    def _model(self, settings: IndexSettings) -> Model:
        return Model(
            settings.model, settings.weights_2d, settings.weights_3d, self._limits
        )

    def _pool(self, n_tasks: int) -> Processes:
        """The workers; no more than there is work for when they are first needed."""
        if self._processes is None:
            n_workers = min(self._workers or offspring.n_cores(), max(1, n_tasks))
            self._processes = Processes(n_workers, self._scheduler)
            self._resources.enter_context(self._processes)
        return self._processes


def _tell_of_languages(made: Sequence[Wanted], hears: Sequence[str]) -> None:
    """Warns of recordings that no branch of the model hears."""
    others = sorted(
        {one.source.language for one in made} - {"", *hears} if hears else ()
    )
    if others:
        logging.warning(
            "the model hears %s: of recordings in %s what is seen is found, and not "
            "what is said. Is --language (of --videos) as it should be?",
            ", ".join(hears),
            ", ".join(others),
        )


def _commit(writer: Writer, waiting: list[Embedded]) -> None:
    if waiting:
        writer.add(waiting)
        waiting.clear()


def _tasks(
    wanted: Sequence[Wanted],
    model: Model,
    config: WindowConfig,
    every: Sequence[Origin],
    folder: str | None,
) -> list[Task]:
    """A task a recording of media, or a shard of records."""
    found = [
        Task(model, (one,), config, folder=folder) for one in wanted if one.recording
    ]
    of_shards: dict[tuple[str, str], list[Wanted]] = {}
    for one in wanted:
        if not one.recording:
            of_shards.setdefault((one.source.origin, one.shard), []).append(one)
    paths = {one.key: one.path for one in every}
    for (origin, _), members in of_shards.items():
        found.append(Task(model, tuple(members), config, paths[origin]))
    return found


def _outcomes(pool: Processes, to_do: Sequence[Task]) -> Iterator[Embedded | Failed]:
    """What workers make of tasks, in the order in which they get done."""
    suspects: list[Task] = []
    for _, found in pool.each(tasks.make, to_do, suspects):
        yield from found
    for task in suspects:
        try:
            yield from pool.run(tasks.make, task)
        except KilledWorker:
            reason = "the worker process died over it, again and again"
            yield from (Failed(one.source, reason) for one in task.wanted)


def _shown(
    outcomes: Iterable[Embedded | Failed], total: int
) -> Iterator[Embedded | Failed]:
    with progress.Bar(total=total, unit="recording") as bar:
        for one in outcomes:
            yield one
            bar.update()
