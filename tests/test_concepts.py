"""Concepts: what excites dimensions, how pure they are, and what sounds alike."""

import csv
import functools
import json
import re
import types

import corpus
import index_model
import numpy as np
import programs
import pytest
import tensorflow as tf
from made_media import make_media, numbered, sine
from offline_pages import browser, opened, read_textgrid

from avl_tf import dataset
from avl_tf.discovery import clusters, embedding, labels, peaks, purity
from avl_tf.discovery.concepts import BY_CHANCE, Discovered
from avl_tf.discovery.embedding import MODEL, OF_EMBEDDINGS, OF_INPUTS
from avl_tf.discovery.labels import Annotated, Timed
from avl_tf.errors import UserError
from avl_tf.exhibits.spans import Span
from avl_tf.manifest import write_manifest
from avl_tf.records import headers, open_records
from avl_tf.settings.discovery import DiscoveryConfig

__all__ = ["browser"]  # a fixture
N_RECORDINGS, STEP = 6, 10


def test_peaks_are_those_that_nothing_near_exceeds():
    values = np.random.default_rng(0).integers(0, 6, (40, 5)).astype(np.float32)
    for radius in (1, 3, 100):
        found = peaks.local(values, radius)
        for step, dimension in np.ndindex(values.shape):
            column = values[:, dimension]
            before = column[max(0, step - radius) : step]
            behind = column[step + 1 : step + 1 + radius]
            highest = (before < column[step]).all() and (behind <= column[step]).all()
            assert found[step, dimension] == highest


def test_a_peak_extends_while_half_of_it_is_reached():
    values = np.array([[0.4, 0.5, 1, 0.6, 0.5, 0.49, 0.9, -1]], np.float32).T
    before, behind = peaks.extents(values, 3)
    assert (before[2, 0], behind[2, 0]) == (1, 2)
    assert (before[6, 0], behind[6, 0]) == (3, 0)
    assert (before[7, 0], behind[7, 0]) == (0, 0)
    assert before.shape == behind.shape == values.shape


def test_the_highest_of_a_stream_are_those_of_all():
    random = np.random.default_rng(1)
    values = random.standard_normal((300, 4)).astype(np.float32)
    places = [(f"r{n // 30}", float(n % 30)) for n in range(300)]
    highest = peaks.Highest(7, 4)
    for first in range(0, 300, 11):
        highest.add(values[first : first + 11], first)
    for dimension, found in enumerate(highest.found(places, 2.5)):
        expected = []
        for n in np.argsort(-values[:, dimension]).tolist():
            near = [m for m in expected if n // 30 == m // 30 and abs(n - m) < 2.5]
            if not near:
                expected.append(n)
        assert [peak.input for peak in found] == expected[:7]
        assert [peak.value for peak in found] == [
            values[n, dimension] for n in expected[:7]
        ]


def test_what_is_no_peak_is_no_input():
    highest = peaks.Highest(5, 2)
    counted = np.array([[True, False], [False, False], [True, False]])
    highest.add(np.arange(6, dtype=np.float32).reshape(3, 2), 10, counted)
    first, second = highest.found([("r", 9.0 * n) for n in range(20)], 1)
    assert [peak.input for peak in first] == [12, 10] and second == []


def test_purity_is_the_share_of_the_most_frequent_label():
    inputs = [["dog", "dog", "the"], ["the"], ["dog"], []]
    assert purity.of_inputs(inputs) == ("dog", 0.5, 4)  # before "the"
    assert purity.of_inputs([[], []]) == ("", 0.0, 2)
    assert purity.of_inputs([]) == ("", 0.0, 0)
    ranked = purity.rank(
        [[["a"], ["b"]], [["a"], ["a"]], [["a"], ["a"]]],
        [[["x"], ["x"]], [["x"], []], [["y"], ["y"]]],
    )
    assert [concept.dimension for concept in ranked] == [2, 0, 1]
    assert ranked[1].mean == pytest.approx(0.5**0.5)
    assert purity.means(ranked, 2) == pytest.approx((0.75, 1, (1 + 0.5**0.5) / 2))


DEMO = {
    "slides": [
        {
            "concept": "Dog",
            "start_s": 0,
            "end_s": 3,
            "name_start_s": 1,
            "name_end_s": 2,
        },
        {
            "concept": "cat",
            "start_s": 3,
            "end_s": 5,
            "name_start_s": None,
            "name_end_s": None,
        },
    ]
}


@pytest.mark.parametrize(
    ("given", "said", "shown"),
    [
        (DEMO, [(1, 2, "dog")], [(0, 3, "dog"), (3, 5, "cat")]),
        (
            {"names": ["fox", "owl"], "spans_s": [[0, 1], [1, 2]]},
            [(0, 1, "fox"), (1, 2, "owl")],
            [(0, np.inf, "fox"), (0, np.inf, "owl")],
        ),
        (
            {
                "words": [{"word": " «Bell!» ", "start_s": 0.5, "end_s": 1}],
                "objects": "x",
            },
            [(0.5, 1, "bell")],
            [(0, np.inf, "x")],
        ),
        ({"words": []}, [], [(0, 4, "red apple"), (0, 4, "pear")]),
        ({}, *[[(0, 4, "red apple"), (0, 4, "pear")]] * 2),
    ],
    ids=("slides", "names", "words", "silent", "clips"),
)
def test_words_are_found_in_labels(given, said, shown):
    one = Annotated("r", given, [Span(0, 4, "Red  apple, pear, ")])
    assert labels.spoken("auto", [one])[1] == [said]
    assert labels.seen("auto", [one])[1] == [shown]
    assert labels.spoken("none", [one]) == ("none", [[]])


@pytest.mark.parametrize(
    "words",
    [
        [{"word": 3, "start_s": 0, "end_s": 1}],
        [{"word": "a"}],
        [{"word": "a", "start_s": 2, "end_s": 1}],
        [{"word": "a", "start_s": "0", "end_s": 1}],
        [["a", 0, 1]],
        [None],
        7,
    ],
)
def test_labels_that_are_no_words_are_told(words):
    with pytest.raises(UserError, match="record r/1: its labels' words is .*expected"):
        labels.spoken("auto", [Annotated("r/1", {"words": words}, [])])


def test_a_field_that_nobody_has_is_told():
    one = Annotated("r", {"recipe": "soup"}, [])
    with pytest.raises(UserError, match="--audio_labels=word: .*auto, none, recipe"):
        labels.spoken("word", [one])
    assert labels.seen("recipe", [one])[1] == [[(0, np.inf, "soup")]]


def test_a_window_has_the_words_that_it_overlaps():
    timed = Timed(
        [Span(0, 9, "long"), Span(1, 2, "a"), Span(3, 4, "b"), Span(5, 6, "a")]
    )
    assert timed.within(2, 3) == ["long"]
    assert timed.within(1.9, 5.1) == ["long", "a", "b"]
    assert timed.within(9, 10) == []
    assert Timed([]).within(0, 1) == []


def test_spans_that_lie_together_are_a_cluster():
    random = np.random.default_rng(0)
    middles = 5 * np.eye(6, 32)
    group = random.permutation(np.repeat(np.arange(6), 8))
    spans = (middles[group] + random.normal(0, 0.1, (48, 32))).astype(np.float32)
    found = clusters.of_spans(spans, 6, seed=0)
    assert sorted(len(cluster.members) for cluster in found) == [8] * 6
    assert all(len(set(group[cluster.members])) == 1 for cluster in found)
    assert [c.members for c in clusters.of_spans(spans, 6, 0)] == [
        c.members for c in found
    ]
    for few in (0, 1, 2):
        assert clusters.of_spans(spans[:few], 0, 0) == []
    # What says little comes last.
    spans[group == 3] *= 0.5
    assert set(group[clusters.of_spans(spans, 6, 0)[-1].members]) == {3}


def test_agreement_is_how_high_the_other_modality_stands():
    activations = np.array([[0.0, 3], [1, 2], [2, 1], [3, 0]])
    found = clusters.agreement([[3, 2], [3]], activations)
    np.testing.assert_allclose(found, [5 / 6, 0])
    assert clusters.agreement([[], []], activations).tolist() == [0.5, 0.5]


class _Topics:
    """A model whose dimensions are the topics of corpus, without a mistake."""

    embedding_dim = corpus.N_TOPICS

    def __init__(self):
        self.step_towers = {"audio": self._hear}

    def embed(self, batch, heard):
        assert heard == {"visual": "visual"}
        return {"visual": batch["visual"][:, ::2]}

    def _hear(self, batch):
        log_mel = batch["log_mel"][..., : 6 * corpus.N_TOPICS]
        n_items, n_frames = log_mel.shape[:2]
        cut = log_mel[:, : n_frames // STEP * STEP]
        steps = tf.reshape(cut, [n_items, -1, STEP, corpus.N_TOPICS, 6])
        return {
            "audio_steps": tf.reduce_mean(steps, [2, 4]) + 60.0,
            "n_steps": batch["n_frames"] // STEP,
            "step_frames": tf.constant(STEP),
        }


def _words(record):
    return [
        {"word": f"Topic{topic}", "start_s": second, "end_s": second + 1}
        for second, topic in enumerate(record.labels["topics"])
    ]


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """Records whose labels say which topic is spoken when."""
    made = [corpus.make_record(f"r/{n}") for n in range(N_RECORDINGS)]
    for record in made:
        record.labels.update(words=_words(record), objects=_words(record))
    folder = tmp_path_factory.mktemp("spoken") / "records"
    return corpus.write_records(str(folder), made)


def _discovered(path, config, said=True):
    records = open_records(path)
    listed = list(headers.read(records))
    annotated = [Annotated(one.id, one.labels, []) for one in listed]
    batches = dataset.evaluation_batches(records, 2.0, 4)
    found = embedding.embed(_Topics(), "audio", records, listed, batches, config)
    _, words = labels.spoken("auto" if said else "none", annotated)
    _, seen = labels.seen("auto" if said else "none", annotated)
    return Discovered(found, listed, words, seen, config)


def test_dimensions_that_are_topics_are_pure(spoken):
    config = DiscoveryConfig(k=4, window_s=0.3, n_random=3, n_clusters=6)
    result = _discovered(spoken, config)
    assert {c.dimension for c in result.concepts} == set(range(corpus.N_TOPICS))
    for concept in result.concepts:
        label = f"topic{concept.dimension}"
        assert concept.audio == (label, 1.0, 4)
        # A clip of 2 s has the pictures of three seconds, the words of two.
        assert concept.visual.label == label and concept.visual.purity >= 0.75
    rows = {row.name: row for row in result.rows}
    assert list(rows) == [MODEL, OF_EMBEDDINGS, OF_INPUTS, BY_CHANCE]
    assert rows[MODEL].mean[0] == 1 and rows[MODEL].n_same == corpus.N_TOPICS
    for name in (OF_INPUTS, BY_CHANCE):
        assert rows[name].n == 3 and rows[name].mean[2] < rows[MODEL].mean[2] - 0.05
    assert (result.agreement > 0.7).all()
    own, drawn = result.cluster_purity(6, 0)
    assert own > 0.85 > 0.7 > drawn


def test_steps_are_where_they_are_spoken(spoken):
    result = _discovered(spoken, DiscoveryConfig(k=4, window_s=0.3, n_random=0))
    assert [row.name for row in result.rows] == [MODEL]
    for concept in result.concepts:
        heard, _ = result.peaks(concept.dimension)
        moments = []
        for peak in heard:
            record, start_s, end_s = result.span(peak)
            topics = result.headers[record].labels["topics"]
            assert topics[int((start_s + end_s) / 2)] == concept.dimension
            assert 0 < end_s - start_s <= 0.5
            moments.append((record, result.place(peak.input)[1]))
        for record, at_s in moments:
            near = [t for r, t in moments if r == record and abs(t - at_s) < 0.3 - 1e-6]
            assert near == [at_s]


def test_without_words_dimensions_go_by_agreement(spoken):
    result = _discovered(spoken, DiscoveryConfig(k=4, window_s=0.3), said=False)
    assert not result.labelled and result.rows == []
    order = [result.agreement[c.dimension] for c in result.concepts]
    assert order == sorted(order, reverse=True)
    # The clusters are the topics, though no word is known.
    for cluster, label in result.clusters[:5]:
        assert label.label == ""
        topics = [
            result.headers[record].labels["topics"][int(at_s)]
            for record, at_s in (
                result.place(p.input) for p in result.spans_of(cluster)
            )
        ]
        assert max(map(topics.count, topics)) / len(topics) > 0.8


def test_an_export_without_steps_is_refused(spoken):
    model = types.SimpleNamespace(step_towers={}, embedding_dim=6)
    with pytest.raises(UserError, match="cannot tell its audio steps"):
        embedding.embed(model, "audio", None, [], None, DiscoveryConfig())


@pytest.fixture(scope="module")
def run(spoken, tmp_path_factory):
    """An untrained run, records, and a manifest with a video for each."""
    folder = tmp_path_factory.mktemp("run")
    run_dir, _ = index_model.make_run(folder, records=spoken)
    frames = [numbered(n) for n in range(80)]
    make_media(folder / "v.mp4", frames, sine(8), fps=10)
    manifest = str(folder / "manifest.jsonl")
    lines = [{"id": f"r/{n}", "media": "v.mp4"} for n in range(N_RECORDINGS)]
    write_manifest(manifest, lines)
    return folder, run_dir, spoken, manifest


@pytest.fixture(scope="module")
def concepts(run):
    """Starts the program on the run."""
    _, run_dir, records, _ = run
    given = (f"--model={run_dir}", f"--records={records}", "--k=5", "--n_shown=3")
    small = ("--n_dimensions=3", "--window_s=1", "--n_random=2")
    return functools.partial(programs.run, "avl_tf.concepts", *given, *small)


def _rows(path):
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_the_program_writes_a_page_and_files(run, concepts, browser):
    folder, _, _, manifest = run
    out = folder / "concepts"
    done = concepts(f"--manifest={manifest}", f"--out_dir={out}", "--language=xx")
    assert done.returncode == 0, done.stderr
    assert "random projection" in done.stdout and "geometric mean" in done.stdout
    assert done.stdout.splitlines()[-1] == str(out / "index.html")
    summary = json.loads((out / "summary.json").read_text())
    rows = _rows(out / "concepts.tsv")
    assert len(rows) == len(summary["dimensions"]) == 16
    heard = [
        r
        for r in _rows(out / "excitations.tsv")
        if (r["dimension"], r["modality"]) == (rows[0]["dimension"], "audio")
    ]
    assert [r["rank"] for r in heard] == ["1", "2", "3", "4", "5"]
    values = [float(r["value"]) for r in heard]
    assert values == sorted(values, reverse=True)
    label = rows[0]["audio_label"]
    share = np.mean([label in r["labels"].split(", ") for r in heard])
    assert float(rows[0]["audio_purity"]) == pytest.approx(share, abs=1e-4)

    grids = sorted((out / "textgrid").glob("*.TextGrid"))
    assert len(grids) == len(list((out / "webvtt").glob("r_*.vtt"))) == N_RECORDINGS
    said = [read_textgrid(grid.read_text("utf-8")) for grid in grids]
    assert all(end == 8 and len(tiers["words"]) == 8 for end, tiers in said)
    marked = [text for _, tiers in said for *_, text in tiers["concepts"] if text]
    name = f"d{rows[0]['dimension']} {label}"
    assert any(name in text.split(" / ") for text in marked)
    assert (out / "webvtt").joinpath(f"{grids[0].stem}.vtt").read_text()[:6] == "WEBVTT"

    with opened(browser, out / "index.html") as page:
        assert page.locator("h3").count() >= 3
        players = page.locator("video")
        assert players.count() >= 3 * 6
        players.first.evaluate("v => { v.muted = true; return v.play(); }")
        assert players.first.evaluate("v => v.duration") <= 1.2


def test_a_language_without_words(run, concepts):
    """Neither words nor labels nor media: clusters of spans, and their tiers."""
    folder, *_ = run
    out = folder / "wordless"
    none = ("--audio_labels=none", "--visual_labels=none", f"--out_dir={out}")
    done = concepts(*none)
    assert done.returncode == 0, done.stderr
    assert "in the order of their agreement" in done.stdout
    assert re.match(r"\| dimension \| agreement \|", done.stdout)
    page = (out / "index.html").read_text()
    assert "purity" not in page.partition("Clusters of spans")[0]
    # A card is named by its record, once.
    first, second = re.search(r"<li><p>(.*?)</p><p>(.*?)</p>", page).groups()
    assert first.startswith("r/") and first not in second
    rows = _rows(out / "clusters.tsv")
    assert len(rows) >= 3 and not any(row["labels"] for row in rows)
    text = next((out / "textgrid").iterdir()).read_text("utf-8")
    _, tiers = read_textgrid(text)
    assert list(tiers) == ["concepts", "clusters"]
    assert "<video" not in (out / "index.html").read_text()


def test_what_does_not_fit_is_told_in_one_line(run, concepts):
    folder, _, _, manifest = run
    out = f"--out_dir={folder / 'refused'}"
    other = folder / "other.jsonl"
    write_manifest(str(other), [{"id": "r/0", "media": "v.mp4"}])
    gone = folder / "gone.jsonl"
    lines = [{"id": f"r/{n}", "media": "gone.mp4"} for n in range(N_RECORDINGS)]
    write_manifest(str(gone), lines)
    mute = folder / "mute.jsonl"
    labelled = [
        {"id": f"r/{n}", "media": "v.mp4", "labels": {"words": []}}
        for n in range(N_RECORDINGS)
    ]
    write_manifest(str(mute), labelled)
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.txt").write_text("mine")
    for arguments, text in (
        ([f"--manifest={other}", out], "5 of 6 records are not in it, the first is r/"),
        ([f"--manifest={gone}", out], "1 of 1 media files are not there"),
        ([f"--manifest={mute}", out], "nothing is spoken in it"),
        (["--audio_labels=wrods", out], "--audio_labels=wrods: no record has such"),
        ([f"--out_dir={folder / 'mine'}"], "there is something else already"),
        ([f"--records={folder}", out], "no records here"),
        ([f"--model={folder}", out], "neither a run directory nor an export"),
    ):
        programs.fails_in_one_line(concepts(*arguments), text)
    assert not (folder / "refused").exists()
    assert not list(folder.glob("*.tmp"))
