"""One process, or several that work together: which rows of a batch are whose, and how sums meet.

Each rank draws the noise of the whole batch from one stream and takes its own rows, and gradients are sums over
ranks; up to the rounding of those sums, what is learned does not depend on the number of processes. Ranks meet
through `torch.distributed`: gloo for what lies on the CPU, NCCL for what lies on CUDA devices.

Importing this module does not import torch: the command line asks it how many processes there are before it knows
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

PATIENCE = timedelta(days=1)  # with a rank that works alone; one that has died is noticed at once


def n_launched() -> int:
    """How many processes `torchrun`, or a launcher that sets the same variables, has started; 1 without one.

    Raises InputError if the variable WORLD_SIZE is no number.
    """
    # Schedulers set WORLD_SIZE for purposes of their own; with a RANK beside it, it is meant for torch.
    size = os.environ.get("WORLD_SIZE", "1") if "RANK" in os.environ else "1"
    if not size.isdecimal():
        raise InputError(f"the variable WORLD_SIZE should be the number of processes, got {size!r}")
    return int(size)


class Processes:
    """This process, `rank`, among the `size` of a run; as it stands here, the only one."""

    rank = 0
    size = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def every(self, value: T) -> list[T]:
        """The `value` (any Python object) of each rank, on all ranks; each waits here for all others."""
        return [value]

    def sum_(self, tensor: Tensor) -> None:
        """Replace `tensor` by its sum over ranks, which is the same to the bit on all of them."""

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

    def agreed(self, wish: T | None, choices: Sequence[T]) -> T | None:
        """The first of `choices` that any rank wishes, the same on all ranks; None if none wishes any."""
        if self.size == 1:
            return wish
        import torch

        votes = torch.tensor([float(wish == choice) for choice in choices])
        self.sum_(votes)
        return next((choice for choice, n in zip(choices, votes.tolist(), strict=True) if n), None)

    def share(self, batch: Batch) -> Share:
        """This rank's part of a batch."""
        return Share(batch) if self.size == 1 else _Part(self, batch)


ALONE = Processes()


class Share:
    """What a process does of a batch: all of it, if it is alone.

    Attributes:
        batch: the own rows.
        of_rows: their part of the sums over all rows, which is 1 for one process.
        of_tokens: the same for sums over tokens.
        of_equals: the part of this process in what all have alike.
    """

    of_rows = of_tokens = of_equals = 1.0

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def rows(self, values: Tensor) -> Tensor:
        """The own rows of (B, ...) values."""
        return values

    def rng(self, rng: torch.Generator) -> torch.Generator | RowsRng:
        """`rng`, of whose draws for all rows the own ones are taken."""
        return rng

    def sum(self, own: Tensor) -> Tensor:
        """The sum of values of the own rows (b, ...), as far as they count."""
        return own.sum()

    def gather(self, own: Tensor) -> Tensor:
        """(b, ...) of the own rows → (B, ...) of all, detached and on all ranks."""
        return own.detach()

    def largest(self, own: Tensor) -> Tensor:
        """The largest over ranks of one number; what is not a number stays so."""
        return own

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace the gradients, which all ranks have of the same parameters, by their sums over ranks."""


class _Part(Share):
    """Every `size`-th row of a batch, so that rows which come longest first give each rank as many tokens.

    A rank that is left without a row takes the first one, to keep step with the others' draws; what it computes of it
    counts nowhere.
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
    """A process among others that `torch.distributed` connects."""

    def __init__(self) -> None:
        import torch.distributed as dist

        self._dist = dist
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        # What the first rank does before all others, encoding a text, may take longer than any exchange should.
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
    """The processes that `torchrun` started, connected inside; without it, `ALONE`. Inside another, the same ones.

    Each takes the CUDA device of its local rank, unless `device` is cpu. All wait here for each other, and a run
    whose processes never all arrive ends after the time-out of `torch.distributed`. Raises InputError if the launcher
    does not say where to meet.
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
            dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    except ValueError as error:
        raise InputError(
            f"RANK and WORLD_SIZE are set, but not all that belongs to them ({error}); use torchrun"
        ) from None
    try:
        yield _Several()
    finally:
        # After an exception, too: it tells the others at once that this process is gone.
        dist.destroy_process_group()


@contextmanager
def _peers_needed() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).split("] ", 1)[-1].split(". ")[0]  # without the place in the library's source
        raise LostProcessError(
            f"another process of this run has ended or cannot be reached ({reason}), so this one ends, too; "
            "what it wrote before is whole, and a training goes on from its last checkpoint when it is resumed"
        ) from None
