"""Options that are made of the fields of settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click
import pytest
from click.testing import CliRunner

from lebm_text.checks import Checked, each_of, in_range, one_of, setting, whole
from lebm_text.cli.options import all_of, field_option


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


@click.command(context_settings={"show_default": True})
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
