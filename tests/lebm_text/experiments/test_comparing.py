"""Reports beside each other: what differs beyond its interval, by which rule, and what is not compared."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lebm_text.errors import InputError
from lebm_text.experiments import comparing
from lebm_text.experiments.comparing import FigureDifference, read_figures
from lebm_text.likelihood.estimates import TextLikelihood
from lebm_text.reports.embedding import EmbeddedTextScore, Embedding
from lebm_text.reports.judged import CorpusSplit
from lm_eval.embedding import EmbeddingScore

from .program import OLD, changed, described, frontier

FRONTIER, LIKELIHOOD = OLD / "frontier-kn5-default-test.json", OLD / "likelihood-test.json"


def compare(first: Path, second: Path) -> list[FigureDifference]:
    """Compare two reports or runs, each of one system."""
    (of_first,), (of_second,) = (read_figures(path).values() for path in (first, second))
    return comparing.compare(of_first, of_second)


@pytest.mark.parametrize(("ratio", "beyond"), [(1.2, False), (1.4, True)])
def test_independent_errors_add_in_squares(tmp_path: Path, ratio: float, beyond: bool) -> None:
    ci95 = [17.706546994079062 * ratio, 25.49308256903279 * ratio]
    other = changed(tmp_path / "b.json", FRONTIER, ppl=21.099659590840847 * ratio, ci95=ci95)
    first, *rest = compare(FRONTIER, other)
    assert first.interval is not None and first.interval.low is not None
    half = math.log(ci95[1] / ci95[0]) / 2 * math.sqrt(2)
    assert first.rule == "independent" and first.interval.value == pytest.approx(ratio)
    assert first.interval.low == pytest.approx(ratio * math.exp(-half))
    assert first.is_beyond is beyond
    assert not any(each.is_beyond for each in rest)


def _signature(**changes: str) -> str:
    signature = json.loads(FRONTIER.read_text())["results"][0]["signature"]
    for before, after in changes.items():
        signature = signature.replace({"judge": "lm:kn5", "n": "n=20", "T": "T=1", "vocab": "closed-18"}[before], after)
    return str(signature)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"judge": "lm:kn3"}, "lm:kn5 against lm:kn3"),
        ({"n": "n=30"}, "test:samples(n=20,decode=sample,T=1) against test:samples(n=30,decode=sample,T=1)"),
        ({"T": "T=0.7"}, "test:samples(n=20,decode=sample,T=1) against test:samples(n=20,decode=sample,T=0.7)"),
        ({"vocab": "closed-20"}, "vocab:closed-18 against vocab:closed-20"),
        ({"judge": "protocol:mine|lm:kn5"}, "nothing against protocol:mine"),
    ],
)
def test_figures_made_otherwise_are_not_compared(tmp_path: Path, change: dict[str, str], why: str) -> None:
    first = compare(FRONTIER, changed(tmp_path / "b.json", FRONTIER, signature=_signature(**change)))[0]
    assert first.interval is None and not first.is_beyond and first.why == why


def test_where_only_one_decoding_is_recorded_the_way_round_is_said(tmp_path: Path) -> None:
    bare = _signature().replace(",decode=sample,T=1", "")
    other = changed(tmp_path / "b.json", FRONTIER, signature=bare)
    for pair, (unknown, known) in (((FRONTIER, other), "BA"), ((other, FRONTIER), "AB")):
        why = next(each.why for each in compare(*pair) if "samples(" in each.why)
        assert f"how {unknown}'s sentences were drawn is not recorded: judge {known}'s as a plain file" in why
    both = changed(tmp_path / "c.json", FRONTIER, signature=bare.replace("n=20", "n=30"))
    assert compare(other, both)[0].why == "test:samples(n=20) against test:samples(n=30)"


def test_another_text_of_the_same_name_is_not_compared(tmp_path: Path) -> None:
    values = json.loads(FRONTIER.read_text())
    values["sha256"]["test"] = "0" * 64
    (tmp_path / "b.json").write_text(json.dumps(values))
    assert all("sha256 of the held-out text" in each.why for each in compare(FRONTIER, tmp_path / "b.json"))


def test_a_judge_that_learned_from_another_text_is_not_compared_but_real_text_by_its_samples_is(tmp_path: Path) -> None:
    values = json.loads(FRONTIER.read_text())
    values["sha256"]["train"] = "0" * 64
    (tmp_path / "b.json").write_text(json.dumps(values))
    for each in compare(FRONTIER, tmp_path / "b.json"):
        assert each.why.startswith("sha256 of the train text:") == each.metric.startswith("FPPL")


def test_a_judge_that_stopped_on_another_text_is_not_compared(tmp_path: Path) -> None:
    for name, valid in (("a", "1"), ("b", "2")):
        values = json.loads(FRONTIER.read_text())
        values["sha256"]["valid"] = valid * 64
        for row in values["results"]:
            row["judge"] = "lstm"
        (tmp_path / f"{name}.json").write_text(json.dumps(values))
    found = compare(tmp_path / "a.json", tmp_path / "b.json")
    assert all(each.why.startswith("sha256 of the valid text:1") for each in found)


@pytest.mark.parametrize(("count", "why"), [("n_left_out", "too long:0 against too long:1"), ("n_unk", "unknown:")])
def test_bounds_of_other_sentences_or_fewer_known_words_are_not_compared(tmp_path: Path, count: str, why: str) -> None:
    values = json.loads(LIKELIHOOD.read_text())
    values["corpus"][count] += 1
    (tmp_path / "b.json").write_text(json.dumps(values))
    (found,) = compare(LIKELIHOOD, tmp_path / "b.json")
    assert found.interval is None and found.why.startswith(why)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("prior:ebm-langevin(4x0.5)", "prior:gaussian"),
        ("|posterior:weighted(3)", ""),
        ("|seed:1", "|seed:2"),
        ("|prior:", "|judge-seed:2|prior:"),
        ("|seed:1", "|samples:other.txt"),  # of another system, whose seed nobody knows
        ("v:0.1.0", "v:9"),
    ],
)
def test_what_is_of_the_system_may_differ(tmp_path: Path, before: str, after: str) -> None:
    assert before in _signature()
    other = changed(tmp_path / "b.json", FRONTIER, signature=_signature().replace(before, after))
    assert compare(FRONTIER, other)[0].interval is not None


def test_sentences_are_paired(tmp_path: Path) -> None:
    """All sentences have 1 to 1.2 nats less: sure in pairs, and not at all beside the spread of sentences."""
    values = json.loads(LIKELIHOOD.read_text())
    for row, more in zip(values["sentences"], (1.0, 1.1, 1.2), strict=True):
        row["log_p_lower"] -= more
    values["ais"]["nll"] += 1.1
    (tmp_path / "b.json").write_text(json.dumps(values))
    (found,) = compare(LIKELIHOOD, tmp_path / "b.json")
    assert found.rule == "paired, sentences" and found.is_beyond and found.interval is not None
    assert found.interval.value == pytest.approx(1.1)
    values["sentences"][0]["log_p_lower"] = None
    (tmp_path / "b.json").write_text(json.dumps(values))
    (found,) = compare(LIKELIHOOD, tmp_path / "b.json")
    assert found.rule == "independent" and not found.is_beyond
    values["sentences"][0]["log_p_lower"], values["sentences"][1]["log_p_lower"] = -1.0, None
    (tmp_path / "c.json").write_text(json.dumps(values))
    (found,) = compare(tmp_path / "b.json", tmp_path / "c.json")  # as many, and not the same ones
    assert found.rule == "independent"


def test_a_report_beside_itself_differs_in_nothing_and_leaves_nothing_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING", "lebm_text"):
        (found,) = compare(LIKELIHOOD, LIKELIHOOD)
    assert found.interval is not None and found.interval.low == found.interval.high == 0
    assert found.rule == "paired, sentences" and not found.is_beyond
    assert caplog.messages == []


def test_seeds_are_paired(tmp_path: Path) -> None:
    """Seeds differ by more than the systems do: 3 % is sure in pairs."""
    for name, ratios in (("a", (1.0, 1.5, 2.0)), ("b", (1.03, 1.5 * 1.031, 2.0 * 1.029))):
        values = json.loads(FRONTIER.read_text())
        first = values["results"][0]
        values["results"] = [{**first, "seed": seed, "ppl": 20 * ratio} for seed, ratio in enumerate(ratios)]
        values["points"] = [{**values["points"][0], "seed": seed} for seed in range(3)]
        (tmp_path / f"{name}.json").write_text(json.dumps(values))
    (found,) = compare(tmp_path / "a.json", tmp_path / "b.json")
    assert (found.rule, found.is_beyond) == ("paired, seeds", True)
    assert (
        found.interval is not None and found.interval.n == 3 and found.interval.value == pytest.approx(1.03, abs=1e-4)
    )
    mean = 20 * 3 ** (1 / 3)  # geometric
    assert found.values == pytest.approx((mean, mean * 1.03), rel=1e-4)
    values = json.loads((tmp_path / "b.json").read_text())
    values["results"][0]["ppl"] = None  # infinite
    (tmp_path / "c.json").write_text(json.dumps(values))
    (unknown,) = compare(tmp_path / "a.json", tmp_path / "c.json")
    assert (unknown.rule, unknown.is_beyond) == ("paired, seeds", False)
    values = json.loads((tmp_path / "b.json").read_text())
    values["results"].reverse()  # the mean is over all of them, in whatever order
    for row in values["results"]:
        row["seed"] += 3
    (tmp_path / "b.json").write_text(json.dumps(values))
    (found,) = compare(tmp_path / "a.json", tmp_path / "b.json")
    assert (found.rule, found.is_beyond) == ("independent", False)
    assert found.interval is not None and found.interval.value == pytest.approx(1.03, abs=1e-4)


def test_the_values_beside_a_ratio_are_of_the_seeds_that_are_paired(tmp_path: Path) -> None:
    """Of the third seed, which only the first has, the figure is high: with it the first would look worse."""
    for name, ratios in (("a", (1.0, 1.5, 9.0)), ("b", (1.03, 1.5 * 1.031))):
        values = json.loads(FRONTIER.read_text())
        first, point = values["results"][0], values["points"][0]
        values["results"] = [{**first, "seed": seed, "ppl": 20 * ratio} for seed, ratio in enumerate(ratios)]
        values["points"] = [{**point, "seed": seed} for seed in range(len(ratios))]
        (tmp_path / f"{name}.json").write_text(json.dumps(values))
    (found,) = compare(tmp_path / "a.json", tmp_path / "b.json")
    assert found.interval is not None and found.interval.value == pytest.approx(1.0305, abs=1e-4)
    assert found.values == pytest.approx((20 * 1.5**0.5, 20 * 1.5**0.5 * 1.0305), rel=1e-4)


@pytest.mark.parametrize(("more", "beyond"), [(5.0, False), (6.0, True)])
def test_distances_of_meaning_are_compared_decoding_by_decoding(tmp_path: Path, more: float, beyond: bool) -> None:
    first = described(frontier([(9.0, 9.0, 1.0), (8.0, 8.0, 0.5)]))
    changed = {text: replace(score, frechet=score.frechet + more) for text, score in first.meaning.items()}
    first.save(tmp_path / "a.json")
    replace(first, meaning=changed).save(tmp_path / "b.json")
    found = [each for each in compare(tmp_path / "a.json", tmp_path / "b.json") if each.metric.startswith("FED")]
    assert [each.metric for each in found] == ["FED, T = 1", "FED, T = 0.5"]
    for each in found:
        assert each.interval is not None and each.interval.low is not None
        assert (each.rule, each.is_ratio, each.is_beyond) == ("independent", False, beyond)
        # each interval is 1 to 9
        assert each.interval.low == pytest.approx(more - 4 * math.sqrt(2))
    one_decoding = described(frontier([(9.0, 9.0, 1.0)]))
    one_decoding.save(tmp_path / "c.json")
    missing = compare(tmp_path / "a.json", tmp_path / "c.json")[-1]
    assert missing.metric == "FED, T = 0.5" and missing.interval is None
    assert missing.why == "T = 0.5 against T = 1"
    assert compare(tmp_path / "c.json", tmp_path / "a.json")[-1].why == "T = 1 against T = 0.5"


def test_a_report_of_meaning_alone_is_compared(tmp_path: Path) -> None:
    figures: dict[str, Any] = dict.fromkeys(("precision", "recall", "density", "coverage"), 0.5)
    figures |= {"n": 9, "k": 5, "encoder": "e", "signature": "FED|enc:e|test:toy-test|n:9|k:5"}
    for name, frechet in (("a", 12.0), ("b", 20.0)):
        figures |= {"frechet": frechet, "ci95": {"frechet": (frechet - 3, frechet + 3)}}
        row = EmbeddedTextScore(**figures, text="samples", n_sentences=9)
        corpus, real = CorpusSplit("toy", "test"), EmbeddingScore(**figures)
        Embedding(corpus=corpus, results=[row], real=real, sha256={}, versions={}).save(tmp_path / f"{name}.json")
    (found,) = compare(tmp_path / "a.json", tmp_path / "b.json")
    assert (found.metric, found.values, found.is_beyond) == ("FED", (12.0, 20.0), True)
    assert found.interval is not None and found.interval.low == pytest.approx(8 - 3 * math.sqrt(2))


def test_reports_without_figures_are_refused(tmp_path: Path) -> None:
    said = r"has no report of evaluate, fppl, rppl, likelihood or fed to compare"
    with pytest.raises(InputError, match=f"{said}$"):
        compare(OLD / "views.json", FRONTIER)
    run = tmp_path / "run"
    run.mkdir()
    with pytest.raises(InputError, match=f"{said}; make one first: lebm-text evaluate --run {run}$"):
        compare(run, FRONTIER)
    assert compare(FRONTIER, LIKELIHOOD)[0].why == "the other has no such figure"


@pytest.mark.parametrize("changes", [{"ppl": -21.0}, {"ppl": 0.0}, {"ci95": [-1.0, 2.0]}])
def test_a_perplexity_that_is_none_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    other = changed(tmp_path / "b.json", FRONTIER, **changes)
    with pytest.raises(InputError, match=r"b\.json is damaged: it has a perplexity that is not above 0"):
        compare(FRONTIER, other)


def _run(path: Path, **reports: Path) -> Path:
    """A run of some reports alone."""
    (path / "eval").mkdir(parents=True)
    for name, source in reports.items():
        shutil.copy(source, path / "eval" / f"{name}.json")
    return path


def test_what_either_alone_has_is_listed_whichever_comes_first(tmp_path: Path) -> None:
    both, one = _run(tmp_path / "both", a=FRONTIER, b=LIKELIHOOD), _run(tmp_path / "one", a=FRONTIER)
    (alone,) = [each for each in compare(both, one) if each.why]
    (mirrored,) = [each for each in compare(one, both) if each.why]
    assert alone.metric == mirrored.metric == "nll per sentence, nats"
    assert alone.values == mirrored.values[::-1] and mirrored.values[0] is None
    assert (alone.why, mirrored.why) == ("the other has no such figure", "the first has no such figure")


def test_no_two_rows_have_one_name(tmp_path: Path) -> None:
    values = json.loads(LIKELIHOOD.read_text())
    values["corpus"] |= {"split": "valid", "sha256": "0" * 64}
    values["signature"] = values["signature"].replace("tiny-corpus-test", "tiny-corpus-valid")
    (tmp_path / "valid.json").write_text(json.dumps(values))
    more = {"a": LIKELIHOOD, "b": tmp_path / "valid.json", "c": FRONTIER}
    more["d"] = changed(tmp_path / "kn3.json", FRONTIER, signature=_signature(n="n=30"))
    names = [each.metric for each in compare(_run(tmp_path / "run", **more), tmp_path / "run")]
    assert len(set(names)) == len(names)
    assert (
        "nll per sentence, nats (tiny-corpus-test)" in names and "nll per sentence, nats (tiny-corpus-valid)" in names
    )
    assert "FPPL by kn5, T = 1 (test:samples(n=30,decode=sample,T=1))" in names
    # and not where one is the first's and one the other's
    names = [
        each.metric for each in compare(LIKELIHOOD, _run(tmp_path / "other", a=tmp_path / "valid.json", c=FRONTIER))
    ]
    assert len(set(names)) == len(names)


def _exact(path: Path, *fields: str) -> Path:
    """A report of a language model: log p(x) is exact, of all three sentences or also of the first two."""
    values = json.loads(LIKELIHOOD.read_text())
    text = {name: values["ais"][name] for name in TextLikelihood.__dataclass_fields__}
    values |= {"ais": None, "importance": None, "sentences": []}
    values |= {name: text | {"n_sentences": 2 if name == "exact" else 3} for name in fields}
    path.write_text(json.dumps(values))
    return path


def test_exact_figures_of_all_sentences_are_compared(tmp_path: Path) -> None:
    both, of_all = _exact(tmp_path / "a.json", "exact", "exact_of_all"), _exact(tmp_path / "b.json", "exact_of_all")
    found = [(each.metric, each.interval is not None) for each in compare(both, of_all)]
    assert found == [
        ("nll per sentence, nats (sentences:3)", True),
        ("nll per sentence, nats (sentences:2)", False),
    ]


def test_reports_that_are_left_out_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    none = _exact(tmp_path / "none.json")
    with pytest.raises(InputError, match=r"to compare \(none.json: log p\(x\) of no sentences"):
        compare(none, FRONTIER)
    stale = changed(tmp_path / "stale.json", FRONTIER)
    values = json.loads(stale.read_text())
    values["sha256"]["weights"] = "0" * 64
    stale.write_text(json.dumps(values))
    run = _run(tmp_path / "run", none=none, stale=stale, sound=FRONTIER)
    (run / "model.safetensors").write_bytes(b"present")
    with caplog.at_level("WARNING", "lebm_text"):
        compare(FRONTIER, run)
    assert [each.partition(": ")[2] for each in caplog.messages] == [
        "stale.json: of weights that the run no longer has",
        "none.json: log p(x) of no sentences, neither exact nor from below (likelihood -n 0)",
    ]


def test_one_sentence_tells_no_interval(tmp_path: Path) -> None:
    values = json.loads(LIKELIHOOD.read_text())
    values["ais"]["nll_standard_error"] = None
    values["sentences"] = []
    for name, more in (("a", 0.0), ("b", 1.0)):
        values["ais"]["nll"] += more
        (tmp_path / f"{name}.json").write_text(json.dumps(values))
    for pair in ((tmp_path / "a.json", tmp_path / "b.json"), (LIKELIHOOD, tmp_path / "b.json")):
        for one, other in (pair, pair[::-1]):
            (found,) = compare(one, other)
            assert found.interval is not None and found.interval.low is None and not found.is_beyond


def test_a_report_may_have_any_name(tmp_path: Path) -> None:
    shutil.copy(FRONTIER, tmp_path / "report")
    assert all(each.is_beyond is False and not each.why for each in compare(FRONTIER, tmp_path / "report"))


def test_a_text_is_no_report(tmp_path: Path) -> None:
    (tmp_path / "samples.txt").write_text("a sentence\n")
    with pytest.raises(InputError, match=r"samples.txt is no report.*: lebm-text fppl --samples .*samples.txt"):
        compare(FRONTIER, tmp_path / "samples.txt")
    for name in ("broken.json", "missing.txt"):  # neither is a text
        (tmp_path / "broken.json").write_text("{")
        with pytest.raises(InputError) as refused:
            compare(FRONTIER, tmp_path / name)
        assert "make one first" not in str(refused.value)
