"""Options and arguments that several commands share."""

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
from lebm_text.sections import MAX_STEPS, TrainingConfig
from lebm_text.threads import MAX_THREADS, cpu_threads, default_threads

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
    """Return the type of an option that is a whole number from `least` to `most`."""
    return WholeRange(least, most)


VERBOSE = "lebm_text.verbose"  # key in the contexts' `meta`
DIRECTORY = AnyPath(exists=True, file_okay=False, path_type=Path)
RUN = RunPath(exists=True, file_okay=False, path_type=Path)
TEXT = AnyPath(exists=True, dir_okay=False, path_type=Path)
INPUT = Input(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
NEW_FILE = AnyPath(dir_okay=False, path_type=Path)
NEW_DIRECTORY = AnyPath(file_okay=False, path_type=Path)
MINUTES = FiniteRange(0, MAX_COUNT, min_open=True)

_TYPES: dict[Any, Callable[..., click.ParamType[Any]]] = {  # the type of an option, by the check of its field
    checks.whole: whole,
    checks.in_range: lambda low, high, open_start=False, open_end=False: FiniteRange(
        low, high, min_open=open_start, max_open=open_end
    ),
    checks.one_of: click.Choice,
}


def field_option(settings: type[Any], field: str, *names: str, **more: Any) -> Decorator:
    """Return the option that sets a field of a settings class, with the default and the range or choices of the field.

    Args:
        settings: a dataclass of settings.
        field: name of one of its fields.
        names: names of the option, and of its parameter if it differs from the field; default: `--` and the field.
        more: further arguments of `click.option`, which override those derived from the field.
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
    """Callback: check that the device is available, before any work is done."""
    if device == "cuda":
        from lebm_text.environment import resolve_device

        resolve_device(device)
    return device


def use_threads(n: int | None) -> None:
    """Compute with `n` threads until the command ends; None: the default of `--threads`. Imports torch."""
    click.get_current_context().with_resource(cpu_threads(n or default_threads()))


def _use_threads(ctx: click.Context, _param: click.Parameter, n: int | None) -> None:
    """Callback: set the number of threads."""
    if not ctx.resilient_parsing:
        use_threads(n)


def _be_verbose(ctx: click.Context, _param: click.Parameter, given: bool) -> None:
    """Callback: record whether `--verbose` was given."""
    ctx.meta[VERBOSE] = given


# fmt: off
data_dir_option = click.option(
    "--data-dir", type=DIRECTORY,
    help="Directory to look for corpora in first; nothing is written there.  [default: $LEBM_TEXT_DATA, or ./data]",
)
_device_option = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", callback=_check_device,
    help="Device to compute on; auto takes a CUDA device if there is one.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print only JSON on standard output.")
verbose_option = click.option(
    "-v", "--verbose", is_flag=True, expose_value=False, callback=_be_verbose,
    help="Also print signatures, which say how figures were computed, and checksums; JSON always has them.",
)
text_column_option = click.option(
    "--text-column", metavar="NAME",
    help="Field with the text, for JSON, CSV and Parquet.  [default: text, sentence, or the only field]",
)
# fmt: on


def output_option(help_text: str, **more: Any) -> Decorator:
    """Return the option `--output`, a file to write."""
    return click.option("-o", "--output", type=NEW_FILE, help=help_text, **more)


def text_argument(name: str, **more: Any) -> Decorator:
    """Return an argument that names a text, in lines or in a format with columns, with the option `--text-column`."""
    return all_of(click.argument(name, type=INPUT, **more), text_column_option)


def seed_option(help_text: str = "Random seed.") -> Decorator:
    """Return the option `--seed`."""
    return field_option(Settings, "seed", help=help_text)


def all_of(*options: Decorator) -> Decorator:
    """Return one decorator for several options; the help lists them in this order."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _trust(ctx: click.Context, _param: click.Parameter, given: bool) -> None:
    """Callback: trust plug-ins until the command ends, also in the processes that it starts."""
    if given and not ctx.resilient_parsing:
        ctx.with_resource(trusting())


trust_option = click.option(
    "--trust-plugins", is_flag=True, expose_value=False, callback=_trust,
    help="Allow a run to import the classes that it names as package.module:Class; this runs their code.",
)  # fmt: skip
run_option = all_of(click.option(
    "--run", type=RUN, help="Run directory of the model, or user/model on the Hugging Face Hub.  "
    "[default: the newest run in $LEBM_TEXT_RUNS, or ./runs]",
), trust_option)  # fmt: skip
run_options = all_of(run_option, data_dir_option)  # for commands that read the corpus of a run


def device_options(*, threads: bool = False) -> Decorator:
    """Return the options `--device` and `--threads`.

    With `threads`, the command gets the number of threads and calls `use_threads` itself, after the checks that need no
    torch; otherwise the option's callback sets it.
    """
    return all_of(
        _device_option,
        click.option("--threads", "n_threads", type=whole(1, MAX_THREADS), metavar="N",
                     callback=None if threads else _use_threads, expose_value=threads,
                     help="CPU threads of each process.  "
                     "[default: $OMP_NUM_THREADS, or the number of available processors]"),
    )  # fmt: skip


def report_options(place: str | None = None, *, threads: bool = False, table: bool = False) -> Decorator:
    """Return the options of a report: `device_options`, `--json`, and where they apply `--verbose` and `--output`.

    Args:
        place: where the report is written by default, for the help of `--output`; None: no `--output`.
        threads: as for `device_options`.
        table: it is a table, although there is no `place`: add `--verbose`.
    """
    output = output_option(f"Write the report to this JSON file, with pictures next to it.  [default: {place}]")
    shown = [verbose_option] if table or place is not None else []
    return all_of(device_options(threads=threads), json_option, *shown, *([] if place is None else [output]))


# fmt: off
def decoding_options(default: str, *, of_prior: bool = False) -> Decorator:
    """Return the options of `DecodeSettings`, with a `default` of `--decode`, `--seed` and `--max-length`.

    `of_prior`, for sentences sampled from the prior, adds `guidance_options` and `--label`.
    """
    return all_of(
        field_option(DecodeSettings, "decode", default=default,
                     help="How words are chosen: sampled, the most probable word each time, or by beam search."),
        field_option(DecodeSettings, "temperature",
                     help="Divide the logits by this before sampling; below 1 is less random, above 1 more."),
        field_option(DecodeSettings, "top_k", help="Sample only from the K most probable words; 0: from all."),
        field_option(DecodeSettings, "top_p",
                     help="Sample only from the most probable words that reach this total probability; 1: from all."),
        field_option(DecodeSettings, "beam_size", help="Number of hypotheses of beam search."),
        click.option("--no-unk", is_flag=True, help="Never write <unk>, the unknown word; to read, not to judge."),
        seed_option("Random seed; the same seed gives the same output."),
        click.option("--max-length", type=whole(1, MAX_STEPS),
                     help="Cut sentences off after this many tokens.  [default: the run's text.max_length]"),
        *([guidance_options, _label_option] if of_prior else []),
    )


guidance_options = all_of(  # for commands that sample from a run
    click.option("--prior-temperature", type=FiniteRange(0, MAX_PRIOR_TEMPERATURE, min_open=True), default=1.0,
                 help="Draw z from the prior raised to the power 1/this; below 1 is closer to its modes."),
    click.option("--guidance", type=FiniteRange(0, MAX_GUIDANCE), default=1.0,
                 help="How closely sentences follow z: above 1 more closely; for models trained with z-dropout."),
)
_label_option: Decorator = click.option("--label", help="Generate sentences of this class, for a model with classes.")
# fmt: on


def draws_options(settings: type[Any]) -> Decorator:
    """Return the options `--draws` and `--seed`, for estimates of posterior means."""
    draws = field_option(settings, "draws", help="Posterior draws per sentence, which estimate its posterior mean.")
    return all_of(draws, seed_option())


def scoring_options(settings: type[Any]) -> Decorator:
    """Return the options of commands that score sentences: reading texts, drawing z, and `--precision`."""
    return all_of(
        text_column_option,
        field_option(settings, "n_draws", "--draws", help="Posterior draws of z per sentence."),
        field_option(settings, "n_steps", "--steps", help="Steps of the posterior chain.  [default: the run's]"),
        seed_option(),
        field_option(
            TrainingConfig,
            "precision",
            default="fp32",
            help="Precision of matrix products; bf16 is faster and less exact.",
        ),
    )
