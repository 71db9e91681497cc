"""One process, or one of several that each do their part of a work; what they tell each other are Python's objects.

The base of `lebm_text.processes`, apart from it because it imports neither torch nor any other large package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from .errors import InputError

__all__ = ["Peers"]

T = TypeVar("T")


class Peers:
    """This process, `rank`, among the `size` of a run; as it stands here, the only one."""

    rank = 0
    size = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def every(self, value: T) -> list[T]:
        """The `value` of each rank, on all ranks; each waits here for all others."""
        return [value]

    def first_then_others(self, act: Callable[[], T]) -> T:
        """`act()`, on the first rank before all others: they find in the cache what it left there."""
        if not self.first:
            self.every(None)
        result = act()
        if self.first:
            self.every(None)
        return result

    def require_same(self, what: str, value: str) -> None:
        """Raise InputError, on all ranks, unless `value` is the same on all."""
        if len(set(self.every(value))) > 1:
            raise InputError(f"the processes of this run do not have the same {what}; start all of them alike")

    def each(self, acts: Sequence[Callable[[], T]], costs: Sequence[float]) -> list[T]:
        """What independent `acts` return, on all ranks; each act is done on one of them, alone in the given order.

        They are dealt out by falling cost, so that acts which cost alike are spread evenly. The first InputError,
        in the order of `acts`, is raised on all ranks, as it would be by one.
        """
        dealt = sorted(range(len(acts)), key=lambda i: -costs[i])
        done: dict[int, T] = {}
        failed: dict[int, InputError] = {}
        for i in sorted(dealt[self.rank :: self.size]):
            try:
                done[i] = acts[i]()
            except InputError as error:
                failed[i] = error
                break
        for theirs, errors in self.every((done, failed)):
            done, failed = done | theirs, failed | errors
        if failed:
            raise failed[min(failed)]
        return [done[i] for i in range(len(acts))]
