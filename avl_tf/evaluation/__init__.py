"""Evaluation of a model on sets of records: embeddings, then ranks."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from avl_tf import dataset
from avl_tf.comma_lists import parse_evaluate
from avl_tf.dataset import ClipConfig, JoinedSet, Records
from avl_tf.errors import UserError
from avl_tf.evaluation import caveats, clip_lengths
from avl_tf.evaluation.embedded import EmbeddedSet
from avl_tf.evaluation.rankings import RankedSet
from avl_tf.model import branch, by_branch, inputs_of
from avl_tf.records import open_records
from avl_tf.settings.evaluation import EvaluationConfig

# A batch of a branch's inputs to embeddings [B, D].
Tower = Callable[[Mapping[str, tf.Tensor]], tf.Tensor]
# A batch to embeddings by branch.
EmbedFunction = Callable[..., dict[str, tf.Tensor]]


def parse_sets(
    items: Iterable[str], join_by: str = ClipConfig.join_by
) -> dict[str, Records]:
    """Opens name=records items, as in --evaluate; several languages are joined.

    Args:
        items: name=PATH, or name=LANGUAGE=PATH with + between. A plain set that was
            named by its language has it as `language`.
        join_by: as in training; by recording if that is similarity, which only
            training can draw from.

    Raises:
        ValueError: an item is not name=records, a name stands twice, or nothing of a
            set's languages can be joined.
        FileNotFoundError: there are no such records.
    """
    by = "recording" if join_by == "similar" else join_by
    found: dict[str, Records] = {}
    for name, paths in parse_evaluate(items).items():
        sets = {
            language: dataclasses.replace(open_records(path), language=language)
            for language, path in paths.items()
        }
        if len(sets) > 1:
            found[name] = dataset.join(sets, ClipConfig(join_by=by), training=False)
        else:
            (found[name],) = sets.values()
    return found


def by_set(
    sets: Mapping[str, Records], config: EvaluationConfig, told: bool = True
) -> dict[str, EvaluationConfig]:
    """The settings of each set's evaluation: evaluation_clip_s is no longer 0.

    Logs how much of the clips is heard, and warns of sets that are too small to tell
    models apart; not told is without a word.
    """
    found = {}
    for name, records in sets.items():
        lengths = clip_lengths.of_set(records)
        clip_s = clip_lengths.heard_s(lengths, config.evaluation_clip_s)
        found[name] = dataclasses.replace(config, evaluation_clip_s=clip_s)
        if not told:
            continue
        n_cut, _ = clip_lengths.count(lengths, clip_s)
        level = logging.WARNING if n_cut else logging.INFO
        logging.log(level, "%s", clip_lengths.summary(name, lengths, clip_s))
        n_queries = config.evaluation_population or records.n_clips
        if note := caveats.of_size(name, n_queries):
            logging.warning("%s", note)
    return found


def towers(model: keras.Model) -> dict[str, Tower]:
    """Compiles the evaluation pass of each branch once, for batches of any size."""
    return {name: _compiled(branch(model, name)) for name in by_branch(model.output)}


def _compiled(tower: keras.Model) -> Tower:
    signature = {
        name: tf.TensorSpec(tensor.shape, tensor.dtype)
        for name, tensor in tower.input.items()
    }

    @tf.function(input_signature=[signature], autograph=False)
    def embed(inputs):
        return tower(inputs, training=False)

    return lambda batch: embed({name: batch[name] for name in signature})


def heard(
    records: Records,
    branches: Sequence[str],
    set_name: str = "",
    flag: str = "evaluate",
) -> dict[str, str]:
    """Which branch of a model embeds what of a set.

    Args:
        records: a set of one language, or a joined one.
        branches: of the model.
        set_name: what the set is called, for messages.
        flag: that names the set, for messages.

    Returns:
        The model's branch by what the metrics call it: {"audio": "audio:ro", "visual":
        "visual"} of a set in Romanian for a model of several languages, so that its
        metrics are those of any model on that set. A model of one audio branch
        hears all languages of a joined set with it.

    Raises:
        UserError: the model has no branch for the set's language.
    """
    own = {name: name for name in branches}
    if isinstance(records, JoinedSet):
        languages = tuple(records.sets)
        named = [f"audio:{language}" for language in languages]
        wanted = {name: "audio" if "audio" in own else name for name in named}
        missing = [name for name in wanted.values() if name not in branches]
        if missing:
            raise UserError(
                f"--{flag}: {set_name or records.name} is of "
                f"{' and '.join(languages)}, and the model has the branches "
                f"{', '.join(branches)}: nothing hears {missing[0].partition(':')[2]}. "
                "Name sets of the model's languages."
            )
        return {**wanted, "visual": "visual"}
    if "audio" in own:
        return own
    fitting = [name for name in branches if name.partition(":")[2] in records.spoken]
    if len(fitting) != 1:
        advice = (
            f"Say so, as in {set_name or 'NAME'}={branches[0][6:]}={records.name}."
            if flag == "evaluate"
            else "Name a language that the model hears."
        )
        raise UserError(
            f"--{flag}: which of {', '.join(branches[:-1])} is to hear "
            f"{set_name or records.name}, in {' and '.join(records.spoken)}? {advice}"
        )
    if f"audio:{set_name}" in branches and fitting[0] != f"audio:{set_name}":
        logging.warning(
            "%s: its records are in %s, and heard by %s.",
            set_name,
            " and ".join(records.spoken),
            fitting[0],
        )
    return {"audio": fitting[0], "visual": "visual"}


def embed_by(
    towers: Mapping[str, Tower],
    batch: Mapping[str, tf.Tensor],
    heard: Mapping[str, str] | None = None,
) -> dict[str, tf.Tensor]:
    """Embeds a batch: [B, D] by what `heard` names, or by the towers' own names."""
    chosen = heard or {name: name for name in towers}
    return {name: towers[own](inputs_of(batch, name)) for name, own in chosen.items()}


def embed_function(model: keras.Model) -> EmbedFunction:
    """Compiles a model's evaluation pass; see embed_by."""
    return functools.partial(embed_by, towers(model))


class NotFiniteError(UserError):
    """An embedding is not finite.

    Attributes:
        what: which, as in "clip x: its audio embedding is not finite".
        of_inputs: what the model read is not finite either.
    """

    def __init__(self, what: str, fault: str):
        """Takes `what` and the fault that fault_of_inputs found."""
        self.what, self.of_inputs = what, bool(fault)
        super().__init__(
            f"{what}, and {fault}"
            if fault
            else f"{what}, though what the model read is. Its weights hold a NaN or "
            "have grown too large, as in a training that diverged: train again with a "
            "lower --learning_rate."
        )


def fault_of_inputs(batch: Mapping[str, tf.Tensor]) -> str:
    """Names the first clip of a batch with an input that is not finite; "" if none."""
    for name, value in batch.items():
        if not value.dtype.is_floating:
            continue
        within = range(1, value.shape.rank)
        finite = tf.reduce_all(tf.math.is_finite(value), within).numpy()
        if not finite.all():
            clip = batch["clip_id"][int(np.argmin(finite))].numpy().decode()
            return (
                f"so is the {name} of clip {clip}: the record holds a NaN or an "
                "infinity. Extract it again."
            )
    return ""


def embed_all(
    embed: EmbedFunction, batches: Iterable[dict[str, tf.Tensor]]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Embeds every clip of the batches of an evaluation set.

    Returns:
        The embeddings float32 [N, D], or maps, by branch, and the clip ids.

    Raises:
        NotFiniteError: an embedding is not finite; names the clip.
    """
    parts, ids = collections.defaultdict(list), []
    for batch in batches:
        output = {k: v.numpy() for k, v in embed(batch).items()}
        new = [clip_id.decode() for clip_id in batch["clip_id"].numpy()]
        for name, embedding in output.items():
            finite = np.isfinite(embedding).all(axis=tuple(range(1, embedding.ndim)))
            if not finite.all():
                at = int(np.argmin(finite))
                own = {key: value[at : at + 1] for key, value in batch.items()}
                raise NotFiniteError(
                    f"clip {new[at]}: its {name} embedding is not finite",
                    fault_of_inputs(own),
                )
            parts[name].append(embedding)
        ids += new
    return {name: np.concatenate(part) for name, part in parts.items()}, ids


def embed_set(
    embed: EmbedFunction,
    records: Records,
    config: EvaluationConfig,
    log_mel_reference: str = "stored",
    similarity: str = "dot",
) -> EmbeddedSet:
    """Embeds every clip of a set.

    Args:
        embed: as from embed_function, with what the set is heard by.
        records: the evaluation set.
        config: all but its list of sets is used; see by_set.
        log_mel_reference: that of dataset.ClipConfig.
        similarity: that of ModelConfig.

    Raises:
        ValueError: the set has more clips than config.evaluation_population, a shard
            is damaged or an embedding is not finite.
    """
    population = config.evaluation_population
    if 0 < population < records.n_clips:
        raise UserError(
            f"--evaluation_population={population}, but {records.name} has "
            f"{records.n_clips} clips. It is their number together with those that are "
            "missing."
        )
    clip_s = config.evaluation_clip_s
    if not clip_s:
        clip_s = clip_lengths.heard_s(clip_lengths.of_set(records), 0)
    batches = dataset.evaluation_batches(
        records, clip_s, config.evaluation_batch_size, log_mel_reference
    )
    embeddings, clip_ids = embed_all(embed, dataset.read(batches, records))
    return EmbeddedSet(embeddings, tuple(clip_ids), clip_s, population, similarity)


def rank_set(
    embed: EmbedFunction,
    records: Records,
    config: EvaluationConfig,
    log_mel_reference: str = "stored",
    similarity: str = "dot",
) -> RankedSet:
    """Ranks all clips of a set at once; see embed_set."""
    return embed_set(embed, records, config, log_mel_reference, similarity).ranked()
