"""Work done one step ahead: the next results are made in a thread while the caller uses the present one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["prefetch"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def prefetch(
    make: Callable[[_Item], _Result], items: Iterable[_Item], *, ahead: int = 2
) -> Generator[_Result, None, None]:
    """`map(make, items)`, in order, with up to `ahead` results made in one background thread before they are asked for.

    Nothing is made before the first result is asked for. An exception of `make` reaches the caller in place of the
    result that it belongs to. The thread ends with the last result, with an exception, and when the iterator is
    closed; leave it early only under `contextlib.closing`.
    """
    waiting: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        try:
            for item in items:
                waiting.append(thread.submit(make, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
