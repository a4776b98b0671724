"""What avl_tf.units does: records coded, codes and words counted, files of them."""

from avl_tf import dataset, evaluation, exhibits, processors, runs, trained
from avl_tf.discovery import labels
from avl_tf.discovery.labels import Annotated
from avl_tf.errors import UserError
from avl_tf.exhibits import sources
from avl_tf.exhibits.spans import Span
from avl_tf.model import audio_codes
from avl_tf.records import RecordSet, headers, open_records
from avl_tf.records.headers import Header
from avl_tf.settings.units import UnitsConfig
from avl_tf.trained import Trained
from avl_tf.unit_analysis import coding, counting, words, writing
from avl_tf.unit_analysis.counting import Counts
from avl_tf.unit_analysis.writing import Layer
from avl_tf.wording import counted


def analyse(
    run_dir: str,
    records_path: str,
    manifest: str,
    language: str,
    out_dir: str,
    config: UnitsConfig,
) -> None:
    """Writes the files of a set, and prints the tables.

    Args:
        run_dir: of a model with codebooks.
        records_path: the set.
        manifest: that its records were made of, if its labels have grown since; or "".
        language: of the records; "" is their own.
        out_dir: the folder to write.
        config: settings.

    Raises:
        UserError, FileNotFoundError: something is not there or does not fit.
    """
    exhibits.check(out_dir)
    model = trained.look(run_dir)
    _require_codebooks(model)
    opened = open_records(records_path)
    branches = model.info.model.branches
    heard = evaluation.heard(opened, branches, language, "records")["audio"]
    (records,) = dataset.plain_sets(model.as_read(opened))
    listed = {header.id: header for header in headers.read(records)}
    field, spoken = words.timed(config.audio_labels, _annotated(manifest, listed))
    of_record = dict(zip(listed, spoken, strict=True))
    processors.log("units")
    network, info = runs.load_model(run_dir)
    layers, tiers = _count(model, network, heard, records, of_record, config)
    worded = field != labels.NONE
    told = {
        "model": run_dir,
        "weights": str(info.weights),
        "records": records_path,
        "branch": heard,
        "words": field,
    }
    named = {}
    for record_id, of_layers in tiers.items():
        header = listed[record_id]
        own = {writing.WORDS: of_record[record_id]} if worded else {}
        in_media = {
            tier: [Span(header.start_s + a, header.start_s + b, c) for a, b, c in spans]
            for tier, spans in {**own, **of_layers}.items()
        }
        named[record_id] = header.end_s, in_media
    with exhibits.replacing(out_dir) as folder:
        writing.write(folder, layers, named, config, told)
    print(writing.terminal(layers, config, worded))
    if not worded:
        print("\nThe labels have no words with times: codes are counted only.")
    print(f"\n{out_dir}: index.html, tables, {counted(len(named), 'TextGrid')}.")


def _require_codebooks(model: Trained) -> None:
    if model.is_export:
        raise UserError(
            f"{model.path}: an export does not tell its codes. Give the run directory."
        )
    if not model.info.model.codebooks:
        raise UserError(
            f"{model.path}: the model has no codebooks, so there are no units. Train "
            "one with --audio_encoder=resdavenet_vq and --vq_layers (docs/units.md)."
        )


def _annotated(manifest: str, listed: dict[str, Header]) -> list[Annotated]:
    """What a manifest has come to know since is taken before what records know."""
    known = sources.from_manifest(manifest) if manifest else {}
    if missing := [one for one in listed if manifest and one not in known]:
        raise UserError(
            f"--manifest={manifest}: {len(missing)} of {len(listed)} records are not "
            f"in it, the first is {missing[0]}. Give the manifest that "
            "data_prep.extract has made the records of."
        )
    return [
        Annotated(one, (known[one].labels if manifest else {}) or header.labels, [])
        for one, header in listed.items()
    ]


def _count(
    model: Trained,
    network,
    heard: str,
    records: RecordSet,
    of_record: dict[str, list[Span]],
    config: UnitsConfig,
) -> tuple[dict[str, Layer], dict[str, dict[str, list[Span]]]]:
    """The layers by name, and of each record the spans of its layers."""
    counts = {
        layer: Counts(one.n_codes, config.half_window_s)
        for layer, one in audio_codes.codebooks(network, heard).items()
    }
    tiers: dict[str, dict[str, list[Span]]] = {}
    for coded in coding.code(network, heard, records, model.batches(records)):
        layer, record_id, start_s, codes, step_s = coded
        end_s = start_s + len(codes) * step_s
        within = [
            Span(max(a, start_s) - start_s, min(b, end_s) - start_s, text)
            for a, b, text in of_record[record_id]
            if a < end_s and b > start_s
        ]
        counts[layer].add(codes, step_s, within)
        of_layers = tiers.setdefault(record_id, {name: [] for name in counts})
        of_layers[layer] += counting.runs(codes, step_s, start_s)
    stop_words = {labels.plain(word) for word in config.stop_words}
    layers = {
        name: Layer(
            one.summary(config, stop_words),
            one.units(config.least_occurrences, stop_words),
        )
        for name, one in counts.items()
    }
    return layers, tiers
