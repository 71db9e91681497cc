"""The order of an experiment's steps, what is not done again, and failures."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest

from lebm_text.errors import InputError
from lebm_text.experiments.markdown import markdown
from lebm_text.experiments.plan import Tuning
from lebm_text.experiments.results import gather
from lebm_text.experiments.runner import Runner
from lebm_text.experiments.steps import Log, ReportStep, Step, Training
from lebm_text.experiments.tuning import Choice, Trial, choose, read_choices, read_tuning
from lebm_text.reports.frontier import FrontierSettings
from lebm_text.reports.likelihood import LikelihoodSettings
from lebm_text.reports.perplexity import PerplexitySettings
from lebm_text.run import Run
from lm_eval.judges import RECIPES

from ...damage import refused
from .program import SHA256, Program, carry_out, experiment, frontier, runner, started


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The sentences of another system."""
    path = tmp_path / "other.txt"
    path.write_text("a b c\n")
    return path


def trained(program: Program) -> list[Training]:
    return [step for step in program.steps if isinstance(step, Training)]


def judged(program: Program) -> list[ReportStep]:
    return [step for step in program.steps if isinstance(step, ReportStep)]


def test_all_trials_come_before_the_runs_and_the_best_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program()
    carry_out(tmp_path, program, monkeypatch)
    runs = [step.run for step in trained(program)]
    assert [run.parent.name == "trials" for run in runs] == [True] * 4 + [False] * 6
    assert [run.name for run in runs[4:]] == [
        f"{row}-seed{seed}" for seed in (1, 2) for row in ("lebm", "lm", "gaussian")
    ]
    tuning = json.loads((tmp_path / "tuning.json").read_text())
    assert {name: row["chosen"] for name, row in tuning.items()} == {"lebm": 2, "lm": 2}
    twin = next(step.config for step in trained(program) if step.run.name == "gaussian-seed1")
    assert (twin.training.learning_rate, twin.model.prior) == (0.004, "gaussian")


def test_a_trial_that_is_a_run_already_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program()
    whole = experiment(tuning=Tuning(n_samples=50))  # trials as long as runs
    carry_out(tmp_path, program, monkeypatch, whole)
    runs = [str(step.run.relative_to(tmp_path)) for step in trained(program)]
    tried = [f"trials/{row}-{number}" for row in ("lebm", "lm") for number in (1, 2)]
    assert runs == [*tried, "gaussian-seed1", "lebm-seed2", "lm-seed2", "gaussian-seed2"]
    of_copy = {step.output.stem for step in judged(program) if step.run.name == "lebm-seed1"}
    assert of_copy == {"frontier", "likelihood", "lstm", "fppl-known", "rppl-known"}
    results = gather(whole, tmp_path)
    assert (results.missing, results.record()["rows"]["lebm"]["cost"]["minutes"]["n"]) == ([], 2)
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == set()


def test_rows_begin_with_the_run_of_the_row_that_they_start_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: Path
) -> None:
    program = Program()
    carry_out(tmp_path, program, monkeypatch, started(other))
    begun = {str(step.run.relative_to(tmp_path)): step.init and step.init.name for step in trained(program)}
    assert list(begun.items()) == [
        *[("trials/lm-1", None), ("trials/lm-2", None), ("lm-seed1", None), ("lm-seed2", None)],
        *[("trials/lebm-1", "lm-seed1"), ("trials/lebm-2", "lm-seed1")],
        *[(f"{row}-seed{seed}", f"lm-seed{seed}") for seed in (1, 2) for row in ("gaussian", "lebm")],
    ]
    of_samples = [step for step in judged(program) if step.samples is not None]
    assert [(step.run.name, step.name) for step in of_samples] == [
        ("lm-seed1", f"{what}-other") for what in ("frontier", "lstm")
    ]
    oracle = [step for step in judged(program) if step.output.stem == "frontier-oracle"]
    assert [step.run.name for step in oracle] == ["lebm-seed1", "lebm-seed2"]
    again = Program()
    carry_out(tmp_path, again, monkeypatch, started(other))
    assert again.steps == []
    other.write_text("a b d\n")
    carry_out(tmp_path, again, monkeypatch, started(other))
    assert [step.name for step in again.steps] == [step.name for step in of_samples]


def test_of_several_jobs_none_waits_for_judgements_of_what_its_rows_start_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: Path
) -> None:
    alone, together = Program(), Program()
    monkeypatch.setattr("os.cpu_count", lambda: 2)  # as many as there are jobs, wherever this runs
    carry_out(tmp_path / "one", alone, monkeypatch, started(other))
    runner(tmp_path / "two", together, monkeypatch, started(other), n_jobs=2).carry_out()
    assert sorted(together.names) == sorted(alone.names)

    def n_trained_before(program: Program) -> int:
        """How many runs that start from the language model were begun before it was judged."""
        steps = [step for step in program.steps if step.run.parent.name != "trials"]
        first = next(
            i for i, step in enumerate(steps) if step.run.name == "lm-seed1" and step.name.endswith("frontier")
        )
        return sum(step.run.name.startswith(("lebm", "gaussian")) for step in steps[:first])

    assert n_trained_before(alone) == 0
    assert n_trained_before(together) >= 3  # of four; the fourth may begin at the same time


def test_a_run_that_began_with_weights_that_are_gone_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: Path
) -> None:
    carry_out(tmp_path, Program(), monkeypatch, started(other))
    (tmp_path / "lm-seed2" / "model.safetensors").write_text("trained further")
    with pytest.raises(InputError, match=r"gaussian-seed2 did not begin with the weights that .*lm-seed2 has"):
        carry_out(tmp_path, Program(), monkeypatch, started(other))


@pytest.mark.parametrize("failing", ["lm-seed2 train", "trial lm-2 train"])
def test_a_row_waits_for_the_run_that_it_starts_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: Path, failing: str
) -> None:
    class Killed(Program):
        """Leaves the weights of a checkpoint behind."""

        def __call__(self, step: Step) -> tuple[int, str]:
            status, message = super().__call__(step)
            if status and isinstance(step, Training):
                self._train(step)
                (step.run / "checkpoints" / "last" / "state.json").unlink()
            return status, message

    program, again = Killed(failing), Program()
    made = carry_out(tmp_path, program, monkeypatch, started(other))
    assert [failure.step for failure in made.failures] == [failing.removeprefix("trial ")]
    begun = {step.run.name for step in trained(program)} - {"lm-1", "lm-2", "lm-seed1", "lm-seed2"}
    of_first = {"lebm-1", "lebm-2", "lebm-seed1", "gaussian-seed1"}
    assert begun == (set() if "trial" in failing else of_first)
    carry_out(tmp_path, again, monkeypatch, started(other))
    assert gather(started(other), tmp_path).missing == []


def test_a_trial_that_used_up_its_budget_is_not_trained_on_as_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program()
    program.finished = False
    whole = experiment(tuning=Tuning(n_samples=50))  # trials as long as runs
    runner(tmp_path, program, monkeypatch, whole, budget=1.0).carry_out()
    assert not {"lebm-seed1", "lm-seed1"} & {step.run.name for step in trained(program)}
    assert gather(whole, tmp_path).missing == []


def test_a_trial_is_no_run_that_begins_with_another_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: Path
) -> None:
    program = Program()
    carry_out(tmp_path, program, monkeypatch, started(other, tuning=Tuning(n_samples=50), seeds=(2, 1)))
    runs = {step.run.name for step in trained(program) if step.run.parent.name != "trials"}
    assert {"lebm-seed1", "lebm-seed2"} <= runs  # trials of seed 1 began with lm-seed2
    assert "lm-seed1" not in runs  # which is its trial


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
    for run, points in zip(runs, frontiers, strict=True):
        (run / "eval").mkdir(parents=True)
        of_run = frontier([(fppl, rppl, float(t + 1)) for t, (fppl, rppl) in enumerate(points)])
        of_run.save(run / "eval" / "tuning.json")
        (run / "metrics.jsonl").touch()
    choice = choose([Run(run) for run in runs], [{}] * len(runs))
    assert [trial.score for trial in choice.trials] == pytest.approx(scores)
    assert choice.chosen == best
    assert [len(trial.frontier) for trial in choice.trials] == [len(frontier) for frontier in frontiers]


def test_trials_are_judged_on_validation_text_and_runs_on_test_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program()
    carry_out(tmp_path, program, monkeypatch)
    for step in judged(program):
        assert step.settings.split == ("valid" if step.run.parent.name == "trials" else "test")
    lstm = [
        step for step in judged(program) if isinstance(step.settings, FrontierSettings) and step.settings.lm == "lstm"
    ]
    assert {step.output.stem for step in lstm} == {"lstm"}
    assert all("seed1" in step.run.name for step in lstm)


def test_an_experiment_that_choices_follow_from_sees_no_test_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, exploring = Program(), experiment(split="valid")
    carry_out(tmp_path, program, monkeypatch, exploring)
    assert {step.settings.split for step in judged(program)} == {"valid"}
    assert "Validation text; samples" in markdown(gather(exploring, tmp_path), "")


def test_what_is_done_is_not_done_again(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again = Program()
    carry_out(done, again, monkeypatch)
    assert again.steps == []
    (done / "lm-seed2" / "eval" / "frontier.json").unlink()
    carry_out(done, again, monkeypatch)
    assert again.names == ["lm-seed2 frontier"]


def test_a_plan_says_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program()
    asked = runner(tmp_path, program, monkeypatch)
    assert asked.progress() == (0, 8)  # two trials of two rows, trained and judged; no choice yet
    asked.carry_out()
    done, known = asked.progress()
    assert (done, known) == (len(program.steps), len(program.steps))
    shutil.rmtree(tmp_path / "lm-seed1")
    left, known = asked.progress()
    assert left < done == known
    others = replace(asked.experiment, settings={"model.dropout": 0.3})
    with pytest.raises(InputError, match="has other settings than the experiment now asks for"):
        runner(tmp_path, program, monkeypatch, others).progress()


def test_a_plan_chooses_among_the_trials_that_are_left(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tuple(replace(row, trials=row.trials[:1]) for row in experiment().rows)  # the choices were the second ones
    with pytest.raises(InputError, match=r"lebm-seed1 has other settings .*learning_rate=0\.001"):
        runner(done, Program(), monkeypatch, experiment(rows=rows)).progress()
    for run in done.glob("*-seed*"):
        shutil.rmtree(run)
    done_now, known = runner(done, Program(), monkeypatch, experiment(rows=rows)).progress()
    assert done_now == 4 < known  # the trials; runs are known, too


def test_a_run_of_other_settings_is_refused_before_what_comes_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: Path
) -> None:
    asked, again = started(other), Program()
    carry_out(tmp_path, Program(), monkeypatch, asked)
    shutil.rmtree(tmp_path / "lm-seed2")
    rows = [replace(row, settings=row.settings | {"model.dropout": 0.1}) if row.like else row for row in asked.rows]
    with pytest.raises(InputError, match="gaussian-seed1 has other settings"):
        carry_out(tmp_path, again, monkeypatch, replace(asked, rows=tuple(rows)))
    assert again.steps == []


def test_a_run_that_was_stopped_goes_on_where_more_time_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = Program()
    stopped.finished = False
    runner(tmp_path, stopped, monkeypatch, budget=2.0).tune()  # a trial may take 1 minute, and took 1.5
    again = Program()
    runner(tmp_path, again, monkeypatch, budget=2.0).tune()
    assert again.steps == []
    runner(tmp_path, again, monkeypatch, budget=4.0).tune()
    first = again.steps[0]
    assert isinstance(first, Training)
    assert first.budget == 2.0


def test_a_training_that_fails_ends_its_own_chain_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program("lebm-seed1 train")
    made = carry_out(tmp_path, program, monkeypatch)
    assert [(failure.status, failure.message) for failure in made.failures] == [(2, "it went wrong")]
    assert not (tmp_path / "lebm-seed1" / "eval").exists()
    assert (tmp_path / "lebm-seed2" / "eval" / "likelihood.json").exists()


def test_a_judgement_that_fails_keeps_no_other_from_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = carry_out(tmp_path, Program("lebm-seed1 likelihood"), monkeypatch)
    assert len(made.failures) == 1
    assert (tmp_path / "lebm-seed1" / "eval" / "lstm.json").exists()
    row = gather(experiment(), tmp_path).record()["rows"]["lebm"]
    assert (row["lstm"]["T=1"]["fppl"]["n"], row["likelihood"]["nll"]["n"]) == (1, 1)


def test_a_report_of_other_settings_is_made_anew(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again = Program()
    carry_out(done, again, monkeypatch, experiment(likelihood=LikelihoodSettings(n_ais=8)))
    settings = [step.settings for step in judged(again)]
    assert len(settings) == len(again.steps) == 6
    assert all(isinstance(each, LikelihoodSettings) and each.n_ais == 8 for each in settings)
    more = Program()
    carry_out(done, more, monkeypatch, experiment(likelihood=LikelihoodSettings(n_ais=8), n_samples=70))
    known = [step.name for step in judged(more) if isinstance(step.settings, PerplexitySettings) and step.of_corpus]
    assert known == ["fppl-known", "rppl-known"]  # as many as the rows'


def test_reports_of_weights_that_were_trained_on_are_made_anew(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (done / "lm-seed2" / "model.safetensors").write_text("trained further")
    again = Program()
    carry_out(done, again, monkeypatch)
    assert again.names == ["lm-seed2 frontier", "lm-seed2 likelihood"]


def test_a_run_of_other_settings_is_not_taken_for_what_is_asked(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again = Program()
    asked = experiment(settings={"training.n_epochs": 4, "training.clip_norm": 0.5})
    other = runner(done, again, monkeypatch, asked)
    with pytest.raises(InputError, match=r"lebm-1 has other settings .*training\.clip_norm=0\.5"):
        other.tune()
    with pytest.raises(InputError, match=r"lebm-seed1 has other settings .*training\.learning_rate=0\.001"):
        runner(done, again, monkeypatch).chains({"lebm": 1, "lm": 2}, experiment().rows)
    assert again.steps == []


TRIALS = {row.name: row.trials for row in experiment().rows if row.trials}


def test_the_choices_of_another_corpus_can_be_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carry_out(tmp_path / "one", Program(), monkeypatch)
    choices = read_choices(tmp_path / "one" / "tuning.json", TRIALS)
    program = Program()
    made = runner(tmp_path / "two", program, monkeypatch)
    assert made.adopt(choices) == {"lebm": 2, "lm": 2}
    made.carry_out(choices)
    assert not [name for name in program.names if name.startswith("trial")]
    assert f"from another experiment: {tmp_path}/one/tuning.json" in markdown(gather(experiment(), made.root), "")


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        ({"vae": ()}, "no choice for row vae"),
        ({"lm": TRIALS["lm"][:1]}, "other trials of row lm"),
        ({"lm": ({"model.dropout": 0.0}, {"model.dropout": 0.4})}, "other trials of row lm"),
    ],
)
def test_choices_among_other_trials_are_refused(
    done: Path, trials: dict[str, tuple[dict[str, float], ...]], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        read_choices(done / "tuning.json", trials)


def test_a_choice_that_there_is_not_is_refused(done: Path) -> None:
    path = done / "tuning.json"
    path.write_text(path.read_text().replace('"chosen": 2', '"chosen": 0'))
    with pytest.raises(InputError, match="no trial 0"):
        read_choices(path, TRIALS)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"lm": 5}, "lm must be an object, got 5"),
        ({"lm": {"trials": []}}, "lm.chosen is missing"),
        ({"lm": {"chosen": 1, "trials": [{"settings": {"model.dropout": 0.0}}]}}, "lm.trials[0].fppl is missing"),
    ],
)
def test_what_is_wrong_with_choices_is_said(tmp_path: Path, change: dict[str, Any], wrong: str) -> None:
    path = tmp_path / "tuning.json"
    path.write_text(json.dumps(change))
    for read in (lambda: read_choices(path, TRIALS), lambda: gather(experiment(), tmp_path)):
        with pytest.raises(InputError) as error:
            read()
        assert str(error.value) == f"{path} is damaged: {wrong}"


CHOICE = Choice(1, (Trial({"model.dropout": 0.5}, 5.0, 6.0, 5.5, 2.0, 90.0, {"valid_ppl": 5.0}, [{"fppl": 5.0}]),))


def test_no_damage_of_choices_is_a_traceback(tmp_path: Path) -> None:
    path, results = tmp_path / "tuning.json", gather(experiment(), tmp_path)

    def read() -> None:
        found = replace(results, tuning=read_choices(path, {"lm": [{"model.dropout": 0.5}]}))
        assert markdown(found, "") and json.dumps(found.record())

    assert refused(path, {"lm": CHOICE.record()}, read) > 50


def test_choices_are_written_as_they_were_read(tmp_path: Path) -> None:
    path = tmp_path / "tuning.json"
    for choice in (CHOICE, replace(CHOICE, source="elsewhere")):
        path.write_text(json.dumps({"lm": choice.record()}))
        assert read_tuning(path) == {"lm": choice}
        rows = tuple(replace(row, trials=row.trials[-1:]) for row in experiment().rows)
        assert gather(experiment(rows=rows), tmp_path).record()["tuning"] == {"lm": choice.record()}
    assert choice.record()["from"] == "elsewhere"
    taken = read_choices(path, {"lm": [{"model.dropout": 0.5}]})["lm"]
    assert taken == replace(CHOICE, source=str(path))


def test_tables_that_are_kept_can_be_chosen_from() -> None:
    tables = Path(__file__).parents[3] / "docs" / "tables"
    assert all(read_tuning(path) for path in tables.rglob("tuning.json"))


def test_a_run_on_another_text_is_refused_whatever_its_name(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = runner(done, Program(), monkeypatch)
    other.tune()
    other.corpus = SHA256 | {"train": "4"}
    with pytest.raises(InputError, match="another text of the name toy"):
        other.tune()


def test_a_narrower_command_keeps_what_others_left(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program()
    carry_out(done, program, monkeypatch, experiment().narrowed(rows=["lm"], seeds=[2]))
    assert program.steps == []
    assert set(gather(experiment(), done).tuning) == {"lebm", "lm"}


def test_a_fault_in_one_chain_stops_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Program):
        def __call__(self, step: Step) -> tuple[int, str]:
            super().__call__(step)
            raise OSError("no space left")

    program = Broken()
    with pytest.raises(OSError, match="no space left"):
        runner(tmp_path, program, monkeypatch).tune()
    assert len(program.steps) == 1


def test_a_row_with_a_failed_trial_waits_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program("trial lebm-2 train")
    made = carry_out(tmp_path, program, monkeypatch)
    assert [failure.message for failure in made.failures] == ["it went wrong"]
    assert set(json.loads((tmp_path / "tuning.json").read_text())) == {"lm"}
    runs = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert runs == {"trials", "lm-seed1", "lm-seed2"}  # without the twin, which is like the row that waits


def test_nothing_is_chosen_by_the_reports_of_other_options(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = experiment(tuning=Tuning(n_epochs=2, n_samples=70))
    assert runner(done, Program("trial lebm-2 tuning"), monkeypatch, asked).tune() == {"lm": 2}


@pytest.mark.parametrize("threads", ["7", "7,2"])
def test_every_step_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    program = Program()
    carry_out(tmp_path, program, monkeypatch)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [step.name for step in program.steps]
    assert {(entry["status"], entry["threads"]) for entry in log} == {(0, 7)}


def test_a_stopped_experiment_begins_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program()
    stopped = runner(tmp_path, program, monkeypatch, should_stop=lambda: len(program.steps) == 3)
    with pytest.raises(KeyboardInterrupt):
        stopped.tune()
    assert len(program.steps) == 3
    assert not (tmp_path / "tuning.json").exists()
    carry_out(tmp_path, program, monkeypatch)
    assert program.names[3] == "trial lebm-2 tuning"


@pytest.mark.parametrize("torn", ['{"step": "b", "sta', "[]", "null", "[" * 100_000, '{"key": 1}', "\x00"])
def test_a_line_of_the_log_that_was_cut_off_is_a_step_that_was_not_done(tmp_path: Path, torn: str) -> None:
    log = Log(tmp_path / "log.jsonl")
    entry = {"step": "a", "status": 0, "key": "x"}
    log.add(entry)
    with log.path.open("a") as stream:
        stream.write(torn)
    log.add(entry | {"step": "c"})
    assert log.entries() == [entry, entry | {"step": "c"}]
    assert log.last("b") is None


def test_the_key_of_a_report_knows_the_recipe_of_its_judge_and_no_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program()
    carry_out(tmp_path, program, monkeypatch)
    by_name = {step.output.stem: step for step in judged(program) if step.run.name == "lm-seed1"}
    keys = {name: step.key() for name, step in by_name.items()}

    @dataclass(frozen=True)
    class Later(FrontierSettings):
        further: bool = False

    Later.__name__ = FrontierSettings.__name__
    settings = by_name["frontier"].settings
    later = Later(**{each.name: getattr(settings, each.name) for each in fields(settings)})
    assert replace(by_name["frontier"], settings=later).key() == keys["frontier"]
    assert replace(by_name["frontier"], settings=replace(later, further=True)).key() != keys["frontier"]
    monkeypatch.setitem(RECIPES, "default", replace(RECIPES["default"], hidden_dim=7))
    assert {name for name, step in by_name.items() if step.key() != keys[name]} == {"lstm"}


@pytest.mark.parametrize(("finished", "status"), [(True, 0), (False, 130)])
def test_a_training_that_had_ended_when_it_was_stopped_is_done(
    finished: bool, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Program()
    program.finished = finished
    train = "lebm_text.training.train.train"
    monkeypatch.setattr(train, lambda corpus, *, out, config, **_: program(Training(out, corpus, config)))
    with pytest.raises(KeyboardInterrupt):
        Runner(experiment(), tmp_path, corpus=SHA256, should_stop=lambda: len(program.steps) == 1).carry_out()
    (entry,) = Log(tmp_path / "log.jsonl").entries()
    assert (entry["step"], entry["status"]) == (program.steps[0].name, status)
