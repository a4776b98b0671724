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
    return [row[1:-1] for row in rows if row[1 : 1 + len(start)] == list(start)]


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
    assert line[7:] == [f"{one['p_value']:.4f}", "32"]
    assert one["a"] == found["sets"]["x"]["v2a/R@10"]
    assert one["difference"] == one["a"] - one["b"] != 0


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
