"""What commands take of classes that are not the package's own: the trust to import them, and judges by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from lebm_text.plugins import is_named, trusting

__all__ = ["judge_option", "trust_option"]


class _JudgeName(click.Choice[str]):
    """A judge of the package's own, or one of others, with its settings; `lm_eval` looks for that."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        name = str(value).partition(",")[0]
        return value if is_named("judge", name) else super().convert(value, param, ctx)


def judge_option(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--lm`."""
    return click.option(
        "--lm",
        type=_JudgeName([*(f"kn{order}" for order in range(2, 7)), "lstm", "both"]),
        help="The judge: Kneser-Ney of this order, an LSTM, kn5 and the LSTM, or package.module:Class.  "
        f"[default: {default}]",
    )


def _trust(ctx: click.Context, _param: click.Parameter, given: bool) -> None:
    """Callback of `trust_option`: until the command ends, and in the processes that it starts."""
    if given and not ctx.resilient_parsing:
        ctx.with_resource(trusting())


trust_option = click.option(
    "--trust-plugins",
    is_flag=True,
    expose_value=False,
    callback=_trust,
    help="Import the classes that a run names as package.module:Class, and so run their code.",
)
