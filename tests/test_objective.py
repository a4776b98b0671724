"""The terms of a stage: settled from flags, computed over a batch, in a step."""

import dataclasses
import itertools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from half_precision import refused

from avl_tf import losses
from avl_tf.errors import UserError
from avl_tf.model import ModelConfig, build_model
from avl_tf.settings import terms
from avl_tf.settings.stage import LOSSES, StageConfig
from avl_tf.training import devices, steps
from avl_tf.training.caption_queue import CaptionQueue
from avl_tf.training.learnt_affine import LearntAffine
from avl_tf.training.objective import Objective

TWO = ("audio:es", "audio:ro", "visual")
THREE = ("audio:es", "audio:pt-br", "audio:ro", "visual")
STEP = tf.constant(0, tf.int64)
STAGE = StageConfig(batch_size=6)


def _plan(branches=TWO, frozen=(), **changes):
    learning = [name for name in branches if name not in frozen]
    return terms.plan(dataclasses.replace(STAGE, **changes), branches, learning)


def _names(found):
    return [pair.name for pair in found.pairs]


def _embeddings(branches=TWO, seed=0, n=6):
    random = np.random.default_rng(seed)
    return {
        name: tf.constant(random.normal(size=(n, 4)), tf.float32) for name in branches
    }


def test_all_pairs_of_which_a_branch_learns_are_terms_by_default():
    assert _names(_plan(("audio", "visual"))) == ["audio-visual"]
    assert _names(_plan()) == [
        "audio:es-audio:ro",
        "audio:es-visual",
        "audio:ro-visual",
    ]
    assert len(_plan(THREE).pairs) == 6
    frozen = _plan(frozen=("audio:es", "visual"))
    assert _names(frozen) == ["audio:es-audio:ro", "audio:ro-visual"]
    assert {pair.weight for pair in _plan(THREE).pairs} == {1.0}


def test_terms_are_named_by_branch_or_place_and_weighted():
    given = (
        "audio:1-visual",
        "audio:pt-br-visual=0.5",
        "audio:es-audio:3=1e-2",
        "audio:2-audio:3",
    )
    assert _plan(THREE, terms=given).pairs == (
        ("audio:es", "visual", 1.0),
        ("audio:pt-br", "visual", 0.5),
        ("audio:es", "audio:ro", 0.01),
        ("audio:pt-br", "audio:ro", 1.0),
    )
    assert _names(_plan(("audio", "visual"), terms=("audio:1-visual",))) == [
        "audio-visual"
    ]
    one_way = {"loss": "infonce", "loss_directions": "one"}
    both = _plan(("audio", "visual"), terms=("audio-visual", "visual-audio"), **one_way)
    assert _names(both) == ["audio-visual", "visual-audio"]


def test_who_learns_from_whom():
    def guided(branches=TWO, frozen=(), **changes):
        found = _plan(branches, frozen, nn_queue=4, distill_weight=0.1, **changes)
        assert found.neighbors == found.distilled
        return [one.name for one in found.neighbors]

    assert guided() == ["es>ro", "ro>es"]
    assert guided(frozen=("audio:es",)) == ["es>ro"]
    assert guided(nn_guides=("audio:2",)) == ["ro>es"]
    assert guided(THREE, ("audio:es",), nn_guides=("audio:1",)) == ["es>pt-br", "es>ro"]
    assert len(guided(THREE)) == 6
    plain = _plan()
    assert not plain.neighbors and not plain.distilled
    assert not _plan(nn_queue=4).distilled and not _plan(distill_weight=1.0).neighbors


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"terms": ("audio:1-audio:fr",)}, "'audio:fr' is no branch of this model"),
        ({"terms": ("audio:1-audio:3",)}, "'audio:3' is no branch"),
        ({"terms": ("visual",)}, "'visual' is no pair of branches"),
        ({"terms": ("",)}, "'' is no pair of branches"),
        ({"terms": ("audio:1-visual-audio:2",)}, "is no pair of branches"),
        ({"terms": ("audio:1-audio:es",)}, "of 'audio:es' with itself"),
        ({"terms": ("audio:1-visual=x",)}, "'audio:1-visual=x' is no number above 0"),
        ({"terms": ("audio:1-visual=nan",)}, "is no number above 0"),
        ({"terms": ("audio:1-visual=inf",)}, "is no number above 0"),
        ({"terms": ("audio:1-visual=0",)}, "is no number above 0"),
        ({"terms": ("audio:1-visual=",)}, "is no number above 0"),
        ({"terms": ("audio:1-visual", "audio:es-visual=2")}, "stands twice"),
        ({"terms": ("audio:1-visual", "visual-audio:1")}, "stands twice"),
        ({"terms": ("audio:1-visual",)}, "'audio:ro' is in none of them"),
        (
            {"terms": ("audio:1-visual",), "frozen": ("audio:es", "visual")},
            "both branches are frozen",
        ),
        ({"mil_nce_candidates": 4}, "--mil_nce_candidates=4 is for --loss=mil_nce on"),
        (
            {"loss": "infonce", "mil_nce_positives": "once"},
            "--mil_nce_positives=once is for --loss=mil_nce only; leave it out of info",
        ),
        ({"bce_negatives": "all"}, "--bce_negatives=all is for --loss=bce only"),
        ({"bce_scale": 1.0, "loss": "mil_nce"}, "--bce_scale=1.0 is for --loss=bce"),
        ({"hard_negative_rate": 0.5}, "--hard_negative_rate=0.5 is for --loss=max_mar"),
        ({"loss": "mil_nce"}, "for one language: .* has audio:es, audio:ro"),
        ({"loss": "bce", "margin": 0.1}, "--loss=bce has no margin"),
        (
            {"branches": ("audio", "visual"), "nn_queue": 4},
            "--nn_queue=4 needs two lang",
        ),
        (
            {"branches": ("audio", "visual"), "distill_weight": 0.5},
            "--distill_weight=0.5 needs two languages",
        ),
        ({"nn_guides": ("audio:1",)}, "--nn_guides needs an --nn_queue or"),
        ({"nn_queue": 4, "nn_guides": ("visual",)}, "'visual' is no language"),
        ({"nn_queue": 4, "nn_guides": ("audio:fr",)}, "--nn_guides: 'audio:fr' is no"),
        (
            {"nn_queue": 4, "nn_guides": ("audio:2",), "frozen": ("audio:es",)},
            "no language is left to learn",
        ),
        ({"nn_queue": 4, "frozen": TWO[:2]}, "no language is left to learn"),
        ({"loss": "infonce", "margin": 0.1}, "--loss=infonce has no margin"),
        ({"loss": "mms_adaptive", "margin": 0.1}, "--loss=mms_adaptive has no margin"),
        ({"loss_directions": "one"}, "for --loss=infonce only; mms has both"),
        ({"loss": "triplet", "batch_size": 1}, "--batch_size=1: a clip has nothing"),
    ],
)
def test_settings_that_contradict_each_other_are_told_in_a_line(changes, said):
    with pytest.raises(UserError, match=said) as caught:
        _plan(**changes)
    assert "\n" not in str(caught.value)


def test_the_margin_is_that_of_the_loss_unless_it_is_given():
    margins = {"triplet": 1.0, "max_margin": 0.1}
    margins |= dict.fromkeys(("infonce", "mms_adaptive", "mil_nce", "bce"))
    for loss in LOSSES:
        stage = StageConfig(loss=loss).with_loss_settings()
        assert stage.margin == margins.get(loss, 0.001)
    assert StageConfig(loss="triplet", margin=0.0).with_loss_settings().margin == 0


def _terms(queue=None, branches=TWO, frozen=(), step=0, groups=None, **changes):
    stage = dataclasses.replace(STAGE, **changes)
    learning = [name for name in branches if name not in frozen]
    affine = LearntAffine(3, 2.0) if stage.loss == "bce" else None
    objective = Objective(stage, branches, learning, queue, affine=affine)
    found = objective(_embeddings(branches), tf.constant(step, tf.int64), groups)
    return {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize("loss", [one for one in LOSSES if one != "mil_nce"])
def test_each_term_is_the_loss_of_its_branches(loss):
    groups = tf.constant([1, 1, 2, 3, 4, 4], tf.int64)
    margin = StageConfig(loss=loss).with_loss_settings().margin
    function = getattr(losses, loss)
    more = {
        "mms_scheduled": (tf.constant(70_000), margin),
        "mms_masked": (groups, margin),
        "infonce": (0.3, "one"),
        "triplet": ("semi-hard", margin),
        "max_margin": (margin, groups, 0.8),
        "bce": (2.0, 0.0, "all"),
    }.get(loss, () if margin is None else (margin,))
    changes = {"loss": loss, "temperature": 0.3, "triplet_imposters": "semi-hard"}
    changes |= {
        "infonce": {"loss_directions": "one"},
        "max_margin": {"hard_negative_rate": 0.8},
        "bce": {"bce_negatives": "all"},
    }.get(loss, {})
    found = _terms(
        step=70_000,
        groups=groups,
        terms=("audio:1-visual", "visual-audio:2=0.25"),
        **changes,
    )
    batch = _embeddings()
    for name, both, weight in (
        ("audio:es-visual", ("audio:es", "visual"), 1.0),
        ("visual-audio:ro", ("visual", "audio:ro"), 0.25),
    ):
        expected = weight * float(function(*(batch[k] for k in both), *more))
        assert found[name] == pytest.approx(expected, rel=1e-6)
    assert len(found) == 2


def test_random_imposters_are_of_the_step_and_of_the_term():
    def of(**changes):
        return _terms(loss="triplet", margin=50.0, **changes)

    same = ("audio:1-visual", "audio:2-visual")
    first = of()
    assert first == of(step=0) and first != of(step=1) and first != of(seed=1)
    batch = _embeddings()
    alike = {**batch, "audio:ro": batch["audio:es"]}
    stage = dataclasses.replace(STAGE, loss="triplet", margin=50.0, terms=same)
    es, ro = Objective(stage, TWO, TWO)(alike, STEP).values()
    assert float(es) != float(ro)


def test_groups_that_are_missing_are_an_error():
    for changes in (
        {"loss": "mms_masked"},
        {"loss": "max_margin", "hard_negative_rate": 0.5},
    ):
        with pytest.raises(ValueError, match="a group for each pair"):
            _terms(**changes)


@pytest.mark.parametrize("positives", [None, "twice", "once"])
def test_mil_nce_has_video_as_the_query_whichever_a_term_names_first(positives):
    both = _embeddings(("audio", "visual"))
    heard = tf.random.stateless_normal([6 * 5, 4], [1, 2])
    candidates = tf.reshape(heard, [6, 5, 4])
    expected = losses.mil_nce(both["visual"], candidates, positives != "once")
    stage = dataclasses.replace(
        STAGE, loss="mil_nce", mil_nce_candidates=5, mil_nce_positives=positives
    )
    for terms_of in ((), ("audio-visual=0.5",), ("visual-audio=0.5",)):
        objective = Objective(
            dataclasses.replace(stage, terms=terms_of), ("audio", "visual"), ("audio",)
        )
        (found,) = objective({**both, "audio": heard}, STEP).values()
        weight = 0.5 if terms_of else 1
        assert float(found) == pytest.approx(weight * float(expected), rel=1e-6)


def test_bce_draws_other_imposters_each_step_and_each_term_has_its_own_affine():
    first = _terms(loss="bce")
    assert first == _terms(loss="bce") and first != _terms(loss="bce", step=1)
    affine = LearntAffine(3, 2.0)
    affine.scales.assign([1.0, 2.0, 3.0])
    affine.offsets.assign([0.1, 0.2, 0.3])
    stage = dataclasses.replace(STAGE, loss="bce", bce_negatives="all")
    batch = _embeddings()
    found = Objective(stage, TWO, TWO, affine=affine)(batch, STEP)
    for place, (name, value) in enumerate(found.items()):
        pair = [batch[one] for one in re.fullmatch("(.*)-(.*)", name).groups()]
        learnt = (place + 1.0, (place + 1) / 10)
        expected = losses.bce(*pair, *learnt, negatives="all")
        assert float(value) == pytest.approx(float(expected), rel=1e-6)


def _queue(n_steps, size=8):
    queue = CaptionQueue(size, {"audio:es": 4, "audio:ro": 4})
    for seed in range(1, n_steps + 1):
        queue.enqueue(_embeddings(seed=seed, n=3))
    return queue


def _held(queue):
    return {name: variable.numpy() for name, variable in queue.held.items()}


@pytest.mark.parametrize("n_steps", range(6))
def test_a_queue_holds_the_newest_first_in_first_out(n_steps):
    queue = _queue(n_steps)
    assert int(queue.count) == min(3 * n_steps, 8)
    assert bool(queue.full) == (n_steps > 2)
    for name, held in _held(queue).items():
        batches = [_embeddings(seed=s, n=3)[name] for s in range(1, n_steps + 1)]
        expected = np.concatenate([np.zeros((8, 4)), *batches])[-8:]
        np.testing.assert_array_equal(held, expected.astype(np.float32))


def test_of_a_batch_larger_than_the_queue_the_newest_stay():
    queue = CaptionQueue(2, {"audio:es": 4})
    batch = _embeddings()["audio:es"]
    queue.enqueue({"audio:es": batch})
    assert np.array_equal(_held(queue)["audio:es"], batch[-2:])
    assert int(queue.count) == 2


def test_a_batch_that_is_not_finite_is_not_taken_in():
    queue = _queue(2)
    before, broken = _held(queue), _embeddings(seed=9)
    broken["audio:ro"] *= np.inf
    queue.enqueue(broken)
    assert int(queue.count) == 6
    assert all(np.array_equal(v, before[k]) for k, v in _held(queue).items())


def _by_neighbors(batch, held, guide, learner, temperature):
    """Eq. 4 and 5, clip by clip."""
    z1, z2 = (batch[name].numpy().astype(np.float64) for name in (guide, learner))
    total = 0.0
    for i in range(len(z1)):
        q2 = held[learner][np.argmax([z1[i] @ q1 for q1 in held[guide]])]
        scores = np.exp([q2 @ z2[k] / temperature for k in range(len(z2))])
        total -= np.log(scores[i] / scores.sum()) / len(z1)
    return total


def test_neighbor_terms_equal_their_formula_once_the_queue_is_full():
    changes = {"nn_queue": 8, "nn_weight": 0.5, "temperature": 0.3}
    assert _terms(_queue(2), **changes)["nn:es>ro"] == 0
    queue = _queue(3)
    found, batch = _terms(queue, **changes), _embeddings()
    for guide, learner in itertools.permutations(TWO[:2]):
        name = terms.Guidance(guide, learner).name
        expected = 0.5 * _by_neighbors(batch, _held(queue), guide, learner, 0.3)
        assert found[f"nn:{name}"] == pytest.approx(expected, rel=1e-5)
    assert list(_terms(queue, frozen=("audio:es",), **changes))[-1:] == ["nn:es>ro"]


def test_rows_that_are_not_filled_are_no_neighbors():
    changes = {"nn_queue": 8, "nn_until_full": False}
    assert _terms(_queue(0), **changes)["nn:es>ro"] == 0
    queue = _queue(1)
    # No query is near to what was enqueued, so that rows of zeros would be nearer.
    for variable in queue.held.values():
        variable.assign(-tf.abs(variable))
    batch = {name: tf.abs(value) for name, value in _embeddings().items()}
    stage = dataclasses.replace(STAGE, **changes)
    found = Objective(stage, TWO, TWO, queue)(batch, STEP)["nn:es>ro"]
    held = {name: rows[-3:] for name, rows in _held(queue).items()}
    expected = _by_neighbors(batch, held, "audio:es", "audio:ro", 1.0)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_distillation_terms_are_of_the_guides_similarities():
    changes = {"distill_weight": 0.5, "distill_temperature": 2.0}
    found, batch = _terms(**changes), _embeddings()
    for guide, learner in itertools.permutations(("es", "ro")):
        both = (batch[f"audio:{name}"] for name in (guide, learner))
        expected = 0.5 * float(losses.distillation(*both, batch["visual"], 2.0))
        assert found[f"distill:{guide}>{learner}"] == pytest.approx(expected)


CONFIG = ModelConfig((6,), audio_widths=(8, 8), embedding_dim=8, languages=("es", "ro"))


def _begin(frozen=(), **changes):
    stage = StageConfig(batch_size=8, **changes)

    def make_model(mixed_precision):
        keras.utils.set_random_seed(0)
        return build_model(CONFIG, True, mixed_precision, frozen=frozen)

    strategy = devices.strategy()
    with strategy.scope():
        state = steps.TrainState(make_model, stage, frozen)
    return state, steps.train_step(strategy, state, stage, steps_per_epoch=10)


def _batch(seed=0):
    random = np.random.default_rng(seed)
    batch = {"visual": tf.constant(random.uniform(0, 1, (8, 6)), tf.float32)}
    for language in CONFIG.languages:
        heard = random.uniform(-80, 0, (8, 48, 40))
        batch[f"log_mel:{language}"] = tf.constant(heard, tf.float32)
        batch[f"n_frames:{language}"] = tf.constant([48] * 8)
    return batch


@pytest.mark.parametrize("micro_batch", [0, 4])
def test_a_step_looks_neighbors_up_before_it_enqueues_its_batch(micro_batch):
    state, step = _begin(nn_queue=12, nn_until_full=False, micro_batch=micro_batch)
    measured = [step(_batch(seed)) for seed in range(3)]
    assert [float(m["loss/nn:es>ro"]) > 0 for m in measured] == [False, True, True]
    assert int(state.queue.count.numpy()) == 12
    terms_of = [name for name in measured[0] if name.startswith("loss/")]
    assert len(terms_of) == 5
    for one in measured:
        total = sum(float(one[name]) for name in terms_of)
        assert float(one["loss"]) == pytest.approx(total, rel=1e-5)


def test_the_queue_holds_what_the_batch_was_embedded_as():
    for micro_batch in (0, 4):
        state, step = _begin(nn_queue=8, micro_batch=micro_batch)
        model = build_model(CONFIG)
        model.set_weights(state.trained.get_weights())
        step(_batch())
        n = micro_batch or 8
        parts = [
            model({k: v[i : i + n] for k, v in _batch().items()}, training=True)
            for i in range(0, 8, n)
        ]
        for name, held in _held(state.queue).items():
            expected = np.concatenate([part[f"{name}_embedding"] for part in parts])
            np.testing.assert_allclose(held, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("micro_batch", [0, 4])
def test_a_frozen_guide_may_be_in_no_pair(micro_batch):
    state, step = _begin(
        frozen=("audio:es",),
        terms=("audio:2-visual",),
        nn_queue=8,
        distill_weight=1.0,
        micro_batch=micro_batch,
    )
    before = [w.copy() for w in state.trained.get_weights()]
    for seed in range(2):
        found = step(_batch(seed))
    assert float(found["loss/nn:es>ro"]) > 0 and float(found["loss/distill:es>ro"]) > 0
    moved = [
        not np.array_equal(a, b)
        for a, b in zip(before, state.trained.get_weights(), strict=True)
    ]
    assert any(moved) and not all(moved)


@refused("float16")
def test_the_queue_of_a_step_that_is_left_out_stays_finite():
    state, step = _begin(nn_queue=8, mixed_precision="float16")
    batch = _batch()
    step(batch)
    before = _held(state.queue)
    batch["log_mel:es"] *= np.inf
    step(batch)
    assert all(np.array_equal(v, before[k]) for k, v in _held(state.queue).items())
