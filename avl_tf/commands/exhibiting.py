"""What avl_tf.qualitative does: queries, the best clips of each model, a page."""

import dataclasses
import difflib
import functools
import os
from collections.abc import Mapping, Sequence

import numpy as np

from avl_tf import evaluation, exhibits, metrics, processors, trained
from avl_tf.errors import UserError
from avl_tf.evaluation import EvaluationConfig, clip_fields
from avl_tf.evaluation.embedded import EmbeddedSet
from avl_tf.evaluation.rankings import RankedSet
from avl_tf.exhibits import media, page, sources, texts
from avl_tf.manifest import Recording
from avl_tf.records import open_records
from avl_tf.settings.exhibition import ExhibitionConfig
from avl_tf.trained import Trained
from avl_tf.wording import counted

_SYNTHETIC = "Synthetic corpus: what is heard and seen was generated."


@dataclasses.dataclass(frozen=True)
class _Found:
    """What a model makes of the set."""

    name: str
    path: str
    embedded: EmbeddedSet
    ranked: RankedSet

    def best(self, query: int, direction: str, n_best: int) -> list[tuple[int, float]]:
        """The places of the best clips of a query, and their similarities."""
        sides = self.embedded.embeddings["audio"], self.embedded.embeddings["visual"]
        asked, searched = sides if direction == "a2v" else sides[::-1]
        scores = searched.astype(np.float64) @ asked[query].astype(np.float64)
        order = np.argsort(-scores, kind="stable")[:n_best]
        return [(int(place), float(scores[place])) for place in order]


def exhibit(
    models: Mapping[str, str],
    records_path: str,
    manifest: str,
    out_dir: str,
    config: ExhibitionConfig,
) -> None:
    """Writes the page and prints where it is.

    Args:
        models: run directories or exports by the names they have on the page.
        records_path: the set.
        manifest: that its records were made of.
        out_dir: folder of the page.
        config: which queries, and what of each.

    Raises:
        UserError, FileNotFoundError: something is not there or does not fit.
    """
    exhibits.check(out_dir)
    looked = {name: trained.look(path) for name, path in models.items()}
    for model in looked.values():
        model.info.model.require_vectors(model.path)
    records = open_records(records_path)
    fields = clip_fields.read(records, manifest)
    recordings = sources.from_manifest(manifest)
    clip_ids = [one["clip"] for one in fields]
    queries = choose(clip_ids, config)
    for record_id in {clip_id.rpartition("@")[0] for clip_id in clip_ids}:
        media.found(recordings[record_id].media)
    processors.log("evaluation")
    found = [
        _embed(name, model, model.as_read(records)) for name, model in looked.items()
    ]
    with exhibits.replacing(out_dir) as folder:
        shown = {
            place
            for query in queries
            for place in (
                query,
                *(
                    place
                    for one in found
                    for direction in config.directions
                    for place, _ in one.best(query, direction, config.n_best)
                ),
            )
        }
        clips = _clips(sorted(shown), clip_ids, fields, recordings, folder)
        parts = _head(found, records_path, records.spec.synthetic)
        for number, query in enumerate(queries, 1):
            parts += _query(number, query, clips, found, config)
        text = page.html(f"What {' and '.join(models)} find", parts)
        texts.write(folder, exhibits.INDEX, text)
    print(os.path.join(out_dir, exhibits.INDEX))


def _embed(name: str, model: Trained, records) -> _Found:
    sets = {records.name: records}
    settled = evaluation.by_set(sets, model.evaluation or EvaluationConfig())
    ((_, embedded),) = model.load().embed_sets(sets, settled, model.log_mel_reference)
    return _Found(name, model.path, embedded, embedded.ranked())


def choose(clip_ids: Sequence[str], config: ExhibitionConfig) -> list[int]:
    """Chooses the queries, named or at random.

    Args:
        clip_ids: RECORD@START-END.
        config: its queries, or n_queries and seed.

    Returns:
        Their places among the clips, each once.

    Raises:
        UserError: there is no such clip; names the nearest.
    """
    if not config.queries:
        n_queries = min(config.n_queries, len(clip_ids))
        random = np.random.default_rng(config.seed)
        return np.sort(random.choice(len(clip_ids), n_queries, replace=False)).tolist()
    places: dict[str, int] = {}
    for place, clip_id in enumerate(clip_ids):
        places.setdefault(clip_id, place)
        places.setdefault(clip_id.rpartition("@")[0], place)
    chosen = []
    for query in map(str.strip, config.queries):
        if query not in places:
            near = difflib.get_close_matches(query, places, cutoff=0) or [clip_ids[0]]
            raise UserError(
                f"--queries: the records hold no clip '{query:.100}'. The nearest are "
                f"{', '.join(near)}."
            )
        chosen.append(places[query])
    return list(dict.fromkeys(chosen))


def _clips(
    shown: Sequence[int],
    clip_ids: Sequence[str],
    fields: Sequence[clip_fields.Fields],
    recordings: Mapping[str, Recording],
    folder: str,
) -> dict[int, page.Card]:
    """A card of each clip, with its media beside the page."""
    tasks = []
    for place in shown:
        line, start_s, end_s = _span(clip_ids[place], recordings)
        cut = functools.partial(media.excerpt, wanted=line.wanted)
        name = f"clip{place}"
        tasks.append(functools.partial(cut, line.media, start_s, end_s, folder, name))
        middle_s = (start_s + end_s) / 2
        picture = line.image or line.media
        tasks.append(
            functools.partial(media.key_frame, picture, middle_s, folder, name)
        )
    made = iter(media.at_once(tasks, "clip"))
    cards = {}
    for place in shown:
        label = str(fields[place].get("label") or "")
        lines = [label, clip_ids[place]] if label else [clip_ids[place]]
        cards[place] = page.Card(
            lines[0], lines[1:], player=next(made), frame=next(made)
        )
    return cards


def _span(
    clip_id: str, recordings: Mapping[str, Recording]
) -> tuple[Recording, float, float]:
    """The line of a clip, and its span in the media."""
    record_id, _, span = clip_id.rpartition("@")
    start_s, end_s = map(float, span.split("-"))
    line = recordings[record_id]
    return line, line.start_s + start_s, line.start_s + end_s


def _head(
    found: Sequence[_Found], records_path: str, synthetic: bool
) -> list[page.Part]:
    """What is searched, and how good the models are on all of it."""
    first = found[0].ranked
    n_clips = counted(len(first.clip_ids), "clip")
    parts: list[page.Part] = []
    if synthetic:
        parts.append(page.Paragraph(_SYNTHETIC, warning=True))
    parts.append(
        page.Paragraph(
            f"The best of {n_clips} of {records_path} for each query. The right one, "
            "the query's own other side, is marked; its rank is told even if it is "
            "not among those shown. The table is of all clips."
        )
    )
    keys = [
        f"{d}/{m}" for d in metrics.DIRECTIONS for m in ("R@1", "R@5", "R@10", "MedR")
    ]
    rows = [(one.name, one.path, one.ranked.metrics()) for one in found]
    rows.append(("chance", "", first.chance()))
    parts.append(
        page.Table(
            ["model", *(f"{metrics.title(k[:3])} {k[4:]}" for k in keys)],
            [
                [(name, path), *((f"{values[key]:.1f}", "") for key in keys)]
                for name, path, values in rows
            ],
            1,
            [False] * len(found) + [True],
        )
    )
    return parts


def _query(
    number: int,
    query: int,
    clips: Mapping[int, page.Card],
    found: Sequence[_Found],
    config: ExhibitionConfig,
) -> list[page.Part]:
    own = clips[query]
    parts: list[page.Part] = []
    for direction in config.directions:
        title = f"Query {number}, {metrics.title(direction)}: {own.title}"
        parts += [page.Heading(title), page.Cards([own], "The query")]
        for one in found:
            rank = one.ranked.ranks[direction][query]
            where = f"{one.name}: the right clip has rank {rank}"
            parts.append(page.Heading(f"{where} of {len(one.ranked.clip_ids)}", 3))
            best = one.best(query, direction, config.n_best)
            cards = [
                clips[place]._replace(
                    title=f"{at}. {clips[place].title}",
                    lines=[
                        *clips[place].lines,
                        f"similarity {score:.2f}",
                        *(["the right one"] if place == query else []),
                    ],
                    marked=place == query,
                )
                for at, (place, score) in enumerate(best, 1)
            ]
            parts.append(page.Cards(cards, f"The best of {one.name}"))
    return parts
