"""The worker processes that carry out steps of an experiment, and what becomes of a step."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event
from threading import Lock, Thread

from lebm_text.errors import InputError
from lebm_text.progress import Progress, silent

__all__ = ["Outcome", "Perform", "Pool", "block_signals", "outcome"]

_STOPPED = 130, "stopped"
_SECONDS_BETWEEN_LOOKS = 0.2

Outcome = tuple[int, str]  # exit status, and the error message
Perform = Callable[[Progress, Callable[[], bool]], None]  # `perform` of a step, called with on_progress and should_stop


class Pool:
    """A pool of worker processes that run steps; if a process dies, the running steps fail and the pool is replaced."""

    def __init__(self, n_jobs: int, n_threads: int) -> None:
        self._context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
        self._n_jobs, self._n_threads, self._lock = n_jobs, n_threads, Lock()
        self._start()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_error: object) -> None:
        self._executor.shutdown(cancel_futures=True)

    def call(self, perform: Perform, should_stop: Callable[[], bool]) -> Outcome:
        """Perform a step and return its outcome; the step is stopped once `should_stop` returns true."""
        with self._lock:
            try:
                future = self._submit(perform)
            except BrokenProcessPool:  # an idle worker died
                self._replace()
                future = self._submit(perform)
            executor = self._executor
        while True:
            try:
                return future.result(timeout=_SECONDS_BETWEEN_LOOKS)
            except StillRunning:
                if should_stop():
                    self._stop.set()
            except BrokenProcessPool:
                with self._lock:
                    if self._executor is executor:
                        self._replace()
                return 1, "its process was killed"

    def _submit(self, perform: Perform) -> Future[Outcome]:
        future = self._executor.submit(_work, perform)
        # An executor learns only from its next item that it has to watch the worker which it started for the last one.
        self._executor.submit(int)
        return future

    def _replace(self) -> None:
        # The executor ends its other workers by a signal that they block: they would go on with what counts as failed.
        for worker in [*(self._executor._processes or {}).values()]:
            worker.kill()
        self._start()

    def _start(self) -> None:
        self._stop = self._context.Event()  # a new one: a process that was killed may have held the lock of the old one
        arguments = self._stop, self._n_threads
        self._executor = ProcessPoolExecutor(self._n_jobs, self._context, initializer=_begin_worker, initargs=arguments)


def block_signals() -> None:
    """Block signals in this thread and its worker processes, so that only the main thread handles Ctrl-C."""
    if hasattr(signal, "pthread_sigmask"):  # not on Windows
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))


_stop_event: Event | None = None  # set by _begin_worker in worker processes


def _begin_worker(stop: Event, n_threads: int) -> None:
    global _stop_event
    _stop_event = stop
    Thread(target=_end_with_parent, daemon=True).start()

    import torch

    torch.set_num_threads(n_threads)


def _end_with_parent() -> None:
    """If the parent is killed, its workers would finish their steps unseen, and then wait for more without end."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(perform: Perform) -> Outcome:
    assert _stop_event is not None
    return outcome(perform, silent, _stop_event.is_set)


def outcome(perform: Perform, on_progress: Progress, should_stop: Callable[[], bool]) -> Outcome:
    """Perform a step in this process and return its outcome."""
    try:
        perform(on_progress, should_stop)
    except InputError as error:
        return 2, str(error)
    except KeyboardInterrupt:
        return _STOPPED
    except Exception as error:
        return 1, f"{type(error).__name__}: {error}"
    return 0, ""
