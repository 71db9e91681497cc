"""Which texts are judged, against which real text, by which judges; and the judging, shared by several processes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from itertools import count, product
from pathlib import Path
from typing import Any

from lebm_text import __version__
from lebm_text.checks import at_least, one_of
from lebm_text.errors import InputError
from lebm_text.generation.samples import Decoding, SampledText, read_samples, samples_of_run
from lebm_text.processes import Processes
from lebm_text.progress import Progress
from lebm_text.run import Run
from lebm_text.store import cache_directory
from lebm_text.text.corpora import Corpus, find_corpus
from lm_eval import diversity
from lm_eval.counts import as_sentences
from lm_eval.coverage import coverage_warnings
from lm_eval.judges import JudgeSpec, LSTMSpec, judge_specs
from lm_eval.ngram import BACKENDS
from lm_eval.perplexity import spread
from lm_eval.protocol import Evaluator, JudgeResult
from lm_eval.texts import CONVENTIONS, RealText, Reference, Samples
from lm_eval.tokenisation import Tokenisation, tokenisation_of

from .base import check_judges
from .judged import CorpusSplit, JudgedText, MetricSpread, SamplesSummary

__all__ = ["JudgeSettings", "Judging", "RealSource", "SampleSource", "kn5_evaluator", "prepare", "real_text", "spreads"]

SampleSource = Run | Path | str | Sequence[str]
"""Samples: those of a run, the lines of a text file (its path), or a list of sentences."""

RealSource = Run | Corpus | str | None
"""Real text: what a run was trained on, a corpus, or the name or directory of one; None: that of the run judged."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class JudgeSettings:
    """What is judged, and by whom.

    Attributes:
        lm: the judge: kn2 to kn6, lstm, or both (kn5 and the LSTM); None: the protocol's own choice.
        protocol: what is counted, how the vocabulary is closed: default, or arae or lebm as in those papers.
        split: the held-out real text: test, or valid for choices.
        n: how many samples; None: all of a text, of a run as many as there are training sentences.
        temperatures: decode a run at these.
        seeds: and with these; the first is also that of the bootstrap.
        judge_seeds: the LSTM judge is trained from so many.
        ngram_backend: numpy, or lmplz for texts larger than memory.
        device: of the run's model and of LSTM judges: auto, cpu or cuda.
        text_column: of samples in a file with columns; see `read_samples`.
        tokenize: samples are raw text, whose words are first separated as those of the corpus are.
    """

    lm: str | None = None
    protocol: str = "default"
    split: str = "test"
    n: int | None = None
    temperatures: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()
    judge_seeds: int = 1
    ngram_backend: str = "numpy"
    device: str = "auto"
    text_column: str | None = None
    tokenize: bool = False

    @property
    def seed(self) -> int:
        return self.seeds[0] if self.seeds else 1

    def judges(self) -> list[JudgeSpec]:
        """Raises InputError for what does not go together, and for a device that is not there."""
        one_of("protocol", self.protocol, tuple(CONVENTIONS))
        one_of("split", self.split, ("test", "valid"))
        one_of("ngram_backend", self.ngram_backend, BACKENDS)
        at_least("n", 1 if self.n is None else self.n, 1)
        at_least("judge_seeds", self.judge_seeds, 1)
        at_least("seed", min(self.seeds, default=0), 0)
        cache = cache_directory() / "judges"
        specs = judge_specs(
            self.lm, CONVENTIONS[self.protocol], backend=self.ngram_backend, n_seeds=self.judge_seeds, cache=cache
        )
        if any(isinstance(spec, LSTMSpec) for spec in specs):
            from lebm_text.environment import resolve_device  # n-gram judges need no torch

            device = str(resolve_device(self.device))
            specs = [replace(spec, device=device) if isinstance(spec, LSTMSpec) else spec for spec in specs]
        return specs

    def file_name(self, kind: str) -> str:
        """Of a report in a run's eval/, without the suffix."""
        judges = "-".join(dict.fromkeys(spec.name for spec in self.judges()))
        return f"{kind}-{judges}-{self.protocol}-{self.split}"


@dataclass(frozen=True)
class Judging:
    """Texts, and an evaluator for each judge and judge seed; nothing is judged before it is asked for.

    Attributes:
        corpus: names the held-out text, `real` is it.
        sha256: of the splits, the texts, and the weights of the run that they come from.
    """

    seed: int
    corpus: CorpusSplit
    real: RealText
    texts: list[SampledText]
    evaluators: list[Evaluator]
    sha256: dict[str, str]
    processes: Processes
    on_progress: Progress

    def results(self, metrics: Sequence[str], *, with_diversity: bool = False) -> list[JudgedText]:
        """Every metric of every text by every judge, the same in all processes."""
        if self.processes.size > 1:
            # One process makes each judge that takes minutes, the others find it in the cache.
            slow = [evaluator for evaluator in self.evaluators if not evaluator.spec.cheap]
            self.processes.each([partial(getattr, evaluator, "real_score") for evaluator in slow], [1.0] * len(slow))
        samples = [_for_judges(text) for text in self.texts]
        judged = iter(self.judge(samples, self.evaluators, metrics, "judgements"))
        real, train = (diversity.summarise(text, self.real.train) for text in (self.real.held_out, self.real.train))
        found = []
        for text in self.texts:
            looks: dict[str, Any] = {"samples": self._summary(text), "real": real, "train": train}
            if with_diversity:
                compared = diversity.compare(text.sentences, self.real.held_out, self.real.train, seed=self.seed)
                looks["diversity"] = compared
            found += [_judged_text(next(judged), text, **looks) for _ in product(self.evaluators, metrics)]
        return found

    def judge(
        self, texts: Sequence[Samples], evaluators: Sequence[Evaluator], metrics: Sequence[str], stage: str
    ) -> list[JudgeResult]:
        """By text, then evaluator, then metric; each process does its share, the quick ones first, and says each."""
        units = list(product(texts, evaluators, metrics))
        costs = [_cost(metric, evaluator) for _, evaluator, metric in units]
        order = sorted(range(len(units)), key=costs.__getitem__)
        n_done = count(self.processes.size, self.processes.size)

        def act(text: Samples, evaluator: Evaluator, metric: str) -> JudgeResult:
            result: JudgeResult = getattr(evaluator, metric)(text)
            if len(units) > 1:
                seed = "" if result.judge_seed is None else f" (seed {result.judge_seed})"
                logger.info(
                    f"{metric.upper()} of {text.decoding or 'samples'} by {result.judge}{seed}: {result.ppl:.2f}, "
                    f"real data {result.real_ppl:.2f}"
                )
            self.on_progress(stage, min(next(n_done), len(units)), len(units))
            return result

        self.on_progress(stage, 0, len(units))
        found = self.processes.each([partial(act, *units[i]) for i in order], [costs[i] for i in order])
        results = dict(zip(order, found, strict=True))
        return [results[i] for i in range(len(units))]

    def _summary(self, text: SampledText) -> SamplesSummary:
        plain = diversity.summarise(text.sentences, self.real.train, truncated_rate=text.truncated_rate)
        return SamplesSummary(
            path=None if text.path is None else str(text.path),
            **asdict(plain),
            length_distance=diversity.length_distance(text.sentences, self.real.train),
        )


def prepare(
    source: SampleSource,
    settings: JudgeSettings,
    decodings: Sequence[Decoding],
    on_progress: Progress,
    processes: Processes,
    corpus: RealSource,
) -> Judging:
    """Find and read all texts, generating those that a run lacks. All processes meet here.

    Raises:
        InputError: something is not there, cannot be read, or does not go together.
    """
    check_judges()
    specs, convention = settings.judges(), CONVENTIONS[settings.protocol]
    if not isinstance(source, Run):
        if settings.temperatures:
            raise InputError("--temperature decodes a run again; a text from --samples is judged as it is")
        if len(settings.seeds) > 1:
            raise InputError("several --seed draw a run's samples again; a text from --samples is judged as it is")
    run = source if isinstance(source, Run) else corpus if isinstance(corpus, Run) else None
    found = processes.first_then_others(lambda: _corpus(run, corpus))
    real = real_text(found, settings.split, lowercase=run is not None and run.config.text.lowercase)
    tokenisation = tokenisation_of(real.train) if settings.tokenize else None
    if tokenisation is not None:
        train, held_out, valid = map(tokenisation.real, (real.train, real.held_out, real.valid))
        real = replace(real, train=train, held_out=held_out, valid=valid)
    reference = Reference(real, convention)
    told = [replace(spec, on_progress=on_progress) if isinstance(spec, LSTMSpec) else spec for spec in specs]
    evaluators = [Evaluator(reference, spec, seed=settings.seed) for spec in told]
    if isinstance(source, Run):
        for evaluator in evaluators if processes.first else ():
            if evaluator.spec.cheap:  # known long before there are samples
                logger.info(f"real data by {evaluator.spec.name}: {evaluator.real_score.ppl:.2f}")
        n, how = settings.n or len(real.train), (decodings, settings.seeds)
        texts = samples_of_run(source, n, *how, device=settings.device, on_progress=on_progress, processes=processes)
    else:
        given = Path(source) if isinstance(source, (str, Path)) else as_sentences(source, "samples")
        texts = [read_samples(given, settings.n, column=settings.text_column)]
    hashes = [split.sha256 for split in found.splits.values()] + [text.sha256 for text in texts]
    processes.require_same("texts", " ".join(hashes))
    if processes.first:
        for notice in found.notices:
            logger.info(notice)
    splits = ("train", *(["valid"] if any(spec.stop for spec in specs) else []), settings.split)
    sha256 = {split: found.splits[split].sha256 for split in splits} | {text.label: text.sha256 for text in texts}
    if isinstance(source, Run):
        sha256["weights"] = source.weights_sha256
    if tokenisation is not None:
        texts = [_tokenised(text, tokenisation) for text in texts]
    if processes.first and not all(spec.cheap for spec in specs):
        _check_texts(texts, reference)
    named = CorpusSplit(found.name, settings.split)
    return Judging(settings.seed, named, real, texts, evaluators, sha256, processes, on_progress)


def _check_texts(texts: Sequence[SampledText], reference: Reference) -> None:
    """Refuse and warn of what judges cannot read before they train for minutes."""
    for text in texts:
        reference.read(text.sentences, "samples")
        coverage = reference.coverage_of(text.sentences)
        for warning in coverage_warnings(coverage, reference.coverage, text.tokenizer):
            logger.warning(f"{text.label}: {warning}")


def _tokenised(text: SampledText, how: Tokenisation) -> SampledText:
    """A text whose words are separated as those of the real training text are; of a run: sentencepiece>13a."""
    tokenizer = text.tokenizer.removesuffix("word") + how.name
    return replace(text, sentences=list(map(how.sentence, text.sentences)), tokenizer=tokenizer)


def spreads(results: Sequence[JudgedText]) -> list[MetricSpread]:
    """Mean and standard deviations of each figure that has several seeds: one for each metric, judge and decoding."""
    groups: dict[tuple[object, ...], list[JudgedText]] = {}
    for row in results:
        groups.setdefault((row.metric, row.judge, row.decode, row.temperature), []).append(row)
    return [
        MetricSpread(
            **{name: getattr(rows[0], name) for name in ("metric", "judge", "decode", "temperature")},
            ppl=spread({(row.seed, row.judge_seed): row.ppl for row in rows}),
            ratio=spread({(row.seed, row.judge_seed): row.ratio for row in rows}),
            real_ppl=spread({(None, row.judge_seed): row.real_ppl for row in rows}),
        )
        for rows in groups.values()
        if len(rows) > 1
    ]


def _corpus(run: Run | None, corpus: RealSource) -> Corpus:
    if isinstance(corpus, Corpus):
        return corpus
    if isinstance(corpus, str):
        return find_corpus(corpus, data_dir=None if run is None else run.data_dir)
    if run is None:
        raise InputError("samples that come from no run need a corpus: the name or the directory of the real text")
    return run.corpus()


def real_text(corpus: Corpus, split: str, *, lowercase: bool) -> RealText:
    """A corpus as judges take it; `split` is held out."""

    def sentences(name: str) -> list[str]:
        return list(corpus.splits[name].lowered() if lowercase else corpus.splits[name].sentences())

    name = f"{corpus.name}-lower" if lowercase else corpus.name
    return RealText(name, sentences("train"), split, sentences(split), sentences("valid"))


def kn5_evaluator(run: Run, corpus: Corpus, *, seed: int) -> Evaluator:
    """The 5-gram judge of the text that a run was trained on, as the run reads it; the test split is held out."""
    check_judges()
    return Evaluator(Reference(real_text(corpus, "test", lowercase=run.config.text.lowercase)), seed=seed)


def _for_judges(text: SampledText) -> Samples:
    """With what is known of its generation, for signatures."""
    made, *details = text.signature.split("|")
    decoding = ",".join(made.removeprefix("samples(").removesuffix(")").split(",")[1:])
    return Samples(text.sentences, decoding, tuple(details), text.tokenizer)


def _judged_text(result: JudgeResult, text: SampledText, **looks: Any) -> JudgedText:
    values = {field.name: getattr(result, field.name) for field in fields(result)}
    values["signature"] += f"|v:{__version__}"
    made = text.settings
    return JudgedText(
        **values,
        **looks,
        text=text.label,
        decode=made.get("decode"),
        temperature=made.get("temperature") if made.get("decode") == "sample" else None,
        seed=made.get("seed"),
    )


def _cost(metric: str, evaluator: Evaluator) -> float:
    """What a judgement takes, in no unit: RPPL trains a judge of its own, and an LSTM takes longer than counts do."""
    return 2 * (metric == "rppl") + (not evaluator.spec.cheap)
