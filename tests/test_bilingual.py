"""Systems for low-resource languages side by side: trainings, table, curve."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import types

import corpus
import numpy as np
import pytest
import tensorflow as tf
from programs import fails_in_one_line, run, started
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from avl_tf.commands import comparing_languages
from avl_tf.comparing import curve, running, seeds, table
from avl_tf.comparing.trainings import read_systems
from avl_tf.errors import UserError
from avl_tf.evaluation.rankings import RankedSet
from avl_tf.settings.evaluation import ResamplingConfig

SMALL = """\
# A stage that trains in seconds.
--audio_widths=8,8,16
--embedding_dim=16
--visual_scale=20
--clip_s=2
--clips_per_recording=8
--shuffle_clips=64
--batch_size=16
--epochs=2
--evaluate_every=2
--evaluation_clip_s=2
"""
CUTOFFS = (1, 5, 10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bilingual")
    for i, (name, n) in enumerate((("es", 8), ("ro", 4))):
        spec = {"languages": (name,)}
        corpus.make_set(str(folder / name / "train"), n, seed=i, **spec)
        corpus.make_set(str(folder / name / "eval"), 4, seed=9 + i, **spec)
    (folder / "small.flags").write_text(SMALL)
    (folder / "method.flags").write_text("--margin=0.01\n")
    return folder


def _arguments(folder, run_dir, **changes):
    given = {
        "run_dir": run_dir,
        "guide": "es",
        "records": f"es={folder}/es/train/train,ro={folder}/ro/train/train",
        "evaluate": f"ro={folder}/ro/eval/train",
        "base_flagfile": f"{folder}/small.flags",
        "guide_flagfile": f"{folder}/method.flags",
        "monolingual_systems": f"cascade={folder}/method.flags@guide,"
        f"monolingual={folder}/method.flags",
        "seeds": "0,1",
        "at_once": 2,
        **changes,
    }
    return [f"--{name}={value}" for name, value in given.items()]


@pytest.fixture(scope="module")
def done(folder):
    arguments = _arguments(
        folder,
        folder / "run",
        evaluate=f"es={folder}/es/eval/train,ro={folder}/ro/eval/train",
        fractions="1,0.5",
    )
    finished = run("avl_tf.bilingual", *arguments)
    assert finished.returncode == 0, finished.stderr
    return finished, arguments


def _rows(run_dir):
    return json.loads((pathlib.Path(run_dir) / "bilingual.json").read_text())


@pytest.mark.slow
def test_every_system_seed_and_fraction_is_a_row_and_a_run(folder, done):
    found = _rows(folder / "run")
    keys = [
        (r["system"], r["language"], r["fraction"], r["seed"]) for r in found["rows"]
    ]
    assert keys == [
        (system, "ro", fraction, seed)
        for system in ("monolingual", "cascade")
        for fraction in (0.5, 1.0)
        for seed in (0, 1)
    ]
    for row in found["rows"]:
        part = "" if row["fraction"] == 1 else "fraction0.5/"
        run_dir = folder / "run" / "ro" / row["system"] / f"{part}seed{row['seed']}"
        parent = json.loads((run_dir / "run.json").read_text())["parent"]
        guide = f"{folder}/run/es/guide/seed{row['seed']}"
        assert parent == (guide if row["system"] == "cascade" else None)
        # What the training itself found at its end.
        recalls = json.loads((run_dir / "recall.json").read_text())
        last = recalls["history"][-1]["sets"]["ro"]
        assert {k: row[k] for k in last} == pytest.approx(last)
        # Four recordings of eight seconds.
        assert row["hours"] == pytest.approx(row["fraction"] * 32 / 3600, rel=1e-3)
    assert [row["seed"] for row in found["guide"]] == [0, 1]
    assert len({row["a2v/MRR"] for row in found["rows"]}) > 4


@pytest.mark.slow
def test_the_table_and_the_curve_are_written(folder, done):
    run_dir = folder / "run"
    text = (run_dir / "bilingual.md").read_text()
    assert text in done[0].stdout
    rows = _rows(run_dir)["rows"]
    of = [r["v2a/R@5"] for r in rows if r["fraction"] == 1 and r["system"] == "cascade"]
    cell = f"{np.mean(of):.1f} ± {np.std(of, ddof=1):.1f}"
    full = text[text.index("ro, trained on 32 s") :]
    line = next(each for each in full.splitlines() if each.startswith("| cascade"))
    assert line.split("|")[6].strip(" *") == cell
    assert text.index("0.5 of the recordings") < text.index("ro, trained on 32 s")
    assert "The guide, es:" in text and "Synthetic corpus" in text
    assert (run_dir / "curve.md").read_text() in text
    assert (run_dir / "curve.png").read_bytes()[1:4] == b"PNG"
    events = EventAccumulator(str(run_dir / "curve" / "cascade"))
    events.Reload()
    scalars = events.Tensors("ro/V->A R@10")
    assert [each.step for each in scalars] == [16, 32]
    key = "v2a/R@10"
    of = [r[key] for r in rows if r["fraction"] == 1 and r["system"] == "cascade"]
    assert tf.make_ndarray(scalars[1].tensor_proto) == pytest.approx(np.mean(of))


@pytest.mark.slow
def test_what_is_finished_is_skipped_until_it_is_to_be_another(folder, done, tmp_path):
    run_dir, arguments = folder / "run", done[1]

    def stamps():
        found = run_dir.glob("*/*/**/finished.json")
        return {path: path.stat().st_mtime_ns for path in found}

    before, written = stamps(), (run_dir / "bilingual.json").read_bytes()
    assert len(before) == 10
    again = run("avl_tf.bilingual", *arguments)
    assert again.returncode == 0 and "10 finished before" in again.stderr
    assert stamps() == before
    assert (run_dir / "bilingual.json").read_bytes() == written
    # A run of other settings stays, and is told by its name.
    other = tmp_path / "other.flags"
    other.write_text("--learning_rate=0.1\n")
    failed = run(
        "avl_tf.bilingual", *arguments, f"--monolingual_systems=monolingual={other}"
    )
    fails_in_one_line(
        failed, "4 of 4 trainings failed: ro/monolingual/fraction0.5/seed0"
    )
    assert (
        len(re.findall("failed: .*holds a run of other settings", failed.stderr)) == 4
    )
    assert stamps() == before


@pytest.mark.slow
def test_a_killed_comparison_goes_on(folder, done, tmp_path):
    arguments = _arguments(folder, tmp_path / "run")
    with started("avl_tf.bilingual", *arguments, stderr=subprocess.DEVNULL) as process:
        _wait_for(tmp_path / "run/ro/monolingual/seed1/checkpoints", process)
        workers = _children(process.pid)
        process.kill()
    assert len(workers) == 2
    _wait_for_end(workers)
    assert not (tmp_path / "run" / "bilingual.json").exists()
    finished = list((tmp_path / "run").glob("**/finished.json"))
    assert 0 < len(finished) < 6
    again = run("avl_tf.bilingual", *arguments)
    assert again.returncode == 0, again.stderr
    assert f"{len(finished)} finished before" in again.stderr
    # As without the kill.
    rows = [r for r in _rows(folder / "run")["rows"] if r["fraction"] == 1]
    assert _rows(tmp_path / "run")["rows"] == rows


@pytest.mark.slow
def test_an_interruption_ends_all_and_a_dead_worker_is_told(folder, tmp_path):
    arguments = _arguments(folder, tmp_path / "run", at_once=1)
    with started("avl_tf.bilingual", *arguments) as process:
        _wait_for(tmp_path / "run/es/guide/seed0/checkpoints", process)
        os.kill(*_children(process.pid), signal.SIGKILL)
        _wait_for(tmp_path / "run/es/guide/seed1/checkpoints", process)
        workers = _children(process.pid)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    _wait_for_end(workers)
    assert process.returncode == 130
    assert "es/guide/seed0 failed: its process was ended (9)" in errors
    assert errors.splitlines()[-1] == "stopped; what was kept stays"
    assert "Traceback" not in errors


@pytest.mark.slow
def test_bilingual_systems_hear_the_guide_too(folder, tmp_path):
    # The package's own, but for a queue that the corpus can fill.
    for name in ("full", "cascade_full"):
        text = f"--flagfile=bilingual_{name}.flags\n--nn_queue=4\n"
        (tmp_path / f"{name}.flags").write_text(text)
    systems = f"full={tmp_path}/full.flags@guide,bilingual=bilingual_infonce.flags,"
    systems += f"cascade_full={tmp_path}/cascade_full.flags@guide"
    arguments = _arguments(
        folder,
        tmp_path / "run",
        bilingual_systems=systems,
        systems="bilingual,full,cascade_full",
        seeds=1,
        fractions=0.5,
    )
    done = run("avl_tf.bilingual", *arguments, "--batch_size=2")
    fails_in_one_line(done, "batch_size")  # a setting of stages stands in flagfiles
    small = tmp_path / "small.flags"
    small.write_text(f"{SMALL}--batch_size=2\n--clip_sampling=whole\n")
    done = run("avl_tf.bilingual", *arguments, f"--base_flagfile={small}")
    assert done.returncode == 0, done.stderr
    rows = _rows(tmp_path / "run")["rows"]
    names = [row["system"] for row in rows]
    assert names == ["bilingual", "full", "cascade_full"]
    assert all("a2v/R@10" in row and "v2a/MedR" in row for row in rows)
    assert [row["hours"] for row in rows] == [pytest.approx(16 / 3600, rel=1e-3)] * 3
    for name in names:
        run_dir = tmp_path / "run/ro" / name / "fraction0.5/seed1"
        info = json.loads((run_dir / "run.json").read_text())
        assert info["model"]["languages"] == ["es", "ro"]
        flags = (run_dir / "flags.txt").read_text().splitlines()
        assert "--language_fraction=ro=0.5" in flags
        assert f"--nn_queue={0 if name == 'bilingual' else 2}" in flags
        guide = f"{tmp_path}/run/es/guide/seed1"
        assert info["parent"] == (None if name == "bilingual" else guide)


def _wait_for(path, process):
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.05)


def _children(pid):
    """The workers of a comparison."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"comparing.worker" in _of(child)]


def _of(pid):
    return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()


def _wait_for_end(pids):
    """Of processes; one that nobody buries has no command line any more."""
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):
            while _of(pid):
                time.sleep(0.05)


@pytest.mark.slow
def test_a_failed_training_is_named_and_the_others_are_kept(folder, tmp_path):
    bad = tmp_path / "bad.flags"
    bad.write_text("--batch_size=100000\n")
    systems = f"monolingual={folder}/small.flags,cascade={folder}/small.flags@guide"
    arguments = _arguments(
        folder,
        tmp_path / "run",
        monolingual_systems=systems,
        guide_flagfile=bad,
        seeds=3,
    )
    failed = run("avl_tf.bilingual", *arguments)
    fails_in_one_line(failed, "1 of 3 trainings failed (1 more wait", "es/guide/seed3")
    assert "es/guide/seed3 failed: " in failed.stderr
    log = (tmp_path / "run" / "logs" / "es-guide-seed3.log").read_text()
    assert "Traceback" in log
    assert (tmp_path / "run/ro/monolingual/seed3/evaluation/finished.json").exists()
    assert not (tmp_path / "run" / "bilingual.json").exists()


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        ({"languages": "ro,ru"}, ["--records: 'ru' has none"]),
        ({"evaluate": "es=es/eval/train"}, ["--evaluate: 'ro' has none"]),
        ({"languages": "es,ro"}, ["'es' is the --guide"]),
        ({"guide": "ru"}, ["'ru', the --guide, has none"]),
        ({"records": "es=es/train"}, ["--languages: name at least one"]),
        ({"systems": "full"}, ["'full' is none of the systems", "cascade"]),
        ({"seeds": ""}, ["--seeds: expected"]),
        ({"seeds": "0,0"}, ["--seeds: expected"]),
        ({"seeds": "-1"}, ["--seeds: expected"]),
        ({"fractions": "0"}, ["--fractions: expected"]),
        ({"fractions": "0.1,nan"}, ["--fractions: expected"]),
        ({"monolingual_systems": ""}, ["Give --monolingual_systems or"]),
        ({"monolingual_systems": "a=small.flags@ro"}, ["from @guide"]),
        (
            {"monolingual_systems": "guide=small.flags"},
            ["'guide' of a system is taken"],
        ),
        (
            {"bilingual_systems": "cascade=small.flags"},
            ["'cascade' of a system is taken"],
        ),
        ({"monolingual_systems": "a"}, ["expected NAME=FLAGFILE"]),
        ({"monolingual_systems": "a=none.flags"}, ["none.flags: no such flagfile"]),
        ({"guide_flagfile": ""}, ["--guide_flagfile is missing"]),
        ({"evaluate": "ro=x"}, ["x: no records here"]),
        (
            {"bilingual_systems": "both=maps.flags"},
            ["both", "--similarity=misa is of a caption and an image, not of two"],
        ),
        (
            {"monolingual_systems": "a=small.flags,b=long.flags"},
            ["a has --evaluation_clip_s=2.0, b 5.0"],
        ),
    ],
)
def test_a_slip_is_told_before_anything_is_made(folder, tmp_path, changes, texts):
    (tmp_path / "small.flags").write_text("--margin=0.01\n")
    (tmp_path / "long.flags").write_text("--evaluation_clip_s=5\n")
    (tmp_path / "maps.flags").write_text("--similarity=misa\n")
    arguments = _arguments(folder, tmp_path / "run", **changes)
    fails_in_one_line(run("avl_tf.bilingual", *arguments, cwd=tmp_path), *texts)
    assert not (tmp_path / "run").exists()


def test_systems_are_read_from_their_items(tmp_path):
    (tmp_path / "a.flags").write_text("--epochs=3\n")
    system, other = read_systems(
        [f"a={tmp_path}/a.flags@guide", f"b={tmp_path}/a.flags"], "x"
    )
    assert (system.parent, other.parent) == ("guide", "")
    assert system.arguments == ("--epochs=3",)
    (tmp_path / "a.flags").write_text("--epochs=no\n")
    with pytest.raises(UserError, match="a.flags"):
        read_systems([f"a={tmp_path}/a.flags"], "x")


def _ranked(*ranks):
    """A set's ranks of one seed, those of v2a the other way round."""
    a2v = np.array(ranks)
    ids = tuple(f"c{i}" for i in range(len(ranks)))
    return RankedSet(ids, {"a2v": a2v, "v2a": a2v[::-1].copy()}, len(ranks), 2.0)


def test_table_is_as_filled_by_hand():
    systems = {
        # R@1 of a2v: 25 and 75 %; R@5: 50 and 100 %; R@10: 100 % both.
        "monolingual": [_ranked(1, 5, 6, 10), _ranked(1, 1, 1, 2)],
        "full": [_ranked(1, 1, 1, 1), _ranked(1, 1, 1, 11)],
    }
    text = table.of_set(systems, ResamplingConfig(resamples=100))
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
    ]
    both = ["50.0 ± 35.4", "75.0 ± 35.4", "100.0 ± 0.0"]
    assert cells[0][:4] == ["system", "A->V R@1", "A->V R@5", "A->V R@10"]
    assert cells[2] == ["chance", *["25.0", "100.0", "100.0"] * 2, "4"]
    assert cells[3] == ["monolingual", *both * 2, "4"]
    assert cells[4] == ["full", *["87.5 ± 17.7"] * 3 * 2, "4"]


def test_the_best_is_bold_only_if_the_test_tells_it_from_the_next():
    n = 40
    good, bad = _ranked(*[1] * n), _ranked(*[2] * n)
    nearly = _ranked(*[1] * (n - 1), 2)
    config = ResamplingConfig(resamples=200)
    text = table.of_set({"a": [bad] * 2, "b": [good] * 2}, config)
    assert [line.count("**") for line in text.splitlines()] == [0, 0, 0, 0, 4]
    assert "**100.0 ± 0.0**" in text
    text = table.of_set({"a": [bad], "b": [good], "c": [nearly]}, config)
    assert "**" not in text
    assert "0.05 / 2 = 0.025" in table.explanation(3, (0,), config)
    # Of so many systems no p of 200 throws is small enough.
    many = {f"s{i}": [bad] for i in range(11)} | {"b": [good]}
    assert "**" not in table.of_set(many, config)


def test_paired_test_is_as_written_out():
    random = np.random.default_rng(5)
    ids = tuple(f"c{i}" for i in range(9))

    def draw(worst):
        ranks = {d: random.integers(1, worst, 9) for d in ("a2v", "v2a")}
        return RankedSet(ids, ranks, 9, 2.0)

    a, b = [draw(8), draw(8)], [draw(14), draw(14)]
    found = seeds.p_values(a, b, 5, ResamplingConfig(resamples=40_000))
    for direction in ("a2v", "v2a"):
        hits_a, hits_b = (
            np.array([one.ranks[direction] <= 5 for one in each], float)
            for each in (a, b)
        )
        observed = abs(hits_a.mean() - hits_b.mean())
        as_large = 0
        # All 2^9 ways to swap clips, each for both seeds at once.
        for bits in range(2**9):
            swap = np.array([bits >> i & 1 for i in range(9)], bool)
            first = np.where(swap, hits_b, hits_a)
            second = np.where(swap, hits_a, hits_b)
            as_large += abs(first.mean() - second.mean()) >= observed - 1e-9
        assert found[direction] == pytest.approx(as_large / 2**9, abs=0.012)
    # Whatever the order of the clips.
    order = random.permutation(9)
    other = [
        RankedSet(
            tuple(ids[i] for i in order),
            {d: rank[order] for d, rank in one.ranks.items()},
            9,
            2.0,
        )
        for one in b
    ]
    assert seeds.p_values(a, other, 5, ResamplingConfig(resamples=40_000)) == found
    assert seeds.p_values(a, a, 5, ResamplingConfig(resamples=10))["a2v"] == 1


def test_interval_over_seeds_is_students():
    # 97.5 % points of Student's t from a printed table.
    for n, t in ((2, 12.706), (3, 4.303), (5, 2.776), (31, 2.042)):
        values = [50.0 + (-1) ** i for i in range(n)]
        low, high = seeds.interval(values)
        half = t * np.std(values, ddof=1) / n**0.5
        assert (high - low) / 2 == pytest.approx(half, rel=1e-3)
    assert seeds.interval([0.0, 20.0])[0] == 0
    assert seeds.interval([1.0]) is None
    assert seeds.mean_and_deviation([1.0]) == (1.0, None)


def test_points_gather_seeds_from_little_to_much(tmp_path):
    rows = [
        {
            "system": "full",
            "language": "ro",
            "fraction": hours / 2,
            "hours": hours,
            "seed": seed,
            **{f"a2v/{name}": 10 * hours + seed for name in ("R@10", "MedR")},
        }
        for hours in (2.0, 1.0)
        for seed in (0, 1)
    ]
    found = comparing_languages.points(rows)
    text = curve.write(str(tmp_path), found, {"ro": 5.0}, curve.SPEECH)
    lines = text.splitlines()[2:4]
    cells = [[cell.strip() for cell in line.split("|")[3:6]] for line in lines]
    assert [row[:2] for row in cells] == [["0.5", "1.0 h"], ["1", "2.0 h"]]
    assert cells[0][2].startswith("10.5 [") and cells[1][2].startswith("20.5 [")


def test_a_worker_ends_after_some_trainings(monkeypatch):
    begun = []

    def another(_):
        answer = "import sys\nfor line in sys.stdin: print('\"\"', flush=True)"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
        begun.append(subprocess.Popen([sys.executable, "-c", answer], **pipes))
        return begun[-1]

    monkeypatch.setattr(running._Workers, "_another", another)
    monkeypatch.setattr(running, "_TASKS", 2)
    with running._Workers(1, 1) as workers:
        for number in range(5):
            workers.start(f"run {number}", {})
            assert workers.next() == (f"run {number}", "")
            assert [process.poll() for process in begun[:-1]] == [0] * (len(begun) - 1)
    assert len(begun) == 3


def test_recordings_that_a_system_has_learnt_from_are_told_with_the_table(tmp_path):
    ranked = []
    for name, n_same in (("cascade", 2), ("full", 3), ("other", 0)):
        shared = {"ro": {"n_recordings": 9, "n_same": n_same, "n_near_duplicates": 1}}
        recalls = {"history": [], "stands": 0} | ({"shared": shared} if n_same else {})
        (tmp_path / name).mkdir()
        (tmp_path / name / "recall.json").write_text(json.dumps(recalls))
        training = types.SimpleNamespace(name=name)
        ranked.append((types.SimpleNamespace(training=training, language="ro"), None))
    (line,) = comparing_languages._shared(str(tmp_path), ranked)
    assert line.startswith("ro: up to 4 of 9 recordings") and "(3 by their ids" in line
    assert comparing_languages._shared(str(tmp_path), ranked[2:]) == []
