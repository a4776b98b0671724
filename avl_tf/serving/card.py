"""The model card of an export, Markdown: what who gets the export has to know of it."""

import dataclasses
import platform
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import avl_tf
from avl_tf import overlap, runs, trained
from avl_tf.errors import UserError
from avl_tf.evaluation import clip_lengths
from avl_tf.serving import card_recalls
from avl_tf.trained import identity
from avl_tf.wording import cell, counted, span

NAME = "card.md"
# Whose lengths are read for the card; of more, that takes minutes.
_MOST_RECORDS = 100_000


def text(
    run_dir: str,
    model: keras.Model,
    info: runs.RunInfo,
    signatures: Mapping[str, Any],
    golden: Mapping[str, np.ndarray],
    licence: str = "",
) -> str:
    """Writes the card.

    Args:
        run_dir: of the run.
        model: with the weights that are exported.
        info: of the run, and which weights these are.
        signatures: concrete functions by name.
        golden: the golden pair.
        licence: of the training data and so of the weights; "" is not stated.

    Returns:
        Markdown.
    """
    look = trained.look_at_run(run_dir)
    evaluate = look.evaluation.evaluate if look.evaluation else ()
    variables = [variable.value for variable in model.variables]
    sections = {
        "What it is": _what(run_dir, info, variables),
        "Training data": _data(run_dir, info, licence),
        "Retrieval": card_recalls.lines(run_dir, info, evaluate),
        "Intended use and limits": _limits(info, _clip_s(look)),
        "Constants": _constants(info, look),
        "Signatures": [_signature(name, signatures[name]) for name in signatures],
        "Golden pair": _golden(golden),
        "Licence": _licence(licence),
        "Made with": [
            f"avl_tf {avl_tf.__version__}, TensorFlow {tf.__version__}, Keras "
            f"{keras.__version__}, NumPy {np.__version__}, Python "
            f"{platform.python_version()}"
        ],
    }
    lines = [f"# Model card: {cell(run_dir)}"]
    for title, body in sections.items():
        lines += ["", f"## {title}", "", *body]
    return "\n".join([*lines, ""])


def _table(rows: Mapping[str, Any]) -> list[str]:
    filled = [f"| {name} | {cell(value)} |" for name, value in rows.items()]
    return ["| | |", "| --- | --- |", *filled]


def _what(run_dir: str, info: runs.RunInfo, variables: list[tf.Variable]) -> list[str]:
    model = info.model
    streams = [one.backbone for one in (info.features_2d, info.features_3d) if one]
    seen = f"frozen features of {' and '.join(streams)}"
    if model.image_encoder:
        seen = f"{model.image_encoder}, trained with it"
    told = info.weights and runs.weights.warning(run_dir, info.weights, info.parent)
    widths = ", ".join(map(str, model.widths))
    rows = {
        "hears by": f"{model.audio_encoder} of widths {widths}",
        "sees by": seen,
        "branches": model.branches,
        "embedding": f"{model.embedding_dim} numbers",
        "weights": f"{sum(np.prod(v.shape, dtype=int) for v in variables):,} numbers, "
        f"of {info.weights or 'an unknown step'}",
        "started from": info.parent or "scratch",
        "digest (SHA-256)": identity.digest(info, variables),
    }
    return [
        "Two encoders that embed speech and what is seen into one space: the dot "
        "product of two embeddings says how well they match. AVLnet (Rouditchenko et "
        "al. 2021) as avl_tf trains it.",
        *(["", f"**{cell(told)}**"] if told else []),
        "",
        *_table(rows),
    ]


def _data(run_dir: str, info: runs.RunInfo, licence: str) -> list[str]:
    rows: dict[str, Any] = {
        "records": info.records,
        "speech": _amount(run_dir, info),
        "languages": info.languages,
        "synthetic": "yes: generated, no real speech" if info.synthetic else "no",
        "licence": licence,
    }
    try:
        learnt = (
            overlap.trained_on.read(run_dir)
            if overlap.trained_on.exists(run_dir)
            else []
        )
    except UserError:
        learnt = []
    for one in learnt:
        n = len(set(one.contents.recording_ids))
        rows[f"stage {cell(one.run)}"] = f"{counted(n, 'recording')} of {one.records}"
    return _table(rows)


def _amount(run_dir: str, info: runs.RunInfo) -> str:
    """Records and hours of the training set, as long as it is there as it was."""
    unknown = "not known: the records are not there any more, or have changed"
    try:
        records = overlap.trained_on.training_set(run_dir, info, run_dir)
        if not records:
            return unknown
        told = f"{counted(records.n_records, 'record')}, {records.n_clips:,} clips"
        if records.n_records > _MOST_RECORDS:
            return told
        lengths = clip_lengths.of_set(records, annotated=False)
    except (OSError, UserError, tf.errors.OpError):
        return unknown
    return f"{told}, {span(float(lengths.sum()))}"


def _limits(info: runs.RunInfo, clip_s: float) -> list[str]:
    spoken = " and ".join(map(cell, info.languages)) or "unknown languages"
    seen = "images" if info.model.image_encoder else "videos"
    lines = [
        f"- For finding {seen} by speech ({spoken}) and speech by {seen}, among what "
        "is like the training data.",
        "- Not for telling who speaks, for writing down what is said, or for "
        "decisions about people.",
        "- A similarity is no probability: the best of a set comes first even if "
        "nothing in it fits.",
        f"- Speech is heard up to {clip_s:g} s in evaluation; longer is cut.",
        "- Other languages, speakers, microphones and kinds of pictures than those of "
        "the training data were not measured unless a set above says so, and what the "
        "data leaves out or overstates, the model does too.",
    ]
    if info.synthetic:
        lines.append("- Trained on synthetic data: for tests of programs, not for use.")
    return lines


def _clip_s(look: trained.Trained) -> float:
    asked = look.evaluation.evaluation_clip_s if look.evaluation else 0
    return asked or clip_lengths.LONGEST_S


def _constants(info: runs.RunInfo, look: trained.Trained) -> list[str]:
    rows: dict[str, Any] = {
        f"audio: {cell(name)}": f"{value:g}"
        for name, value in dataclasses.asdict(info.model.audio).items()
    }
    for name, stream in (("2D", info.features_2d), ("3D", info.features_3d)):
        if stream:
            rows[f"{name} features"] = (
                f"{stream.backbone}, {stream.dim} numbers, {stream.rate_hz:g} a second"
                + ", of the nearest key frame" * (stream.frames == "key")
            )
    alone = "clip" in (info.log_mel_reference, look.log_mel_reference)
    rows["0 dB is the loudest bin of"] = "each clip" if alone else "the recording"
    rows["factor on visual features"] = f"{info.model.visual_scale:g}"
    rows["clip"] = f"{_clip_s(look):g} s"
    return _table(rows)


def _signature(name: str, function: Any) -> str:
    given = [
        _tensor(spec.name, spec) for spec in function.structured_input_signature[0]
    ]
    outputs = function.structured_outputs.items()
    made = [_tensor(key, spec) for key, spec in outputs]
    return f"- `{name}: {', '.join(given)} -> {', '.join(made)}`"


def _tensor(name: str, spec: Any) -> str:
    sizes = ", ".join("?" if size is None else str(size) for size in spec.shape)
    return f"{name} {spec.dtype.name} [{sizes}]"


def _golden(pair: Mapping[str, np.ndarray]) -> list[str]:
    lines = [
        f"{identity.GOLDEN} beside this card holds one made item, and the embeddings "
        f"that the model gave of it. What loads the export checks that it still does, "
        f"to {identity.TOLERANCE:g} of the largest value ({identity.TOLERANCE_ON_GPU:g}"
        " on a GPU). They begin:",
        "",
    ]
    for name, value in pair.items():
        if name.endswith("_embedding"):
            start = ", ".join(f"{number:.6g}" for number in value[0, :4])
            lines.append(f"- {cell(name)}: {start}")
    return lines


def _licence(licence: str) -> list[str]:
    return [
        "The code that made it, avl_tf: Apache-2.0. The weights are made from the "
        "training data, whose licence is "
        + (
            f"{cell(licence)}."
            if licence
            else "not stated: say it by avl_tf.export --licence=TEXT."
        )
    ]
