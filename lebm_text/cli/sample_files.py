"""Which samples `fppl` and `rppl` judge: a text that was named, or a run's, generated where it lacks them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lebm_text.errors import InputError
from lebm_text.files import read_json, sha256_file

from .judging import read_text

if TYPE_CHECKING:
    from lm_eval.protocol import Samples

__all__ = ["SampleFile", "named_samples", "samples_of_run"]


@dataclass(frozen=True)
class SampleFile:
    """A file of samples, its sentences, and what is known of how they were made."""

    path: Path
    label: str
    samples: Samples
    settings: dict[str, Any]


def named_samples(path: Path, n: int | None) -> SampleFile:
    """The first `n` sentences (none: all) of any text; InputError if it is empty or has fewer."""
    return _read(path, "samples", n)


def samples_of_run(
    run: Path, n: int | None, n_train: int, temperatures: Sequence[float], seed: int | None
) -> Iterator[SampleFile]:
    """Samples of a run at each temperature; with neither these nor a seed, the newest that it has.

    Generates, as many as there are training sentences unless `n` says otherwise, where there are none yet.
    """
    wanted = n or n_train
    if not temperatures and seed is None:
        newest = _newest(run, n or 1)
        yield _read(newest or _generate(run, wanted, 1.0, 1), "samples", n)
        return
    for temperature in temperatures or (1.0,):
        path = _generate(run, wanted, temperature, 1 if seed is None else seed)
        yield _read(path, f"samples,T={temperature:g}", wanted)


def _newest(run: Path, n: int) -> Path | None:
    """The newest text in the run's samples/ with at least `n` lines from the run's present weights."""
    usable = [path for path in (run / "samples").glob("*.txt") if _settings(path, run).get("n", 0) >= n]
    return max(usable, key=lambda path: (path.stat().st_mtime_ns, path.name), default=None)


def _generate(run: Path, n: int, temperature: float, seed: int) -> Path:
    """Samples of the run decoded so, from an earlier call or made now by `lebm-text generate`."""
    from .generate import command

    path = run / "samples" / f"n{n}-T{temperature:g}-seed{seed}.txt"
    if _settings(path, run).get("n") != n:
        path.parent.mkdir(exist_ok=True)
        click.get_current_context().invoke(command, n=n, run=run, output=path, temperature=temperature, seed=seed)
    return path


def _settings(path: Path, run: Path) -> dict[str, Any]:
    """How the samples in `path` were made; empty if they are not of the run's present weights."""
    sidecar = _sidecar(path)
    if not path.is_file() or not sidecar.is_file():
        return {}
    facts = read_json(sidecar)
    settings: dict[str, Any] = facts["settings"]
    return settings if facts["weights_sha256"] == sha256_file(run / "model.safetensors") else {}


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _read(path: Path, label: str, n: int | None) -> SampleFile:
    from lm_eval.protocol import Samples

    sentences = read_text(path)
    if n is not None and n > len(sentences):
        raise InputError(f"{path} has {len(sentences):,} sentences, fewer than the {n:,} asked for with -n")
    facts = read_json(_sidecar(path)) if _sidecar(path).is_file() else {}
    made, *details = facts.get("signature", "").split("|")
    decoding = ",".join(made.removeprefix("samples(").removesuffix(")").split(",")[1:])
    details = [detail for detail in details if not detail.startswith("v:")]
    settings = facts.get("settings", {})
    return SampleFile(path, label, Samples(sentences[:n], decoding, tuple(details)), settings)
