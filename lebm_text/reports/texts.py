"""Settings and reading of samples and real text, shared by reports on perplexity and on sentence embeddings."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from lebm_text.checks import (
    MAX_SEED,
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    Checked,
    each_of,
    in_range,
    one_of,
    setting,
    whole,
)
from lebm_text.errors import InputError
from lebm_text.generation.samples import SAMPLES, Decoding, SampledText, read_samples, samples_of_run
from lebm_text.processes import Processes
from lebm_text.progress import Progress
from lebm_text.run import Run
from lebm_text.text.corpora import Corpus, find_corpus
from lebm_text.text.registry import SPLITS
from lebm_text.text.tokenisation import Tokenisation, tokenisation_of
from lm_eval.counts import as_sentences
from lm_eval.texts import RealText

from .judged import CorpusSplit

__all__ = ["Real", "RealSource", "SampleSource", "TextSettings", "find_real", "find_samples", "how_decoded"]
__all__ += ["real_text"]

GivenText = Path | str | Sequence[str]
"""A text: the path of a file, or a list of sentences."""

SampleSource = Run | GivenText | Mapping[str, GivenText]
"""Samples: a run, whose samples are used, a text, or several by their names."""

RealSource = Run | Corpus | Path | str | None
"""Real text: the corpus of a run, a corpus, or its name or directory; None: the corpus of the run that is judged."""

logger = logging.getLogger(__name__)

_NAMED = {"split", "n", "temperatures", "seeds", "device", "text_column", "lm", "protocol", "ngram_backend", "metric"}


@dataclass(frozen=True)
class TextSettings(Checked):
    """Which samples are compared with which real text. Raises InputError for values that are not valid.

    Attributes:
        split: the held-out real text: test, or valid for model selection.
        n: number of samples; None: all of a text, and for a run as many as there are training sentences.
        temperatures: decoding temperatures of a run.
        seeds: seeds of the samples of a run; the first also seeds the choice of sentences from texts.
        device: for the run's model, LSTM judges and sentence encoders: auto, cpu or cuda.
        text_column: the field with the samples, of a file with columns; see `read_samples`.
        tokenize: samples are raw text, which is first tokenized as the corpus is.
    """

    split: str = setting("test", one_of, ("valid", "test"))
    n: int | None = setting(None, whole, 1)
    temperatures: tuple[float, ...] = setting((), each_of, in_range, MIN_TEMPERATURE, MAX_TEMPERATURE)
    seeds: tuple[int, ...] = setting((), each_of, whole, 0, MAX_SEED)
    device: str = "auto"
    text_column: str | None = None
    tokenize: bool = False

    @property
    def seed(self) -> int:
        return self.seeds[0] if self.seeds else 1

    def decodings(self, run: Run) -> list[Decoding]:
        """Return how the sentences of a run are decoded, checked before minutes of work; none: as it has them."""
        return [Decoding(temperature=temperature) for temperature in self.temperatures]

    def file_name(self, kind: str) -> str:
        """Return the file name of a report in a run's eval/, without the suffix; it shows settings that are unusual."""
        n, temperatures = [] if self.n is None else [self.n], [f"{each:g}" for each in self.temperatures]
        chosen = ("n", n), ("T", temperatures), ("seed", self.seeds)
        parts = [kind, self.split, *(name + "+".join(map(str, values)) for name, values in chosen if values)]
        return "-".join([*parts, *self._unusual()])

    def _unusual(self) -> Iterator[str]:
        """Yield settings that differ from their defaults, unless they are in the name already or change no result."""
        for each in fields(self):
            value, name = getattr(self, each.name), each.name.replace("_", "-")
            if each.name in _NAMED or value == each.default:
                continue
            if isinstance(value, bool):
                yield name if value else f"no-{name}"
            else:
                yield name + re.sub(r"[^\w.+-]", "-", f"{value:g}" if isinstance(value, float) else str(value))


@dataclass(frozen=True)
class Real:
    """The real text, tokenized anew if samples are tokenized, as `tokenisation` does; `named` is the held-out split."""

    corpus: Corpus
    named: CorpusSplit
    text: RealText
    tokenisation: Tokenisation | None


def find_real(source: SampleSource, settings: TextSettings, processes: Processes, *, corpus: RealSource) -> Real:
    """Find and read the real text. All processes must call this.

    Raises:
        InputError: the text is missing or cannot be read, or `source` and `settings` contradict each other.
    """
    texts = list(source.values()) if isinstance(source, Mapping) else [source]
    if settings.text_column is not None and not any(isinstance(text, (str, Path)) for text in texts):
        raise InputError("a text column is a field of a file; samples of a run, and those in a list, have none")
    if not isinstance(source, Run):
        if settings.temperatures:
            raise InputError("temperatures are for a run, which is decoded again; a given text is judged as it is")
        if len(settings.seeds) > 1:
            raise InputError("several seeds are for a run, which is sampled again; a given text is judged as it is")
    run = source if isinstance(source, Run) else corpus if isinstance(corpus, Run) else None
    found = processes.first_then_others(lambda: _corpus(run, corpus))
    real = real_text(found, settings.split, lowercase=run is not None and run.config.text.lowercase)
    tokenisation = tokenisation_of(real.train) if settings.tokenize else None
    if tokenisation is not None:
        train, held_out, valid = map(tokenisation.real, (real.train, real.held_out, real.valid))
        real = replace(real, train=train, held_out=held_out, valid=valid)
    return Real(found, CorpusSplit(found.name, settings.split), real, tokenisation)


def find_samples(
    source: SampleSource,
    settings: TextSettings,
    real: Real,
    on_progress: Progress,
    processes: Processes,
    *,
    check: Callable[[int], None],
    splits: Sequence[str] = ("train",),
) -> tuple[list[SampledText], dict[str, str]]:
    """Find and read the samples, and generate missing samples of a run. All processes must call this.

    `check` is called with the number of samples before any are generated; it may raise InputError. `splits` are those
    of the real text, besides the held-out one, that the results depend on.

    Returns:
        A text for each decoding and seed of a run, or each given text; and the sha256 of the splits, of the samples,
        and of the weights of the run.

    Raises:
        InputError: a text is missing or cannot be read, the run has no such decoding, or given texts have no names that
            distinguish them or differ in their number of sentences.
    """
    if isinstance(source, Run):
        n, how = settings.n or len(real.text.train), (settings.decodings(source), settings.seeds)
        check(n)
        texts = samples_of_run(source, n, *how, device=settings.device, on_progress=on_progress, processes=processes)
    else:
        texts = _given(source, settings)
        check(len(texts[0].sentences))
    found = real.corpus.splits
    hashes = [split.sha256 for split in found.values()] + [text.sha256 for text in texts]
    processes.require_same("texts", " ".join(hashes))
    if processes.first:
        for notice in real.corpus.notices:
            logger.info(notice)
    sha256 = {split: found[split].sha256 for split in (*splits, settings.split)}
    sha256 |= {text.label: text.sha256 for text in texts}
    if isinstance(source, Run):
        sha256["weights"] = source.weights_sha256
    if real.tokenisation is not None:
        texts = [_tokenised(text, real.tokenisation) for text in texts]
    return texts, sha256


def _given(source: GivenText | Mapping[str, GivenText], settings: TextSettings) -> list[SampledText]:
    """Read a given text, or several, whose names a report distinguishes them by, and which are of equal length."""
    if not isinstance(source, Mapping):
        return [_read(source, settings, SAMPLES)]
    if not source:
        raise InputError("no samples are given")
    for name in source:
        if why := _no_name(name):
            raise InputError(f"one of several texts cannot be called {name!r}, {why}: rename it")
    texts = [_read(text, settings, name) for name, text in source.items()]
    counts = {text.label: len(text.sentences) for text in texts}
    least, most = (pick(counts, key=counts.__getitem__) for pick in (min, max))
    if not counts[least]:
        raise InputError(f"{least} has no sentences")
    if counts[least] != counts[most]:
        raise InputError(
            f"{least} has {counts[least]:,} sentences and {most} {counts[most]:,}, but RPPL and distances of meaning "
            f"depend on the number: -n {counts[least]} takes as many of each (in Python n={counts[least]})"
        )
    return texts


def _read(given: GivenText, settings: TextSettings, name: str) -> SampledText:
    """Read a given text."""
    source = Path(given) if isinstance(given, (str, Path)) else as_sentences(given, name)
    if isinstance(source, Path) and source.is_dir():
        raise InputError(f"{source} is a directory: samples are a file, or those of a run, Run.find({str(source)!r})")
    return read_samples(source, settings.n, name, column=settings.text_column)


def _no_name(name: object) -> str:
    """Return why a text cannot have that name in a report; empty if it can."""
    if not isinstance(name, str) or not name.isprintable() or not name or name.isspace():
        return "which is not a line of text"
    if "|" in name:
        return "since | separates the fields of a signature"
    own = name in {SAMPLES, *SPLITS, "weights"} or name.startswith((f"{SAMPLES},", "real data"))
    return "a name that reports use themselves" if own else ""


def how_decoded(text: SampledText) -> dict[str, Any]:
    """Return the fields of `Decoded` for a text, and its label as `text`."""
    made = text.settings
    temperature = made.get("temperature") if made.get("decode") == "sample" else None
    known = {name: made.get(name) for name in ("decode", "seed", "prior_temperature", "guidance", "latents")}
    return {"text": text.label, "temperature": temperature, **known}


def _tokenised(text: SampledText, how: Tokenisation) -> SampledText:
    """Tokenize a text as the real training text is; for a run the tokenizer is then named like sentencepiece>13a."""
    tokenizer = text.tokenizer.removesuffix("word") + how.name
    return replace(text, sentences=list(map(how.sentence, text.sentences)), tokenizer=tokenizer)


def _corpus(run: Run | None, corpus: RealSource) -> Corpus:
    if isinstance(corpus, Corpus):
        return corpus
    if isinstance(corpus, (str, Path)):
        return find_corpus(str(corpus), data_dir=None if run is None else run.data_dir)
    if isinstance(corpus, Run):
        return corpus.corpus()
    if corpus is not None:
        raise InputError(f"a corpus is its name, its directory, a Corpus or a Run, got {type(corpus).__name__}")
    if run is None:
        raise InputError("samples that come from no run need a corpus: the name or the directory of the real text")
    return run.corpus()


def real_text(corpus: Corpus, split: str, *, lowercase: bool) -> RealText:
    """Return the real text of a corpus for judges, with `split` held out."""

    def sentences(name: str) -> list[str]:
        return list(corpus.splits[name].lowered() if lowercase else corpus.splits[name].sentences())

    name = f"{corpus.name}-lower" if lowercase else corpus.name
    return RealText(name, sentences("train"), split, sentences(split), sentences("valid"))
