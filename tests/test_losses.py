"""The losses against the authors' values and against their formulas in NumPy."""

import inspect
import itertools
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from avl_tf import losses

DATA = pathlib.Path(__file__).parent / "data"
GOLDEN, METRICS = np.load(DATA / "losses.npz"), np.load(DATA / "metrics.npz")
IMPOSTERS = [
    GOLDEN[f"triplet_total/imposter_{branch}"] for branch in ("visual", "audio")
]
# Of a batch of five pairs, the first two of one image.
AUDIO, VISUAL = np.random.default_rng(0).normal(size=(2, 5, 3))
GROUPS = np.array([7, 7, 1, 2, 3])


def _cosine(loss):
    return lambda *both: loss(*(tf.math.l2_normalize(one, axis=1) for one in both))


def _infonce(temperature, directions="both"):
    return lambda a, v: losses.infonce(a, v, temperature, directions)


def _scheduled(step):
    return lambda a, v: losses.mms_scheduled(a, v, tf.constant(step, tf.int64))


def _weighted(rate):
    groups = np.repeat(np.arange(4), 3)
    return lambda a, v: losses.max_margin(a, v, 0.1, groups, rate)


AUTHORS = {
    "mms": losses.mms,
    "large/mms": losses.mms,
    "mms_delta1": lambda a, v: losses.mms(a, v, 1.0),
    "mms_adaptive": losses.mms_adaptive,
    **{f"mms_scheduled_step{s}": _scheduled(s) for s in (0, 999, 1000, 25000, 500000)},
    "infonce_dot_t1.0": losses.infonce,
    "infonce_dot_t1.0/1to2": _infonce(1.0, "one"),
    "infonce_dot_t0.3": _infonce(0.3),
    "infonce_dot_t0.3/1to2": _infonce(0.3, "one"),
    "infonce_dot_t0.3/2to1": lambda a, v: losses.infonce(v, a, 0.3, "one"),
    "infonce_cosine_t0.07": _cosine(_infonce(0.07)),
    "large/infonce_dot_t0.3": _infonce(0.3),
    "max_margin": losses.max_margin,
    "max_margin_l2": _cosine(losses.max_margin),
    **{
        f"max_margin_weighted_{kind}h{h}": wrap(_weighted(h))
        for kind, wrap in (("", lambda loss: loss), ("l2_", _cosine))
        for h in (0.5, 0.9)
    },
    "triplet_total": lambda a, v: losses.triplet(a, v, "both", imposters=IMPOSTERS),
}


def _differentiate(loss, *inputs):
    inputs = [tf.constant(one) for one in inputs]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = loss(*inputs)
    return value, tape.gradient(value, inputs)


@pytest.mark.parametrize("suffix", ["", "64"])
@pytest.mark.parametrize("name", AUTHORS)
def test_values_and_gradients_equal_the_authors(name, suffix):
    folder = "large/" if name.startswith("large/") else ""
    dtype = np.float64 if suffix else np.float32
    inputs = [GOLDEN[f"{folder}{key}"].astype(dtype) for key in ("audio", "visual")]
    value, gradients = _differentiate(AUTHORS[name], *inputs)
    assert value.dtype == dtype and value.shape == ()
    expected = float(GOLDEN[f"{name}/value{suffix}"])
    relative, absolute = (1e-9, 1e-9) if suffix else (1e-5, 5e-4 if folder else 2e-6)
    if "weighted" in name and suffix:  # by their weights, which are single
        relative, absolute = 1e-7, 1e-8
    assert float(value) == pytest.approx(expected, rel=relative)
    for found, key in zip(gradients, ("audio", "visual"), strict=True):
        wanted = GOLDEN[f"{name}/grad_{key}{suffix}"]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=absolute)


def test_triplets_of_each_kind_equal_the_authors():
    both = [tf.constant(GOLDEN[key]) for key in ("audio", "visual")]
    for kind, folder in (("random", "sampled"), ("semi-hard", "semihard")):
        sides = [
            f"triplet_{folder}/{s}" for s in ("audio_to_visual", "visual_to_audio")
        ]
        expected = sum(float(GOLDEN[f"{side}/value"]) for side in sides)
        drawn = None
        if kind == "random":
            drawn = [GOLDEN[f"{side}/imposter"] for side in sides]
        found = losses.triplet(*both, kind, imposters=drawn)
        assert float(found) == pytest.approx(expected, rel=1e-5)


def test_mms_equals_the_avlnet_authors():
    similarity = METRICS["similarity"].astype(np.float32)
    found = losses.mms(similarity, np.eye(64, dtype=np.float32))
    assert float(found) == pytest.approx(float(METRICS["mms"]), rel=1e-5)


def _written_out(margin_of=lambda s, i: 0.0, counts=lambda i, j: True, temperature=1.0):
    """The cross-entropy of the match in each row, both directions, term by term."""
    similarity, total = AUDIO @ VISUAL.T / temperature, 0.0
    for s in (similarity, similarity.T):
        for i in range(5):
            match = np.exp(s[i, i] - margin_of(s, i))
            others = sum(np.exp(s[i, j]) for j in range(5) if j != i and counts(i, j))
            total -= np.log(match / (match + others)) / 5
    return total


def _stands_out(s, i):
    return 0.5 * (s[i, i] - np.mean([s[i, j] for j in range(5) if j != i]))


def _max_margin():
    s, total = AUDIO @ VISUAL.T, 0.0
    for i, j in itertools.product(range(5), repeat=2):
        total += max(0, 0.2 + s[i, j] - s[i, i]) + max(0, 0.2 + s[i, j] - s[j, j])
    return total / 25


def _max_margin_weighted():
    s, same, others = AUDIO @ VISUAL.T, [], []
    for i, j in itertools.product(range(5), repeat=2):
        cost = max(0, 0.2 + s[i, j] - s[i, i]) + max(0, 0.2 + s[i, j] - s[j, j])
        (same if GROUPS[i] == GROUPS[j] else others).append(cost)
    return 0.7 * np.mean(same) + 0.3 * np.mean(others)


def _bce(negatives):
    s = 3 * AUDIO @ VISUAL.T - 0.5
    p, pairs = 1 / (1 + np.exp(-s)), [(i, j) for i in range(5) for j in range(5)]
    if negatives == "sampled":
        pairs = list(enumerate(ROLLED[0]))
    wrong = [-np.log(1 - p[i, j]) for i, j in pairs if i != j]
    return 0.5 * np.mean(-np.log(np.diag(p))) + 0.5 * np.mean(wrong)


def _triplet(kind):
    total, similarity = 0.0, AUDIO @ VISUAL.T
    for s, drawn in zip((similarity, similarity.T), ROLLED, strict=True):
        for i in range(5):
            hard = max(0, *(s[i, j] for j in range(5) if s[i, j] < s[i, i]), 0)
            scores = {"random": [s[i, drawn[i]]], "semi-hard": [hard]}
            scores["both"] = scores["random"] + scores["semi-hard"]
            total += sum(max(0, 0.5 + one - s[i, i]) for one in scores[kind]) / 5
    return total


ROLLED = [np.roll(np.arange(5), 1), np.roll(np.arange(5), 2)]
FORMULAS = {
    "mms": (
        lambda a, v: losses.mms(a, v, 0.3),
        lambda: _written_out(lambda s, i: 0.3),
    ),
    "mms_scheduled": (
        lambda a, v: losses.mms_scheduled(a, v, 700_999, 0.3),
        lambda: _written_out(lambda s, i: 0.3 * 1.002**700),
    ),
    "mms_adaptive": (losses.mms_adaptive, lambda: _written_out(_stands_out)),
    "mms_masked": (
        lambda a, v: losses.mms_masked(a, v, GROUPS, 0.3),
        lambda: _written_out(lambda s, i: 0.3, lambda i, j: GROUPS[i] != GROUPS[j]),
    ),
    "infonce": (_infonce(0.7), lambda: _written_out(temperature=0.7)),
    "max_margin": (lambda a, v: losses.max_margin(a, v, 0.2), _max_margin),
    "max_margin weighted": (
        lambda a, v: losses.max_margin(a, v, 0.2, GROUPS, 0.7),
        _max_margin_weighted,
    ),
    **{
        f"bce {kind}": (
            lambda a, v, k=kind: losses.bce(a, v, 3, -0.5, k, imposters=ROLLED[0]),
            lambda k=kind: _bce(k),
        )
        for kind in ("sampled", "all")
    },
    **{
        f"triplet {kind}": (
            lambda a, v, k=kind: losses.triplet(a, v, k, 0.5, imposters=ROLLED),
            lambda k=kind: _triplet(k),
        )
        for kind in ("random", "semi-hard", "both")
    },
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize(("dtype", "relative"), [("float64", 1e-12), ("float32", 1e-5)])
def test_values_equal_the_formulas(name, dtype, relative):
    loss, formula = FORMULAS[name]
    found = loss(tf.constant(AUDIO, dtype), tf.constant(VISUAL, dtype))
    assert found.dtype == dtype
    assert float(found) == pytest.approx(formula(), rel=relative)


@pytest.mark.parametrize("name", FORMULAS)
def test_losses_and_gradients_are_finite_at_large_similarities(name):
    inputs = [
        np.tile(GOLDEN[f"large/{k}"][:5], (1, 4)).astype(np.float32)
        for k in ("audio", "visual")
    ]
    assert np.abs(inputs[0] @ inputs[1].T).max() > 500
    value, gradients = _differentiate(FORMULAS[name][0], *inputs)
    assert all(np.isfinite(each).all() for each in (value, *gradients))


@pytest.mark.parametrize("name", FORMULAS)
def test_half_precision_embeddings_have_a_float32_loss(name):
    both = (tf.constant(one, tf.float16) for one in (AUDIO, VISUAL))
    found = FORMULAS[name][0](*both)
    assert found.dtype == tf.float32
    assert float(found) == pytest.approx(FORMULAS[name][1](), rel=0.02)


LARGE = (200 * np.random.default_rng(2).normal(size=(2, 5, 99))).astype("f2")


@pytest.mark.parametrize("name", [*FORMULAS, "mil_nce"])
def test_products_of_half_precision_embeddings_do_not_overflow(name):
    def loss(audio, visual):
        if name == "mil_nce":
            return losses.mil_nce(visual, audio[:, None])
        return FORMULAS[name][0](audio, visual)

    # Their products are above 65504, the largest float16.
    assert np.abs(LARGE[0].astype("f") @ LARGE[1].astype("f").T).max() > 1e5
    found = loss(*LARGE)
    assert float(found) == pytest.approx(float(loss(*LARGE.astype("f"))), rel=1e-6)


@pytest.mark.parametrize("name", ["mms", "bce", "max_margin", "mil_nce"])
def test_losses_are_traced_without_knowing_a_shape(name):
    loss, other = getattr(losses, name), VISUAL
    if name == "mil_nce":
        other = np.random.default_rng(1).normal(size=(5, 2, 3))
    unknown = [tf.TensorSpec(None, tf.float64)] * 2
    traced = tf.function(loss, input_signature=unknown)
    assert float(traced(AUDIO, other)) == pytest.approx(float(loss(AUDIO, other)))


def test_losses_name_what_they_take():
    for name in set(losses.__all__) - {"at_least_float32", "mil_nce"}:
        loss = getattr(losses, name)
        if name in ("distillation", "nearest_neighbors"):
            continue
        assert list(inspect.signature(loss).parameters)[:2] == ["audio", "visual"]
        assert "audio, visual: float [B, D]" in inspect.getdoc(loss)
    by_name = losses.mms(audio=AUDIO, visual=VISUAL, margin=0.3)
    assert float(by_name) == float(losses.mms(AUDIO, VISUAL, 0.3))


def test_what_bce_learns_may_be_of_another_type():
    learnt = tf.constant(3.0), tf.constant(-0.5)
    found = losses.bce(AUDIO, VISUAL, *learnt, "all")
    assert found.dtype == tf.float64
    assert float(found) == pytest.approx(_bce("all"), rel=1e-12)


def test_masked_pairs_pull_nothing():
    loss = FORMULAS["mms_masked"][0]
    _, (of_audio, _) = _differentiate(loss, AUDIO, VISUAL)
    moved = VISUAL.copy()
    moved[1] += 0.5
    _, (again, _) = _differentiate(loss, AUDIO, moved)
    direction = (np.asarray(again) - np.asarray(of_audio))[0]
    np.testing.assert_allclose(direction, 0, atol=1e-12)
    apart = losses.mms_masked(AUDIO, VISUAL, np.arange(5), 0.3)
    assert float(apart) == float(losses.mms(AUDIO, VISUAL, 0.3))


def test_a_higher_margin_is_a_higher_loss():
    values = [float(losses.mms(AUDIO, VISUAL, margin)) for margin in (0, 1, 2)]
    assert values == sorted(values) and values[0] < values[2]


def test_random_imposters_are_drawn_from_the_seed_and_never_the_match():
    # Similarities by which the sum tells which imposters were drawn.
    codes = np.array([[1.0, 10, 100], [1000, 1e4, 1e5], [1e6, 1e7, 1e8]])
    eye, drawn, draws = np.eye(3), set(), {}
    for step in range(64):
        total = float(losses.triplet(codes, eye, margin=1e9, seed=(3, step)))
        again = float(losses.triplet(codes, eye, margin=1e9, seed=(3, step)))
        assert total == again
        above = 3 * (total - 2e9) + 2 * np.trace(codes)
        digits = f"{round(above):09d}"
        assert sum(map(int, digits)) == 6
        # 100000001, 10 and so on would be of the diagonal: 1, 1e4 and 1e8.
        assert not {int(digits[-1]), int(digits[-5]), int(digits[0])} & {1, 2}
        drawn.add(digits)
        draws[step] = total
    assert len(drawn) > 10 and len(set(draws.values())) > 10
    other = [float(losses.triplet(codes, eye, margin=1e9, seed=(4, s))) for s in draws]
    assert other != list(draws.values())


def test_every_imposter_is_as_likely():
    # One audio scores 1 with one video: how often it is drawn is the mean.
    hits = []
    for step in range(600):
        s = np.zeros((4, 4))
        s[1, 3] = 4.0
        seed = (0, step)
        hits.append(float(losses.triplet(s, np.eye(4), margin=0.0, seed=seed)))
    # Of two directions, each with a chance of one in three, a quarter of 4.
    assert np.mean(hits) == pytest.approx(2 / 3, abs=0.1)


def test_neighbors_are_nearest_by_inner_product_among_what_is_valid():
    keys = np.array([[9.0, 9], [1, 0], [0, 1], [0, 3]])
    values = np.array([[0.0], [1], [2], [3]])
    queries = np.array([[1.0, 0.2], [0.1, 1], [-1, -1]])
    valid = np.array([False, True, True, True])
    found = losses.nearest_neighbors(queries, keys, values, valid)
    assert found.numpy().ravel().tolist() == [1, 3, 1]
    everything = losses.nearest_neighbors(queries, keys, values, valid | True)
    assert everything.numpy().ravel().tolist() == [0, 0, 1]


def test_neighbors_are_detached():
    def loss(queries, keys, values):
        found = losses.nearest_neighbors(queries, keys, values, np.ones(5, bool))
        return losses.infonce(found, queries, 0.3, "one")

    _, (queries, keys, values) = _differentiate(loss, AUDIO, VISUAL, VISUAL)
    assert keys is None and values is None
    s = AUDIO @ VISUAL.T
    nearest = VISUAL[s.argmax(axis=1)]
    logits = nearest @ AUDIO.T / 0.3
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = (softmax - np.eye(5)).T @ nearest / (5 * 0.3)
    np.testing.assert_allclose(queries, expected, rtol=1e-9, atol=1e-12)


def test_distillation_is_the_divergence_of_rows_and_moves_the_learner_only():
    guide = np.random.default_rng(1).normal(size=(5, 3))

    def softmax(x):
        return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)

    wanted, own = (softmax(one @ VISUAL.T / 0.4) for one in (guide, AUDIO))
    expected = np.mean(np.sum(wanted * np.log(wanted / own), axis=1))
    value, (of_guide, of_learner, of_visual) = _differentiate(
        lambda *inputs: losses.distillation(*inputs, 0.4), guide, AUDIO, VISUAL
    )
    assert float(value) == pytest.approx(expected, rel=1e-12)
    assert of_guide is None
    pull = (own - wanted) / (5 * 0.4)
    np.testing.assert_allclose(of_learner, pull @ VISUAL, rtol=1e-9)
    np.testing.assert_allclose(of_visual, pull.T @ AUDIO, rtol=1e-9)
    assert float(losses.distillation(guide, guide, VISUAL)) == 0
    large = losses.distillation(1e3 * guide, 1e3 * AUDIO, VISUAL)
    assert np.isfinite(float(large))


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        (((5,), (5,)), "two .B, D."),
        (((5, 3, 1), (5, 3, 1)), "two .B, D."),
        (((5, 3), (4, 3)), "two .B, D."),
        (((5, 3), (5, 2)), "two .B, D."),
        (((0, 3), (0, 3)), "needs . pairs or more"),
    ],
)
@pytest.mark.parametrize("name", FORMULAS)
def test_shapes_that_do_not_fit_are_an_error(name, shapes, said):
    both = (tf.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match=said):
        FORMULAS[name][0](*both)


def test_one_pair_is_too_few_for_losses_of_imposters():
    one = tf.zeros([1, 3])
    for loss in (losses.mms_adaptive, losses.triplet, losses.bce):
        with pytest.raises(ValueError, match="needs 2 pairs or more"):
            loss(one, one)
    assert float(losses.mms(one, one)) == 0


def test_wrong_arguments_are_an_error():
    for call, said in (
        (lambda: losses.infonce(AUDIO, VISUAL, 0.0), "temperature above 0"),
        (lambda: losses.infonce(AUDIO, VISUAL, 1.0, "two"), "both or one"),
        (lambda: losses.triplet(AUDIO, VISUAL, "easy"), "got 'easy'"),
        (lambda: losses.mms_masked(AUDIO, VISUAL, GROUPS[:4]), "a group for each"),
        (lambda: losses.max_margin(AUDIO, VISUAL, 0.1, None, 0.5), "a group for each"),
        (lambda: losses.max_margin(AUDIO, VISUAL, 0.1, GROUPS, 1.5), "0 to 1, got 1.5"),
        (lambda: losses.bce(AUDIO, VISUAL, negatives="few"), "got 'few'"),
        (lambda: losses.mil_nce(VISUAL, AUDIO), r"candidates \[B, K, D\]"),
        (lambda: losses.mil_nce(VISUAL, AUDIO[:4, None]), r"candidates \[B, K, D\]"),
        (lambda: losses.mil_nce(VISUAL, AUDIO[:, None, :2]), r"\[B, K, D\]"),
        (
            lambda: losses.mil_nce(VISUAL, VISUAL[:, None][:, :0]),
            "a candidate",
        ),
        (lambda: losses.mil_nce(VISUAL, AUDIO[:, None].astype("f")), "one floating"),
        (lambda: losses.distillation(AUDIO, AUDIO[:4], VISUAL), "two .B, D."),
        (lambda: losses.distillation(AUDIO, AUDIO, VISUAL, 0.0), "above 0"),
        (lambda: losses.mms(AUDIO, VISUAL.astype(np.float32)), "one floating type"),
        (lambda: losses.mms(GROUPS[:, None], GROUPS[:, None]), "one floating type"),
    ):
        with pytest.raises(ValueError, match=said):
            call()


@pytest.mark.parametrize("suffix", ["", "64"])
@pytest.mark.parametrize("folder", ["", "large/"])
def test_mil_nce_equals_the_authors(folder, suffix):
    dtype = np.float64 if suffix else np.float32
    visual = GOLDEN[f"{folder}visual"].astype(dtype)
    text = GOLDEN[f"{folder}text"].reshape(12, 4, 8).astype(dtype)
    value, (of_visual, of_text) = _differentiate(losses.mil_nce, visual, text)
    relative, absolute = (1e-9, 1e-9) if suffix else (1e-5, 5e-4 if folder else 2e-6)
    name = f"{folder}mil_nce"
    assert value.dtype == dtype and value.shape == ()
    assert float(value) == pytest.approx(
        float(GOLDEN[f"{name}/value{suffix}"]), relative
    )
    for found, key in ((of_visual, "visual"), (of_text, "text")):
        wanted = GOLDEN[f"{name}/grad_{key}{suffix}"]
        flat = np.reshape(found, wanted.shape)
        np.testing.assert_allclose(flat, wanted, rtol=0, atol=absolute)


def test_mil_nce_counts_positives_twice_or_once():
    candidates = np.random.default_rng(1).normal(size=(5, 2, 3))
    x = np.exp(np.einsum("id,jkd->ijk", VISUAL, candidates))
    for twice in (True, False):
        total = 0.0
        for i in range(5):
            below = x[i].sum() + sum(x[j, i].sum() for j in range(5) if twice or j != i)
            total += np.log(below / x[i, i].sum()) / 5
        found = losses.mil_nce(VISUAL, candidates, count_positives_twice=twice)
        assert float(found) == pytest.approx(total, rel=1e-12)
    apart = 99 * np.eye(3)
    of_one = [losses.mil_nce(apart, apart[:, None], twice) for twice in (True, False)]
    assert np.allclose(of_one, [np.log(2), 0])
    half = losses.mil_nce(VISUAL.astype("f2"), candidates.astype("f2"))
    assert half.dtype == tf.float32


def test_weights_of_a_batch_of_one_recording_are_finite():
    found = losses.max_margin(AUDIO, VISUAL, 0.2, np.zeros(5, int), 0.7)
    plain = losses.max_margin(AUDIO, VISUAL, 0.2)
    assert float(found) == pytest.approx(0.7 * float(plain))


def test_the_imposters_of_bce_are_drawn_from_the_seed():
    def found(seed, negatives="sampled"):
        value, gradients = _differentiate(
            lambda *both: losses.bce(*both, negatives=negatives, seed=(0, seed)),
            AUDIO,
            VISUAL,
        )
        return np.stack(gradients)

    draws = [found(seed) for seed in range(200)]
    assert np.array_equal(draws[3], found(3)) and not np.array_equal(*draws[:2])
    # Of every imposter as likely the mean is what all give.
    off = np.abs(np.mean(draws, axis=0) - found(0, "all")).max()
    assert off < 0.2 * np.abs(found(0, "all")).max()
