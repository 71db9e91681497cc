"""Which samples are judged: a text that was named, or a run's, generated where it lacks them."""

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
    from lm_eval.texts import Samples

__all__ = ["GREEDY", "SAMPLE", "Decoding", "SampleFile", "named_samples", "samples_of_run"]

_SEED = 1  # the default of `lebm-text generate`


@dataclass(frozen=True)
class Decoding:
    """How a run's sentences are decoded: drawn at a temperature, or greedily (then `temperature` is 1)."""

    decode: str = "sample"
    temperature: float = 1.0

    def __str__(self) -> str:
        return "greedy" if self.decode == "greedy" else f"T{self.temperature:g}"

    @property
    def label(self) -> str:
        """As in the report's keys."""
        return "greedy" if self.decode == "greedy" else f"T={self.temperature:g}"


SAMPLE, GREEDY = Decoding(), Decoding("greedy")


@dataclass(frozen=True)
class SampleFile:
    """A file of samples, its sentences, and what is known of how they were made.

    `settings` are those of `lebm-text generate`, empty for a text from elsewhere; `truncated_rate` is the share
    of sentences that it cut at its greatest length, None if that is not known.
    """

    path: Path
    label: str
    samples: Samples
    settings: dict[str, Any]
    truncated_rate: float | None

    @property
    def made(self) -> dict[str, Any]:
        """How the sentences were decoded, for a result: `decode`, `temperature` if they were drawn, `seed`."""
        names = ("decode", "temperature", "seed") if self.settings.get("decode") == "sample" else ("decode", "seed")
        return {name: self.settings[name] for name in names if name in self.settings}


def named_samples(path: Path, n: int | None) -> SampleFile:
    """The first `n` sentences (none: all) of any text; InputError if it is empty or has fewer."""
    return _read(path, "samples", n)


def samples_of_run(
    run: Path, n: int, decodings: Sequence[Decoding], seeds: Sequence[int], *, device: str = "auto"
) -> Iterator[SampleFile]:
    """`n` samples of a run for each decoding and seed, generated where there are none yet.

    With neither decodings nor seeds, the newest samples that were drawn as `lebm-text generate` does by default.
    """
    tokenizer = _tokenizer(run)
    if not decodings and not seeds:
        path = _newest(run, n) or _generate(run, n, SAMPLE, _SEED, device)
        yield _read(path, "samples", n, tokenizer)
        return
    seeds = seeds or (_SEED,)
    for decoding in decodings or (SAMPLE,):
        for seed in seeds:
            label = f"samples,{decoding.label}" + (f",seed={seed}" if len(seeds) > 1 else "")
            yield _read(_generate(run, n, decoding, seed, device), label, n, tokenizer)


def _newest(run: Path, n: int) -> Path | None:
    """The newest text in the run's samples/ with at least `n` lines, by default settings, of the present weights."""
    default = {"decode": "sample", "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    default["max_length"] = read_json(run / "config.json")["text"]["max_length"]
    usable = []
    for path in (run / "samples").glob("*.txt"):
        settings = _settings(path, run)
        if settings.get("n", 0) >= n and settings.items() >= default.items():
            usable.append(path)
    return max(usable, key=lambda path: (path.stat().st_mtime_ns, path.name), default=None)


def _generate(run: Path, n: int, decoding: Decoding, seed: int, device: str) -> Path:
    """Samples of the run decoded so, from an earlier call or made now by `lebm-text generate`."""
    from .generate import command

    path = run / "samples" / f"n{n}-{decoding}-seed{seed}.txt"
    asked = {"n": n, "decode": decoding.decode, "temperature": decoding.temperature, "seed": seed}
    if not _settings(path, run).items() >= asked.items():
        path.parent.mkdir(exist_ok=True)
        click.get_current_context().invoke(command, run=run, output=path, device=device, **asked)
    return path


def _tokenizer(run: Path) -> str:
    """What a run's text is made of before it is split into words, for signatures."""
    kind = str(read_json(run / "config.json")["text"]["tokenizer"])
    return kind if kind == "word" else f"{kind}>word"


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


def _read(path: Path, label: str, n: int | None, tokenizer: str = "word") -> SampleFile:
    from lm_eval.texts import Samples

    sentences = read_text(path)
    if n is not None and n > len(sentences):
        raise InputError(f"{path} has {len(sentences):,} sentences, fewer than the {n:,} asked for with -n")
    facts = read_json(_sidecar(path)) if _sidecar(path).is_file() else {}
    if facts.get("sha256") != sha256_file(path):
        facts = {}  # not of this text, or not by `lebm-text generate`
    made, *details = facts.get("signature", "").split("|")
    decoding = ",".join(made.removeprefix("samples(").removesuffix(")").split(",")[1:])
    details = [detail for detail in details if not detail.startswith("v:")]
    whole = n is None or n == len(sentences)
    return SampleFile(
        path,
        label,
        Samples(sentences[:n], decoding, tuple(details), tokenizer),
        facts.get("settings", {}),
        facts["rates"]["truncated"] if facts and whole else None,
    )
