"""Options that several commands share, so that they have one name, one check and one help text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from lebm_text import checks
from lebm_text.checks import MAX_COUNT, MAX_GUIDANCE, MAX_PRIOR_TEMPERATURE
from lebm_text.generation.settings import DecodeSettings
from lebm_text.plugins import trusting
from lebm_text.reports.base import Settings
from lebm_text.sections import MAX_STEPS, MAX_THREADS, TrainingConfig
from lebm_text.threads import cpu_threads, default_threads

from .parameters import AnyPath, FiniteRange, Input, RunPath, WholeRange

__all__ = [
    "DIRECTORY",
    "INPUT",
    "MINUTES",
    "NEW_DIRECTORY",
    "NEW_FILE",
    "RUN",
    "TEXT",
    "VERBOSE",
    "Decorator",
    "all_of",
    "data_dir_option",
    "decoding_options",
    "device_options",
    "draws_options",
    "field_option",
    "guidance_options",
    "json_option",
    "output_option",
    "report_options",
    "run_option",
    "run_options",
    "scoring_options",
    "seed_option",
    "text_argument",
    "text_column_option",
    "trust_option",
    "use_threads",
    "verbose_option",
    "whole",
]

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def whole(least: int = 1, most: int | None = MAX_COUNT) -> WholeRange:
    """The type of options that count something."""
    return WholeRange(least, most)


VERBOSE = "lebm_text.verbose"  # in the contexts' `meta`
DIRECTORY = AnyPath(exists=True, file_okay=False, path_type=Path)
RUN = RunPath(exists=True, file_okay=False, path_type=Path)
TEXT = AnyPath(exists=True, dir_okay=False, path_type=Path)
INPUT = Input(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
NEW_FILE = AnyPath(dir_okay=False, path_type=Path)
NEW_DIRECTORY = AnyPath(file_okay=False, path_type=Path)
MINUTES = FiniteRange(0, MAX_COUNT, min_open=True)

_TYPES: dict[Any, Callable[..., click.ParamType[Any]]] = {  # by the check of a field
    checks.whole: whole,
    checks.in_range: lambda low, high, open_start=False, open_end=False: FiniteRange(
        low, high, min_open=open_start, max_open=open_end
    ),
    checks.one_of: click.Choice,
}


def field_option(settings: type[Any], field: str, *names: str, **more: Any) -> Decorator:
    """The option that sets a field of a settings class: with the field's default, its range or its choices.

    Args:
        names: of the option, and of its parameter if that is not the field's; by default the field's, as `--held-out`.
        more: further arguments of `click.option`, which take the place of what the field says.
    """
    found = next(each for each in fields(settings) if each.name == field)
    check, limits, options = found.metadata.get("check", (None, (), {}))
    derived: dict[str, Any] = {} if found.default in (None, ()) else {"default": found.default}
    if check is checks.each_of:
        check, *limits = limits
        derived["multiple"] = True
    if check is not None:
        derived["type"] = _TYPES[check](*limits, **options)
    elif isinstance(found.default, bool):
        derived["is_flag"] = True
    names = names or (f"--{field.replace('_', '-')}",)
    parameter = [] if any(name.isidentifier() for name in names) else [field]
    return click.option(*names, *parameter, **derived | more)


def _check_device(_ctx: click.Context, _param: click.Parameter, device: str) -> str:
    """Callback: a device that is not there is refused before anything is done."""
    if device == "cuda":
        from lebm_text.environment import resolve_device

        resolve_device(device)
    return device


def use_threads(n: int | None) -> None:
    """So many threads until the command ends; none: as many as are there for it. Imports torch."""
    click.get_current_context().with_resource(cpu_threads(n or default_threads()))


def _use_threads(ctx: click.Context, _param: click.Parameter, n: int | None) -> None:
    """Callback of `--threads`."""
    if not ctx.resilient_parsing:
        use_threads(n)


def _be_verbose(ctx: click.Context, _param: click.Parameter, given: bool) -> None:
    """Callback of `verbose_option`."""
    ctx.meta[VERBOSE] = given


# fmt: off
data_dir_option = click.option(
    "--data-dir", type=DIRECTORY,
    help="Where to look for corpora first; only read.  [default: $LEBM_TEXT_DATA, then ./data]",
)
_device_option = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", callback=_check_device,
    help="Where to compute; auto takes a CUDA device if there is one.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print only JSON on standard output.")
verbose_option = click.option(
    "-v", "--verbose", is_flag=True, expose_value=False, callback=_be_verbose,
    help="Also print signatures, which say what a figure is, and checksums; JSON always has them.",
)
text_column_option = click.option(
    "--text-column", metavar="NAME",
    help="Of JSON, CSV and Parquet: the field with the text.  [default: text, sentence, or the only one]",
)
# fmt: on


def output_option(help_text: str, **more: Any) -> Decorator:
    """`--output`, a file."""
    return click.option("-o", "--output", type=NEW_FILE, help=help_text, **more)


def text_argument(name: str, **more: Any) -> Decorator:
    """A text to read, one sentence a line or a format with columns, and `--text-column`."""
    return all_of(click.argument(name, type=INPUT, **more), text_column_option)


def seed_option(help_text: str | None = None) -> Decorator:
    """`--seed`."""
    return field_option(Settings, "seed", help=help_text)


def all_of(*options: Decorator) -> Decorator:
    """The options in the order in which the help shall name them."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _trust(ctx: click.Context, _param: click.Parameter, given: bool) -> None:
    """Callback of `trust_option`: until the command ends, and in the processes that it starts."""
    if given and not ctx.resilient_parsing:
        ctx.with_resource(trusting())


trust_option = click.option(
    "--trust-plugins", is_flag=True, expose_value=False, callback=_trust,
    help="Import the classes that a run names as package.module:Class, and so run their code.",
)  # fmt: skip
run_option = all_of(click.option(
    "--run", type=RUN, help="Run directory of the model, or user/model on the Hugging Face Hub.  "
    "[default: the newest under $LEBM_TEXT_RUNS, or ./runs]",
), trust_option)  # fmt: skip
run_options = all_of(run_option, data_dir_option)  # of commands that read the corpus of a run


def device_options(*, threads: bool = False) -> Decorator:
    """Where a command computes: `--device`, and `--threads`, which holds in it.

    `threads`: the command is given the number and calls `use_threads` itself, after what can be refused without torch.
    """
    return all_of(
        _device_option,
        click.option("--threads", "n_threads", type=whole(1, MAX_THREADS), metavar="N",
                     callback=None if threads else _use_threads, expose_value=threads,
                     help="CPU threads of each process.  "
                     "[default: $OMP_NUM_THREADS, or as many as there are processors for it]"),
    )  # fmt: skip


def report_options(place: str | None = None, *, threads: bool = False, table: bool | None = None) -> Decorator:
    """Where a report is computed, `--json`, and, of one that goes to `place` unless another is named, `--output`.

    `table`: people see one, and where it comes from by `--verbose`; by default where there is a `place`.
    """
    output = output_option(f"Write the report as JSON, pictures beside it.  [default: {place}]")
    shown = [verbose_option] if (place is not None if table is None else table) else []
    return all_of(device_options(threads=threads), json_option, *shown, *([] if place is None else [output]))


# fmt: off
def decoding_options(default: str, *, of_prior: bool = False) -> Decorator:
    """What `DecodeSettings` holds, with this default of `--decode`, `--seed`, `--max-length`; of draws of the prior
    also `guidance_options` and `--label`.
    """
    return all_of(
        field_option(DecodeSettings, "decode", default=default,
                     help="How words are chosen: drawn, the most probable one each time, or beam search."),
        field_option(DecodeSettings, "temperature",
                     help="Divides the logits before sampling; below 1 is safer, above 1 wilder."),
        field_option(DecodeSettings, "top_k", help="Sample from the K most probable words only; 0: from all."),
        field_option(DecodeSettings, "top_p",
                     help="Sample from the most probable words that reach this mass only; 1: from all."),
        field_option(DecodeSettings, "beam_size", help="How many hypotheses beam search keeps."),
        seed_option("The same seed gives the same output."),
        click.option("--max-length", type=whole(1, MAX_STEPS),
                     help="Cut sentences at this many tokens.  [default: the run's text.max_length]"),
        *([guidance_options, _label_option] if of_prior else []),
    )


guidance_options = all_of(  # of commands that sample a run
    click.option("--prior-temperature", type=FiniteRange(0, MAX_PRIOR_TEMPERATURE, min_open=True), default=1.0,
                 help="Draw z from the prior to the power of 1/this; below 1 is nearer to its modes."),
    click.option("--guidance", type=FiniteRange(0, MAX_GUIDANCE), default=1.0,
                 help="Above 1 follows z more closely; for models trained with z-dropout."),
)
_label_option: Decorator = click.option("--label", help="Of a model with classes: sentences of this class.")
# fmt: on


def draws_options(settings: type[Any]) -> Decorator:
    """How a sentence's place in the latent space is found: `--draws` and `--seed`."""
    draws = field_option(settings, "draws", help="Posterior draws of a sentence, whose mean is its place.")
    return all_of(draws, seed_option())


def scoring_options(settings: type[Any]) -> Decorator:
    """How texts are read and z is drawn for scores, and `--precision`."""
    return all_of(
        text_column_option,
        field_option(settings, "n_draws", "--draws", help="Of z, for each sentence."),
        field_option(settings, "n_steps", "--steps", help="Of the posterior chain.  [default: the run's]"),
        seed_option(),
        field_option(
            TrainingConfig, "precision", default="fp32", help="Of matrix products; bf16 is faster and coarser."
        ),
    )
