"""Samples as files: written with a record of how they were made, found again in a run, generated if missing.

The record of TEXT.txt is TEXT.txt.json next to it; one with another sha256 than the text's is ignored.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lebm_text import __version__
from lebm_text.checks import (
    MAX_GUIDANCE,
    MAX_PRIOR_TEMPERATURE,
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    Checked,
    from_plain,
    in_range,
    setting,
)
from lebm_text.errors import InputError
from lebm_text.processes import ALONE, Processes
from lebm_text.progress import Progress, counter, silent
from lebm_text.run import Run
from lebm_text.store import atomic_write_json, atomic_writer, check_ending, check_writable, is_plain, read_json
from lebm_text.text.reading import read_text

from .settings import DecodeSettings

if TYPE_CHECKING:
    from lebm_text.model import LatentEBM

    from .generate import Generated, Generation
    from .latents import Latents, PosteriorLatents

__all__ = ["Decoding", "SampledText", "check_samples_writable", "describe_rates", "read_samples"]
__all__ += ["SAMPLES", "USUAL", "samples_of_run", "write_samples"]

SAMPLES = "samples"
"""Label of a text without a name of its own; those of a run follow it with their decoding, such as `samples,T=1`."""

USUAL: dict[str, Any] = {
    "prior_temperature": 1.0,
    "guidance": 1.0,
    "latents": "prior",
    "label": None,
    "prior_steps": None,
    "no_unk": False,
}
"""What a record of samples means by a setting that it leaves out."""

_SEED = 1  # of samples for which no seed is given

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decoding:
    """How a run's sentences are made: sampled at a temperature, or greedily (then `temperature` is 1).

    `latents`: source of z: the prior, long (its chain with ten times the steps), or posterior (training text's z⁺).
    """

    decode: str = "sample"
    temperature: float = 1.0
    prior_temperature: float = 1.0
    guidance: float = 1.0
    latents: str = "prior"

    def __str__(self) -> str:
        prior = f",prior_T={self.prior_temperature:g}" if self.prior_temperature != 1 else ""
        guidance = f",guidance={self.guidance:g}" if self.guidance != 1 else ""
        latents = f",z={self.latents}" if self.latents != "prior" else ""
        return ("greedy" if self.decode == "greedy" else f"T={self.temperature:g}") + prior + guidance + latents


@dataclass(frozen=True)
class _Settings(Checked):
    """The generation settings that are read back."""

    n: int = 0
    seed: int | None = None
    decode: str | None = None
    temperature: float | None = setting(None, in_range, MIN_TEMPERATURE, MAX_TEMPERATURE)
    prior_temperature: float | None = setting(None, in_range, 0.0, MAX_PRIOR_TEMPERATURE, open_start=True)
    guidance: float | None = setting(None, in_range, 0.0, MAX_GUIDANCE)
    latents: str | None = None


@dataclass(frozen=True)
class _Rates:
    truncated: float


@dataclass(frozen=True)
class _Record:
    """The required content of a text's record: the part of `_describe` that is read back."""

    signature: str
    settings: _Settings
    rates: _Rates


@dataclass(frozen=True)
class SampledText:
    """Sentences, and what is known about how they were made.

    Attributes:
        label: their name in a report.
        path: of their file, if any.
        sha256: of that file, or of one with these lines.
        settings: of generation; empty for a text from elsewhere.
        truncated_rate: the share that generation cut at the maximum length; None if unknown.
        signature: of generation, without the version; empty for a text from elsewhere.
        tokenizer: units of the text before it was split into words.
    """

    sentences: Sequence[str]
    label: str
    path: Path | None
    sha256: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    truncated_rate: float | None = None
    signature: str = ""
    tokenizer: str = "word"


def _describe(generated: Generated | Generation, run: Run) -> dict[str, Any]:
    """Return the record of sentences of a run, ready for JSON."""
    return {
        "signature": generated.signature,
        "settings": generated.settings,
        "seed": generated.settings["seed"],
        "rates": generated.rates,
        "run": str(run),
        "weights_sha256": run.weights_sha256,
        "version": __version__,
    }


def record_file(path: Path) -> Path:
    """Return the path of the record of the text in `path`."""
    return path.with_name(f"{path.name}.json")


def check_samples_writable(path: Path) -> None:
    """Raise InputError unless a text can be written to `path`, and its record next to it if `path` is no device."""
    check_ending(path, "sentences are plain lines", ".txt", compressed=True)
    check_writable(path)
    if is_plain(path):
        check_writable(record_file(path))
        if not is_plain(record_file(path)):
            raise InputError(f"{record_file(path)}, where the record goes, is no regular file; name another text")


def write_samples(path: Path | None, generated: Generated | Generation, run: Run) -> dict[str, Any]:
    """Write the sentences of a run, one per line, as they are generated, and return their record.

    Without a `path` the record contains them, as `sentences`; otherwise it is written too, unless `path` is a pipe or
    a device.
    """
    if path is None:
        sentences = [sentence for part in generated.parts() for sentence in part]
        return _describe(generated, run) | {"sentences": sentences}
    digest = hashlib.sha256()  # of the lines, uncompressed, as in `read_text`
    places = [path, record_file(path)] if is_plain(path) else [path]
    with atomic_writer(path) as text:
        for part in generated.parts():
            lines = "".join(f"{sentence}\n" for sentence in part).encode()
            digest.update(lines)
            text.write(lines)
    record = _describe(generated, run) | {"file": str(path), "sha256": digest.hexdigest()}
    for place in places[1:]:
        atomic_write_json(place, record)
    n, rates = generated.settings["n"], describe_rates(record["rates"])
    logger.info(f"{n:,} sentence{'s' * (n != 1)} from {run}, in {' and '.join(map(str, places))}; {rates}")
    return record


def describe_rates(rates: Mapping[str, float]) -> str:
    """Format `Generation.rates` as one line."""
    names = {"empty": "empty", "truncated": "truncated", "unk": "with <unk>", "duplicate": "duplicates"}
    return ", ".join(f"{rates[key]:.1%} {name}" for key, name in names.items())


def read_samples(
    source: Path | Sequence[str],
    n: int | None = None,
    label: str = SAMPLES,
    tokenizer: str = "word",
    column: str | None = None,
) -> SampledText:
    """Return the first `n` sentences (None: all) of a list, or of a file of any format of `sources.raw_records`.

    Args:
        source: the file or the list.
        n: number of sentences.
        label: their name in a report.
        tokenizer: units of the text before it was split into words.
        column: of the file, with the sentences; None: `text`, `sentence`, or the only one with strings.

    Raises:
        InputError: the text is unreadable, empty, lacks the column or enough sentences; its record is damaged.
    """
    path = source if isinstance(source, Path) else None
    if isinstance(source, Path):
        text = read_text(source, column)
        sentences, sha256 = text.lines, text.sha256
    else:
        sentences = list(source)
        sha256 = hashlib.sha256("".join(f"{sentence}\n" for sentence in sentences).encode()).hexdigest()
    if n is not None and n > len(sentences):
        name = "the list of samples" if path is None else path
        raise InputError(f"{name} has {len(sentences):,} sentences, fewer than the {n:,} asked for")
    record: Mapping[str, Any] = {}
    if path is not None and record_file(path).is_file():
        record = read_json(record_file(path))
    if record.get("sha256") != sha256:
        return SampledText(sentences[:n], label, path, sha256, tokenizer=tokenizer)
    try:
        made = from_plain(_Record, record)
    except InputError as error:
        advice = "make the samples again, or delete this file to have them judged as a text from elsewhere"
        raise InputError(f"{path}.json is damaged: {error}; {advice}") from None
    truncated = made.rates.truncated if n in (None, len(sentences)) else None
    signature = made.signature.rpartition("|v:")[0]
    return SampledText(sentences[:n], label, path, sha256, record["settings"], truncated, signature, tokenizer)


def samples_of_run(
    run: Run,
    n: int,
    decodings: Sequence[Decoding] = (),
    seeds: Sequence[int] = (),
    *,
    device: str = "auto",
    on_progress: Progress = silent,
    processes: Processes = ALONE,
) -> list[SampledText]:
    """Return `n` samples of a run for each decoding and seed, from its samples/ or newly generated into it.

    With neither decodings nor seeds, the newest samples drawn with the default settings are used.

    Args:
        run: whose model generates them.
        n: number of sentences of each text.
        decodings: how sentences are made.
        seeds: of the noise.
        device: for generation.
        on_progress: reports the sentences generated.
        processes: that share the generation.

    Raises:
        InputError: the run has no weights, or is damaged.
    """
    kind = run.config.text.tokenizer
    tokenizer = kind if kind == "word" else f"{kind}>word"
    if not decodings and not seeds:
        newest = processes.every(_newest(run, n))[0]  # that of the first process, so that all read the same
        if newest is not None:
            return [_as_recorded(newest, n, SAMPLES, tokenizer)]
        wanted = [(SAMPLES, Decoding(), _SEED)]
    else:
        pairs = product(decodings or (Decoding(),), seeds or (_SEED,))
        wanted = [(f"{SAMPLES},{how}" + f",seed={seed}" * (len(seeds) > 1), how, seed) for how, seed in pairs]
    model, found = None, []
    posteriors: dict[int, PosteriorLatents] = {}
    for label, decoding, seed in wanted:
        name = str(decoding).replace("=", "").replace(",", "-")
        path = run.sample_file(f"n{n}-{name}-seed{seed}.txt")
        asked = _asked(run, decoding) | {"n": n, "seed": seed}
        record = next((text.record for text in run.samples() if text.path == path), {})
        if processes.every(not _settings(run, record).items() >= asked.items())[0]:
            model = model or run.model(device=device)
            show = counter(on_progress, f"sentences generated, {decoding}", n)
            generated = model.stream(
                n, DecodeSettings(decoding.decode, decoding.temperature), seed=seed,
                latents=_latents(run, model, decoding, n, seed, posteriors), guidance=decoding.guidance,
                on_progress=show, processes=processes,
            ).all()  # fmt: skip
            # The others read what the first one has written, if it was able to.
            if not processes.every(processes.first and _kept(path, generated, run))[0]:
                found.append(_unkept(generated, label, tokenizer))
                continue
        found.append(_as_recorded(path, n, label, tokenizer))
    return found


def _as_recorded(path: Path, n: int, label: str, tokenizer: str) -> SampledText:
    """Read samples of a run, which must have a valid record: only that states their decoding."""
    found = read_samples(path, n, label, tokenizer)
    if not found.settings:
        raise InputError(
            f"{path} was changed after it was generated; delete it to have it made again, or name the file as samples, "
            "to have it judged as a text from elsewhere"
        )
    return found


def _latents(
    run: Run, model: LatentEBM, decoding: Decoding, n: int, seed: int, posteriors: dict[int, PosteriorLatents]
) -> Latents:
    """Return where z comes from: the prior, or z⁺ of n random training sentences that the model can read, or of all.

    `posteriors` keeps the latter by seed for other decodings.
    """
    from .latents import PosteriorLatents, PriorLatents

    if decoding.latents != "posterior":
        prior, generator = model.model.prior, model.model.generator
        return PriorLatents(prior, generator, decoding.prior_temperature, decoding.latents == "long")
    if seed not in posteriors:
        train = list(run.corpus().splits["train"].sentences())
        order = np.random.default_rng(seed).permutation(len(train)).tolist()
        fits, longest = model.tokenizer.fits, model.config.text.max_length
        fitting = (train[row] for row in order if fits(train[row], longest))
        posteriors[seed] = PosteriorLatents(model.quiet().infer, list(islice(fitting, n)), seed, model.device)
    return posteriors[seed]


def _kept(path: Path, generated: Generated, run: Run) -> bool:
    """Write samples into the run; return False, with a warning, if that fails."""
    try:
        write_samples(path, generated, run)
    except OSError as error:
        logger.warning(f"cannot write {error.filename}: {error.strerror}; the samples are judged and not kept")
        return False
    return True


def _unkept(generated: Generated, label: str, tokenizer: str) -> SampledText:
    text = read_samples(generated.sentences, None, label, tokenizer)
    truncated, signature = generated.rates["truncated"], generated.signature.rpartition("|v:")[0]
    return replace(text, settings=generated.settings, truncated_rate=truncated, signature=signature)


def _asked(run: Run, decoding: Decoding) -> dict[str, Any]:
    """Return the settings of samples made as `decoding` says, and otherwise by default."""
    return {**USUAL, **asdict(decoding), "top_k": 0, "top_p": 1.0, "max_length": run.config.text.max_length}


def _newest(run: Run, n: int) -> Path | None:
    """Return the newest text in samples/ of at least `n` lines, by default settings and the present weights."""
    default = _asked(run, Decoding())
    found = [(text.path, _settings(run, text.record)) for text in run.samples()]
    usable = [path for path, made in found if made.get("n", 0) >= n and made.items() >= default.items()]
    return max(usable, key=lambda path: (path.stat().st_mtime_ns, path.name), default=None)


def _settings(run: Run, record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of samples with this record; empty if it is damaged or of other weights than the run's."""
    if record.get("weights_sha256") != run.weights_sha256:
        return {}
    try:
        from_plain(_Record, record)
    except InputError:
        return {}
    return {**USUAL, **record["settings"]}
