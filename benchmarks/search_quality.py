r"""What reranking and calibration give on a stage's clips: docs/search.md's tables.

    python -m benchmarks.search_quality --run_dir=runs/demo/es \
        --records=data/demo/es/records

Indexes the clips of RECORDS/val and RECORDS/eval, and prints how often a clip's speech
finds its own pictures, reranked and not; and, calibrated with RECORDS/val, how many of
RECORDS/eval are called a match: with their own recordings left out, and with them.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import numpy as np
from absl import flags

from avl_tf import offspring, program
from avl_tf.errors import UserError

_RUN_DIR = flags.DEFINE_string("run_dir", None, "Of a stage.", required=True)
_RECORDS = flags.DEFINE_string(
    "records", None, "Records with the splits val and eval.", required=True
)
_RATES = (0.05, 0.1, 0.2)
_BEST = (1, 5, 10)


def main() -> None:
    run_dir, records = _RUN_DIR.value, _RECORDS.value.rstrip("/")
    print("| clips | n | R@1/5/10 without | R@1/5/10 with |")
    print("| --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as scratch:
        for split in ("val", "eval"):
            folder = os.path.join(scratch, split)
            _index(folder, run_dir, f"{records}/{split}", f"{records}/val")
            with _opened(folder, run_dir, f"{records}/{split}") as (store, clips):
                recalls = [_recalls(store, clips, reranked) for reranked in (0, 1)]
                print(f"| {split} | {len(clips)} | {' | '.join(recalls)} |")
                if split == "eval":
                    _tell_matches(store, clips)


def _index(folder: str, run_dir: str, records: str, validation: str) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "avl_tf.index", f"--index_dir={folder}"),
            *(f"--model={run_dir}", f"--records={records}", "--windows=clips"),
            f"--validation={validation}",
        ],
        env=offspring.of_module(),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise UserError(done.stderr.strip().splitlines()[-1].removeprefix("error: "))


@contextlib.contextmanager
def _opened(folder: str, run_dir: str, records: str) -> Iterator[tuple]:
    """The index, and the clips of the records, embedded."""
    from avl_tf import trained
    from avl_tf.retrieval import Store, calibrating
    from avl_tf.retrieval.embedding import RecordEmbedder

    looked = trained.look(run_dir)
    embedder = RecordEmbedder(looked.path)
    clips = list(calibrating.read(embedder, looked, records))
    with Store.open(folder) as store:
        yield store, clips


def _recalls(store, clips, reranked: int) -> str:
    from avl_tf.retrieval.finding import Finder

    finder = Finder(store)
    visual = np.concatenate([store.vectors("visual", one) for one in store.segments])
    ranks = []
    for clip in clips:
        own = int(
            np.argmin(np.abs(visual.astype(np.float32) - clip.visual).max(axis=1))
        )
        steps = clip.audio_steps if reranked else None
        ids = [one.id for one in finder.find(clip.audio, steps, "video", 10).windows]
        first = store.segments[0].first_window
        ranks.append(ids.index(own + first) + 1 if own + first in ids else np.inf)
    found = np.array(ranks)
    return "/".join(f"{100 * np.mean(found <= k):.1f}" for k in _BEST)


def _tell_matches(store, clips) -> None:
    from avl_tf.retrieval import calibrating
    from avl_tf.retrieval.calibrated import Kept
    from avl_tf.retrieval.finding import Finder

    kept, finder = Kept.of(store), Finder(store)
    if kept is None:
        raise UserError("the index is not calibrated.")
    called: dict[tuple[str, float], list[tuple[bool, bool]]] = {}
    for clip in clips:
        for name, one in calibrating.ask(finder, clip, list(kept.sample)):
            others = float(max(one.others, default=-np.inf))
            for rate in _RATES:
                found = kept.searches[name].judge(
                    [others, one.own], one.scale, store.n_windows, rate
                )
                met = [
                    found.is_known and s > found.threshold for s in (others, one.own)
                ]
                called.setdefault((name, rate), []).append(tuple(met))
    print(f"\ncalibrated with {kept.n_queries} clips, asked by {len(clips)}:")
    print("| search | error rate | called a match: nothing fits | its clip is there |")
    print("| --- | ---: | ---: | ---: |")
    for (name, rate), met in called.items():
        false, right = 100 * np.mean(met, axis=0)
        print(f"| {name} | {rate:g} | {false:.1f} % | {right:.1f} % |")


if __name__ == "__main__":
    program.run(main)
