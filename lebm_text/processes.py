"""One process, or several that work together: who computes which rows of a batch, and how sums are combined.

Each rank draws the noise of the whole batch from one stream and takes its own rows, and gradients are summed over
ranks; up to the rounding of those sums, the result does not depend on the number of processes. Ranks communicate
through `torch.distributed`: gloo for data on the CPU, NCCL for data on CUDA devices.

Importing this module does not import torch: the command line needs the number of processes before it knows
whether there is anything to compute.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from .errors import InputError, LostProcessError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .models.base import Batch
    from .random import RowsRng

__all__ = ["ALONE", "Processes", "Share", "joined", "n_launched"]

T = TypeVar("T")

PATIENCE = timedelta(days=1)  # for a rank that works alone; a dead one is noticed at once


def n_launched() -> int:
    """Return how many processes `torchrun`, or a launcher that sets the same variables, has started; 1 without one.

    Raises InputError if the variable WORLD_SIZE is not a number.
    """
    # Schedulers set WORLD_SIZE for other purposes; together with RANK it is meant for torch.
    size = os.environ.get("WORLD_SIZE", "1") if "RANK" in os.environ else "1"
    if not size.isdecimal():
        raise InputError(f"the variable WORLD_SIZE should be the number of processes, got {size!r}")
    return int(size)


class Processes:
    """This process, `rank`, among the `size` of a run; this class represents a single one."""

    rank = 0
    size = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and logs."""
        return self.rank == 0

    def every(self, value: T) -> list[T]:
        """Return the `value` (any Python object) of each rank, on all ranks; each waits here for all others."""
        return [value]

    def sum_(self, tensor: Tensor) -> None:
        """Replace `tensor` by its sum over ranks, bit-identical on all of them."""

    def first_then_others(self, act: Callable[[], T]) -> T:
        """Return `act()`, called on the first rank before all others, which then find its results in the cache."""
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
        """Return the results of independent `acts`, on all ranks; each act runs on one of them, alone in order.

        They are assigned by decreasing cost, so that acts of equal cost are spread evenly. The first InputError,
        in the order of `acts`, is raised on all ranks, as a single process would raise it.
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

    def agreed(self, wish: T | None, choices: Sequence[T]) -> T | None:
        """Return the first of `choices` that any rank wishes, the same on all ranks; None if there is none."""
        if self.size == 1:
            return wish
        import torch

        votes = torch.tensor([float(wish == choice) for choice in choices])
        self.sum_(votes)
        return next((choice for choice, n in zip(choices, votes.tolist(), strict=True) if n), None)

    def share(self, batch: Batch) -> Share:
        """Return this rank's part of a batch."""
        return Share(batch) if self.size == 1 else _Part(self, batch)


ALONE = Processes()


class Share:
    """The part of a batch that a process computes: all of it if it is alone.

    Attributes:
        batch: its own rows.
        of_rows: its share of sums over all rows, which is 1 for one process.
        of_tokens: its share of sums over tokens.
        of_equals: its share of values that are equal on all ranks.
    """

    of_rows = of_tokens = of_equals = 1.0

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def rows(self, values: Tensor) -> Tensor:
        """Return the own rows of (B, ...) values."""
        return values

    def rng(self, rng: torch.Generator) -> torch.Generator | RowsRng:
        """Return a generator that gives the own rows of `rng`'s draws for all rows."""
        return rng

    def sum(self, own: Tensor) -> Tensor:
        """Return the sum of values of the own rows (b, ...) that count."""
        return own.sum()

    def gather(self, own: Tensor) -> Tensor:
        """Return (B, ...) of all rows from (b, ...) of the own ones, detached and on all ranks."""
        return own.detach()

    def largest(self, own: Tensor) -> Tensor:
        """Return the maximum over ranks of one number; nan is kept."""
        return own

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace the gradients, which all ranks have for the same parameters, by their sums over ranks."""


class _Part(Share):
    """Every `size`-th row of a batch: with the longest rows first, each rank gets about as many tokens.

    A rank without a row takes the first one, to keep its draws in step with the others'; its results do not
    count.
    """

    def __init__(self, processes: Processes, batch: Batch) -> None:
        import torch

        n_rows = len(batch.lengths)
        self._processes, self._n_rows, self._idle = processes, n_rows, processes.rank >= n_rows
        self._rows = torch.tensor([0]) if self._idle else torch.arange(processes.rank, n_rows, processes.size)
        self.batch = batch.select(self._rows)
        self.of_rows = 0.0 if self._idle else len(self._rows) / n_rows
        self.of_tokens = 0.0 if self._idle else self.batch.n_tokens / batch.n_tokens
        self.of_equals = 1 / processes.size

    def rows(self, values: Tensor) -> Tensor:
        return values[self._rows.to(values.device)]

    def rng(self, rng: torch.Generator) -> RowsRng:
        from .random import RowsRng

        return RowsRng(rng, self._rows, self._n_rows)

    def sum(self, own: Tensor) -> Tensor:
        return own.sum() * (0 if self._idle else 1)

    def gather(self, own: Tensor) -> Tensor:
        values = own.new_zeros(self._n_rows, *own.shape[1:])
        if not self._idle:
            values[self._rows.to(own.device)] = own.detach()
        self._processes.sum_(values)
        return values

    def largest(self, own: Tensor) -> Tensor:
        values = own.new_zeros(self._processes.size)
        values[self._processes.rank] = float("-inf") if self._idle else own
        self._processes.sum_(values)
        return values.amax()

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        import torch

        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self._idle:
            for gradient in gradients:
                gradient.zero_()
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        self._processes.sum_(flat)
        for gradient, total in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(total.view_as(gradient))


class _Several(Processes):
    """A process among others connected by `torch.distributed`."""

    def __init__(self) -> None:
        import torch.distributed as dist

        self._dist = dist
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        # Work that the first rank does before the others, such as encoding, may take longer than an exchange should.
        with _peers_needed():
            self._patient = dist.new_group(backend="gloo", timeout=PATIENCE)

    def sum_(self, tensor: Tensor) -> None:
        with _peers_needed():
            self._dist.all_reduce(tensor)

    def every(self, value: T) -> list[T]:
        values: list[T] = [value] * self.size
        with _peers_needed():
            self._dist.all_gather_object(values, value, self._patient)
        return values


@contextmanager
def joined(device: str = "auto") -> Iterator[Processes]:
    """Provide the processes that `torchrun` started, connected; without it, `ALONE`. Nested uses share them.

    Each takes the CUDA device of its local rank, unless `device` is cpu. All wait here for each other, and a run
    whose processes do not all arrive ends after the time-out of `torch.distributed`. Raises InputError if the launcher
    does not set the address.
    """
    if n_launched() == 1:
        yield ALONE
        return
    import torch
    import torch.distributed as dist

    if dist.is_initialized():
        yield _Several()
        return
    cuda = device != "cpu" and torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    try:
        with _peers_needed():
            store, rank, size = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
            # torchrun keeps the store, in which the addresses of an earlier meeting would be found.
            meeting = (store.add("lebm_text.joined", 1) - 1) // size
            store = dist.PrefixStore(str(meeting), store)  # type: ignore[attr-defined]
            dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", store=store, rank=rank, world_size=size)
    except ValueError as error:
        raise InputError(
            f"RANK and WORLD_SIZE are set, but not all that belongs to them ({error}); use torchrun"
        ) from None
    try:
        yield _Several()
    finally:
        # After an exception, too: it informs the others at once that this process has ended.
        dist.destroy_process_group()


@contextmanager
def _peers_needed() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).split("] ", 1)[-1].split(". ")[0]  # without the location in the library's source
        raise LostProcessError(
            f"another process of this run has ended or cannot be reached ({reason}), so this one ends, too; "
            "what it wrote before is whole, and a training goes on from its last checkpoint when it is resumed"
        ) from None
