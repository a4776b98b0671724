"""The demo corpus, built from the synthetic stamps."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from programs import fails_in_one_line, run

from avl_tf import media
from avl_tf.manifest import read_manifest
from data_prep.demo_videos import (
    corpus_config,
    slideshow,
    stamp_concepts,
    stamp_corpus,
    stamp_package,
    synthetic_stamps,
)

CONFIG = corpus_config.CorpusConfig(
    languages=("es", "ro"),
    train_videos=("es:2", "ro:1"),
    val_videos=1,
    eval_videos=1,
    n_concepts=6,
    video_s=12.0,
    clip_s=5.0,
)


@pytest.fixture(scope="module")
def stamps_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("stamps"))
    synthetic_stamps.write_synthetic_stamps(folder, ["es", "ro", "pt_BR"])
    return folder


@pytest.fixture(scope="module")
def corpus(stamps_dir, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("corpus"))
    stamp_corpus.build_corpus(stamps_dir, folder, CONFIG, synthetic=True, n_workers=2)
    return folder


def _all_bytes(folder):
    return {
        os.path.relpath(os.path.join(directory, name), folder): open(
            os.path.join(directory, name), "rb"
        ).read()
        for directory, _, names in os.walk(folder)
        for name in names
    }


def _recordings(corpus, language="es"):
    return read_manifest(os.path.join(corpus, language, "manifest.jsonl"))


def test_manifest_lists_every_video_once_with_its_clips(corpus):
    recordings = _recordings(corpus) + _recordings(corpus, "ro")
    assert [recording.id for recording in recordings] == [
        "es/train-0000",
        "es/train-0001",
        "es/val-0000",
        "es/eval-0000",
        "ro/train-0000",
        "ro/val-0000",
        "ro/eval-0000",
    ]
    assert len({recording.media for recording in recordings}) == 7
    for recording in recordings:
        assert recording.synthetic and recording.id.split("/")[0] == recording.language
        spans = [(clip["start_s"], clip["end_s"]) for clip in recording.clips]
        assert spans == [(0.0, 5.0), (5.0, 10.0)]
        slides = recording.labels["slides"]
        assert slides[0]["start_s"] == 0.0 and slides[-1]["end_s"] == 12.0
        for one, two in zip(slides[:-1], slides[1:], strict=True):
            assert one["end_s"] == two["start_s"]


def test_clips_tell_names_and_natural_sounds_of_their_span(corpus):
    seen = set()
    for recording in _recordings(corpus) + _recordings(corpus, "ro"):
        for clip in recording.clips:
            heard, sound = [], False
            for slide in recording.labels["slides"]:
                if slide["name_end_s"] > clip["start_s"]:
                    if slide["name_start_s"] < clip["end_s"]:
                        heard.append(slide["concept"])
                if slide["sound"] and slide["sound_end_s"] > clip["start_s"]:
                    sound |= slide["sound_start_s"] < clip["end_s"]
            assert clip["label"] == ", ".join(heard)
            assert clip["natural_sound"] is sound
            seen.add(sound)
    assert seen == {True, False}


def test_videos_decode_to_their_length_and_show_their_slides(corpus):
    recording = _recordings(corpus)[0]
    frames = media.read_frames(recording.media, 10)
    assert frames.shape == (120, 240, 320, 3)
    assert len(media.read_waveform(recording.media)) == pytest.approx(192000, abs=2000)
    changes = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean(axis=(1, 2, 3))
    starts = [round(10 * slide["start_s"]) for slide in recording.labels["slides"]]
    assert (1 + np.flatnonzero(changes > 10)).tolist() == starts[1:]


def _assert_heard(waveform, sound, start_s):
    """Looks for 0.35 s of a sound, from 50 ms on: where it was trimmed is not known."""
    start = round(start_s * 16000)
    sample = sound[800:6400]
    around = waveform[start : start + 9600]
    place = int(np.argmax(np.correlate(around, sample, "valid")))
    assert place == pytest.approx(800, abs=330)
    assert np.corrcoef(around[place:][: len(sample)], sample)[0, 1] > 0.9


def test_names_and_sounds_are_heard_where_the_labels_say(corpus):
    n_sounds = 0
    for language in CONFIG.languages:
        for recording in _recordings(corpus, language):
            waveform = media.read_waveform(recording.media)
            for slide in recording.labels["slides"]:
                name = slide["concept"].replace(" ", "_")
                word = synthetic_stamps.word(language, name)
                spoken = slideshow.speak(word, slide["speed"])
                length_s = slide["name_end_s"] - slide["name_start_s"]
                assert length_s == pytest.approx(len(spoken) / 16000, abs=0.05)
                _assert_heard(waveform, spoken, slide["name_start_s"])
                if slide["sound"]:
                    n_sounds += 1
                    sound = synthetic_stamps.natural_sound(name)
                    _assert_heard(waveform, sound, slide["sound_start_s"])
    assert n_sounds > 0


def test_same_seed_gives_the_same_bytes_whatever_the_workers(
    corpus, stamps_dir, tmp_path
):
    stamp_corpus.build_corpus(
        stamps_dir, str(tmp_path), CONFIG, synthetic=True, n_workers=1
    )
    assert _all_bytes(str(tmp_path)) == _all_bytes(corpus)


def test_other_seeds_languages_splits_and_numbers_give_other_videos(
    corpus, stamps_dir, tmp_path
):
    config = dataclasses.replace(CONFIG, seed=1)
    stamp_corpus.build_corpus(
        stamps_dir, str(tmp_path), config, synthetic=True, n_workers=2
    )
    videos = [
        content
        for folder in (corpus, str(tmp_path))
        for name, content in _all_bytes(folder).items()
        if name.endswith(".mp4")
    ]
    assert len(videos) == len(set(videos)) == 14
    speeds = [
        recording.labels["slides"][0]["speed"]
        for folder in (corpus, str(tmp_path))
        for language in CONFIG.languages
        for recording in _recordings(folder, language)
    ]
    assert len(speeds) == len(set(speeds)) == 14


def test_build_again_makes_only_the_video_that_is_missing(stamps_dir, corpus, tmp_path):
    folder = str(tmp_path / "corpus")
    shutil.copytree(corpus, folder)
    before = _all_bytes(folder)
    gone = os.path.join(folder, "es/videos/val-0000.mp4")
    kept = os.path.join(folder, "es/videos/eval-0000.mp4")
    os.remove(gone)
    os.utime(kept, (1, 1))
    being_extracted = os.path.join(folder, "es/records/a.tfrecord.{}.tmp")
    os.makedirs(os.path.dirname(being_extracted))
    for name, kept_too in ((being_extracted, True), (gone + ".{}.tmp", False)):
        half = name.format("0" * 32)
        with open(half, "wb") as stream:
            stream.write(b"half of it")
        stamp_corpus.build_corpus(stamps_dir, folder, CONFIG, synthetic=True)
        assert os.path.exists(half) == kept_too
    shutil.rmtree(os.path.dirname(being_extracted))
    assert _all_bytes(folder) == before
    assert os.path.getmtime(kept) == 1


def test_folder_of_another_corpus_raises_and_stays(stamps_dir, corpus):
    before = _all_bytes(corpus)
    config = dataclasses.replace(CONFIG, clip_s=4.0, val_videos=2)
    with pytest.raises(
        ValueError, match="val_videos was 1, now 2; clip_s was 5.0, now"
    ):
        stamp_corpus.build_corpus(stamps_dir, corpus, config, synthetic=True)
    with pytest.raises(ValueError, match="synthetic was True, now False"):
        stamp_corpus.build_corpus(stamps_dir, corpus, CONFIG)
    assert _all_bytes(corpus) == before


def test_card_of_an_earlier_version_without_a_setting_is_taken_up(
    stamps_dir, corpus, tmp_path
):
    folder = str(tmp_path / "corpus")
    shutil.copytree(corpus, folder)
    path = os.path.join(folder, "corpus.json")
    with open(path, encoding="utf-8") as stream:
        card = json.load(stream)
    del card["parameters"]["max_name_s"], card["parameters"]["recipe"]["gap_s"]
    card["limits"] = "said otherwise then"
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(card, stream)
    stamp_corpus.build_corpus(stamps_dir, folder, CONFIG, synthetic=True)
    config = dataclasses.replace(CONFIG, max_name_s=2.0)
    with pytest.raises(ValueError, match=r"\(max_name_s was 2.6, now 2.0\)"):
        stamp_corpus.build_corpus(stamps_dir, folder, config, synthetic=True)


def test_folder_without_a_card_raises(stamps_dir, tmp_path):
    (tmp_path / "es").mkdir()
    with pytest.raises(ValueError, match="no corpus.json"):
        stamp_corpus.build_corpus(stamps_dir, str(tmp_path), CONFIG, synthetic=True)


def test_card_counts_what_the_manifests_hold(corpus):
    with open(os.path.join(corpus, "corpus.json"), encoding="utf-8") as stream:
        card = json.load(stream)
    assert card["synthetic"] is True and card["parameters"]["seed"] == 0
    with_sound = [concept["natural_sound"] for concept in card["concepts"]]
    assert sorted(with_sound) == 3 * [False] + 3 * [True]
    clips = [clip for r in _recordings(corpus)[:2] for clip in r.clips]
    assert card["counts"]["es"]["train"] == {
        "videos": 2,
        "hours": round(24 / 3600, 4),
        "clips": 4,
        "clips_with_natural_sound": sum(clip["natural_sound"] for clip in clips),
    }


def _write_stamp(folder, name, text, seconds=0.5, sound=None):
    os.makedirs(folder, exist_ok=True)
    stem = os.path.join(folder, name)
    image = np.zeros((20, 30, 4), np.uint8)
    image[5:15, 10:25] = (200, 100, 0, 128)
    media.write_image(f"{stem}.png", image)
    tone = 0.3 * np.sin(np.arange(int(16000 * seconds)) / 5).astype(np.float32)
    silence = np.zeros(4000, np.float32)
    media.write_wav(
        f"{stem}_desc_es.wav", np.concatenate([silence, tone, silence]), 16000
    )
    with open(f"{stem}.txt", "w", encoding="utf-8") as stream:
        stream.write(f"{text}\nes.utf8=Una cosa.\n")
    if sound is not None:
        media.write_wav(f"{stem}.wav", sound, 16000)


def test_concepts_are_trimmed_cropped_and_equally_loud(tmp_path):
    sound = np.random.default_rng(0).uniform(-0.9, 0.9, 48000).astype(np.float32)
    _write_stamp(tmp_path / "animals", "frog", "A frog (a lively one).", sound=sound)
    (concept,) = stamp_concepts.choose_concepts(
        stamp_concepts.find_stamps(str(tmp_path)), ["es"], 1
    )
    assert concept.stamp.name == "frog"
    assert concept.stamp.path == os.path.join("animals", "frog")
    assert concept.stamp.texts == {"es": "Una cosa."}
    assert len(concept.names["es"]) == pytest.approx(8000, abs=320)
    assert len(concept.sound) == 24000
    for waveform in (concept.names["es"], concept.sound):
        assert np.sqrt(np.mean(waveform**2)) == pytest.approx(0.1, rel=0.05)
    assert concept.image.shape == (10, 15, 4)
    assert concept.image[0, 0].tolist() == [100, 50, 0, 128]


def test_unfit_stamps_are_not_chosen(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 8000).astype(np.float32)
    _write_stamp(tmp_path / "a", "frog", "A frog.")
    _write_stamp(tmp_path / "b", "green_frog", "A frog!", sound=noise)
    _write_stamp(tmp_path / "b", "long", "A long story.", seconds=3.0)
    _write_stamp(tmp_path / "b", "mute", "A mute.", sound=np.zeros(8000, np.float32))
    _write_stamp(tmp_path / "b", "hum", "A hum.", sound=np.full(8000, 0.5, np.float32))
    _write_stamp(tmp_path / "symbols" / "money", "coin", "A coin.")
    _write_stamp(tmp_path / "b", "broken", "A broken one.")
    (tmp_path / "b" / "broken.png").write_bytes(b"not a picture")
    found = stamp_concepts.find_stamps(str(tmp_path))
    chosen = stamp_concepts.choose_concepts(found, ["es"], 2)
    assert "b/green_frog" in [c.stamp.path for c in chosen]
    chosen = stamp_concepts.choose_concepts(found, ["es"], 3)
    assert [c.stamp.path for c in chosen] == ["b/green_frog", "b/hum", "b/mute"]
    assert [c.sound is not None for c in chosen] == [True, False, False]
    with pytest.raises(ValueError, match="4 concepts asked for, but only 3 stamps"):
        stamp_concepts.choose_concepts(found, ["es"], 4)


def test_unknown_language_raises_with_those_there_are(stamps_dir):
    with pytest.raises(ValueError, match="'sw'.*es 96, pt_BR 96, ro 96"):
        stamp_concepts.choose_concepts(
            stamp_concepts.find_stamps(stamps_dir), ["es", "sw"], 4
        )


def test_folder_without_stamps_raises(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileNotFoundError, match="no stamps there"):
            stamp_concepts.find_stamps(str(folder))


def test_rendered_slide_holds_the_stamp_whole():
    recipe = slideshow.Recipe()
    image = np.full((50, 100, 4), 255, np.uint8)
    for seed in range(20):
        frame = slideshow.render_slide(recipe, image, np.random.default_rng(seed))
        assert frame.shape == (240, 320, 3) and frame.dtype == np.uint8
        white = (frame == 255).all(axis=2)
        rows, columns = white.any(1).sum(), white.any(0).sum()
        assert white.sum() == rows * columns
        assert 0.64 < columns / 320 < 0.96 and columns == pytest.approx(2 * rows, abs=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"languages": ()}, "at least one"),
        ({"languages": ("es", "es")}, "none twice"),
        ({"languages": ("es", "../ro")}, "expected a code"),
        ({"train_videos": ("es:1",)}, "give one for each"),
        ({"val_videos": -1}, "none may be negative"),
        (
            {"val_videos": 0, "eval_videos": 0, "train_videos": ("es:1", "ro:0")},
            "needs",
        ),
        ({"video_s": 4.0}, "must hold at least one clip"),
        ({"clip_s": 0.0}, "must hold at least one clip"),
        ({"video_s": float("nan")}, "must hold at least one clip"),
    ],
)
def test_config_with_settings_that_clash_raises(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **changes)


def test_video_too_short_for_a_slide_raises(stamps_dir, tmp_path):
    config = dataclasses.replace(CONFIG, video_s=0.3, clip_s=0.2)
    with pytest.raises(ValueError, match="too short for a slide"):
        stamp_corpus.build_corpus(stamps_dir, str(tmp_path), config)


def test_parse_counts():
    def parse(entries, languages=()):
        return corpus_config.parse_counts("train_videos", entries, languages, (64, 10))

    assert parse(None, ["ca", "ro", "ru"]) == {"ca": 64, "ro": 10, "ru": 10}
    assert parse(["es:4", " ro:0"]) == {"es": 4, "ro": 0}
    for entries in (["es"], ["es:x"], ["es:-1"], ["es:1", "es:2"], [""]):
        with pytest.raises(ValueError, match="--train_videos: .* expected LANG:N"):
            parse(entries)


def _fake_program(folder, name, script):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_fetch_stamps_unpacks_once(tmp_path, monkeypatch):
    share = f"unpacked/usr/share/doc/{stamp_package.PACKAGE}"
    _fake_program(tmp_path, "apt-get", "echo call >> ../../calls; : > tuxpaint.deb")
    _fake_program(
        tmp_path,
        "dpkg-deb",
        f"mkdir -p {share} unpacked/usr/share/tuxpaint/stamps/animals\n"
        f"echo GPL-2 > {share}/copyright",
    )
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    folder = stamp_package.fetch_stamps(str(tmp_path / "out"))
    assert folder == str(tmp_path / "out" / "stamps")
    assert stamp_package.fetch_stamps(str(tmp_path / "out")) == folder
    assert sorted(os.listdir(folder)) == ["animals", "copyright"]
    assert os.listdir(tmp_path / "out") == ["stamps"]
    assert (tmp_path / "calls").read_text() == "call\n"


def test_fetch_stamps_that_fails_says_why_and_leaves_nothing(tmp_path, monkeypatch):
    _fake_program(
        tmp_path, "apt-get", "echo 'E: no network' >&2; echo 'W: noise' >&2; exit 100"
    )
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(stamp_package.StampsUnavailable, match="E: no network$"):
        stamp_package.fetch_stamps(str(tmp_path / "out"))
    assert os.listdir(tmp_path / "out") == []


def test_program_without_apt_builds_the_synthetic_corpus_and_says_so(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run(
        "data_prep.stamps",
        f"--out_dir={tmp_path}/demo",
        "--languages=ro",
        "--train_videos=ro:1",
        "--val_videos=0",
        "--eval_videos=0",
        "--video_s=6",
    )
    assert done.returncode == 0, done.stderr
    assert "SYNTHETIC" in done.stderr and "--stamps_dir" in done.stderr
    (recording,) = _recordings(f"{tmp_path}/demo", "ro")
    assert recording.synthetic and os.path.exists(recording.media)
    with open(f"{tmp_path}/demo/corpus.json", encoding="utf-8") as stream:
        assert json.load(stream)["parameters"]["n_concepts"] == 24


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--synthetic", "--stamps_dir=x"], "exclude each other"),
        (["--stamps_dir=/nowhere"], "/nowhere: no stamps there"),
        (["--synthetic", "--n_concepts=97"], "only 96 stamps"),
        (["--synthetic", "--train_videos=es:1,ru:1"], "give one for each"),
    ],
)
def test_program_with_bad_settings_ends_with_one_line(arguments, message, tmp_path):
    done = run("data_prep.stamps", f"--out_dir={tmp_path}", *arguments)
    fails_in_one_line(done, message)


def test_program_does_not_load_tensorflow():
    code = "import sys, data_prep.stamps; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
