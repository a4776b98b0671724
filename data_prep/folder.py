r"""Makes a manifest of a folder of videos: any language, any names, no annotation.

    python -m data_prep.folder --videos=videos --language=sw --manifest=sw.jsonl
    python -m data_prep.folder --videos=videos --language=sw --manifest=sw.jsonl \
        --splits=train=0.8,val=0.1,eval=0.1 --seed=0

In: a folder; what is below it counts too. Files are media by their suffix, in whatever
case; hidden files and others are left out and listed.
Out: a recording a file, with its path below the folder as id. Files of the same content
are parts of one recording, and so in one split. What cannot be decoded is in the
manifest as well: data_prep.extract tells the reason in failures.jsonl. The same files
give the same manifest.
"""

import os

from absl import flags

from avl_tf import comma_lists, program, settings
from avl_tf.errors import UserError
from avl_tf.wording import counted
from data_prep import adapter, checks, manifest, media_files
from data_prep.adapter import AdapterConfig
from data_prep.findings import Finding
from data_prep.manifest_line import require_language, require_split_name

settings.define_flags(AdapterConfig)
settings.define_flags(manifest.SoundConfig)
_VIDEOS = flags.DEFINE_string(
    "videos", None, "Folder of videos, nested at will.", required=True
)
_LANGUAGE = flags.DEFINE_string(
    "language", None, "What is spoken, such as sw.", required=True
)
_SPLIT = flags.DEFINE_string("split", "all", "Split of all recordings.")
_SPLITS = flags.DEFINE_list(
    "splits",
    [],
    "Instead of --split: splits and their shares, such as train=0.8,val=0.1,eval=0.1.",
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Seed of the deal to splits.", lower_bound=0, upper_bound=settings.SEEDS
)
_MEDIA = media_files.VIDEO_SUFFIXES + media_files.AUDIO_SUFFIXES


def main() -> None:
    config = settings.from_flags(AdapterConfig)
    drop = adapter.dropped_kinds(config)
    folder = _VIDEOS.value
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"--videos={folder}: no such folder.")
    require_language(_LANGUAGE.value)
    if flags.FLAGS["split"].present and _SPLITS.value:
        raise UserError("Give either --split or --splits.")
    track = settings.from_flags(manifest.SoundConfig).track
    require_split_name(_SPLIT.value, "--split")
    shares = _shares()
    listing = media_files.list_files(folder)
    ids = [name for name in listing.files if media_files.has_suffix(name, _MEDIA)]
    if not ids:
        raise UserError(_nothing_in(folder, listing))
    paths = [os.path.abspath(os.path.join(folder, name)) for name in ids]
    recording_of, findings = _recordings(ids, paths)
    lines = [
        {
            "id": name,
            "media": path,
            "language": _LANGUAGE.value,
            "split": _SPLIT.value,
            "recording_id": recording_of[name],
            **({} if track is None else {"audio_track": track}),
        }
        for name, path in zip(ids, paths, strict=True)
        if recording_of[name] == name or "duplicates" not in drop
    ]
    findings += adapter.notes("hidden", listing.hidden, "its name begins with a dot")
    findings += adapter.notes(
        "unreadable",
        [
            name.encode("utf-8", "backslashreplace").decode()
            for name in listing.unreadable
        ],
        "no file, or a name that is no UTF-8 text: rename it",
    )
    findings += adapter.notes(
        "other",
        _without_ours(listing.files, ids, folder, config),
        "no media, by its suffix",
    )
    lines = adapter.sift(config, lines, findings, strict=False)
    if shares:
        recordings = [line["recording_id"] for line in lines]
        split_of = manifest.split_by_recording(recordings, shares, _SEED.value)
        lines = [{**line, "split": split_of[line["recording_id"]]} for line in lines]
    adapter.write(config, lines)


def _recordings(ids, paths):
    """Id -> recording id, the first of the files that are the same; and the others."""
    recording_of, findings = {name: name for name in ids}, []
    for group in checks.identical_files(paths):
        first, *others = sorted(group, key=lambda index: os.path.islink(paths[index]))
        for other in others:
            recording_of[ids[other]] = ids[first]
            detail = f"the same content as {ids[first]}"
            findings.append(Finding("duplicates", ids[other], detail, paths[other]))
    return recording_of, findings


def _shares():
    named = comma_lists.parse_named(_SPLITS.value, "splits")
    for name in named:
        require_split_name(name, "--splits")
    try:
        shares = {name: float(share) for name, share in named.items()}
    except ValueError as error:
        raise UserError(f"--splits: {error}.") from error
    if shares:
        manifest.require_shares(shares)
    return shares


def _without_ours(files, ids, folder, config):
    """Files that are neither media nor the manifest and the report of this program."""
    ours = {config.manifest, adapter.report_path(config.manifest)}
    ours = {os.path.realpath(path) for path in ours}
    media = set(ids)
    return [
        name
        for name in files
        if name not in media
        and os.path.realpath(os.path.join(folder, name)) not in ours
    ]


def _nothing_in(folder, listing):
    others = listing.files + listing.hidden + listing.unreadable
    found = (
        f"only {counted(len(others), 'other')}, such as {others[0]}"
        if others
        else "it is empty"
    )
    return (
        f"{folder}: no media file in it or below, {found}. Media are files that end in "
        ".mp4, .mkv, .webm, .mov and so on."
    )


def cli() -> None:
    program.run(main)


if __name__ == "__main__":
    cli()
