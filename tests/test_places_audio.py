"""data_prep.places_audio on the published layouts of three languages."""

import json

import pytest
from programs import fails_in_one_line
from small_corpora import adapt, image, lines, report, wav

A, B, C, D, E = (f"{name[0]}/{name}/{name}.jpg" for name in ("abbey", *"bcde"))


def _json(path, entries, audio_base="/data/sls/placesaudio/"):
    path.parent.mkdir(parents=True, exist_ok=True)
    value = {"image_base_path": "/data/vision/", "audio_base_path": audio_base}
    path.write_text(json.dumps({**value, "data": entries}, ensure_ascii=False))


def _english(name, place):
    return {
        "uttid": f"SPEAKER-{name}",
        "speaker": "SPEAKER",
        "asr_text": f"a picture of {name}",
        "wav": f"wavs/1/utterance_{name}.wav",
        "image": place,
    }


def _hindi(name, place, split="train"):
    wav_path = f"hindi_wavs/{split}/{name}.wav"
    return {"speaker": "S", "asr_text": "चित्र", "wav": wav_path, "image": place}


@pytest.fixture
def tree(tmp_path):
    """English in the published tree; Hindi and Japanese wavs rooted elsewhere."""
    for index, place in enumerate((A, B, C, D, E)):
        image(tmp_path / "images" / place, index)
    english = tmp_path / "PlacesAudio_400k_distro"
    entries = {"a": A, "b": B, "c": C, "d": D}
    entries = {name: _english(name, place) for name, place in entries.items()}
    for name in entries:
        wav(english / "wavs" / "1" / f"utterance_{name}.wav")
    _json(
        english / "metadata" / "train.json", [entries["a"], entries["b"], entries["d"]]
    )
    _json(english / "metadata" / "val.json", [entries["c"]])
    for kind, name in (
        ("train", "a"),
        ("dev_seen", "b"),
        ("dev_unseen", "c"),
        ("test_seen", "d"),
    ):
        _json(english / "metadata" / f"{kind}_2020.json", [entries[name]])
    hindi = tmp_path / "PlacesHindi100k"
    _json(hindi / "PlacesHindi100k_train.json", [_hindi("h1", A), _hindi("h2", B)])
    _json(hindi / "PlacesHindi100k_dev.json", [_hindi("h3", C, "dev")])
    _json(hindi / "PlacesHindi100k_test.json", [_hindi("h4", E, "test")])
    for name in ("train/h1", "train/h2", "dev/h3", "test/h4"):
        wav(hindi / "moved" / "hindi_wavs" / f"{name}.wav")
    japanese = tmp_path / "PlacesAudioJpn_100k"
    japanese.mkdir()
    for split, pairs in {"train": [("j1", A), ("j2", B)], "valid": [("j3", C)]}.items():
        (japanese / f"PlacesAudioJpn_100k_image2audio_{split}.txt").write_text(
            "".join(f"/{place} /wav/{name[1]}/{name}.wav\n" for name, place in pairs)
        )
    for name in ("1/j1", "2/j2", "3/j3"):
        wav(japanese / f"{name}.wav")
    return tmp_path


FOLDERS = {
    "en": "PlacesAudio_400k_distro",
    "hi": "PlacesHindi100k",
    "ja": "PlacesAudioJpn_100k",
}


def _adapt(tree, languages, *arguments):
    folders = ",".join(f"{name}={tree}/{FOLDERS[name]}" for name in languages)
    flags = (f"--captions={folders}", f"--images={tree}/images", *arguments)
    return adapt("places_audio", tree / "m.jsonl", *flags)


def _splits(tree):
    return {name: line["split"] for name, line in lines(tree / "m.jsonl").items()}


def test_english_captions(tree):
    done = _adapt(tree, ["en"])
    assert done.returncode == 0, done.stderr
    found = lines(tree / "m.jsonl")
    assert found["en/SPEAKER-a"] == {
        "id": "en/SPEAKER-a",
        "media": "PlacesAudio_400k_distro/wavs/1/utterance_a.wav",
        "image": f"images/{A}",
        "language": "en",
        "split": "train",
        "recording_id": A,
        "duration_s": 1.0,
        "labels": {"speaker": "SPEAKER", "asr_text": "a picture of a"},
    }
    assert "3 recordings in train, 1 recording in val" in done.stdout
    _adapt(tree, ["en"], "--lists=2020")
    assert _splits(tree) == {
        "en/SPEAKER-a": "train",
        "en/SPEAKER-b": "dev_seen",
        "en/SPEAKER-c": "dev_unseen",
        "en/SPEAKER-d": "test_seen",
    }


def test_hindi_and_japanese_captions_are_found_where_they_lie(tree):
    _adapt(tree, ["hi"])
    found = lines(tree / "m.jsonl")
    assert {name: line["split"] for name, line in found.items()} == {
        "hi/hindi_wavs/dev/h3": "val",
        "hi/hindi_wavs/test/h4": "test",
        "hi/hindi_wavs/train/h1": "train",
        "hi/hindi_wavs/train/h2": "train",
    }
    line = found["hi/hindi_wavs/train/h1"]
    assert line["media"].endswith("moved/hindi_wavs/train/h1.wav")
    assert line["labels"]["asr_text"] == "चित्र"
    _adapt(tree, ["ja"])
    assert _splits(tree) == {"ja/wav/1/j1": "train", "ja/wav/2/j2": "train"} | {
        "ja/wav/3/j3": "val"
    }
    assert lines(tree / "m.jsonl")["ja/wav/1/j1"]["recording_id"] == A


def test_languages_are_joined_by_the_image(tree):
    # One image has captions in two languages of three.
    path = tree / "PlacesHindi100k" / "PlacesHindi100k_test.json"
    _json(path, [_hindi("h4", D, "test")])
    done = _adapt(tree, FOLDERS, "--join=inner", "--splits_of=ja")
    assert done.returncode == 0, done.stderr
    by_image = {}
    for line in lines(tree / "m.jsonl").values():
        by_image.setdefault(line["recording_id"], []).append(
            (line["language"], line["split"])
        )
    assert by_image == {
        A: [("en", "train"), ("hi", "train"), ("ja", "train")],
        B: [("en", "train"), ("hi", "train"), ("ja", "train")],
        C: [("en", "val"), ("hi", "val"), ("ja", "val")],
    }
    assert report(tree / "m.jsonl") == {"not joined": [D]}


def test_outer_joins_keep_the_splits_of_one_language(tree):
    # By the English lists of 2020 its images are elsewhere than by the Hindi lists.
    flags = (["en", "hi"], "--lists=2020")
    fails_in_one_line(_adapt(tree, *flags), "overlap")
    done = _adapt(tree, *flags, "--splits_of=hi")
    assert done.returncode == 0, done.stderr
    found = _splits(tree)
    assert found["en/SPEAKER-b"] == found["hi/hindi_wavs/train/h2"] == "train"
    assert found["en/SPEAKER-c"] == "val" and found["en/SPEAKER-d"] == "test_seen"
    assert report(tree / "m.jsonl") == {"own split": ["en/SPEAKER-d"]}


def test_known_defects_are_refused_until_dropped(tree):
    hindi = tree / "PlacesHindi100k"
    entries = [
        _hindi("h1", A),
        _hindi("h1", A),
        _hindi("h2", B),
        _hindi("zeros", D),
        _hindi("gone", D),
        _hindi("empty", D),
        _hindi("h3", C, "dev"),
        {**_hindi("h4", E, "test"), "image": "n/no/such.jpg"},
    ]
    _json(hindi / "PlacesHindi100k_train.json", entries)
    wav(hindi / "moved" / "hindi_wavs" / "train" / "zeros.wav", hz=0)
    (hindi / "moved" / "hindi_wavs" / "train" / "empty.wav").touch()
    done = _adapt(tree, ["hi"])
    fails_in_one_line(
        done,
        "1 dead (hi/hindi_wavs/train/empty",
        "1 duplicates (hi/hindi_wavs/train/h1: the same again)",
        "2 missing (hi/hindi_wavs/train/gone",
        "1 silent (hi/hindi_wavs/train/zeros",
        "2 overlap (hi/hindi_wavs/dev/h3: ",
        "; hi/hindi_wavs/test/h4: ",
    )
    done = _adapt(tree, ["hi"], "--drop=all")
    assert done.returncode == 0, done.stderr
    assert _splits(tree) == {
        "hi/hindi_wavs/dev/h3": "val",
        "hi/hindi_wavs/test/h4": "test",
        "hi/hindi_wavs/train/h1": "train",
        "hi/hindi_wavs/train/h2": "train",
    }


def test_merged_lists_hold_two_languages(tree):
    entry = {
        "uttid": "english only",
        "image": A,
        "english_wav": "wavs/1/utterance_a.wav",
        "english_speaker": "E",
        "hindi_wav": "train/h1.wav",
        "hindi_speaker": "H",
        "hindi_asr_text": "चित्र",
    }
    for path in (tree / "PlacesHindi100k").glob("*.json"):
        path.unlink()
    _json(tree / "PlacesHindi100k" / "hindi_english_100k_train.json", [entry])
    done = _adapt(tree, ["hi"])
    assert done.returncode == 0, done.stderr
    line = lines(tree / "m.jsonl")["hi/train/h1"]
    assert line["labels"] == {"speaker": "H", "asr_text": "चित्र"}
    assert line["media"].endswith("hindi_wavs/train/h1.wav")


def test_wrong_files_and_flags_end_in_one_line(tree):
    fails_in_one_line(_adapt(tree, ["en"], "--splits_of=ja"), "expected one of en")
    fails_in_one_line(_adapt(tree, ["en"], "--captions=en"), "--captions: expected")
    path = tree / "PlacesAudioJpn_100k" / "PlacesAudioJpn_100k_image2audio_train.txt"
    path.write_text(f"/{A} /wav/1/j1.wav\n/{B}\n")
    fails_in_one_line(_adapt(tree, ["ja"]), "train.txt: line 2: expected '/IMAGE /WAV'")
    path = tree / "PlacesHindi100k" / "PlacesHindi100k_dev.json"
    path.write_text('{"data": [{"wav": "x.wav"}]}')
    fails_in_one_line(
        _adapt(tree, ["hi"]), "caption 1: 'image' must be a str, got None"
    )
    for path in (tree / "PlacesAudio_400k_distro" / "metadata").glob("*[a-z].json"):
        path.unlink()
    fails_in_one_line(_adapt(tree, ["en"]), "only lists of 2020: add --lists=2020")
    done = _adapt(tree, ["en"], f"--captions=en={tree}/images")
    fails_in_one_line(done, "no list of captions in it")
