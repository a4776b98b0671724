"""A folder of records grows with its manifest: the same bytes as made afresh."""

import contextlib
import dataclasses
import json
import os
import shutil
import wave

import numpy as np
import pytest
import tensorflow as tf

from avl_tf import extraction, media, records
from avl_tf.errors import UserError
from avl_tf.manifest import Fault, Recording, failures
from avl_tf.manifest.findings import Finding
from avl_tf.settings.extraction import ExtractionConfig
from data_prep import extracting, growth, shard_tasks, shards
from data_prep.output_config import OutputConfig

CONFIG = ExtractionConfig(backbone_2d="", keep_images=True)
INT8 = dataclasses.replace(CONFIG, storage="int8")
IDS = [f"r{i:02d}" for i in range(9)]


class Here:
    """Workers that work in this process."""

    def __init__(self, *_):
        pass

    __enter__ = lambda self: self  # noqa: E731
    __exit__ = lambda self, *_: None  # noqa: E731

    def run(self, function, *arguments, by_each=False):
        return function(*arguments)

    def make_shards(self, tasks):
        return map(shard_tasks.extract_shard, tasks)


@pytest.fixture(autouse=True)
def tried(monkeypatch):
    """The ids of the recordings that were extracted, in order."""
    real, ids = extraction.extract, []

    def noted(recordings, config, notes=None, **settings):
        ids.extend(recording.id for recording in recordings)
        for found in real(recordings, config, notes, **settings):
            notes += [Finding("heard", one.id, "odd", one.media) for one in recordings]
            yield found

    monkeypatch.setattr(extraction, "extract", noted)
    monkeypatch.setattr(extracting.workers, "Workers", Here)
    return ids


@pytest.fixture
def source(tmp_path):
    """Makes recordings: an image and a second of sound, each of their own."""
    folder = tmp_path / "media"
    folder.mkdir()

    def make(name, split="train", seed=None, **fields):
        seed = int(name[1:]) if seed is None else seed
        path = folder / f"{name}.wav"
        if not path.exists():
            write_wav(path, seed)
            image = np.full((8, 8, 3), seed, np.uint8)
            media.write_image(str(folder / f"{name}.png"), image)
        image = str(folder / f"{name}.png")
        return Recording(name, str(path), image, "sw", split, name, 0.0, None, **fields)

    return make


def write_wav(path, seed, n_samples=8000):
    samples = np.random.default_rng(seed).integers(-9999, 9999, n_samples, np.int16)
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, 16000, 0, "NONE", ""))
        out.writeframes(samples.tobytes())


def extract(folder, recordings, *, faults=(), size=2, config=CONFIG, **output):
    output = OutputConfig(str(folder), recordings_per_shard=size, **output)
    return extracting.extract(recordings, faults, output, config)


def read(folder):
    """All records, as they are stored, by their split and place."""
    opened = records.open_records(str(folder))
    return {
        (records.other_version(name, 0), index): serialized
        for name in opened.shards
        for index, serialized in enumerate(
            tf.data.TFRecordDataset(opened.path(name)).as_numpy_iterator()
        )
    }


def is_fresh(folder, recordings, **output):
    """The folder holds what an extraction into an empty one makes, and no more."""
    fresh = folder.parent / f"fresh-{len(list(folder.parent.iterdir()))}"
    extract(fresh, recordings, **output)
    both = [records.open_records(str(one)) for one in (folder, fresh)]
    assert both[0].fingerprint == both[1].fingerprint
    assert read(folder) == read(fresh)
    specs = [json.loads((one / "spec.json").read_text()) for one in (folder, fresh)]
    for spec in specs:
        spec["shards"] = list(spec["shards"].values())
    assert specs[0] == specs[1]
    for name in ("failures.jsonl", "notes.jsonl"):
        assert (folder / name).read_bytes() == (fresh / name).read_bytes()
    shutil.rmtree(fresh)
    holds_no_more(folder)


def holds_no_more(folder):
    names = json.loads((folder / "spec.json").read_text())["shards"]
    others = {"spec.json", "failures.jsonl", "notes.jsonl", "progress"}
    assert set(os.listdir(folder)) == {*names, *others}
    notes = {*(f"{name}.json" for name in names), "job.json"}
    assert set(os.listdir(folder / "progress")) == notes


def changed(recordings, index, **fields):
    other = dataclasses.replace(recordings[index], **fields)
    return [*recordings[:index], other, *recordings[index + 1 :]]


def split_off(recordings, source):
    return [*recordings[:-1], source(recordings[-1].id, "val")]


CHANGES = {
    "two more, in a shard more": (
        lambda old, source: [*old, source("r20"), source("r21")],
        "kept 9, made 2, dropped 0, moved 0",
        ["r20", "r21"],
    ),
    "one more, in as many shards": (
        lambda old, source: [*old, source("r20")],
        "kept 9, made 1, dropped 0, moved 0",
        ["r20"],
    ),
    "fewer": (
        lambda old, source: [old[0], *old[3:]],
        "kept 7, made 0, dropped 2, moved 0",
        [],
    ),
    "a split more": (
        lambda old, source: [*old, source("r20", "val")],
        "kept 9, made 1, dropped 0, moved 0",
        ["r20"],
    ),
    "one moves": (
        split_off,
        "kept 8, made 0, dropped 0, moved 1",
        [],
    ),
    "a line is corrected": (
        lambda old, source: changed(old, 4, labels={"a": 1}),
        "kept 8, made 1, dropped 0, moved 0",
        ["r04"],
    ),
    "another file": (
        lambda old, source: changed(old, 4, media=source("r20").media),
        "kept 8, made 1, dropped 0, moved 0",
        ["r04"],
    ),
    "another image": (
        lambda old, source: changed(old, 4, image=source("r20").image),
        "kept 8, made 1, dropped 0, moved 0",
        ["r04"],
    ),
    "all others": (
        lambda old, source: [source("r20"), source("r21", "val")],
        "kept 0, made 2, dropped 9, moved 0",
        ["r20", "r21"],
    ),
    "of everything": (
        lambda old, source: [
            *changed(split_off(old, source)[2:], 3, language="es"),
            source("r20"),
        ],
        "kept 5, made 2, dropped 2, moved 1",
        ["r05", "r20"],
    ),
}


@pytest.mark.parametrize("storage", ["float16", "int8"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_grows_to_what_a_fresh_one_is(
    change, storage, source, tmp_path, tried, capsys
):
    config = dataclasses.replace(CONFIG, storage=storage)
    make, told, made = CHANGES[change]
    old = [source(name) for name in IDS]
    extract(tmp_path / "r", old, config=config)
    assert "kept" not in capsys.readouterr().out
    new = make(old, source)
    tried.clear()
    extract(tmp_path / "r", new, config=config)
    assert sorted(tried) == made
    assert told in capsys.readouterr().out
    is_fresh(tmp_path / "r", new, config=config)

    # The same again does nothing, and says nothing of it; back, all is as it was.
    tried.clear()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "r").glob("*.tfrecord")}
    extract(tmp_path / "r", new, config=config)
    assert before == {p: p.stat().st_mtime_ns for p in before}
    assert not tried and "kept" not in capsys.readouterr().out
    extract(tmp_path / "r", old, config=config)
    is_fresh(tmp_path / "r", old, config=config)


def test_shards_that_hold_the_same_stay_as_they_are(source, tmp_path):
    old = [source(name, "val" if name > "r05" else "train") for name in IDS]
    extract(tmp_path / "r", old)
    stays = {p: p.stat().st_mtime_ns for p in (tmp_path / "r").glob("val-*")}
    extract(tmp_path / "r", [*old, source("r20")])
    assert len(stays) == 2
    assert stays == {p: p.stat().st_mtime_ns for p in (tmp_path / "r").glob("val-*")}


def test_media_that_moved_or_are_gone_are_not_wanted_again(source, tmp_path, tried):
    old = [source(name) for name in IDS]
    extract(tmp_path / "r", old)
    (tmp_path / "media").rename(tmp_path / "moved")
    old = [
        dataclasses.replace(
            one,
            media=one.media.replace("/media/", "/moved/"),
            image=one.image.replace("/media/", "/moved/"),
        )
        for one in old
    ]
    (tmp_path / "media").mkdir()
    tried.clear()
    assert not extract(tmp_path / "r", [*old, source("r20")])
    for one in old:
        os.remove(one.media)
    assert not extract(tmp_path / "r", [*old, source("r20"), source("r21")])
    assert tried == ["r20", "r21"]
    assert records.open_records(str(tmp_path / "r")).n_records == 11
    # Which they were is remembered: another file of the name is another recording.
    write_wav(old[3].media, 3, n_samples=9000)
    extract(tmp_path / "r", [*old, source("r20"), source("r21")])
    assert tried == ["r20", "r21", old[3].id]


def test_what_failed_is_tried_again_when_asked_for(source, tmp_path, tried, capsys):
    recordings = [source(name) for name in IDS]
    good = open(recordings[4].media, "rb").read()
    open(recordings[4].media, "wb").write(b"x" * len(good))
    (failed,) = extract(tmp_path / "r", recordings)
    recordings.append(source("r20"))
    os.remove(source("r21").media)
    recordings.append(source("r22"))
    recordings.append(dataclasses.replace(recordings[-1], id="r21", media="no.wav"))
    tried.clear()
    assert extract(tmp_path / "r", recordings)[0] == failed
    assert sorted(tried) == ["r20", "r21", "r22"]
    assert "kept 8, made 2, dropped 0, moved 0" in capsys.readouterr().out
    listed = (tmp_path / "r" / "failures.jsonl").read_text()
    assert listed.count("\n") == 2 and failures.to_lines([failed]) in listed

    open(recordings[4].media, "wb").write(good)
    tried.clear()
    assert len(extract(tmp_path / "r", recordings)) == 2
    assert not tried
    capsys.readouterr()
    assert len(extract(tmp_path / "r", recordings, retry_failed=True)) == 1
    assert sorted(tried) == ["r04", "r21"]
    assert "kept 10, made 1, dropped 0, moved 0" in capsys.readouterr().out
    is_fresh(tmp_path / "r", recordings)


def test_a_line_that_cannot_be_used_is_corrected_in_the_same_folder(
    source, tmp_path, tried
):
    recordings = [source(name) for name in IDS]
    fault = Fault("r20", "r20.wav", "a span")
    assert extract(tmp_path / "r", recordings, faults=[fault])
    tried.clear()
    assert not extract(tmp_path / "r", [*recordings, source("r20")])
    assert tried == ["r20"]


def test_an_extraction_that_never_ended_grows_too(source, tmp_path, tried, monkeypatch):
    recordings = [source(name) for name in IDS]
    with monkeypatch.context() as patch:
        patch.setattr(shards, "finish", _stop)
        with pytest.raises(KeyboardInterrupt):
            extract(tmp_path / "r", recordings)
    tried.clear()
    recordings = changed(recordings, 2, labels={"a": 1})
    extract(tmp_path / "r", recordings)
    assert tried == ["r02"]
    is_fresh(tmp_path / "r", recordings)


def _stop(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"config": dataclasses.replace(CONFIG, storage="int8")},
            "storage was float16",
        ),
        ({"size": 3}, "recordings_per_shard was 2, now 3"),
        ({"seed": 1}, "seed was 0, now 1"),
    ],
)
def test_other_settings_are_refused(source, tmp_path, settings, text):
    old = [source(name) for name in IDS]
    extract(tmp_path / "r", old)
    before = read(tmp_path / "r")
    with pytest.raises(UserError, match=text):
        extract(tmp_path / "r", [*old, source("r20")], **settings)
    assert read(tmp_path / "r") == before
    holds_no_more(tmp_path / "r")


def of_before(folder, names="*"):
    """Makes notes of shards as they were before they had lines."""
    for path in (folder / "progress").glob(f"{names}.tfrecord.json"):
        value = json.loads(path.read_text())
        del value["lines"]
        path.write_text(json.dumps(value))


@pytest.mark.parametrize("names", ["*", "*-00001-*"])
def test_records_of_before_there_were_lines_grow(source, tmp_path, tried, names):
    old = [source(name, "val" if name == "r03" else "train") for name in IDS]
    write_wav(old[4].media, 4, 0)
    clips = tuple({"start_s": i / 9, "end_s": i / 9 + 0.1} for i in range(3))
    old[5] = dataclasses.replace(old[5], clips=clips)
    extract(tmp_path / "r", old)
    of_before(tmp_path / "r", names)
    tried.clear()
    new = [source("r20"), *old, source("r21", "val")]
    extract(tmp_path / "r", new)
    assert sorted(tried) == ["r20", "r21"]
    is_fresh(tmp_path / "r", new)


def test_records_of_before_that_lose_a_line_grow_from_their_own_manifest(
    source, tmp_path, tried
):
    old = [source(name) for name in IDS]
    extract(tmp_path / "r", old)
    of_before(tmp_path / "r")
    before = contents(tmp_path / "r")
    tried.clear()
    with pytest.raises(UserError, match="once with the manifest of then"):
        extract(tmp_path / "r", old[1:])
    assert contents(tmp_path / "r") == before
    extract(tmp_path / "r", old)
    assert not tried
    extract(tmp_path / "r", old[1:])
    assert not tried
    is_fresh(tmp_path / "r", old[1:])


def test_records_of_before_with_other_settings_or_damage_stay(source, tmp_path):
    old = [source(name) for name in IDS]
    extract(tmp_path / "r", old)
    of_before(tmp_path / "r")
    with pytest.raises(UserError, match=r"storage.*Use another --out_dir, or delete"):
        extract(tmp_path / "r", [*old, source("r20")], storage="int8", config=INT8)
    path = next((tmp_path / "r").glob("*.tfrecord"))
    path.write_bytes(b"x" + path.read_bytes()[1:])
    before = path.read_bytes()
    extract(tmp_path / "r", old)
    assert path.read_bytes() == before
    with pytest.raises(UserError, match="the recordings were others"):
        extract(tmp_path / "r", [*old, source("r20")])


def contents(folder):
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in found}


def test_a_damaged_record_is_made_anew(source, tmp_path, tried, caplog):
    old = [source(name) for name in IDS]
    extract(tmp_path / "r", old)
    path = min((tmp_path / "r").glob("*.tfrecord"))
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    tried.clear()
    new = [*old, source("r20")]
    extract(tmp_path / "r", new)
    assert len(tried) == 2 and "r20" in tried
    assert "is damaged (its checksum is wrong): it is made anew" in caplog.text
    is_fresh(tmp_path / "r", new)


class Killed(BaseException):
    pass


@contextlib.contextmanager
def killed(monkeypatch, at):
    """Ends everything before the file operation of number `at`."""
    counts = [0]

    def counted(function):
        def operation(*arguments, **named):
            counts[0] += 1
            if counts[0] >= at:
                raise Killed
            return function(*arguments, **named)

        return operation

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", counted(os.replace))
        patch.setattr(os, "remove", counted(os.remove))
        patch.setattr(tf.io.gfile, "remove", counted(tf.io.gfile.remove))
        yield


def test_killed_at_any_moment_it_is_old_or_new_and_goes_on(
    source, tmp_path, monkeypatch
):
    old = [source(name) for name in IDS[:5]]
    new = [*changed(split_off(old, source)[1:], 0, labels={"a": 1}), source("r20")]
    other = [*old, source("r21")]
    for name, recordings in (("old", old), ("new", new)):
        extract(tmp_path / name, recordings)
    before, after = read(tmp_path / "old"), read(tmp_path / "new")
    seen = []
    for at in range(1, 100):
        folder = tmp_path / "grown"
        shutil.copytree(tmp_path / "old", folder)
        try:
            with killed(monkeypatch, at):
                extract(folder, new)
            break
        except Killed:
            pass
        found = read(folder)
        assert found in (before, after)
        seen.append(found == after)
        if at % 3 == 0:  # by another manifest
            with contextlib.suppress(Killed), killed(monkeypatch, 3):
                extract(folder, other)
        assert read(folder) in (before, after)
        extract(folder, new)
        assert read(folder) == after
        holds_no_more(folder)
        shutil.rmtree(folder)
    assert seen == sorted(seen) and 5 < seen.index(True) < len(seen) - 2


def test_a_reader_who_comes_as_the_shards_change_gets_the_new_ones(
    source, tmp_path, monkeypatch
):
    old = [source(name) for name in IDS]
    extract(tmp_path / "r", old)
    before = json.loads((tmp_path / "r" / "spec.json").read_text())
    extract(tmp_path / "r", [*old, source("r20")])
    read_json = records.files.read_json
    answers = [before]
    monkeypatch.setattr(
        records.files,
        "read_json",
        lambda path: answers.pop() if answers else read_json(path),
    )
    assert records.open_records(str(tmp_path / "r")).n_records == 10
    # One that is missing for good is told.
    next((tmp_path / "r").glob("*.tfrecord")).unlink()
    with pytest.raises(UserError, match="missing"):
        records.open_records(str(tmp_path / "r"))


def test_a_reader_keeps_the_shards_that_it_reads(source, tmp_path, caplog):
    old = [source(name) for name in IDS]
    new = [*old, source("r20")]
    extract(tmp_path / "r", old)
    opened = records.open_records(str(tmp_path / "r"))
    paths, before = opened.paths, read(tmp_path / "r")
    for grown in (new, old[1:], new):  # whatever comes, and comes back
        extract(tmp_path / "r", grown)
        assert all(os.path.exists(path) for path in paths)
        assert "shards that were here before: they stay until" in caplog.text
    serialized = tf.data.TFRecordDataset(paths).as_numpy_iterator()
    assert list(serialized) == [before[key] for key in sorted(before)]
    del opened
    now = records.open_records(str(tmp_path / "r"))  # reads others: these may go
    extract(tmp_path / "r", new)
    assert not any(os.path.exists(path) for path in paths if path not in now.paths)
    del now
    extract(tmp_path / "r", new)
    is_fresh(tmp_path / "r", new)


def test_a_second_extraction_is_sent_away(source, tmp_path):
    folder = tmp_path / "r"
    with growth.sole_process(str(folder)):
        with pytest.raises(UserError, match="another process is extracting into it"):
            extract(folder, [source("r00")])
    assert not folder.exists()
    extract(folder, [source("r00")])
