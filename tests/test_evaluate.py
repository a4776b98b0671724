"""avl_tf.evaluate as a user starts it; the models are untrained, which is enough."""

import json
import os
import shutil

import corpus
import pytest
import tensorflow as tf
from programs import fails_in_one_line, run

from avl_tf import metrics
from avl_tf.training import history

pytestmark = pytest.mark.slow

SMALL = """\
--audio_widths=8,8,16
--embedding_dim=16
--clip_s=2
--clips_per_recording=8
--batch_size=32
--epochs=0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    records = corpus.make_set(str(folder / "records"))
    corpus.make_set(str(folder / "fewer"), 5)
    (folder / "small.flags").write_text(SMALL)
    for name, *others in (("a", f"--evaluate=x={records}"), ("b", "--seed=1")):
        done = run(
            "avl_tf.train",
            f"--flagfile={folder}/small.flags",
            f"--records={records}",
            f"--run_dir={folder}/{name}",
            "--evaluation_clip_s=2",
            *others,
        )
        assert done.returncode == 0, done.stderr
    done = run("avl_tf.export", f"--run_dir={folder}/b")
    assert done.returncode == 0, done.stderr
    # A run that is as b but for what it was evaluated with in training.
    shutil.copytree(folder / "b", folder / "longer")
    flags = folder / "longer" / "flags.txt"
    before = "--evaluation_clip_s=2.0"
    assert before in flags.read_text()
    flags.write_text(flags.read_text().replace(before, "--evaluation_clip_s=3.0"))
    return folder


def evaluate(folder, *arguments, a="a", output="out.json"):
    return run(
        "avl_tf.evaluate",
        f"--run_dir={folder}/{a}",
        f"--output={folder}/{output}",
        "--resamples=200",
        *arguments,
    )


@pytest.fixture(scope="module")
def compared(folder):
    done = evaluate(folder, f"--compare={folder}/b", "--intervals")
    assert done.returncode == 0, done.stderr
    return done, json.loads((folder / "out.json").read_text())


def _lines(text, *start):
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    rows = [row[1:-1] for row in rows if len(row) > 2]
    return [row for row in rows if row[: len(start)] == list(start)]


def test_what_is_not_given_is_as_in_training(folder, compared):
    _, found = compared
    assert found["settings"]["evaluate"] == [f"x={folder}/records/train"]
    assert found["settings"]["evaluation_clip_s"] == 2
    before = json.loads((folder / "a" / "recall.json").read_text())["history"][0]
    assert {"set": "x (synthetic)", **before["sets"]["x"]} == found["sets"]["x"]


def test_intervals_are_written_and_printed(compared):
    done, found = compared
    low, high = found["intervals"]["x"]["a2v/R@10"]
    value = found["sets"]["x"]["a2v/R@10"]
    assert low < value < high
    (line,) = _lines(done.stdout, "x (synthetic)", "R@10")
    assert line[2] == f"{value:.1f} [{low:.1f}, {high:.1f}]"


def test_a_comparison_says_what_it_compares_and_is_written(folder, compared):
    done, found = compared
    heading = f"A: {folder}/a. B: {folder}/b. "
    (line,) = [x for x in done.stdout.splitlines() if x.startswith(heading)]
    assert "200 resamples, seed 0" in line
    one = found["comparison"]["sets"]["x"]["v2a/R@10"]
    (line,) = _lines(done.stdout, "x (synthetic)", "V->A", "R@10")
    assert line[3:6] == [
        f"{one['a']:.1f}",
        f"{one['b']:.1f}",
        f"{one['difference']:+.1f}",
    ]
    assert line[7:] == [f"{one['p_value']:.4f}", "31.2", "32"]
    assert one["a"] == found["sets"]["x"]["v2a/R@10"]
    assert one["difference"] == one["a"] - one["b"] != 0


def test_every_table_has_chance(folder, compared):
    done, _ = compared
    (row,) = _lines(done.stdout, "x (synthetic), chance")
    assert row[1:] == 2 * ["3.1", "15.6", "31.2", "16.5"] + ["32"]
    (line,) = _lines(done.stdout, "x (synthetic)", "MRR")
    assert line[4:] == ["0.127", "32"]
    population = evaluate(folder, "--evaluation_population=64", output="chance.json")
    (row,) = _lines(population.stdout, "x (synthetic), chance")
    assert row[1:5] == ["1.6", "7.8", "15.6", "16.5"]


def test_what_is_heard_and_a_set_too_small_are_told(folder):
    done = evaluate(folder, "--evaluation_clip_s=1.5", "--resamples=9")
    assert "x: 32 clips of 2.0 s, of which the first 1.5 s are heard: 32" in done.stderr
    assert "x: n = 32 is too small to tell models apart" in done.stderr
    done = evaluate(folder, "--evaluation_clip_s=0", "--resamples=9", output="own.json")
    assert "x: 32 clips of 2.0 s, heard whole." in done.stderr
    found = json.loads((folder / "own.json").read_text())
    assert found["clip_s"] == {"x": 7.0}


@pytest.fixture(scope="module")
def unlearnt(folder):
    """From a; its steps make all worse, so that a stands for it."""
    done = run(
        "avl_tf.train",
        f"--records={folder}/records/train",
        f"--evaluate=x={folder}/records/train",
        f"--init_from={folder}/a",
        f"--run_dir={folder}/unlearnt",
        *("--clip_s=2", "--clips_per_recording=8", "--batch_size=32"),
        *("--evaluation_clip_s=2", "--epochs=1", "--learning_rate=9"),
        "--best_metric=x/R@10",
    )
    assert done.returncode == 0, done.stderr
    return done


def test_train_prints_chance_and_what_stands(folder, unlearnt):
    rows = [row[0] for row in _lines(unlearnt.stdout)][2:]
    assert rows == ["chance", "epoch 0", "epoch 1"]
    assert f"Epoch 0, the best x/R@10, stands for {folder}/unlearnt." in unlearnt.stdout
    assert "--best_metric=x/R@10 can hardly tell" in unlearnt.stderr


def test_weights_are_those_asked_for_and_named(folder, unlearnt):
    said = f"/unlearnt: its weights are of epoch 0 (those of {folder}/a, unchanged)"
    best = {"kind": "best", "step": 0, "epoch": 0, "of_epochs": 1} | {
        "metric": "x/R@10",
        "n": 32,
    }
    found = {}
    for kind in ("", "best", "last"):
        more = [f"--weights={kind}"] if kind else []
        done = evaluate(folder, *more, a="unlearnt", output=f"w{kind}.json")
        assert done.returncode == 0, done.stderr
        assert (said in done.stderr) == (kind != "last")
        assert ("can hardly tell which" in done.stderr) == (kind != "last")
        found[kind] = json.loads((folder / f"w{kind}.json").read_text())
    assert found[""]["weights"] == found["best"]["weights"] == best
    assert found["last"]["weights"]["epoch"] == 1
    assert found[""]["sets"] == found["best"]["sets"] != found["last"]["sets"]
    done = run("avl_tf.export", f"--run_dir={folder}/unlearnt", "--weights=last")
    assert done.returncode == 0 and said not in done.stderr
    export = f"--export={folder}/unlearnt/export/1"
    fails_in_one_line(
        run("avl_tf.evaluate", export, "--weights=best"),
        "exported with epoch 1 of 1 (step 2), the last, not the best",
    )
    done = run("avl_tf.evaluate", export, f"--output={folder}/e.json", "--resamples=9")
    of_export = json.loads((folder / "e.json").read_text())
    assert of_export["weights"] == found["last"]["weights"]
    assert of_export["sets"]["x"]["a2v/R@10"] == pytest.approx(
        found["last"]["sets"]["x"]["a2v/R@10"]
    )


def test_a_comparison_takes_the_same_weights_of_both_where_there_are_such(
    folder, unlearnt
):
    compare = f"--compare={folder}/unlearnt"
    for kind, epoch in (("last", 1), ("best", 0)):
        arguments = [compare, f"--weights={kind}", "--resamples=9"]
        done = evaluate(folder, *arguments, a="unlearnt", output="c.json")
        assert done.returncode == 0, done.stderr
        comparison = json.loads((folder / "c.json").read_text())["comparison"]
        assert [comparison["weights"][m]["epoch"] for m in "ab"] == [epoch, epoch]
        assert all(one["difference"] == 0 for one in comparison["sets"]["x"].values())
    arguments = [f"--compare={folder}/a", "--weights=best", "--resamples=9"]
    done = evaluate(folder, *arguments, a="unlearnt", output="c.json")
    assert done.returncode == 0, done.stderr
    assert "/a was trained without --best_metric" in done.stderr
    fails_in_one_line(
        evaluate(folder, "--weights=best"), "/a was trained without --best_metric"
    )


def test_run_export_and_saved_ranks_compare_alike(folder, compared):
    without = evaluate(folder, a="b", output="b.json")
    fails_in_one_line(without, "--evaluate is missing")
    sets = f"--evaluate=x={folder}/records/train"
    assert evaluate(folder, sets, a="b", output="b.json").returncode == 0
    for other in ("b_ranks.json", "b/export/1"):
        done = evaluate(folder, f"--compare={folder}/{other}", output="again.json")
        assert done.returncode == 0, done.stderr
        found = json.loads((folder / "again.json").read_text())["comparison"]
        assert found["sets"] == compared[1]["comparison"]["sets"]


def test_population_counts_missing_clips_as_misses(folder, compared):
    done = evaluate(folder, "--evaluation_population=64", output="population.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "population.json").read_text())
    whole = compared[1]
    assert found["sets"]["x"]["n"] == 64
    for key in ("a2v/R@10", "a2v/MRR"):
        assert found["sets"]["x"][key] == pytest.approx(whole["sets"]["x"][key] / 2)
        ends = [end / 2 for end in whole["intervals"]["x"][key]]
        assert found["intervals"]["x"][key] == pytest.approx(ends)
    compare = f"--compare={folder}/population_ranks.json"
    fails_in_one_line(
        evaluate(folder, compare, output="bad.json"),
        "x: A was evaluated with --evaluation_population=32, B with 64",
    )


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["--compare={folder}/none"], ["none: neither a run directory nor an export"]),
        (["--compare={folder}/none.json"], ["none.json: no such file"]),
        (["--compare={folder}/out.json"], ["out.json: not the ranks that"]),
        (
            ["--compare={folder}/longer"],
            ["/a was trained with --evaluation_clip_s=2.0", "/longer with 3.0"],
        ),
        (
            ["--compare={folder}/out_ranks.json", "--evaluate=y={folder}/records"],
            ["out_ranks.json: holds no set 'y', only x"],
        ),
        (
            ["--compare={folder}/out_ranks.json", "--evaluate=x={folder}/fewer"],
            ["x: A ranked 20 clips, B 32", "12 (r", "only in B", "same records"],
        ),
        (["--evaluation_population=31"], ["population=31, but", "has 32 clips"]),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(folder, compared, arguments, texts):
    filled = [argument.format(folder=folder) for argument in arguments]
    done = evaluate(folder, *filled, output="bad.json")
    fails_in_one_line(done, *texts)
    assert not (folder / "bad.json").exists()


def test_settings_that_are_given_hold_for_both_models(folder, compared):
    arguments = [f"--compare={folder}/longer", "--evaluation_clip_s=2"]
    done = evaluate(folder, *arguments, output="both.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "both.json").read_text())["comparison"]
    assert found["sets"] == compared[1]["comparison"]["sets"]


@pytest.mark.parametrize("place", ["in_the_way", "/proc", "/dev/full", "denied"])
def test_a_table_is_printed_though_no_file_can_be_written(folder, tmp_path, place):
    shutil.copytree(folder / "a", tmp_path / "a")
    if place == "in_the_way":  # of the run's own folder, the default
        (tmp_path / "a" / "evaluation").touch()
        output, more = tmp_path / "a" / "evaluation" / "recall.json", []
    else:
        if place == "denied":
            if os.geteuid() == 0:
                pytest.skip("nothing is denied to root")
            place = tmp_path / "denied"
            place.mkdir(0o500)
        output = f"{place}/nothing/recall.json"
        more = [f"--output={output}"]
    arguments = [f"--run_dir={tmp_path}/a", "--resamples=200", *more]
    done = run("avl_tf.evaluate", *arguments, f"--compare={folder}/b")
    fails_in_one_line(done, f"cannot be written: {str(output)[:-5]}_ranks.json (")
    assert f", {output} (" in done.stderr and "--output" in done.stderr
    assert _lines(done.stdout, "x (synthetic)") and "A: " in done.stdout


def test_a_run_that_has_not_ended_says_so(folder, tmp_path):
    shutil.copytree(folder / "a", tmp_path / "a")
    flags = tmp_path / "a" / "flags.txt"
    flags.write_text(flags.read_text().replace("--epochs=0", "--epochs=9"))
    said = "its training has not ended: step 0, with 0 of 9 epochs evaluated"
    done = run("avl_tf.evaluate", f"--run_dir={tmp_path}/a", "--resamples=9")
    assert done.returncode == 0 and said in done.stderr
    done = evaluate(folder, f"--compare={tmp_path}/a", "--resamples=9")
    assert done.returncode == 0 and said in done.stderr
    done = evaluate(folder, f"--compare={folder}/b", "--resamples=9")
    assert done.returncode == 0 and "not ended" not in done.stderr


@pytest.mark.parametrize(
    ("epochs", "values", "changes", "said"),
    [
        ((0, 1, 2), (1, 2, 3), "--epochs=2", ""),
        ((0, 1, 2), (1, 2, 3), "--epochs=3", "step 8, with 2 of 3"),
        ((0, 1), (1, 2), "--epochs=2", "step 8, with 1 of 2"),
        # The last is of a later step than the checkpoint: killed between the two.
        ((0, 1, 2, 3), (1, 2, 3, 4), "--epochs=3", "step 8, with 2 of 3"),
        ((0, 1, 2), (1, 3, 2), "--epochs=9\n--best_metric=x/R@5\n--patience=1", ""),
        ((0, 1, 2), (1, 2, 3), "--epochs=9\n--best_metric=x/R@5\n--patience=1", "of 9"),
        ((), (), "--epochs=2", "is lost"),
        ((0, 1, 2), (1, 2, 3), None, ""),
    ],
)
def test_what_has_ended_and_what_has_not(tmp_path, epochs, values, changes, said):
    checkpoint = tf.train.Checkpoint(step=tf.Variable(0))
    checkpoint.write(str(tmp_path / "checkpoints" / "ckpt-8"))
    state = 'model_checkpoint_path: "ckpt-8"\nall_model_checkpoint_paths: "ckpt-8"\n'
    (tmp_path / "checkpoints" / "checkpoint").write_text(state)
    if changes:
        (tmp_path / "flags.txt").write_text(changes + "\n--unknown=1\n")
    entries = [
        {
            "epoch": epoch,
            "step": 4 * epoch,
            "sets": {"x": {key: value for key in metrics.KEYS}},
        }
        for epoch, value in zip(epochs, values, strict=True)
    ]
    (tmp_path / "recall.json").write_text(json.dumps({"history": entries}))
    found = history.unfinished(str(tmp_path))
    assert said in found and bool(said) == bool(found)
