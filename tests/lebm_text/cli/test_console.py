"""What people and programs see of a run's events."""

from __future__ import annotations

import io
import json
import logging
import math
from types import SimpleNamespace

import click
import pytest

from lebm_text.cli import console
from lebm_text.cli.console import TrainingConsole, show_log
from lebm_text.cli.main import ARGUMENTS
from lebm_text.reports.base import new_table
from lebm_text.run import Run
from lebm_text.training import events
from lebm_text.training.events import Event, describe_event

START = Event(
    "start",
    {
        "run": "runs/ptb",
        "corpus": "ptb",
        "n_sentences": 42068,
        "n_tokens": 929589,
        "vocab_size": 10001,
        "n_parameters": 7_000_000,
        "steps_per_epoch": 658,
        "n_steps": 13160,
        "batch_size": 64,
        "step": 0,
        "device": "cpu",
        "precision": "fp32",
        "threads": 2,
        "processes": 1,
        "init": None,
    },
)
END = Event("end", {"reason": "finished", "step": 13160, "seconds": 3723.4, "path": "runs/ptb"})


def report(**metrics: float) -> Event:
    return Event("report", {"step": 1200, "epoch": 1.5, **metrics})


def test_lines_tell_sizes_and_place() -> None:
    text = "\n".join(describe_event(START))
    for part in ("ptb", "42,068 sentences", "929,589 tokens", "7,000,000 parameters", "cpu", "fp32", "13,160 updates"):
        assert part in text
    assert "from update" not in text


def test_few_updates_are_told_with_what_suits_a_small_text() -> None:
    def hinted(**changes: int | str) -> bool:
        lines = describe_event(Event("start", {**START.data, **changes}))
        return "training.batch_size=32" in "\n".join(lines)

    assert hinted(n_steps=440)
    assert not hinted(n_steps=738)
    assert not hinted(n_steps=440, batch_size=32)
    assert not hinted(n_steps=440, step=20)
    assert not hinted(n_steps=440, init="runs/lm")


def test_a_start_from_another_run_is_told() -> None:
    lines = describe_event(Event("start", {**START.data, "init": "runs/lm"}))
    assert "generator starts with the weights of runs/lm" in lines
    assert not any("starts with" in line for line in describe_event(START))


def test_resumed_run_says_where_it_goes_on() -> None:
    assert "from update 500" in "\n".join(describe_event(Event("start", {**START.data, "step": 500})))


def test_updates_get_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingConsole(as_json=False) as shown:
        shown.on_progress("training", 7, 13160)
        shown.on_event(Event("warning", {"message": "z is ignored"}))
    assert capsys.readouterr() == ("", "warning: z is ignored\n")


def test_unknown_kind_is_not_shown() -> None:
    assert describe_event(Event("checkpoint", {"path": "x", "step": 1})) == []


@pytest.mark.parametrize(
    ("reason", "part"),
    [
        ("finished", "lebm-text generate"),
        ("patience", "(training.patience)"),
        ("max_steps", "--max-steps"),
        ("stopped", "train --resume --out runs/ptb"),
    ],
)
def test_end_says_what_to_do_next(reason: str, part: str) -> None:
    text = "\n".join(describe_event(Event("end", {**END.data, "reason": reason})))
    assert part in text
    assert "1:02:03" in text


def test_end_says_which_epoch_was_best_by_what() -> None:
    best = {"valid_ppl_prior": {"epoch": 5, "value": 7.81}, "valid_ppl_posterior": {"epoch": 20, "value": 4.26}}
    lines = describe_event(Event("end", {**END.data, "best": best, "published_by": None}))
    assert lines[1] == (
        "lowest on validation text: perplexity with posterior z 4.26 after epoch 20, with prior z 7.81 after epoch 5; "
        "published: the last weights"
    )
    best = {"valid_ppl": {"epoch": 7, "value": 12.5}}
    lines = describe_event(Event("end", {**END.data, "best": best, "published_by": "valid_ppl"}))
    assert lines[1] == "lowest on validation text: perplexity 12.5 after epoch 7; published: those of epoch 7"


def test_json_is_one_strict_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingConsole(as_json=True) as shown:
        for event in (START, report(nll=math.nan, gap=math.inf, norms=2.5), END):
            shown.on_event(event)
            shown.on_progress("training", 7, 13160)
    lines = [json.loads(line, parse_constant=pytest.fail) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["start", "report", "end"]
    assert lines[1] == {"event": "report", "step": 1200, "epoch": 1.5, "nll": None, "gap": None, "norms": 2.5}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bar_moves_and_lines_stand_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", stream := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with TrainingConsole(as_json=False) as shown:
        for event in (Event("warning", {"message": "[red]not markup[/red]"}), report(gap=0.1)):
            shown.on_progress("training", 7, 13160)
            shown.on_event(event)
        shown.on_progress("training", 1201, 13160)
    shown.on_event(END)
    lines = stream.getvalue().splitlines()
    assert any("1201/13160" in line for line in lines)
    assert any(line.endswith("\x1b[33mwarning: [red]not markup[/red]\x1b[0m") for line in lines)
    assert any(line.endswith("\x1b[2Kupdate  1,200  epoch   1.50  gap 0.1") for line in lines)
    assert "finished after 13,160 updates" in lines[-2]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the bar's own thread
def test_a_terminal_that_is_gone_does_not_stop_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    class Leaving(Terminal):
        is_gone = False

        def write(self, text: str) -> int:
            if self.is_gone:
                raise OSError("the terminal is gone")
            return super().write(text)

    monkeypatch.setattr("sys.stderr", stream := Leaving())
    monkeypatch.setenv("TERM", "xterm")
    with TrainingConsole(as_json=False) as shown:
        shown.on_progress("training", 7, 13160)
        stream.is_gone = True
        shown.on_event(END)
    assert shown.lost is None


def test_no_terminal_gets_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingConsole(as_json=False) as shown, show_log(shown.message):
        logging.getLogger("lebm_text.training").info("hello")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "hello\n")


def test_json_goes_to_stdout_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingConsole(as_json=True) as shown, show_log(shown.message):
        logging.getLogger("lebm_text.training").info("hello")
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"event": "notice", "message": "hello"}
    assert captured.err == ""


def test_a_quiet_command_says_its_warnings_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress(quiet=True) as on_progress:
        on_progress("AIS", 1, 2)
        logging.getLogger("lebm_text.training").info("hello")
        logging.getLogger("lebm_text.training").warning("few words")
    assert capsys.readouterr() == ("", "warning: few words\n")


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (["views", "-n", "9"], "lebm-text views --run runs/newest -n 9"),
        (["neighbours", "it 's", "--run", "some/where"], """lebm-text neighbours 'it '"'"'s' --run some/where"""),
        (["views", "--run=some"], "lebm-text views --run=some"),
    ],
)
def test_a_report_keeps_what_was_typed_and_the_run_that_was_taken(typed: list[str], line: str) -> None:
    with click.Context(click.Command("lebm-text")) as context:
        context.meta[ARGUMENTS] = typed
        assert console.command_line(Run("elsewhere/newest")) == line


def test_headlines_have_labels_of_their_own() -> None:
    labels = list(events._HEADLINES.values())
    assert len(set(labels)) == len(labels)


def test_a_reader_that_went_away_is_dropped_and_ends_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Event] = []

    def gone(event: Event) -> None:
        calls.append(event)
        raise BrokenPipeError

    monkeypatch.setattr(console, "_print_json", gone)
    with TrainingConsole(as_json=True) as shown:
        assert not shown.should_stop()
        for _ in range(2):
            shown.message("notice", "still here")
        assert isinstance(shown.lost, BrokenPipeError) and shown.should_stop()
    assert len(calls) == 1


def test_what_another_sentences_z_says_stands_beside_what_its_own_says() -> None:
    (line,) = describe_event(report(nll_token=5.185, nll_posterior=4.301, nll_shuffled=4.333))
    assert "nll/token 5.185  without dropout, own z 4.301  another's z 4.333" in line


@pytest.mark.parametrize(
    ("times", "counts"),
    [
        ([0.0, 1.0, 3.0, 21.0, 22.0], (0, 10, 50, 60)),
        ([0.0, 0.0, 100.0, 200.0, 220.0], (0, 100, 0, 50)),  # a stage that comes again has its own time
    ],
)
def test_lines_say_how_long_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], times: list[float], counts: tuple[int, ...]
) -> None:
    now = iter(times)
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: next(now)))
    lines = console.Lines()
    for done in counts:
        lines("AIS", done, 100)
    assert capsys.readouterr().err == "AIS: 50 of 100, 0:00:20 left\n"


def test_a_training_says_how_long_it_takes_until_it_has_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter([0.0, 0.0, 30.0, 60.0])
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: next(now)))
    with TrainingConsole(as_json=False) as shown:
        for step in (1, 31):
            shown.on_progress("updates", step, 6031)
        shown.on_event(report(gap=0.1))
        shown.on_progress("updates", 61, 6031)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "updates: 31 of 6,031, 1:40:00 left"
    assert len(lines) == 2


def test_the_rule_under_a_heading_is_not_as_long_as_the_longest_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    table = new_table(None, "distance", texts=["sentence"])
    table.add_row("0.500", "the lord is good " * 100)
    console.show_table(table)
    heading, rule, row = capsys.readouterr().out.splitlines()
    assert set(rule.strip()) == {"─"} and len(heading) < len(rule) <= 80
    assert row.endswith("the lord is good " * 99 + "the lord is good")
