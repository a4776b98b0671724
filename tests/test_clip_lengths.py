"""How long clips are, how much of them is heard, and what is said of it."""

import dataclasses

import corpus
import numpy as np
import pytest

from avl_tf import dataset, evaluation, records
from avl_tf.dataset import ClipConfig
from avl_tf.evaluation import EvaluationConfig, clip_lengths
from avl_tf.model import ModelConfig, build_model
from avl_tf.records import Clip, record_index

LENGTHS = [(6.0,), (2.5, 1.25), (), (9.75, 0.5, 3.0), (0.25,)]


def _made():
    """Recordings of 12 s; one has no clips and is one clip of 12 s itself."""
    made = []
    for index, lengths in enumerate(LENGTHS):
        clips = tuple(Clip(1.0, 1.0 + length, "x") for length in lengths)
        made.append(corpus.make_record(f"r{index}", 12, clips=clips))
    return made


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("lengths"))
    return records.open_records(corpus.write_records(folder, _made()))


def test_lengths_are_read_off_in_the_order_of_the_records(opened):
    of_clips = record_index.lengths(opened).tolist()
    assert of_clips == [6.0, 12.0, 0.25, 2.5, 1.25, 9.75, 0.5, 3.0]
    assert record_index.lengths(opened, of_clips=False).tolist() == [12.0] * 5
    entries = list(record_index.list_records(opened))
    assert all(entry.lengths_s == () for entry in entries)


def test_only_the_records_that_are_read_count(opened):
    second = list(record_index.list_records(opened))[1]
    span = records.Span(second.shard, second.offset, 1, 1)
    part = dataclasses.replace(opened, spans=(opened.spans[1], span))
    assert record_index.lengths(part).tolist() == [12.0, 2.5, 1.25, 9.75, 0.5, 3.0]
    assert record_index.lengths(dataclasses.replace(opened, spans=(span,))) == [12.0]


@pytest.mark.parametrize(
    ("longest", "asked", "heard"),
    [
        (7.123, 0, 12.13),
        (46.2, 0, 51.2),
        (46.3, 0, 51.2),
        (300.0, 0, 51.2),
        (300.0, 90.0, 90.0),
        (3.0, 10.0, 10.0),
    ],
)
def test_without_a_length_clips_are_heard_whole_up_to_a_bound(longest, asked, heard):
    assert clip_lengths.heard_s(np.array([1.0, longest]), asked) == heard


def test_a_set_whose_lengths_nobody_knows_is_heard_up_to_the_bound():
    assert clip_lengths.heard_s(np.zeros(0), 0) == 51.2


@pytest.mark.parametrize(
    ("lengths", "clip_s", "said"),
    [
        ((20.0, 49.84), 54.9, "val: 2 clips of 20.0 to 49.8 s, heard whole."),
        ((6.0, 6.0), 6.0, "val: 2 clips of 6.0 s, heard whole."),
        ((6.0,), 6.0, "val: 1 clip of 6.0 s, heard whole."),
        (
            (20.0, 50.0, 6.0, 3.0),
            6.0,
            "val: 4 clips of 3.0 to 50.0 s, of which the first 6 s are heard: 2 of 4 "
            "are longer than 6 s and cut, 1 shorter and padded.",
        ),
    ],
)
def test_what_is_heard_is_told(lengths, clip_s, said):
    assert clip_lengths.summary("val", np.array(lengths), clip_s) == said


def test_sets_are_settled_one_by_one_and_told_of(opened, caplog):
    asked = EvaluationConfig(evaluation_clip_s=6.0)
    assert evaluation.by_set({"val": opened}, asked)["val"] == asked
    assert "val: 8 clips of 0.2 to 12.0 s, of which the first 6 s are" in caplog.text
    assert "2 of 8 are longer than 6 s and cut, 5 shorter and" in caplog.text
    assert "val: n = 8 is too small to tell models apart" in caplog.text
    caplog.clear()
    settled = evaluation.by_set({"val": opened}, EvaluationConfig(), told=False)
    assert settled["val"].evaluation_clip_s == 17.0
    assert not caplog.text


def test_a_clip_is_heard_as_it_is_with_any_amount_of_padding(opened):
    """By default a set's embeddings are those of 51.2 s, to rounding."""
    config = ModelConfig(visual_dims=(12,), embedding_dim=16)
    narrow = {"audio_widths": (8, 8, 8, 8, 8)}
    embed = evaluation.embed_function(
        build_model(dataclasses.replace(config, **narrow))
    )

    def embedded(clip_s):
        batches = dataset.evaluation_batches(opened, clip_s, batch_size=3)
        return evaluation.embed_all(embed, batches)[0]["audio"]

    own = embedded(clip_lengths.heard_s(clip_lengths.of_set(opened), 0))
    longest, tight = embedded(51.2), embedded(12.0)
    largest = np.abs(longest).max()
    assert np.abs(own - longest).max() < 1e-5 * largest
    assert np.abs(tight - longest).max() > 1e-4 * largest


@pytest.mark.parametrize("clip_s", [0.01, 0.099])
def test_a_length_of_nothing_is_refused(clip_s):
    with pytest.raises(ValueError, match="evaluation_clip_s=.*0.1 or more, or 0 to"):
        EvaluationConfig(evaluation_clip_s=clip_s)


def test_of_random_windows_recordings_are_padded_and_none_is_cut(opened):
    # Each is 12 s long.
    lengths = clip_lengths.of_set(opened, annotated=False)
    assert clip_lengths.count(lengths, ClipConfig().clip_s) == (5, 0)
    assert clip_lengths.count(lengths, 12.5) == (0, 5)
