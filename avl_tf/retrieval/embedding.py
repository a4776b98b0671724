"""From one record to the vectors of its windows, as evaluation embeds its clips."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from avl_tf import records, trained
from avl_tf.dataset import ClipConfig, clip_cutting
from avl_tf.errors import UserError
from avl_tf.evaluation import clip_lengths
from avl_tf.model import visual_input
from avl_tf.records import Record, RecordsSpec
from avl_tf.retrieval import same_model, windows
from avl_tf.retrieval.entries import Embedded, ModelNote, Source, Span
from avl_tf.retrieval.windows import WindowConfig
from avl_tf.trained import Embedder

_WINDOWS_AT_ONCE = 64
_STEPS_AT_ONCE = 1024


class RecordEmbedder:
    """A trained model that embeds the windows of records.

    Attributes:
        spec: what the records that it sees in media hold: constants and streams.
        trained_s: seconds of the random clips of its training; 0 is not known.
    """

    def __init__(self, model: str, weights: str = ""):
        """Loads a model.

        Args:
            model: a run directory or an export.
            weights: as of trained.look.

        Raises:
            As trained.look.
        """
        self._look = trained.look(model, weights)
        self._look.info.model.require_vectors(model)
        self.embedder: Embedder = self._look.load()
        info = self._look.info
        self.trained_s = self._look.trained_s
        of_images = bool(info.model.image_encoder)
        self.spec = RecordsSpec(
            audio=info.model.audio,
            log_mel_reference="recording",
            features_2d=None if of_images else info.features_2d,
            features_3d=None if of_images else info.features_3d,
            languages=(),
            synthetic=False,
            shards={},
            images=of_images,
            pooling=info.model.visual_pooling,
        )

    def note(self) -> ModelNote:
        """What an index keeps of the model."""
        return ModelNote(
            self._look.path,
            self.embedder.digest,
            self.embedder.embedding_dim,
            tuple(self.embedder.languages),
            same_model.golden(self.embedder),
        )

    def as_read(self, found: records.RecordSet) -> records.RecordSet:
        """A set of records as the model reads it; UserError if it cannot."""
        read = self._look.as_read(found)
        if not isinstance(read, records.RecordSet):
            raise TypeError(f"{found.name} is joined")
        return read

    def branch(self, language: str) -> str:
        """The branch that hears a language, "" if none does."""
        branches = self.embedder.branches
        own = "audio" if "audio" in branches else f"audio:{language}"
        return own if own in branches else ""

    def embed_record(
        self, record: Record, source: Source, config: WindowConfig
    ) -> Embedded:
        """Embeds what was extracted of a recording.

        Args:
            record: its log_mel may have no frames, and its features no steps: nothing
                is heard, or seen, then.
            source: what it is of.
            config: settled.

        Raises:
            UserError: it has neither, or cannot be embedded.
        """
        heard, seen = len(record.log_mel) > 0, self._is_seen(record)
        if not heard and not seen:
            raise UserError("nothing is heard in it, and nothing seen.")
        whole = record
        if not heard:
            silence = np.zeros((1, self.spec.audio.n_mels), np.float16)
            whole = dataclasses.replace(whole, log_mel=silence)
        if not seen:
            whole = dataclasses.replace(whole, **self._unseen())
        serialized = records.encode(whole)
        return self.embed_serialized(serialized, self.spec, source, config, heard, seen)

    def embed_serialized(
        self,
        serialized: bytes,
        spec: RecordsSpec,
        source: Source,
        config: WindowConfig,
        heard: bool = True,
        seen: bool = True,
    ) -> Embedded:
        """Embeds a record as it lies in a shard; see embed_record.

        Args:
            serialized: the record.
            spec: of its set, from as_read, or this model's own.
            source, config: as of embed_record; a language of "" is the record's.
            heard, seen: whether its sound, and its pictures, are real.
        """
        parsed = records.parse(tf.constant(serialized), spec)
        if not source.language:
            language = parsed["language"].numpy().decode()
            source = dataclasses.replace(source, language=language)
        start_s, end_s = float(parsed["start_s"]), float(parsed["end_s"])
        duration_s = end_s - start_s
        labels = [label.decode() for label in parsed["clip_labels"].numpy()]
        times = (parsed[f"clip_{k}_s"].numpy().tolist() for k in ("starts", "ends"))
        spans = windows.of_recording(
            config, duration_s, list(zip(*times, labels, strict=True))
        )
        branch = self.branch(source.language) if heard else ""
        visual, audio = self._windows(parsed, spec, spans, branch, seen)
        steps, step_s = self._steps(parsed, spec, duration_s, visual[:1], seen)
        spans = windows.with_steps(spans, len(steps), step_s)
        return Embedded(
            source,
            duration_s,
            tuple(
                dataclasses.replace(
                    span, start_s=start_s + span.start_s, end_s=start_s + span.end_s
                )
                for span in spans
            ),
            visual,
            audio,
            steps,
            start_s,
            step_s,
        )

    def _windows(
        self,
        parsed: dict,
        spec: RecordsSpec,
        spans: Sequence[Span],
        branch: str,
        seen: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        chosen = {"visual": "visual"} if seen else {}
        chosen |= {"audio": branch} if branch else {}
        shape = (len(spans), self.embedder.embedding_dim)
        found = {
            side: np.full(shape, np.nan, np.float32) for side in ("visual", "audio")
        }
        lengths = np.array([span.end_s - span.start_s for span in spans])
        clips = ClipConfig(
            "annotated", self._heard_s(lengths), log_mel_reference=self._reference(spec)
        )
        for begin in range(0, len(spans), _WINDOWS_AT_ONCE):
            part = spans[begin : begin + _WINDOWS_AT_ONCE]
            times = {
                "clip_starts_s": tf.constant([one.start_s for one in part], tf.float32),
                "clip_ends_s": tf.constant([one.end_s for one in part], tf.float32),
            }
            batch = clip_cutting.cut({**parsed, **times}, clips, spec, None)
            batch["log_mel"] = tf.cast(batch["log_mel"], tf.float32)
            for side, embedded in self._embed(batch, chosen).items():
                found[side][begin : begin + len(part)] = embedded
        return found["visual"], found["audio"]

    def _steps(
        self, parsed: dict, spec: RecordsSpec, duration_s: float, first, seen: bool
    ) -> tuple[np.ndarray, float]:
        """Visual steps at the rate of the first stream; of an image it is one."""
        if not seen:
            return np.zeros((0, self.embedder.embedding_dim), np.float32), duration_s
        rates = [stream.rate_hz for stream in spec.streams.values()]
        if not rates or not rates[0]:
            return first, duration_s
        # As many as the sound, which ends the record, has; the middle of each.
        n_steps = min(
            int(parsed["features"][0].n_steps), max(1, int(rates[0] * duration_s) + 1)
        )
        middles = (np.arange(n_steps) + 0.5) / rates[0]
        found = []
        for begin in range(0, n_steps, _STEPS_AT_ONCE):
            at = tf.constant(middles[begin : begin + _STEPS_AT_ONCE], tf.float32)
            batch = {"visual": clip_cutting.seen(parsed, spec, at, at)}
            found.append(self._embed(batch, {"visual": "visual"})["visual"])
        return np.concatenate(found), 1 / rates[0]

    def _embed(self, batch: dict, chosen: dict[str, str]) -> dict[str, np.ndarray]:
        embedded = self.embedder.embed(batch, chosen) if chosen else {}
        found = {side: vectors.numpy() for side, vectors in embedded.items()}
        for side, vectors in found.items():
            if not np.isfinite(vectors).all():
                raise UserError(
                    f"its {side} embedding is not finite: the model's weights hold a "
                    "NaN, or have grown too large."
                )
        return found

    def _heard_s(self, lengths: np.ndarray) -> float:
        """Seconds that windows are padded or cut to, as the model's evaluation does."""
        asked = self._look.evaluation
        return clip_lengths.heard_s(lengths, asked.evaluation_clip_s if asked else 0.0)

    def _reference(self, spec: RecordsSpec) -> str:
        """Whose loudest bin is 0 dB; as evaluation, of records that are stored so."""
        read = self._look.log_mel_reference
        if spec is self.spec and self._look.info.log_mel_reference == "clip":
            return "clip"
        return read

    def _is_seen(self, record: Record) -> bool:
        if self.spec.images:
            return record.image is not None
        return all(
            (features := getattr(record, name)) is not None and len(features)
            for name in self.spec.streams
        )

    def _unseen(self) -> dict:
        """What stands where nothing is seen."""
        if visual_input(self._look.info.model) == "image":
            black = tf.zeros([224, 224, 3], tf.uint8)
            return {"image": tf.io.encode_jpeg(black).numpy()}
        return {
            name: np.zeros((1, stream.dim), np.float16)
            for name, stream in self.spec.streams.items()
        }
