"""Slices of an evaluation set: which clips, ranked among what, and what is refused."""

import json

import corpus
import numpy as np
import pytest
from programs import fails_in_one_line, run

from avl_tf import files, metrics
from avl_tf.errors import UserError
from avl_tf.evaluation import clip_fields, slices
from avl_tf.evaluation.embedded import EmbeddedSet
from avl_tf.records import open_records
from avl_tf.settings.slices import SliceConfig

CLIPS = [
    {"id": "a", "kind": "talk", "loud": True, "n": 3, "odd": "1", "tags": ["x", "y"]},
    {"id": "b", "kind": "a, b", "loud": False, "n": 0, "odd": 1, "tags": []},
    {"id": "c", "kind": "", "loud": True, "n": 7.5, "odd": None, "tags": ["y"]},
    {"id": "d", "kind": "talk", "n": None, "odd": None, "spans": [[0, 1]]},
]


def cut(*items, clips=CLIPS):
    found = slices.cut(clips, SliceConfig(slices=items).wanted(), "x")
    return {name: places.tolist() for name, places in found.items()}


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (["kind"], {"kind=a, b": [1], "kind=talk": [0, 3], "kind=(none)": [2]}),
        (["kind=a, b"], {"kind=a, b": [1]}),
        (["kind=talk", "kind=(none)"], {"kind=talk": [0, 3], "kind=(none)": [2]}),
        (["loud"], {"loud=false": [1], "loud=true": [0, 2], "loud=(none)": [3]}),
        (["n"], {"n=0": [1], "n=3": [0], "n=7.5": [2], "n=(none)": [3]}),
        (
            ["n=0", "3", "7.5"],
            {"n 0 to 3": [1], "n 3 to 7.5": [0], "n 7.5 or more": [2], "n=(none)": [3]},
        ),
        (["tags"], {"tags=x": [0], "tags=y": [0, 2], "tags=(none)": [1, 3]}),
        (["tags=y", "tags=(none)"], {"tags=y": [0, 2], "tags=(none)": [1, 3]}),
        (["n=2,8"], {"n below 2": [1], "n 2 to 8": [0, 2], "n=(none)": [3]}),
        (
            ["n=3", "loud=true"],
            {
                "n below 3": [1],
                "n 3 or more": [0, 2],
                "n=(none)": [3],
                "loud=true": [0, 2],
            },
        ),
    ],
    ids=str,
)
def test_clips_are_told_apart_by_a_field(items, expected):
    assert cut(*items) == expected


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (
            ["speach"],
            "clip has a field 'speach'. There are id, kind, loud, n, odd, spans, tags",
        ),
        (
            ["kind=song"],
            "x: no clip has kind=song, and a slice needs one. Its values: talk \\(2\\)",
        ),
        (
            ["n=0,1,2"],
            "x: no clip has n 1 to 2, and a slice needs one. .* from 0 to 7.5",
        ),
        (["n=9"], "x: no clip has n 9 or more"),
        (["n=5,5"], "--slices=n=5,5: the edges must rise"),
        (["n=1e999,2e999"], "the edges must rise"),
        (["n=many"], "--slices=n=many: 'n' holds numbers"),
        (["odd"], "x: 'odd' is of several types: 1 in record a, 1 in record b"),
        (["spans"], "x: 'spans' holds lists of other things than texts"),
        (
            ["tags=z"],
            "no clip has tags=z, .* values: y \\(2\\), \\(none\\) \\(2\\), x",
        ),
        (["kind", "kind"], "--slices: 'kind' stands twice"),
        (["kind="], "--slices: expected FIELD"),
        (["5"], "no clip has a field '5'"),
    ],
    ids=str,
)
def test_what_makes_no_slices_is_told(items, message):
    with pytest.raises(UserError, match=message):
        cut(*items)


def test_a_field_of_too_many_values_is_refused():
    clips = [{"id": str(i), "n": i, "label": f"l{i}"} for i in range(31)]
    with pytest.raises(UserError, match="'n' has 31 values, 30 .*=0,5,10 names edges"):
        cut("n", clips=clips)
    with pytest.raises(UserError, match="'label' has 31 .*--slices=label=VALUE"):
        cut("label", clips=clips)


def draw(words, value="0", seed=0):
    clips = [{"id": str(i), "words": n} for i, n in enumerate(words)]
    return slices.draw_sounds(clips, "words", value, seed, "x")


def test_as_many_clips_with_speech_are_drawn_as_there_are_without():
    words = [5, 0, 2, 0, 9, 1, 1, 1, 0, 4]
    drawn = [draw(words, seed=seed) for seed in range(20)]
    assert all(one["Sounds-3"].tolist() == [1, 3, 8] for one in drawn)
    speech = [one["Speech-3"].tolist() for one in drawn]
    assert all(len(set(one)) == 3 and one == sorted(one) for one in speech)
    assert all(words[i] for one in speech for i in one)
    assert set(np.ravel(speech)) == {0, 2, 4, 5, 6, 7, 9}
    assert draw(words, seed=3)["Speech-3"].tolist() == speech[3]
    assert list(draw([None, "a b", "c", ""], value="")) == ["Sounds-2", "Speech-2"]
    # Fewer with speech: as many of the others.
    assert {k: len(v) for k, v in draw([0, 0, 0, 8]).items()} == {
        "Sounds-1": 1,
        "Speech-1": 1,
    }


@pytest.mark.parametrize(("words", "which"), [([1, 2], "no"), ([0, 0], "every")])
def test_sounds_need_clips_of_both_kinds(words, which):
    with pytest.raises(UserError, match=f"x: {which} clip has words=0, .*Its values: "):
        draw(words)


def test_ranks_are_within_a_slice_or_among_all():
    random = np.random.default_rng(0)
    audio, visual = random.standard_normal((2, 40, 5))
    embedded = EmbeddedSet(
        {"audio": audio, "visual": visual}, tuple(map(str, range(40))), 2.0, 50
    )
    places = np.array([3, 4, 11, 30, 39])
    within, among_all = embedded.part(places).ranked(), embedded.ranked().part(places)
    similarity = audio[places] @ visual[places].T
    expected = (similarity >= np.diag(similarity)[:, None]).sum(axis=1)
    np.testing.assert_array_equal(within.ranks["a2v"], expected)
    similarity = audio[places] @ visual.T
    match = similarity[range(5), places]
    expected = (similarity >= match[:, None]).sum(axis=1)
    np.testing.assert_array_equal(among_all.ranks["a2v"], expected)
    assert within.clip_ids == among_all.clip_ids == ("3", "4", "11", "30", "39")
    # The clips that are missing from the set belong to no slice.
    assert within.metrics()["n"] == among_all.metrics()["n"] == 5
    assert within.chance() == metrics.chance(5)
    assert among_all.chance() == {**metrics.chance(40), "n": 5}


def make(folder, **changes):
    """Eight recordings; r0 and r1 are of one speaker, a clip of each is silent."""
    made = []
    for i in range(8):
        labels = {"speaker": "ana" if i < 2 else "bo", "asr": {"n": i}}
        record = corpus.make_record(f"r{i}", labels=labels, **changes)
        made.append(record)
    corpus.write_records(str(folder / "records"), made)
    lines = [
        {
            "id": record.id,
            "media": f"{record.id}.mp4",
            "language": "xx",
            "labels": {"asr": {"n": 10 * i}},
            "clips": [
                # One that starts after the end of the sound is in no record.
                {"start_s": 90.0, "end_s": 92.0, "speech": True},
                *(
                    {
                        "start_s": c.start_s,
                        "end_s": c.end_s + 9,
                        "speech": c.start_s > 0,
                    }
                    for c in record.clips
                ),
            ],
        }
        for i, record in enumerate(made)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "manifest.jsonl").write_text(text)
    return str(folder / "records" / "train")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slices")
    make(folder)
    return folder


def test_fields_come_from_records_and_the_manifest(folder):
    records = open_records(f"{folder}/records/train")
    clips = clip_fields.read(records)
    # Shards are read one behind the other: r0 r2 r4 r6 r1 r3 r5 r7.
    assert [one["id"] for one in clips[::4]] == [
        f"r{i}" for i in (0, 2, 4, 6, 1, 3, 5, 7)
    ]
    assert clips[4]["speaker"] == "bo" and clips[4]["asr.n"] == 2
    assert clips[4]["duration"] == 2.0 and clips[4]["n_words"] == 2
    assert clips[4]["label"].startswith("topics ") and clips[4]["language"] == "xx"
    assert not any("speech" in one or "media" in one for one in clips)
    clips = clip_fields.read(records, f"{folder}/manifest.jsonl")
    assert [one["speech"] for one in clips] == 8 * [False, True, True, True]
    assert clips[4]["asr.n"] == 20 and clips[4]["duration"] == 2.0
    assert clips[4]["media"].endswith("r2.mp4")


def test_a_record_without_clips_is_one(tmp_path):
    record = corpus.make_record("r", clips=(), labels={"n_words": 0, "none": {}})
    records = open_records(corpus.write_records(f"{tmp_path}/r", [record], 1))
    (clip,) = clip_fields.read(records)
    assert clip["duration"] == 8.0 and clip["n_words"] == 0 and clip["label"] is None


def test_another_manifest_is_told(folder, tmp_path):
    records = open_records(f"{folder}/records/train")
    lines = (folder / "manifest.jsonl").read_text().splitlines()
    (tmp_path / "fewer.jsonl").write_text("\n".join(lines[:2]))
    with pytest.raises(UserError, match="fewer.jsonl: has no line 'r2'"):
        clip_fields.read(records, f"{tmp_path}/fewer.jsonl")
    moved = "\n".join(
        line.replace('"start_s": 2,', '"start_s": 2.5,') for line in lines
    )
    (tmp_path / "moved.jsonl").write_text(moved)
    with pytest.raises(UserError, match="'r0' has no clip that starts at 2 s"):
        clip_fields.read(records, f"{tmp_path}/moved.jsonl")


@pytest.fixture(scope="module")
def runs(folder):
    for name, seed in (("a", 0), ("b", 1)):
        done = run(
            "avl_tf.train",
            f"--records={folder}/records/train",
            f"--evaluate=x={folder}/records/train",
            f"--run_dir={folder}/{name}",
            *("--audio_widths=8,8,16", "--embedding_dim=16", "--batch_size=16"),
            *("--clip_s=2", "--clips_per_recording=8", "--epochs=0", f"--seed={seed}"),
        )
        assert done.returncode == 0, done.stderr
    return folder


def evaluate(folder, *arguments, output="out"):
    return run(
        "avl_tf.evaluate",
        f"--run_dir={folder}/a",
        f"--output={folder}/{output}.json",
        "--resamples=100",
        *arguments,
    )


def test_tables_and_files_of_slices(runs):
    done = evaluate(
        runs,
        "--slices=speaker,duration=2,3",
        "--sounds=speech=false",
        f"--manifest=x={runs}/manifest.jsonl",
        "--evaluation_population=40",
        f"--compare={runs}/b",
    )
    assert done.returncode == 0, done.stderr
    found = files.read_json(f"{runs}/out.json")
    of_x = found["slices"]["slices"]["sets"]["x"]
    assert list(of_x) == ["speaker=ana", "speaker=bo", "duration 2 to 3"]
    assert [one["n"] for one in of_x.values()] == [8, 24, 32]
    ana = of_x["speaker=ana"]
    assert ana["n_candidates"] == 8 and ana["chance"]["a2v/R@5"] == 62.5
    low, high = ana["intervals"]["a2v/R@5"]
    assert low <= ana["a2v/R@5"] <= high
    sounds = found["slices"]["sounds"]["sets"]["x"]
    assert list(sounds) == ["Sounds-8", "Speech-8"]
    assert found["settings"]["slices"] == ["speaker", "duration=2", "3"]
    compared = found["comparison"]["slices"]["sets"]["x: speaker=bo"]["v2a/MedR"]
    assert compared["a"] == of_x["speaker=bo"]["v2a/MedR"]
    assert "Each clip is ranked within its slice" in done.stdout
    (row,) = [
        x for x in done.stdout.splitlines() if "| speaker=ana " in x and "A->V" in x
    ]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[-1] == "8" and cells[7] == "100.0"


def test_ranks_among_all_of_a_file_are_compared(runs):
    whole = evaluate(runs, output="whole")
    assert whole.returncode == 0, whole.stderr
    assert "slices" not in files.read_json(f"{runs}/whole.json")
    other = f"--compare={runs}/whole_ranks.json"
    done = evaluate(runs, "--slices=asr.n=4", "--slice_ranks=all", other)
    assert done.returncode == 0, done.stderr
    assert "Each clip is ranked among all clips of its set." in done.stdout
    found = files.read_json(f"{runs}/out.json")
    below = found["slices"]["slices"]["sets"]["x"]["asr.n below 4"]
    assert below["n"] == 16 and below["chance"]["a2v/R@10"] == 100 * 10 / 32
    ranks = files.read_json(f"{runs}/whole_ranks.json")["sets"]["x"]["clips"]
    own = [r for r, c in zip(ranks["a2v"], ranks["clip_id"], strict=True) if c[1] < "4"]
    assert below["a2v/R@10"] == 100 * np.mean(np.array(own) <= 10)
    same = found["comparison"]["slices"]["sets"]["x: asr.n below 4"]
    assert {one["difference"] for one in same.values()} == {0.0}
    fails_in_one_line(evaluate(runs, "--slices=language", other), "--slice_ranks=all")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--slices=language=sw"], "x: no clip has language=sw"),
        (["--slices=speech"], "--manifest=SET=PATH"),
        (["--sounds=speech"], "--sounds=speech: expected FIELD=VALUE"),
        (["--slices=id", "--manifest=y=m.jsonl"], "no set is called so, only x"),
        (["--slices=id", "--manifest=x=gone.jsonl"], "gone.jsonl: no such manifest"),
    ],
    ids=str,
)
def test_bad_slices_are_told_before_the_model_is_loaded(runs, flags, message):
    done = evaluate(runs, *flags)
    fails_in_one_line(done, message)
    assert "heard whole" not in done.stderr
