"""What avl_tf.matchmaps does: clips of a set matched, a page and files of them."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from avl_tf import dataset, evaluation, exhibits, media, processors, runs, trained
from avl_tf.discovery import labels
from avl_tf.discovery.labels import Annotated
from avl_tf.errors import UserError
from avl_tf.exhibits import sources, texts
from avl_tf.exhibits.media import excerpt, file_name
from avl_tf.exhibits.spans import Span
from avl_tf.localizing import Matched, files, localize, page
from avl_tf.manifest import Recording
from avl_tf.model import branch, inputs_of, matchmaps
from avl_tf.model.heads import MeanPool
from avl_tf.records import headers, open_records
from avl_tf.records.headers import Header
from avl_tf.runs import RunInfo
from avl_tf.settings.localization import LocalizationConfig
from avl_tf.wording import counted

Batch = Mapping[str, tf.Tensor]


class _Chosen(NamedTuple):
    """A record to be shown, where its media are if that is known, and its words."""

    header: Header
    source: Recording | None
    words: Sequence[Span]


def show(
    run_dir: str,
    records_path: str,
    manifest: str,
    out_dir: str,
    config: LocalizationConfig,
) -> None:
    """Writes the page and the files of some clips of a set.

    Args:
        run_dir: of a model with matchmaps.
        records_path: the set.
        manifest: that its records were made of, "" for a page without sound.
        out_dir: the folder of the page.
        config: which clips, and what counts as a match.

    Raises:
        UserError, FileNotFoundError: something is not there or does not fit.
    """
    exhibits.check(out_dir)
    look = trained.look_at_run(run_dir)
    kind = look.info.model.similarity
    if kind == "dot":
        raise UserError(
            f"{run_dir}: a model of --similarity=dot embeds an image as a whole and "
            "has no matchmaps. Train one of --similarity=misa, sima or sisa."
        )
    opened = open_records(records_path)
    heard = evaluation.heard(opened, look.info.model.branches, flag="records")["audio"]
    (records,) = dataset.plain_sets(look.as_read(opened))
    chosen = _choose(list(headers.read(records)), records_path, manifest, config)
    processors.log("matchmaps")
    batches = look.batches(records, batch_size=1, told=True)
    wanted: dict[str, Batch] = {}
    for batch in dataset.read(batches, records):
        clip_id = batch["clip_id"].numpy()[0].decode()
        if clip_id.rpartition("@")[0] in chosen:
            wanted[clip_id] = batch
    match = _matching(look.info, run_dir, heard)
    with exhibits.replacing(out_dir) as folder:
        found = [
            _matched(folder, clip_id, batch, chosen, match, config.threshold)
            for clip_id, batch in wanted.items()
        ]
        files.write(folder, found)
        facts = {
            "Model": f"{run_dir} (--similarity={kind})",
            "Records": records_path,
            "Threshold": f"{config.threshold:g} of each clip's highest value",
        }
        shown = page.html(f"Matchmaps of {run_dir}", facts, found)
        texts.write(folder, exhibits.INDEX, shown)
    n_spans = sum(len(one.spans) for one in found)
    print(f"{counted(len(found), 'clip')}, {counted(n_spans, 'span')}.")
    print(os.path.join(out_dir, exhibits.INDEX))


def _choose(
    listed: list[Header], path: str, manifest: str, config: LocalizationConfig
) -> dict[str, _Chosen]:
    """The records to be shown, by their ids."""
    by_id = {header.id: header for header in listed}
    ids = list(config.recordings)
    if missing := [record_id for record_id in ids if record_id not in by_id]:
        raise UserError(
            f"--recordings: {path} has no record {missing[0]}; its first is "
            f"{listed[0].id if listed else 'none'}."
        )
    if not ids:
        drawn = np.random.default_rng(config.seed).permutation(len(listed))
        ids = [listed[place].id for place in sorted(drawn[: config.n])]
    known: dict[str, Recording] = {}
    if manifest:
        known = sources.from_manifest(manifest)
        sources.require(known, ids, manifest)
    annotated = []
    for record_id in ids:
        source: Header | Recording = known.get(record_id, by_id[record_id])
        held = source.labels or by_id[record_id].labels
        clips = [Span(c.start_s, c.end_s, c.label) for c in by_id[record_id].clips]
        annotated.append(Annotated(record_id, held, clips))
    _, words = labels.spoken(config.audio_labels, annotated)
    return {
        record_id: _Chosen(by_id[record_id], known.get(record_id), said)
        for record_id, said in zip(ids, words, strict=True)
    }


def _matching(
    info: RunInfo, run_dir: str, heard: str
) -> Callable[[Batch], tuple[np.ndarray, float, float]]:
    """A function of a batch of one clip: its matchmap, its score, seconds a step."""
    model, _ = runs.load_model(run_dir)
    maps = {
        side: keras.Model(tower.input, tower.get_layer(f"{layer}_map").output)
        for side, layer in (("audio", "audio"), ("visual", "image"))
        for tower in [branch(model, heard if side == "audio" else side)]
    }
    kind, frame_rate = info.model.similarity, info.model.audio.frame_rate

    def match(batch: Batch) -> tuple[np.ndarray, float, float]:
        read = inputs_of(batch, "audio")
        audio_map = maps["audio"](read, training=False)
        image_map = maps["visual"](inputs_of(batch, "visual"), training=False)
        n_frames, all_frames = read["n_frames"], tf.shape(read["log_mel"])[1]
        ratio, n_steps = MeanPool.steps(n_frames, all_frames, tf.shape(audio_map)[1])
        score = matchmaps.similarity(image_map, audio_map, n_steps, kind)
        found = matchmaps.matchmap(image_map[0], audio_map[0, : n_steps[0]])
        return found.numpy(), float(score[0, 0]), int(ratio) / frame_rate

    return match


def _matched(
    folder: str,
    clip_id: str,
    batch: Batch,
    chosen: Mapping[str, _Chosen],
    match: Callable[[Batch], tuple[np.ndarray, float, float]],
    threshold: float,
) -> Matched:
    """Matches a clip, and puts its image and its sound into the folder of the page."""
    record_id, _, span = clip_id.rpartition("@")
    header, source, words = chosen[record_id]
    start_s, end_s = (header.start_s + float(t) for t in span.split("-"))
    matchmap, score, step_s = match(batch)
    if not np.isfinite(matchmap).all():
        raise UserError(
            f"clip {clip_id}: its matchmap is not finite. The weights hold a NaN, or "
            "the record does."
        )
    frame = f"frames/{file_name(clip_id)}.jpg"
    # What the model sees: the middle of the image.
    media.write_image(os.path.join(folder, frame), batch["image"][0].numpy())
    player = ""
    if source:
        player = excerpt(
            source.media, start_s, end_s, folder, clip_id, wanted=source.wanted
        )
    said = [
        Span(header.start_s + a, min(end_s, header.start_s + b), text)
        for a, b, text in words
        if start_s < header.start_s + b and header.start_s + a < end_s
    ]
    return Matched(
        clip_id=clip_id,
        matchmap=matchmap,
        score=score,
        start_s=start_s,
        end_s=end_s,
        step_s=step_s,
        spans=localize(matchmap, threshold),
        words=said,
        frame=frame,
        player=player,
    )
