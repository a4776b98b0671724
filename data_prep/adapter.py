"""What all adapters share: defects are told, dropped or refused, the manifest written.

Lines of a manifest come in; out go the manifest, a report of all findings beside it
(MANIFEST.report.jsonl: {"kind", "id", "detail", "media"} a line) and the counts on the
terminal.
"""

import collections
import contextlib
import dataclasses
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from avl_tf import json_text, manifest, progress
from avl_tf.errors import UserError
from avl_tf.manifest.findings import Finding, summary, to_lines
from avl_tf.manifest.media_files import MediaFiles
from avl_tf.settings import setting
from avl_tf.settings.limits import Limits
from avl_tf.wording import counted
from data_prep import checks
from data_prep.checks import DEFECTS, Line


@dataclasses.dataclass(frozen=True)
class AdapterConfig(Limits):
    """The flags that every adapter has."""

    manifest: str = setting(None, "Manifest to write (JSON lines).", required=True)
    drop: tuple[str, ...] = setting(
        (),
        "Defects to leave out, with commas between, or all. Without it they end the "
        "program with their counts, and no manifest is written (data_prep.folder keeps "
        "them). " + "; ".join(f"{kind}: {text}" for kind, text in DEFECTS.items()),
    )
    check_media: bool = setting(
        True,
        "Open every file and listen until its first sound, which takes some 10 ms a "
        "file. Without it (--nocheck_media), dead and silent files go unnoticed here.",
    )


def dropped_kinds(config: AdapterConfig) -> frozenset[str]:
    """The kinds of --drop; ValueError if there is no such kind."""
    if "all" in config.drop:
        return frozenset(DEFECTS)
    if unknown := sorted(set(config.drop) - set(DEFECTS)):
        raise UserError(
            f"--drop={unknown[0]}: expected all, or some of {', '.join(DEFECTS)}."
        )
    return frozenset(config.drop)


def finish(
    config: AdapterConfig, lines: Iterable[Line], findings: Iterable[Finding] = ()
) -> list[Line]:
    """Sifts lines and writes those that are left; see sift and write."""
    left = sift(config, lines, findings)
    write(config, left)
    return left


def sift(
    config: AdapterConfig,
    lines: Iterable[Line],
    findings: Iterable[Finding] = (),
    strict: bool = True,
    listed: list[Finding] | None = None,
) -> list[Line]:
    """Checks lines, writes the report, and tells what becomes of the defects.

    Args:
        config: what to drop.
        lines: manifest lines with a split each. media and image are paths, None where
            the corpus names something that is not there.
        findings: what the adapter itself has found; of a defect in them the line is
            still in `lines` only if it is to be kept.
        strict: a defect that is not dropped is an error; otherwise it is kept, but
            for what no manifest can hold.
        listed: takes all that the report lists.

    Returns:
        The lines that are left; with duration_s after --check_media.

    Raises:
        ValueError: there are defects that are neither dropped nor kept, or no line is
            left.
    """
    lines, report = list(lines), list(findings)
    drop = dropped_kinds(config)
    n_given = len(lines)
    unfit = checks.unfit_lines(lines)
    report += unfit.values()
    lines = [line for index, line in enumerate(lines) if index not in unfit]
    for check in (checks.unusable_files, checks.overlaps, checks.duplicate_ids):
        found = check(lines)
        report += found.values()
        lines = [
            line
            for index, line in enumerate(lines)
            if index not in found or found[index].kind not in drop
        ]
    lines = _sift_clips(lines, checks.bad_spans, drop, report)
    if config.check_media:
        lines = _examine(lines, drop, report, config)
    path = report_path(config.manifest)
    manifest.write_text(path, to_lines(report))
    if listed is not None:
        listed += report
    refused = _tell(report, drop, strict)
    if refused:
        undropped = ",".join(sorted(_kinds(report) & set(DEFECTS) - drop))
        raise UserError(
            f"{refused}. {path} lists all; --drop={undropped} leaves them out."
        )
    if report:
        print(f"{path} lists all of that")
    if not lines:
        raise UserError(
            f"{config.manifest}: not written, as nothing is left of {n_given} "
            f"recordings: see {path}. Does the folder hold the corpus?"
        )
    return lines


def add_notes(
    config: AdapterConfig, listed: Sequence[Finding], more: Sequence[Finding]
) -> None:
    """Tells more that is no defect, and writes it into the report after `listed`."""
    if more:
        path = report_path(config.manifest)
        manifest.write_text(path, to_lines([*listed, *more]))
        for text in summary(more).values():
            print(f"note: {text}")
        print(f"{path} lists each")


def write(
    config: AdapterConfig,
    lines: Iterable[Line],
    complete: Callable[[Line], Line | None] | None = None,
    unusable: Collection[str] = (),
) -> None:
    """Writes the manifest and tells the counts of each split.

    Args:
        config: where to.
        lines: as sift returns them.
        complete: makes a line's last fields when it is written, so that they need not
            all be in memory; None leaves the line out.
        unusable: ids of lines that no record can be made of; they are told apart.

    Raises:
        UserError: no line is left.
    """
    path = config.manifest
    n_recordings: collections.Counter[str] = collections.Counter()
    n_clips: collections.Counter[str] = collections.Counter()
    n_unusable: collections.Counter[str] = collections.Counter()

    def finished() -> Iterator[Line]:
        for line in lines:
            whole = complete(line) if complete else line
            if whole is None:
                continue
            split = whole["split"]
            n_recordings[split] += 1
            n_clips[split] += len(whole.get("clips", ()))
            n_unusable[split] += whole["id"] in unusable
            places = {
                name: manifest.path_in_manifest(whole[name], path)
                for name in ("media", "image")
                if whole.get(name)
            }
            yield {**whole, **places}
        if not n_recordings:
            raise UserError(f"{path}: not written, as no recording is left.")

    manifest.write_manifest(path, finished())
    counts = (
        f"{counted(n, 'recording')} in {split}"
        + (f" with {counted(n_clips[split], 'clip')}" if n_clips[split] else "")
        + (f" ({n_unusable[split]} cannot be used)" if n_unusable[split] else "")
        for split, n in n_recordings.items()
    )
    print(f"{path}: {', '.join(counts)}")


def unfit(faults: Iterable[tuple[str, str]]) -> list[Finding]:
    """Findings of (name, what is wrong), for --drop=unfit."""
    return [Finding("unfit", json_text.mended(name), text) for name, text in faults]


@contextlib.contextmanager
def as_finding(findings: list[Finding], name: str) -> Iterator[None]:
    """Makes a UserError about one entry of a corpus a finding, for --drop=unfit."""
    try:
        yield
    except UserError as error:
        findings += unfit([(name, str(error))])


def notes(kind: str, items: Iterable[str], detail: str) -> list[Finding]:
    """Findings of one kind that are worth telling, and no defect."""
    return [Finding(kind, item, detail) for item in items]


def report_path(path: str) -> str:
    """Where the report of a manifest is; ValueError if that cannot be a file."""
    if not path:
        raise UserError("--manifest is empty: name the file to write.")
    if os.path.isdir(path):
        raise UserError(f"--manifest={path} is a folder: name the file to write.")
    return os.path.splitext(path)[0] + ".report.jsonl"


def several(files: MediaFiles) -> list[Finding]:
    """Notes on what was there in several files, or in another Unicode form."""
    return [
        Finding("several files", name, f"{found[0]} is taken, not {found[1]}")
        for name, found in files.ambiguous.items()
    ] + other_form(files.other_forms)


def other_form(ids: Iterable[str]) -> list[Finding]:
    """Notes on files whose name is in another Unicode form than the corpus has it."""
    detail = "the file's name is in another Unicode normal form, and is taken"
    return notes("other form", ids, detail)


def _kinds(findings: Iterable[Finding]) -> set[str]:
    return {finding.kind for finding in findings}


def _sift_clips(lines, find, drop, report) -> list[Line]:
    """Leaves out clips that `find` finds, and lines of which no clip is left."""
    kept = []
    for line in lines:
        found = find(line)
        report += found.values()
        bad = {index for index, finding in found.items() if finding.kind in drop}
        if bad:
            clips = line["clips"]
            clips = [clip for index, clip in enumerate(clips) if index not in bad]
            if not clips:
                continue
            line = {**line, "clips": clips}
        kept.append(line)
    return kept


def _examine(lines, drop, report, limits) -> list[Line]:
    """Opens the media of all lines; those that can be opened get duration_s."""
    from data_prep import listening  # its PyAV is slow, and only needed here

    usable = []
    found_before = checks.unusable_files(lines)
    bar = progress.Bar(lines, "checking media")
    for index, line in enumerate(bar):
        if index in found_before:
            usable.append(line)
            continue
        finding, duration_s = listening.examine(line, limits, report)
        if finding:
            report.append(finding)
            if finding.kind in drop:
                continue
        if duration_s:
            line = {**line, "duration_s": round(duration_s, 3)}
        usable.append(line)
    return _sift_clips(usable, checks.clips_beyond_end, drop, report)


def _tell(report, drop, strict):
    """Prints the counts of findings; returns those that are refused, as a text."""
    refused = []
    for kind, text in summary(report).items():
        if kind in DEFECTS and kind not in drop and strict:
            refused.append(text)
        else:
            gone = kind in drop or kind == "unfit"
            fate = "dropped" if gone else "kept" if kind in DEFECTS else "note"
            print(f"{fate}: {text}")
    return "; ".join(refused)
