"""Extraction of files of several tracks, and of clips about the end of the sound."""

import json

import numpy as np
import pytest
import small_corpora
import tensorflow as tf
from av.stream import Disposition
from made_tracks import Tone, Video, make_tracks
from programs import fails_in_one_line, run

from avl_tf import audio, dataset, media, records
from avl_tf.audio import AudioConfig
from avl_tf.manifest import read_manifest, write_manifest
from avl_tf.media.file import MediaFile

TONES = (
    Tone(300, "swa"),
    Tone(1000, "eng", Disposition.default),
    Tone(2500, "fra"),
)


def _extract(manifest, out_dir, *more):
    return run(
        "data_prep.extract",
        f"--manifest={manifest}",
        f"--out_dir={out_dir}",
        "--backbone_2d=efficientnet_lite0",
        "--workers=1",
        *more,
    )


def _records(folder):
    spec = records.open_records(str(folder)).spec
    paths = [str(path) for path in folder.glob("*.tfrecord")]
    made = [records.decode(one.numpy(), spec) for one in tf.data.TFRecordDataset(paths)]
    return {record.id: record for record in made}


def _notes(folder):
    lines = (folder / "notes.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def _loudest(record):
    """The mel bin that a tone is in."""
    return int(np.argmax(np.float32(record.log_mel).mean(axis=0)))


@pytest.fixture(scope="module")
def media_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    make_tracks(folder / "multi.mkv", TONES)
    make_tracks(folder / "one.mp4", [Tone(300, "eng")])
    # The pictures go on for 2 s.
    for suffix in (".mp4", ".mkv", ".ts"):
        make_tracks(folder / f"short{suffix}", [Tone(300, seconds=6)])
    return folder


@pytest.mark.slow
def test_each_line_hears_the_track_of_its_language(media_folder, tmp_path):
    multi = "multi.mkv"
    lines = [
        {"id": "sw", "media": multi, "language": "sw"},
        {"id": "en", "media": multi, "language": "eng"},
        {"id": "fr", "media": multi, "language": "fre"},
        {"id": "ja", "media": multi, "language": "ja"},
        {"id": "named", "media": multi, "language": "en", "audio_track": 2},
        {"id": "tag", "media": multi, "language": "en", "audio_track": "swa"},
        {"id": "no", "media": multi, "language": "en", "audio_track": 3},
        {"id": "one", "media": "one.mp4", "language": "sw"},
    ]
    manifest = media_folder / "languages.jsonl"
    write_manifest(str(manifest), lines)
    done = _extract(manifest, tmp_path)
    fails_in_one_line(done, "1 of 8", "no (", "audio track 3 is not there", "0 swa")
    found = _records(tmp_path)
    low, middle, high = (_loudest(found[name]) for name in ("sw", "en", "fr"))
    assert low < middle < high
    heard = {name: _loudest(record) for name, record in found.items()}
    others = {"ja": middle, "named": high, "tag": low, "one": low}
    assert heard == {"sw": low, "en": middle, "fr": high, **others}
    assert "note: 1 other language (ja: no track says ja: 1 eng" in done.stdout
    assert "note: 1 tagged otherwise (one: its only track says eng" in done.stdout
    assert {(note["kind"], note["id"]) for note in _notes(tmp_path)} == {
        ("other language", "ja"),
        ("tagged otherwise", "one"),
    }


@pytest.mark.slow
def test_a_flag_says_which_track_where_lines_do_not(media_folder, tmp_path):
    manifest = tmp_path / "sw.jsonl"
    flags = [f"--videos={media_folder}", "--language=sw", "--splits="]
    done = run("data_prep.folder", f"--manifest={manifest}", *flags)
    assert done.returncode == 0, done.stderr
    assert "note: 1 tagged otherwise (one.mp4" in done.stdout
    assert all("audio_track" not in line for line in small_corpora.lines(manifest))
    done = run("data_prep.folder", f"--manifest={manifest}", *flags, "--audio_track=1")
    assert done.returncode == 0, done.stderr
    assert {line.audio_track for line in read_manifest(str(manifest))} == {1}
    assert "kept: 4 silent (one.mp4" in done.stdout
    bad = run("data_prep.folder", f"--manifest={manifest}", *flags, "--audio_track=-1")
    fails_in_one_line(bad, "audio_track is '-1'", "a language tag")

    multi = str(media_folder / "multi.mkv")
    lines = [{"id": "a", "media": multi}, {"id": "b", "media": multi, "audio_track": 0}]
    write_manifest(str(manifest), [{**line, "language": "sw"} for line in lines])
    done = _extract(manifest, tmp_path / "r", "--audio_track=fra")
    assert done.returncode == 0, done.stderr
    found = _records(tmp_path / "r")
    assert _loudest(found["a"]) > _loudest(found["b"])
    # Of lines that say nothing another track is another line: only these are made anew.
    other = _extract(manifest, tmp_path / "r", "--audio_track=eng")
    assert other.returncode == 0, other.stderr
    assert "kept 1, made 1" in other.stdout
    changed = _records(tmp_path / "r")
    assert _loudest(changed["a"]) != _loudest(found["a"])
    assert _loudest(changed["b"]) == _loudest(found["b"])


@pytest.mark.slow
def test_a_late_clip_costs_the_clip_in_adapters_and_in_extract(media_folder, tmp_path):
    starts_s = (0, 5.5, 5.9995, 6.5, 7.9)
    table = tmp_path / "clips.csv"
    names = [f"short{suffix}" for suffix in (".mp4", ".mkv", ".ts")]
    rows = [f"{name},{start_s},{start_s + 1}" for name in names for start_s in starts_s]
    table.write_text("\n".join(["media,start_s,end_s", *rows]) + "\n")
    flags = [f"--table={table}", f"--root={media_folder}", "--rows=clips"]
    manifest = tmp_path / "m.jsonl"
    refused = run("data_prep.table", f"--manifest={manifest}", *flags)
    fails_in_one_line(
        refused, "6 beyond (short.mp4", "a clip starts at 6.5 s, the sound ends at 6."
    )
    dropped = [*flags, "--drop=beyond"]
    done = run("data_prep.table", f"--manifest={manifest}", *dropped)
    assert done.returncode == 0, done.stderr
    kept = [line.clips for line in read_manifest(str(manifest))]
    assert [[clip["start_s"] for clip in clips] for clips in kept] == [
        list(starts_s[:3])
    ] * 3

    done = run("data_prep.table", f"--manifest={manifest}", *flags, "--nocheck_media")
    assert done.returncode == 0, done.stderr
    done = _extract(manifest, tmp_path / "r")
    assert done.returncode == 0, done.stderr
    found = _records(tmp_path / "r")
    assert [[c.start_s for c in found[name].clips] for name in names] == [
        pytest.approx(starts_s[:3], abs=1e-5)
    ] * 3
    assert "note: 6 beyond (short." in done.stdout
    assert len(_notes(tmp_path / "r")) == 6
    # The clip in the last log-mel frame can be read like the others.
    opened = records.open_records(str(tmp_path / "r"))
    batches = list(dataset.evaluation_batches(opened, 2.0, 4))
    n_frames = np.concatenate([batch["n_frames"] for batch in batches])
    assert len(n_frames) == 9 and (n_frames >= 1).all()
    assert np.isfinite(np.concatenate([b["visual"] for b in batches])).all()


def test_the_sound_of_a_file_ends_where_its_log_mel_ends(media_folder):
    config = AudioConfig()
    for suffix in (".mp4", ".mkv", ".ts"):
        path = str(media_folder / f"short{suffix}")
        n_samples = len(media.read_waveform(path, config.sample_rate))
        assert n_samples / config.sample_rate == pytest.approx(6, abs=0.1)
        assert audio.n_frames(n_samples, config) > 600
        assert media.duration_s(path) == pytest.approx(8, abs=0.1)


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".webm"])
@pytest.mark.parametrize("seconds", [1, 20])
def test_sound_may_end_long_before_the_pictures(tmp_path, suffix, seconds):
    # FFmpeg holds a stream that it meets late to last as long as the file.
    path = tmp_path / f"a{suffix}"
    make_tracks(path, [Tone(300, seconds=seconds)], [Video(25 * 200)])
    with MediaFile(path) as file:
        assert float(file.sound_end()) == pytest.approx(seconds, abs=0.1)
    assert len(media.read_waveform(path)) == pytest.approx(seconds * 16000, abs=1600)
