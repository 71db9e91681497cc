"""From what the user named to the report: which samples, which real text, judged by whom, written where."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lebm_text.errors import InputError
from lebm_text.processes import Processes, n_launched
from lebm_text.store import atomic_write_json, check_writable, read_json, sha256_file

from .command_line import command_line
from .evaluation_rows import Look, calibrate, cost, record, spreads, versions
from .evaluation_table import show_report
from .judging import check_judges
from .sample_files import Decoding, SampleFile, named_samples, samples_of_run
from .sampling import find_run

if TYPE_CHECKING:
    from lebm_text.text.corpora import Corpus
    from lm_eval.protocol import Evaluator, JudgeResult
    from lm_eval.texts import RealText

__all__ = ["Request", "Setting", "judge", "prepare", "run_evaluator"]


@dataclass(frozen=True)
class Request:
    """The options of `judge_options`, as they came."""

    samples: Path | None
    run: Path | None
    corpus: str | None
    data_dir: Path | None
    lm: str | None
    protocol: str
    split: str
    n: int | None
    temperatures: tuple[float, ...]
    seeds: tuple[int, ...]
    judge_seeds: int
    ngram_backend: str
    device: str
    as_json: bool
    output: Path | None

    @property
    def seed(self) -> int:
        """Of the bootstrap and of whatever else is drawn here."""
        return self.seeds[0] if self.seeds else 1


@dataclass(frozen=True)
class Setting:
    """What is judged, and by whom: one evaluator a judge and judge seed. `run`: whose samples these are, if any.

    `peers`: the processes that share the judgements.
    """

    request: Request
    run: Path | None
    corpus: Corpus
    real: RealText
    texts: list[SampleFile]
    evaluators: list[Evaluator]
    peers: Processes

    def results(self, metrics: Sequence[str], *, diversity: bool = False) -> list[dict[str, Any]]:
        """Every metric of every text by every judge, ready for JSON; nothing where this is not the first process."""
        self._make_slow_judges()
        units = list(product(self.texts, self.evaluators, metrics))
        judged: Iterator[JudgeResult] = iter(
            self.peers.each(
                [partial(getattr(evaluator, metric), text.samples) for text, evaluator, metric in units],
                [cost(metric, evaluator) for _, evaluator, metric in units],
            )
        )
        if not self.peers.first:
            return []
        looks = Look.of_all(self.texts, self.real, diversity_seed=self.request.seed if diversity else None)
        rows = []
        for text, look in zip(self.texts, looks, strict=True):
            rows += [record(text, next(judged), look) for _ in product(self.evaluators, metrics)]
        return rows

    def _make_slow_judges(self) -> None:
        """The judges of real text that take minutes: one process makes each, the others find it in the cache."""
        if self.peers.size > 1:
            slow = [evaluator for evaluator in self.evaluators if not evaluator.spec.cheap]
            self.peers.each([partial(getattr, evaluator, "real_score") for evaluator in slow], [1.0] * len(slow))

    def report(self, metric: str, results: list[dict[str, Any]]) -> dict[str, Any]:
        """The JSON object that the commands print and write."""
        splits = ("train", *(["valid"] if any(row["training"] for row in results) else []), self.request.split)
        return {
            "metric": metric,
            "command": command_line(self.run),
            "results": results,
            "spread": spreads(results),
            "sha256": {split: self.corpus.splits[split].sha256 for split in splits}
            | {text.label: sha256_file(text.path) for text in self.texts},
            "versions": versions(),
            "corpus": {"name": self.corpus.name, "split": self.request.split},
        }

    def default_file(self, metric: str, suffix: str) -> Path | None:
        """Where in the run's eval/ something of this metric goes; None for a text that was named."""
        if self.run is None:
            return None
        directory = self.run / "eval"
        directory.mkdir(exist_ok=True)
        judges = "-".join(dict.fromkeys(evaluator.spec.name for evaluator in self.evaluators))
        return directory / f"{metric}-{judges}-{self.request.protocol}-{self.request.split}{suffix}"


def judge(metric: str, options: Mapping[str, Any]) -> None:
    """Run the command `metric` (fppl or rppl): print the result, write the report."""
    chosen = dict(options)
    diversity, calibration = chosen.pop("diversity"), chosen.pop("calibrate")
    request = Request(**chosen)
    setting = prepare(request, [Decoding(temperature=temperature) for temperature in request.temperatures])
    results = setting.results([metric], diversity=diversity)
    n = len(setting.texts[0].samples.sentences)
    known = calibrate(setting.evaluators, metric, setting.real, n, request.seed, setting.peers) if calibration else []
    if not setting.peers.first:
        return
    report = setting.report(metric, results) | {"calibration": known}
    file = write_report(report, setting)
    if request.as_json:
        click.echo(json.dumps(report))
        return
    show_report(report)
    if file is not None:
        click.echo(f"report: {file}", err=True)


def write_report(report: dict[str, Any], setting: Setting) -> Path | None:
    """Write the report where the user said, else into the run; returns the file, if there is one."""
    file = setting.request.output or setting.default_file(report["metric"], ".json")
    if file is not None:
        atomic_write_json(file, report)
    return file


def prepare(request: Request, decodings: Sequence[Decoding]) -> Setting:
    """Find and read all texts, generating those that the run lacks; nothing is judged yet. All processes meet here.

    Raises InputError for whatever the user named that is not there, cannot be read, or does not go together.
    """
    check_judges()
    from lebm_text.store import cache_directory
    from lm_eval.judges import LSTMSpec, judge_specs
    from lm_eval.protocol import Evaluator
    from lm_eval.texts import CONVENTIONS, Reference

    convention = CONVENTIONS[request.protocol]
    specs = judge_specs(
        request.lm,
        convention,
        backend=request.ngram_backend,
        n_seeds=request.judge_seeds,
        cache=cache_directory() / "judges",
    )
    if any(isinstance(spec, LSTMSpec) for spec in specs):
        from lebm_text.devices import resolve_device

        device = str(resolve_device(request.device))
        specs = [replace(spec, device=device) if isinstance(spec, LSTMSpec) else spec for spec in specs]
    run = _check(request)
    if request.output is not None:
        check_writable(request.output)
    peers = _peers(request.device)
    corpus = peers.first_then_others(lambda: _corpus(request, run))
    real = _real_text(corpus, request.split, lowercase=_lowercase(run))
    if request.samples is not None:
        texts = [named_samples(request.samples, request.n)]
    else:
        n = request.n or len(real.train)
        texts = list(samples_of_run(find_run(run), n, decodings, request.seeds, device=request.device, peers=peers))
    hashes = [split.sha256 for split in corpus.splits.values()] + [sha256_file(text.path) for text in texts]
    peers.require_same("texts", " ".join(hashes))
    if peers.first:
        for notice in corpus.notices:
            click.echo(notice, err=True)
    reference = Reference(real, convention)
    evaluators = [Evaluator(reference, spec, seed=request.seed) for spec in specs]
    return Setting(request, run if request.samples is None else None, corpus, real, texts, evaluators, peers)


def run_evaluator(run: Path, corpus: Corpus, *, seed: int) -> Evaluator:
    """The KN5 judge of the text that a run was trained on; the real-data row is that of the test split."""
    check_judges()
    from lm_eval.protocol import Evaluator
    from lm_eval.texts import Reference

    real = _real_text(corpus, "test", lowercase=_lowercase(run))
    return Evaluator(Reference(real), seed=seed)


def _peers(device: str) -> Processes:
    """The processes that `torchrun` started, until the command ends. For one alone torch is not imported."""
    if n_launched() == 1:
        return Processes()
    from lebm_text.processes import joined

    return click.get_current_context().with_resource(joined(device))


def _check(request: Request) -> Path | None:
    """The run that samples or corpus come from, or None; InputError for options that do not go together."""
    if request.samples is None:
        return find_run(request.run)
    if request.run is not None:
        raise InputError("--samples names a text and --run a run whose samples are judged: give one of them")
    if request.temperatures:
        raise InputError("--temperature decodes a run again; a text from --samples is judged as it is")
    if len(request.seeds) > 1:
        raise InputError("several --seed draw a run's samples again; a text from --samples is judged as it is")
    return None if request.corpus is not None else find_run(None)


def _corpus(request: Request, run: Path | None) -> Corpus:
    """The corpus that was named, or the run's own, which must still be what the run began with."""
    from lebm_text.text.corpora import find_again, find_corpus

    if request.corpus is not None or run is None:
        return find_corpus(request.corpus or "", data_dir=request.data_dir)
    return find_again(read_json(run / "env.json")["corpus"], data_dir=request.data_dir)


def _lowercase(run: Path | None) -> bool:
    return run is not None and bool(read_json(run / "config.json")["text"]["lowercase"])


def _real_text(corpus: Corpus, split: str, *, lowercase: bool) -> RealText:
    from lm_eval.texts import RealText

    def sentences(name: str) -> list[str]:
        lines = corpus.splits[name].sentences()
        return [line.lower() for line in lines] if lowercase else list(lines)

    name = f"{corpus.name}-lower" if lowercase else corpus.name
    return RealText(name, sentences("train"), split, sentences(split), sentences("valid"))
