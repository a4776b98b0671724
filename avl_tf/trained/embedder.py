"""Embeds files, waveforms and frames with a trained model."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from avl_tf import evaluation
from avl_tf.backbones import Backbone
from avl_tf.dataset import Records
from avl_tf.errors import UserError
from avl_tf.evaluation.embedded import EmbeddedSet
from avl_tf.media import Wanted
from avl_tf.runs import RunInfo
from avl_tf.settings.evaluation import EvaluationConfig
from avl_tf.trained import hearing, identity, sources, streams, towers
from avl_tf.trained.hearing import StepTower
from avl_tf.trained.sources import Source
from avl_tf.trained.towers import InvalidItem, Tower


class Embedder:
    """A trained model that embeds speech and videos into one space.

    From avl_tf.load. A source is the path of a file (audio, video or image, where it
    makes sense), or a pair of an array and its rate: a waveform [S] at Hz, float32 in
    [-1, 1] or int16, or frames uint8 [K, H, W, 3], RGB, at frames a second.

    A recording is embedded as avl_tf.evaluate embeds the record that data_prep.extract
    makes of it, to 1e-5 of the largest value: padded or cut to clip_s. Of a list, the
    first source that cannot be embedded raises, and names itself.

    Attributes:
        languages: those of the speech of the model's own stage, not of its parents'.
        embedding_dim: D.
        clip_s: seconds that speech is padded or cut to, as in the model's evaluation.
        weights: which of its training's weights it has (runs.Weights); None is not
            known, of an older export.
        step_towers: by the names of the audio branches; see hearing.StepTower.
    """

    def __init__(
        self,
        info: RunInfo,
        towers: Mapping[str, Tower],
        clip_s: float,
        hears_clips_alone: bool,
        weights: Mapping[str, str],
        variables: Sequence[tf.Variable],
        step_towers: Mapping[str, StepTower],
    ):
        """Takes what Trained.load has found.

        Args:
            info: of the run.
            towers: by the names of the model's branches.
            clip_s: see Embedder.
            hears_clips_alone: each clip's own loudest bin is its 0 dB.
            weights: files of the backbones' weights by stream, "" for a backbone's own.
            variables: the model's weights, in Keras' order.
            step_towers: by the names of the audio branches, of those that have any.
        """
        self.languages: tuple[str, ...] = info.languages
        self.embedding_dim: int = info.model.embedding_dim
        self.clip_s, self.weights = clip_s, info.weights
        self._info, self._towers = info, towers
        self._hears_clips_alone, self._weights = hears_clips_alone, weights
        self._backbones: dict[str, Backbone] = {}
        self._variables, self.step_towers = variables, step_towers

    def embed_audio(
        self,
        audio: Source | list[Source],
        language: str = "und",
        audio_track: int | str | None = None,
    ) -> np.ndarray:
        """Embeds recordings of speech.

        Args:
            audio: a source, or a list of them; of a video the sound is taken.
            language, audio_track: which sound, of files that have several; see
                media.read_waveform. A model of several languages hears with the branch
                of `language`, which must be one of `branches`.

        Returns:
            float32 [N, D], not normalised; N = 1 for a single source.

        Raises:
            FileNotFoundError, MediaError: a file is not there, or has no such sound.
            ValueError: an array is not as said above, an embedding is not finite, or
                the model has no branch for the language.
        """
        cut: list[Source] = []
        branch = hearing.branch(self._info.model.languages, language)

        def read(source: Source) -> dict[str, Any]:
            clip, is_cut = self._hear(source, Wanted(language, audio_track))
            cut.extend([source] * is_cut)
            return clip

        embeddings = self._embed(branch, audio, read)
        hearing.tell_cut(cut, len(embeddings), self.clip_s)
        return embeddings

    def embed_audio_steps(
        self, audio: Source, language: str = "und", longest_s: float | None = None
    ) -> hearing.Heard:
        """Embeds a recording of speech, and each of its audio steps.

        Args:
            audio, language: as of embed_audio.
            longest_s: of a file, no more than that is read. Its loudest bin in these
                is 0 dB then.

        Returns:
            steps float32 [T', D], None of an export from before there were any;
            step_s; embedding float32 [D], that of embed_audio.

        Raises:
            As embed_audio.
        """
        branch = hearing.branch(self._info.model.languages, language)
        sources.check(audio, "the source")
        clip, is_cut = self._hear(audio, Wanted(language, None), longest_s)
        hearing.tell_cut([audio] * is_cut, 1, self.clip_s)
        if tower := self.step_towers.get(branch):
            frame_rate = self._info.model.audio.frame_rate
            return hearing.in_steps(tower, audio, clip, frame_rate)
        (embedding,) = self._embed(branch, audio, lambda _: clip)
        return hearing.Heard(None, 0.0, embedding)

    def embed_video(
        self,
        video: Source | list[Source],
        language: str = "und",
        audio_track: int | str | None = None,
    ) -> np.ndarray:
        """Embeds videos, or images: what is seen in all of each.

        Of a video with sound, as in evaluation, no further than the sound goes.

        Args:
            video: a source, or a list of them.
            language, audio_track: which sound, of files that have several; see
                media.read_waveform.

        Returns:
            float32 [N, D], not normalised; N = 1 for a single source.

        Raises:
            FileNotFoundError, MediaError: a file is not there, or has no pictures.
            ValueError: an array is not as said above, the model does not see such
                sources, or its backbone needs weights that load was not given.
        """
        if self._info.model.image_encoder:
            return self._embed("visual", video, sources.crop)
        backbones, wanted = self.backbones(), Wanted(language, audio_track)
        config = self._info.model
        rate, pooling = config.audio.sample_rate, config.visual_pooling

        def read(source: Source) -> dict[str, Any]:
            return sources.pooled(
                source, backbones, rate, wanted, pooling, self.only_keys
            )

        return self._embed("visual", video, read)

    def similarity(self, audio: np.ndarray, video: np.ndarray) -> np.ndarray:
        """Says how well speech and videos match: dot products.

        Args:
            audio: float32 [N, D], from embed_audio.
            video: float32 [M, D], from embed_video.

        Returns:
            float32 [N, M]; the best video of recording i is argmax(row i).

        Raises:
            ValueError: they are not of these shapes.
        """
        audio, video = np.asarray(audio, np.float32), np.asarray(video, np.float32)
        for embeddings in (audio, video):
            if embeddings.ndim != 2 or embeddings.shape[1] != self.embedding_dim:
                raise UserError(
                    f"embeddings are [N, {self.embedding_dim}], got "
                    f"{list(embeddings.shape)}."
                )
        return audio @ video.T

    @property
    def only_keys(self) -> bool:
        """Whether its frozen features are of the key frames of videos."""
        streams = (self._info.features_2d, self._info.features_3d)
        return any(one.frames == "key" for one in streams if one)

    def backbones(self) -> dict[str, Backbone]:
        """The CNNs of frozen features, by stream; UserError as embed_video."""
        if not self._backbones and not self._info.model.image_encoder:
            self._backbones = streams.backbones(self._info, self._weights)
        return self._backbones

    @property
    def branches(self) -> tuple[str, ...]:
        """The model's branches: audio and visual, or audio:es and so on and visual."""
        return self._info.model.branches

    @functools.cached_property
    def digest(self) -> str:
        """The hash of its configuration and weights, in hexadecimal.

        That of a run and of its export are the same; see identity.digest.
        """
        return identity.digest(self._info, self._variables)

    def golden(self) -> dict[str, np.ndarray]:
        """The golden pair: a made item, the same for ever, and its embeddings.

        Returns:
            The model's inputs by name, of one item, and audio_embedding (of several
            languages audio:es_embedding and so on) and visual_embedding [1, D].
        """
        return identity.embed_golden(identity.golden_inputs(self._info), self._towers)

    def embed(
        self,
        batch: Mapping[str, tf.Tensor],
        heard: Mapping[str, str] | None = None,
    ) -> dict[str, tf.Tensor]:
        """Embeds a batch of dataset.evaluation_batches: [B, D] by branch.

        Args:
            batch: the batch.
            heard: as evaluation.heard tells; all branches by their names if left out.

        Raises:
            ValueError: a clip cannot be embedded; names it.
        """
        try:
            return evaluation.embed_by(self._towers, batch, heard)
        except InvalidItem as error:
            clip_id = batch["clip_id"].numpy()[error.index].decode()
            raise UserError(
                f"clip {clip_id} cannot be embedded: {error.reason}."
            ) from error

    def embed_sets(
        self,
        sets: Mapping[str, Records],
        settled: Mapping[str, EvaluationConfig],
        log_mel_reference: str,
    ) -> Iterator[tuple[str, EmbeddedSet]]:
        """Embeds evaluation sets, by name; see evaluation.by_set and embed_set."""
        for name, records in sets.items():
            heard = evaluation.heard(records, self.branches, name)
            embed = functools.partial(self.embed, heard=heard)
            yield (
                name,
                evaluation.embed_set(
                    embed,
                    records,
                    settled[name],
                    log_mel_reference,
                    self._info.model.similarity,
                ),
            )

    def _embed(
        self,
        branch: str,
        given: Source | list[Source],
        read: Callable[[Source], dict[str, Any]],
    ) -> np.ndarray:
        listed = given if isinstance(given, list) else [given]
        return towers.embed(self._towers[branch], listed, read, self.embedding_dim)

    def _hear(self, source: Source, wanted: Wanted, longest_s: float | None = None):
        config, alone = self._info.model.audio, self._hears_clips_alone
        return hearing.read(source, config, self.clip_s, alone, wanted, longest_s)
