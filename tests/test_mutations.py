"""Damaged files of every kind, a few of each; tests/mutations.py tries thousands."""

import re
import sys

import pytest

from tests import bounded, mutation_worker
from tests.bounded import Bounded
from tests.mutation_kinds import KINDS
from tests.mutations import try_mutations

N = 30
N_OF_RECORDS = 12  # which take a second each, for what TensorFlow traces


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    with Bounded(tmp_path_factory.mktemp("worker") / "log") as one:
        yield one


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_gives_a_result_or_one_clear_line(kind, worker, tmp_path):
    n = N_OF_RECORDS if kind in ("spec.json", "shard") else N
    tried = list(try_mutations(kind, range(n), 0, tmp_path / "file", worker))
    faults = {number: found.fault for number, _, found in tried if found.fault}
    assert not faults
    assert any(found.told for _, _, found in tried)
    assert len({file for _, file, _ in tried}) > n / 2


def test_mutations_are_the_same_again(worker, tmp_path):
    first, again = (
        [file for _, file, _ in try_mutations("wav", range(5), 1, folder, worker)]
        for folder in (tmp_path / "first", tmp_path / "again")
    )
    other = try_mutations("wav", range(5), 2, tmp_path / "other", worker)
    assert first == again != [file for _, file, _ in other]


_WORKER = "import sys, json, os, time\nfor line in sys.stdin: "


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("time.sleep(60)", "no end in 5 s"),
        ("os.kill(os.getpid(), 11)", r"it died \(-11\)"),
        ("kept = b'x' * (200 << 20); time.sleep(60)", "it outgrows"),
        ("print(json.dumps(['', '', 0.1, 200 << 20]), flush=True)", "it outgrew"),
        ("print(json.dumps(['a traceback', '', 0.1, 0]), flush=True)", "a traceback"),
    ],
)
def test_what_harms_the_worker_is_a_fault(monkeypatch, tmp_path, code, fault):
    monkeypatch.setattr(bounded, "_COMMAND", [sys.executable, "-c", _WORKER + code])
    monkeypatch.setattr(bounded, "DEADLINE_S", 5)
    monkeypatch.setattr(bounded, "MOST_GROWTH", 100 << 20)
    monkeypatch.setattr(bounded, "_crowd", lambda: 1.0)
    with Bounded(tmp_path / "log") as one:
        assert re.match(fault, one.use("wav", tmp_path).fault)


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        ("error: file.wav: no sound.\n", ""),
        ("error: \n", "no message"),
        ("", "no message"),
        ("a warning\nerror: file.wav: no sound.\n", "no message"),
        ("error: two\nlines\n", "several lines"),
        ("error: \x1b[31mred\n", "several lines"),
        (f"error: {'x' * 601}\n", "a message of 601"),
    ],
)
def test_a_clear_line_is_told_from_others(told, fault):
    assert mutation_worker.unclear(told).startswith(fault)
    assert bool(mutation_worker.unclear(told)) == bool(fault)
