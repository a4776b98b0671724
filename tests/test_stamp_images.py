"""Images with spoken captions, built from the synthetic stamps."""

import dataclasses
import json
import os
import pathlib

import numpy as np
import pytest
from programs import fails_in_one_line, run

from avl_tf import media, records
from avl_tf.manifest import read_manifest
from avl_tf.records import record_index
from data_prep.demo_videos import (
    captioned_image,
    image_config,
    image_corpus,
    slideshow,
    synthetic_stamps,
)
from data_prep.demo_videos.stamp_concepts import Concept, Stamp

LANGUAGES = ("es", "ro", "ca")
CONFIG = image_config.ImageCorpusConfig(
    languages=LANGUAGES,
    train_images=("es:6", "ro:3", "ca:2"),
    val_images=2,
    eval_images=3,
    n_concepts=8,
)


@pytest.fixture(scope="module")
def stamps_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("stamps"))
    synthetic_stamps.write_synthetic_stamps(folder, LANGUAGES)
    return folder


@pytest.fixture(scope="module")
def corpus(stamps_dir, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("corpus"))
    image_corpus.build_corpus(stamps_dir, folder, CONFIG, synthetic=True, n_workers=2)
    return folder


def _recordings(corpus, language):
    return read_manifest(os.path.join(corpus, language, "manifest.jsonl"))


def _all_bytes(folder):
    return {
        os.path.relpath(os.path.join(directory, name), folder): open(
            os.path.join(directory, name), "rb"
        ).read()
        for directory, _, names in os.walk(folder)
        for name in names
    }


def test_an_image_has_a_caption_in_each_language_that_names_what_it_shows(corpus):
    n_names = {}
    for language, n_train in (("es", 6), ("ro", 3), ("ca", 2)):
        found = _recordings(corpus, language)
        splits = ["train"] * n_train + ["val"] * 2 + ["eval"] * 3
        assert [one.split for one in found] == splits
        for one in found:
            assert one.language == language and one.synthetic
            assert one.id == f"{language}/{one.recording_id}"
            assert os.path.basename(one.image) == f"{one.recording_id}.jpg"
            assert media.read_image(one.image).shape == (256, 256, 4)
            names = sorted(one.labels["names"])
            assert len(set(names)) in (2, 3)
            assert n_names.setdefault(one.recording_id, names) == names
    assert len(n_names) == 11 and {len(n) for n in n_names.values()} == {2, 3}


def test_names_are_heard_where_the_labels_say_and_half_have_their_sound(corpus):
    card = json.loads(pathlib.Path(corpus, "corpus.json").read_text())
    can_sound = {one["name"] for one in card["concepts"] if one["natural_sound"]}
    sounds = []
    for language in LANGUAGES:
        for one in _recordings(corpus, language):
            waveform = media.read_waveform(one.media)
            told = [one.labels[key] for key in ("names", "spans_s", "speeds", "sounds")]
            for name, (start_s, end_s), speed, with_sound in zip(*told, strict=True):
                start, end = round(16000 * start_s), round(16000 * end_s)
                word = synthetic_stamps.word(language, name.replace(" ", "_"))
                spoken = slideshow.speak(word, speed)
                assert end - start == pytest.approx(len(spoken), abs=800)
                # 0.2 s of it, from 50 ms on: where it was trimmed is not known.
                sample, around = spoken[800:4000], waveform[start : start + 6000]
                place = int(np.argmax(np.correlate(around, sample, "valid")))
                found = around[place:][: len(sample)]
                assert np.corrcoef(found, sample)[0, 1] > 0.9
                # Before it is silence of 0.15 s, or of 0.1 s after a sound.
                before = waveform[start - 2300 : start - 1700]
                assert (abs(before).max() > 0.01) == with_sound
                assert not with_sound or name in can_sound
                if name in can_sound:
                    sounds.append(with_sound)
    assert 0.25 < np.mean(sounds) < 0.75


def test_validation_and_evaluation_show_what_training_does_not():
    config = dataclasses.replace(
        CONFIG, train_images=("es:400", "ro:3", "ca:2"), val_images=6, eval_images=8
    )
    drawn = image_corpus.combinations(config)
    held_out = drawn["val"] + drawn["eval"]
    assert [len(drawn[s]) for s in ("train", "val", "eval")] == [400, 6, 8]
    assert len(set(held_out)) == 14 and not set(held_out) & set(drawn["train"])
    # All others are seen: it is not that few are drawn.
    assert len(set(drawn["train"])) > 60
    fewer = image_corpus.combinations(
        dataclasses.replace(config, train_images=("es:40", "ro:3", "ca:2"))
    )
    assert fewer == {**drawn, "train": drawn["train"][:40]}


def test_same_seed_gives_the_same_bytes_and_another_other_ones(
    corpus, stamps_dir, tmp_path
):
    for name, seed in (("same", 0), ("other", 1)):
        config = dataclasses.replace(CONFIG, seed=seed)
        folder = str(tmp_path / name)
        image_corpus.build_corpus(stamps_dir, folder, config, synthetic=True)
    before = _all_bytes(corpus)
    assert _all_bytes(str(tmp_path / "same")) == before
    other = _all_bytes(str(tmp_path / "other"))
    assert len(set(before.values()) | set(other.values())) == 2 * len(before)


def test_build_again_makes_what_is_missing_and_leaves_another_corpus(
    corpus, stamps_dir
):
    before = _all_bytes(corpus)
    kept = os.path.join(corpus, "images", "val-00000.jpg")
    os.utime(kept, (1, 1))
    for name in ("images/eval-00001.jpg", "ro/captions/val-00000.wav"):
        os.remove(os.path.join(corpus, name))
    image_corpus.build_corpus(stamps_dir, corpus, CONFIG, synthetic=True)
    assert _all_bytes(corpus) == before and os.path.getmtime(kept) == 1
    config = dataclasses.replace(CONFIG, max_names=2, val_images=1)
    with pytest.raises(ValueError, match="val_images was 2, now 1; max_names was 3"):
        image_corpus.build_corpus(stamps_dir, corpus, config, synthetic=True)
    assert _all_bytes(corpus) == before


def test_stamps_of_an_image_are_whole_and_apart():
    def concept(colour):
        image = np.zeros((40, 60, 4), np.uint8)
        image[...] = (*colour, 255)
        return Concept(Stamp("", "", {}, "", {}, None), image, {}, None)

    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    places = set()
    for seed in range(20):
        picture = captioned_image.render_image(
            CONFIG.recipe, list(map(concept, colours)), np.random.default_rng(seed)
        )
        for colour in colours:
            shown = (picture == colour).all(axis=2)
            rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
            assert shown.sum() == len(rows) * len(columns)
            assert 0.64 < len(columns) / 128 < 0.96
            places.add((colour, rows[0] // 128, columns[0] // 128))
    assert len(places) == 12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"languages": ("es", "es")}, "none twice"),
        ({"train_images": ("es:1",)}, "training images .* give one for each"),
        ({"min_names": 4}, "min_names=4 is above --max_names=3"),
        ({"n_concepts": 4}, "4 concepts make too few combinations for 5 images"),
        (
            {"val_images": 0, "eval_images": 0, "train_images": ("es:1", "ro:0")},
            "give one for each",
        ),
    ],
)
def test_config_with_settings_that_clash_raises(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **changes)


def test_program_makes_what_extraction_reads(tmp_path):
    done = run(
        "data_prep.stamp_images",
        "--flagfile=bilingual_corpus.flags",
        "--synthetic",
        "--train_images=es:2,ro:1,ca:1",
        "--val_images=1",
        "--eval_images=0",
        "--n_concepts=5",
        f"--out_dir={tmp_path}",
    )
    assert done.returncode == 0, done.stderr
    card = json.loads((tmp_path / "corpus.json").read_text())
    assert card["synthetic"] and card["counts"]["es"]["train"]["images"] == 2
    assert "combinations" in card["limits"] and len(card["concepts"]) == 5
    with open(tmp_path / "ca" / "manifest.jsonl") as lines:
        assert len(list(lines)) == 2
    ids = {}
    for language in ("es", "ro"):
        folder = tmp_path / language
        done = run(
            "data_prep.extract",
            f"--manifest={folder}/manifest.jsonl",
            f"--out_dir={folder}/records",
            "--backbone_2d=efficientnet_lite0",
        )
        assert done.returncode == 0, done.stderr
        found = records.open_records(str(folder / "records" / "train"))
        spec = found.spec
        assert spec.features_2d.dim == 1280 and spec.languages == (language,)
        ids[language] = {
            entry.recording_id for entry in record_index.list_records(found)
        }
    assert ids["ro"] < ids["es"]


def test_program_with_bad_settings_ends_with_one_line(tmp_path):
    bad = "--synthetic", "--stamps_dir=x"
    done = run("data_prep.stamp_images", f"--out_dir={tmp_path}", *bad)
    fails_in_one_line(done, "exclude each other")
