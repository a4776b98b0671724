"""Worker processes of this machine that die in every way."""

import os
import signal
import time

import pytest
from distributed import Nanny

from avl_tf.spreading import processes
from avl_tf.spreading.processes import Processes


def _die_if_odd(number):
    if number % 2:
        os._exit(9)
    return -number


def _slow(number):
    time.sleep(0.3)
    return -number


def _pid(_):
    return os.getpid()


def _leave_pid(folder):
    time.sleep(0.3)
    (folder / str(os.getpid())).touch()
    return folder.name


def _kill(pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("n_workers", [1, 2])
def test_workers_that_die_at_once_ten_times_are_started_again(n_workers):
    found = dict(processes.run(_die_if_odd, range(10), n_workers))
    assert found == {n: None if n % 2 else -n for n in range(10)}


@pytest.mark.slow
def test_workers_that_die_for_longer_than_dask_looks_on_are_started_again():
    # Deaths for some 30 s, twice the time after which dask would give a worker up.
    with Processes(1) as one:
        suspects = []
        finished = [n for n, _ in one.each(_die_if_odd, range(30), suspects)]
    assert sorted(finished + suspects) == list(range(30))
    assert all(number % 2 == 0 for number in finished)


def test_what_each_is_to_load_is_computed_by_all_of_this_machine(tmp_path):
    with Processes(2) as two:
        assert two.run(_leave_pid, tmp_path) == tmp_path.name
        assert len(list(tmp_path.iterdir())) == 1
        assert two.run(_leave_pid, tmp_path, by_each=True) == tmp_path.name
    assert len(list(tmp_path.iterdir())) == 2


def test_all_workers_killed_at_once_are_started_again():
    with Processes(2) as two:
        suspects = []  # a task may be dealt to a worker that is dead already
        results = two.each(_slow, range(8), suspects)
        first, _ = next(results)
        _kill([nanny.pid for nanny in two._cluster.workers.values()])
        found = dict(results) | {task: two.run(_slow, task) for task in suspects}
    assert found == {n: -n for n in range(8) if n != first}


def test_a_worker_whose_nanny_does_not_start_it_again_is_started(monkeypatch):
    monkeypatch.setattr(Nanny, "_on_worker_exit_sync", lambda *_: None)
    with Processes(1) as one:
        pid = one.run(_pid, 0)
        _kill([pid])
        assert one.run(_pid, 0) != pid


@pytest.mark.slow
def test_a_worker_whose_nanny_is_gone_is_started(monkeypatch):
    setting = "distributed.deploy.lost-worker-timeout"  # dask closes the nanny then
    monkeypatch.setitem(processes._SETTINGS, setting, "10 ms")
    found = dict(processes.run(_die_if_odd, range(6), 1))
    assert found == {n: None if n % 2 else -n for n in range(6)}


def test_workers_that_cannot_start_are_told(monkeypatch):
    dying = ["import os; os._exit(9)"]
    monkeypatch.setitem(processes._SETTINGS, "distributed.worker.preload", dying)
    with pytest.raises(ChildProcessError, match="die as they start"):
        list(processes.run(_slow, range(2), 2))


def test_workers_that_can_start_no_more_are_told(monkeypatch, tmp_path):
    dying = [f"import os; os.path.exists({str(tmp_path / 'die')!r}) and os._exit(9)"]
    monkeypatch.setitem(processes._SETTINGS, "distributed.worker.preload", dying)
    monkeypatch.setattr(processes, "_PATIENCE_S", 3.0)
    with Processes(1) as one:
        pid = one.run(_pid, 0)
        (tmp_path / "die").touch()
        _kill([pid])
        with pytest.raises(ChildProcessError, match=r"die as they start \(for \d+ s\)"):
            one.run(_pid, 0)


def _time_out(_):
    raise TimeoutError("its own")


@pytest.mark.parametrize(
    ("function", "error"), [(abs, TypeError), (_time_out, TimeoutError)]
)
def test_what_a_function_raises_is_raised(function, error):
    with Processes(1) as one, pytest.raises(error):
        one.run(function, "x")


class _Large:
    """A result that takes longer to send than the workers are left unwatched."""

    def __reduce__(self):
        time.sleep(1.5)
        return _Large, ()


def _large(_):
    return _Large()


def test_a_result_may_take_its_time():
    with Processes(1) as one:
        assert isinstance(one.run(_large, 0), _Large)


def test_a_caller_may_stop_early():
    with Processes(2) as two:
        waiting = iter(range(100))
        next(two.each(_slow, waiting, []))
        assert two.run(_slow, 200) == -200
        assert next(waiting) <= 4  # the others were not begun
