"""Models of several audio branches: built, started from other runs, frozen."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from avl_tf import evaluation
from avl_tf.errors import UserError
from avl_tf.model import branch, build_model, layers_of
from avl_tf.settings import branches
from avl_tf.settings.model import ModelConfig
from avl_tf.settings.stage import StageConfig

CONFIG = ModelConfig(
    visual_dims=(6,),
    audio_widths=(4, 4, 8),
    embedding_dim=8,
    languages=("es", "ro"),
)
BRANCHES = CONFIG.branches


def _build(seed=0, **changes):
    frozen = changes.pop("frozen", ())
    keras.utils.set_random_seed(seed)
    return build_model(dataclasses.replace(CONFIG, **changes), frozen=frozen)


def _inputs(languages=("es", "ro"), n_frames=(64, 40, 17)):
    random = np.random.default_rng(0)
    inputs = {"visual": random.random((3, 6), np.float32)}
    for place, language in enumerate(languages):
        shape = 3, 64 + 16 * place, 40
        name = language and f":{language}"
        inputs[f"log_mel{name}"] = random.uniform(-80, 0, shape).astype(np.float32)
        inputs[f"n_frames{name}"] = np.array(n_frames, np.int32)
    return inputs


def _heard(inputs, language):
    return {key: inputs[f"{key}:{language}"] for key in ("log_mel", "n_frames")}


def test_a_language_has_a_tower_of_its_own():
    model, inputs = _build(), _inputs()
    outputs = model(inputs)
    assert list(outputs) == [f"{name}_embedding" for name in BRANCHES]
    for language in CONFIG.languages:
        own = branch(model, f"audio:{language}")(_heard(inputs, language))
        assert np.array_equal(own, outputs[f"audio:{language}_embedding"])
    alike = {**inputs, "log_mel:ro": inputs["log_mel:es"]}
    both = model(alike)
    assert not np.allclose(both["audio:es_embedding"], both["audio:ro_embedding"])


def test_a_tower_hears_as_the_model_of_one_language_with_its_weights():
    model = _build()
    alone = build_model(dataclasses.replace(CONFIG, languages=()))
    for own, other in (("audio", "audio:ro"), ("visual", "visual")):
        theirs = {layer.name: layer for layer in layers_of(model, other)}
        ours = layers_of(alone, own)
        assert [layer.name for layer in ours] == list(theirs)
        for layer in ours:
            layer.set_weights(theirs[layer.name].get_weights())
    inputs = _inputs()
    expected = model(inputs, training=False)
    found = alone({**_heard(inputs, "ro"), "visual": inputs["visual"]}, training=False)
    np.testing.assert_allclose(
        found["audio_embedding"], expected["audio:ro_embedding"], rtol=1e-5, atol=1e-5
    )
    assert np.array_equal(found["visual_embedding"], expected["visual_embedding"])


def test_a_shared_tower_hears_all_languages_alike():
    model, inputs = _build(shared_audio=True), _inputs()
    for key in ("log_mel", "n_frames"):
        inputs[f"{key}:ro"] = inputs[f"{key}:es"]
    both = model(inputs, training=False)
    assert np.array_equal(both["audio:es_embedding"], both["audio:ro_embedding"])
    assert len(model.trainable_variables) < len(_build().trainable_variables)


@pytest.mark.parametrize("frozen", [("audio:es",), ("visual",), ("audio:es", "visual")])
def test_a_frozen_branch_embeds_in_training_as_in_evaluation(frozen):
    # Clips are padded, over which training averages and evaluation does not.
    model, inputs = _build(frozen=frozen), _inputs()
    before = {name: [w.copy() for w in _weights(model, name)] for name in BRANCHES}
    training, evaluating = (model(inputs, training=t) for t in (True, False))
    learnt = {id(variable) for variable in model.trainable_variables}
    for name in BRANCHES:
        key = f"{name}_embedding"
        still = np.array_equal(training[key], evaluating[key])
        assert still == (name in frozen or name == "visual")
        variables = [v for layer in layers_of(model, name) for v in layer.variables]
        assert not learnt.intersection(map(id, variables)) == (name in frozen)
        moved = not all(map(np.array_equal, before[name], _weights(model, name)))
        assert moved == (name not in frozen and name != "visual")


def _weights(model, name):
    return [w for layer in layers_of(model, name) for w in layer.get_weights()]


def test_normalised_embeddings_have_length_one_and_their_directions():
    inputs = _inputs()
    plain, unit = (
        _build(normalize_embeddings=each)(inputs, training=False)
        for each in (False, True)
    )
    for key, value in plain.items():
        length = np.linalg.norm(value, axis=1, keepdims=True)
        assert not np.allclose(length, 1)
        np.testing.assert_allclose(unit[key], value / length, rtol=1e-5, atol=1e-6)


def test_self_attention_is_over_the_frames_that_are_heard():
    model = build_model(dataclasses.replace(CONFIG, languages=(), audio_attention=True))
    layer = model.get_layer("attention")
    random = np.random.default_rng(0)
    steps = random.standard_normal((2, 8, 4)).astype(np.float32)
    log_mel, n_frames = tf.zeros([2, 16, 40]), tf.constant([16, 5])
    found = layer(steps, n_frames, log_mel).numpy()
    query, key, value, output = layer.get_weights()
    for clip, n_steps in zip(range(2), (8, 3), strict=True):
        scores = steps[clip] @ query @ (steps[clip, :n_steps] @ key).T / 4**0.5
        shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        expected = steps[clip] + shares @ (steps[clip, :n_steps] @ value) @ output
        np.testing.assert_allclose(found[clip], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "init_from", "expected"),
    [
        ((), None, {}),
        ((), "es", dict.fromkeys(BRANCHES, ("es", ""))),
        (("audio:1", "visual"), "es", {"audio:es": ("es", ""), "visual": ("es", "")}),
        (
            ("audio:ro=a/b@audio:hi", "visual"),
            "es",
            {"audio:ro": ("a/b", "audio:hi"), "visual": ("es", "")},
        ),
        (("visual=c",), None, {"visual": ("c", "")}),
    ],
)
def test_branches_start_where_flags_say(given, init_from, expected):
    stage = StageConfig(init_branches=given)
    assert branches.starts(stage, init_from, BRANCHES) == expected


@pytest.mark.parametrize(
    ("given", "init_from", "message"),
    [
        (("audio:hi",), "es", "no branch of this model, which has audio:es, audio:ro"),
        (("audio:3",), "es", "no branch of this model"),
        (("audio",), "es", "no branch of this model"),
        (("audio:es", "audio:1"), "es", "'audio:es' stands twice"),
        (("visual",), None, "give --init_from, or write visual=RUN_DIR"),
    ],
)
def test_a_start_that_cannot_be_is_told(given, init_from, message):
    with pytest.raises(UserError, match=message):
        branches.starts(StageConfig(init_branches=given), init_from, BRANCHES)


@pytest.mark.parametrize(
    ("name", "wanted", "theirs", "languages", "expected"),
    [
        ("audio:es", "", ("audio", "visual"), ("es", "ro"), "audio"),
        ("audio:es", "", ("audio:ro", "audio:es", "visual"), ("es",), "audio:es"),
        ("audio:es", "audio:ro", ("audio:ro", "audio:hi", "visual"), (), "audio:ro"),
        ("audio", "", ("audio:ro", "audio:es", "visual"), ("es",), "audio:es"),
        ("visual", "", ("audio", "visual"), (), "visual"),
        ("audio:es", "", ("audio:ro", "audio:hi", "visual"), (), None),
        ("audio", "", ("audio:ro", "audio:hi", "visual"), ("es",), None),
        ("audio:es", "audio:es", ("audio", "visual"), (), None),
    ],
)
def test_a_branch_starts_from_the_one_that_is_meant(
    name, wanted, theirs, languages, expected
):
    start = branches.Start("run", wanted)
    if expected:
        assert branches.source_of(name, start, theirs, languages) == expected
    else:
        with pytest.raises(UserError, match=r"--init_branches=.*run@"):
            branches.source_of(name, start, theirs, languages)


@pytest.mark.parametrize(
    ("freeze", "shared", "message"),
    [
        (("audio:es", "audio:2", "visual"), False, "freezes all there is"),
        (("audio:ro",), False, "'audio:ro' would stay at random weights"),
        (("audio:hi",), False, "no branch of this model"),
        (("audio:es",), True, "--shared_audio: all languages have the same weights"),
    ],
)
def test_what_cannot_be_frozen_is_told(freeze, shared, message):
    begun = {"audio:es": branches.Start("es", ""), "visual": branches.Start("es", "")}
    with pytest.raises(UserError, match=message):
        branches.frozen(StageConfig(freeze=freeze), BRANCHES, begun, shared)


def test_a_set_of_one_language_is_heard_by_its_branch():
    class Records:
        name, spoken = "data/ro/eval", ("ro",)

    expected = {"audio": "audio:ro", "visual": "visual"}
    assert evaluation.heard(Records, BRANCHES) == expected
    Records.spoken = ("hi",)
    with pytest.raises(
        UserError, match=r"which of audio:es, audio:ro is to hear ro_set"
    ):
        evaluation.heard(Records, BRANCHES, "ro_set")


def test_a_set_that_is_called_as_another_branch_is_told(caplog):
    class Records:
        name, language, spoken = "data/es/eval", "", ("es",)

    assert evaluation.heard(Records, BRANCHES, "es")["audio"] == "audio:es"
    assert not caplog.text
    assert evaluation.heard(Records, BRANCHES, "ro")["audio"] == "audio:es"
    assert "ro: its records are in es, and heard by audio:es" in caplog.text


def test_one_line_says_where_branches_start_and_which_stay():
    begun = {
        "audio:es": branches.Start("runs/es", "audio"),
        "visual": branches.Start("runs/es", ""),
    }
    assert branches.summary(BRANCHES, begun, ["audio:es"]) == (
        "audio:es from runs/es@audio, frozen; audio:ro from scratch; "
        "visual from runs/es"
    )
