r"""Makes a manifest of Places Audio Captions: images, and what people say of them.

    python -m data_prep.places_audio --captions=en=PlacesAudio_400k_distro \
        --images=Places205/images --manifest=data/places_en.jsonl
    python -m data_prep.places_audio \
        --captions=en=places/english,hi=places/hindi,ja=places/japanese \
        --images=Places205/images --join=inner --splits_of=ja \
        --manifest=data/places_trilingual.jsonl

In: a folder a language, as published, with its lists somewhere in it:
    {train,val}.json                                  English
    {train,{dev,test}_{seen,unseen}}_2020.json        English, --lists=2020
    PlacesHindi100k_{train,dev,test}.json, hindi_english_100k*.json         Hindi
    PlacesAudioJpn_100k_image2audio_{train,valid}.txt                       Japanese
A json is {"data": [{"uttid", "speaker", "asr_text", "wav", "image"}]}, a text file has
"/IMAGE /WAV" a line. Wavs are looked for in the folder of their language, images in
--images, wherever the published paths start.
Out: a recording a caption. Its recording_id is the path of the image, which joins the
languages. "dev" and "valid" are called val here.

Another language in one of these forms is read as well.

Source: Harwath et al. 2016, 2018; Ohishi et al. 2020. --splits_of is how the three
languages have been joined for trilingual training: the Japanese lists decide.
"""

import collections
import os
import re

from absl import flags

from avl_tf import comma_lists, program, settings
from avl_tf.errors import UserError
from avl_tf.manifest.findings import Finding
from avl_tf.manifest.media_files import (
    AUDIO_SUFFIXES,
    IMAGE_SUFFIXES,
    MediaFiles,
    list_files,
)
from data_prep import adapter
from data_prep.adapter import AdapterConfig
from data_prep.annotations import field, read_json, read_lines

settings.define_flags(AdapterConfig, heading="Checks")
_CAPTIONS = flags.DEFINE_list(
    "captions", None, "Folder of each language: en=DIR,hi=DIR.", required=True
)
_IMAGES = flags.DEFINE_string(
    "images", None, "Folder of the images of Places205.", required=True
)
_LISTS = flags.DEFINE_enum(
    "lists", "original", ["original", "2020"], "Which lists, where there are both."
)
_JOIN = flags.DEFINE_enum(
    "join",
    "outer",
    ["outer", "inner"],
    "inner: only images that have a caption in every language.",
)
_SPLITS_OF = flags.DEFINE_string(
    "splits_of",
    None,
    "Language whose lists say in which split an image is, for all languages.",
)
_LIST_NAME = re.compile(
    r"(?:.*_)?(train|val|valid|dev|test)(_seen|_unseen)?(_2020)?\.(?:json|txt)"
)
_VALIDATION = ("dev", "valid")
# As keys of hindi_english_100k*.json begin.
_PREFIXES = {"en": "english_", "hi": "hindi_", "ja": "japanese_"}


def main() -> None:
    config = settings.from_flags(AdapterConfig)
    folders = comma_lists.parse_named(_CAPTIONS.value, "captions")
    if _SPLITS_OF.value and _SPLITS_OF.value not in folders:
        raise UserError(
            f"--splits_of={_SPLITS_OF.value}: expected one of {', '.join(folders)}."
        )
    images = MediaFiles(_IMAGES.value, IMAGE_SUFFIXES)
    lines, searched = [], [images]
    findings: list[Finding] = []
    for language, folder in folders.items():
        wavs = MediaFiles(folder, AUDIO_SUFFIXES)
        searched.append(wavs)
        for path, split in _lists(folder):
            for place, caption in _read_captions(path, language):
                with adapter.as_finding(findings, place):
                    lines.append(_line(caption, place, language, split, images, wavs))
    languages_of = collections.defaultdict(set)
    for line in lines:
        languages_of[line["recording_id"]].add(line["language"])
    if _JOIN.value == "inner":
        alone = {k: None for k, v in languages_of.items() if len(v) < len(folders)}
        findings += adapter.notes("not joined", alone, "not in every language")
        lines = [line for line in lines if line["recording_id"] not in alone]
    if _SPLITS_OF.value:
        lines, unruled = _with_splits_of(_SPLITS_OF.value, lines)
        findings += adapter.notes(
            "own split", unruled, f"no image of '{_SPLITS_OF.value}': keeps its split"
        )
    findings += [note for files in searched for note in adapter.several(files)]
    adapter.finish(config, lines, findings)


def _lists(folder):
    """(path, split) of the lists in a folder."""
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder}: no such folder.")
    found = []
    for name in list_files(folder).files:
        matched = _LIST_NAME.fullmatch(os.path.basename(name))
        if matched:
            kind, seen, of_2020 = matched.groups()
            split = "val" if kind in _VALIDATION and not seen else kind + (seen or "")
            found.append((os.path.join(folder, name), split, bool(of_2020)))
    of_2020 = _LISTS.value == "2020" and any(is_2020 for _, _, is_2020 in found)
    lists = [(path, split) for path, split, is_2020 in found if is_2020 == of_2020]
    if found and not lists:
        raise FileNotFoundError(f"{folder}: only lists of 2020: add --lists=2020.")
    if not lists:
        raise FileNotFoundError(
            f"{folder}: no list of captions in it or below, such as train.json, "
            "PlacesHindi100k_train.json or PlacesAudioJpn_100k_image2audio_train.txt."
        )
    return lists


def _read_captions(path, language):
    """(place, dictionary with wav and image and what else is told of a caption)."""
    if path.endswith(".txt"):
        for number, line in enumerate(read_lines(path), 1):
            yield f"{path}: line {number}", line
        return
    prefix = _PREFIXES.get(language, "")
    for number, entry in enumerate(field(read_json(path), "data", list, path), 1):
        place = f"{path}: caption {number}"
        if prefix and isinstance(entry, dict) and f"{prefix}wav" in entry:
            # Their uttid is that of one language only.
            own = {
                k[len(prefix) :]: v for k, v in entry.items() if k.startswith(prefix)
            }
            entry = {**own, "image": entry.get("image")}
        yield place, entry


def _line(caption, place, language, split, images, wavs):
    if isinstance(caption, str):
        if len(caption.split()) != 2:
            raise UserError(f"{place}: expected '/IMAGE /WAV', got '{caption:.80}'.")
        caption = dict(zip(("image", "wav"), caption.split(), strict=True))
    field(caption, "image", str, place)
    field(caption, "wav", str, place)
    image, wav = caption["image"].strip().strip("/"), caption["wav"].strip().strip("/")
    name = str(caption.get("uttid") or os.path.splitext(wav)[0]).strip()
    told = {key: caption.get(key) for key in ("speaker", "asr_text", "text_alignment")}
    return {
        "id": f"{language}/{name}",
        "media": wavs.find(wav),
        "image": images.find(image),
        "language": language,
        "split": split,
        "recording_id": image,
        "labels": {key: value for key, value in told.items() if value},
    }


def _with_splits_of(language, lines):
    """Puts the captions of all languages in the split of their image in one."""
    split_of: dict[str, str] = {}
    for line in lines:
        if line["language"] == language:
            split_of.setdefault(line["recording_id"], line["split"])
    ruled, unruled = [], []
    for line in lines:
        if line["language"] != language and line["recording_id"] in split_of:
            line = {**line, "split": split_of[line["recording_id"]]}
        elif line["language"] != language:
            unruled.append(line["id"])
        ruled.append(line)
    return ruled, unruled


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()
