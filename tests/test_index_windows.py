"""Which spans an index holds, and that their vectors are those of evaluation."""

import dataclasses

import corpus
import index_model
import numpy as np
import pytest
import tensorflow as tf

from avl_tf import dataset, evaluation, records, trained
from avl_tf.errors import UserError
from avl_tf.records import Clip, open_records
from avl_tf.retrieval import windows
from avl_tf.retrieval.embedding import RecordEmbedder
from avl_tf.retrieval.entries import Source, Span
from avl_tf.retrieval.windows import WindowConfig

CLIPS = WindowConfig("clips").settled(0)


@pytest.mark.parametrize(
    "duration_s, expected",
    [
        (25.0, [(0, 10), (5, 15), (10, 20), (15, 25)]),
        (26.0, [(0, 10), (5, 15), (10, 20), (15, 25), (16, 26)]),
        (10.0, [(0, 10)]),
        (10.3, [(0, 10), (0.3, 10.3)]),
        (3.2, [(0, 3.2)]),
        (0.3, [(0, 0.3)]),
    ],
)
def test_windows_overlap_and_reach_the_end(duration_s, expected):
    spans = windows.of_recording(WindowConfig().settled(0), duration_s, [])
    found = [(span.start_s, span.end_s) for span in spans]
    np.testing.assert_allclose(found, expected)


def test_a_window_is_as_long_as_the_clips_of_training_if_nobody_says():
    settled = WindowConfig().settled(6.0)
    assert (settled.window_s, settled.window_hop_s) == (6.0, 3.0)
    settled = WindowConfig(window_s=8.0, window_hop_s=8.0).settled(6.0)
    assert (settled.window_s, settled.window_hop_s) == (8.0, 8.0)
    spans = windows.of_recording(settled, 24 + 1e-9, [])
    assert [span.start_s for span in spans] == [0.0, 8.0, pytest.approx(16.0)]
    with pytest.raises(UserError, match="would never be found"):
        WindowConfig(window_hop_s=7.0).settled(6.0)
    with pytest.raises(UserError, match="use a longer --window_hop_s"):
        windows.overlapping(1e8, 10, 0.05)


def test_a_recording_without_clips_is_one():
    clips = [(1.0, 2.0, "a"), (3.0, 9.0, "")]
    assert windows.of_recording(CLIPS, 9.5, clips) == [
        Span(1.0, 2.0, "a"),
        Span(3.0, 9.0),
    ]
    assert windows.of_recording(CLIPS, 9.5, []) == [Span(0.0, 9.5)]


def test_steps_of_a_window_are_those_that_it_shows():
    spans = [Span(0, 2), Span(1.5, 4), Span(6.5, 9), Span(20, 21)]
    found = windows.with_steps(spans, n_steps=8, step_s=1.0)
    assert [(one.first_step, one.n_steps) for one in found] == [
        (0, 2),
        (1, 3),
        (6, 2),
        (7, 1),
    ]
    (none,) = windows.with_steps([Span(0, 2)], 0, 1.0)
    assert none.n_steps == 0


def _close(found, expected):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(
    "reference, stored",
    [("stored", "recording"), ("clip", "recording"), ("stored", "clip")],
)
def test_vectors_are_those_of_evaluation(tmp_path, reference, stored):
    run_dir, path = index_model.make_run(tmp_path, reference, log_mel_reference=stored)
    look = trained.look(run_dir)
    found = look.as_read(open_records(path))
    batches = dataset.evaluation_batches(
        found, index_model.EVALUATED_S, 5, look.log_mel_reference
    )
    expected, clip_ids = evaluation.embed_all(look.load().embed, batches)
    embedder = RecordEmbedder(run_dir)
    assert embedder.trained_s == index_model.TRAINED_S
    parts = []
    for number, serialized in enumerate(tf.data.TFRecordDataset(found.paths)):
        source = Source("", f"r{number}", f"r{number}", "xx")
        parts.append(
            embedder.embed_serialized(serialized.numpy(), found.spec, source, CLIPS)
        )
    assert sum(len(part.spans) for part in parts) == len(clip_ids)
    for side in ("visual", "audio"):
        _close(np.concatenate([getattr(p, side) for p in parts]), expected[side])
    # Steps too: one second, one topic, as a clip of that second alone.
    record = records.decode(serialized.numpy(), found.spec)
    assert parts[-1].steps.shape == (8, 16) and parts[-1].step_s == 1.0
    second = dataclasses.replace(record, clips=(Clip(3.0, 3.9),))
    if stored == "recording":
        alone = embedder.embed_record(second, source, CLIPS)
        _close(parts[-1].steps[3:4], alone.visual)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    return RecordEmbedder(index_model.make_run(folder, evaluated_s=0.0)[0])


def test_times_are_those_of_the_media_file(embedder):
    record = corpus.make_record("a", start_s=100.0, end_s=108.0)
    config = WindowConfig(window_s=3.0, window_hop_s=2.0).settled(0)
    found = embedder.embed_record(record, Source("m", "a", "a"), config)
    spans = [(one.start_s, one.end_s) for one in found.spans]
    assert spans == [(100, 103), (102, 105), (104, 107), (105, 108)]
    assert (found.first_step_s, found.step_s, found.duration_s) == (100.0, 1.0, 8.0)
    assert [one.first_step for one in found.spans] == [0, 2, 4, 5]


def test_what_is_not_heard_or_not_seen_has_rows_of_nan(embedder):
    config = WindowConfig(window_s=3.0).settled(0)
    record = corpus.make_record("a")
    whole = embedder.embed_record(record, Source("m", "a", "a"), config)
    silent = dataclasses.replace(record, log_mel=np.zeros((0, 40), np.float16))
    found = embedder.embed_record(silent, Source("m", "a", "a"), config)
    assert np.isnan(found.audio).all()
    np.testing.assert_array_equal(found.visual, whole.visual)
    np.testing.assert_array_equal(found.steps, whole.steps)
    unseen = dataclasses.replace(record, features_2d=None)
    found = embedder.embed_record(unseen, Source("m", "a", "a"), config)
    assert np.isnan(found.visual).all() and found.steps.shape == (0, 16)
    np.testing.assert_array_equal(found.audio, whole.audio)
    nothing = dataclasses.replace(silent, features_2d=None)
    with pytest.raises(UserError, match="nothing is heard in it, and nothing seen"):
        embedder.embed_record(nothing, Source("m", "a", "a"), config)


def test_the_note_of_a_model_tells_it_from_another(embedder, tmp_path):
    note = embedder.note()
    assert note.digest == embedder.embedder.digest and note.embedding_dim == 16
    assert note.languages == ("xx",)
    assert len(note.golden["audio_embedding"][0]) == 16
