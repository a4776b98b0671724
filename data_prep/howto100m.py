"""HowTo100M as the authors' training code reads it: a tree of npz files and captions.

In: a csv with the header `path` and a row CATEGORY/SUB/VIDEO ("None/" counts for
nothing) a video; the arrays of a video
    ROOT/PATH/VIDEO_2d.npz    features [T, 2048], 1 a second
    ROOT/PATH/VIDEO_3d.npz    features [T, 2048], 1.5 a second
    ROOT/PATH/VIDEO_spec.npz  arr_0 [40, T], dB relative to the video's loudest bin
and, if wanted, captions {VIDEO: {"start": [...], "end": [...], "text": [...]}} in
caption.pickle, or start,end,text in DIR/VIDEO.csv.
Out: a record a video; its captions are the record's clips.

Source: authors' youtube_dataloader.py and training.md.
"""

import dataclasses
import hashlib
import os
from typing import Any

import numpy as np

from avl_tf.audio import AudioConfig
from avl_tf.errors import UserError
from avl_tf.records import AUTHORS_2D, AUTHORS_3D, Clip, Record, RecordsSpec
from avl_tf.wording import counted
from data_prep.annotations import read_table
from data_prep.captions import Captions

_AUDIO = AudioConfig()
_FEATURES = {"2d": AUTHORS_2D, "3d": AUTHORS_3D}
# Of that many videos one must be whole, or the folder is taken for the wrong one.
_PROBED = 1000


class Tree:
    """The videos of a csv; their files are opened when a record is made.

    Attributes:
        ids: the videos.
        spec: RecordsSpec without shards.
        notes: lines for the user on what was missing.
        fingerprint: changes with the list of videos and of those with captions.
    """

    def __init__(
        self,
        csv_path: str,
        root: str,
        language: str,
        split: str,
        audio_root: str | None = None,
        captions: Captions | None = None,
    ):
        """Reads the csv, and the first video that is whole for the features' widths.

        Args:
            csv_path: the list of videos.
            root: the folder that its paths are in.
            language, split: of all videos.
            audio_root: the folder of the _spec.npz files, if not root.
            captions: None leaves videos without clips.

        Raises:
            FileNotFoundError: there is no csv, or no video of it is in root.
            ValueError: the csv has another form, or a video twice.
        """
        self._language, self._split = language, split
        self._root, self._audio_root = root, audio_root or root
        self._captions = captions or Captions()
        # As the authors replace it.
        rows = read_table(csv_path, ("path",))
        self._paths = [r["path"].replace("None/", "").strip().strip("/ ") for r in rows]
        self.ids = [os.path.basename(path) for path in self._paths]
        _check_ids(self.ids, csv_path)
        self.spec = self._probe(csv_path)
        captioned = [video in self._captions.by_video for video in self.ids]
        self.notes = []
        if captions and not all(captioned):
            without = counted(captioned.count(False), "video")
            self.notes.append(f"{without} without captions")
        described = repr((self._paths, captioned)).encode()
        self.fingerprint = hashlib.sha256(described).hexdigest()

    def place(self, index: int) -> str:
        """Says where a video is."""
        return os.path.join(self._root, self._paths[index])

    def take(self, index: int) -> Record:
        """Reads a video.

        Captions are cut at the end of the sound; those behind it are left out.

        Raises:
            FileNotFoundError, ValueError: a file is missing, damaged or of another
                shape than the first video's; says which and how.
        """
        arrays = self._read(index)
        for stream in _FEATURES:
            dim = getattr(self.spec, f"features_{stream}").dim
            if arrays[stream].shape[1] != dim:
                raise UserError(
                    f"{self._file(index, stream)}: features are "
                    f"{arrays[stream].shape[1]} wide, those of other videos {dim}."
                )
        duration_s = arrays["spec"].shape[1] / _AUDIO.frame_rate
        clips = []
        for start_s, end_s, text in self._captions.of(self.ids[index]):
            end_s = min(end_s, duration_s)
            if start_s < end_s and end_s > 0:
                clips.append(Clip(max(0.0, start_s), end_s, text))
        return Record(
            id=self.ids[index],
            recording_id=self.ids[index],
            language=self._language,
            split=self._split,
            start_s=0.0,
            end_s=duration_s,
            log_mel=arrays["spec"].T,
            features_2d=arrays["2d"],
            features_3d=arrays["3d"],
            clips=tuple(clips),
            labels={"path": self._paths[index]},
        )

    def _file(self, index, kind):
        root = self._audio_root if kind == "spec" else self._root
        return os.path.join(root, self._paths[index], f"{self.ids[index]}_{kind}.npz")

    def _read(self, index):
        arrays = {
            kind: _load(self._file(index, kind), key)
            for kind, key in (("2d", "features"), ("3d", "features"), ("spec", "arr_0"))
        }
        if len(arrays["spec"]) != _AUDIO.n_mels:
            raise UserError(
                f"{self._file(index, 'spec')}: arr_0 is {list(arrays['spec'].shape)}, "
                f"expected [{_AUDIO.n_mels}, T]."
            )
        return arrays

    def _probe(self, csv_path):
        first_error = None
        for index in range(min(len(self.ids), _PROBED)):
            try:
                arrays = self._read(index)
                break
            except (ValueError, OSError) as error:
                first_error = first_error or error
        else:
            raise FileNotFoundError(
                f"{csv_path}: none of the first {index + 1} videos can be read in "
                f"{self._root}, the first: {first_error}"
            )
        features: dict[str, Any] = {
            f"features_{stream}": dataclasses.replace(
                authors, dim=arrays[stream].shape[1]
            )
            for stream, authors in _FEATURES.items()
        }
        return RecordsSpec(
            audio=_AUDIO,
            log_mel_reference="recording",
            languages=(self._language,),
            synthetic=False,
            shards={},
            **features,
        )


def _check_ids(ids, path):
    if not ids:
        raise UserError(f"{path}: 0 videos in it.")
    seen = set()
    for number, video in enumerate(ids, 1):
        if not video or video in seen:
            raise UserError(
                f"{path}: row {number} "
                + (f"has video '{video}' a second time." if video else "is empty.")
            )
        seen.add(video)


def _load(path, key):
    """Reads a matrix of an npz file, without unpickling anything."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            array = archive[key]
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file.") from None
    except KeyError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:
        # Damaged archives and headers make zipfile and NumPy raise errors of ten types.
        raise UserError(
            f"{path}: damaged, or no npz file: {type(error).__name__}: {error!s:.200}"
        ) from error
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
        raise UserError(
            f"{path}: {key} is {array.dtype} {list(array.shape)}, expected a matrix of "
            "numbers."
        )
    return array
