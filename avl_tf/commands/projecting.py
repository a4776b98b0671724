"""Embeddings of evaluation sets as TensorBoard's projector shows them.

A folder of a checkpoint of the points, projector_config.pbtxt, an event file (without
which TensorBoard lists no run), and the points' metadata and thumbnails.
"""

import math
import os
import shutil
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf
from tensorboard.plugins import projector

from avl_tf import dataset, files
from avl_tf.dataset import Records
from avl_tf.errors import MediaError, UserError
from avl_tf.evaluation import clip_fields
from avl_tf.evaluation.embedded import EmbeddedSet
from avl_tf.exhibits import media, sources
from avl_tf.manifest import Recording, require_local
from avl_tf.whole_files import temporary_name

CONFIG = "projector_config.pbtxt"
_MOST_CLIPS = 5000  # a browser shows some 10,000 points well
_SIDE = 48  # pixels of a thumbnail; the sheet of all has 8192 at most
_COLUMNS = ("modality", "language", "label", "recording", "clip", "set")
_GREY = 128


def require_free(folder: str) -> None:
    """UserError if write must not replace what is there."""
    require_local(folder)
    if os.path.lexists(folder):
        held = os.listdir(folder) if os.path.isdir(folder) else None
        if held is None or held and CONFIG not in held:
            raise UserError(
                f"--projector={folder}: there is something else already. Name a folder "
                "that is not there yet, or one that this program has written."
            )


def sample(embedded: EmbeddedSet, n_sets: int) -> tuple[EmbeddedSet, np.ndarray]:
    """The set, or its share of 5000 clips, always the same; and which, int [n]."""
    n, most = len(embedded.clip_ids), _MOST_CLIPS // n_sets
    places = np.arange(n)
    if n > most:
        places = np.sort(np.random.default_rng(0).choice(n, most, replace=False))
    return embedded.part(places), places


def write(
    folder: str,
    found: Mapping[str, tuple[EmbeddedSet, np.ndarray]],
    sets: Mapping[str, Records],
    manifests: Mapping[str, str],
) -> None:
    """Writes the folder, whole or not at all.

    Args:
        folder: local; what write has written there before is replaced.
        found: by set, of sample.
        sets: by name.
        manifests: paths by set, where pictures come from if records hold none.

    Raises:
        UserError: a manifest or its media are not there.
        OSError: it cannot be written.
    """
    require_free(folder)
    temporary = temporary_name(folder)
    os.makedirs(temporary)
    try:
        vectors: list[np.ndarray] = []
        thumbnails: list[np.ndarray] = []
        rows: list[tuple[str, ...]] = [_COLUMNS]
        for name, (embedded, places) in found.items():
            vectors += embedded.embeddings.values()
            fields = clip_fields.read(sets[name], manifests.get(name, ""))
            rows += _rows(name, embedded, [fields[place] for place in places])
            lines: Mapping[str, Recording] = {}
            if name in manifests:
                lines = sources.from_manifest(manifests[name])
            thumbnails += _thumbnails(embedded, places, sets[name], lines)
        # TensorBoard splits at every tab and line, whatever is quoted.
        told = ("\t".join(" ".join(cell.split()) for cell in row) for row in rows)
        files.write_text(f"{temporary}/metadata.tsv", "".join(f"{x}\n" for x in told))
        files.write_bytes(f"{temporary}/sprite.png", _sprite(thumbnails))
        points = tf.Variable(np.concatenate(vectors))
        tf.train.Checkpoint(embeddings=points).save(f"{temporary}/points")
        config = projector.ProjectorConfig()
        tensor = config.embeddings.add()
        tensor.tensor_name = "embeddings/.ATTRIBUTES/VARIABLE_VALUE"
        tensor.metadata_path = "metadata.tsv"
        tensor.sprite.image_path = "sprite.png"
        tensor.sprite.single_image_dim.extend([_SIDE, _SIDE])
        with tf.summary.create_file_writer(temporary).as_default():
            tf.summary.text("projector", ", ".join(found), step=0)
        projector.visualize_embeddings(temporary, config)
        if os.path.isdir(folder):
            old = temporary_name(folder)
            os.rename(folder, old)
            shutil.rmtree(old)
        os.rename(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _rows(
    set_name: str, embedded: EmbeddedSet, clips: list[clip_fields.Fields]
) -> list[tuple[str, ...]]:
    """The metadata of a set's points."""
    rows: list[tuple[str, ...]] = []
    for branch in embedded.embeddings:
        modality, _, language = branch.partition(":")
        for clip, clip_id in zip(clips, embedded.clip_ids, strict=True):
            label = str(clip.get("label") or "")
            spoken = language or clip["language"]
            recording = clip["recording_id"]
            rows.append((modality, spoken, label, recording, clip_id, set_name))
    return rows


def _thumbnails(
    embedded: EmbeddedSet,
    places: np.ndarray,
    records: Records,
    lines: Mapping[str, Recording],
) -> Iterator[np.ndarray]:
    """A picture of each point: of what is heard the log-mel, of what is seen a frame.

    What is seen is grey where neither the records nor a manifest know pictures.
    """
    kept = _of_records(places, records, embedded.clip_s)
    for branch in embedded.embeddings:
        language = branch.partition(":")[2]
        for number, clip_id in enumerate(embedded.clip_ids):
            if branch != "visual":
                yield kept[f"log_mel:{language}" if language else "log_mel"][number]
            elif "image" in kept:
                yield kept["image"][number]
            else:
                yield _frame(clip_id, lines)


def _of_records(
    places: np.ndarray, records: Records, clip_s: float
) -> dict[str, list[np.ndarray]]:
    """Thumbnails of the log-mels, and of the images if there are any, by input."""
    found: dict[str, list[np.ndarray]] = {}
    chosen, at = set(places.tolist()), 0
    batches = dataset.evaluation_batches(records, clip_s, 64)
    for batch in dataset.read(batches, records):
        n_clips = len(batch["clip_id"])
        for number in range(n_clips):
            if at + number not in chosen:
                continue
            for name in batch:
                if name.startswith("log_mel"):
                    n_frames = batch[name.replace("log_mel", "n_frames")][number]
                    heard = batch[name][number, :n_frames].numpy().T[::-1]
                    shade = np.interp(heard, [-80, 0], [0, 255])
                    picture = np.repeat(shade[..., np.newaxis], 3, axis=2)
                elif name == "image":
                    picture = batch[name][number].numpy()
                else:
                    continue
                found.setdefault(name, []).append(_small(picture))
        at += n_clips
    return found


def _frame(clip_id: str, lines: Mapping[str, Recording]) -> np.ndarray:
    """The picture in the middle of a clip."""
    record_id, _, span = clip_id.rpartition("@")
    grey = np.full((_SIDE, _SIDE, 3), _GREY, np.uint8)
    if record_id not in lines:
        return grey
    line = lines[record_id]
    middle_s = sum(map(float, span.split("-"))) / 2
    try:
        seen = media.picture(line.image or line.media, line.start_s + middle_s, _SIDE)
    except (MediaError, OSError) as error:
        raise UserError(f"--manifest: {error}") from error
    return grey if seen is None else _small(seen)


def _small(picture: np.ndarray) -> np.ndarray:
    small = tf.image.resize(picture.astype(np.float32), [_SIDE, _SIDE], antialias=True)
    return small.numpy().round().clip(0, 255).astype(np.uint8)


def _sprite(thumbnails: list[np.ndarray]) -> bytes:
    """All thumbnails as one PNG, row by row, as many in a row as there are rows."""
    side = math.ceil(math.sqrt(len(thumbnails)))
    sprite = np.zeros((side, side, _SIDE, _SIDE, 3), np.uint8)
    sprite.reshape(-1, _SIDE, _SIDE, 3)[: len(thumbnails)] = thumbnails
    sheet = sprite.swapaxes(1, 2).reshape(side * _SIDE, side * _SIDE, 3)
    return tf.io.encode_png(sheet).numpy()
