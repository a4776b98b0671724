"""Records in; out come the inputs that excite each dimension, and spans to cluster."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from avl_tf import dataset, progress
from avl_tf.discovery import peaks
from avl_tf.discovery.peaks import Highest, Peak
from avl_tf.errors import UserError
from avl_tf.records import RecordSet
from avl_tf.records.headers import Header
from avl_tf.settings.discovery import DiscoveryConfig
from avl_tf.trained.embedder import Embedder
from avl_tf.trained.hearing import StepTower

MODEL = "model"
OF_EMBEDDINGS, OF_INPUTS = "random projection", "random projection of the inputs"
_SIDE = 16


@dataclasses.dataclass(frozen=True)
class Excited:
    """The highest inputs of each dimension, in both modalities."""

    audio: list[list[Peak]]
    visual: list[list[Peak]]


@dataclasses.dataclass
class Found:
    """What was embedded, and what excites each dimension.

    Attributes:
        step_s: seconds of an audio step.
        clips: (record, start_s, end_s) of each clip, the record by its place among the
            headers, seconds from its start. The visual inputs are clips.
        step_clips, step_at_s: of each audio step its clip, and its middle, seconds from
            the record's start.
        excited: of the model, and of random projections, one a seed.
        visual: float32 [n clips, D], the visual embeddings.
        heard: float32 [n clips, D], the highest of each clip's steps.
        places, place_embeddings: steps longer than those around them; [n places, D].
        place_extents: how many steps before and behind each sound alike.
    """

    step_s: float = 0.0
    clips: list[tuple[int, float, float]] = dataclasses.field(default_factory=list)
    step_clips: list[int] = dataclasses.field(default_factory=list)
    step_at_s: list[float] = dataclasses.field(default_factory=list)
    excited: dict[str, list[Excited]] = dataclasses.field(default_factory=dict)
    visual: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 0)))
    heard: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 0)))
    places: list[int] = dataclasses.field(default_factory=list)
    place_extents: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    place_embeddings: np.ndarray = dataclasses.field(
        default_factory=lambda: np.zeros((0, 0))
    )


@dataclasses.dataclass(frozen=True)
class _Clip:
    """id; steps [T', D] and visual [D], embedded; and as they are read, both flat."""

    id: str
    steps: np.ndarray
    visual: np.ndarray
    read_steps: np.ndarray
    read_visual: np.ndarray
    step_s: float


class _View:
    """Dimensions: the model's own, or random directions in a space."""

    def __init__(self, name: str, k: int, dim: int, seed: int = 0):
        self.name, self._dim, self._seed = name, dim, seed
        self.audio, self.visual = Highest(k, dim), Highest(k, dim)
        self._mixers: dict[str, np.ndarray] = {}

    def add(self, clip: _Clip, first_step: int, number: int, radius: int) -> None:
        heard, seen = clip.steps, clip.visual
        if self.name == OF_INPUTS:
            heard = self._mixed("audio", clip.read_steps)
            seen = self._mixed("visual", clip.read_visual)
        elif self.name == OF_EMBEDDINGS:
            heard, seen = self._mixed("both", heard), self._mixed("both", seen)
        around = peaks.extents(heard, radius // 2) if self.name == MODEL else None
        self.audio.add(heard, first_step, peaks.local(heard, radius), around)
        self.visual.add(seen[np.newaxis], number)

    def _mixed(self, side: str, values: np.ndarray) -> np.ndarray:
        if side not in self._mixers:
            random = np.random.default_rng((self._seed, len(self._mixers)))
            shape = values.shape[-1], self._dim
            mixer = random.standard_normal(shape) / np.sqrt(shape[0])
            self._mixers[side] = mixer.astype(np.float32)
        return values @ self._mixers[side]


def embed(
    embedder: Embedder,
    branch: str,
    records: RecordSet,
    headers: Sequence[Header],
    batches: tf.data.Dataset,
    config: DiscoveryConfig,
) -> Found:
    """Embeds the clips of a set, their sound step by step.

    Args:
        embedder: the model.
        branch: that hears.
        records: the set.
        headers: of its records.
        batches: dataset.evaluation_batches of the set.
        config: settings.

    Raises:
        UserError: the model cannot tell its audio steps, an embedding is not finite, or
            a shard is damaged.

    Source: AVLnet section 4.
    Differs: the paper does not say whether steps side by side count as several inputs.
        Here an input is a step that none within window_s exceeds.
    """
    tower = embedder.step_towers.get(branch)
    if tower is None:
        raise UserError(
            "the export cannot tell its audio steps: it was made before exports could. "
            "Export the run again, or give the run itself."
        )
    found = Found()
    dim, seeds = embedder.embedding_dim, range(config.n_random)
    views = [_View(MODEL, config.k, dim)]
    for name in (OF_EMBEDDINGS, OF_INPUTS):
        views += [_View(name, config.k, dim, config.seed + seed) for seed in seeds]
    record_of = {header.id: number for number, header in enumerate(headers)}
    visual, heard, kept = [], [], []
    for clip in _clips(embedder, tower, batches, records):
        record_id, _, span = clip.id.rpartition("@")
        start_s, end_s = map(float, span.split("-"))
        radius = max(1, round(config.window_s / clip.step_s))
        first, number = len(found.step_clips), len(found.clips)
        for view in views:
            view.add(clip, first, number, radius)
        found.step_s = clip.step_s
        found.clips.append((record_of[record_id], start_s, end_s))
        n_steps = len(clip.steps)
        found.step_clips += [number] * n_steps
        found.step_at_s += [start_s + (i + 0.5) * clip.step_s for i in range(n_steps)]
        visual.append(clip.visual)
        heard.append(clip.steps.max(axis=0))
        lengths = np.linalg.norm(clip.steps, axis=1)
        near = max(1, radius // 2)
        (chosen,) = np.nonzero(peaks.local(lengths[:, np.newaxis], near)[:, 0])
        found.places += (first + chosen).tolist()
        for step in chosen:
            along = (clip.steps @ clip.steps[step])[:, np.newaxis]
            before, behind = peaks.extents(along, near)
            found.place_extents.append((int(before[step, 0]), int(behind[step, 0])))
        kept.append(clip.steps[chosen])
    found.visual, found.heard = np.stack(visual), np.stack(heard)
    found.place_embeddings = np.concatenate(kept)
    audio_places, visual_places = _moments(found, headers, records.spec.images)
    for view in views:
        found.excited.setdefault(view.name, []).append(
            Excited(
                view.audio.found(audio_places, config.window_s),
                view.visual.found(visual_places, config.window_s),
            )
        )
    return found


def _moments(
    found: Found, headers: Sequence[Header], still: bool
) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """Of each input what it must not share with another: recording and second."""
    heard = [
        (headers[found.clips[clip][0]].id, at_s)
        for clip, at_s in zip(found.step_clips, found.step_at_s, strict=True)
    ]
    seen = []
    for record, start_s, end_s in found.clips:
        header = headers[record]
        middle_s = header.start_s + (start_s + end_s) / 2
        # An image is the same for all of its captions.
        seen.append((header.recording_id, 0.0 if still else middle_s))
    return heard, seen


def _clips(
    embedder: Embedder, tower: StepTower, batches: tf.data.Dataset, records: RecordSet
) -> Iterator[_Clip]:
    rate = records.spec.audio.frame_rate
    with progress.Bar(total=records.n_clips, unit="clip") as bar:
        for batch in dataset.read(batches, records):
            visual = embedder.embed(batch, {"visual": "visual"})["visual"].numpy()
            heard = {name: batch[name] for name in ("log_mel", "n_frames")}
            told = {name: value.numpy() for name, value in tower(heard).items()}
            n_frames, n_steps = int(told["step_frames"]), told["n_steps"]
            log_mel = batch["log_mel"].numpy()
            read = batch.get("visual")
            if read is None:
                size = [_SIDE, _SIDE]
                read = tf.image.resize(batch["image"], size, "area") / 255
            read = read.numpy().reshape(len(visual), -1)
            for number, clip_id in enumerate(batch["clip_id"].numpy()):
                steps = told["audio_steps"][number, : n_steps[number]]
                own = visual[number]
                if not (np.isfinite(steps).all() and np.isfinite(own).all()):
                    raise UserError(
                        f"clip {clip_id.decode()}: its embedding is not finite. The "
                        "model's weights hold a NaN, or have grown too large."
                    )
                yield _Clip(
                    clip_id.decode(),
                    steps,
                    own,
                    _frames_of(log_mel[number], n_frames, len(steps)),
                    read[number],
                    n_frames / rate,
                )
                bar.update()


def _frames_of(log_mel: np.ndarray, step_frames: int, n_steps: int) -> np.ndarray:
    """The log-mel of each step, float32 [n_steps, step_frames * F]."""
    missing = max(0, n_steps * step_frames - len(log_mel))
    whole = np.pad(log_mel, [[0, missing], [0, 0]])[: n_steps * step_frames]
    return whole.reshape(n_steps, -1)
