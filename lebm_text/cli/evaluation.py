"""`fppl` and `rppl`, from what the user named to the report: which samples, which real text, judged how."""

from __future__ import annotations

import json
import platform
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lebm_text import __version__
from lebm_text.errors import InputError
from lebm_text.files import atomic_write_text, check_writable, read_json, sha256_file

from .evaluation_table import show_report
from .judging import check_judges
from .sample_files import SampleFile, named_samples, samples_of_run
from .sampling import find_run

if TYPE_CHECKING:
    from lebm_text.text.corpora import Corpus
    from lm_eval.protocol import Evaluator, JudgeResult, RealText

__all__ = ["Request", "judge"]

_PACKAGES = ("numpy", "ufal-kenlm", "kenlm", "sacrebleu")


@dataclass(frozen=True)
class Request:
    """The options of `judge_options`, as they came."""

    samples: Path | None
    run: Path | None
    corpus: str | None
    data_dir: Path | None
    lm: str
    protocol: str
    split: str
    n: int | None
    temperatures: tuple[float, ...]
    seed: int | None
    calibrate: bool
    diversity: bool
    ngram_backend: str
    as_json: bool
    output: Path | None


def judge(metric: str, request: Request) -> None:
    """Run the command `metric` (fppl or rppl): print the result, write the report."""
    check_judges()
    from lm_eval.conventions import CONVENTIONS
    from lm_eval.protocol import Evaluator, JudgeSettings

    run = _check(request)
    if request.output is not None:
        check_writable(request.output)
    corpus = _corpus(request, run)
    real = _real_text(corpus, request.split, lowercase=_lowercase(run))
    texts = _texts(request, run, len(real.train))
    for notice in corpus.notices:
        click.echo(notice, err=True)
    evaluator = Evaluator(
        real,
        JudgeSettings(
            order=int(request.lm.removeprefix("kn")),
            convention=CONVENTIONS[request.protocol],
            backend=request.ngram_backend,
            seed=_seed(request),
        ),
        on_stage=lambda stage: click.echo(f"{stage} …", err=True) if sys.stderr.isatty() else None,
    )
    judged = [(text, getattr(evaluator, metric)(text.samples)) for text in texts]
    report = {
        "metric": metric,
        "results": [_record(text, result, real, request) for text, result in judged],
        "sha256": {
            "train": corpus.splits["train"].sha256,
            request.split: corpus.splits[request.split].sha256,
            **{text.label: sha256_file(text.path) for text in texts},
        },
        "versions": _versions(),
        "corpus": {"name": corpus.name, "split": request.split},
        "calibration": _calibration(evaluator, metric, real, texts[0], request) if request.calibrate else [],
    }
    report_file = request.output
    if report_file is None and run is not None and request.samples is None:
        report_file = _in_run(run, metric, request)
    if report_file is not None:
        atomic_write_text(report_file, json.dumps(report, indent=2) + "\n")
    if request.as_json:
        click.echo(json.dumps(report))
    else:
        show_report(report)
        if report_file is not None:
            click.echo(f"report: {report_file}", err=True)


def _check(request: Request) -> Path | None:
    """The run that samples or corpus come from, or None; InputError for options that do not go together."""
    if request.samples is None:
        return find_run(request.run)
    if request.run is not None:
        raise InputError("--samples names a text and --run a run whose samples are judged: give one of them")
    if request.temperatures:
        raise InputError("--temperature decodes a run again; a text from --samples is judged as it is")
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
    from lm_eval.protocol import RealText

    def sentences(name: str) -> list[str]:
        lines = corpus.splits[name].sentences()
        return [line.lower() for line in lines] if lowercase else list(lines)

    name = f"{corpus.name}-lower" if lowercase else corpus.name
    return RealText(name, sentences("train"), split, sentences(split))


def _texts(request: Request, run: Path | None, n_train: int) -> list[SampleFile]:
    if request.samples is not None:
        return [named_samples(request.samples, request.n)]
    return list(samples_of_run(find_run(run), request.n, n_train, request.temperatures, request.seed))


def _seed(request: Request) -> int:
    return 1 if request.seed is None else request.seed


def _record(text: SampleFile, result: JudgeResult, real: RealText, request: Request) -> dict[str, Any]:
    """One result, ready for JSON, with what the samples look like beside it."""
    from lm_eval import diversity

    sentences = text.samples.sentences
    record = asdict(result)
    record["signature"] += f"|v:{__version__}"
    record |= {name: text.settings[name] for name in ("temperature", "seed") if name in text.settings}
    record["samples"] = {"path": str(text.path), **asdict(diversity.summarise(sentences, real.train))}
    record["real"] = asdict(diversity.summarise(real.held_out, real.train))
    if request.diversity:
        record["diversity"] = {
            "distinct_n": diversity.distinct_n(sentences),
            "real_distinct_n": diversity.distinct_n(real.held_out),
            "sequence_repetition_4": diversity.sequence_repetition(sentences),
            "self_bleu": asdict(diversity.self_bleu(sentences, seed=_seed(request))),
            "real_self_bleu": asdict(diversity.self_bleu(real.held_out, seed=_seed(request))),
            "bleu": asdict(diversity.bleu_against(sentences, real.held_out, seed=_seed(request))),
        }
    return record


def _calibration(
    evaluator: Evaluator, metric: str, real: RealText, text: SampleFile, request: Request
) -> list[dict[str, Any]]:
    """The metric of texts of known quality, as many sentences as samples."""
    from lm_eval.calibration import calibration_texts
    from lm_eval.protocol import Samples

    rows = []
    for label, sentences in calibration_texts(real.train, len(text.samples.sentences), _seed(request)):
        result = getattr(evaluator, metric)(Samples(sentences, label))
        rows.append({"text": label, "ppl": result.ppl, "ratio": result.ratio, "signature": result.signature})
    return rows


def _versions() -> dict[str, str]:
    found = {"lebm-text": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _in_run(run: Path, metric: str, request: Request) -> Path:
    directory = run / "eval"
    directory.mkdir(exist_ok=True)
    return directory / f"{metric}-{request.lm}-{request.protocol}-{request.split}.json"
