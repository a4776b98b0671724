r"""Makes a manifest of a folder of videos: any language, any names, no annotation.

    python -m data_prep.folder --videos=videos --language=sw --manifest=sw.jsonl
    python -m data_prep.folder --videos=videos --language=sw --manifest=sw.jsonl \
        --splits=train=0.8,val=0.1,eval=0.1 --seed=0

A split is a hash of the seed and the id (data_prep/splits.py), and what an earlier
manifest has keeps its split, so that a corpus can grow.

In: a folder; what is below it counts too. Files are media by their suffix, in whatever
case; hidden files and others are left out and listed.
Out: a recording a file, with its path below the folder as id. Files of the same content
are parts of one recording, and so in one split. What cannot be decoded is in the
manifest as well: data_prep.extract tells the reason in failures.jsonl; it fills no
split. The same files give the same manifest.
"""

import os
import shlex

from absl import flags

from avl_tf import comma_lists, manifest, program, settings
from avl_tf.errors import UserError
from avl_tf.manifest import media_files
from avl_tf.manifest.findings import Finding
from avl_tf.manifest.line import require_language, require_split_name
from avl_tf.wording import counted
from data_prep import adapter, checks, earlier_manifest, splits
from data_prep.adapter import AdapterConfig

settings.define_flags(AdapterConfig, heading="Checks")
settings.define_flags(manifest.SoundConfig, heading="Sound")
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
_KEEP = flags.DEFINE_boolean("keep_splits", True, splits.KEEP)
# Kinds of findings: of such a file no record can be made.
_UNUSABLE = ("missing", "dead", "silent")
# Of what is longer, training hears less than two thirds at a time by default.
_LONG_S = 15
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
    before = _earlier(config.manifest, shares) if _KEEP.value else {}
    earlier = before if shares else {}
    recording_of, findings = _recordings(ids, paths, earlier)
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
    listed: list[Finding] = []
    lines = adapter.sift(config, lines, findings, strict=False, listed=listed)
    unusable = {finding.id for finding in listed if finding.kind in _UNUSABLE}
    notes: list[Finding] = []
    path_of = dict(zip(ids, paths, strict=True))
    length_of = {line["id"]: line.get("duration_s") for line in lines}
    earlier = earlier_manifest.follow(before, path_of, length_of, notes)
    if shares:
        lines = _deal(lines, recording_of, shares, earlier, unusable, notes)
    else:
        notes += _undealt(lines, earlier)
    notes += earlier_manifest.overwritten(earlier, lines)
    adapter.add_notes(config, listed, notes)
    adapter.write(config, lines, unusable=unusable)
    _tell_of_long(lines, config)


def _earlier(path, shares):
    """What is there already; without splits to keep, it may be anything."""
    try:
        return earlier_manifest.read_earlier(path)
    except UserError:
        if shares:
            raise
        return {}


def _recordings(ids, paths, earlier):
    """Id -> recording id, one of the files that are the same; and the others."""
    recording_of, findings = {name: name for name in ids}, []
    for group in checks.identical_files(paths):
        group = sorted(group, key=lambda index: os.path.islink(paths[index]))
        first = earlier_manifest.recording_id([ids[index] for index in group], earlier)
        for index in sorted(group):
            if ids[index] != first:
                recording_of[ids[index]] = first
                detail = f"the same content as {first}"
                findings.append(Finding("duplicates", ids[index], detail, paths[index]))
    return recording_of, findings


def _deal(lines, recording_of, shares, earlier, unusable, notes):
    """Gives lines their splits; a file that was dropped as a copy counts as well."""
    groups: dict[str, list[str]] = {line["recording_id"]: [] for line in lines}
    for name, recording in recording_of.items():
        if recording in groups:
            groups[recording].append(name)
    left = {line["id"] for line in lines}
    unusable = unusable | {name for name in recording_of if name not in left}
    kept = {name: recording.split for name, recording in earlier.items()}
    dealt = splits.deal(
        list(groups.values()), shares, _SEED.value, kept, unusable, notes
    )
    split_of = dict(zip(groups, dealt, strict=True))
    lines = [{**line, "split": split_of[line["recording_id"]]} for line in lines]
    filled = {line["split"] for line in lines if line["id"] not in unusable}
    for split in sorted(shares.keys() - filled):
        n_good = counted(len(left - unusable), "recording")
        detail = f"nothing in it can be used, as {n_good} can be in all"
        notes.append(Finding("empty split", split, detail))
    return lines


def _undealt(lines, earlier):
    """Notes on recordings that had another split before, and no --splits now."""
    for line in lines:
        old = earlier.get(line["id"])
        if old and old.split != line["split"]:
            detail = f"from {old.split} to {line['split']}, as --splits is not given"
            yield Finding("moved", line["id"], detail, line["media"])


def _tell_of_long(lines, config):
    """Says what becomes of long videos, and what to do instead."""
    videos = [
        line
        for line in lines
        if media_files.has_suffix(line["media"], media_files.VIDEO_SUFFIXES)
    ]
    n_long = sum(line.get("duration_s", 0) > _LONG_S for line in videos)
    if n_long:
        out_dir = os.path.join(os.path.dirname(config.manifest), "corpus")
        values = {"videos": _VIDEOS.value, "language": _LANGUAGE.value}
        command = [f"--{k}={v}" for k, v in {**values, "out_dir": out_dir}.items()]
        what = "is" if n_long == 1 else "are"
        print(
            f"note: {n_long} of {counted(len(videos), 'video')} {what} longer than "
            f"{_LONG_S} s. A file is one clip here: training hears --clip_s of it at a "
            "time (10 s if left out), evaluation the first 51.2 s. This cuts the "
            "speech in them into clips:\n"
            f"    python -m data_prep.build {shlex.join(command)}"
        )


def _shares():
    named = comma_lists.parse_named(_SPLITS.value, "splits")
    for name in named:
        require_split_name(name, "--splits")
    try:
        shares = {name: float(share) for name, share in named.items()}
    except ValueError as error:
        raise UserError(f"--splits: {error}.") from error
    if shares:
        splits.require_shares(shares)
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
