"""Stages of several languages: trained, frozen, resumed, evaluated and exported."""

import csv
import dataclasses

import corpus
import numpy as np
import pytest
import tensorflow as tf
from interrupted import assert_goes_on_to_the_same_weights

import avl_tf
from avl_tf import evaluation, runs, serving, settings, trained, training
from avl_tf.commands import mining
from avl_tf.dataset import ClipConfig
from avl_tf.errors import UserError
from avl_tf.evaluation import EvaluationConfig
from avl_tf.model import ModelConfig, layers_of
from avl_tf.settings.stage import StageConfig
from avl_tf.trained import identity

CLIPS = ClipConfig("annotated", 2.0)
SMALL = {"audio_widths": (8, 8, 16), "embedding_dim": 16, "visual_scale": 20.0}


def _caption(language, number, split="train"):
    """What is said of an image: the bins of a topic stand for its word."""
    record = corpus.make_record(f"i{number}")
    heard = record.log_mel[:, ::-1] if language == "ro" else record.log_mel
    changes = {"id": f"{language}{number}", "recording_id": f"i{number}"}
    return dataclasses.replace(
        record, log_mel=heard.copy(), language=language, split=split, **changes
    )


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Paths of the records of each language, for training and for evaluation."""
    folder, found = tmp_path_factory.mktemp("languages"), {}
    for language, n in (("es", 16), ("ro", 12)):
        made = [_caption(language, i) for i in range(n)]
        found[language] = corpus.write_records(
            f"{folder}/{language}", made, languages=(language,)
        )
        made = [_caption(language, 100 + i, "eval") for i in range(8)]
        found[f"{language}_eval"] = corpus.write_records(
            f"{folder}/{language}_eval", made, split="eval", languages=(language,)
        )
    return found


def _train(sets, run_dir, init_from=None, **changes):
    joined = f"es={sets['es']},ro={sets['ro']}"
    model_changes = {k: changes.pop(k) for k in list(changes) if k in _MODEL}
    told = [changes.pop("after_evaluation")] if "after_evaluation" in changes else []
    stage = StageConfig(
        **{"records": joined, "epochs": 2, "batch_size": 8, **changes},
    )
    evaluate = (
        f"ro={sets['ro_eval']}",
        f"both=es={sets['es_eval']}+ro={sets['ro_eval']}",
    )
    if stage.records == sets["es"]:
        evaluate = (f"es={sets['es_eval']}",)
    parent = init_from and str(init_from)
    base = training.base_model_config(stage, parent)
    model = dataclasses.replace(base, **({} if init_from else SMALL), **model_changes)
    evaluated = EvaluationConfig(evaluate=evaluate, evaluation_clip_s=2.0)
    return training.train_stage(
        str(run_dir), stage, CLIPS, evaluated, model, parent, *told
    )


_MODEL = {"shared_audio", "audio_attention", "normalize_embeddings"}


@pytest.fixture(scope="module")
def guide(sets, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "es"
    _train(sets, run_dir, records=sets["es"], epochs=4)
    return run_dir


@pytest.fixture(scope="module")
def full(sets, guide, tmp_path_factory):
    """A run whose Spanish branch is the guide's, frozen, beside one of Romanian."""
    run_dir = tmp_path_factory.mktemp("runs") / "full"
    changes = {"init_branches": ("audio:1", "visual"), "freeze": ("audio:1",)}
    return run_dir, _train(sets, run_dir, guide, **changes)


def _weights(run_dir, name):
    model, _ = runs.load_model(str(run_dir))
    return [w for layer in layers_of(model, name) for w in layer.get_weights()]


def _equal(ours, theirs):
    return all(map(np.array_equal, ours, theirs))


def test_every_ordered_pair_is_evaluated(full):
    _, result = full
    of_sets = result["history"][-1]["sets"]
    directions = {k.partition("/")[0] for k in of_sets["both"] if "/" in k}
    assert directions == {"es2v", "v2es", "ro2v", "v2ro", "es2ro", "ro2es"}
    # The plain set has the keys of any model, and the numbers of the same branch.
    assert {k.partition("/")[0] for k in of_sets["ro"] if "/" in k} == {"a2v", "v2a"}
    for name in ("R@5", "MRR", "MedR"):
        assert of_sets["ro"][f"a2v/{name}"] == of_sets["both"][f"ro2v/{name}"]
        assert of_sets["ro"][f"v2a/{name}"] == of_sets["both"][f"v2ro/{name}"]


def test_a_frozen_branch_stays_bit_for_bit_and_the_others_learn(full, guide):
    run_dir, _ = full
    theirs = {name: _weights(guide, name) for name in ("audio", "visual")}
    assert _equal(_weights(run_dir, "audio:es"), theirs["audio"])
    assert not _equal(_weights(run_dir, "visual"), theirs["visual"])
    assert not _equal(_weights(run_dir, "audio:ro"), theirs["audio"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"micro_batch": 4},
        {"ema_decay": 0.99},
        {"mixed_precision": "bfloat16"},
        {"jit_compile": True},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_frozen_branch_stays_however_it_is_trained(sets, guide, tmp_path, changes):
    _train(sets, tmp_path / "run", guide, epochs=1, freeze=("audio:1",), **changes)
    before = _weights(guide, "audio")
    assert _equal(_weights(tmp_path / "run", "audio:es"), before)
    assert not _equal(_weights(tmp_path / "run", "audio:ro"), before)


@pytest.mark.slow
def test_the_visual_branch_can_be_frozen_with_a_guide(sets, guide, tmp_path):
    _train(sets, tmp_path / "run", guide, freeze=("audio:es", "visual"))
    assert _equal(_weights(tmp_path / "run", "visual"), _weights(guide, "visual"))


@pytest.mark.slow
def test_branches_start_from_runs_of_their_own(sets, full, guide, tmp_path):
    begun = (f"audio:es={full[0]}@audio:ro", f"visual={guide}")
    _train(sets, tmp_path / "run", epochs=0, init_branches=begun)
    found = tmp_path / "run"
    assert _equal(_weights(found, "audio:es"), _weights(full[0], "audio:ro"))
    assert _equal(_weights(found, "visual"), _weights(guide, "visual"))
    assert not _equal(_weights(found, "audio:ro"), _weights(guide, "audio"))


def test_a_model_of_one_language_starts_from_its_branch(sets, full, tmp_path):
    _train(sets, tmp_path / "run", full[0], records=sets["es"], epochs=0)
    found = _weights(tmp_path / "run", "audio")
    assert _equal(found, _weights(full[0], "audio:es"))


def test_the_language_that_a_flag_gives_goes_before_that_of_the_records(
    sets, full, tmp_path
):
    _train(sets, tmp_path / "run", full[0], records=f"es={sets['ro']}", epochs=0)
    found = _weights(tmp_path / "run", "audio")
    assert _equal(found, _weights(full[0], "audio:es"))
    with pytest.raises(UserError, match="--init_branches=audio=.*@audio:ro, and name"):
        _train(sets, tmp_path / "no", full[0], records=f"hi={sets['ro']}", epochs=0)
    assert not (tmp_path / "no").exists()


@pytest.mark.slow
def test_a_run_goes_on_to_the_same_weights(sets, guide, tmp_path):
    # After the first epoch of 12 tuples the queue is half full.
    begun = {"freeze": ("audio:1",), "nn_queue": 24, "loss": "infonce", "epochs": 3}

    def train(run_dir, after_evaluation):
        changes = {**begun, "after_evaluation": after_evaluation}
        return _train(sets, run_dir, guide, **changes)

    assert_goes_on_to_the_same_weights(train, tmp_path, stop_at=2)


@pytest.mark.slow
def test_a_shared_branch_learns_from_all_languages(sets, tmp_path):
    _train(sets, tmp_path / "run", shared_audio=True, audio_attention=True)
    es, ro = (_weights(tmp_path / "run", f"audio:{name}") for name in ("es", "ro"))
    assert _equal(es, ro)


def test_an_export_has_signatures_for_each_language(full):
    run_dir, _ = full
    path = serving.export(str(run_dir))
    found = tf.saved_model.load(path).signatures
    heard = {
        f"{k}_{name}"
        for k in ("waveform", "wav_bytes", "log_mel", "log_mel_steps")
        for name in ("es", "ro")
    }
    assert set(found) == {*heard, "visual", "features", "serving_default"}
    waveform = np.random.default_rng(0).uniform(-0.3, 0.3, 16000).astype(np.float32)
    run, export = avl_tf.load(str(run_dir)), avl_tf.load(path)
    assert run.digest == export.digest
    pair = run.golden()
    assert pair["audio:es_embedding"].any() and pair["audio:ro_embedding"].any()
    assert identity.difference(pair, export.golden()) == ""
    by_language = {}
    for language in ("es", "ro"):
        found = run.embed_audio((waveform, 16000), language=language)
        other = export.embed_audio((waveform, 16000), language=language)
        np.testing.assert_allclose(found, other, rtol=1e-4, atol=1e-5)
        by_language[language] = found
    assert not np.allclose(by_language["es"], by_language["ro"])
    for language in ("und", "hi"):
        with pytest.raises(UserError, match="the model hears es, ro"):
            run.embed_audio((waveform, 16000), language=language)


@pytest.mark.slow
def test_an_export_is_evaluated_as_its_run(full, sets):
    run_dir, result = full
    path = serving.export(str(run_dir))
    records = evaluation.parse_sets([f"both=es={sets['es_eval']}+ro={sets['ro_eval']}"])
    model = trained.look(path)
    read = model.as_read(records["both"])
    embedder = model.load()
    heard = evaluation.heard(read, embedder.branches)
    config = EvaluationConfig(evaluation_clip_s=2.0)
    found = evaluation.rank_set(
        lambda batch: embedder.embed(batch, heard), read, config
    ).metrics()
    assert found == result["history"][-1]["sets"]["both"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"freeze": ("audio:1", "audio:2", "visual")}, "freezes all there is"),
        ({"freeze": ("audio:hi",)}, "no branch of this model"),
        ({"init_branches": ("audio:hi",)}, "no branch of this model"),
        ({"best_metric": "both/a2v/R@1"}, "such as MRR or es2ro/R@1"),
    ],
)
def test_what_cannot_be_trained_is_told_first(sets, guide, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        _train(sets, tmp_path / "run", guide, **changes)
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_parent_of_another_width_is_told(sets, guide, tmp_path):
    stage = StageConfig(records=f"es={sets['es']},ro={sets['ro']}", batch_size=8)
    base = training.base_model_config(stage, str(guide))
    model = dataclasses.replace(base, embedding_dim=24)
    with pytest.raises(UserError, match="--embedding_dim=16, this stage asks for 24"):
        training.train_stage(
            str(tmp_path / "run"), stage, CLIPS, EvaluationConfig(), model, str(guide)
        )


def test_a_language_that_the_model_has_not_is_told(sets, full):
    model = trained.look(str(full[0]))
    joined = evaluation.parse_sets([f"x=es={sets['es_eval']}+hi={sets['ro_eval']}"])
    with pytest.raises(UserError, match="nothing hears hi"):
        evaluation.heard(joined["x"], model.info.model.branches, "x")


def test_flags_and_run_json_hold_what_the_run_is(full):
    run_dir, _ = full
    info = runs.read_info(str(run_dir))
    assert info.model.languages == info.languages == ("es", "ro")
    text = (run_dir / "flags.txt").read_text()
    assert "--freeze=audio:1\n" in text
    flag_values = settings.read_flagfile(
        str(run_dir / "flags.txt"), StageConfig, others=True
    )
    assert settings.from_flags(StageConfig, flag_values).freeze == ("audio:1",)


def test_pairs_of_two_languages_are_mined(sets, full, tmp_path):
    tsv = tmp_path / "pairs.tsv"
    named = {"es": sets["es_eval"], "ro": sets["ro_eval"]}
    mining.mine(str(full[0]), named, str(tsv), n_neighbours=4, least_margin=0.5)
    with tsv.open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert rows and list(rows[0]) == [
        *("margin", "similarity", "es", "ro", "same_recording"),
    ]
    margins = [float(row["margin"]) for row in rows]
    assert margins == sorted(margins, reverse=True) and margins[-1] >= 0.5
    for language in ("es", "ro"):
        clips = [row[language] for row in rows]
        assert len(set(clips)) == len(clips)
    for row in rows:
        ours, theirs = (row[k].partition("@")[0].removeprefix(k) for k in ("es", "ro"))
        assert row["same_recording"] == str(ours == theirs).lower()
    with pytest.raises(UserError, match="which of audio:es, audio:ro is to hear hi"):
        mining.mine(str(full[0]), {"es": named["es"], "hi": named["ro"]}, "x", 4, 1)


@pytest.mark.slow
def test_an_image_encoder_learns_from_two_languages(sets, tmp_path):
    joined = []
    for language in ("es", "ro"):
        made = [
            dataclasses.replace(
                _caption(language, i), image=_jpeg(i), features_2d=None, clips=()
            )
            for i in range(8)
        ]
        spec = {"languages": (language,), "images": True, "features_2d": None}
        path = corpus.write_records(f"{tmp_path}/{language}", made, **spec)
        joined.append(f"{language}={path}")
    encoder = {"image_encoder": "resnet18", "image_width": 0.125}
    base = ModelConfig(visual_dims=(), **SMALL, **encoder)
    stage = StageConfig(records=",".join(joined), epochs=1, batch_size=4)
    evaluated = EvaluationConfig(evaluate=(f"x={'+'.join(joined)}",))
    clips = ClipConfig("whole", 3.0, join_by="image")
    result = training.train_stage(str(tmp_path / "run"), stage, clips, evaluated, base)
    assert result["history"][-1]["sets"]["x"]["n"] == 8
    frozen = dataclasses.replace(stage, freeze=("visual", "audio:es"))
    training.train_stage(
        str(tmp_path / "next"), frozen, clips, evaluated, base, str(tmp_path / "run")
    )
    for name, moved in (("visual", False), ("audio:es", False), ("audio:ro", True)):
        before, after = (_weights(tmp_path / run, name) for run in ("run", "next"))
        assert _equal(before, after) != moved


def _jpeg(number):
    pixels = np.random.default_rng(number).integers(0, 256, (64, 48, 3), np.uint8)
    return tf.io.encode_jpeg(pixels).numpy()
