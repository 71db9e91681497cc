"""The order of an experiment's steps, what is not done again, and failures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from lebm_text.errors import InputError
from lebm_text.experiments.markdown import markdown
from lebm_text.experiments.plan import Tuning
from lebm_text.experiments.results import gather
from lebm_text.experiments.runner import Runner
from lebm_text.experiments.tuning import choose, read_choices

from .program import REAL, SHA256, Program, carry_out, experiment, runner


def test_all_trials_come_before_the_runs_and_the_best_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program()
    carry_out(tmp_path, program, monkeypatch)
    trained = [Path(call[call.index("--out") + 1]) for call in program.calls if call[0] == "train"]
    assert [run.parent.name == "trials" for run in trained] == [True] * 4 + [False] * 6
    assert [run.name for run in trained[4:]] == [
        f"{row}-seed{seed}" for seed in (1, 2) for row in ("lebm", "lm", "gaussian")
    ]
    tuning = json.loads((tmp_path / "tuning.json").read_text())
    assert {name: row["chosen"] for name, row in tuning.items()} == {"lebm": 2, "lm": 2}
    of_twin = next(call for call in program.calls if call[-1].endswith("gaussian-seed1") and call[0] == "train")
    assert "--set=training.learning_rate=0.004" in of_twin
    assert of_twin[of_twin.index("--preset") + 1] == "gaussian"


def test_a_trial_that_is_a_run_already_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program()
    whole = Runner(experiment(tuning=Tuning(n_samples=50)), tmp_path)  # trials as long as runs
    monkeypatch.setattr(whole, "_call", program)
    whole.train_and_judge(whole.tune())
    trained = [
        call[call.index("--out") + 1].removeprefix(f"{tmp_path}/") for call in program.calls if call[0] == "train"
    ]
    tried = [f"trials/{row}-{number}" for row in ("lebm", "lm") for number in (1, 2)]
    assert trained == [*tried, "gaussian-seed1", "lebm-seed2", "lm-seed2", "gaussian-seed2"]
    judged = {call[0] for call in program.calls if f"{tmp_path}/lebm-seed1" in call}
    assert judged == {"evaluate", "likelihood", "fppl", "rppl"}
    results = gather(whole.experiment, tmp_path)
    assert (results.missing, results.rows["lebm"]["cost"]["minutes"]["n"]) == ([], 2)
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == set()


# (FPPL, RPPL) by temperature; real text has 4
@pytest.mark.parametrize(
    ("frontiers", "scores", "best"),
    [
        # an FPPL below that of real text is no merit: (1, 12) has the least product
        ([[(1.0, 12.0)], [(4.0, 10.0)], [(5.0, 9.0)]], [48**0.5, 40**0.5, 45**0.5], 2),
        # where its FPPL is that of real text, the first is at RPPL 10, though it is the worst of all at its first point
        ([[(16.0, 5.0), (1.0, 20.0)], [(5.0, 9.0)]], [40**0.5, 45**0.5], 1),
        # the least score may be far from there
        ([[(8.0, 4.0), (2.0, 16.0)], [(6.0, 7.0), (5.0, 9.0)]], [32**0.5, 42**0.5], 1),
    ],
)
def test_the_least_score_is_sought_along_the_frontier(
    tmp_path: Path, frontiers: list[list[tuple[float, float]]], scores: list[float], best: int
) -> None:
    runs = [tmp_path / f"lm-{number}" for number in range(1, 1 + len(frontiers))]
    for run, frontier in zip(runs, frontiers, strict=True):
        path = run / "eval" / "tuning.json"
        path.parent.mkdir(parents=True)
        points = [{"fppl": fppl, "rppl": rppl, "temperature": t} for t, (fppl, rppl) in enumerate(frontier)]
        path.write_text(json.dumps({"points": points, "real": [{"judge": "kn5", "ppl": REAL}]}))
        (run / "metrics.jsonl").touch()
    choice = choose(runs, [{}] * len(runs))
    assert [trial.score for trial in choice.trials] == pytest.approx(scores)
    assert choice.number == best
    assert [len(trial.frontier) for trial in choice.trials] == [len(frontier) for frontier in frontiers]


def test_trials_are_judged_on_validation_text_and_runs_on_test_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program()
    carry_out(tmp_path, program, monkeypatch)
    for call in program.calls:
        if call[0] != "train":
            on_validation = "--split" in call and call[call.index("--split") + 1] == "valid"
            assert on_validation == (Path(call[call.index("--run") + 1]).parent.name == "trials")
    lstm = [call for call in program.calls if "lstm" in call]
    assert {call[0] for call in lstm} == {"fppl", "rppl"}
    assert all("seed1" in call[2] for call in lstm)


def test_an_experiment_that_choices_follow_from_sees_no_test_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program()
    exploring = Runner(experiment(split="valid"), tmp_path)
    monkeypatch.setattr(exploring, "_call", program)
    exploring.train_and_judge(exploring.tune())
    judgements = [call for call in program.calls if call[0] != "train"]
    assert all(call[call.index("--split") + 1] == "valid" for call in judgements)
    assert "Validation text; samples" in markdown(gather(experiment(split="valid"), tmp_path), "")


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carry_out(tmp_path, Program(), monkeypatch)
    again = Program()
    carry_out(tmp_path, again, monkeypatch)
    assert again.calls == []
    (tmp_path / "lm-seed2" / "eval" / "frontier.json").unlink()
    carry_out(tmp_path, again, monkeypatch)
    assert [call[0] for call in again.calls] == ["evaluate"]


def test_a_run_that_was_stopped_is_resumed_with_what_is_left_of_its_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = Program()
    stopped.finished = False
    runner(tmp_path, stopped, monkeypatch, budget=2.0).tune()  # a trial may take 1 minute, and took 1.5
    again = Program()
    runner(tmp_path, again, monkeypatch, budget=2.0).tune()
    assert again.calls == []
    runner(tmp_path, again, monkeypatch, budget=4.0).tune()
    first = again.calls[0]
    assert "--resume" in first
    assert float(first[first.index("--max-minutes") + 1]) == pytest.approx(0.5)


def test_a_training_that_fails_ends_its_own_chain_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program("/lebm-seed1")
    made = carry_out(tmp_path, program, monkeypatch)
    assert [(failure.status, failure.said) for failure in made.failures] == [(2, "it went wrong")]
    assert not (tmp_path / "lebm-seed1" / "eval").exists()
    assert (tmp_path / "lebm-seed2" / "eval" / "likelihood.json").exists()


def test_a_judgement_that_fails_keeps_no_other_from_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = carry_out(tmp_path, Program("lebm-seed1/eval/likelihood.json"), monkeypatch)
    assert len(made.failures) == 1
    assert (tmp_path / "lebm-seed1" / "eval" / "fppl-lstm.json").exists()
    row = gather(experiment(), tmp_path).rows["lebm"]
    assert (row["lstm"]["fppl"]["n"], row["likelihood"]["nll"]["n"]) == (1, 1)


def test_a_report_of_other_options_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carry_out(tmp_path, Program(), monkeypatch)
    again = Program()
    other = Runner(experiment(likelihood={"n": 8}), tmp_path)
    monkeypatch.setattr(other, "_call", again)
    other.train_and_judge(other.tune())
    assert {(call[0], call[call.index("-n") + 1]) for call in again.calls} == {("likelihood", "8")}
    assert len(again.calls) == 6
    more = Runner(experiment(likelihood={"n": 8}, n_samples=70), tmp_path)
    monkeypatch.setattr(more, "_call", again)
    again.calls.clear()
    more.train_and_judge(more.tune())
    assert [call[0] for call in again.calls if "--calibrate" in call] == ["fppl", "rppl"]  # as many as the rows'


def test_a_run_of_other_settings_is_not_taken_for_what_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry_out(tmp_path, Program(), monkeypatch)
    again = Program()
    other = Runner(experiment(settings={"training.n_epochs": 4, "training.clip_norm": 0.5}), tmp_path)
    monkeypatch.setattr(other, "_call", again)
    with pytest.raises(InputError, match=r"lebm-1 has other settings .*training\.clip_norm=0\.5"):
        other.tune()
    with pytest.raises(InputError, match=r"lebm-seed1 has other settings .*training\.learning_rate=0\.001"):
        runner(tmp_path, again, monkeypatch).train_and_judge({"lebm": 1, "lm": 2})
    assert again.calls == []


TRIALS = {row.name: row.trials for row in experiment().rows if row.trials}


def test_the_choices_of_another_corpus_can_be_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carry_out(tmp_path / "one", Program(), monkeypatch)
    choices = read_choices(tmp_path / "one" / "tuning.json", TRIALS)
    program = Program()
    made = runner(tmp_path / "two", program, monkeypatch)
    made.root.mkdir()
    assert made.adopt(choices) == {"lebm": 2, "lm": 2}
    made.train_and_judge({"lebm": 2, "lm": 2})
    assert not [call for call in program.calls if "trials" in " ".join(call)]
    assert f"of another experiment: {tmp_path}/one/tuning.json" in markdown(gather(experiment(), made.root), "")


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        ({"vae": ()}, "no choice for row vae"),
        ({"lm": TRIALS["lm"][:1]}, "other trials of row lm"),
        ({"lm": ({"model.dropout": 0.0}, {"model.dropout": 0.4})}, "other trials of row lm"),
    ],
)
def test_choices_among_other_trials_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trials: dict[str, tuple[dict[str, float], ...]], said: str
) -> None:
    carry_out(tmp_path, Program(), monkeypatch)
    with pytest.raises(InputError, match=said):
        read_choices(tmp_path / "tuning.json", trials)


def test_a_choice_that_there_is_not_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carry_out(tmp_path, Program(), monkeypatch)
    path = tmp_path / "tuning.json"
    path.write_text(path.read_text().replace('"chosen": 2', '"chosen": 0'))
    with pytest.raises(InputError, match="no trial 0"):
        read_choices(path, TRIALS)


def test_a_run_on_another_text_is_refused_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carry_out(tmp_path, Program(), monkeypatch)
    other = runner(tmp_path, Program(), monkeypatch)
    other.corpus = SHA256
    other.tune()
    other.corpus = SHA256 | {"train": "4"}
    with pytest.raises(InputError, match="another text of the name toy"):
        other.tune()


def test_a_narrower_command_keeps_what_others_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carry_out(tmp_path, Program(), monkeypatch)
    program = Program()
    narrow = Runner(experiment().narrowed(rows=["lm"], seeds=[2]), tmp_path)
    monkeypatch.setattr(narrow, "_call", program)
    narrow.train_and_judge(narrow.tune())
    assert program.calls == []
    assert set(gather(experiment(), tmp_path).tuning) == {"lebm", "lm"}


def test_a_fault_in_one_chain_stops_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Program):
        def __call__(self, arguments: Sequence[str], environment: dict[str, str]) -> tuple[int, str]:
            super().__call__(arguments, environment)
            raise OSError("no space left")

    program = Broken()
    with pytest.raises(OSError, match="no space left"):
        runner(tmp_path, program, monkeypatch).tune()
    assert len(program.calls) == 1


def test_a_row_with_a_failed_trial_waits_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program("trials/lebm-2")
    made = carry_out(tmp_path, program, monkeypatch)
    assert [failure.said for failure in made.failures] == ["it went wrong"]
    assert set(json.loads((tmp_path / "tuning.json").read_text())) == {"lm"}
    runs = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert runs == {"trials", "lm-seed1", "lm-seed2"}  # without the twin, which is like the row that waits


def test_nothing_is_chosen_by_the_reports_of_other_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carry_out(tmp_path, Program(), monkeypatch)
    more = Runner(experiment(tuning=Tuning(n_epochs=2, n_samples=70)), tmp_path)
    monkeypatch.setattr(more, "_call", Program("trials/lebm-2"))
    assert more.tune() == {"lm": 2}


def test_every_step_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program()
    carry_out(tmp_path, program, monkeypatch)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["command"] for entry in log] == [" ".join(("lebm-text", *call)) for call in program.calls]
    assert all(entry["status"] == 0 for entry in log)


def test_the_log_has_the_threads_that_a_step_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    carry_out(tmp_path, Program(), monkeypatch)
    assert {json.loads(line)["threads"] for line in (tmp_path / "log.jsonl").read_text().splitlines()} == {7}
