"""Nearest vectors of an index: exact, reduced, with a cache that nobody trusts."""

import dataclasses
import os
import shutil

import faiss
import numpy as np
import pytest

from avl_tf.retrieval import Store, vector_building, vectors
from avl_tf.retrieval.entries import Embedded, ModelNote, Source, Span
from avl_tf.retrieval.writing import writing

DIM = 32


def _correlated(n, seed):
    """Vectors of a few directions, and what is said of them: another distribution."""
    mixing = np.random.default_rng(9).standard_normal((8, DIM)) * 3
    shift = np.random.default_rng(8).standard_normal(DIM) * 2
    random = np.random.default_rng(seed)
    seen = random.standard_normal((n, 8)) @ mixing
    heard = seen + shift + random.standard_normal((n, DIM)) * 1.5
    seen += random.standard_normal((n, DIM)) * 0.3
    return seen.astype(np.float16), heard.astype(np.float16)


def _add(writer, name, seen, heard):
    spans = tuple(Span(float(i), i + 1.0) for i in range(len(seen)))
    source = Source(f"/{name}.mp4", name, name)
    steps = np.zeros((0, DIM))
    writer.add([Embedded(source, 9.0, spans, seen, heard, steps)])


@pytest.fixture
def folder(tmp_path):
    """An index of three recordings of 300 windows; of the first nothing is heard."""
    with writing(str(tmp_path / "index")) as writer:
        writer.claim(ModelNote("model", "1234", DIM))
        for number in range(3):
            seen, heard = _correlated(300, number)
            heard[:] = np.nan if number == 0 else heard
            _add(writer, f"v{number}", seen, heard)
    return str(tmp_path / "index")


def _stored(store, side):
    return np.concatenate([store.vectors(side, one) for one in store.segments])


def _exact(store, side, queries, k):
    scores = queries @ _stored(store, side).astype(np.float32).T
    scores[:, ~store.alive(np.arange(scores.shape[1]))] = -np.inf
    scores[np.isnan(scores)] = -np.inf
    return np.argsort(-scores, axis=1)[:, :k], np.sort(-scores, axis=1)[:, :k] * -1


def _same(store, index, side, k=10):
    queries = _correlated(20, 77)[1].astype(np.float32)
    scores, ids = index.search(queries, k)
    expected_ids, expected = _exact(store, side, queries, k)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


@pytest.mark.parametrize("side", ["visual", "audio"])
def test_search_is_exact_with_a_tail_and_dead_windows(folder, side):
    with Store.open(folder) as store:
        _same(store, vectors.VectorIndex.open(store, side), side)  # makes the cache
        index = vectors.VectorIndex.open(store, side)
        with writing(folder) as writer:
            _add(writer, "new", *_correlated(50, 5))
        with_tail = vectors.VectorIndex.open(store, side)
        _same(store, with_tail, side)
        with writing(folder) as writer:
            writer.remove([3, 4])
        _same(store, with_tail, side)
        ids = index.search(_correlated(5, 77)[1].astype(np.float32), 10)[1]
        assert ids.max() < 600  # neither what is dead nor what came later


def test_search_of_fewer_windows_than_asked_for(folder, tmp_path):
    with Store.open(folder) as store:
        index = vectors.VectorIndex.open(store, "audio")
        scores, ids = index.search(np.ones((1, DIM), np.float32), 700)
    assert np.sum(ids[0] >= 0) == 600 and np.all(np.isinf(scores[0, 600:]))
    with writing(str(tmp_path / "empty")) as writer:
        writer.claim(ModelNote("model", "1234", DIM))
        index = vectors.VectorIndex.open(writer, "visual")
        scores, ids = index.search(np.ones((2, DIM), np.float32), 3)
    assert np.all(ids == -1) and np.all(np.isinf(scores))


def test_the_flat_cache_holds_the_bits_of_the_segments(folder):
    with writing(folder) as writer:
        report = vectors.build(writer, "visual")
        held = faiss.read_index(f"{folder}/cache/visual.faiss")
        codes = faiss.vector_to_array(faiss.downcast_index(held.index).codes)
        assert codes.tobytes() == _stored(writer, "visual").tobytes()
    assert (report.kind, report.n, report.recall) == ("flat", 900, 1.0)
    assert "900 windows, exact, recall@10 1.000 of exact (" in str(report)


def test_of_equal_windows_any_is_found_rightly(tmp_path):
    random = np.random.default_rng(0)
    with writing(str(tmp_path)) as writer:
        writer.claim(ModelNote("m", "d", DIM))
        once = random.standard_normal((3, DIM)).astype(np.float32)
        heard = random.standard_normal((60, DIM)).astype(np.float32)
        _add(writer, "a", np.repeat(once, 20, axis=0), heard)
        built = vector_building.build(writer, "visual")
        # Another order of equal windows: what is found has other ids.
        faiss_index = vector_building.empty_flat(DIM)
        for ids, rows in vector_building.read(writer, "visual", writer.segments):
            faiss_index.add_with_ids(rows[::-1].copy(), ids[::-1].copy())
        other = dataclasses.replace(built, index=faiss_index)
        index = vectors.VectorIndex(writer, "visual", other)
        assert vectors._recall(index, other, slice(None)) == 1
        worse = dataclasses.replace(other, exact=other.exact + 0.01)
        assert vectors._recall(index, worse, slice(None)) < 1
        report = vectors.build(writer, "visual")
    assert report.recall == 1 and "(30 audio queries)" in str(report)


def test_of_nothing_that_is_seen_no_recall_is_told(tmp_path, recwarn):
    with writing(str(tmp_path)) as writer:
        writer.claim(ModelNote("m", "d", DIM))
        heard = np.ones((4, DIM), np.float32)
        _add(writer, "a", np.full_like(heard, np.nan), heard)  # sounds alone
        assert vectors.build(writer, "visual").recall is None
        assert vectors.build(writer, "audio").recall == 1
        writer.remove([1])
        assert [one.recall for one in vectors.refresh(writer)] == [None, None]
    assert not recwarn.list


def test_reduced_vectors_are_looked_at_again(folder, monkeypatch):
    monkeypatch.setattr(vector_building, "_DIMS", 8)
    monkeypatch.setattr(vectors, "_LOOKED_AT_AGAIN", 60)
    with writing(folder) as writer:
        report = vectors.build(writer, "visual", flat_up_to=100)
        assert report.kind == "reduced" and report.recall > 0.97
        assert writer.note("vectors-visual")["recall"] == report.recall
        index = vectors.VectorIndex.open(writer, "visual")
        queries = _correlated(50, 77)[1].astype(np.float32)
        scores, ids = index.search(queries, 10)
        # The scores are those of the segments, not of the reduced vectors.
        for query, row, found in zip(queries, scores, ids, strict=True):
            np.testing.assert_allclose(row, index.rows(found) @ query, rtol=1e-5)
        writer.remove([1])
        ids = index.search(queries, 10)[1]
        assert ids.min() >= 300


def test_reduction_keeps_what_queries_ask_for():
    random = np.random.default_rng(0)
    # The stored vary most where no query looks.
    stored = random.standard_normal((2000, 20)) * ([9.0] * 10 + [1.0] * 10)
    queries = random.standard_normal((2000, 20)) * ([0.01] * 10 + [1.0] * 10)
    maps = vector_building.reduction(
        stored.astype(np.float32), queries.astype(np.float32), 10
    )
    products = queries @ stored.T
    kept = (queries @ maps[1].T) @ (stored @ maps[0].T).T
    assert np.corrcoef(products.ravel(), kept.ravel())[0, 1] > 0.98
    _, _, axes = np.linalg.svd(stored, full_matrices=False)
    by_pca = (queries @ axes[:10].T) @ (stored @ axes[:10].T).T
    assert np.corrcoef(products.ravel(), by_pca.ravel())[0, 1] < 0.3


def _inode(folder):
    return os.stat(f"{folder}/cache/visual.faiss").st_ino


def test_a_file_that_is_not_ours_is_never_read(folder, monkeypatch, caplog):
    with writing(folder) as writer:
        vectors.build(writer, "visual")
    path = f"{folder}/cache/visual.faiss"
    hostile = bytearray(open(path, "rb").read())
    hostile[-100:-50] = bytes(50)
    status = os.stat(path)
    with open(path, "r+b") as file:  # the same file, size and time
        file.write(hostile)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    read, seen = faiss.read_index, []

    def watched(name, *flags):
        seen.append(open(name, "rb").read())
        return read(name, *flags)

    monkeypatch.setattr(faiss, "read_index", watched)
    with Store.open(folder) as store:
        _same(store, vectors.VectorIndex.open(store, "visual"), "visual")
    assert "is not the file that was made here" in caplog.text
    assert seen and bytes(hostile) not in seen


def test_the_cache_is_kept_where_it_fits_and_made_anew_where_not(folder):
    with Store.open(folder) as store:
        vectors.VectorIndex.open(store, "visual")
        made = _inode(folder)
        vectors.VectorIndex.open(store, "visual")
        assert _inode(folder) == made
        # A copy is another file of the same content.
        shutil.copy(f"{folder}/cache/visual.faiss", f"{folder}/cache/copy")
        os.replace(f"{folder}/cache/copy", f"{folder}/cache/visual.faiss")
        made = _inode(folder)
        vectors.VectorIndex.open(store, "visual")
        assert _inode(folder) == made
    with writing(folder) as writer:
        note = writer.note("vectors-visual")
        for other in ({"faiss": "0"}, {"format": 0}, {"model": "other"}, {"n": None}):
            writer.put_note("vectors-visual", {**note, **other, "size": 1})
            vectors.VectorIndex.open(writer, "visual")
            assert writer.note("vectors-visual")["size"] == note["size"]
    shutil.rmtree(f"{folder}/cache")
    with Store.open(folder) as store:
        _same(store, vectors.VectorIndex.open(store, "visual"), "visual")


def test_without_a_place_for_the_cache_it_is_in_memory(folder, caplog):
    with writing(folder), Store.open(folder) as store:
        _same(store, vectors.VectorIndex.open(store, "visual"), "visual")
    assert "held in memory" in caplog.text and "avl_tf.index" in caplog.text
    assert not os.path.exists(f"{folder}/cache/visual.faiss")


def test_refresh_follows_what_is_new_and_dead(folder):
    with writing(folder) as writer:
        assert [one.side for one in vectors.refresh(writer)] == ["visual", "audio"]
        assert not vectors.refresh(writer)
        _add(writer, "few", *_correlated(50, 5))
        assert not vectors.refresh(writer)
        _add(writer, "more", *_correlated(80, 6))
        assert [one.n for one in vectors.refresh(writer)] == [1030, 730]
        writer.remove([2])
        assert [one.n for one in vectors.refresh(writer)] == [730, 430]
        assert not vectors.refresh(writer)
