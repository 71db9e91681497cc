"""Settings of judges, and the judging of texts (see `texts`) by perplexity, shared by several processes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count, islice, product

from lebm_text import __version__
from lebm_text.checks import one_of, setting, whole
from lebm_text.environment import resolve_device
from lebm_text.generation.samples import SAMPLES, SampledText
from lebm_text.judges import check_judges
from lebm_text.processes import Processes
from lebm_text.progress import Progress
from lebm_text.run import Run
from lebm_text.store import cache_directory
from lm_eval import diversity
from lm_eval.coverage import coverage_warnings
from lm_eval.judges import BuiltSpec, judge_specs
from lm_eval.ngram import BACKENDS
from lm_eval.perplexity import spread
from lm_eval.protocol import Evaluator, JudgeResult
from lm_eval.texts import CONVENTIONS, RealText, Reference, Samples

from .judged import CorpusSplit, JudgedText, MetricSpread, SamplesSummary, name_of
from .texts import RealSource, SampleSource, TextSettings, find_real, find_samples, how_decoded

__all__ = ["JudgeSettings", "Judging", "prepare", "spreads"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class JudgeSettings(TextSettings):
    """Which texts are judged (see `TextSettings`), and by which judges.

    Attributes:
        lm: the judge: kn2 to kn6, lstm, both (kn5 and the LSTM), or a plug-in (`lm_eval.plugins`); None: the default
            of the protocol.
        protocol: which tokens are counted and how the vocabulary is closed: default, or arae or lebm as in those
            papers.
        judge_seeds: number of seeds from which the LSTM judge is trained.
        ngram_backend: numpy, or lmplz for texts larger than memory.
    """

    lm: str | None = None
    protocol: str = setting("default", one_of, tuple(CONVENTIONS))
    judge_seeds: int = setting(1, whole, 1, 100)
    ngram_backend: str = setting("numpy", one_of, BACKENDS)

    def judges(self) -> list[BuiltSpec]:
        """Return the specifications of the judges. Raises InputError if the settings contradict each other."""
        convention, cache = CONVENTIONS[self.protocol], cache_directory() / "judges"
        return judge_specs(self.lm, convention, backend=self.ngram_backend, n_seeds=self.judge_seeds, cache=cache)

    def file_name(self, kind: str) -> str:
        """Return the file name of a report in a run's eval/, without the suffix."""
        judges = "-".join(dict.fromkeys(spec.file_name for spec in self.judges()))
        return super().file_name(f"{kind}-{judges}-{self.protocol}")


@dataclass(frozen=True)
class Judging:
    """Samples and real text, and an evaluator for each judge and judge seed; texts are judged by the methods.

    `sha256` has the hashes of the splits, of the samples, and of the weights of the run that they come from.
    """

    seed: int
    corpus: CorpusSplit
    real: RealText
    texts: list[SampledText]
    evaluators: list[Evaluator]
    sha256: dict[str, str]
    processes: Processes
    on_progress: Progress

    def results(self, metrics: Sequence[str], *, with_diversity: bool) -> list[JudgedText]:
        """Return every metric of every text by every judge, in all processes."""
        if self.processes.size > 1:
            # Each judge that takes minutes is trained by one process; the others find it in the cache.
            slow = [evaluator for evaluator in self.evaluators if not evaluator.spec.cheap]
            self.processes.each([partial(getattr, evaluator, "real_score") for evaluator in slow], [1.0] * len(slow))
        samples = [_for_judges(text) for text in self.texts]
        judged = iter(self.judge(samples, self.evaluators, metrics, "judgements"))
        real, train = (diversity.summarise(text, self.real.train) for text in (self.real.held_out, self.real.train))
        varied: Sequence[diversity.Diversity | None] = [None] * len(self.texts)
        if with_diversity:
            sentences = [text.sentences for text in self.texts]
            varied = diversity.compare_each(sentences, self.real.held_out, self.real.train, seed=self.seed)
        found = []
        for text, variety in zip(self.texts, varied, strict=True):
            described = how_decoded(text) | {"samples": self._summary(text), "real": real, "train": train}
            for result in islice(judged, len(self.evaluators) * len(metrics)):
                of_judge = vars(result) | {"signature": f"{result.signature}|v:{__version__}"}
                found.append(JudgedText(**of_judge, **described, diversity=variety))
        return found

    def judge(
        self, texts: Sequence[Samples], evaluators: Sequence[Evaluator], metrics: Sequence[str], stage: str
    ) -> list[JudgeResult]:
        """Judge all texts and return results by text, then evaluator, then metric.

        Each process computes a share, quick judgements first, and logs the results.
        """
        units = list(product(texts, evaluators, metrics))
        costs = [_cost(metric, evaluator) for _, evaluator, metric in units]
        order = sorted(range(len(units)), key=costs.__getitem__)
        n_done = count(self.processes.size, self.processes.size)

        def judge_one(text: Samples, evaluator: Evaluator, metric: str) -> JudgeResult:
            result: JudgeResult = getattr(evaluator, metric)(text)
            if len(units) > 1:
                of_text = text.decoding or SAMPLES if text.name == SAMPLES else text.name
                seed = "" if result.judge_seed is None else f" (seed {result.judge_seed})"
                logger.info(
                    f"{metric.upper()} of {of_text} by {result.judge}{seed}: {result.ppl:.2f}, "
                    f"real data {result.real_ppl:.2f}"
                )
            self.on_progress(stage, min(next(n_done), len(units)), len(units))
            return result

        self.on_progress(stage, 0, len(units))
        found = self.processes.each([partial(judge_one, *units[i]) for i in order], [costs[i] for i in order])
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
    on_progress: Progress,
    processes: Processes,
    corpus: RealSource,
    check: Callable[[RealText, int], None] = lambda *_: None,
) -> Judging:
    """Find and read all texts, and generate missing samples of a run. All processes must call this.

    Arguments and exceptions are as for `lebm_text.reports.perplexity.compute`, but for `check`: see `find_samples`; it
    is also given the real text.
    """
    check_judges()
    specs = [spec.placed(lambda: str(resolve_device(settings.device)), on_progress) for spec in settings.judges()]
    real = find_real(source, settings, processes, corpus=corpus)
    reference = Reference(real.text, CONVENTIONS[settings.protocol])
    evaluators = [Evaluator(reference, spec, seed=settings.seed) for spec in specs]

    def before_generation(n_samples: int) -> None:
        check(real.text, n_samples)
        for evaluator in evaluators if processes.first and isinstance(source, Run) else ():
            if evaluator.spec.cheap:  # logged at once, since generation may take long
                logger.info(f"real data by {evaluator.spec.name}: {evaluator.real_score.ppl:.2f}")

    splits = ("train", *(["valid"] if any(spec.stop for spec in specs) else []))
    samples, sha256 = find_samples(
        source, settings, real, on_progress, processes, splits=splits, check=before_generation
    )
    if processes.first and not all(spec.cheap for spec in specs):
        _check_texts(samples, reference)
    return Judging(settings.seed, real.named, real.text, samples, evaluators, sha256, processes, on_progress)


def _check_texts(texts: Sequence[SampledText], reference: Reference) -> None:
    """Check that judges can read the texts, and log warnings, before judges train for minutes."""
    for text in texts:
        reference.read(text.sentences, name_of(text.label) or SAMPLES)
        coverage = reference.coverage_of(text.sentences)
        for warning in coverage_warnings(coverage, reference.coverage, text.tokenizer):
            logger.warning(f"{text.label}: {warning}")


def spreads(results: Sequence[JudgedText]) -> list[MetricSpread]:
    """Return the spread over seeds for each metric, judge, named text and decoding with several seeds.

    Only samples of the model are included.
    """
    groups: dict[tuple[object, ...], list[JudgedText]] = {}
    for row in results:
        if row.latents is None:
            key = row.metric, row.judge, name_of(row.text), row.decode, row.temperature
            groups.setdefault(key, []).append(row)
    return [
        MetricSpread(
            **{name: getattr(rows[0], name) for name in ("metric", "judge", "decode", "temperature")},
            text=name_of(rows[0].text),
            ppl=spread({(row.seed, row.judge_seed): row.ppl for row in rows}),
            ratio=spread({(row.seed, row.judge_seed): row.ratio for row in rows}),
            real_ppl=spread({(None, row.judge_seed): row.real_ppl for row in rows}),
        )
        for rows in groups.values()
        if len(rows) > 1
    ]


def _for_judges(text: SampledText) -> Samples:
    """Return a text with the details of its generation, for signatures."""
    made, *details = text.signature.split("|")
    decoding = ",".join(made.removeprefix("samples(").removesuffix(")").split(",")[1:])
    return Samples(text.sentences, decoding, tuple(details), text.tokenizer, name_of(text.label) or SAMPLES)


def _cost(metric: str, evaluator: Evaluator) -> float:
    """Return the relative cost of a judgement: RPPL trains a new judge, and LSTMs are slower than n-gram models."""
    return 2 * (metric == "rppl") + (not evaluator.spec.cheap)
