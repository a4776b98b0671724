"""The harness on tiny sizes: its figures say nothing here, its checks and rows do."""

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from programs import environment, fails_in_one_line, run

from benchmarks import cost_model, duel, export, flops, machine, rows, search, steps
from benchmarks import run as groups
from benchmarks.duel import Side
from benchmarks.rows import Row

RANKS = {"n": 20, "dim": 4, "n_warm_ups": 1}
# make bench installs them.
OTHERS = [importlib.util.find_spec(name) for name in ("torch", "librosa")]


def _check_rows(path, *names):
    found = json.loads(path.read_text())
    by_name = {row["name"]: row for row in found}
    assert set(names) <= set(by_name)
    for row in found:
        assert tuple(row)[:6] == rows.HEADER
        assert {"repeats", "range", "apart", "device"} <= set(row)
        if "machine" in row:
            assert row["machine"]["cpu"] and row["machine"]["cores"]
            assert {"python", "numpy"} <= set(row["machine"]["versions"])
            assert len(row["load"]) == 2 and row["group_s"] >= 0
        assert row["ours"] > 0 and row["other"] > 0
        ratio = row["ours"] / row["other"]
        if not row["unit"].endswith(("/s", "/CPU-s")):
            ratio = 1 / ratio
        assert row["ratio"] == pytest.approx(ratio)
    return by_name


@pytest.mark.slow
def test_a_step_of_two_languages_stands_beside_its_branches(tmp_path):
    path = tmp_path / "results.json"
    run("benchmarks.run", "--quick", "--only=bilingual", f"--out={path}")
    _check_rows(path, "bilingual_step")


def test_ratio_is_above_one_where_ours_is_better():
    assert Row("a", 2.0, 8.0, "theirs", "s").ratio == 4
    assert Row("a", 500.0, 250.0, "theirs", "MB").ratio == 0.5
    assert Row("a", 8.0, 2.0, "theirs", "clips/s").ratio == 4
    assert Row("a", 8.0, 2.0, "theirs", "clips/CPU-s").ratio == 4
    assert Row("a", 8.0, 2.0, "theirs", "CPU-s/h").ratio == 0.25


def test_rows_of_a_later_run_replace_those_of_the_same_name(tmp_path):
    path = str(tmp_path / "results.json")
    first = [Row(name, 1.0, 2.0, "theirs", "s").to_json() for name in "ab"]
    rows.write(path, rows.merged([], first))
    again = Row("a", 1.0, 3.0, "theirs", "s").to_json()
    rows.write(path, rows.merged(rows.read(path), [again]))
    assert [(row["name"], row["ratio"]) for row in rows.read(path)] == [
        ("a", 3.0),
        ("b", 2.0),
    ]
    lines = rows.table(rows.read(path)).splitlines()
    assert len({len(line) for line in lines}) == 1 and len(lines) == 4
    (tmp_path / "results.json").write_text('[{"name": "a"}]')
    with pytest.raises(ValueError, match="not a file of results"):
        rows.read(path)


def test_a_row_whose_two_runs_are_apart_is_marked():
    steady = Row("a", 1, 2, "theirs", "s", "", (1, 1.1, 1.14), (2, 2))
    moved = Row("b", 1, 2, "theirs", "s", "", (1, 1, 1), (2.0, 3.5, 2.4))
    once = Row("c", 1, 2, "theirs", "s")
    assert steady.apart == pytest.approx(1.14) and moved.apart == pytest.approx(1.2)
    found = [row.to_json() for row in (steady, moved, once)]
    assert [one["repeats"] for one in found] == [[3, 2], [3, 3], [1, 1]]
    assert found[1]["range"] == [[1, 1], [2.0, 3.5]] and once.apart is None
    table = rows.table(found)
    assert "| b *  |" in table and "more than 15 % apart" in table
    assert "| a    |" in table and "| c    |" in table
    assert "apart" not in rows.table(found[::2])
    hidden = Row("a", 1, 3, "theirs", "s", "", (1, 1), (3, 5)).to_json()
    table = rows.table(found[::2], [hidden]).splitlines()
    assert table[0].endswith("| ratio, AVX2 |")
    assert table[2].endswith(" 3 * |") and table[3].endswith("|             |")


def test_the_machine_of_a_row_is_named():
    found = machine.describe()
    assert found["cpu"] and found["cores"] == len(os.sched_getaffinity(0))
    assert found["versions"]["tensorflow"] and machine.load() >= 0
    if "avx2" in pathlib.Path("/proc/cpuinfo").read_text():
        assert found["instruction_set"] in ("AVX2", "AVX-512")


@pytest.mark.parametrize("module", ["benchmarks.run", "benchmarks.cost_model"])
def test_flags_are_read_without_tensorflow(module):
    code = f"import sys, {module}; print('tensorflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True
    )
    assert done.stdout.strip() == "False", done.stderr


def test_check_equal_refuses_other_work():
    assert "1e-05" in duel.check_equal("x", [1.0, 2.0], [1.0, 2.00001], 1e-4)
    for other in ([1.0, 2.1], [1.0, np.nan], [1.0]):
        with pytest.raises(ValueError, match="x: "):
            duel.check_equal("x", [1.0, 2.0], other, 1e-4)


def test_operations_of_a_model_counted_by_hand():
    # 8 frames of 2 bins to width 3, one stage of one block to width 4: 4 steps.
    audio = 8 * 2 * 3 + 4 * (9 * 3 * 4 + 9 * 4 * 4 + 3 * 4)
    heads = 4 * 4 + 4 * 4 + 4 * 6 + 5 * 6 + 6 * 6
    counted = flops.avlnet(8, 2, (3, 4), 1, visual_dim=5, embedding_dim=6)
    assert counted == 2 * (audio + heads)
    assert flops.avlnet() == pytest.approx(8e9, rel=0.02)
    # Published: 11.3e9 multiplications with the stride in the first convolution.
    assert 11.3e9 < flops.resnet152() / 2 < 11.7e9


def test_sides_take_turns_and_tell_what_went_wrong(tmp_path, monkeypatch):
    found = [str(tmp_path / f"{i}.npz") for i in range(2)]
    order = []
    repeat = Side.repeat
    monkeypatch.setattr(
        Side, "repeat", lambda self: order.append(self.program) or repeat(self)
    )
    with (
        Side("ranks_counted", **RANKS, n_cores=1, found=found[0]) as ours,
        Side("ranks_sorted", **RANKS, n_cores=1, found=found[1]) as other,
    ):
        runs = duel.in_turns(2, ours, other)
        ours._process.kill()
        with pytest.raises(ValueError, match="ranks_counted ended with status -9"):
            ours.repeat()
    assert order[:4] == ["ranks_counted", "ranks_sorted"] * 2
    assert [len(of) for of in runs] == [2, 2] and runs[0][0]["wall_s"] > 0
    np.testing.assert_array_equal(*(np.load(path)["rank"] for path in found))
    with pytest.raises(ValueError, match="ranks_sorted ended.*KeyError: 'found'"):
        with Side("ranks_sorted", **RANKS):
            pass


def test_quick_run_writes_rows_and_keeps_those_of_other_groups(tmp_path):
    out = tmp_path / "results.json"
    kept = Row("kept", 1.0, 2.0, "theirs", "s")
    rows.write(str(out), [kept.to_json()])
    done = run("benchmarks.run", "--quick", "--only=ranks", f"--out={out}")
    assert not done.returncode, done.stderr
    by_name = _check_rows(
        out, "kept", "ranks_3350", "ranks_10k", "embedding_ranks_100k"
    )
    shown = run("benchmarks.run", "--show", f"--out={out}")
    assert shown.stdout == done.stdout
    assert all(name in shown.stdout for name in by_name)
    if not machine.has_avx512():
        fails_in_one_line(run("benchmarks.run", "--avx2", "--quick"), "no AVX-512")
        return
    again = ("--quick", "--only=ranks", "--avx2", f"--out={out}")
    done = run("benchmarks.run", *again)
    assert not done.returncode, done.stderr
    hidden = _check_rows(tmp_path / "results_avx2.json", "ranks_3350")
    assert hidden["ranks_3350"]["machine"]["hidden"]["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    shown = run("benchmarks.run", "--show", f"--out={out}")
    assert "ratio, AVX2" in shown.stdout


def test_every_module_that_measures_is_a_group():
    folder = pathlib.Path(groups.__file__).parent
    measuring = {
        path.stem for path in folder.glob("*.py") if "def measure(" in path.read_text()
    }
    assert measuring == {*groups.GROUPS, *groups.OTHER_GROUPS}


def test_programs_say_what_is_wrong(tmp_path):
    fails_in_one_line(
        run("benchmarks.run", "--only=speed"), "speed", "log_mel, reading"
    )
    absent = tmp_path / "absent.json"
    fails_in_one_line(run("benchmarks.run", "--show", f"--out={absent}"), "make bench")
    fails_in_one_line(run("benchmarks.cost_model", f"--results={absent}"), "make bench")


def test_cost_model_reckons_from_rows(tmp_path):
    figures = {
        name: Row(name, ours, other, "theirs", "").to_json()
        for name, ours, other in (
            ("recording_size", 7.0, 14.0),
            ("log_mel", 2.0, 4.0),
            ("records_vs_npz", 3200.0, 320.0),
            ("train_step_full", 1.6, 3.2),
            ("extract_cpu", 72.0, 64.0),
        )
    }
    given = {"minutes": 13.0, "epochs": 10, "clips_per_recording": 36}
    found = cost_model.costs(figures, **given, gpu_flop_per_s=1e12)
    one = {what: figure for what, _, figure in found}
    assert one["our records"] == 14 and one["authors' npz"] == 28
    assert one["log-mel"] * 3600 == pytest.approx(78 * 0.002)
    assert one["extraction with EfficientNet-Lite0"] == pytest.approx(0.02 * 13 / 60)
    assert one["reading our records"] * 3600 == pytest.approx(360 / 3200)
    assert one["training on this machine"] * 3600 == pytest.approx(36)
    assert one["training"] == pytest.approx(3 * flops.avlnet() * 360 / 3600e12)
    rows.write(str(tmp_path / "results.json"), figures.values())
    done = run("benchmarks.cost_model", f"--results={tmp_path}/results.json")
    assert not done.returncode, done.stderr
    assert "1.2M" in done.stdout and "8,400" in done.stdout
    assert "1,549 clips of 10 s a second, 12.1 steps of 128." in done.stdout
    del figures["log_mel"]
    del figures["extract_cpu"]  # the one that need not be there
    with pytest.raises(ValueError, match="no row log_mel"):
        cost_model.costs(figures, **given, gpu_flop_per_s=1e12)


@pytest.mark.slow
def test_our_sides_run(tmp_path):
    (row,) = export.measure(quick=True)
    assert row.name == "export_latency" and row.ratio > 0
    made = {"n_recordings": 2, "n_seconds": 20, "dim": 16}
    reading = {"folder": f"{tmp_path}/made", "recordings": made, "clip_s": 2.0}
    batches = {"batch_size": 64, "n_batches": 3, "found": f"{tmp_path}/batch.npz"}
    with Side("records_tensorflow", **reading, **batches) as side:
        assert side.repeat()["n_clips"] == 192
    assert np.load(batches["found"])["log_mel"].shape == (64, 200, 40)
    model = {"clips": steps.QUICK_CLIPS, "model": steps.QUICK_MODEL}
    with Side("avlnet_tensorflow", work="training", **model) as side:
        losses = [side.ready["loss"], side.repeat()["loss"]]
    assert 0 < losses[1] < losses[0]


@pytest.mark.slow
def test_quick_extraction_has_its_floor_beside_it(tmp_path):
    out = tmp_path / "results.json"
    done = run("benchmarks.run", "--quick", "--only=extraction", f"--out={out}")
    assert not done.returncode, done.stderr
    found = _check_rows(out, "extract_bytes", "extract_memory", "extract_two_workers")
    whole, decoding, cnn = (
        found[f"extract_{name}"]["other"] for name in ("cpu", "decoding", "cnn")
    )
    assert whole == pytest.approx(decoding + cnn, rel=0.2)
    assert 0.5 < found["extract_cpu"]["ratio"] < 1.1
    assert found["extract_key_frames"]["ratio"] > 1.2


def test_quick_search_of_vectors_finds_what_is_exact(tmp_path):
    time_row, memory = search._vectors(str(tmp_path), 2000, 32, n_queries=20)
    recall = float(re.search(r"recall@10 ([\d.]+) of exact", time_row.note)[1])
    assert recall > 0.95 and time_row.unit == "ms" and memory.ours < memory.other


@pytest.mark.slow
@pytest.mark.skipif(None in OTHERS, reason="`make bench` installs PyTorch and librosa")
def test_quick_run_has_all_rows_and_both_sides_agree(tmp_path):
    out = tmp_path / "results.json"
    done = run("benchmarks.run", "--quick", f"--out={out}")
    assert not done.returncode, done.stderr
    _check_rows(
        out,
        "train_step_full",
        "inference_full",
        "pipeline_vs_step",
        "log_mel",
        "records_vs_npz",
        "ranks_10k",
    )
    done = run("benchmarks.cost_model", f"--results={out}")
    assert not done.returncode, done.stderr


@pytest.mark.slow
def test_quick_run_of_the_groups_that_are_named_has_their_rows(tmp_path):
    out = tmp_path / "results.json"
    named = f"--only={','.join(groups.OTHER_GROUPS)}"
    done = run("benchmarks.run", "--quick", named, f"--out={out}")
    assert not done.returncode, done.stderr
    _check_rows(out, "index_cpu", "index_add", "vectors_search", "sweep_cpu")
