"""avl_tf.search: a spoken query in, moments of videos out."""

import dataclasses
import json
import os
import shutil
import wave

import corpus
import made_media
import numpy as np
import pytest
from programs import fails_in_one_line, run

from avl_tf import media, trained, training
from avl_tf.commands import searching
from avl_tf.dataset import ClipConfig
from avl_tf.errors import UserError
from avl_tf.evaluation import EvaluationConfig
from avl_tf.model import ModelConfig
from avl_tf.records import FeatureSpec
from avl_tf.retrieval import (
    ModelNote,
    calibrating,
    engine,
    making,
    moments,
    same_model,
    tasks,
)
from avl_tf.retrieval.answers import Answer, Hit
from avl_tf.retrieval.calibrated import Kept
from avl_tf.retrieval.calibration import Scale
from avl_tf.retrieval.entries import Embedded, Source, Span, Window
from avl_tf.retrieval.writing import writing
from avl_tf.settings.stage import StageConfig

DIM, N = 16, 4
SEEN = FeatureSpec("efficientnet_lite0", 1280, 1.0)


def _query(number):
    return made_media.sine(1.0, hz=300 * 2**number, rate=16000)


def _write_wav(path, waveform):
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes(np.round(waveform * 32767).astype("<i2").tobytes())
    return path


def _train(folder, name, seed):
    random = np.random.default_rng(seed)
    made = [
        corpus.make_record(
            f"r{i}", features_2d=random.uniform(0, 0.03, (8, 1280)).astype(np.float16)
        )
        for i in range(4)
    ]
    records = corpus.write_records(
        str(folder / f"records-{name}"), made, features_2d=SEEN
    )
    stage = StageConfig(records=records, epochs=0, batch_size=4, seed=seed)
    config = ModelConfig((1280,), audio_widths=(8, 8, 16), embedding_dim=DIM)
    clips, evaluated = ClipConfig(clip_s=2.0), EvaluationConfig()
    training.train_stage(str(folder / name), stage, clips, evaluated, config)
    return str(folder / name)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model, and an index in which query i fits the second moment of video i."""
    folder = tmp_path_factory.mktemp("search")
    model = _train(folder, "run", 0)
    embedder = trained.load(model)
    heard = embedder.embed_audio([(_query(i), 16000) for i in range(N)])
    wanted = 10 * np.linalg.pinv(heard).T  # heard @ wanted.T is 10 on the diagonal
    index = str(folder / "index")
    with writing(index) as writer:
        writer.claim(ModelNote(model, embedder.digest, DIM, ("xx",)))
        for i in range(N):
            path = folder / f"v{i}.mp4"
            path.write_bytes(b"v" * (i + 1))
            # Windows of 10 s that overlap by half; a moment is found once.
            spans = tuple(Span(5.0 * j, 5.0 * j + 10, f"w{j}") for j in range(6))
            visual = np.outer([0.1, 0.5, 1, 0.6, 0.2, 0.1], wanted[i])
            audio = np.outer([0.1, 0.5, 1, 0.6, 0.2, 0.1], heard[i])
            audio /= np.linalg.norm(heard[i])
            source = Source(str(path), f"v{i}", f"v{i}", "xx", size=i + 1)
            spans = tuple(
                dataclasses.replace(span, first_step=5 * j, n_steps=10)
                for j, span in enumerate(spans)
            )
            steps = np.repeat(np.append(visual, [visual[-1]], axis=0), 5, axis=0)
            found = Embedded(source, 35.0, spans, visual, audio, steps, 0.0, 1.0)
            writer.add([found])
    return folder, index, model, embedder


def _search(index, *arguments):
    return run("avl_tf.search", f"--index_dir={index}", "--norerank", *arguments)


def test_json_is_the_list_and_nothing_else(made, tmp_path):
    folder, index, _, _ = made
    wav = _write_wav(tmp_path / "q.wav", _query(2))
    done = _search(index, f"--audio={wav}", "--json", "--n=4")
    assert done.returncode == 0, done.stderr
    hits = json.loads(done.stdout)
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4]
    assert list(hits[0])[-2:] == ["threshold", "reason"]
    assert hits[0]["threshold"] is None and "--validation" in hits[0]["reason"]
    first = hits[0]
    assert list(first)[:2] == ["rank", "recording_id"]
    assert (first["recording_id"], first["start_s"], first["end_s"]) == ("v2", 10, 20)
    assert first["media"] == str(folder / "v2.mp4") and first["match"] is None
    assert first["score"] == pytest.approx(10, rel=0.02)
    assert [hit["score"] for hit in hits] == sorted(
        (hit["score"] for hit in hits), reverse=True
    )
    # What is left of v2 beside its best window is moments of their own.
    assert [(h["recording_id"], h["start_s"]) for h in hits].count(("v2", 20)) == 1
    assert not [
        h for h in hits if h["recording_id"] == "v2" and h["start_s"] in (5, 15)
    ]


def test_the_table_tells_of_media_that_are_gone(made, tmp_path):
    folder, index, _, _ = made
    copy = str(tmp_path / "copy")
    shutil.copytree(index, copy)
    wav = _write_wav(tmp_path / "q.wav", _query(1))
    os.rename(folder / "v1.mp4", folder / "elsewhere.mp4")
    try:
        done = _search(copy, f"--audio={wav}", "--n=2")
    finally:
        os.rename(folder / "elsewhere.mp4", folder / "v1.mp4")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["rank", "media", "span", "score"]
    assert lines[1].split() == ["1", "v1.mp4", "0:10-0:20", "10.00"]
    assert f"{folder}/v1.mp4: deleted or moved since it was indexed" in lines
    assert "--validation=RECORDS" in lines[-1]


def test_by_voice_and_by_what_is_seen(made, tmp_path):
    _, index, _, embedder = made
    wav = _write_wav(tmp_path / "q.wav", _query(3))
    done = _search(index, f"--audio={wav}", "--output=audio", "--json", "--n=1")
    assert json.loads(done.stdout)[0]["score"] > 0
    video = tmp_path / "seen.mp4"
    made_media.make_media(video, [made_media.noise(0)] * 50, fps=25)
    done = _search(index, f"--video={video}", "--json", "--n=3")
    assert done.returncode == 0, done.stderr
    (vector,) = embedder.embed_video(str(video))
    with_heard = engine.Engine.open(index)
    expected = with_heard.search(str(video), "video", "audio", n=3, rerank=False)
    hits = json.loads(done.stdout)
    assert [hit["window_id"] for hit in hits] == [h.window_id for h in expected.hits]
    rows = with_heard.finder.index("audio").rows(np.array([hits[0]["window_id"]]))
    assert hits[0]["score"] == pytest.approx(float(rows[0] @ vector), rel=1e-3)


def test_rerank_narrows_and_orders_by_steps(made, tmp_path):
    _, index, _, embedder = made
    searched = engine.Engine.open(index)
    query = (_query(2).astype(np.float32), 16000)
    plain = searched.search(query, rerank=False)
    found = searched.search(query)
    first = found.hits[0]
    assert first.recording_id == "v2" and first.score != plain.hits[0].score
    (window,) = searched.store.windows([first.window_id])
    assert window.start_s <= first.start_s < first.end_s <= window.end_s
    assert first.end_s - first.start_s < 10  # narrowed
    heard = embedder.embed_audio_steps(query)
    steps = searched.store.steps(first.window_id)[0].astype(np.float32)
    dense = (heard.steps @ steps.T).max(axis=1).mean()
    row = searched.finder.index("visual").rows(np.array([first.window_id]))[0]
    expected = 0.2 * row @ heard.embedding + 0.8 * dense
    assert first.score == pytest.approx(expected, rel=1e-4)
    assert [h.score for h in found.hits] == sorted(h.score for h in found.hits)[::-1]


def test_the_microphone_is_the_default_input(made, tmp_path, monkeypatch):
    folder, index, _, _ = made
    monkeypatch.setenv("ALSA_CONFIG_PATH", f"{tmp_path}/none.conf")
    fails_in_one_line(_search(index, "--microphone"), "--microphone", "--audio=FILE")
    # A microphone that hears the second query, by ALSA's own plugin.
    sound = made_media.sine(3.0, hz=600, rate=48000) * 32767
    np.round(sound).astype("<i2").repeat(2).tofile(tmp_path / "sound.raw")
    (tmp_path / "alsa.conf").write_text(
        "pcm.!default { type file slave.pcm { type null } file /dev/null "
        f"infile {tmp_path}/sound.raw format raw }}"
    )
    monkeypatch.setenv("ALSA_CONFIG_PATH", f"{tmp_path}/alsa.conf")
    done = _search(index, "--microphone", "--record_s=1", "--json", "--n=1")
    assert done.returncode == 0, done.stderr
    assert "press Enter" in done.stderr
    assert json.loads(done.stdout)[0]["recording_id"] == "v1"


def test_a_calibrated_index_says_what_fits(made, tmp_path, monkeypatch, caplog):
    folder, index, _, _ = made
    copy = str(tmp_path / "copy")
    shutil.copytree(index, copy)
    with writing(copy) as writer:
        kept = calibrating.calibrate(writer, str(folder / "records-run" / "train"))
        assert kept.n_queries == 16
        assert "4 of 4 recordings are among the training records" in caplog.text
        assert not kept.is_stale(26) and kept.is_stale(27)  # of 24 windows
        assert Kept.of(writer) == kept
        # A tone is not like the clips.
        searches = {
            name: dataclasses.replace(one, ranges=((-1e9, 1e9),) * 3)
            for name, one in kept.searches.items()
        }
        dataclasses.replace(kept, searches=searches).put(writer)
    assert set(kept.searches) == {"audio-video", "video-audio", "audio-video-steps"}
    wav = _write_wav(tmp_path / "q.wav", _query(2))
    done = run("avl_tf.search", f"--index_dir={copy}", f"--audio={wav}", "--json")
    hits = json.loads(done.stdout)
    assert all(isinstance(hit["match"], bool) for hit in hits)
    precisions = [hit["precision"] for hit in hits]
    assert precisions == sorted(precisions, reverse=True) and 0 <= precisions[-1] <= 1
    searched = engine.Engine.open(copy)
    answer = searched.search(str(wav))
    assert answer.match == hits[0]["match"] == (hits[0]["score"] > answer.threshold)
    assert "16 validation clips" in answer.calibrated
    # Of a threshold that nothing reaches, the table says so.
    strict = engine.Engine.open(copy, error_rate=0.01).search(str(wav))
    assert strict.match is False and strict.threshold is None
    assert not any(hit.match for hit in strict.hits)
    done = run(
        "avl_tf.search", f"--index_dir={copy}", f"--audio={wav}", "--error_rate=0.01"
    )
    assert done.stdout.startswith("Nothing fits. 16 validation clips are too few")
    assert "precision" in done.stdout and "%" in done.stdout
    monkeypatch.setattr(searched.finder, "scale", lambda *_: Scale(1e12, 0.0, 1.0))
    odd = searched.search(str(wav))
    assert odd.match is False and odd.hits[0].precision is None
    assert "unlike all validation clips" in odd.calibrated
    assert "--validation=RECORDS" in odd.calibrated
    assert copy not in odd.calibrated  # the page shows it
    (first, *_) = odd.as_list()
    assert first["threshold"] is None and first["reason"] == odd.calibrated
    assert "of queries like the 16 validation clips" in answer.calibrated
    assert answer.as_list()[0]["threshold"] == answer.threshold
    voice = searched.search(str(wav), output="audio")
    assert voice.match is None and "not calibrated for such" in voice.calibrated
    with writing(copy) as writer:  # as a version that named its measures otherwise
        searches = {k: dataclasses.replace(v, kind="x") for k, v in searches.items()}
        dataclasses.replace(kept, searches=searches).put(writer)
        assert Kept.of(writer) is None


def test_of_two_hours_only_the_beginning_is_read(made, tmp_path, monkeypatch):
    _, index, _, _ = made
    monkeypatch.setattr(engine, "_LONGEST_S", 3)
    long = _write_wav(tmp_path / "long.wav", np.tile(_query(1), 8))
    searched = engine.Engine.open(index)
    found = searched.search(str(long), rerank=False)
    short = (np.tile(_query(1), 3).astype(np.float32), 16000)
    expected = searched.search(short, rerank=False)
    assert found.hits[0].score == pytest.approx(expected.hits[0].score, rel=1e-3)
    monkeypatch.setattr(engine, "_LONGEST_S", 1.5)
    other = searched.search(str(long), rerank=False)
    assert other.hits[0].score != pytest.approx(expected.hits[0].score, rel=1e-3)


def test_more_like_a_window_without_itself(made):
    _, index, _, _ = made
    found = engine.Engine.open(index).search(8, "window", n=30, rerank=False)
    spans = [(hit.recording_id, hit.start_s) for hit in found.hits]
    assert (
        ("v1", 10) not in spans and ("v1", 5) not in spans and ("v1", 15) not in spans
    )
    assert len(set(spans)) == len(spans) > 5


def test_what_is_wrong_is_told_in_one_line(made, tmp_path):
    folder, index, model, _ = made
    wav = _write_wav(tmp_path / "q.wav", _query(0))
    empty, text = tmp_path / "empty.wav", tmp_path / "text.wav"
    _write_wav(empty, np.zeros(0))
    text.write_text("not a sound\n")
    for path, words in (
        (empty, "empty.wav: nothing in its audio stream"),
        (text, "text.wav"),
        ("/no.wav", "no such"),
    ):
        fails_in_one_line(_search(index, f"--audio={path}"), words)
    mute = tmp_path / "sound.mp4"
    made_media.make_media(mute, sound=made_media.sine(1.0))
    fails_in_one_line(_search(index, f"--video={mute}"), f"--audio={mute}")
    image = tmp_path / "image.png"
    media.write_image(image, made_media.noise(0))
    fails_in_one_line(_search(tmp_path, f"--audio={image}"), f"--image={image}")
    fails_in_one_line(_search(tmp_path / "none", f"--audio={wav}"), "not an index")
    fails_in_one_line(_search(tmp_path, f"--audio={wav}"), "no index here")
    other = _train(tmp_path, "other", 1)
    done = _search(index, f"--audio={wav}", f"--model={other}")
    fails_in_one_line(done, "another model")
    done = _search(index, f"--audio={wav}", f"--model={tmp_path}/gone")
    fails_in_one_line(done, "--model=FOLDER")
    with writing(str(tmp_path / "new")) as writer:
        writer.claim(ModelNote(model, trained.load(model).digest, DIM))
    fails_in_one_line(_search(tmp_path / "new", f"--audio={wav}"), "an empty index")
    with writing(str(tmp_path / "bare")):
        pass
    bare = _search(tmp_path / "bare", f"--audio={wav}")
    fails_in_one_line(bare, "nothing is yet", "--model=MODEL --videos=DIR")
    fails_in_one_line(_search(index), "Give either")
    fails_in_one_line(_search(index, f"--audio={wav}", "--image=x"), "Give either")


def test_a_model_that_computes_otherwise_than_then_is_refused(made, tmp_path):
    _, index, model, embedder = made
    copy = str(tmp_path / "copy")
    shutil.copytree(index, copy)
    golden = same_model.golden(embedder)
    note = ModelNote(model, embedder.digest, DIM, ("xx",), golden)
    with writing(copy) as writer:
        writer.put_note("model", dataclasses.asdict(note))
    engine.Engine.open(copy)
    making.describe(tasks.Model(model), note, copy)
    value = golden["audio_embedding"][0]
    value[3] += 0.01 * max(map(abs, value))
    with writing(copy) as writer:
        writer.put_note("model", dataclasses.asdict(note))
    told = "does not embed the golden input.*audio_embedding is off by 0.01 .*--rebuild"
    with pytest.raises(UserError, match=told):
        engine.Engine.open(copy)
    with pytest.raises(UserError, match=told):  # nothing is added to it either
        making.describe(tasks.Model(model), note, copy)
    golden["on_gpu"] = True  # they multiply with shorter numbers
    value[3] -= 0.005 * max(map(abs, value))
    same_model.require_golden(embedder, note, copy)
    for damage in ({"visual": [[1.0]]}, {"n_frames": "x"}, {}):
        damaged = {**golden, **damage} if damage else {"visual": golden["visual"]}
        with pytest.raises(UserError, match="golden pair of its model is damaged"):
            same_model.require_golden(
                embedder, dataclasses.replace(note, golden=damaged), copy
            )


def test_a_language_that_the_model_has_not_learnt_is_told(made, caplog):
    _, index, _, embedder = made
    searched = engine.Engine.open(index)
    caplog.clear()
    query = searching.Query(index, "q.wav", "audio", "video", "und", 10, True)
    for language in ("und", *embedder.languages):
        searching.require_language(
            searched, dataclasses.replace(query, language=language)
        )
    assert not caplog.text
    searching.require_language(searched, dataclasses.replace(query, language="zz"))
    assert "--language=zz: the model has learnt speech in" in caplog.text


def test_a_name_takes_one_line_of_the_table():
    path = "/v/new\nline \x1bé.mp4"
    hit = Hit(1, "r", path, 1, 0, 2, 1.0, None, None, 0, "", "xx", "")
    told = searching.table(Answer((hit,), None, None, 0.1, "not calibrated"))
    nothing = searching.table(Answer((), None, None, 0.1, "not calibrated"))
    assert nothing.startswith("Nothing to be found") and "--output" in nothing
    row = told.splitlines()[1].split()
    assert row == r"1 new\nline \x1bé.mp4 0:00-0:02 1.00".split()


def test_moments_of_windows_that_overlap():
    def window(path, start_s, end_s):
        return Window(0, 7, path, path, "xx", start_s, end_s, "", "")

    windows = [
        window("a", 5, 15),
        window("a", 10, 20),  # overlaps the first
        window("b", 10, 20),
        window("a", 15, 25),  # touches it
        window("a", 0, 5),
        window("b", 19.5, 21),
    ]
    assert moments.merge(windows, 10) == [0, 2, 3, 4]
    assert moments.merge(windows, 2) == [0, 2]
    # Narrowed by reranking to what touches, two windows show one scene.
    pair = [windows[0], windows[3], window("a", 25, 35)]  # each touches the next
    whole = [(5.0, 15.0), (15.0, 25.0), (25.0, 35.0)]
    assert moments.merge(pair, 9, whole) == [0, 1, 2]
    assert moments.merge(pair, 9, [(14.0, 15.0), (15.0, 16.0), whole[2]]) == [0, 2]
    assert moments.merge(pair, 9, [(14.0, 15.0), (16.0, 17.0), whole[2]]) == [0, 1, 2]
    # Of several spans of a file each is a medium of its own.
    other = dataclasses.replace(windows[0], media_id=8)
    assert moments.overlap(windows[1], other) and moments.overlap(other, windows[1])
    assert not moments.overlap(windows[2], other)  # another file
    assert not moments.overlap(windows[3], other)  # it touches
    # Without a file they are told apart by the index's number.
    assert moments.merge([window("", 0, 2), window("", 1, 3)], 5) == [0]
