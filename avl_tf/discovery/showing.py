"""The page of what was found: the best dimensions and clusters, seen and heard."""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from avl_tf.discovery.concepts import Discovered
from avl_tf.discovery.embedding import MODEL
from avl_tf.discovery.peaks import Peak
from avl_tf.discovery.purity import Concept, Purity
from avl_tf.discovery.tables import (
    ROW_HEADER,
    concept_table,
    row_cells,
)
from avl_tf.exhibits import media
from avl_tf.exhibits.page import Card, Cards, Heading, Paragraph, Part, Table
from avl_tf.manifest import Recording
from avl_tf.settings.discovery import DiscoveryConfig
from avl_tf.wording import counted

_LONGEST_S = 10.0
_PURITY = (
    "Purity: the fraction of the inputs that contain the label, which is their most "
    "frequent one. "
)
_AGREEMENT = (
    "Agreement: how high the other modality stands in the same clips, 0 "
    "to 1; 0.5 is chance."
)
_RANDOM = (
    "Means of the best dimensions, over the draws: a random projection has as many "
    "random directions in the model's space; of the inputs, in what the model reads "
    "(log-mel, visual features); random inputs are drawn from all."
)
_CLUSTERS = (
    "Spans whose embeddings lie together (k-means), without a word of text. First "
    "those that are tight and say much."
)


class _Moment(NamedTuple):
    """What a card shows; times in seconds of the record's media."""

    record: int
    start_s: float
    end_s: float
    is_heard: bool
    title: str
    lines: Sequence[str] = ()
    marked: bool = False

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.record}-{self.start_s:.2f}-{self.end_s:.2f}".replace(".", "_")


class _Section(NamedTuple):
    """A dimension or a cluster: rows of moments, each under a text."""

    title: str
    anchor: str
    rows: Sequence[tuple[str, Sequence[_Moment]]]


def parts(
    folder: str,
    result: Discovered,
    config: DiscoveryConfig,
    recordings: Sequence[Recording] | None,
    told: Mapping[str, str],
) -> list[Part]:
    """Makes the parts of the page, and beside it what they show.

    Args:
        folder: of the page.
        result: what was found.
        config: settings.
        recordings: of each record its media; None shows none.
        told: what was looked at, by name.

    Raises:
        MediaError: media cannot be read.
    """
    best = result.concepts[: config.n_dimensions]
    of_dimensions = [_dimension(result, concept, config) for concept in best]
    of_clusters = [
        _cluster(result, number, config)
        for number in range(min(config.n_dimensions, len(result.clusters)))
    ]
    made = {}
    if recordings:
        sections = of_dimensions + of_clusters
        moments = [m for section in sections for _, row in section.rows for m in row]
        made = _cut(folder, moments, recordings)
    found: list[Part] = [Paragraph("; ".join(f"{k}: {v}" for k, v in told.items()))]
    found += [Heading("Dimensions"), _dimensions(result, len(best))]
    has_labels = any(one.audio.label or one.visual.label for one in best)
    found.append(Paragraph(_PURITY * has_labels + _AGREEMENT))
    if result.rows:
        found += [Heading("Against chance"), _comparison(result), Paragraph(_RANDOM)]
    for section in of_dimensions:
        found += _parts(section, made)
    if of_clusters:
        found += [
            Heading("Clusters of spans"),
            Paragraph(_CLUSTERS),
            _clusters(result, len(of_clusters)),
        ]
    for section in of_clusters:
        found += _parts(section, made)
    return found


def _cut(
    folder: str, moments: Sequence[_Moment], recordings: Sequence[Recording]
) -> dict[str, tuple[str, str]]:
    """Player and frame of each moment, by its name."""
    wanted = {moment.name: moment for moment in moments}.values()
    tasks = []
    for moment in wanted:
        recording = recordings[moment.record]
        middle_s = (moment.start_s + moment.end_s) / 2
        tasks += [
            functools.partial(
                media.excerpt,
                recording.media
                if moment.is_heard or not recording.image
                else recording.image,
                moment.start_s,
                moment.end_s,
                folder,
                moment.name,
                recording.wanted,
            ),
            functools.partial(
                media.key_frame,
                recording.image or recording.media,
                middle_s,
                folder,
                recording.image or moment.name,
            ),
        ]
    made = media.at_once(tasks, "excerpts")
    pairs = zip(made[::2], made[1::2], strict=True)
    return dict(zip((moment.name for moment in wanted), pairs, strict=True))


def _dimension(
    result: Discovered, concept: Concept, config: DiscoveryConfig
) -> _Section:
    heard, seen = result.peaks(concept.dimension)
    audio, visual = [], []
    for peak in heard[: config.n_shown]:
        audio.append(
            _spoken(result, peak, config, concept.audio.label, f"{peak.value:.3g}")
        )
    for peak in seen[: config.n_shown]:
        record, start_s, end_s = result.found.clips[peak.input]
        labels = result.shown(peak.input)
        header = result.headers[record]
        moment_s = header.start_s + start_s, header.start_s + end_s
        start_s, end_s = _no_longer(*moment_s)
        visual.append(
            _Moment(
                record,
                start_s,
                end_s,
                False,
                ", ".join(labels) or header.id,
                _lines(header.id, moment_s, f"{peak.value:.3g}", bool(labels)),
                concept.visual.label in labels,
            )
        )
    number = concept.dimension
    names = dict.fromkeys(filter(None, (concept.audio.label, concept.visual.label)))
    return _Section(
        ": ".join(filter(None, (f"Dimension {number}", ", ".join(names)))),
        f"d{number}",
        [
            (_row("Heard", concept.audio), audio),
            (_row("Seen", concept.visual), visual),
        ],
    )


def _cluster(result: Discovered, number: int, config: DiscoveryConfig) -> _Section:
    cluster, label = result.clusters[number]
    spans = result.spans_of(cluster)[: config.n_shown]
    moments = [_spoken(result, peak, config, label.label, "") for peak in spans]
    text = f"{counted(label.n, 'span')}, tightness {cluster.tightness:.2f}"
    if label.label:
        text += f": {label.label}, purity {label.purity:.0%}"
    return _Section(f"Cluster {number}", f"c{number}", [(text, moments)])


def _spoken(
    result: Discovered, peak: Peak, config: DiscoveryConfig, label: str, value: str
) -> _Moment:
    record, at_s = result.place(peak.input)
    said = result.said(peak.input)
    header = result.headers[record]
    _, first_s, last_s = result.span(peak)
    return _Moment(
        record,
        max(header.start_s, at_s - config.window_s / 2),
        min(header.end_s, at_s + config.window_s / 2),
        True,
        ", ".join(said) or header.id,
        _lines(header.id, (first_s, last_s), value, bool(said)),
        label in said,
    )


def _lines(
    record_id: str, span: tuple[float, float], value: str, is_named: bool
) -> tuple[str, ...]:
    """Below a title, which is the record's id unless the moment is named."""
    times = _clock(*span)
    where = f"{record_id}, {times}" if is_named else times
    return tuple(filter(None, (where, value)))


def _row(what: str, found: Purity) -> str:
    if not found.label:
        return what
    return f"{what}: {found.label}, {found.purity:.0%} of {counted(found.n, 'input')}"


def _parts(section: _Section, made: Mapping[str, tuple[str, str]]) -> list[Part]:
    found: list[Part] = [Heading(section.title, 3, section.anchor)]
    for text, moments in section.rows:
        cards = []
        for moment in moments:
            player, frame = made.get(moment.name, ("", ""))
            cards.append(
                Card(moment.title, moment.lines, player, frame, marked=moment.marked)
            )
        found += [Paragraph(text), Cards(cards, text)]
    return found


def _dimensions(result: Discovered, n: int) -> Table:
    header, lines = concept_table(result, result.concepts[:n])
    rows = [[(cell, "") for cell in line] for line in lines]
    anchors = [f"d{concept.dimension}" for concept in result.concepts[:n]]
    n_left = 1 + sum(name in ("heard", "seen") for name in header)
    return Table(header, rows, n_left, [False] * n, anchors)


def _clusters(result: Discovered, n: int) -> Table:
    rows = [
        [
            (f"{number} {label.label}".rstrip(), ""),
            (str(label.n), ""),
            (f"{cluster.tightness:.2f}", ""),
            (f"{label.purity:.2f}" if label.label else "", ""),
        ]
        for number, (cluster, label) in enumerate(result.clusters[:n])
    ]
    header = ["cluster", "spans", "tightness", "purity"]
    return Table(header, rows, 1, [False] * n, [f"c{i}" for i in range(n)])


def _comparison(result: Discovered) -> Table:
    rows = [[(cell, "") for cell in row_cells(row)] for row in result.rows]
    return Table(ROW_HEADER, rows, 2, [row.name != MODEL for row in result.rows])


def _no_longer(start_s: float, end_s: float) -> tuple[float, float]:
    """The middle of a span, of what a page can bear."""
    middle_s, half_s = (start_s + end_s) / 2, min(end_s - start_s, _LONGEST_S) / 2
    return middle_s - half_s, middle_s + half_s


def _clock(start_s: float, end_s: float) -> str:
    return f"{start_s:.2f}-{end_s:.2f} s"
