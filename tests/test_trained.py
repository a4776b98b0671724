"""The one door: a trained model by its folder, and what it embeds."""

import dataclasses
import pathlib
import shutil
import subprocess
import sys

import corpus
import made_media
import narrated
import numpy as np
import pytest
from PIL import Image
from programs import environment

import avl_tf
from avl_tf import (
    dataset,
    evaluation,
    extraction,
    files,
    media,
    runs,
    serving,
    trained,
    training,
)
from avl_tf.dataset import ClipConfig
from avl_tf.evaluation import EvaluationConfig
from avl_tf.manifest import Recording
from avl_tf.records import FeatureSpec, Record, open_records
from avl_tf.settings.extraction import ExtractionConfig
from avl_tf.settings.stage import StageConfig

CLIP_S = 4.0
SMALL = {"audio_widths": (8, 8, 16), "embedding_dim": 16, "visual_scale": 20.0}
SEEN = {"features_2d": FeatureSpec("efficientnet_lite0", 1280, 1.0)}
EXTRACTION = ExtractionConfig("efficientnet_lite0", "", "", "")


@pytest.fixture(scope="module")
def media_folder(tmp_path_factory):
    """Two videos longer than a clip, and one whose sound ends before its pictures."""
    folder = tmp_path_factory.mktemp("media")
    for seed in range(2):
        narrated.write_narrated(folder / f"long{seed}.mp4", n_sentences=1, seed=seed)
    frames = [made_media.noise(seed, 96, 128) for seed in range(4)]
    made_media.make_media(
        folder / "short.mkv", frames * 16, made_media.sine(2.4, hz=700), fps=25
    )
    return folder


def _train(folder, made, model=SMALL, reference="stored", **spec):
    records = corpus.write_records(str(folder / "records"), made, n_shards=1, **spec)
    stage = StageConfig(records=records, epochs=0, batch_size=2)
    base = training.base_model_config(stage, None)
    clips = ClipConfig(clip_s=2.0, clips_per_recording=4, log_mel_reference=reference)
    evaluated = EvaluationConfig((f"x={records}",), evaluation_clip_s=CLIP_S)
    config = dataclasses.replace(base, **model)
    training.train_stage(str(folder / "run"), stage, clips, evaluated, config)
    return records


@pytest.fixture(scope="module")
def run(media_folder, tmp_path_factory):
    """The paths, a run directory, and what evaluation embeds of the media's records."""
    paths = sorted(str(path) for path in media_folder.iterdir())
    recordings = [Recording(path, path, recording_id=path) for path in paths]
    made = list(extraction.extract(recordings, EXTRACTION))
    assert all(isinstance(one, Record) for one in made), made
    folder = tmp_path_factory.mktemp("trained")
    records, run_dir = _train(folder, made, **SEEN), str(folder / "run")
    return paths, run_dir, _evaluated(run_dir, records)


def _evaluated(run_dir, records):
    look = trained.look(run_dir)
    batches = dataset.evaluation_batches(
        look.as_read(open_records(records)), CLIP_S, 2, look.log_mel_reference
    )
    return evaluation.embed_all(look.load().embed, batches)[0]


def _assert_close(found, expected):
    assert found.shape == expected.shape and found.dtype == np.float32
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def _cosine(a, b):
    return np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b)


def test_looking_at_a_model_loads_nothing_of_training():
    code = "import sys, avl_tf.trained; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True
    )
    loaded = done.stdout.split()
    assert "avl_tf.trained.embedder" in loaded
    assert not [name for name in loaded if name.startswith("avl_tf.training")]


def test_importing_the_package_does_not_import_tensorflow():
    code = "import sys, avl_tf; print('tensorflow' in sys.modules, avl_tf.load)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True
    )
    assert done.stdout.startswith("False <function load")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["run", "export"])
def test_files_are_embedded_as_evaluation_embeds_their_records(run, kind, caplog):
    paths, run_dir, expected = run
    model = avl_tf.load(serving.export(run_dir) if kind == "export" else run_dir)
    assert model.languages == ("xx",) and model.embedding_dim == 16
    assert model.clip_s == CLIP_S
    audio, video = model.embed_audio(paths), model.embed_video(paths)
    _assert_close(audio, expected["audio"])
    _assert_close(video, expected["visual"])
    assert "2 of 3 recordings are longer than 4 s and were cut to it" in caplog.text
    _assert_close(model.embed_audio(paths[1]), expected["audio"][1:2])
    np.testing.assert_allclose(
        model.similarity(audio, video[:2]), audio @ video[:2].T, rtol=1e-6
    )
    assert model.embed_audio([]).shape == (0, 16)


@pytest.mark.slow
def test_a_model_that_hears_clips_alone_is_given_them_so(tmp_path):
    loud_at_the_end = made_media.sine(6, rate=16000) * np.linspace(0.01, 1, 96000)
    sound, picture = str(tmp_path / "a.wav"), str(tmp_path / "a.png")
    media.write_wav(sound, loud_at_the_end.astype(np.float32), 16000)
    Image.fromarray(made_media.noise(3, 300, 260)).save(picture)
    made = list(extraction.extract([Recording("a", sound, picture)], EXTRACTION))
    embedded = []
    for reference in ("stored", "clip"):
        folder = tmp_path / reference
        records = _train(folder, made, reference=reference, **SEEN)
        found = avl_tf.load(str(folder / "run")).embed_audio(sound)
        _assert_close(found, _evaluated(str(folder / "run"), records)["audio"])
        embedded.append(found)
    assert np.abs(embedded[0] - embedded[1]).max() > 1e-3 * np.abs(embedded[0]).max()


@pytest.mark.slow
def test_arrays_are_embedded_as_the_files_they_come_from(run):
    paths, run_dir, expected = run
    model = avl_tf.load(run_dir)
    at_16, at_48 = (media.read_waveform(paths[0], rate) for rate in (16000, 48000))
    found = model.embed_audio([(at_16, 16000), (np.int16(at_16 * 32768), 16000)])
    _assert_close(found, np.repeat(expected["audio"][:1], 2, axis=0))
    assert _cosine(model.embed_audio((at_48, 48000)), found[:1]) > 0.999
    # Scaled from RGB, where a file's are scaled from what is stored.
    frames = media.read_frames(paths[0], fps=5)
    assert _cosine(model.embed_video((frames, 5)), expected["visual"][:1]) > 0.99
    as_seen = media.read_frames(paths[0], fps=1, short_side=224)
    _assert_close(model.embed_video((as_seen, 1)), expected["visual"][:1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["png", "jpg", "JPG", "webp"])
def test_an_image_is_seen_as_its_record_is(run, tmp_path, kind):
    _, run_dir, _ = run
    path, sound = str(tmp_path / f"a.{kind}"), str(tmp_path / "a.wav")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned
    Image.fromarray(made_media.noise(3, 300, 260)).save(path, exif=exif)
    media.write_wav(sound, made_media.sine(1, rate=16000).astype(np.float32), 16000)
    (record,) = extraction.extract([Recording("a", sound, path)], EXTRACTION)
    records = corpus.write_records(str(tmp_path / "one"), [record], n_shards=1, **SEEN)
    expected = _evaluated(run_dir, records)
    model = avl_tf.load(run_dir)
    _assert_close(model.embed_video(path), expected["visual"])
    _assert_close(model.embed_audio(sound), expected["audio"])


@pytest.mark.slow
def test_a_model_that_sees_images_takes_them(tmp_path):
    config = dataclasses.replace(EXTRACTION, backbone_2d="", keep_images=True)
    recordings = []
    for number in range(2):
        path = str(tmp_path / f"{number}.{('png', 'jpg')[number]}")
        sound = str(tmp_path / f"{number}.wav")
        Image.fromarray(made_media.noise(number, 300, 260)).save(path)
        tone = made_media.sine(1, rate=16000, hz=500 + 200 * number)
        media.write_wav(sound, tone.astype(np.float32), 16000)
        recordings.append(Recording(str(number), sound, path))
    made = list(extraction.extract(recordings, config))
    sees = {**SMALL, "image_encoder": "resnet18", "image_width": 0.125}
    records = _train(tmp_path, made, sees, features_2d=None, images=True)
    expected = _evaluated(str(tmp_path / "run"), records)
    model = avl_tf.load(str(tmp_path / "run"))
    paths = [recording.image for recording in recordings]
    _assert_close(model.embed_video(paths), expected["visual"])
    with pytest.raises(ValueError, match="not an image, and the model sees images"):
        model.embed_video(recordings[0].media)
    with pytest.raises(ValueError, match="got 2 frames: give 1"):
        model.embed_video((np.zeros((2, 8, 8, 3), np.uint8), 1))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A run on features of a backbone that needs a file of weights."""
    folder = tmp_path_factory.mktemp("drawn")
    made = [corpus.make_record(f"r{i}") for i in range(4)]
    _train(folder, made, features_2d=FeatureSpec("resnet18", 12, 1.0))
    return str(folder / "run")


def test_a_backbone_without_weights_is_told_with_the_argument(drawn, media_folder):
    model = avl_tf.load(drawn)
    path = str(media_folder / "short.mkv")
    assert model.embed_audio(path).shape == (1, 16)
    with pytest.raises(ValueError, match=r"resnet18.*load\(\.\.\., weights_2d=FILE\)"):
        model.embed_video(path)


@pytest.mark.parametrize(
    "given, text",
    [
        ((np.zeros((2, 100), np.float32), 16000), "Mix channels to one"),
        ((np.zeros(100, np.int64), 16000), "got int64"),
        ((np.full(100, np.nan, np.float32), 16000), "finite numbers"),
        ((np.full(100, 9000.0), 16000), r"in \[-1, 1\], got some up to 9000"),
        (np.ones(100, np.float32), "source 0 of 1 is a ndarray, expected a path"),
        (
            [(np.ones(9), 16000), (16000, np.ones(9))],
            "1 of 2 is a .int, ndarray",
        ),
        ((np.ones(100), "16000"), "is a .ndarray, str."),
        ((np.ones(100), 16000, 1), "expected a path, or a pair"),
        ("s3://bucket/a.wav", "sources are local: copy it first"),
        ((np.zeros(0, np.float32), 16000), "no samples"),
        ((np.ones(100, np.float32), 0), "has a rate of 0, expected one above 0"),
        (("a.wav", "b.wav"), "Several sources are given as a list"),
        *(
            ((np.ones(100, np.float32), rate), "a whole rate from 4000 to 384000 Hz")
            for rate in (0.5, 1, 3999, 16000.5, 384_001, 2**31)
        ),
        ((np.zeros(100, np.float32), 16000), "nothing but zeros"),
    ],
)
def test_a_wrong_waveform_is_told(drawn, given, text):
    with pytest.raises((ValueError, media.MediaError), match=text):
        avl_tf.load(drawn).embed_audio(given)


def test_paths_of_all_kinds_and_odd_numbers_are_taken(drawn):
    model = avl_tf.load(pathlib.Path(drawn))
    tone = made_media.sine(1, rate=16000)
    one = model.embed_audio((tone, np.int64(16000)))
    np.testing.assert_array_equal(one, model.embed_audio((tone, 16000.0)))
    for wrong in (one[0], one[:, :8]):
        with pytest.raises(ValueError, match=r"embeddings are \[N, 16\]"):
            model.similarity(one, wrong)


def test_weights_that_are_of_no_use_are_told_at_load(drawn):
    with pytest.raises(FileNotFoundError, match="weights_2d=nope.pth: no such file"):
        avl_tf.load(drawn, weights_2d="nope.pth")
    with pytest.raises(ValueError, match="has no such features"):
        avl_tf.load(drawn, weights_3d=pathlib.Path(drawn) / "run.json")


def test_a_folder_beside_the_model_is_told_with_what_is_meant(drawn):
    path = serving.export(drawn)
    exports, above = path.rpartition("/")[0], drawn.rpartition("/")[0]
    for wrong, meant in ((exports, path), (above, drawn)):
        with pytest.raises(FileNotFoundError, match=f"is {meant} meant"):
            avl_tf.load(wrong)
    for wrong in (exports, drawn):
        with pytest.raises(FileNotFoundError, match="not an export.*export/1 meant"):
            trained.look_at_export(wrong)


def test_a_damaged_export_is_told(drawn, tmp_path):
    path = serving.export(drawn)
    copied = shutil.copytree(path, tmp_path / "export")
    (copied / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ValueError, match="export: damaged .* Run avl_tf.export again"):
        avl_tf.load(copied)


def test_a_damaged_list_of_checkpoints_is_told(drawn, tmp_path):
    copied = shutil.copytree(drawn, tmp_path / "run")
    (copied / "checkpoints" / "checkpoint").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="checkpoints/checkpoint: damaged"):
        avl_tf.load(copied)


def test_a_file_that_is_not_there_or_mute_is_told(drawn, tmp_path):
    model = avl_tf.load(drawn)
    with pytest.raises(FileNotFoundError, match="nothing.wav"):
        model.embed_audio([str(tmp_path / "nothing.wav")])
    frames = [made_media.noise(seed) for seed in range(3)]
    mute = made_media.make_media(tmp_path / "mute.mp4", frames)
    with pytest.raises(media.MediaError, match="no audio stream"):
        model.embed_audio(str(mute))
    with pytest.raises(FileNotFoundError, match="neither a run directory nor"):
        avl_tf.load(str(tmp_path))


def test_an_older_run_json_is_brought_up_and_a_newer_one_refused(drawn, tmp_path):
    path = files.join(drawn, "run.json")
    value = files.read_json(path)
    assert value["format"] == 3
    older = {k: v for k, v in value.items() if k not in ("format",)}
    del older["evaluation_fingerprints"], older["weights"]
    files.write_json(files.join(str(tmp_path), "run.json"), older)
    expected = dataclasses.replace(
        runs.read_info(drawn), evaluation_fingerprints={}, weights=None
    )
    assert runs.read_info(str(tmp_path)) == expected
    files.write_json(files.join(str(tmp_path), "run.json"), {**value, "format": 99})
    with pytest.raises(ValueError, match="its format is 99"):
        runs.read_info(str(tmp_path))
