"""Report on sentence embeddings of samples and real text: Fréchet distance, precision, recall, density and coverage.

`lm_eval.embedding` defines these measures. They depend on what sentences are about, perplexities on the next word.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from rich.console import Group
from rich.text import Text

from lebm_text.checks import setting, whole
from lebm_text.environment import resolve_device, versions
from lebm_text.errors import InputError
from lebm_text.generation.samples import SampledText
from lebm_text.judges import check_judges
from lebm_text.processes import ALONE, Processes
from lebm_text.progress import Progress, silent
from lebm_text.run import Run
from lm_eval.embedding import EmbeddingScore, K, MeaningJudge, N, check_counts
from lm_eval.encoders import DEFAULT_ENCODER, SentenceEncoder, load_encoder
from lm_eval.texts import RealText

from .base import Report, format_interval, new_table, settled
from .drawing import hover, literal, panels
from .judged import CorpusSplit, Decoded, decoding_of
from .texts import RealSource, SampleSource, TextSettings, find_real, find_samples, how_decoded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "DEFAULT_ENCODER",
    "EmbeddedTextScore",
    "Embedding",
    "EmbeddingSettings",
    "compute",
    "encoder_for",
    "score_texts",
    "sizes_of",
]

_NEIGHBOURS = ("precision", "recall", "density", "coverage")
_IN_A_ROW = 30  # characters that have room beside each other below a panel


@dataclass(frozen=True)
class EmbeddingSettings(TextSettings):
    """Settings of a comparison of sentence embeddings, besides `TextSettings`; `n` is by default at most 3,000.

    Attributes:
        k: number of nearest neighbours.
        encoder: name or directory of a sentence encoder of sentence-transformers.
    """

    k: int = setting(5, whole, 1)
    encoder: str = DEFAULT_ENCODER


@dataclass(frozen=True, kw_only=True)
class EmbeddedTextScore(Decoded, EmbeddingScore):
    """The scores of one text, of whose `n_sentences` sentences `n` were embedded, the first or a random subset."""

    n_sentences: int


@dataclass(frozen=True, kw_only=True)
class Embedding(Report):
    """Embedding scores of texts; `real` are those of as many sentences of the real training text."""

    kind: ClassVar[str] = "embedding"

    corpus: CorpusSplit
    results: list[EmbeddedTextScore]
    real: EmbeddingScore

    def table(self) -> Group:
        """Return a table with a row for each text and one for real text, and how to read it."""
        title = f"{self.corpus.name}, {self.corpus.split}: distance of meaning"
        table = new_table(title, "text", "FED", "95 %", *_NEIGHBOURS, "MAUVE")
        rows: list[tuple[str, EmbeddingScore]] = [(self._name(row), row) for row in self.results]
        for name, score in [*rows, ("real data (train)", self.real)]:
            near = [f"{getattr(score, figure):.3f}" for figure in _NEIGHBOURS]
            mauve = "" if score.mauve is None else f"{score.mauve:.3f}"
            table.add_row(name, f"{score.frechet:.1f}", format_interval(*score.ci95["frechet"], 1), *near, mauve)
        lines = [
            "FED is the Fréchet distance of sentence embeddings × 1000: near the row of real data is good.",
            f"All rows are of {sizes_of(self.results, self.real)}; with fewer the distance grows.",
        ]
        return Group(table, *map(Text, lines))

    def _name(self, row: EmbeddedTextScore) -> str:
        return decoding_of(row, self.results) or row.text

    def figure(self) -> Figure:
        """Return a picture of the distance, and of precision against recall, of each text."""
        figure, (distance, neighbours) = panels(["distance to real text (low is close)", "neighbours in the embedding"])
        names = [self._name(row) for row in self.results]
        values = [row.frechet for row in self.results]
        spans = [[abs(row.ci95["frechet"][end] - row.frechet) for row in self.results] for end in (0, 1)]
        distance.errorbar(range(len(names)), values, yerr=spans, fmt="o", capsize=3)
        distance.axhline(self.real.frechet, color="C3", linewidth=0.8)
        distance.annotate("real text", (0, self.real.frechet), fontsize="small", color="C3", va="bottom")
        distance.set_xticks(range(len(names)), names)
        if len("".join(names)) > _IN_A_ROW:
            distance.set_xticklabels(names, rotation=45, ha="right", rotation_mode="anchor")
        literal(distance.get_xticklabels())
        distance.margins(x=0.2)
        distance.set_ylim(bottom=0)
        distance.set_ylabel("FED, Fréchet distance × 1000")
        (dots,) = neighbours.plot([row.recall for row in self.results], [row.precision for row in self.results], "o")
        hover(dots, names)
        (star,) = neighbours.plot([self.real.recall], [self.real.precision], "*", color="C3", markersize=12)
        hover(star, ["real text"])
        neighbours.set_xlabel("recall (variety)")
        neighbours.set_ylabel("precision (quality)")
        return figure


def compute(
    source: SampleSource,
    settings: EmbeddingSettings | None = None,
    on_progress: Progress = silent,
    processes: Processes = ALONE,
    *,
    corpus: RealSource = None,
) -> Embedding:
    """Compare the samples of a run, or other texts, with real held-out text.

    Arguments are as for `lebm_text.reports.perplexity.compute`; processes share the generation of samples.

    Raises:
        InputError: a text or the encoder is missing or cannot be read, or a text is too short.
    """
    settings = settled(settings, EmbeddingSettings)
    check_judges()
    real = find_real(source, settings, processes, corpus=corpus)
    k, seed, split = settings.k, settings.seed, settings.split
    if settings.n is not None and settings.n > (n_real := len(real.text.held_out)):
        raise InputError(f"{real.text.name} {split} has {n_real:,} sentences, fewer than are asked for by n")
    encoders: list[SentenceEncoder] = []

    def check(n_samples: int) -> None:
        encoders.append(encoder_for(real.text, n_samples, settings.encoder, settings.device, k=k))

    wanted = replace(settings, n=settings.n or N) if isinstance(source, Run) else settings
    samples, sha256 = find_samples(source, wanted, real, on_progress, processes, check=check)
    scores, of_real = score_texts(
        samples, real.text, split, encoders[0], n=settings.n, k=k, seed=seed, on_progress=on_progress
    )
    results = [
        EmbeddedTextScore(**vars(score) | how_decoded(text), n_sentences=len(text.sentences))
        for text, score in zip(samples, scores, strict=True)
    ]
    return Embedding(
        corpus=real.named,
        results=results,
        real=of_real,
        sha256=sha256,
        versions=versions("sentence-transformers", "transformers", "mauve-text"),
    )


def sizes_of(scores: Iterable[EmbeddingScore], real: EmbeddingScore) -> str:
    """Return how many sentences were embedded of each text, and of real data if these were fewer."""
    n = max(score.n for score in scores)
    return f"{n:,} sentences" + ("" if n == real.n else f", those of real data of {real.n:,}")


def encoder_for(
    real: RealText, n_samples: int, name: str = DEFAULT_ENCODER, device: str = "auto", *, k: int = K
) -> SentenceEncoder:
    """Load a sentence encoder, after checking that there are enough samples and real sentences for `k` neighbours.

    Raises InputError if the encoder is missing, or if a text has too few sentences.
    """
    counts = {"real text": len(real.held_out), "real training text": len(real.train), "samples": n_samples}
    check_counts(counts, k)
    encoder = load_encoder(name, str(resolve_device(device)))
    check_counts(counts, k, encoder)
    return encoder


def score_texts(
    texts: Sequence[SampledText],
    real: RealText,
    split: str,
    encoder: SentenceEncoder,
    *,
    n: int | None = None,
    k: int = K,
    seed: int = 1,
    on_progress: Progress = silent,
) -> tuple[list[EmbeddingScore], EmbeddingScore]:
    """Return the scores of each text against real held-out text, and those of real training text.

    At most `n` sentences of each text are embedded, None: 3,000; those of the held-out text only once.
    """
    judge = MeaningJudge(real.held_out, encoder, k=k, seed=seed, name=f"{real.name}-{split}")

    def score(sentences: Sequence[str], name: str, most: int) -> EmbeddingScore:
        n = min(most, len(real.held_out), len(sentences))
        return judge.score(
            sentences, name, n=n, on_done=lambda done: on_progress(f"sentences embedded, {name}", done, 2 * n)
        )

    scores = [score(text.sentences, text.label, n or N) for text in texts]
    return scores, score(real.train, f"{real.name}-train", min(each.n for each in scores))
