"""The rows of a report: one contest at one batch size gives one row per precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.measure import interleaved, matmul, peak_memory
from benchmarks.sizes import PRECISIONS
from lebm_text.models.lstm import compute_dtype

__all__ = ["Prepare", "compare"]

# Name of a contestant → what it runs. Ours are named as in PRECISIONS, the others `baseline`, `baseline_autograd`.
Prepare = Callable[[str], Callable[[], object]]


def compare(
    prepare: Prepare,
    *,
    batch: int,
    units: float,
    work: float,
    matmul_size: int,
    repetitions: int,
    memory_of: Prepare,
    errors: Mapping[str, Mapping[str, float | None]],
    autograd: bool = True,
) -> list[dict[str, Any]]:
    """Measure time and memory of all contestants on the same work.

    Args:
        prepare: makes a contestant; one run of it does `units` units (tokens of a step, sentences).
        batch: batch size, for the rows only.
        units: see `prepare`.
        work: operations of the matrix products of one unit.
        matmul_size: side of the square product whose rate is the machine's limit.
        repetitions: runs of each contestant.
        memory_of: like `prepare`, picklable; makes what memory is measured for, each in a new process.
        errors: for each precision, see `accuracy`.
        autograd: whether there is a `baseline_autograd`.
    """
    names = ["baseline", *(["baseline_autograd"] if autograd else []), *PRECISIONS]
    contestants = {name: prepare(name) for name in names}
    contestants |= {f"matmul {p}": matmul(matmul_size, compute_dtype(short)) for p, short in PRECISIONS.items()}
    seconds = interleaved(contestants, repetitions)
    rate = {name: units / seconds[name] for name in names}
    memory = {name: peak_memory(memory_of, name) for name in names if name != "baseline_autograd"}
    rows = []
    for precision in PRECISIONS:
        limit = 2 * matmul_size**3 / seconds[f"matmul {precision}"]
        rows.append(
            {
                "batch": batch,
                "precision": precision,
                "baseline": rate["baseline"],
                "baseline_autograd": rate.get("baseline_autograd"),
                "ours": rate[precision],
                "ratio": rate[precision] / rate["baseline"],
                "ratio_autograd": rate[precision] / rate["baseline_autograd"] if autograd else None,
                "peak_share": rate[precision] * work / limit,
                "matmul_gflops": limit / 1e9,
                **errors[precision],
                "baseline_memory": memory["baseline"]["step"],
                "ours_memory": memory[precision]["step"],
                "memory_ratio": memory["baseline"]["step"] / max(memory[precision]["step"], 1e-3),
                "baseline_process_memory": memory["baseline"]["process"],
                "ours_process_memory": memory[precision]["process"],
            }
        )
    return rows
