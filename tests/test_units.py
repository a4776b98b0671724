"""Codes and words: counted by hand, and by the program on a made set."""

import csv
import dataclasses
import json

import corpus
import numpy as np
import pytest
from offline_pages import read_textgrid
from programs import fails_in_one_line, run

from avl_tf import runs, training
from avl_tf.dataset import ClipConfig
from avl_tf.discovery import labels
from avl_tf.errors import UserError
from avl_tf.evaluation import EvaluationConfig
from avl_tf.exhibits.spans import Span
from avl_tf.model import audio_codes
from avl_tf.settings.stage import StageConfig
from avl_tf.settings.units import UnitsConfig
from avl_tf.unit_analysis import counting, words
from avl_tf.unit_analysis.counting import Counts


def test_units_of_a_hand_made_alignment():
    counts = Counts(4, half_window_s=0.04)
    # Windows of +-0.04 s around 0.02, 0.06, 0.10, 0.14, 0.18 s.
    spoken = [Span(0.0, 0.09, "dog"), Span(0.12, 0.2, "cat")]
    counts.add(np.array([0, 0, 1, 1, 2]), 0.04, spoken)
    counts.add(np.array([1, 1, 1]), 0.04, [Span(0.04, 0.12, "dog")])
    found = {(u.word, u.code): u for u in counts.units()}
    # dog: steps 0, 1, 2 of the first clip and all of the second. cat: steps 2, 3, 4.
    expected = {
        ("dog", 0): (2 / 2, 1 / 2),
        ("dog", 1): (4 / 5, 2 / 2),
        ("cat", 1): (2 / 5, 1 / 1),
        ("cat", 2): (1 / 1, 1 / 1),
    }
    assert set(found) == set(expected)
    for key, (precision, recall) in expected.items():
        f1 = 2 * precision * recall / (precision + recall)
        assert found[key][2:5] == pytest.approx((precision, recall, f1))
    assert [(u.word, u.code) for u in counts.units()][:2] == [("cat", 2), ("dog", 1)]
    assert (found["dog", 1].n_steps, found["dog", 1].n_words) == (5, 2)
    summary = counts.summary(UnitsConfig(least_precision=0.5))
    assert (summary.n_used, summary.n_codes, summary.n_steps) == (3, 4, 8)
    assert (summary.n_types, summary.n_tokens) == (2, 3)
    assert (summary.n_detectors, summary.n_detected, summary.n_words) == (3, 2, 2)
    assert summary.mean_f1 == pytest.approx((1 + 8 / 9) / 2)
    shares = np.array([2, 5, 1]) / 8
    assert summary.perplexity == pytest.approx(np.prod(shares**-shares))
    assert [(u.word, u.code) for u in counts.units(2)] == [("dog", 1)]
    assert {u.word for u in counts.units(1, ["dog"])} == {"cat"}


def test_units_of_random_alignments_are_those_of_a_plain_loop():
    random, step_s, half_s, n_codes = np.random.default_rng(0), 0.02, 0.035, 5
    counts = Counts(n_codes, half_s)
    steps, tokens = [], []
    for _ in range(20):
        codes = random.integers(n_codes, size=30)
        starts = random.uniform(0, 0.7, 6)
        spoken = [
            Span(a, a + random.uniform(0.01, 0.2), f"w{random.integers(4)}")
            for a in starts
        ]
        counts.add(codes, step_s, spoken)
        for t, code in enumerate(codes):
            low, high = (t + 0.5) * step_s - half_s, (t + 0.5) * step_s + half_s
            near = {w for a, b, w in spoken if low <= b and high > a and a < 0.6}
            steps.append((code, near))
        for a, b, word in spoken:
            inside = [
                code
                for t, code in enumerate(codes)
                if (t + 1) * step_s > a and t * step_s < b
            ]
            if inside:
                tokens.append((word, set(inside)))
    for unit in counts.units():
        of_code = [near for code, near in steps if code == unit.code]
        of_word = [held for word, held in tokens if word == unit.word]
        precision = sum(unit.word in near for near in of_code) / len(of_code)
        recall = sum(unit.code in held for held in of_word) / len(of_word)
        assert unit.precision == pytest.approx(precision)
        assert unit.recall == pytest.approx(recall)
    assert len(counts.units()) == 4 * n_codes


def test_runs_of_equal_codes_are_one_span():
    found = counting.runs(np.array([7, 7, 7, 2, 7]), 0.5, start_s=10.0)
    assert found == [
        Span(10.0, 11.5, "7"),
        Span(11.5, 12.0, "2"),
        Span(12.0, 12.5, "7"),
    ]
    assert counting.runs(np.array([], int), 0.5) == []


def _annotated(**values):
    return [labels.Annotated("r0", values, ())]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("words", {"words": [{"word": "Dog", "start_s": 0.5, "end_s": 1}]}),
        ("text_alignment", {"text_alignment": "0.5__DOG__1.0"}),
        ("names", {"names": ["dog"], "spans_s": [[0.5, 1.0]]}),
        (
            "slides",
            {"slides": [{"concept": "dog", "name_start_s": 0.5, "name_end_s": 1.0}]},
        ),
    ],
)
def test_words_are_read_however_the_labels_have_them(field, values):
    expected = [[Span(0.5, 1.0, "dog")]]
    assert words.timed("auto", _annotated(**values)) == (field, expected)
    assert words.timed(field, _annotated(**values)) == (field, expected)
    assert words.timed("none", _annotated(**values)) == ("none", [[]])


def test_words_that_have_no_times_do_not_hide_those_that_have():
    found = words.timed(
        "auto", _annotated(words="a dog runs", text_alignment="0.5__DOG__1")
    )
    assert found == ("text_alignment", [[Span(0.5, 1.0, "dog")]])


def test_words_without_times_are_none():
    assert words.timed("auto", _annotated(names=["dog"])) == ("none", [[]])
    assert words.timed("auto", _annotated()) == ("none", [[]])


@pytest.mark.parametrize("text", ["0.5__DOG", "a__DOG__b", "2__DOG__1", 7, "1_DOG_2"])
def test_an_alignment_that_is_none_is_an_error(text):
    with pytest.raises(UserError, match="record r0: its labels' text_alignment has"):
        words.timed("auto", _annotated(text_alignment=text))


def _words(record):
    """Each second's topic as a word."""
    spans = [
        {"word": clip.label.split()[1], "start_s": clip.start_s, "end_s": clip.end_s}
        for clip in record.clips
    ]
    return dataclasses.replace(record, labels={"words": spans})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Records with words, and untrained models with codebooks and without."""
    folder = tmp_path_factory.mktemp("units")
    records = [_words(corpus.make_record(f"a/r{i}")) for i in range(8)]
    later = {"start_s": 3.5, "end_s": 11.5}
    records[0] = dataclasses.replace(records[0], **later)
    path = corpus.write_records(str(folder / "records"), records)
    for name, encoder in (("vq", "resdavenet_vq"), ("plain", "resdavenet")):
        stage = StageConfig(records=path, epochs=0, batch_size=8)
        model = dataclasses.replace(
            training.base_model_config(stage, None),
            audio_widths=(8, 8, 8),
            embedding_dim=8,
            audio_encoder=encoder,
            codebook_size=12,
            **({"vq_layers": (2, 3)} if name == "vq" else {}),
        )
        clips, evaluated = ClipConfig(clip_s=2.0), EvaluationConfig()
        training.train_stage(str(folder / name), stage, clips, evaluated, model)
    return folder, path


def test_the_program_writes_codes_and_words_of_each_layer(made, tmp_path):
    folder, records = made
    out = tmp_path / "units"
    command = ["avl_tf.units", f"--model={folder / 'vq'}", f"--records={records}"]
    done = run(*command, f"--out_dir={out}", "--stop_words=0")
    assert done.returncode == 0, done.stderr
    summary = json.loads((out / "units.json").read_text())
    assert summary["words"] == "words" and list(summary["layers"]) == [
        "quant2",
        "quant3",
    ]
    # 8 recordings of 4 clips of 2 s; a step of 20 and of 40 ms.
    for layer, rate in (("quant2", 50), ("quant3", 25)):
        of_layer = summary["layers"][layer]
        assert (of_layer["n_codes"], of_layer["n_steps"]) == (12, 8 * 4 * 2 * rate)
        assert of_layer["n_tokens"] == 32
        assert f"| {layer} | {of_layer['n_used']}" in done.stdout
    rows = list(csv.DictReader((out / "units.tsv").open(), dialect="excel-tab"))
    assert {row["layer"] for row in rows} == {"quant2", "quant3"}
    assert "0" not in {row["word"] for row in rows}
    for row in rows:
        p, r, f1 = (float(row[name]) for name in ("precision", "recall", "f1"))
        assert f1 == pytest.approx(2 * p * r / (p + r), abs=1e-5)
    grids = sorted((out / "textgrid").iterdir())
    assert len(grids) == 8 and "a_r0" in grids[0].name
    text = grids[0].read_text()
    assert text.index('name = "words"') < text.index('name = "quant2"')
    # In the media, where this record begins after 3.5 s.
    assert "xmax = 11.5\n" in text
    _, tiers = read_textgrid(text)
    assert [next(t for t in tier if t[2])[0] for tier in tiers.values()] == [3.5] * 3
    assert "quant3" in (out / "index.html").read_text()
    # Of the labels' words nothing is asked: codes only.
    done = run(*command, f"--out_dir={out}", "--audio_labels=none")
    assert done.returncode == 0 and "codes are counted only" in done.stdout
    assert (out / "units.tsv").read_text().count("\n") == 1
    assert 'name = "words"' not in sorted((out / "textgrid").iterdir())[0].read_text()


def test_the_codes_are_those_of_the_layers_input(made):
    model, _ = runs.load_model(str(made[0] / "vq"))
    inputs = {
        "log_mel": np.random.default_rng(0).uniform(-80, 0, (2, 100, 40)),
        "n_frames": np.array([100, 41], np.int32),
    }
    inputs["log_mel"] = inputs["log_mel"].astype(np.float32)
    found = audio_codes.build(model, "audio")(inputs)["quant3"]
    assert found.codes.shape == (2, 25) and int(found.step_frames) == 4
    assert found.n_steps.numpy().tolist() == [25, 10]
    codes = model.get_layer("quant3").embedding.numpy()
    features = model.get_layer("quant3").input[0]
    tower = audio_codes.keras.Model({k: model.input[k] for k in inputs}, features)
    values = tower(inputs).numpy()[:, 0]
    distances = ((values[:, :, None] - codes) ** 2).sum(-1)
    np.testing.assert_array_equal(found.codes, distances.argmin(-1))


def test_what_has_no_units_is_told_in_one_line(made, tmp_path):
    folder, records = made
    others = [f"--records={records}", f"--out_dir={tmp_path / 'out'}"]
    done = run("avl_tf.units", f"--model={folder / 'plain'}", *others)
    fails_in_one_line(done, "the model has no codebooks", "--vq_layers")
    done = run("avl_tf.units", f"--model={folder / 'vq'}", *others, "--audio_labels=x")
    fails_in_one_line(done, "--audio_labels=x: no record has such labels")
    assert not (tmp_path / "out").exists()
