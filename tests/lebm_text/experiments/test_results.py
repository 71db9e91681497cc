"""The table of an experiment: what stands in reports stands in it, and what is missing is missing there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lebm_text.errors import InputError
from lebm_text.experiments.markdown import markdown
from lebm_text.experiments.results import gather
from lebm_text.experiments.rows import Row
from lebm_text.likelihood.diagnostics import LatentUse
from lebm_text.likelihood.estimates import Estimate
from lebm_text.reports.frontier import Frontier
from lebm_text.reports.likelihood import Likelihood
from lm_eval.diversity import Diversity, self_bleu

from .program import REAL, Program, carry_out, experiment, started


def test_the_table_says_what_the_reports_say(done: Path) -> None:
    results = gather(experiment(), done)
    record = results.record()
    lebm, language_model = record["rows"]["lebm"], record["rows"]["lm"]
    assert lebm["kn5"]["T=1"]["fppl"]["value"] == pytest.approx((10 * 11) ** 0.5)
    assert lebm["kn5"]["T=1"]["distinct"]["value"] == pytest.approx(0.75)
    assert lebm["lstm"].keys() == {"T=1", "T=0.5"}
    assert lebm["lstm"]["T=1"]["rppl"] == _of_one(12.0)
    assert lebm["likelihood"]["active_units"]["value"] == 6
    assert language_model["likelihood"]["nll"]["value"] == 20.0
    assert lebm["cost"]["minutes"]["value"] == 1.5
    assert lebm["validation"] == {"valid_ppl": _interval(5.0, 5.0, 5.0, 5.0, 5.0)}
    comparison, of_lstm = record["comparisons"]
    assert of_lstm["ratios"]["T=0.5"]["fppl"] == _of_one(10 / 12)
    assert comparison["ratios"]["T=1"]["fppl"]["value"] == pytest.approx((10 / 12 * 11 / 13) ** 0.5)
    at_second, at_first = (
        [ratio[key] for ratio in comparison["ratios"].values()] for key in ("rppl_at_second", "rppl_at_first")
    )
    assert at_second[0] is at_second[2] is None  # the twin's FPPL is beyond the frontier; greedy is no part of one
    assert at_second[1]["value"] == pytest.approx((6 * 6 / 5 / 7 * 6.5 * 6.5 / 5.5 / 7.5) ** 0.5)
    # the twin's frontiers are (6, 7) to (12, 14) and (6.5, 7.5) to (13, 15), lines of slope 1 in logarithms
    assert at_first[0]["value"] == pytest.approx((12 / (10 * 7 / 6) * 13 / (11 * 7.5 / 6.5)) ** 0.5)
    assert at_first[0]["low"] < at_first[0]["value"] < at_first[0]["high"]
    assert at_first[1] is at_first[2] is None
    at_n = REAL + 1  # and four times that from seed 2, which the LSTM judge does not read
    assert results.real == {
        "kn5": {"ppl": pytest.approx(REAL), "rppl_at_n": pytest.approx(2 * at_n)},
        "lstm": {"ppl": pytest.approx(REAL), "rppl_at_n": pytest.approx(at_n)},
    }
    assert results.known == {"5-gram samples": {"fppl": 6.25, "rppl": 5.0}}
    distances = record["distances"]["5-gram samples"]
    # from (5, 6) to (10, 12) and from (5.5, 6.5) to (11, 13): lines of slope 1 in logarithms
    assert distances["lebm"] is not None
    assert distances["lebm"]["value"] == pytest.approx(6.25 / 5 * (6 / 5 * 6.5 / 5.5) ** 0.5)
    assert distances["gaussian"] is None  # of seed 2 the least FPPL is 6.5
    text = markdown(results, "lebm-text experiment tiny")
    for part in ("LEBM", "a language model", "10.49 [", "5-gram samples", "chosen**", "RPPL|{'decode'", "log_p\\|toy"):
        assert part in text or part.replace("\\|", "|") in text, part
    assert "| RPPL at the FPPL of its twin | – | 1.026 [" in text
    assert "| RPPL at the FPPL of LEBM | 1.026 [" in text
    assert "| LEBM | 1.489 [" in text.partition("## Compared with n-gram samplers")[2]
    assert "| LEBM | 1, 2 |" in text
    behind = text.partition("## Details of the likelihoods")[2]
    assert "| LEBM | – | 1.25 | 0.00 | – | 6.50 |" in behind
    assert "| a language model | 5.50 | – | – | – | – |" in behind
    assert "seed by seed (2 pairs), with 95 % intervals; below 1 the first row is better" in text
    of_one = markdown(gather(experiment().narrowed(seeds=(1,)), done), "lebm-text experiment tiny")
    assert "KN5 figures, of one seed; below 1 the first row is better" in of_one
    assert "## LEBM / its twin, LSTM" in of_one
    assert "| LEBM | RPPL, LSTM | 12.00 | 6.00 | – |" in of_one
    assert "FPPL, LSTM" in of_one
    without = markdown(gather(experiment().narrowed(skip=["lstm"]), done), "lebm-text experiment tiny")
    assert "FPPL, LSTM" not in without.partition("## Tuning")[0]
    assert "| LEBM | 1, 2 | 2.0 | 10.49 [" in without
    assert json.loads(json.dumps(record))["rows"]["lm"]["seeds"] == [1, 2]


def test_rows_without_models_and_what_sentences_are_about_have_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.txt"
    other.write_text("a b c\n")
    asked = started(other)
    carry_out(tmp_path, Program(), monkeypatch, asked)
    results = gather(asked, tmp_path)
    assert results.missing == []
    lebm, oracle, of_file = (results.record()["rows"][name] for name in ("lebm", "oracle", "other"))
    assert of_file["kn5"] == {"T=1": {name: _of_one(value) for name, value in {**OTHER, "distinct": 0.6}.items()}}
    assert (of_file["seeds"], of_file["cost"]["epochs"], oracle["cost"]["epochs"]) == ([1], None, None)
    assert oracle["kn5"].keys() == {"T=1", "T=0.5"}
    assert oracle["seeds"] == [1, 2]
    (tmp_path / "lebm-seed2" / "eval" / "frontier-oracle.json").rename(tmp_path / "kept")
    assert gather(asked, tmp_path).rows["oracle"].seeds == [1]
    (tmp_path / "kept").rename(tmp_path / "lebm-seed2" / "eval" / "frontier-oracle.json")
    assert oracle["kn5"]["T=1"]["fppl"]["value"] == pytest.approx(lebm["kn5"]["T=1"]["fppl"]["value"] / 2)
    ratios = results.record()["comparisons"][0]["ratios"]["T=1"]
    assert ratios["fppl"]["value"] == ratios["frechet"]["value"] == pytest.approx(2)
    assert ratios["frechet_at_second"]["value"] == pytest.approx(4 / 1.5)  # LEBM has that FPPL at T = 0.5
    assert of_file["meaning"]["T=1"] == {  # over its samples
        "frechet": _interval(3.0, 1.0, 9.0),
        "precision": _interval(0.5, 0.4, 0.6),
        "recall": _interval(0.25, 0.2, 0.3),
    }
    assert oracle["meaning"]["T=1"]["frechet"] == _interval(1.5, 1.5, 1.5, 1.5, 1.5)  # over seeds
    assert results.real["meaning"] == {"frechet": 2.0, "precision": 0.5, "recall": 0.25}
    assert lebm["variety"]["T=1"]["self_bleu"]["value"] == pytest.approx(100)
    assert lebm["variety"]["T=1"]["in_train"]["value"] == 0.5
    of_real = self_bleu(["a b c d", "b c d e", "c d e f"]).score
    assert results.real["variety"] == pytest.approx({"self_bleu": of_real, "in_train": 1 / 3})
    text = markdown(results, "")
    about = text.partition("## Sentence embeddings")[2].partition("## Diversity and")[0]
    assert "| real text | Fréchet distance | 2.0 | – | – |" in about
    assert "| another system | Fréchet distance | 3.0 [1.0, 9.0] | – | – |" in about
    assert "| LEBM | 4-grams of train | 0.500 | 0.500 | 0.500 |" in text.partition("## Diversity and")[2]
    signatures = text.partition("## Signatures")[2]
    assert all(f"- `{kind}|" in signatures for kind in ("FED", "self-BLEU", "distinct"))


def test_a_row_of_the_name_of_a_judge_keeps_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = experiment(rows=(Row("lstm", "an LSTM", "lm"),), compare=())
    carry_out(tmp_path, Program(), monkeypatch, asked)
    found = gather(asked, tmp_path).record()["rows"]["lstm"]
    assert (found["lstm"]["T=1"]["fppl"]["n"], found["likelihood"]["nll"]["n"]) == (1, 2)


OTHER = {"fppl": 7.0, "rppl": 8.0}


def _of_one(value: float) -> dict[str, Any]:
    return _interval(pytest.approx(value), None, None, pytest.approx(value))


def _interval(value: Any, low: Any, high: Any, *seeds: Any) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": len(seeds) or 1, "seeds": seeds}


def changed(run: Path, change: Callable[[Likelihood], Likelihood]) -> None:
    path = run / "eval" / "likelihood.json"
    change(Likelihood.load(path)).save(path)


def test_each_figure_has_its_own_mean_over_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Geometric for perplexities, within [0, 1] for shares; a decoding of one seed has the interval of its report."""

    def harder(report: Likelihood) -> Likelihood:
        assert report.ais is not None
        return replace(report, ais=replace(report.ais, nll=21.0, perplexity=18.0), encoder_kl=Estimate(2.5, 0.1))

    carry_out(tmp_path, Program(), monkeypatch, experiment(fed=True))
    changed(tmp_path / "lebm-seed2", harder)
    path = tmp_path / "lebm-seed2" / "eval" / "frontier.json"
    report = Frontier.load(path)
    meaning = {text: replace(score, frechet=5.0, precision=0.9) for text, score in report.meaning.items()}
    results = [row for row in report.results if row.temperature != 0.5]
    points = [point for point in report.points if point.temperature != 0.5]
    replace(report, meaning=meaning, results=results, points=points).save(path)
    path = tmp_path / "gaussian-seed2" / "eval" / "frontier.json"  # of the last row
    assert report.real_meaning is not None
    replace(Frontier.load(path), real_meaning=replace(report.real_meaning, recall=1.0)).save(path)
    found = gather(experiment(fed=True), tmp_path)
    likelihood, about = (found.record()["rows"]["lebm"][name] for name in ("likelihood", "meaning"))
    assert likelihood["nll"]["value"] == 20.0
    assert likelihood["perplexity"]["value"] == pytest.approx((4.5 * 18.0) ** 0.5)
    assert likelihood["encoder_kl"]["value"] == 2.5
    assert (about["T=1"]["frechet"]["value"], about["T=1"]["frechet"]["low"]) == pytest.approx((4.0, 4.0 - 12.706))
    assert about["T=1"]["precision"] == _interval(pytest.approx(0.7), 0.0, 1.0, 0.5, 0.9)
    assert about["T=0.5"]["precision"] == _interval(0.5, 0.4, 0.6)
    assert found.rows["lebm"].kn5["T=0.5"]["fppl"].n == 1
    assert found.real["meaning"]["recall"] == 0.625


def test_a_likelihood_report_of_few_sentences_lacks_figures_and_nothing_else(done: Path) -> None:
    unknown = LatentUse(None, None, None, None)
    changed(done / "lebm-seed1", lambda report: replace(report, latent=unknown, log_z=None))
    changed(done / "lebm-seed2", lambda report: replace(report, ais=None, latent=None, log_z=None))
    changed(done / "lm-seed1", lambda report: replace(report, exact=None))
    rows = gather(experiment(), done).record()["rows"]
    figures = rows["lebm"]["likelihood"]
    assert set(figures) == {"nll", "perplexity", "chain_gap", "chain_ess"}
    assert (figures["nll"]["n"], figures["chain_gap"]["n"]) == (1, 2)
    assert rows["lm"]["likelihood"]["nll"]["n"] == 1  # of the other seed


def test_of_one_seed_a_likelihood_has_its_interval_over_sentences(done: Path) -> None:
    def surer(report: Likelihood) -> Likelihood:
        if report.ais is None:
            assert report.exact_of_all is not None
            return replace(report, exact_of_all=replace(report.exact_of_all, perplexity_standard_error=0.2))
        return replace(report, ais=replace(report.ais, nll_standard_error=0.5, perplexity_standard_error=0.1))

    for name in ("lebm-seed1", "lm-seed1"):
        changed(done / name, surer)
    of_two = gather(experiment(), done).record()["rows"]["lebm"]["likelihood"]
    assert of_two["nll"]["low"] == of_two["nll"]["high"] == 19.0  # the seeds have the same figure
    for name in ("lebm-seed2", "lm-seed2"):
        (done / name / "eval" / "likelihood.json").unlink()
    rows = gather(experiment(), done).record()["rows"]
    of_one, of_all = rows["lebm"]["likelihood"], rows["lm"]["likelihood"]["perplexity_of_all"]
    assert of_all == _interval(5.5, pytest.approx(5.108, abs=1e-3), pytest.approx(5.892, abs=1e-3))
    assert of_one["nll"] == _interval(19.0, pytest.approx(18.02, abs=1e-3), pytest.approx(19.98, abs=1e-3))
    assert of_one["perplexity"] == _interval(4.5, pytest.approx(4.304, abs=1e-3), pytest.approx(4.696, abs=1e-3))
    assert of_one["information"]["high"] == pytest.approx(3.196, abs=1e-4)
    assert of_one["reconstruction_nll"]["value"] == 15.0
    assert of_one["active_units"] == _interval(6, None, None)


def test_a_table_of_nothing_has_its_rows_and_no_figures(tmp_path: Path) -> None:
    text = markdown(gather(experiment(), tmp_path), "lebm-text experiment tiny")
    assert "| LEBM | – | – |" in text


def test_environments_are_those_of_trials_and_runs(done: Path) -> None:
    path = done / "trials" / "lm-1" / "env.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"threads": 64}))
    assert sorted(environment["threads"] for environment in gather(experiment(), done).environments)[1:] == [64]


def test_signatures_that_differ_in_decoding_and_seed_alone_are_one_line(tmp_path: Path) -> None:
    results = gather(experiment(), tmp_path)
    signature = "FPPL|test:samples(n=9,decode=sample,T=0.9)|vocab:closed-7|seed:1|v:0"
    results.signatures.extend(
        [signature, signature.replace("seed:1", "seed:2"), signature.replace("sample,T=0.9", "greedy"), "log_p|seed:1"]
    )
    results.signatures.append(signature.replace("T=0.9", "T=0.9,z=posterior(train)"))
    lines = markdown(results, "lebm-text experiment tiny").partition("## Signatures")[2].split()
    assert [line for line in lines if line != "-"] == [
        "`FPPL|test:samples(n=9,…)|vocab:closed-7|seed:…|v:0`",
        "`log_p|seed:…`",
    ]


def test_what_is_not_of_the_present_weights_or_options_is_missing(done: Path) -> None:
    assert gather(experiment(), done).missing == []
    other = gather(experiment(split="valid", n_samples=70), done)
    assert set(other.missing) >= {"lm-seed1 frontier", "lm-seed1 likelihood", "lm-seed1 lstm"}
    assert not any((other.known, other.rows["lm"].kn5, other.rows["lm"].likelihood))
    (done / "lm-seed1" / "model.safetensors").write_text("trained further")
    found = gather(experiment(), done)
    assert set(found.missing) == {f"lm-seed1 {name}" for name in ("frontier", "likelihood", "lstm")}
    assert found.rows["lm"].kn5["T=1"]["fppl"].n == 1
    assert "out of date: lm-seed1 frontier, lm-seed1 likelihood" in markdown(found, "")


def test_a_run_that_failed_or_was_stopped_is_no_part_of_the_table(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (done / "lm-seed1" / "checkpoints" / "last" / "state.json").unlink()
    carry_out(done, Program("lm-seed1 train"), monkeypatch)
    found = gather(experiment(), done)
    assert found.missing == ["lm-seed1 (its training ended with status 2)"]
    assert found.rows["lm"].seeds == [2]


def test_a_run_that_was_killed_is_no_part_of_the_table(done: Path) -> None:
    (done / "lm-seed1" / "checkpoints" / "last" / "state.json").unlink()
    log = done / "log.jsonl"  # a process that is killed writes no line
    kept = [line for line in log.read_text().splitlines() if '"lm-seed1 train"' not in line]
    log.write_text("".join(f"{line}\n" for line in kept))
    found = gather(experiment(), done)
    assert found.missing == ["lm-seed1 (its training has not ended)"]
    assert (found.rows["lm"].seeds, found.rows["lm"].kn5["T=1"]["fppl"].n) == ([2], 1)


def test_what_is_missing_is_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.txt"
    other.write_text("a b c\n")
    asked = started(other)
    carry_out(tmp_path, Program("lebm-seed1 train", "known"), monkeypatch, asked)
    assert gather(asked, tmp_path).missing == ["lebm-seed1", "fppl-known", "rppl-known"]


def test_a_training_that_ended_while_it_was_being_stopped_is_part_of_the_table(done: Path) -> None:
    log = done / "log.jsonl"
    log.write_text(log.read_text().replace('"lm-seed1 train", "status": 0', '"lm-seed1 train", "status": 130'))
    assert '"status": 130' in log.read_text()
    found = gather(experiment(), done)
    assert (found.missing, found.rows["lm"].seeds) == ([], [1, 2])


def test_a_choice_among_other_trials_is_none(done: Path) -> None:
    asked = experiment()
    fewer = tuple(replace(row, trials=row.trials[:1]) for row in asked.rows)
    found = gather(replace(asked, rows=fewer), done)
    assert found.tuning == {}
    assert {"lebm-seed1", "lm-seed1"} <= set(found.missing)


def test_a_table_is_of_one_text_and_of_the_settings_that_are_asked_for(done: Path) -> None:
    with pytest.raises(InputError, match=r"other settings .*training\.clip_norm"):
        gather(experiment(settings={"training.n_epochs": 4, "training.clip_norm": 0.5}), done)
    path = done / "lm-seed2" / "env.json"
    path.write_text(path.read_text().replace('"sha256": "3"', '"sha256": "4"'))
    with pytest.raises(InputError, match="lm-seed2 were trained on different texts"):
        gather(experiment(), done)


def test_a_ratio_that_some_pairs_lack_is_given_for_none(done: Path) -> None:
    path = done / "lebm-seed1" / "eval" / "frontier.json"
    report = Frontier.load(path)
    # the twin's frontier of this seed is beyond its ends
    replace(report, results=[replace(row, ppl=0.1 * row.ppl) for row in report.results]).save(path)
    comparison = gather(experiment(), done).record()["comparisons"][0]
    assert comparison["ratios"]["T=0.5"]["rppl_at_second"] is None
    assert comparison["ratios"]["T=0.5"]["rppl"]["n"] == 2


@pytest.mark.parametrize(
    "change",
    [{"cpu": None}, {"packages": {}}, {"packages": "torch"}, {"git": {}}, {"git": "0"}, {"git": {"commit": 1}}],
)
def test_an_environment_that_says_too_little_is_refused_by_name(done: Path, change: dict[str, Any]) -> None:
    path = done / "lm-seed2" / "env.json"
    values = json.loads(path.read_text()) | change
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    with pytest.raises(InputError, match=r"lm-seed2/env\.json is damaged"):
        gather(experiment(), done)


def test_figures_of_training_that_are_none_are_left_out(done: Path) -> None:
    """As on the page about a run; they ended in a traceback."""
    run = done / "lm-seed2"
    whole = gather(experiment(), done).record()["rows"]["lm"]
    state = json.loads((run / "checkpoints" / "last" / "state.json").read_text())
    state["state"]["progress"]["seconds"] = "long"
    (run / "checkpoints" / "last" / "state.json").write_text(json.dumps(state))
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 9, "epoch": {}, "valid_ppl": "low"}\n')
    entries = [json.loads(line) for line in (done / "log.jsonl").read_text().splitlines()]
    del entries[-1]["seconds"]
    (done / "log.jsonl").write_text("".join(f"{json.dumps(entry)}\n" for entry in entries))
    results = gather(experiment(), done)
    found = results.record()["rows"]["lm"]
    assert found["validation"] == whole["validation"] and found["cost"]["epochs"] == whole["cost"]["epochs"]
    assert found["cost"]["minutes"]["seeds"] == (1.5, 0.0)
    assert "All steps, one after the other: " in markdown(results, "")


def test_a_report_that_lacks_a_perplexity_is_refused_by_name(done: Path) -> None:
    path = done / "lebm-seed1" / "eval" / "frontier.json"
    report = Frontier.load(path)
    replace(report, results=report.results[1:]).save(path)
    with pytest.raises(InputError, match=r"^the report frontier of lebm, seed 1, lacks an FPPL or an RPPL$"):
        gather(experiment(), done)


def test_diversity_of_an_earlier_version_has_no_share_of_the_training_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.txt").write_text("a b c\n")
    asked = started(tmp_path / "other.txt")
    carry_out(tmp_path, Program(), monkeypatch, asked)
    for path in tmp_path.rglob("frontier*.json"):
        report = Frontier.load(path)
        rows = [(row, row.diversity) for row in report.results]
        old = [row if found is None else replace(row, diversity=_without_shares(found)) for row, found in rows]
        replace(report, results=old).save(path)
    results = gather(asked, tmp_path)
    assert results.record()["rows"]["lebm"]["variety"]["T=1"].keys() == {"self_bleu"}
    assert "| real text | 4-grams of train | – |" in markdown(results, "").partition("## Diversity and")[2]


def _without_shares(found: Diversity) -> Diversity:
    return replace(found, in_train={}, real_in_train={})
