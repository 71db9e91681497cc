"""The processes that carry out the steps of an experiment: whichever is killed, none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing import active_children
from multiprocessing.connection import wait
from pathlib import Path

from lebm_text.experiments.pool import Pool, block_signals
from lebm_text.experiments.steps import ReportStep
from lebm_text.reports.likelihood import LikelihoodSettings
from lebm_text.run import Run
from lebm_text.store import atomic_write_text

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 60.0  # for what takes a moment, on a busy machine, too


def endless(told: Path, *_: object) -> None:
    """In the place of a step's `perform`: says in which process it is, and does not end."""
    atomic_write_text(told, str(os.getpid()))
    time.sleep(1e6)


def test_a_worker_that_dies_while_it_has_nothing_to_do_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("")
    step = ReportStep(Run(tmp_path).path, LikelihoodSettings(), tmp_path / "eval" / "likelihood.json")
    perform = partial(step.perform, device="cpu")
    with Pool(1, 1) as pool:
        found = pool.call(perform, lambda: False)
        for worker in active_children():
            worker.kill()
            worker.join()
        assert found[0] == 2
        assert pool.call(perform, lambda: False) in {found, (1, "its process was killed")}
        assert pool.call(perform, lambda: False) == found


def test_beside_a_process_that_is_killed_no_other_goes_on(tmp_path: Path) -> None:
    """Its step has failed, too: a training that went on would keep the next attempt from its run."""
    with Pool(2, 1) as pool, ThreadPoolExecutor(2, initializer=block_signals) as threads:
        places = [tmp_path / "a", tmp_path / "b"]
        calls = [threads.submit(pool.call, partial(endless, told), lambda: False) for told in places]
        try:
            for told, call in zip(places, calls, strict=True):
                while not told.exists():
                    assert not call.done()
                    time.sleep(0.05)
            workers = sorted(active_children(), key=lambda worker: worker.name)
            workers[-1].kill()  # the one that was started beside the other
            assert [call.result(SECONDS) for call in calls] == [(1, "its process was killed")] * 2
            assert len(workers) == 2 and all(wait([worker.sentinel], SECONDS) for worker in workers)
        finally:
            for worker in active_children():
                worker.kill()


KILLED = """
import sys
from functools import partial
from pathlib import Path
from lebm_text.experiments.pool import Pool
from tests.lebm_text.experiments.test_pool import endless
with Pool(1, 1) as pool:
    pool.call(partial(endless, Path(sys.argv[1])), lambda: False)
"""


def test_an_experiment_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    told = tmp_path / "told"
    command = [sys.executable, "-c", KILLED, str(told)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        while not told.exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
        try:
            process.communicate(timeout=SECONDS)  # the pipe is open as long as there is a process that inherited it
        except subprocess.TimeoutExpired:
            os.kill(int(told.read_text()), signal.SIGKILL)
            raise
