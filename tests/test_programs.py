"""The programs that train, evaluate and export, one after another."""

import json
import os
import re
import signal
import threading

import corpus
import pytest
import tensorflow as tf
from checkpoint_tensors import tensors
from programs import fails_in_one_line, run, run_afresh

SMALL = """\
# A stage that trains in seconds.
--audio_widths=8,8,16
--embedding_dim=16
--visual_scale=20
--clip_s=2
--clips_per_recording=8
--shuffle_clips=64
--batch_size=32
--epochs=4
--evaluate_every=2
--evaluation_clip_s=2
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("programs")
    for i, name in enumerate(("aa", "bb")):
        spec = {"languages": (name,)}
        train = corpus.make_set(str(folder / name / "train"), seed=i, **spec)
        corpus.make_set(str(folder / name / "evaluation"), 4, seed=9 + i, **spec)
        flagfile = folder / f"{name}.flags"
        flagfile.write_text(f"{SMALL}--records={train}\n")
    return folder


@pytest.fixture(scope="module")
def cascade_arguments(folder):
    stages = (
        f"aa={folder}/aa.flags,bb={folder}/bb.flags@aa,bb_scratch={folder}/bb.flags"
    )
    sets = ",".join(f"{n}={folder}/{n}/evaluation/train" for n in ("aa", "bb"))
    return [f"--run_dir={folder}/run", f"--stages={stages}", f"--evaluate={sets}"]


@pytest.fixture(scope="module")
def cascade(folder, cascade_arguments):
    done = run("avl_tf.cascade", *cascade_arguments)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_cascade_writes_a_row_for_every_stage_set_and_time(folder, cascade):
    table = json.loads((folder / "run" / "cascade.json").read_text())
    rows = table["rows"]
    keys = {(r["stage"], r["parent"], r["set"], r["when"]) for r in rows}
    parents = {"random": None, "aa": None, "bb": "aa", "bb_scratch": None}
    assert keys == {
        (stage, parent, name, when)
        for stage, parent in parents.items()
        for name in ("aa", "bb")
        for when in ("zero_shot", "final")
    }
    assert len(rows) == len(keys)
    by_key = {(r["stage"], r["set"], r["when"]): r for r in rows}
    # A child's first evaluation is its parent's last one.
    for name in ("aa", "bb"):
        ours = dict(
            by_key["bb", name, "zero_shot"], stage="aa", parent=None, when="final"
        )
        assert ours == by_key["aa", name, "final"]
    random = by_key["random", "aa", "final"]
    assert random["n"] == 16 and random["a2v/R@5"] == 100 * 5 / 16


@pytest.mark.slow
def test_cascade_prints_the_table_it_writes_and_says_synthetic(folder, cascade):
    text = (folder / "run" / "cascade.md").read_text()
    assert text in cascade.stdout
    assert "Synthetic corpus" in text
    lines = [[c.strip() for c in line.split("|")[1:4]] for line in text.splitlines()]
    assert [line for line in lines if line[:1] == ["bb"]] == [
        ["bb", "random", "-"],
        ["bb", "target only", "bb_scratch"],
        ["bb", "zero-shot", "aa"],
        ["bb", "cascade", "aa -> bb"],
    ]
    assert ["aa", "earlier stage", "aa -> bb"] in lines


@pytest.mark.slow
def test_cascade_writes_a_page_of_itself(folder, cascade):
    text = (folder / "run" / "report" / "index.html").read_text()
    assert str(folder / "run" / "report" / "index.html") in cascade.stdout
    assert "Synthetic corpus" in text and "Stage bb" in text
    assert (folder / "run" / "report" / "bb_recall.png").stat().st_size > 10_000
    assert "http" not in text  # it needs nothing from elsewhere


def test_report_of_a_run(folder, cascade, tmp_path):
    done = run("avl_tf.report", f"--run_dir={folder}/run/bb", f"--out_dir={tmp_path}")
    assert done.stdout.strip() == str(tmp_path / "index.html")
    assert (tmp_path / "recall.png").read_bytes().startswith(b"\x89PNG")


def test_cascade_skips_finished_stages(folder, cascade, cascade_arguments):
    def stamps():
        names = ("checkpoint", "saved_model.pb")
        files = [p for n in names for p in (folder / "run").rglob(n)]
        return {p: p.stat().st_mtime_ns for p in files}

    before, table = stamps(), (folder / "run" / "cascade.json").read_text()
    assert len(before) == 6
    done = run("avl_tf.cascade", *cascade_arguments)
    assert done.returncode == 0
    assert stamps() == before
    assert (folder / "run" / "cascade.json").read_text() == table


@pytest.mark.slow
def test_stages_side_by_side_have_the_same_weights(folder, cascade, cascade_arguments):
    _, *others = cascade_arguments
    beside = folder / "beside"
    given = f"--run_dir={beside}", "--at_once=2", "--noexport"
    done = run("avl_tf.cascade", *others, *given)
    assert done.returncode == 0, done.stderr
    assert (beside / "logs" / "bb_scratch.log").exists()
    for stage in ("aa", "bb", "bb_scratch"):
        one, other = (
            tensors(tf.train.latest_checkpoint(str(of / stage / "checkpoints")))
            for of in (folder / "run", beside)
        )
        assert one and one == other


@pytest.mark.slow
def test_evaluate_gives_the_cascades_numbers(folder, cascade, tmp_path):
    output = tmp_path / "out.json"
    done = run(
        "avl_tf.evaluate",
        f"--run_dir={folder}/run/bb",
        f"--evaluate=bb={folder}/bb/evaluation/train",
        f"--output={output}",
    )
    assert done.returncode == 0, done.stderr
    by_export = run(
        "avl_tf.evaluate",
        f"--export={folder}/run/bb/export/1",
        f"--evaluate=bb={folder}/bb/evaluation/train",
        cwd=tmp_path,
    )
    assert by_export.returncode == 0, by_export.stderr
    assert by_export.stdout == done.stdout
    assert (tmp_path / "recall.json").exists()
    found = json.loads(output.read_text())["sets"]["bb"]
    rows = json.loads((folder / "run" / "cascade.json").read_text())["rows"]
    (expected,) = (
        r for r in rows if (r["stage"], r["set"], r["when"]) == ("bb", "bb", "final")
    )
    metrics = {k: v for k, v in found.items() if k != "set"}
    assert metrics == {k: expected[k] for k in metrics}
    assert f"{found['a2v/R@1']:.1f}" in done.stdout and "(synthetic)" in done.stdout


@pytest.mark.slow
def test_train_and_export_by_themselves(folder, tmp_path):
    arguments = [
        f"--flagfile={folder}/aa.flags",
        f"--run_dir={tmp_path}/run",
        f"--evaluate=aa={folder}/aa/evaluation/train",
    ]
    done = run_afresh("avl_tf.train", *arguments)
    assert done.returncode == 0, done.stderr
    assert "| epoch 4 | aa " in done.stdout
    # Nothing of TensorFlow's on the terminal: no CUDA, no end of a sequence.
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in done.stderr.splitlines())
    done = run_afresh("avl_tf.export", f"--run_dir={tmp_path}/run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{tmp_path}/run/export/1"
    again = run("avl_tf.train", *arguments, "--seed=7")
    fails_in_one_line(again, "--seed=0 then, 7 now", "another --run_dir")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "arguments", "texts"),
    [
        (
            "avl_tf.train",
            ["--records=no/such/records", "--run_dir={tmp}/run"],
            ["no/such/records", "looked for no/such/spec.json"],
        ),
        (
            "avl_tf.train",
            ["--flagfile={folder}/aa.flags", "--run_dir={tmp}/run", "--batch_size=512"],
            ["64 clips, fewer than one batch of 512"],
        ),
        (
            "avl_tf.evaluate",
            ["--run_dir={tmp}", "--evaluate=x={folder}/aa/train"],
            ["{tmp}: not a run directory"],
        ),
        (
            "avl_tf.cascade",
            [
                "--run_dir={tmp}/r",
                "--stages=a=x.flags@b",
                "--evaluate=x={folder}/aa/train",
            ],
            ["'a' starts from 'b'", "no run directory"],
        ),
        (
            "avl_tf.cascade",
            [
                "--run_dir={tmp}/r",
                "--stages=a=no.flags",
                "--evaluate=x={folder}/aa/train",
            ],
            ["no.flags: no such flagfile"],
        ),
    ],
)
def test_a_slip_is_told_in_one_line(folder, tmp_path, module, arguments, texts):
    fill = {"tmp": tmp_path, "folder": folder}
    done = run(module, *(argument.format(**fill) for argument in arguments))
    fails_in_one_line(done, *(text.format(**fill) for text in texts))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--epohcs=3"], "Unknown command line flag 'epohcs'"),
        (["--epochs=x"], "epochs"),
        (["--embedding_dim=1000000000000"], "embedding_dim"),
        (["--blocks_per_stage=100000"], "blocks_per_stage"),
        (["--image_width=1e9"], "image_width"),
        (["--flagfile=no-such.flags"], "no-such.flags"),
        (["epochs=3"], "unexpected argument 'epochs=3'"),
        ([], "run_dir"),
    ],
)
def test_wrong_flags_are_told(arguments, text):
    required = ["--records=x", "--run_dir=y"] if arguments else ["--records=x"]
    done = run("avl_tf.train", *required, *arguments)
    fails_in_one_line(done, text)


@pytest.mark.slow
def test_a_finished_run_can_be_a_stages_parent(folder, cascade, tmp_path):
    flagfile = tmp_path / "zero.flags"
    flagfile.write_text(f"--flagfile={folder}/bb.flags\n--epochs=0\n")
    done = run(
        "avl_tf.cascade",
        f"--run_dir={tmp_path}/run",
        f"--stages=start={flagfile}@{folder}/run/aa",
        f"--evaluate=aa={folder}/aa/evaluation/train",
        "--noexport",
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "run" / "cascade.json").read_text())["rows"]
    table = json.loads((folder / "run" / "cascade.json").read_text())["rows"]
    (expected,) = (
        r["a2v/R@5"]
        for r in table
        if (r["stage"], r["set"], r["when"]) == ("aa", "aa", "final")
    )
    assert [r["a2v/R@5"] for r in rows if r["stage"] == "start"] == [expected] * 2
    text = (tmp_path / "run" / "cascade.md").read_text()
    lines = [[c.strip() for c in line.split("|")[1:4]] for line in text.splitlines()]
    assert ["aa", "target only", f"{folder}/run/aa"] in lines
    assert ["aa", "earlier stage", f"{folder}/run/aa -> start"] in lines


class _Interrupted(Exception):
    pass


def test_a_program_that_does_not_end_costs_only_its_test():
    def interrupt(*_):
        raise _Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    timer = threading.Timer(2, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(_Interrupted):
            run("http.server", "0", "--bind=127.0.0.1")
    finally:
        timer.cancel()
        signal.signal(signal.SIGUSR1, before)
    done = run("data_prep.folder", "--videos=nowhere", "--manifest=m", "--language=sw")
    fails_in_one_line(done, "--videos=nowhere: no such folder.")
