"""Work ahead of its use: same results in the same order, errors in their place, no thread left behind."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from lebm_text.text.batching import prefetch

SECONDS = 10.0  # for what takes a moment


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.fixture(autouse=True)
def _none_left() -> Iterator[None]:
    assert _threads() == []
    yield
    assert _threads() == []


@pytest.mark.parametrize("n", [0, 1, 2, 3, 50])
@pytest.mark.parametrize("ahead", [0, 1, 2, 100])
def test_results_are_those_of_map(n: int, ahead: int) -> None:
    assert list(prefetch(lambda i: i * i, range(n), ahead=ahead)) == [i * i for i in range(n)]


def test_so_many_are_made_ahead_and_no_more_and_none_before_the_first_is_asked_for() -> None:
    made: list[int] = []
    third = threading.Event()

    def make(i: int) -> int:
        made.append(i)
        if len(made) == 3:
            third.set()
        return i

    with closing(prefetch(make, itertools.count(), ahead=2)) as results:
        assert made == []
        assert next(results) == 0
        assert third.wait(SECONDS)  # while nobody asks
        assert made == [0, 1, 2]


def test_work_is_done_in_one_other_thread() -> None:
    names = list(prefetch(lambda _: threading.current_thread().name, range(20)))
    assert len(set(names)) == 1
    assert threading.current_thread().name not in names


def test_an_error_comes_in_the_place_of_its_result() -> None:
    results = prefetch(lambda i: 6 // (2 - i), range(5))
    assert [next(results), next(results)] == [3, 6]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert _threads() == []
    assert list(results) == []


def test_an_error_of_the_items_comes_too() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(prefetch(lambda i: i, items()))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_left_early_the_thread_ends_and_what_is_waiting_is_not_made(error: type[BaseException]) -> None:
    begun, go_on = threading.Event(), threading.Event()
    made: list[int] = []

    def make(i: int) -> int:
        made.append(i)
        if i == 1:
            begun.set()
            assert go_on.wait(SECONDS)
        return i

    def use() -> None:
        with closing(prefetch(make, range(100), ahead=5)) as results:
            assert next(results) == 0
            assert begun.wait(SECONDS)
            threading.Timer(0.05, go_on.set).start()
            raise error

    with pytest.raises(error):
        use()
    assert made == [0, 1]
