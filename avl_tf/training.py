"""One stage of training: strategy, step, evaluation, checkpoints, TensorBoard."""

import dataclasses
import time

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from avl_tf import board, dataset, evaluation, files, losses, metrics, optimizers, runs
from avl_tf.dataset import ClipConfig
from avl_tf.model import ModelConfig, build_model
from avl_tf.records import RecordSet, open_records
from avl_tf.settings import setting, to_flagfile

RECALL = "recall.json"


@dataclasses.dataclass(frozen=True)
class StageConfig:
    """How one stage is trained and watched; the defaults are the paper's for HowTo100M.

    Source: Rouditchenko et al. 2021 (AVLnet) section 3.1; authors' training.md.
    """

    records: str = setting(
        "", "Training records: a folder of data_prep.extract, or FOLDER/SPLIT."
    )
    evaluate: tuple[str, ...] = setting(
        (), "Evaluation sets, name=records with commas between."
    )
    epochs: int = setting(30, "Passes over the recordings (the paper: 30).", lower=0)
    batch_size: int = setting(
        4096, "Clips a step over all devices (the paper: 4096).", lower=2
    )
    learning_rate: float = setting(1e-3, "Adam's (the paper: 1e-3).", lower=1e-12)
    learning_rate_decay: float = setting(
        1.0, "Factor on the learning rate after each epoch (the authors': 1).", lower=0
    )
    final_learning_rate: float = setting(
        0.0,
        "The learning rate falls to this along a half cosine; 0 leaves it to "
        "--learning_rate_decay (the paper).",
        lower=0,
    )
    margin: float = setting(0.001, "MMS margin (the paper: 0.001).", lower=0)
    evaluate_every: int = setting(1, "Epochs from evaluation to evaluation.", lower=1)
    evaluation_clip_s: float = setting(
        51.2,
        "Seconds that evaluation clips are padded or cut to (the authors: 51.2 for "
        "YouCook2, 30.72 for MSR-VTT).",
        lower=0.1,
    )
    evaluation_batch_size: int = setting(
        64,
        "Clips embedded at once in evaluation; recall is over the whole set.",
        lower=1,
    )
    evaluation_population: int = setting(
        0,
        "Queries that recall is divided by when clips are missing and count as misses "
        "(MSR-VTT: 1000, of which 968 have sound); 0 is the clips there are.",
        lower=0,
    )
    keep_checkpoints: int = setting(2, "Checkpoints kept, the newest.", lower=1)
    seed: int = setting(0, "Seed of weights and data order.", lower=0)


def base_model_config(stage: StageConfig, init_from: str | None) -> ModelConfig:
    """The model before flags change it: the parent's, or the records' widths."""
    if init_from:
        return runs.read_info(init_from).model
    spec = _open_training_records(stage).spec
    return ModelConfig(visual_dims=spec.visual_dims, audio=spec.audio)


def train_stage(
    run_dir: str,
    stage: StageConfig,
    clips: ClipConfig,
    model_config: ModelConfig,
    init_from: str | None = None,
) -> dict:
    """Trains one stage, or goes on with one that was stopped, in its run directory.

    Args:
        run_dir: made if it is not there; a run of the same settings in it is resumed.
        stage, clips, model_config: the settings.
        init_from: run directory whose weights the stage starts from.

    Returns:
        What recall.json holds: {"history": [{"step", "epoch", "sets": {name: metrics}},
        ...]}, the first entry before the first step.

    Raises:
        ValueError: settings, records and parent do not fit, the run directory holds
            another run, or the loss is not finite (with the step).
    """
    records = _open_training_records(stage)
    sets = evaluation.parse_sets(stage.evaluate)
    steps_per_epoch = dataset.steps_per_epoch(records, clips, stage.batch_size)
    info = _run_info(stage, records, model_config, init_from)
    for record_set in (records, *sets.values()):
        runs.check_records(info, record_set, run_dir)
    flags_text = to_flagfile(stage, clips, model_config)
    _check_claim(run_dir, info, flags_text)

    strategy = _strategy()
    if stage.batch_size % strategy.num_replicas_in_sync:
        raise ValueError(
            f"--batch_size={stage.batch_size} cannot be dealt evenly to "
            f"{strategy.num_replicas_in_sync} devices."
        )
    keras.utils.set_random_seed(stage.seed)
    with strategy.scope():
        model = build_model(model_config)
        optimizer = optimizers.Adam(_schedule(stage, steps_per_epoch))
        optimizer.build(model.trainable_variables)
        step = tf.Variable(0, dtype=tf.int64, name="step")
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, step=step)
    manager = tf.train.CheckpointManager(
        checkpoint, runs.checkpoint_prefix(run_dir), max_to_keep=stage.keep_checkpoints
    )
    history = []
    if manager.latest_checkpoint:
        runs.restore(checkpoint, manager.latest_checkpoint)
        history = _read_history(run_dir, int(step.numpy()))
        done = step.numpy() >= stage.epochs * steps_per_epoch
        state = "finished before" if done else "goes on"
        logging.info("%s: %s, at step %d", run_dir, state, int(step.numpy()))
    elif init_from:
        runs.load_weights(model, init_from)

    # Nothing is written before all that can be wrong has been looked at.
    files.write_text(files.join(run_dir, runs.FLAGS), flags_text)
    runs.write_info(run_dir, info)
    writer = tf.summary.create_file_writer(files.join(run_dir, "tensorboard"))
    board.write_layout(writer, sets)
    board.write_text(writer, "flags", f"```\n{flags_text}```")
    embed = evaluation.embed_function(model)

    def evaluate() -> None:
        at = {"step": int(step.numpy()), "epoch": int(step.numpy()) // steps_per_epoch}
        found = {
            name: evaluation.evaluate_set(
                embed,
                record_set,
                stage.evaluation_clip_s,
                stage.evaluation_batch_size,
                clips.log_mel_reference,
                stage.evaluation_population,
            )
            for name, record_set in sets.items()
        }
        history.append({**at, "sets": found})
        files.write_json(files.join(run_dir, RECALL), {"history": history})
        for name, values in found.items():
            tagged = {
                board.recall_tag(name, k): v for k, v in values.items() if k != "n"
            }
            board.write_scalars(writer, tagged, at["step"])
            logging.info(
                "%s, epoch %d, %s: %s", run_dir, at["epoch"], name, brief(values)
            )

    def save() -> None:
        weights = model.variables + optimizer.variables
        if not all(np.isfinite(w.numpy()).all() for w in weights):
            raise ValueError(
                f"{run_dir}: a weight is not finite after step {int(step.numpy())}. "
                "Lower --learning_rate; the last checkpoint is from before."
            )
        manager.save(int(step.numpy()))

    if not history:
        evaluate()
        save()
    last_step = stage.epochs * steps_per_epoch
    if step.numpy() < last_step:
        batches = _distribute(strategy, records, clips, stage, int(step.numpy()))
        train_step = _train_step(strategy, model, optimizer, step, stage.margin)
        started = time.monotonic()
        for batch in dataset.read(batches, records):
            loss = float(train_step(batch))
            at = int(step.numpy())
            if not np.isfinite(loss):
                raise ValueError(
                    f"{run_dir}: the loss is {loss} at step {at}. Lower "
                    "--learning_rate; the last checkpoint is from before."
                )
            if at % steps_per_epoch == 0 or at == last_step:
                elapsed = time.monotonic() - started
                progress = {
                    "train/loss": loss,
                    "train/learning_rate": float(optimizer.learning_rate),
                    "train/clips_per_second": steps_per_epoch
                    * stage.batch_size
                    / elapsed,
                }
                board.write_scalars(writer, progress, at)
                epoch = at // steps_per_epoch
                logging.info(
                    "%s, epoch %d of %d: loss %.3f, %.0f clips/s",
                    run_dir,
                    epoch,
                    stage.epochs,
                    loss,
                    progress["train/clips_per_second"],
                )
                if epoch % stage.evaluate_every == 0 or at == last_step:
                    evaluate()
                    save()
                started = time.monotonic()
            if at == last_step:
                break
    writer.close()
    return {"history": history}


def brief(values: dict[str, float]) -> str:
    """One line of metrics for the log."""
    recalls = {
        d: "/".join(f"{values[f'{d}/R@{k}']:.1f}" for k in metrics.CUTOFFS)
        for d in metrics.DIRECTIONS
    }
    cutoffs = "/".join(str(k) for k in metrics.CUTOFFS)
    return f"R@{cutoffs} A->V {recalls['a2v']}, V->A {recalls['v2a']} (n={values['n']})"


def _open_training_records(stage: StageConfig) -> RecordSet:
    if not stage.records:
        raise ValueError("--records is missing: name the training records.")
    return open_records(stage.records)


def _run_info(stage, records, model_config, init_from) -> runs.RunInfo:
    spec, parent = records.spec, runs.read_info(init_from) if init_from else None
    if parent:
        runs.check_records(parent, records, init_from)
        shaping = ("audio_widths", "blocks_per_stage", "embedding_dim", "audio_head")
        for name in shaping:
            ours, theirs = getattr(model_config, name), getattr(parent.model, name)
            if ours != theirs:
                raise ValueError(
                    f"{init_from} holds a model with --{name}={theirs}, this stage "
                    f"asks for {ours}. Leave the flag out to take the parent's."
                )
        if parent.log_mel_reference != spec.log_mel_reference:
            logging.warning(
                "%s was trained on log-mels relative to the %s, %s are relative to the "
                "%s; --log_mel_reference=clip re-references them.",
                init_from,
                parent.log_mel_reference,
                records.name,
                spec.log_mel_reference,
            )
    return runs.RunInfo(
        model=model_config,
        features_2d=spec.features_2d,
        features_3d=spec.features_3d,
        log_mel_reference=spec.log_mel_reference,
        records=stage.records,
        records_fingerprint=records.fingerprint,
        languages=spec.languages,
        parent=init_from,
        synthetic=spec.synthetic or bool(parent and parent.synthetic),
    )


def _check_claim(run_dir: str, info: runs.RunInfo, flags_text: str) -> None:
    """Makes sure that a run that is there already is of the same settings."""
    if not runs.exists(run_dir):
        return
    flags_path = files.join(run_dir, runs.FLAGS)
    if not tf.io.gfile.exists(flags_path):
        raise ValueError(
            f"{run_dir} holds an imported run. Train from it into another --run_dir, "
            f"with --init_from={run_dir}."
        )
    with tf.io.gfile.GFile(flags_path) as stream:
        before = dict(line.split("=", 1) for line in stream.read().splitlines())
    now = dict(line.split("=", 1) for line in flags_text.splitlines())
    changed = [
        f"{name}={before[name]} then, {value} now"
        for name, value in now.items()
        if before.get(name, value) != value
    ]
    old = runs.read_info(run_dir)
    if old.parent != info.parent:
        changed.append(f"--init_from={old.parent} then, {info.parent} now")
    if old.records_fingerprint != info.records_fingerprint:
        changed.append(f"the records in {info.records} have changed")
    if changed:
        raise ValueError(
            f"{run_dir} holds a run of other settings: {'; '.join(changed)}. Use "
            "another --run_dir, or delete this one to train anew."
        )


def _read_history(run_dir: str, step: int) -> list[dict]:
    """The evaluations up to a step; the first of them was before the first step."""
    path = files.join(run_dir, RECALL)
    history = files.read_json(path)["history"] if tf.io.gfile.exists(path) else []
    history = [entry for entry in history if entry["step"] <= step]
    if not history or history[0]["step"]:
        raise ValueError(
            f"{path}: the evaluation before the first step is lost. Put the file back, "
            "or delete the run directory to train anew."
        )
    return history


def _strategy() -> tf.distribute.Strategy:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices(
        "CPU"
    )
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _schedule(stage: StageConfig, steps_per_epoch: int):
    if stage.final_learning_rate:
        return keras.optimizers.schedules.CosineDecay(
            stage.learning_rate,
            max(1, stage.epochs * steps_per_epoch),
            alpha=stage.final_learning_rate / stage.learning_rate,
        )
    return keras.optimizers.schedules.ExponentialDecay(
        stage.learning_rate, steps_per_epoch, stage.learning_rate_decay, staircase=True
    )


def _distribute(strategy, records, clips, stage, first_step):
    """Deals each global batch to the replicas, in order."""
    n_replicas = strategy.num_replicas_in_sync

    def replica_batches(_):
        batches = dataset.train_batches(
            records, clips, stage.batch_size, stage.seed, first_step
        )

        def deal(batch):
            return {
                name: tf.reshape(
                    tensor,
                    tf.concat([[n_replicas, -1], tf.shape(tensor)[1:]], axis=0),
                )
                for name, tensor in batch.items()
            }

        return batches.map(deal).unbatch()

    return strategy.distribute_datasets_from_function(replica_batches)


def _train_step(strategy, model, optimizer, step, margin):
    """Compiles the training step: the loss is over the global batch."""
    n_replicas = strategy.num_replicas_in_sync

    def replica_step(batch):
        context = tf.distribute.get_replica_context()
        with tf.GradientTape() as tape:
            output = model({k: batch[k] for k in model.input}, training=True)
            loss = losses.masked_margin_softmax(
                context.all_gather(output["audio_embedding"], 0),
                context.all_gather(output["visual_embedding"], 0),
                margin,
            )
            # Gradients of gathered tensors sum over the replicas, and the optimizer
            # sums once more.
            scaled = loss / n_replicas
        gradients = tape.gradient(scaled, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    @tf.function
    def train_step(batch):
        loss = strategy.run(replica_step, (batch,))
        step.assign_add(1)
        return strategy.experimental_local_results(loss)[0]

    return train_step
