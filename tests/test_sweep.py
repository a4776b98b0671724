"""Settings side by side: what is trained, once each, and their table."""

import csv
import json
import re

import corpus
import numpy as np
import pytest
from programs import fails_in_one_line, run
from tensorboard.backend.event_processing import (
    data_provider,
    plugin_event_multiplexer,
)
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import (
    api_pb2,
    backend_context,
    get_experiment,
    list_session_groups,
)

from avl_tf.comparing import seeds, studies, study_tables, worker
from avl_tf.comparing.studies import Column
from avl_tf.evaluation import rankings, significance
from avl_tf.evaluation.rankings import RankedSet
from avl_tf.settings.evaluation import ResamplingConfig

SMALL = """\
# A stage of no steps.
--audio_widths=8,8,16
--embedding_dim=16
--clip_s=2
--clips_per_recording=8
--batch_size=16
--epochs=0
--evaluation_clip_s=2
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    train = corpus.make_set(str(folder / "train"), 4)
    corpus.make_set(str(folder / "eval"), 4, seed=1)
    (folder / "small.flags").write_text(f"{SMALL}--records={train}\n")
    named = "--records=data/missing\n--evaluate=x=y/val\n"
    (folder / "absent.flags").write_text(SMALL + named)
    return folder


def _arguments(folder, *settings, **changes):
    small = f"{folder}/small.flags"
    given = {
        "run_dir": folder / "run",
        "stages": f"pre={small},fine={small}@pre",
        "evaluate": f"x={folder}/eval/train",
        "resamples": 200,
        **changes,
    }
    return [f"--{name}={value}" for name, value in given.items()] + [
        f"--setting={setting}" for setting in settings
    ]


SETTINGS = (
    "AVLnet:",
    "loss/rate: fine/--epochs=1 fine/--learning_rate=1e-2",
    "loss/diverges: fine/--epochs=1 fine/--loss=max_margin fine/--learning_rate=1e9",
)


@pytest.fixture(scope="module")
def done(folder):
    """A sweep, one setting of which fails."""
    return run("avl_tf.sweep", *_arguments(folder, *SETTINGS))


def _rows(run_dir):
    return json.loads((run_dir / "sweep.json").read_text())["rows"]


@pytest.mark.slow
def test_what_settings_share_is_trained_once_and_a_failure_is_told(folder, done):
    assert "3 settings x 1 seed x 2 stages: 4 trainings (2 shared" in done.stderr
    fails_in_one_line(done, "1 of 4 trainings failed: loss/diverges/seed0/fine")
    assert "loss/diverges/seed0/fine failed: " in done.stderr
    found = _rows(folder / "run")
    assert [(r["setting"], r["seed"], r["stage"], r["set"]) for r in found] == [
        ("AVLnet", 0, "pre", "x"),
        ("AVLnet", 0, "fine", "x"),
        ("loss/rate", 0, "pre", "x"),
        ("loss/rate", 0, "fine", "x"),
        ("loss/diverges", 0, "pre", "x"),
    ]
    # As the run itself found it.
    recalls = folder / "run" / "loss" / "rate" / "seed0" / "fine" / "recall.json"
    last = json.loads(recalls.read_text())["history"][-1]["sets"]["x"]
    assert {name: found[3][name] for name in last} == last
    assert found[0]["a2v/MRR"] == found[2]["a2v/MRR"] != found[3]["a2v/MRR"]
    text = (folder / "run" / "sweep.md").read_text()
    assert text in done.stdout
    assert "Missing" in text and "loss/diverges seed 0 fine" in text


@pytest.mark.slow
def test_the_ranks_of_the_last_evaluation_are_kept(folder, monkeypatch, tmp_path):
    small = (folder / "small.flags").read_text().splitlines()[1:]
    task = {
        "run_dir": str(tmp_path / "run"),
        "arguments": [*small, f"--evaluate=x={folder}/eval/train"],
        "parent": "",
        "digest": "d",
        "log": "",
    }
    with monkeypatch.context() as patch:
        patch.setattr(worker, "_rank", None)  # is not asked
        worker.train(**task)
    (kept,) = rankings.read(f"{tmp_path}/run/{worker.RANKS}").values()
    # Evaluated by an earlier process, it is ranked again: alike.
    worker.train(**task)
    (again,) = rankings.read(f"{tmp_path}/run/{worker.RANKS}").values()
    assert again.clip_ids == kept.clip_ids and len(kept.clip_ids) == 16
    for direction, ranks in kept.ranks.items():
        assert again.ranks[direction].tolist() == ranks.tolist()


@pytest.mark.slow
def test_tensorboard_lists_the_settings_and_what_they_reached(folder, done):
    rows = _rows(folder / "run")
    found = _hparams(str(folder / "run"))
    assert list(found) == ["AVLnet", "loss/diverges", "loss/rate"]
    flags, metrics = found["loss/rate"]
    assert flags["setting"] == "loss/rate"
    assert flags["fine/learning_rate"] == pytest.approx(0.01)
    assert found["AVLnet"][0]["fine/learning_rate"] == pytest.approx(0.001)
    assert "pre/learning_rate" not in flags  # all have the same
    for stage in ("pre", "fine"):
        (row,) = [r for r in rows if (r["setting"], r["stage"]) == ("loss/rate", stage)]
        for key in ("a2v/R@10", "v2a/R@10"):
            assert metrics[f"{stage}/x/{key}"] == pytest.approx(row[key])
    assert not [tag for tag in found["loss/diverges"][1] if tag.startswith("fine/")]


def _hparams(logdir):
    """What TensorBoard's plugin shows of a folder: flags and metrics by setting."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(logdir)
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, logdir)
    asked = RequestContext()
    plugin = backend_context.Context(TBContext(data_provider=provider, logdir=logdir))
    request = api_pb2.GetExperimentRequest()
    told = get_experiment.Handler(asked, plugin, "", request).run()
    request = api_pb2.ListSessionGroupsRequest(
        slice_size=100, allowed_statuses=api_pb2.Status.values(), include_metrics=True
    )
    for info in told.hparam_infos:
        request.col_params.add(hparam=info.name)
    for info in told.metric_infos:
        request.col_params.add(metric=info.name)
    groups = list_session_groups.Handler(asked, plugin, "", request).run()
    return {
        group.name: (
            {k: v.string_value or v.number_value for k, v in group.hparams.items()},
            {each.name.tag: each.value for each in group.metric_values},
        )
        for group in sorted(groups.session_groups, key=lambda group: group.name)
    }


@pytest.mark.slow
def test_settings_and_seeds_are_added_and_changed_ones_refused(folder, done):
    before = {
        path: path.stat().st_mtime_ns
        for path in (folder / "run").glob("**/finished.json")
    }
    assert len(before) == 3
    # Renamed and in front, it is known again; what is left out stays.
    rate = SETTINGS[1].replace("loss/rate", "new")
    more = rate, "AVLnet:", "added: fine/--margin=0.5"
    again = run("avl_tf.sweep", *_arguments(folder, *more))
    assert again.returncode == 0, again.stderr
    assert "4 trainings: 3 finished before" in again.stderr
    assert "1 of earlier calls stay" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
    names = [row["setting"] for row in _rows(folder / "run")]
    assert names == ["new"] * 2 + ["AVLnet"] * 2 + ["added"] * 2
    changed = run("avl_tf.sweep", *_arguments(folder, "AVLnet: --learning_rate=0.5"))
    fails_in_one_line(
        changed,
        "holds a sweep of other settings: AVLnet/seed0/pre had none, has now "
        "--learning_rate=0.5",
    )


@pytest.mark.parametrize(
    ("settings", "changes", "texts"),
    [
        ((), {}, ["Give --setting or --grid"]),
        (
            ("a: --clip_ss=3",),
            {},
            ["a, stage pre: ", "'clip_ss'. Did you mean: clip_s"],
        ),
        (("a: --clip_s=no",), {}, ["a, stage pre: ", "clip_s"]),
        (("a: --clip_s=3", "a: --clip_s=4"), {}, ["'a' stands for two settings"]),
        (("a:", "A:"), {}, ["'A' stands for two settings"]),
        (("a/b/c:",), {}, ["--setting: expected NAME"]),
        (("a",), {}, ["--setting: expected NAME"]),
        (("../a:",), {}, ["--setting: expected NAME"]),
        (("logs:",), {}, ["'logs' of a setting is taken"]),
        (("a: clip_s=3",), {}, ["a: 'clip_s=3' is not a flag"]),
        (("a: --clip_s 3",), {}, ["a: '3' is not a flag"]),
        (("a: mid/--clip_s=3",), {}, ["no stage 'mid'", "pre, fine"]),
        (("a: --seed=3",), {}, ["a: --seed is not a setting's"]),
        (("a: --evaluation_clip_s=3", "b:"), {}, ["cannot be compared"]),
        (
            ("a:", "b: fine/--loss=infonce fine/--margin=1"),
            {},
            ["b", "fine: --loss=infonce has no margin"],
        ),
        (("a: --batch_size=64",), {}, ["a/seed0/pre: ", "fewer than one batch of 64"]),
        (("a: --best_metric=y/MRR",), {}, ["a/seed0/pre: --best_metric=y/MRR"]),
        (("a: --records=none",), {}, ["not there: none (a)", "docs/corpora.md"]),
        (
            ("a:",),
            {"stages": "x=absent.flags", "evaluate": ""},
            ["not there: data/missing (absent.flags), y/val (absent.flags)"],
        ),
        (
            ("a: --loss=infonce --temperature=2", "b: fine/--temperature=2"),
            {},
            ["b: --temperature changes nothing here: --loss=mms has none"],
        ),
        (("a:",), {"grid": "nn_weight=1,2"}, ["a+nn_weight=1: --nn_weight changes"]),
        (("a: --nonn_until_full",), {}, ["changes nothing", "there is no --nn_queue"]),
        (("a:", "b: --similarity=misa"), {}, ["b/seed0/pre: --similarity=misa is of"]),
        (("a: --flagfile=none.flags",), {}, ["none.flags: no such flagfile"]),
        (("a:",), {"grid": "clip_s"}, ["--grid: expected flag=a,b,c"]),
        (("a:",), {"grid": "clip_s=1,,2"}, ["--grid=clip_s=1,,2: expected values"]),
        (("a:",), {"grid": "clip_s=1,1"}, ["'a+clip_s=1' stands for two"]),
        (("a:",), {"grid": "clip=1,2"}, ["a+clip=1, stage pre: ", "'clip'"]),
        (("a:",), {"curve": "clip_s"}, ["--curve=clip_s: expected a flag of --grid"]),
        (("a:",), {"columns": "R@3"}, ["--columns: expected R@1"]),
        (("a:",), {"seeds": "0,0"}, ["--seeds: expected"]),
        (("a:",), {"evaluate": ""}, ["Give --evaluate"]),
        (("a:",), {"stages": ""}, ["Give --base_flagfile"]),
        (("a:",), {"stages": "x=small.flags@y"}, ["'x' starts from 'y'"]),
    ],
)
def test_a_slip_is_told_before_anything_is_made(
    folder, tmp_path, settings, changes, texts
):
    arguments = _arguments(folder, *settings, run_dir=tmp_path / "run", **changes)
    fails_in_one_line(run("avl_tf.sweep", *arguments, cwd=folder), *texts)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_lists_the_trainings_of_a_grid(folder, tmp_path):
    arguments = _arguments(
        folder, "h/a: --margin=0.1", "h/b:", run_dir=tmp_path / "run", seeds="3,4"
    )
    grid = ["--grid=pre/fraction=0.5,1", '--grid=audio_widths="8,8,16","8,16,16"']
    done = run("avl_tf.sweep", *arguments, *grid, "--dry_run")
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first == "8 settings x 2 seeds x 2 stages: 32 trainings"
    folder_of = "h/b+fraction=0.5+audio_widths=8-16-16/seed4"
    assert [line.split() for line in rest if line.startswith(folder_of)] == [
        [f"{folder_of}/pre", "new", "--fraction=0.5", "--audio_widths=8,16,16"],
        [f"{folder_of}/fine", "new", "from", "pre", "--audio_widths=8,16,16"],
    ]
    assert not (tmp_path / "run").exists()


def test_a_dry_run_lists_what_could_be_trained_if_its_records_were_there(
    folder, tmp_path
):
    absent = f"--stages=pre={folder}/absent.flags"
    arguments = [absent, f"--run_dir={tmp_path}/run", "--setting=a: --clip_s=3"]
    done = run("avl_tf.sweep", *arguments, "--dry_run")
    fails_in_one_line(done, f"not there: data/missing ({folder}/absent.flags), y/val")
    assert done.stdout.split("\n")[1:] == ["a/seed0/pre  new       --clip_s=3", ""]


@pytest.mark.slow
def test_a_dry_run_tells_what_is_finished(folder, done):
    listed = run("avl_tf.sweep", *_arguments(folder, *SETTINGS), "--dry_run")
    assert [line.split()[:2] for line in listed.stdout.splitlines()[1:]] == [
        ["AVLnet/seed0/pre", "finished"],
        ["AVLnet/seed0/fine", "finished"],
        ["loss/rate/seed0/fine", "finished"],
        ["loss/diverges/seed0/fine", "stopped"],
    ]


def _ranked(*ranks):
    a2v = np.array(ranks)
    ids = tuple(f"c{i}" for i in range(len(ranks)))
    return RankedSet(ids, {"a2v": a2v, "v2a": a2v[::-1].copy()}, len(ranks), 2.0)


GOOD, BAD = _ranked(*[1] * 30, *[40] * 10), _ranked(*[1] * 10, *[40] * 30)
COLUMN = Column("train", "x", "a2v", 10)
CONFIG = ResamplingConfig(resamples=500)


def _found(**of_settings):
    ranked = {
        name.replace("_", "/"): {("train", "x"): dict(enumerate(of_seeds))}
        for name, of_seeds in of_settings.items()
    }
    return studies.rows(ranked, [COLUMN], CONFIG)


def test_a_study_marks_its_best_and_tests_the_others():
    rows = _found(AVLnet=[GOOD, BAD], s_low=[BAD, BAD], s_none=[], t_top=[GOOD, GOOD])
    cells = {(row.study, row.setting): row.cells[0] for row in rows}
    assert list(cells) == [
        *(("s", "AVLnet"), ("s", "low"), ("s", "none")),
        *(("t", "AVLnet"), ("t", "top")),
    ]
    best, low = cells["s", "AVLnet"], cells["s", "low"]
    assert best.is_best and best.p is None and best.mean == 50
    assert best.deviation == pytest.approx(50 / 2**0.5)
    assert cells["s", "none"] is None and not low.is_best
    # One other that is finished, so its p as it is.
    p = seeds.p_values([GOOD, BAD], [BAD, BAD], 10, CONFIG)["a2v"]
    assert low.p == p and 0 < p < 0.01
    assert cells["t", "top"].is_best and not cells["t", "AVLnet"].is_best


def test_p_is_corrected_for_the_number_of_others():
    rows = _found(a=[GOOD], b=[BAD], c=[BAD], d=[GOOD])
    p = seeds.p_values([GOOD], [BAD], 10, CONFIG)["a2v"]
    assert [row.cells[0].p for row in rows] == [None, 3 * p, 3 * p, None]
    assert [row.cells[0].is_best for row in rows] == [True, False, False, True]


def test_the_interval_of_one_seed_is_that_of_an_evaluation():
    expected = significance.confidence_intervals(GOOD.ranks, CONFIG)["a2v/R@10"]
    assert seeds.clip_interval([GOOD], "a2v", 10, CONFIG) == pytest.approx(expected)
    one = seeds.clip_interval([GOOD, BAD], "a2v", 10, CONFIG)
    assert one[0] < 50 < one[1] and one[1] - one[0] < expected[1] - expected[0]


def test_tables_are_written_for_papers():
    rows = _found(AVLnet=[GOOD], s_x=[BAD])
    columns = [COLUMN]
    text = study_tables.latex(rows, columns, [25.0], "A note.")
    assert r"\textbf{75.0}" in text and r"A$\rightarrow$V R@10" in text
    assert text.count(r"\\") == 4 and text.count("&") == 8
    assert (
        text.index(r"\toprule") < text.index(r"\midrule") < text.index(r"\bottomrule")
    )
    assert study_tables.escaped("a_b & 5%") == r"a\_b \& 5\%"
    (chance, best, other) = csv.DictReader(
        study_tables.to_csv(rows, columns, [25.0], {"x": 40}).splitlines()
    )
    assert (chance["setting"], chance["mean"], chance["n"]) == ("chance", "25.0", "40")
    assert (best["study"], best["mean"], best["best"], best["p"]) == (
        "s",
        "75.0",
        "1",
        "",
    )
    assert (other["setting"], other["best"]) == ("x", "0") and 0 < float(other["p"]) < 1
    table = study_tables.markdown(rows, columns, [25.0]).splitlines()
    assert re.match(
        r"\| s +\| AVLnet +\| +\*\*75.0\*\* \[[\d.]+, [\d.]+\] \|", table[3]
    )
