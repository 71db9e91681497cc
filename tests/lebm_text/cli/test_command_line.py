"""A command as a report keeps it: typed again, it asks for the same."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest

from lebm_text.cli.command_line import command_line


@click.group()
def program() -> None:
    pass


@program.command()
@click.option("--run", type=click.Path(path_type=Path))
@click.option("-n", "n", type=int, default=10)
@click.option("--temperature", "temperatures", type=float, multiple=True)
@click.option("--greedy/--no-greedy", default=True)
@click.option("--json", "as_json", is_flag=True)
@click.option("-o", "--output", type=click.Path(path_type=Path))
@click.argument("sentences", nargs=-1)
def work(run: Path | None, **_: object) -> None:
    click.echo(command_line(run or Path("elsewhere/newest")))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    directory = tmp_path / "deep" / "mine"
    directory.mkdir(parents=True)
    (directory / "config.json").touch()
    return directory


def line_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What stands in the report of a command with these arguments."""
    program.main(["work", *arguments], prog_name="other", standalone_mode=False)
    return shlex.split(capsys.readouterr().out)


def test_defaults_are_left_out_and_the_run_that_was_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert line_of([], capsys) == ["lebm-text", "work", "--run", "elsewhere/newest"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["-n", "10"],
        ["--temperature", "0.9", "--temperature", "1"],
        ["--no-greedy", "--json"],
        ["--greedy"],
        ["a sentence", "it 's another"],
        ["-n", "3", "--", "-5 is cold", "x"],
    ],
)
def test_what_was_typed_is_there_as_it_was_typed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert line_of(["--run", "some", *arguments], capsys) == ["lebm-text", "work", "--run", "some", *arguments]


def test_a_line_is_its_own_line(capsys: pytest.CaptureFixture[str]) -> None:
    typed = ["--output", "a b.json", "-n", "3", "--temperature", "0.12345678", 'it \'s "cold"', "--", "-x"]
    first = line_of(typed, capsys)
    assert line_of(first[2:], capsys) == first


def test_a_run_is_named_where_runs_are_kept(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = line_of(["--run", str(run), "-o", str(run / "eval" / "x.json")], capsys)
    assert words[2:] == ["--run", "runs/mine", "--output", "runs/mine/eval/x.json"]
