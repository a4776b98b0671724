"""What avl_tf.sweep does: trainings of settings, their table, a curve, HParams."""

from collections.abc import Mapping, Sequence

from absl import logging

from avl_tf import files, metrics, training
from avl_tf.commands import sweep_folder, sweep_listing
from avl_tf.commands.sweep_plan import Plan
from avl_tf.comparing import curve, hparams, running, seeds, studies, study_tables
from avl_tf.comparing.studies import Column
from avl_tf.dataset import ClipConfig
from avl_tf.errors import UserError
from avl_tf.evaluation import EvaluationConfig, caveats, lineage, tables
from avl_tf.evaluation.rankings import RankedSet
from avl_tf.model import ModelConfig
from avl_tf.records import open_records
from avl_tf.settings import from_flags
from avl_tf.settings.evaluation import ResamplingConfig
from avl_tf.settings.stage import StageConfig
from avl_tf.training.tensorboard_log import TensorBoardLog

# By setting, by stage and set, by seed.
_Ranked = dict[str, dict[tuple[str, str], dict[int, RankedSet]]]


def sweep(
    run_dir: str, plan: Plan, at_once: int, config: ResamplingConfig, dry_run: bool
) -> None:
    """Trains what is not finished, prints the table and writes it.

    Args:
        run_dir: folder of the whole sweep; gets sweep.json, sweep.md, sweep.csv,
            sweep.tex, hparams/, with a curve curve.png and curve.md, and a run
            directory a training.
        plan: what is to be trained.
        at_once: as for running.train_all.
        config: of the paired test and the intervals.
        dry_run: print what would be trained, and write nothing.

    Raises:
        UserError: the folder is of other settings, records are not there, or trainings
            failed; the table is then of the others.
    """
    held = sweep_folder.read(run_dir)
    plan = sweep_folder.agreed(run_dir, plan, held)
    if plan.absent:
        print(sweep_listing.listed(run_dir, plan, ()))
        raise UserError(plan.absent)
    _admit(plan)
    records = sweep_folder.fingerprints(run_dir, plan, held)
    if dry_run:
        finished = running.finished(run_dir, plan.trainings)
        print(sweep_listing.listed(run_dir, plan, finished))
        return
    logging.info("%s", plan.told())
    sweep_folder.write(run_dir, plan, held, records)
    # TensorBoard wants to know beforehand what there will be.
    hparams.write(run_dir, plan.varied, _tags(plan, metrics.DIRECTIONS), {})
    failure = None
    try:
        ranks = running.train_all(run_dir, plan.trainings, at_once)
    except running.TrainingsFailed as error:
        failure, ranks = error, error.ranks
    ranked = _by_setting(plan, ranks)
    columns = _columns(plan, ranked)
    if columns:
        _write(run_dir, plan, ranked, columns, config)
    if failure:
        raise failure


def _admit(plan: Plan) -> None:
    """Looks for settings that no training could begin with, from the first seed.

    Of a stage whose parent is yet to be trained, its branches are taken to start from
    scratch; what needs the parent itself is told when its turn comes.
    """
    models: dict[str, ModelConfig] = {}
    of_seed = {p.training for p in plan.places if p.seed == plan.seeds[0]}
    for one in plan.trainings:
        if one.name not in of_seed:
            continue
        flag_values = one.flag_values()
        stage = from_flags(StageConfig, flag_values)
        start = one.init_from or None
        try:
            base = models.get(one.parent) or training.base_model_config(stage, start)
            model = from_flags(ModelConfig, flag_values, base)
            models[one.name] = model
            if one.parent and (stage.freeze or stage.init_branches):
                continue
            clips = from_flags(ClipConfig, flag_values)
            evaluated = from_flags(EvaluationConfig, flag_values)
            training.admission.admit(one.name, stage, clips, evaluated, model, start)
        except (UserError, FileNotFoundError) as error:
            raise UserError(f"{one.name}: {error}") from None


def _by_setting(plan: Plan, ranks: Mapping[str, Mapping[str, RankedSet]]) -> _Ranked:
    ranked: _Ranked = {setting.name: {} for setting in plan.settings}
    for place in plan.places:
        for name, one in ranks.get(place.training, {}).items():
            of_seed = ranked[place.setting].setdefault((place.stage, name), {})
            of_seed[place.seed] = one
    return ranked


def _columns(plan: Plan, ranked: _Ranked) -> list[Column]:
    """The columns of what is finished, by stage, set, direction."""
    directions: dict[tuple[str, str], dict[str, None]] = {}
    for of_setting in ranked.values():
        for key, of_seed in of_setting.items():
            for one in of_seed.values():
                directions.setdefault(key, {}).update(dict.fromkeys(one.ranks))
    return [
        Column(stage, name, direction, k)
        for stage in plan.stages
        for (of_stage, name), found in directions.items()
        if of_stage == stage
        for direction in found
        for wanted, k in plan.columns
        if wanted in ("", direction)
    ]


def _write(
    run_dir: str,
    plan: Plan,
    ranked: _Ranked,
    columns: Sequence[Column],
    config: ResamplingConfig,
) -> None:
    rows = studies.rows(ranked, columns, config)
    first = {
        key: one
        for of_setting in ranked.values()
        for key, of_seed in of_setting.items()
        for one in of_seed.values()
    }
    chance = [
        first[column.stage, column.set_name].chance()[column.key] for column in columns
    ]
    n = {name: one.n_queries for (_, name), one in first.items()}
    note = study_tables.explanation(plan.seeds, columns, config)
    texts = [study_tables.markdown(rows, columns, chance), note]
    texts.append("Clips: " + ", ".join(f"{name} {count}" for name, count in n.items()))
    texts += filter(None, (caveats.of_size(*item) for item in n.items()))
    if missing := _missing(plan, ranked):
        texts.append(missing)
    if plan.curve:
        texts.append(_curve(run_dir, plan, ranked, config))
    sets = {path: open_records(path) for one in plan.trainings for path in one.paths}
    if is_synthetic := lineage.is_synthetic(sets):
        texts.insert(0, lineage.SYNTHETIC)
    text = "\n\n".join(texts)
    values = _rows(ranked)
    value = {"synthetic": is_synthetic, "rows": values}
    files.write_json(files.join(run_dir, "sweep.json"), value)
    files.write_text(files.join(run_dir, "sweep.md"), text + "\n")
    csv = study_tables.to_csv(rows, columns, chance, n)
    files.write_text(files.join(run_dir, "sweep.csv"), csv)
    latex = study_tables.latex(rows, columns, chance, note)
    files.write_text(files.join(run_dir, "sweep.tex"), latex)
    _log(run_dir, plan, values, text)
    print(text)
    logging.info("Written: %s, .md, .csv, .tex.", files.join(run_dir, "sweep.json"))


def _rows(ranked: _Ranked) -> list[dict]:
    return [
        {"setting": name, "seed": seed, "stage": stage, "set": set_name} | one.metrics()
        for name, of_setting in ranked.items()
        for (stage, set_name), of_seed in of_setting.items()
        for seed, one in of_seed.items()
    ]


def _missing(plan: Plan, ranked: _Ranked) -> str:
    """Says what the table is without."""
    lost: dict[str, None] = {}
    for place in plan.places:
        of_setting = ranked[place.setting]
        if not any(
            stage == place.stage and place.seed in of_seed
            for (stage, _), of_seed in of_setting.items()
        ):
            stage = f" {place.stage}" if len(plan.stages) > 1 else ""
            lost[f"{place.setting} seed {place.seed}{stage}"] = None
    if not lost:
        return ""
    return f"**Missing, because it failed or waits for what did: {', '.join(lost)}.**"


def _curve(run_dir: str, plan: Plan, ranked: _Ranked, config: ResamplingConfig) -> str:
    """Draws R@10 over the curve's flag: a line a stage and what else differs."""
    points = []
    chance = {}
    for setting in plan.settings:
        at = float(dict(setting.values)[plan.curve])
        others = setting.without(plan.curve)
        for (stage, name), of_seed in ranked[setting.name].items():
            parts = [others] * bool(others) + [stage] * (len(plan.stages) > 1)
            found = list(of_seed.values())
            chance[name] = found[0].chance()
            for direction in found[0].ranks:
                key = f"{direction}/R@{curve.K}"
                values = tuple(one.metrics()[key] for one in found)
                system = " ".join(parts) or "recall"
                ends = seeds.clip_interval(found, direction, curve.K, config)
                cells = (f"{at:g}",)
                points.append(
                    curve.Point(name, system, direction, at, cells, values, ends)
                )
    levels = {
        name: next(v for k, v in of.items() if k.endswith(f"/R@{curve.K}"))
        for name, of in chance.items()
    }
    return curve.write(run_dir, points, levels, curve.of_flag(plan.curve, points))


def _log(run_dir: str, plan: Plan, rows: Sequence[Mapping], text: str) -> None:
    """Writes the table and HParams into TensorBoard's events."""
    log = TensorBoardLog(run_dir)
    log.text("sweep", text)
    log.close()
    measured: dict[tuple[str, int], dict[str, float]] = {}
    for row in rows:
        of = measured.setdefault((row["setting"], row["seed"]), {})
        for key, value in row.items():
            if "/" in key:
                of[_tag(plan, row["stage"], row["set"], key)] = value
    tags = _tags(plan, tables.directions(rows))
    hparams.write(run_dir, plan.varied, tags, measured)


def _tags(plan: Plan, directions: Sequence[str]) -> list[str]:
    """Of the recalls in the table."""
    return [
        _tag(plan, stage, name, f"{direction}/R@{k}")
        for stage in plan.stages
        for name in plan.sets[stage]
        for wanted, k in plan.columns
        for direction in directions
        if wanted in ("", direction)
    ]


def _tag(plan: Plan, stage: str, set_name: str, key: str) -> str:
    return "/".join([*[stage] * (len(plan.stages) > 1), set_name, key])
