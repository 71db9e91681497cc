"""Options that are made of the fields of settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from lebm_text.checks import Checked, each_of, in_range, one_of, setting, whole
from lebm_text.cli.main import main
from lebm_text.cli.options import all_of, field_option
from lebm_text.cli.parameters import Command

from .commands import all_commands
from .test_main import one_line


@dataclass(frozen=True)
class Settings(Checked):
    n: int = setting(4, whole, 1, 9)
    rate: float = setting(0.5, in_range, 0, 1, open_start=True)
    kind: str = setting("a", one_of, ("a", "b"))
    held_out: tuple[int, ...] = setting((), each_of, whole, 2)
    longest: int | None = setting(None, whole, 1)
    quick: bool = False
    greedy: bool = True


FOUND: list[Settings] = []


@click.command(cls=Command, context_settings={"show_default": True})
@all_of(
    field_option(Settings, "n", "-n", help="Number."),
    field_option(Settings, "rate"),
    field_option(Settings, "kind"),
    field_option(Settings, "held_out"),
    field_option(Settings, "longest", "--max"),
    field_option(Settings, "quick"),
    field_option(Settings, "greedy", "--greedy/--no-greedy"),
)
def command(**options: Any) -> None:
    FOUND.append(Settings(**options))


def call(*arguments: str) -> Settings | str:
    """The settings, or what click says."""
    FOUND.clear()
    result = CliRunner().invoke(command, arguments)
    return FOUND[0] if FOUND else result.output


def test_an_option_has_the_default_of_its_field() -> None:
    assert call() == Settings()
    text = str(call("--help"))
    assert "[default: 4; 1<=x<=9]" in text
    assert "[default: 0.5; 0<x<=1]" in text
    assert "--kind [a|b]" in text


def test_an_option_sets_its_field() -> None:
    typed = "-n 9 --rate 1 --kind b --held-out 2 --held-out 3 --max 7 --quick --no-greedy"
    assert call(*typed.split(" ")) == Settings(9, 1.0, "b", (2, 3), 7, quick=True, greedy=False)


@pytest.mark.parametrize("typed", ["-n 10", "-n 0", "--rate 0", "--rate 1.1", "--kind c", "--held-out 1", "--max 0"])
def test_an_option_refuses_what_its_field_refuses(typed: str) -> None:
    assert "Error: Invalid value" in str(call(*typed.split(" ")))


def test_what_is_named_takes_the_place_of_what_the_field_says() -> None:
    (option,) = click.command()(field_option(Settings, "n", "--chains", "n_chains", default=None)(lambda: None)).params
    assert isinstance(option.type, click.IntRange)
    assert (option.name, option.default, option.type.max) == ("n_chains", None, 9)


def test_every_command_refuses_an_option_of_one_value_that_is_given_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """Click would take the last in silence."""
    for path, each in all_commands():
        assert isinstance(each, Command), path
    assert main(["anomaly", "prepare", "toy", "--hold-out", "pos", "--hold-out", "neg", "-o", "out"]) == 2
    assert one_line(capsys) == "--hold-out is given 2 times; it takes one value"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("-n 1 -n 1", "-n is given 2 times; it takes one value"),
        ("--rate 0.1 --rate=0.2 --rate 0.3", "--rate is given 3 times"),
        ("--greedy --no-greedy", "--greedy is given 2 times"),
        ("-n b", "'b' is no whole number"),
        ("-n 1.5", "'1.5' is no whole number"),
        ("--rate 1e", "'1e' is no number"),
    ],
)
def test_what_is_wrong_is_said_plainly(typed: str, said: str) -> None:
    assert said in str(call(*typed.split(" ")))


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("fppl out.txt", "unexpected argument 'out.txt'; do you mean --samples out.txt?"),
        ("generate 10", "unexpected argument '10'; do you mean -n 10?"),
        ("rppl runs", "unexpected argument 'runs'; do you mean --run runs?"),
        ("score a.txt b.txt", "unexpected argument 'b.txt'"),
        (f"fppl {'a' * 300}", f"unexpected argument {'a' * 300!r}; do you mean --samples {'a' * 300}?"),
    ],
)
def test_an_argument_too_many_is_answered_with_its_option(
    typed: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "b.txt"):
        Path(name).touch()
    Path("runs").mkdir()
    assert main(typed.split(" ")) == 2
    assert one_line(capsys) == said


def test_a_flag_and_an_option_of_several_values_may_be_repeated() -> None:
    assert call("--quick", "--quick", "--held-out", "2", "--held-out", "2") == Settings(held_out=(2, 2), quick=True)


@pytest.mark.parametrize("group", ["data", "anomaly", "ngram"])
def test_what_the_help_of_a_group_says_of_its_commands_is_whole(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([group, "--help"]) == 0
    assert "..." not in capsys.readouterr().out.partition("Commands:")[2]


@pytest.mark.parametrize(
    ("name", "meant"), [("kjv-dem", "kjv-demo"), ("reviews", "made/reviews-1"), ("made/review-1", "made/reviews-1")]
)
def test_a_run_that_is_not_there_is_answered_with_one_that_is(
    name: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEBM_TEXT_RUNS", "made")
    Path("made/reviews-1").mkdir(parents=True)
    Path("made/reviews-1/config.json").write_text("{}")
    for line in (["generate", "--run", name], ["curves", name], ["push", name, "user/model"], ["compare", name, name]):
        assert main(line) == 2
        assert f"{name!r} does not exist; did you mean {meant}?" in one_line(capsys)
