"""The index directory: what is committed stays, what is damaged is told."""

import contextlib
import errno
import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest

from avl_tf import offspring
from avl_tf.errors import UserError
from avl_tf.retrieval import (
    ModelNote,
    Store,
    index_settings,
    merging,
    segments,
    writing,
)
from avl_tf.retrieval.entries import Embedded, Source, Span

D = 4
MODEL = ModelNote("/runs/a", "ab" * 32, D, ("es",), {"x": [1.5]})


def embedded(name, n_windows=2, n_steps=3, value=1.0, **source):
    rows = np.arange(n_windows * D, dtype=np.float32).reshape(n_windows, D) + value
    spans = [Span(i * 1.0, i + 2.0, f"s{i}", i, 2) for i in range(n_windows)]
    return Embedded(
        Source(f"/media/{name}.mp4", name, name, "es", **source),
        float(n_windows + 1),
        tuple(spans),
        rows,
        -rows,
        np.arange(n_steps * D, dtype=np.float32).reshape(n_steps, D) + value,
        first_step_s=10.0,
        step_s=0.5,
    )


def filled(folder, *found):
    with writing.writing(str(folder)) as writer:
        writer.claim(MODEL)
        writer.add(found or [embedded("a"), embedded("b", value=100.0)])
    return str(folder)


def test_what_was_written_is_read(tmp_path):
    folder = filled(tmp_path / "d")
    with Store.open(folder) as store:
        assert store.model == MODEL and store.n_windows == 4
        (segment,) = store.segments
        assert (segment.first_window, segment.n_windows, segment.n_steps) == (0, 4, 6)
        visual = store.vectors("visual", segment)
        assert isinstance(visual, np.memmap) and visual.dtype == np.float16
        np.testing.assert_array_equal(visual[2], np.arange(D) + 100)
        np.testing.assert_array_equal(store.vectors("audio", segment), -visual)
        steps, times_s = store.steps(3)  # the second window of b
        np.testing.assert_array_equal(steps[:, 0], [104.0, 108.0])
        np.testing.assert_array_equal(times_s, [10.5, 11.0])
        b, a = store.windows([3, 0])
        assert (b.media, b.start_s, b.end_s, b.label) == (
            "/media/b.mp4",
            1.0,
            3.0,
            "s1",
        )
        assert (a.id, a.record_id, a.language, a.recording_id) == (0, "a", "es", "a")
        assert store.alive([0, 3, 4, -1]).tolist() == [True, True, False, False]
        assert "deleted or moved" in store.missing(a.media_id)
        with pytest.raises(KeyError):
            store.steps(4)


def test_a_reader_sees_what_a_writer_commits(tmp_path):
    folder = filled(tmp_path)
    with Store.open(folder) as store, writing.writing(folder) as writer:
        before = store.generation
        writer.add([embedded("c", 1)])
        assert store.generation > before and store.n_windows == 5
        assert [one.first_window for one in store.segments] == [0, 4]
        writer.add([embedded("a", 1, value=7.0)])  # changed
        assert store.n_windows == 4
        assert store.alive(np.arange(6)).tolist() == [False, False, *[True] * 4]
        writer.put_note("calibration", {"threshold": 0.5})
        assert store.note("calibration") == {"threshold": 0.5}
        assert store.note("nothing") is None
        ids = {one.source.record_id: one.id for one in store.media()}
        writer.remove([ids["b"]], keep_out=True)
        writer.remove([ids["c"]])
        assert store.n_windows == 1
        kept = {one.source.record_id: one.removed for one in store.media()}
        assert kept == {"a": False, "b": True}
        assert store.missing(ids["c"]) == "not in the index any more"
        writer.add([embedded("c", 1)])
        assert store.n_windows == 2 and len(store.media()) == 3
        (window,) = store.window_ids(store.media()[-1].id)
        assert window == 6  # an id is never used again


def test_a_renamed_file_keeps_its_windows(tmp_path):
    folder = filled(tmp_path)
    with writing.writing(folder) as writer:
        one = writer.media()[0]
        moved = Source("/media/z.mp4", "z", "z", "es")
        writer.update([(one.id, moved)])
        assert writer.windows([0])[0].media == "/media/z.mp4"
        assert writer.n_windows == 4


def test_a_second_writer_is_told_and_readers_are_not(tmp_path):
    folder = filled(tmp_path)
    with writing.writing(folder):
        with pytest.raises(UserError, match="another process is writing to this"):
            with writing.writing(folder):
                pass
        with pytest.raises(UserError, match="another process is writing to this"):
            writing.discard(folder)
        Store.open(folder).close()


def test_another_model_is_refused_and_clear_forgets_it(tmp_path):
    folder = filled(tmp_path)
    with writing.writing(folder) as writer:
        other = ModelNote("/runs/b", "cd" * 32, D)
        with pytest.raises(UserError, match=r"made with the model /runs/a \(abab"):
            writer.claim(other)
        writer.claim(ModelNote("/moved/a", MODEL.digest, D))
        assert writer.model.path == "/moved/a"
        writer.clear()
        assert writer.n_windows == 0 and not os.listdir(tmp_path / "segments")
        writer.claim(other)
        writer.add([embedded("a")])
        assert writer.segments[0].first_window == 4


@pytest.mark.parametrize("covered", [(), (0, 1, 2), tuple(range(70))])
def test_many_small_segments_become_one(tmp_path, covered):
    folder = str(tmp_path)
    with writing.writing(folder) as writer:
        writer.claim(MODEL)
        for number in range(70):
            writer.add([embedded(f"m{number}", 1 + number % 2, value=number)])
        writer.put_note("vectors-visual", {"segments": list(covered), "n": 1})
        writer.put_note("milvus", {"segments": {"audio": list(covered)}})
        writer.remove([3])
        with Store.open(folder) as store:
            ids = np.arange(105)
            before = [store.steps(one) for one in ids], store.windows(ids)
            alive = store.alive(ids)
            rows = np.concatenate([store.vectors("audio", s) for s in store.segments])
            n_gone = merging.merge_small(writer)
            left = store.segments
            assert len(left) == 70 - n_gone == (2 if 0 < len(covered) < 70 else 1)
            assert [one.first_window for one in left] == [0, 4][: len(left)]
            after = [store.steps(one) for one in ids], store.windows(ids)
            for old, new in zip(before[0], after[0], strict=True):
                np.testing.assert_array_equal(old[0], new[0])
                np.testing.assert_array_equal(old[1], new[1])
            assert before[1] == after[1]
            np.testing.assert_array_equal(alive, store.alive(ids))
            merged = np.concatenate([store.vectors("audio", s) for s in left])
            np.testing.assert_array_equal(rows, merged)
            held = [left[0].number] if covered else []
            assert store.note("vectors-visual") == {"segments": held, "n": 1}
            assert store.note("milvus") == {"segments": {"audio": held}}
            store.check()
        assert merging.merge_small(writer) == 0
    with writing.writing(folder) as writer:
        assert len(os.listdir(tmp_path / "segments")) == 3 * len(left)


def test_vectors_too_large_for_float16_are_refused(tmp_path):
    with writing.writing(str(tmp_path)) as writer:
        writer.claim(MODEL)
        with pytest.raises(UserError, match="too large for float16"):
            writer.add([embedded("a", value=1e5)])
        assert not writer.segments


def test_no_index_and_urls_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="no index here"):
        Store.open(str(tmp_path))
    for opened in (Store.open, lambda path: writing.writing(path).__enter__()):
        with pytest.raises(UserError, match="an index is a local folder"):
            opened("s3://bucket/index")


def _truncate(path, n_bytes):
    with open(path, "r+b") as file:
        file.truncate(n_bytes)


def _overwrite(path, at, content):
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: _overwrite(path, 0, b"no database at all " * 10),
        lambda path: _truncate(path, 4096),
        lambda path: _truncate(path, 100),
        lambda path: _truncate(path, 0),
        lambda path: _overwrite(path, 4096, b"\xff" * 12288),
    ],
    ids=["text", "a_page", "header", "empty", "pages"],
)
def test_a_damaged_database_is_told(tmp_path, damage):
    folder = filled(tmp_path / "d")
    damage(os.path.join(folder, "index.sqlite"))
    with pytest.raises(UserError, match=r"index\.sqlite: .*--rebuild") as caught:
        with Store.open(folder) as store:
            store.windows([0])
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"index\.sqlite: .*--rebuild"):
        with writing.writing(folder) as writer:
            writer.windows([0])
    writing.discard(folder)
    filled(folder)
    assert Store.open(folder).n_windows == 4


def test_another_format_or_program_is_told(tmp_path):
    folder = filled(tmp_path)
    for pragma, text in (
        ("user_version=99", "format 99, this version reads format 1"),
        ("application_id=7", "not an index of avl_tf.index"),
    ):
        connection = sqlite3.connect(tmp_path / "index.sqlite")
        connection.execute(f"PRAGMA {pragma}")
        connection.close()
        for opened in (Store.open, lambda path: writing.writing(path).__enter__()):
            with pytest.raises(UserError, match=re.escape(text)):
                opened(folder)


def _pickled(path):
    with open(path, "wb") as file:
        np.save(file, np.array([{}], object), allow_pickle=True)


@pytest.mark.parametrize(
    "damage",
    [
        os.remove,
        lambda path: _truncate(path, 130),
        lambda path: _truncate(path, 20),
        lambda path: _overwrite(path, 0, b"\0" * 16),
        lambda path: np.save(path, np.zeros((4, D + 1), np.float16)),
        lambda path: np.save(path, np.zeros((4, D), np.float32)),
        _pickled,
        lambda path: shutil.copy(__file__, path),
    ],
    ids="gone truncated header zeros shape dtype pickle text".split(),
)
def test_a_damaged_segment_is_told_when_it_is_opened(tmp_path, damage):
    folder = filled(tmp_path)
    damage(segments.path(folder, 0, "visual"))
    with Store.open(folder) as store:
        with pytest.raises(UserError, match=r"000000-visual\.npy: .*--rebuild"):
            store.vectors("visual", store.segments[0])
        store.vectors("audio", store.segments[0])


def test_check_finds_one_changed_byte(tmp_path):
    folder = filled(tmp_path)
    with Store.open(folder) as store:
        store.check()
        _overwrite(segments.path(folder, 0, "steps"), 130, b"\x01")
        with pytest.raises(UserError, match=r"000000-steps\.npy: damaged"):
            store.check()


_KILLED = """
import sys, numpy as np
sys.path.insert(0, "tests")
from test_store import MODEL, embedded
from avl_tf.retrieval import writing
assert "tensorflow" not in sys.modules
with writing.writing(sys.argv[1]) as writer:
    writer.claim(MODEL)
    there = {one.source.record_id for one in writer.media()}
    for number in range(int(sys.argv[2])):
        if f"m{number}" not in there:
            writer.add([embedded(f"m{number}", 1 + number % 3, value=number)])
            print(number, flush=True)
"""


def test_nothing_is_lost_or_twice_after_fifty_kills(tmp_path):
    """Each process is killed at a random moment of its writing; the next goes on."""
    folder, n_media = str(tmp_path / "d"), 400
    random = np.random.default_rng(1)
    told: set[str] = set()

    def start():
        return subprocess.Popen(
            [sys.executable, "-c", _KILLED, folder, str(n_media)],
            stdout=subprocess.PIPE,
            text=True,
            env=offspring.of_module(),
        )

    for _ in range(50):
        process = start()
        first = process.stdout.readline()
        time.sleep(random.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        told |= {first.strip(), *process.communicate()[0].split()}
        with Store.open(folder) as store:
            known = [one.source.record_id for one in store.media()]
            assert {f"m{number}" for number in told if number} <= set(known)
            store.check()
    assert len(told) < n_media  # or the kills came too late
    assert start().wait() is not None
    with Store.open(folder) as store:
        known = sorted(one.source.record_id for one in store.media())
        assert known == sorted(f"m{number}" for number in range(n_media))
        assert store.n_windows == sum(1 + number % 3 for number in range(n_media))
        for one in store.media():
            number = int(one.source.record_id[1:])
            ids = store.window_ids(one.id)
            assert len(ids) == one.n_windows == 1 + number % 3
            segment = store.segment_of(ids[0])
            row = store.vectors("visual", segment)[ids[0] - segment.first_window]
            assert row[0] == number
        files = os.listdir(os.path.join(folder, "segments"))
        assert len(files) == 3 * len(store.segments)


@contextlib.contextmanager
def _no_file_above(n_bytes):
    """As on a disk that is full: a file cannot grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_is_told_and_nothing_is_lost(tmp_path):
    folder = filled(tmp_path)
    with writing.writing(folder) as writer:
        with _no_file_above(200), pytest.raises(OSError, match="000001-.*npy") as told:
            writer.add([embedded("c", 100)])
        assert told.value.errno == errno.EFBIG
        assert writer.n_windows == 4
        writer.add([embedded("c", 100)])
    new = str(tmp_path / "new")
    with _no_file_above(2000), pytest.raises(OSError, match="index.sqlite: disk I/O"):
        with writing.writing(new):
            pass
    _is_as_if_never_made(new)


def test_an_index_that_was_killed_before_its_first_commit_is_none(tmp_path):
    folder = tmp_path / "index"
    (folder / "segments").mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(folder / "index.sqlite")) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    _is_as_if_never_made(str(folder))


def _is_as_if_never_made(folder):
    with pytest.raises(FileNotFoundError, match="no index here"):
        Store.open(folder)
    assert index_settings.read(folder) is None
    with writing.writing(folder) as writer:
        assert writer.n_windows == 0
