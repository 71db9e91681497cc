"""Tables of reports: each figure stands under its own heading, in the row of what it belongs to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from lebm_text.likelihood.diagnostics import BracketLikelihood
from lebm_text.likelihood.estimates import Difference, Estimate, ImportanceLikelihood, Spread
from lebm_text.reports import load
from lebm_text.reports.anomaly import Anomaly
from lebm_text.reports.base import Report
from lebm_text.reports.directions import Directions
from lebm_text.reports.embedding import EmbeddedTextScore, Embedding
from lebm_text.reports.frontier import Frontier
from lebm_text.reports.grids import Grid, number, parts
from lebm_text.reports.interpolation import Interpolation, Point
from lebm_text.reports.judged import CorpusSplit, MetricSpread
from lebm_text.reports.likelihood import Likelihood
from lebm_text.reports.neighbours import Neighbour, Neighbours, Query
from lebm_text.reports.perplexity import Perplexity
from lebm_text.reports.probes import Accuracy
from lebm_text.reports.trajectories import Trajectories
from lebm_text.reports.views import Views
from lm_eval.diversity import compare_each
from lm_eval.embedding import EmbeddingScore
from lm_eval.judges import TrainingReport
from lm_eval.perplexity import SeedSpread

OLD = Path(__file__).parents[2] / "data" / "run-0.1.0" / "eval"
VARIETY = compare_each([["a b c d e"] * 2], ["a b c d", "b c d e", "c d e f"], ["a b c d"])[0]
OF_REAL = f"{VARIETY.real_self_bleu.score:.1f}"
LOOKS: dict[str, Any] = {
    "empty_rate": 0.01,
    "duplicate_rate": 0.03,
    "in_train_rate": 0.04,
    "unk_rate": 0.05,
    "mean_length": 4.5,
    "length_quantiles": (1.0, 2.0, 3.0, 4.0, 5.0),
}


def _score(**changes: Any) -> dict[str, Any]:
    figures = {"frechet": 12.3, "precision": 0.4, "recall": 0.6, "density": 0.7, "coverage": 0.8, "n": 9, "k": 5}
    ci95 = {"frechet": (10.0, 14.0), "precision": (0.3, 0.5), "recall": (0.55, 0.65)}
    return {**figures, "ci95": ci95, "encoder": "e", "signature": "FED|toy", **changes}


def _shown(report: Report) -> tuple[list[list[list[str]]], list[str]]:
    """Cells of each table, headings first, and the lines between the tables."""
    tables, lines = [], []
    for part in parts(report.table()):
        if isinstance(part, Grid):
            tables.append([[cell.text for cell in row] for row in (part.headings, *part.rows)])
        else:
            lines.append(part)
    return tables, lines


def test_frontier() -> None:
    old = load(OLD / "frontier-kn5-default-test.json")
    assert isinstance(old, Frontier)
    samples = replace(old.results[0].samples, **LOOKS, truncated_rate=0.02)
    results = [replace(row, samples=samples, diversity=VARIETY) for row in old.results]
    meaning = {row.text: EmbeddingScore(**_score()) for row in results}
    real = EmbeddingScore(**_score(frechet=2.0, precision=0.5, recall=0.25))
    (figures, described), _ = _shown(replace(old, results=results, meaning=meaning, real_meaning=real))
    further = ["FED", "precision", "recall"]
    assert figures[0] == ["decoding", "judge", "FPPL", "ratio", "RPPL", "ratio", "outside vocab.", *further]
    assert figures[1] == ["T = 1", "kn5", "21.10", "4.853", "17.36", "3.992", "", "12.3", "0.400", "0.600"]
    assert [row[0] for row in figures[2:4]] == ["T = 0.5", "greedy"]
    assert figures[4] == ["real data", "kn5", "4.35", "1.000", "4.35", "1.000", "", "2.0", "0.500", "0.250"]
    assert figures[5] == ["real data, 20 sentences", "kn5", "", "", "7.84", "1.802", "", "", "", ""]
    looks = ["decoding", "words", "empty", "cut", "dupl.", "copied", "self-BLEU", "4-grams of train"]
    assert described[:2] == [looks, ["T = 1", "4.5", "1.0%", "2.0%", "3.0%", "4.0%", "100.0", "0.500"]]
    assert described[-1] == ["real data", "6.3", "", "", "", "", OF_REAL, "0.333"]


def test_perplexity() -> None:
    old = load(OLD / "fppl-kn5-default-test.json")
    assert isinstance(old, Perplexity)
    (row,) = old.results
    train = replace(row.train, mean_length=6.5, length_quantiles=(6.0, 7.0, 8.0, 9.0, 9.5))
    held_out = replace(row.real, **LOOKS | {"duplicate_rate": 0.3, "in_train_rate": 0.4, "unk_rate": 0.5})
    samples = replace(row.samples, **LOOKS, truncated_rate=None, length_distance=1.25, path=None)
    row = replace(row, samples=samples, real=held_out, train=train, diversity=VARIETY, n_oov=7, ppl_excluding_oov=19.5)
    (table,), lines = _shown(replace(old, results=[row]))
    counts = ["outside vocab.", "excl. OOV", "OOV", "ratio", "bits/byte"]
    assert table[0] == ["text", "judge", "FPPL", "95 %", *counts]
    assert table[1] == ["samples, T = 1", "kn5", "21.10", "17.71 to 25.49", "", "19.50", "7", "4.853", "1.304"]
    of_real = ["real data (train → held out)", "kn5", "4.35", "3.95 to 4.73", "", "", "", "", "0.585"]
    assert table[2:4] == [of_real, ["5-gram samples", "kn5", "6.47", "", "", "", "", "1.489", ""]]
    assert lines[-4:-1] == [
        "words per sentence (mean, 5/25/50/75/95 % points): 4.5 1/2/3/4/5 (train 6.5 6/7/8/9/9.5, held out "
        "4.5 1/2/3/4/5), distance to train 1.25",
        "1.0% empty, cut off unknown, 3.0% duplicates (real 30.0%), 4.0% verbatim in train (real 40.0%), "
        "5.0% with <unk> (real 50.0%)",
        "distinct-1..4 0.500/0.500/0.500/0.500 (real 0.625/0.667/0.750/1.000), seq-rep-4 0.000 (real 0.000), "
        f"self-BLEU 100.0 (real {OF_REAL}), BLEU {VARIETY.bleu.score:.1f} (real {VARIETY.real_bleu.score:.1f})",
    ]
    assert lines[-1].endswith("-grams that stand in train 0.667/0.500/0.000 (real 0.500/0.333/0.000)")


def test_spread_over_seeds_and_training_of_judges() -> None:
    old = load(OLD / "rppl-kn5-default-test.json")
    assert isinstance(old, Perplexity)
    both, of_judges = SeedSpread(12.0, 1.0, 2.0, 3, 4), SeedSpread(9.0, 0.5, None, 3, 1)
    spread = MetricSpread(
        metric="rppl", judge="lstm", decode="sample", temperature=0.5, ppl=both, ratio=both, real_ppl=of_judges
    )
    training = TrainingReport(6, 4, 90.0, 7.5, "bf16", cached=True)
    row = replace(old.results[0], judge="lstm", judge_seed=1, training=training)
    rows = [row, replace(row, judge_seed=2, training=replace(training, seconds=120.0, cached=False))]
    (table,), lines = _shown(replace(old, results=rows, spread=[spread]))
    assert "RPPL, T = 0.5 by lstm: mean 12.00, sd 1.00 over 3 judge seeds, sd 2.00 over 4 sample seeds" in lines
    assert "real data by lstm: mean 9.00, sd 0.50 over 3 judge seeds" in lines
    assert lines[-2:] == [
        "judge lstm #1: 6 epochs in 1.5 min, bf16, validation perplexity 7.50, from the cache",
        "judge lstm #2: 6 epochs in 2.0 min, bf16, validation perplexity 7.50",
    ]
    assert table[-1][:4] == ["real data, 20 sentences", "lstm", "7.84", ""]


def test_likelihood() -> None:
    old = load(OLD / "likelihood-test.json")
    assert isinstance(old, Likelihood) and old.ais is not None and old.log_z is not None and old.latent is not None
    text = replace(old.ais, bits_per_byte=1.25, bits_per_byte_standard_error=0.01)
    few = Spread(7.0, 8.0, 9.0)
    importance = ImportanceLikelihood(3, 100.0, 2, few, replace(text, n_sentences=2), Difference(2, -0.125, 0.5))
    estimates = [Estimate(float(i), 0.5) for i in range(10)]
    report = replace(
        old,
        ais=text,
        importance=importance,
        log_z=replace(old.log_z, forward=estimates[0], reverse=estimates[1], importance=estimates[2], acceptance=0.6),
        chain_gap=estimates[3],
        latent=replace(old.latent, reconstruction_nll=estimates[4], information=estimates[5], active_units=3),
        encoder_kl=estimates[6],
        bracket=BracketLikelihood(4, -9.0, -8.0, Estimate(1.0, 0.25), 2.0),
    )
    (texts, behind), _ = _shown(report)
    assert texts[0] == ["", "sentences", "nll per sentence", "± sampling z", "perplexity", "bits per byte"]
    figures = ["14.078 ± 1.157", "0.018", "7.471 ± 0.203", "1.2500 ± 0.0100"]
    assert texts[1:] == [
        ["from below, by AIS", "3", *figures],
        ["by importance sampling, reliable ones", "2", *figures],
    ]
    assert dict(behind[1:]) == {
        "log Z by forward AIS, from below": "0.0000 ± 0.5000",
        "log Z by reverse AIS, from above": "1.0000 ± 0.5000",
        "log Z by importance sampling": "2.0000 ± 0.5000",
        "acceptance of the chains for log Z": "0.600",
        "f of the chain that generates minus f of the density": "3.0000 ± 0.5000",
        "acceptance of AIS, median (smallest)": "0.51 (0.35)",
        "effective chains of 2, median (smallest)": "2.00 (2.00)",
        "sentences with at least 100 effective samples": "2 of 3",
        "effective samples, median (smallest)": "8.00 (7.00)",
        "importance sampling minus AIS, same sentences, mean": "-0.125",
        "importance sampling minus AIS, same sentences, largest": "0.500",
        "reconstruction nll, no likelihood: z has seen x": "4.0000 ± 0.5000",
        "information, what z carries about a sentence": "5.0000 ± 0.5000",
        "active units of z": "3",
        "KL of q(z|x) from the prior": "6.0000 ± 0.5000",
        "simulated sentences kept for the bracket, the others too long": "4 of 0",
        "log p(x) of 4 simulated sentences, from below": "-9.000",
        "log p(x) of 4 simulated sentences, from above": "-8.000",
        "gap between the two, mean": "1.0000 ± 0.2500",
        "gap between the two, largest": "2.000",
    }
    exact = replace(
        report, ais=None, importance=None, exact=replace(text, nll=2.0), exact_of_all=replace(text, nll=3.0)
    )
    (texts, _), _ = _shown(exact)
    assert [(row[0], row[2]) for row in texts[1:]] == [
        ("exact, those that other models are bounded on", "2.000 ± 1.157"),
        ("exact, all", "3.000 ± 1.157"),
    ]


def test_anomaly() -> None:
    report = load(OLD / "anomaly-tiny-corpus.json")
    assert isinstance(report, Anomaly)
    (scores, compared), _ = _shown(report)
    assert scores[0] == ["system", "score", "AUROC", "95 %", "AUPRC", "95 %"]
    assert scores[1] == ["run-0.1.0", "-log p(x,z)", "0.753", "0.654 to 0.895", "0.807", "0.762 to 0.926"]
    assert scores[4][:2] == ["run-0.1.0", "-log p(x,z) per token"]
    assert compared[0] == ["model", "score", "baseline", "AUROC difference", "95 %", "the model is"]
    assert compared[1] == ["run-0.1.0", "-log p(x,z)", "kn5", "-0.247", "-0.346 to -0.105", "worse"]


def test_interpolation() -> None:
    points = [Point(0.25, -1.5, 2.0, -3.0, -4.0, "a dog")]
    ((table,), _) = _shown(
        Interpolation(signature="", a="a", b="b", paths={"straight": points}, sha256={}, versions={})
    )
    assert table == [
        ["straight", "f", "‖z‖", "log p(A|z)", "log p(B|z)", "sentence"],
        ["0.25", "-1.50", "2.00", "-3.0", "-4.0", "a dog"],
    ]


def test_embedding() -> None:
    row = EmbeddedTextScore(**_score(mauve=0.9), text="samples", n_sentences=20)
    real = EmbeddingScore(**_score(frechet=2.0))
    report = Embedding(corpus=CorpusSplit("toy", "test"), results=[row], real=real, sha256={}, versions={})
    (table,), _ = _shown(report)
    assert table == [
        ["text", "FED", "95 %", "precision", "recall", "density", "coverage", "MAUVE"],
        ["samples", "12.3", "10.0 to 14.0", "0.400", "0.600", "0.700", "0.800", "0.900"],
        ["real data (train)", "2.0", "10.0 to 14.0", "0.400", "0.600", "0.700", "0.800", ""],
    ]


def test_directions() -> None:
    report = load(OLD / "directions.json")
    assert isinstance(report, Directions)
    accuracy = replace(report.accuracy[0], probe=Accuracy(0.4, 0.125, 0.01, [0.4]))
    (accuracies, moved, _), lines = _shown(replace(report, accuracy=[accuracy]))
    assert accuracies == [["labels", "probe of posterior means", "bag of words"], ["10", "0.400 ± 0.125", "0.950"]]
    assert lines[0] == "the majority class has an accuracy of 0.650"
    assert moved[0] == ["", "-4", "-2", "+0", "+2", "+4"]
    assert [(row[0], row[4]) for row in moved[1:]] == [
        ("along the direction", "0.25 ± 0.22"),
        ("along a random one", "0.00 ± 0.00"),
    ]


def test_views() -> None:
    report = load(OLD / "views.json")
    assert isinstance(report, Views)
    (table,), (line,) = _shown(report)
    assert table[:2] == [
        ["", "mean f", "mean ‖z‖", "variance per dimension"],
        ["p0", "0.048 ± 0.000", "1.878 ± 0.126", "0.987"],
    ]
    assert line == "the axes have 34.7% and 30.7% of the variance of all sets together"


def test_neighbours() -> None:
    query = Query("a cat", [Neighbour(0.125, "a dog"), Neighbour(0.25, "the cat")], 0.5)
    (table,), lines = _shown(Neighbours(signature="", n_sentences=2000, queries=[query], sha256={}, versions={}))
    assert lines == ["a cat"]
    assert table[1:] == [["0.125", "a dog"], ["0.250", "the cat"], ["0.500", "on average, 2,000 sentences"]]


def test_trajectories() -> None:
    report = load(OLD / "trajectories.json")
    assert isinstance(report, Trajectories)
    (steps, judged, windows, sentences), _ = _shown(report)
    assert steps[0] == ["step", "f(z), nats", "f(z) + log p0(z), nats", "‖z‖", "‖∇ log p(z)‖"]
    assert steps[3][0] == "4" and steps[3][2] == "-4.91 (-6.98 to -4.37)"
    assert judged[0] == ["step", "decode", "FPPL", "RPPL"]
    assert judged[1] == ["0", "sample", "22.67 (16.80 to 29.92)", "21.85 (19.94 to 23.81)"]
    assert judged[-1] == ["real text", "", "4.35 (3.95 to 4.73)", "11.86"]
    assert windows[1] == ["1 to 4", "0.0496 ± 0.0004"]
    assert sentences[4] == ["0", "sample", "40", "0.05", "a sees old owl the dog bird"]


def test_numbers_have_four_digits_and_thousands_separators() -> None:
    shown = {
        0.00012345: "0.0001234", -2.5: "−2.5", 999.94: "999.9", 999.97: "1,000", 1234.5: "1,234", 9999.6: "10,000",
        123456.7: "123,457", 12345: "12,345", float("inf"): "–", float("nan"): "–",
    }  # fmt: skip
    assert {value: number(value) for value in shown} == shown
