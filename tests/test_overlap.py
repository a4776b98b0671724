"""What was trained on is told in evaluation, by id and by sound; nothing else is."""

import dataclasses
import json
import logging
import os
import shutil
import time

import corpus
import made_media
import narrated
import numpy as np
import pytest
from absl import flags

from avl_tf import audio, media, overlap, records, runs, settings, trained, training
from avl_tf.audio import AudioConfig
from avl_tf.commands import cascading, evaluating
from avl_tf.dataset import ClipConfig
from avl_tf.errors import UserError
from avl_tf.evaluation import EvaluationConfig
from avl_tf.overlap import Learnt, contents, log_mels, trained_on
from avl_tf.records import open_records
from avl_tf.settings import stage_flags
from avl_tf.settings.evaluation import ResamplingConfig
from avl_tf.settings.slices import SliceConfig
from avl_tf.settings.stage import StageConfig

RATE = narrated.RATE
SMALL = {"audio_widths": (8, 8, 16), "embedding_dim": 16}


def _sound(seed, seconds=40):
    parts = [narrated.music(seconds // 2, seed), narrated.speech(0.9 + seed / 20)]
    rest = seconds * RATE - sum(map(len, parts))
    return np.concatenate([*parts, narrated.music(rest / RATE, [seed, 1])])


def _record(name, waveform, **changes):
    samples = np.round(np.clip(waveform, -1, 1) * 32767).astype(np.int16)
    log_mel = audio.long_log_mel(samples, AudioConfig()).astype(np.float16)
    end_s = len(samples) / RATE
    record = corpus.make_record(name, n_seconds=8, end_s=end_s, log_mel=log_mel)
    return dataclasses.replace(record, **{"clips": ()} | changes)


def _look(folder, made, **spec):
    return overlap.look(open_records(corpus.write_records(str(folder), made, **spec)))


def _find(trained, evaluated):
    return overlap.find([Learnt("runs/x", "train", trained)], evaluated)


@pytest.fixture(scope="module")
def sounds():
    return [_sound(seed) for seed in range(4)]


@pytest.fixture(scope="module")
def heard(sounds, tmp_path_factory):
    made = [_record(f"{i}.mp4", sound) for i, sound in enumerate(sounds)]
    return _look(tmp_path_factory.mktemp("trained"), made)


def _encoded(waveform, path, codec, bit_rate):
    options = {"b": str(bit_rate)}
    made_media.make_media(
        path,
        sound=waveform,
        rate=RATE,
        layout="mono",
        audio_codec=codec,
        audio_options=options,
    )
    return media.read_waveform(path)


@pytest.mark.parametrize(
    ("suffix", "codec", "bit_rate"),
    [
        ("m4a", "aac", 64000),
        ("m4a", "aac", 24000),
        ("mp3", "libmp3lame", 32000),
        ("webm", "libopus", 32000),
    ],
)
@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_a_copy_encoded_anew_quieter_and_cut_is_found(
    sounds, heard, suffix, codec, bit_rate, storage, tmp_path
):
    late = 0.4 * sounds[2][round(3.41 * RATE) :]
    copy = _encoded(late, tmp_path / f"copy.{suffix}", codec, bit_rate)
    evaluated = _look(tmp_path, [_record("b", copy)], n_shards=1, storage=storage)
    shared = _find(heard, evaluated)
    assert not shared.same
    assert shared.near_duplicates == {"b": "2.mp4"}
    assert str(shared) == (
        "1 of 1 recording is among the training records of runs/x: "
        "1 as near-duplicates (b ~ 2.mp4)"
    )


def test_an_excerpt_of_a_training_recording_is_found(sounds, heard, tmp_path):
    excerpt = sounds[1][20 * RATE : 32 * RATE]
    evaluated = _look(tmp_path, [_record("b", excerpt)], n_shards=1)
    assert _find(heard, evaluated).near_duplicates == {"b": "1.mp4"}


def test_what_is_merely_alike_is_left_alone(sounds, tmp_path):
    opening = narrated.music(6, seed=99)
    made = [
        _record(f"{i}.mp4", np.concatenate([opening, sound]))
        for i, sound in enumerate(sounds)
    ]
    heard = _look(tmp_path / "a", made[:2])
    assert heard.sizes.min() > 50
    shared = _find(heard, _look(tmp_path / "b", made[2:]))
    assert not shared
    # Sentences spoken by one voice, at another speed.
    spoken = [_record(str(s), narrated.speech(s)) for s in (0.9, 1.0, 1.1)]
    shared = _find(_look(tmp_path / "c", spoken[:1]), _look(tmp_path / "d", spoken[1:]))
    assert not shared


def test_silence_and_short_sounds_are_like_nothing(tmp_path):
    quiet = [np.full(30 * RATE, 1e-4), narrated.noise(1), np.zeros(5 * RATE)]
    made = [_record(f"{i}", sound) for i, sound in enumerate(quiet)]
    heard = _look(tmp_path / "a", made)
    assert heard.sizes.tolist() == [0, 0, 0]
    renamed = [dataclasses.replace(r, id=f"x{r.id}", recording_id="x") for r in made]
    assert not _find(heard, _look(tmp_path / "b", renamed))


def test_the_same_id_counts_unless_the_sound_is_another(sounds, heard, tmp_path):
    made = [
        _record("0.mp4", sounds[0]),
        # Another corpus's file of that name.
        _record("1.mp4", _sound(7)),
        # Another part of the recording, and one that nothing can be told of.
        _record("2.mp4@40-50", _sound(8), recording_id="2.mp4"),
        _record("3.mp4", narrated.noise(1)),
    ]
    shared = _find(heard, _look(tmp_path, made))
    assert shared.same == ("0.mp4", "2.mp4", "3.mp4")
    assert not shared.near_duplicates
    assert "3 of 4 recordings are among" in str(shared)
    assert shared.to_json()["n_same"] == 3


def _with_jingle(name, n_records, seed):
    """Contents of records that have 20 hashes of an opening and 50 of their own."""
    own = np.random.default_rng(seed).integers(0, 2**28, (n_records, 70), np.uint32)
    own[:, :20] = np.random.default_rng(0).integers(0, 2**28, 20, np.uint32)
    ids = tuple(f"{name}{index}" for index in range(n_records))
    times_s = np.tile(np.arange(70, dtype=np.float32), n_records)
    sizes = np.full(n_records, 70, np.int32)
    return overlap.contents.Contents(ids, ids, sizes, own.ravel(), times_s)


def test_what_all_recordings_share_costs_little():
    trained = _with_jingle("a", 60_000, 1)
    evaluated = _with_jingle("b", 200, 2)
    evaluated.hashes[7 * 70 + 20 : 8 * 70] = trained.hashes[9 * 70 + 20 : 10 * 70]
    start_s = time.process_time()
    shared = _find(trained, evaluated)
    # Sorting what all have, and comparing all that have it, took 7.4 s, not 2.2.
    assert time.process_time() - start_s < 5
    assert shared.near_duplicates == {"b7": "a9"}


def test_of_a_large_set_ids_alone_are_kept(sounds, heard, tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "_MOST_BYTES", 1000)
    made = [_record("0.mp4", sounds[0]), _record("x", sounds[1])]
    evaluated = _look(tmp_path, made)
    assert evaluated.sizes.tolist() == [0, 0]
    assert _find(heard, evaluated).same == ("0.mp4",)


def test_records_that_are_damaged_or_left_out_are_passed_over(tmp_path):
    folder = tmp_path / "records"
    path = corpus.make_set(str(folder), 8, n_shards=1)
    shard = open_records(path).paths[0]
    with open(shard, "r+b") as file:
        content = bytearray(file.read())
        content[len(content) // 8 + 2000] ^= 1  # in the arrays of the second
        file.seek(0)
        file.write(content)
    whole = open_records(path)
    found = overlap.look(whole)
    assert found.ids == tuple(f"r{i}" for i in range(8))
    assert [size > 0 for size in found.sizes] == [i != 1 for i in range(8)]
    entries = list(records.record_index.list_records(whole))
    spans = (records.Span(whole.shards[0], entries[3].offset, 2, 2),)
    part = overlap.look(dataclasses.replace(whole, spans=spans))
    assert part.ids == ("r3", "r4")
    assert part.fingerprint(1).hashes.tolist() == found.fingerprint(4).hashes.tolist()


@pytest.mark.parametrize("n_mels", [8, 40, 128])
def test_hashes_fit_the_log_mel(sounds, n_mels):
    config = AudioConfig(n_mels=n_mels)
    samples = np.round(sounds[0] * 32767).astype(np.int16)
    found = log_mels.fingerprint(audio.long_log_mel(samples, config), config)
    assert (found.hashes < 2**28).all()
    assert len(found.hashes) > 100 if n_mels >= 40 else not len(found.hashes)
    assert found.times_s.max(initial=0) < 40


# Runs


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.INFO, "absl")
    return lambda: [r.getMessage() for r in caplog.records if "seen in" in r.message]


def _train(run_dir, path, evaluate=(), init_from=None, clips=None, **changes):
    stage = StageConfig(**{"epochs": 0, "batch_size": 4, "records": path} | changes)
    init_from = init_from and str(init_from)
    base = training.base_model_config(stage, init_from)
    return training.train_stage(
        str(run_dir),
        stage,
        clips or ClipConfig(clip_s=2.0, clips_per_recording=4),
        EvaluationConfig(tuple(evaluate), evaluation_clip_s=2.0),
        base if init_from else dataclasses.replace(base, **SMALL),
        init_from,
    )


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Training sets one, two; three is new but for a copy of one's r1."""
    folder = tmp_path_factory.mktemp("sets")
    made = [
        [corpus.make_record(f"{name}{i}", 20, seed) for i in range(4)]
        for seed, name in enumerate(("one", "two", "three"))
    ]
    copy = dataclasses.replace(made[0][1], id="copy", recording_id="copy")
    made[2].append(copy)
    return {
        name: corpus.write_records(str(folder / name), some)
        for name, some in zip(("one", "two", "three"), made, strict=True)
    }


@pytest.fixture(scope="module")
def family(paths, tmp_path_factory):
    """A child whose parent is gone."""
    folder = tmp_path_factory.mktemp("family")
    _train(folder / "parent", paths["one"])
    _train(folder / "child", paths["two"], init_from=folder / "parent")
    shutil.rmtree(folder / "parent")
    return folder


def _evaluate(path, sets, tmp_path, **settings_of):
    flag_values = flags.FlagValues()
    for config in (EvaluationConfig, ResamplingConfig, SliceConfig):
        settings.define_flags(config, flag_values)
    items = ",".join(f"{name}={one}" for name, one in sets.items())
    flag_values(["", f"--evaluate={items}", "--resamples=100"])
    output = str(tmp_path / "out.json")
    evaluating.evaluate(flag_values, str(path), False, output=output, **settings_of)
    with open(output) as file:
        return json.load(file).get("shared", {})


def test_evaluate_tells_of_a_parent_that_is_gone(family, paths, told, tmp_path):
    found = _evaluate(family / "child", paths, tmp_path)
    parent, child = str(family / "parent"), str(family / "child")
    assert found["one"] == {
        "n_recordings": 4,
        "n_same": 4,
        "n_near_duplicates": 0,
        "runs": [parent],
        "same": ["one0", "one1", "one2", "one3"],
        "near_duplicates": {},
    }
    assert found["two"]["runs"] == [child]
    assert found["three"]["near_duplicates"] == {"copy": "one1"}
    assert told() == [
        f"evaluation set '{name}': {what}. Its numbers are of what was seen in "
        "training (docs/evaluation.md)."
        for name, what in (
            (
                "one",
                f"4 of 4 recordings are among the training records of {parent}: "
                "4 by the same id (one0, one1, one2, ...)",
            ),
            (
                "two",
                f"4 of 4 recordings are among the training records of {child}: "
                "4 by the same id (two0, two1, two2, ...)",
            ),
            (
                "three",
                f"1 of 5 recordings is among the training records of {parent}: "
                "1 as near-duplicates (copy ~ one1)",
            ),
        )
    ]


def test_the_other_model_of_a_comparison_is_told_of_too(family, paths, told, tmp_path):
    _train(tmp_path / "run", paths["three"])
    sets = {"two": paths["two"]}
    found = _evaluate(tmp_path / "run", sets, tmp_path, compare=str(family / "child"))
    assert not found
    (line,) = told()
    assert f"training records of {family}/child: 4 by" in line


def test_an_export_carries_the_note(family, tmp_path):
    child = str(family / "child")
    info = runs.read_info(child)
    runs.copy_settings(child, info, str(tmp_path / "1" / "assets.extra"))
    learnt = trained.look_at_export(str(tmp_path / "1")).learnt()
    assert [one.contents.ids[0] for one in learnt] == ["two0", "one0"]


def test_a_run_without_a_note_is_known_by_its_records(paths, tmp_path, caplog):
    caplog.set_level(logging.INFO, "absl")
    moved = shutil.copytree(os.path.dirname(paths["one"]), tmp_path / "one") / "train"
    half = ClipConfig(fraction=0.5, clips_per_recording=4)
    _train(tmp_path / "parent", str(moved), clips=half)
    _train(tmp_path / "child", paths["two"], init_from=tmp_path / "parent")
    expected = trained_on.read(str(tmp_path / "child"))
    assert [len(one.contents.ids) for one in expected] == [4, 2]
    for run in ("parent", "child"):
        os.remove(tmp_path / run / runs.TRAINED_ON)

    def read():
        found = trained_on.read(str(tmp_path / "child"))
        return [(one.run, one.records, one.contents.ids) for one in found]

    assert read() == [(one.run, one.records, one.contents.ids) for one in expected]
    corpus.make_set(str(tmp_path / "one"), 3)
    assert len(read()) == 1
    assert "(they have changed since)" in caplog.text
    shutil.rmtree(tmp_path / "one")
    assert len(read()) == 1
    assert "no records here" in caplog.text
    shutil.rmtree(tmp_path / "parent")
    assert len(read()) == 1


def test_a_damaged_note_is_told_and_can_be_deleted(family, paths, tmp_path):
    run = shutil.copytree(family / "child", tmp_path / "run")
    note = run / runs.TRAINED_ON
    content = bytearray(note.read_bytes())
    end = 16 + int.from_bytes(content[:8], "little")  # of the first stage
    flipped = content[:40] + bytes([content[40] ^ 1]) + content[41:]
    for damaged in (content[:-5], content[:end], flipped, b"note", b""):
        note.write_bytes(damaged)
        with pytest.raises(UserError, match=r"trained_on.tfrecord: damaged .*Delete"):
            trained_on.read(str(run))
    note.unlink()
    assert [one.contents.ids[0] for one in trained_on.read(str(run))] == ["two0"]


def test_training_tells_and_notes_what_it_shares(family, paths, told, tmp_path):
    arguments = (tmp_path / "run", paths["three"])
    sets = [f"{name}={path}" for name, path in paths.items()]
    changes = {"init_from": family / "child", "best_metric": "two/R@1"}
    history = _train(*arguments, sets, **changes)
    assert history["shared"].keys() == {"one", "two", "three"}
    one, two, three = told()
    assert f"training records of {family}/parent and {arguments[0]}: 4 by" not in one
    assert "(one0, one1, one2, ...). Its numbers are of what was seen in" in one
    assert "in training and --best_metric chooses by it (docs" in two
    assert "4 of 4" in two and "5 of 5 recordings" in three
    recall = json.loads((arguments[0] / "recall.json").read_text())
    assert recall["shared"] == history["shared"]
    # Resumed from a note, which is left as it is.
    before = os.stat(arguments[0] / runs.TRAINED_ON).st_mtime_ns
    assert _train(*arguments, sets, **changes) == history
    assert os.stat(arguments[0] / runs.TRAINED_ON).st_mtime_ns == before
    os.remove(arguments[0] / runs.TRAINED_ON)
    assert _train(*arguments, sets, **changes) == history
    assert len(trained_on.read(str(arguments[0]))) == 3


def test_nothing_is_said_of_sets_that_share_nothing(paths, told, tmp_path):
    history = _train(tmp_path / "run", paths["one"], [f"x={paths['two']}"])
    assert "shared" not in history
    assert not _evaluate(tmp_path / "run", {"x": paths["two"]}, tmp_path)
    assert not told()


@pytest.fixture
def whole(tmp_path):
    """A folder of two splits, and others in which its shards lie too."""
    folder, other = tmp_path / "whole", tmp_path / "eval"
    corpus.make_set(str(folder), 4, n_shards=1)
    made = [corpus.make_record(f"e{i}", seed=5) for i in range(4)]
    corpus.write_records(str(other), made, n_shards=1, split="eval")
    for shard in other.glob("*.tfrecord"):
        shutil.copy(shard, folder)
    spec, more = (
        json.loads((one / records.SPEC_NAME).read_text()) for one in (folder, other)
    )
    spec["shards"] |= more["shards"]
    (folder / records.SPEC_NAME).write_text(json.dumps(spec))
    (tmp_path / "link").symlink_to(folder)
    return folder


@pytest.mark.parametrize("path", ["{0}", "{0}/", "{1}/link", "file://{0}"])
@pytest.mark.parametrize(
    "evaluate",
    ["{0}/eval", "{1}/link/eval", "{1}/whole/../whole/eval", "{1}/eval/eval"],
)
def test_a_folder_is_not_trained_on_whole_if_a_split_of_it_is_evaluated_on(
    whole, path, evaluate, tmp_path
):
    path, evaluate = (one.format(whole, tmp_path) for one in (path, evaluate))
    with pytest.raises(
        UserError, match=f"'x' .*Name the split.*{path.rstrip('/')}/train"
    ):
        _train(tmp_path / "run", path, [f"x={evaluate}"])
    assert not (tmp_path / "run" / "run.json").exists()


def test_splits_and_whole_folders_side_by_side_are_taken(whole, told, tmp_path):
    _train(tmp_path / "a", f"{whole}/train", [f"x={whole}/eval"])
    assert not told()
    # Both on purpose; the numbers are warned of.
    _train(tmp_path / "b", f"{whole}/train", [f"x={whole}"])
    _train(tmp_path / "c", str(whole), [f"x={whole}"])
    _train(tmp_path / "d", f"{whole}/train", [f"x={whole}/train"])
    one, two, three = told()
    assert "4 of 8 recordings" in one and "8 of 8 recordings" in two
    assert "4 of 4 recordings" in three


def test_a_cascade_refuses_such_a_stage_before_it_trains_any(whole, paths, tmp_path):
    stages = []
    for name, path in (("first", paths["one"]), ("second", whole)):
        flagfile = tmp_path / f"{name}.flags"
        flagfile.write_text(f"--records={path}\n--epochs=0\n--batch_size=4\n")
        given = stage_flags.read_flagfile(str(flagfile))
        stages.append(stage_flags.CascadeStage(name, given, None))
    with pytest.raises(UserError, match="'x' .* is one of them"):
        cascading.train(str(tmp_path / "run"), stages, [f"x={whole}/eval"], False)
    assert not (tmp_path / "run").exists()
