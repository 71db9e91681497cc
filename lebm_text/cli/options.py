"""Options that several commands share, so that they have one name, one check and one help text; typed sentences."""

from __future__ import annotations

import io
import math
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from lebm_text.errors import InputError
from lebm_text.presets import DEFAULT_PRESET, PRESETS
from lebm_text.text.reading import parse_lines, read_lines

__all__ = [
    "MAX_SEED",
    "backend_option",
    "check_finite",
    "data_dir_option",
    "decoding_options",
    "device_option",
    "draws_option",
    "json_option",
    "judge_options",
    "metric_options",
    "parse_sentence",
    "parse_thresholds",
    "read_sentences",
    "report_option",
    "run_option",
    "run_options",
    "scoring_options",
    "seed_option",
    "split_option",
    "training_options",
]

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

MAX_SEED = 2**63 - 1  # the largest that torch takes
_POSITIVE = click.FloatRange(min=0, min_open=True)
_TEXT = click.Path(exists=True, dir_okay=False, path_type=Path)


def check_finite(_ctx: click.Context, _param: click.Parameter, value: float | None) -> float | None:
    """Callback of options that take a number: refuses `nan` and `inf`, which click's ranges let through."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"must be a finite number, got {value}")
    return value


data_dir_option = click.option(
    "--data-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where to look for corpora first; only read.  [default: $LEBM_TEXT_DATA, then ./data]",
)

device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to compute; auto takes a CUDA device if there is one.",
)

draws_option = click.option(
    "--draws",
    type=click.IntRange(1, 4096),
    default=4,
    show_default=True,
    help="Posterior draws of a sentence, whose mean is its place.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print only JSON on standard output.")

run_option = click.option(
    "--run",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Run directory of the model.  [default: the newest under $LEBM_TEXT_RUNS, or ./runs]",
)

backend_option = click.option(
    "--ngram-backend",
    type=click.Choice(["numpy", "lmplz"]),
    default="numpy",
    show_default=True,
    help="Estimate here, or with KenLM's lmplz from PATH (for texts larger than memory).",
)


def report_option(name: str) -> Decorator:
    """`--output` of a command whose report and pictures go into the run unless a place is named."""
    return click.option(
        "-o",
        "--output",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help=f"Write the report as JSON, pictures beside it.  [default: {name}.json in the run's eval/]",
    )


def seed_option(help_text: str | None = None, *, default: int = 1) -> Decorator:
    """`--seed`."""
    return click.option("--seed", type=click.IntRange(0, MAX_SEED), default=default, show_default=True, help=help_text)


def split_option(default: str, *others: str, help_text: str | None = None) -> Decorator:
    """`--split`, with the splits in the order of the corpus."""
    names = [name for name in ("train", "valid", "test") if name in (default, *others)]
    return click.option("--split", type=click.Choice(names), default=default, show_default=True, help=help_text)


def _check_each(ctx: click.Context, param: click.Parameter, values: tuple[float, ...]) -> tuple[float, ...]:
    for value in values:
        check_finite(ctx, param, value)
    return tuple(dict.fromkeys(values))


def _all_of(*options: Decorator) -> Decorator:
    """The options in the order in which the help shall name them."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--run` and `--data-dir`, of commands that read the corpus of a run."""
    return run_option(data_dir_option(command))


def parse_thresholds(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, ...]:
    """Callback of an option that takes a whole number for each of some things: `0,0,1`."""
    try:
        return tuple(int(part) for part in value.replace(",", " ").split())
    except ValueError:
        raise click.BadParameter(f"wants whole numbers such as 0,0,1, got {value!r}") from None


def parse_sentence(text: str, name: str) -> str:
    """A sentence that was typed, checked as a line of a file is; `name` is for messages."""
    lines = list(parse_lines(io.BytesIO(os.fsencode(text)), name))
    if len(lines) > 1:
        raise InputError(f"{name} has {len(lines)} lines; a sentence is one line")
    return "".join(lines)


def read_sentences(file: Path | None, typed: Sequence[str] = ()) -> list[str]:
    """What was typed, or the lines of a file, or of standard input (no file, or `-`), empty ones included."""
    if typed and file is not None:
        raise InputError("sentences are named both as arguments and by --file: give one of them")
    if typed:
        return [parse_sentence(text, f"argument {i}") for i, text in enumerate(typed, 1)]
    if file is None or str(file) == "-":
        return list(parse_lines(sys.stdin.buffer, "standard input"))
    return list(read_lines(file))


def decoding_options(default: str) -> Decorator:
    """What `DecodeSettings` holds, with this default of `--decode`, and `--seed` and `--max-length`."""
    option = partial(click.option, show_default=True)
    kinds, share = click.Choice(["sample", "greedy", "beam"]), click.FloatRange(0, 1, min_open=True)
    # fmt: off
    return _all_of(
        option("--decode", type=kinds, default=default,
               help="How words are chosen: drawn, the most probable one each time, or beam search."),
        option("--temperature", type=_POSITIVE, default=1.0, callback=check_finite,
               help="Divides the logits before sampling; below 1 is safer, above 1 wilder."),
        option("--top-k", type=click.IntRange(0), default=0,
               help="Sample from the K most probable words only; 0: from all."),
        option("--top-p", type=share, default=1.0, callback=check_finite,
               help="Sample from the most probable words that reach this mass only; 1: from all."),
        option("--beam-size", type=click.IntRange(1), default=5, help="How many hypotheses beam search keeps."),
        seed_option("The same seed gives the same output."),
        option("--max-length", type=click.IntRange(1),
               help="Cut sentences at this many tokens.  [default: the run's text.max_length]"),
    )
    # fmt: on


def judge_options(*, lm: str, temperatures: str) -> Decorator:
    """The options of every command that judges samples; the arguments say what holds where they are not given."""
    judges = click.Choice([*(f"kn{order}" for order in range(2, 7)), "lstm", "both"])
    several: dict[str, Any] = {"multiple": True, "callback": _check_each}
    # fmt: off
    return _all_of(
        click.option("--samples", type=_TEXT,
                     help="Text to judge, one sentence a line, from any system.  [default: those of the run]"),
        run_option,
        click.option("--corpus", metavar="NAME|DIR", help="The real text.  [default: what the run was trained on]"),
        data_dir_option,
        click.option("--lm", type=judges,
                     help=f"The judge: Kneser-Ney of this order, an LSTM, or kn5 and the LSTM.  [default: {lm}]"),
        click.option("--protocol", type=click.Choice(["default", "arae", "lebm"]), default="default", show_default=True,
                     help="What is counted, how the vocabulary is closed, who judges; arae, lebm: as those papers do."),
        split_option("test", "valid", help_text="The held-out real text; use valid for choices."),
        click.option("-n", "n", type=click.IntRange(1),
                     help="How many samples.  [default: all in the file; for a run as many as training sentences]"),
        click.option("--temperature", "temperatures", type=_POSITIVE, **several,
                     help=f"Judge the run at this decoding temperature; repeatable.  [default: {temperatures}]"),
        click.option("--seed", "seeds", type=click.IntRange(0, MAX_SEED), **several,
                     help="Judge the run's samples of this seed; repeatable; the first seeds the bootstrap.  "
                     "[default: 1]"),
        click.option("--judge-seeds", type=click.IntRange(1, 100), default=1, show_default=True,
                     help="Train the LSTM judge from so many seeds, for the spread."),
        backend_option,
        device_option,
        json_option,
        click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
                     help="Write the report as JSON, pictures beside it.  "
                     "[default: into the run's eval/; nowhere for --samples]"),
    )
    # fmt: on


def scoring_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How z is drawn for scores, under the names of `ScoreSettings`, and `--precision`."""
    steps, precisions = click.IntRange(1, 1_000_000), click.Choice(["fp32", "bf16", "auto"])
    draws_help, precision_help = "Of z, for each sentence.", "Of matrix products; bf16 is faster and coarser."
    return _all_of(
        click.option("--draws", "n_draws", type=click.IntRange(1, 4096), default=8, show_default=True, help=draws_help),
        click.option("--steps", "n_steps", type=steps, help="Of the posterior chain.  [default: the run's]"),
        click.option("--seed", type=click.IntRange(0, MAX_SEED - 1), default=1, show_default=True),
        click.option("--precision", type=precisions, default="fp32", show_default=True, help=precision_help),
    )(command)


def training_options() -> Decorator:
    """Those of `train`, but for its argument."""
    return _all_of(
        data_dir_option,
        click.option(
            "--preset",
            metavar="NAME",
            help=f"Configuration to start from: {', '.join(PRESETS)}.  [default: {DEFAULT_PRESET}]",
        ),
        click.option(
            "--set",
            "overrides",
            metavar="SECTION.KEY=VALUE",
            multiple=True,
            callback=lambda _ctx, _param, given: list(given),
            help="Change one value of the configuration; may be repeated.",
        ),
        click.option(
            "--out",
            type=click.Path(file_okay=False, path_type=Path),
            help="The run directory.  [default: runs/<corpus>]",
        ),
        click.option("--resume", is_flag=True, help="Continue the run in --out from its last checkpoint."),
        click.option("--overwrite", is_flag=True, help="Replace the run in --out."),
        click.option(
            "--max-steps", type=click.IntRange(min=1), help="Stop after update N, counted from the run's first."
        ),
        click.option(
            "--max-minutes",
            type=click.FloatRange(min=0, min_open=True),
            callback=check_finite,
            help="Stop after so many minutes of this call.",
        ),
        click.option("--seed", type=click.IntRange(0, MAX_SEED), help="Short for --set training.seed=…"),
        device_option,
        click.option(
            "--precision", type=click.Choice(["fp32", "bf16", "auto"]), help="Short for --set training.precision=…"
        ),
        click.option("--tensorboard", is_flag=True, help="Write TensorBoard event files to <run>/tensorboard, too."),
        json_option,
    )


def metric_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `fppl` and `rppl`: `judge_options`, and what they can show beside the figure."""
    known = "Also judge texts of known quality: n-gram samples, training text, a repeated block."
    return _all_of(
        judge_options(lm="both; kn5 for arae, lstm for lebm", temperatures="1"),
        click.option("--calibrate", is_flag=True, help=known),
        click.option("--diversity", is_flag=True, help="Also BLEU, self-BLEU, distinct-n and repetition."),
    )(command)


def experiment_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What `experiment` takes beside its name."""
    directory, choices = click.Path(file_okay=False, path_type=Path), click.Path(True, dir_okay=False, path_type=Path)
    minutes, judges = click.FloatRange(min=0, min_open=True), click.Choice(["lstm", "likelihood"])
    budget_help = "Most minutes of training of a row's run from one seed; a trial has its share.  [default: no limit]"
    choices_help = "Take the trials that this tuning.json chose, such as another corpus's, and tune nothing."
    row_help, seed_help = "This row alone; repeatable.  [default: all]", "Train from this seed; repeatable."
    return _all_of(
        click.option("--corpus", metavar="NAME|DIR", help="In place of the experiment's own."),
        click.option("--budget-minutes", type=minutes, callback=check_finite, help=budget_help),
        click.option("--seed", "seeds", type=click.IntRange(0, MAX_SEED), multiple=True, help=seed_help),
        click.option("--row", "rows", metavar="NAME", multiple=True, help=row_help),
        click.option("--skip", type=judges, multiple=True, help="Leave these judges out; repeatable."),
        click.option("--choices", type=choices, help=choices_help),
        click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Steps at a time."),
        click.option("--out", type=directory, help="Where all goes.  [default: runs/NAME-CORPUS]"),
        click.option("--plan", "plan_only", is_flag=True, help="Say what would be done, and do nothing."),
        click.option("--table", "table_only", is_flag=True, help="Write the table of what is done, and do nothing."),
    )(command)
