"""An index whose vectors are in a Milvus: milvus-lite, which speaks its protocol."""

import json

import index_model
import made_media
import numpy as np
import pytest
from programs import fails_in_one_line, run

from avl_tf import media
from avl_tf.errors import UserError
from avl_tf.retrieval import Store, milvus, vectors
from avl_tf.retrieval.entries import Embedded, ModelNote, Source, Span
from avl_tf.retrieval.writing import writing

pytest.importorskip("milvus_lite", reason="the extra milvus is not installed")
DIM, N = 16, 30


def _vectors(seed, n=N):
    return np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float16)


def _add(writer, number, heard=True):
    spans = tuple(Span(float(i), i + 1.0) for i in range(N))
    source = Source(f"/v{number}.mp4", f"v{number}", f"v{number}")
    audio = _vectors(100 + number) if heard else np.full((N, DIM), np.nan)
    steps = np.zeros((0, DIM))
    writer.add([Embedded(source, 9.0, spans, _vectors(number), audio, steps)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An index of two recordings, nothing heard in the first, in a milvus-lite."""
    path = tmp_path_factory.mktemp("milvus")
    with writing(str(path / "index")) as writer:
        writer.claim(ModelNote("model", "1234", DIM))
        milvus.choose(writer, f"milvus:{path}/milvus.db")
        _add(writer, 0, heard=False)
        _add(writer, 1)
        told = vectors.refresh(writer)
    assert [text.split()[2] for text in told] == ["60", "30"]
    return str(path / "index")


def _expected(store, side, queries, k=10):
    rows = np.concatenate([store.vectors(side, one) for one in store.segments])
    scores = queries @ rows.astype(np.float32).T
    scores[:, ~store.alive(np.arange(len(rows)))] = -np.inf
    scores[np.isnan(scores)] = -np.inf
    return np.argsort(-scores, axis=1)[:, :k], -np.sort(-scores, axis=1)[:, :k]


def _same(store, side):
    queries = _vectors(7, 5).astype(np.float32)
    ids, scores = _expected(store, side, queries)
    found = vectors.VectorIndex.open(store, side).search(queries, 10)
    np.testing.assert_array_equal(found[1], ids)
    np.testing.assert_allclose(found[0], scores, rtol=1e-4)


def _n_held(store, side):
    return milvus.opened(store, side).ntotal


def test_a_milvus_is_searched_and_follows_the_index(folder):
    with Store.open(folder) as store:
        for side in ("visual", "audio"):
            _same(store, side)
        assert (_n_held(store, "visual"), _n_held(store, "audio")) == (60, 30)
        with writing(folder) as writer:
            _add(writer, 2)
            _same(writer, "visual")  # what Milvus lacks yet is looked at beside it
            writer.remove([1])
            _same(writer, "visual")  # and what it has too many is left out
            assert _n_held(store, "visual") == 60
            vectors.refresh(writer)
            assert not vectors.refresh(writer)
        assert (_n_held(store, "visual"), _n_held(store, "audio")) == (60, 60)
        _same(store, "visual")
        _same(store, "audio")


def test_other_clients_find_what_a_window_is(folder):
    with Store.open(folder) as store:
        note = store.note("milvus")
        with milvus._told(note["uri"]) as client:
            (row,) = client.get(f"{note['name']}_visual", ids=[35])
    assert (row["media"], row["recording_id"]) == ("/v1.mp4", "v1")
    assert (row["start_s"], row["end_s"]) == (5.0, 6.0)


def test_vectors_move_between_faiss_and_milvus(folder, tmp_path):
    with writing(folder) as writer:
        before = milvus.uri(writer)
        note = writer.note("milvus")
        milvus.choose(writer, "faiss")
        assert not milvus.uri(writer)
        with milvus._told(before) as client:
            assert not client.has_collection(f"{note['name']}_visual")
        assert all("MB" in str(report) for report in vectors.refresh(writer))
        _same(writer, "visual")
        milvus.choose(writer, f"milvus:{before}")
        vectors.refresh(writer)
        _same(writer, "visual")


@pytest.mark.parametrize(
    "where, words",
    [
        ("milvus", "expected faiss, milvus:http"),
        ("milvus:", "expected faiss, milvus:http"),
        ("milvus:http://127.0.0.1:9", "milvus:http://127.0.0.1:9: "),
    ],
)
def test_what_is_no_milvus_is_told_and_changes_nothing(
    folder, monkeypatch, where, words
):
    monkeypatch.setattr(milvus, "_PATIENCE_S", 2)
    with writing(folder) as writer:
        before = writer.note("milvus")
        with pytest.raises(UserError, match=words):
            milvus.choose(writer, where)
        assert writer.note("milvus") == before


@pytest.mark.slow
def test_programs_write_to_a_milvus_and_search_in_it(tmp_path):
    records = index_model.make_records_of_media(tmp_path)
    run_dir, _ = index_model.make_run(tmp_path, records=records, evaluated_s=0.0)
    query = tmp_path / "query.wav"
    media.write_wav(query, made_media.sine(2.0, rate=16000), 16000)
    found = []
    for store in ("faiss", "milvus:held.db"):
        index_dir = f"--index_dir={store[:5]}"
        given = [f"--model={run_dir}", f"--records={records}", f"--store={store}"]
        made = run("avl_tf.index", index_dir, *given, cwd=tmp_path)
        assert made.returncode == 0, made.stderr
        assert "Traceback" not in made.stderr
        asked = run(
            "avl_tf.search", index_dir, f"--audio={query}", "--json", cwd=tmp_path
        )
        assert asked.returncode == 0, asked.stderr
        found.append(json.loads(asked.stdout))
    assert found[0] and len(found[0]) == len(found[1])
    for ours, theirs in zip(*found, strict=True):
        assert (ours["media"], ours["start_s"]) == (theirs["media"], theirs["start_s"])
        assert ours["score"] == pytest.approx(theirs["score"], rel=1e-3)
    again = run("avl_tf.index", index_dir, "--rebuild", cwd=tmp_path)
    assert again.returncode == 0 and "written to or deleted from milvus" in again.stdout
    (tmp_path / "held.db").rename(tmp_path / "moved.db")
    (tmp_path / "held.db").write_text("no Milvus")
    asked = run("avl_tf.search", index_dir, f"--audio={query}", cwd=tmp_path)
    fails_in_one_line(asked, "milvus:", "held.db")
