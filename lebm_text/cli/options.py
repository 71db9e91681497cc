"""Options that several commands share, so that they have one name, one check and one help text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lebm_text.checks import (
    MAX_COUNT,
    MAX_DRAWS,
    MAX_GUIDANCE,
    MAX_PRIOR_TEMPERATURE,
    MAX_SEED,
    MAX_TEMPERATURE,
    MIN_SHARE,
    MIN_TEMPERATURE,
)
from lebm_text.presets import DEFAULT_PRESET, PRESETS
from lebm_text.sections import MAX_STEPS, MAX_THREADS
from lebm_text.threads import cpu_threads, default_threads

from .parameters import AnyPath, FiniteRange, Input, RunPath
from .plugged import judge_option, trust_option

__all__ = [
    "DIRECTORY",
    "INPUT",
    "NEW_DIRECTORY",
    "NEW_FILE",
    "RUN",
    "SAMPLES_REPORT",
    "SHARE",
    "TEXT",
    "VERBOSE",
    "data_dir_option",
    "decoding_options",
    "device_options",
    "draws_options",
    "experiment_options",
    "guidance_options",
    "json_option",
    "judge_options",
    "metric_options",
    "ngram_options",
    "output_option",
    "report_options",
    "run_option",
    "run_options",
    "sample_options",
    "scoring_options",
    "seed_option",
    "split_option",
    "text_argument",
    "text_column_option",
    "training_options",
    "use_threads",
    "verbose_option",
    "whole",
]

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def whole(least: int = 1, most: int = MAX_COUNT) -> click.IntRange:
    """The type of options that count something."""
    return click.IntRange(least, most)


VERBOSE = "lebm_text.verbose"  # in the contexts' `meta`
DIRECTORY = AnyPath(exists=True, file_okay=False, path_type=Path)
RUN = RunPath(exists=True, file_okay=False, path_type=Path)
TEXT = AnyPath(exists=True, dir_okay=False, path_type=Path)
INPUT = Input(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
SHARE = FiniteRange(MIN_SHARE, 1)
NEW_FILE = AnyPath(dir_okay=False, path_type=Path)
NEW_DIRECTORY = AnyPath(file_okay=False, path_type=Path)
_MINUTES = FiniteRange(0, MAX_COUNT, min_open=True)
_TEMPERATURE = FiniteRange(MIN_TEMPERATURE, MAX_TEMPERATURE)
SAMPLES_REPORT = "into the run's eval/; nowhere for --samples"
_PRECISION = click.Choice(["fp32", "bf16", "auto"])


def _parse_thresholds(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, ...]:
    """Callback of an option that takes a whole number for each of some things: `0,0,1`."""
    try:
        return tuple(int(part) for part in value.replace(",", " ").split())
    except ValueError:
        raise click.BadParameter(f"wants whole numbers such as 0,0,1, got {value!r}") from None


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
_backend_option = click.option(
    "--ngram-backend", type=click.Choice(["numpy", "lmplz"]), default="numpy",
    help="Estimate here, or with KenLM's lmplz from PATH (for texts larger than memory).",
)
# fmt: on


def output_option(help_text: str, **more: Any) -> Decorator:
    """`--output`, a file."""
    return click.option("-o", "--output", type=NEW_FILE, help=help_text, **more)


def text_argument(name: str, **more: Any) -> Decorator:
    """A text to read, one sentence a line or a format with columns, and `--text-column`."""
    return _all_of(click.argument(name, type=INPUT, **more), text_column_option)


def seed_option(help_text: str | None = None, *, largest: int = MAX_SEED) -> Decorator:
    """`--seed`."""
    return click.option("--seed", type=click.IntRange(0, largest), default=1, help=help_text)


def split_option(default: str, *others: str, help_text: str | None = None) -> Decorator:
    """`--split`, with the splits in the order of the corpus."""
    names = [name for name in ("train", "valid", "test") if name in (default, *others)]
    return click.option("--split", type=click.Choice(names), default=default, help=help_text)


def _all_of(*options: Decorator) -> Decorator:
    """The options in the order in which the help shall name them."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


run_option = _all_of(click.option(
    "--run", type=RUN, help="Run directory of the model, or user/model on the Hugging Face Hub.  "
    "[default: the newest under $LEBM_TEXT_RUNS, or ./runs]",
), trust_option)  # fmt: skip
run_options = _all_of(run_option, data_dir_option)  # of commands that read the corpus of a run


def device_options(*, threads: bool = False) -> Decorator:
    """Where a command computes: `--device`, and `--threads`, which holds in it.

    `threads`: the command is given the number and calls `use_threads` itself, after what can be refused without torch.
    """
    return _all_of(
        _device_option,
        click.option("--threads", "n_threads", type=click.IntRange(1, MAX_THREADS), metavar="N",
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
    return _all_of(device_options(threads=threads), json_option, *shown, *([] if place is None else [output]))


# fmt: off
def decoding_options(default: str, *, of_prior: bool = False) -> Decorator:
    """What `DecodeSettings` holds, with this default of `--decode`, `--seed`, `--max-length`; of draws of the prior
    also `guidance_options`.
    """
    kinds = click.Choice(["sample", "greedy", "beam"])
    return _all_of(
        click.option("--decode", type=kinds, default=default,
                     help="How words are chosen: drawn, the most probable one each time, or beam search."),
        click.option("--temperature", type=_TEMPERATURE, default=1.0,
                     help="Divides the logits before sampling; below 1 is safer, above 1 wilder."),
        click.option("--top-k", type=whole(0), default=0,
                     help="Sample from the K most probable words only; 0: from all."),
        click.option("--top-p", type=SHARE, default=1.0,
                     help="Sample from the most probable words that reach this mass only; 1: from all."),
        click.option("--beam-size", type=whole(1, 1000), default=5, help="How many hypotheses beam search keeps."),
        seed_option("The same seed gives the same output."),
        click.option("--max-length", type=whole(1, MAX_STEPS),
                     help="Cut sentences at this many tokens.  [default: the run's text.max_length]"),
        *([guidance_options, _label_option] if of_prior else []),
    )


guidance_options = _all_of(  # of commands that sample a run
    click.option("--prior-temperature", type=FiniteRange(0, MAX_PRIOR_TEMPERATURE, min_open=True), default=1.0,
                 help="Draw z from the prior to the power of 1/this; below 1 is nearer to its modes."),
    click.option("--guidance", type=FiniteRange(0, MAX_GUIDANCE), default=1.0,
                 help="Above 1 follows z more closely; for models trained with z-dropout."),
)


_label_option: Decorator = click.option("--label", help="Of a model with classes: sentences of this class.")


def sample_options(*, n: str, temperatures: str) -> Decorator:
    """Which samples, and beside which real text; the arguments say what the defaults are."""
    several: dict[str, Any] = {"multiple": True, "callback": lambda _ctx, _param, given: tuple(dict.fromkeys(given))}
    return _all_of(
        click.option("--samples", type=INPUT,
                     help="Text to judge, from any system: a sentence a line, or .jsonl, .json, .csv, .tsv, .parquet.  "
                     "[default: those of the run]"),
        text_column_option,
        run_option,
        click.option("--corpus", metavar="NAME|DIR", help="The real text.  [default: what the run was trained on]"),
        data_dir_option,
        split_option("test", "valid", help_text="The held-out real text; use valid for choices."),
        click.option("-n", type=whole(), help=f"How many samples.  [default: {n}]"),
        click.option("--temperature", "temperatures", type=_TEMPERATURE, **several,
                     help=f"Judge the run at this decoding temperature; repeatable.  [default: {temperatures}]"),
        click.option("--seed", "seeds", type=click.IntRange(0, MAX_SEED), **several,
                     help="Judge the run's samples of this seed; repeatable; the first seeds all draws from texts.  "
                     "[default: 1]"),
        click.option("--tokenize", is_flag=True,
                     help="The samples are raw text: separate their words, and lower-case them, as the corpus has it."),
    )


def judge_options(*, lm: str, temperatures: str) -> Decorator:
    """The options of every command that judges samples by perplexities."""
    return _all_of(
        sample_options(n="all in the file; for a run as many as training sentences", temperatures=temperatures),
        judge_option(lm),
        click.option("--protocol", type=click.Choice(["default", "arae", "lebm"]), default="default",
                     help="What is counted, how the vocabulary is closed, who judges; arae, lebm: as those papers do."),
        click.option("--judge-seeds", type=click.IntRange(1, 100), default=1,
                     help="Train the LSTM judge from so many seeds, for the spread."),
        click.option("--diversity", is_flag=True,
                     help="Also BLEU, self-BLEU, distinct-n, repetition and n-grams of the training text."),
        _backend_option,
        report_options(SAMPLES_REPORT),
    )


def metric_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `fppl` and `rppl`: `judge_options`, and what they can show beside the figure."""
    return _all_of(
        judge_options(lm="both; kn5 for arae, lstm for lebm", temperatures="1"),
        click.option("--calibrate", is_flag=True,
                     help="Also judge texts of known quality: n-gram samples, training text, a repeated block."),
    )(command)


def draws_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How a sentence's place in the latent space is found: `--draws` and `--seed`."""
    return _all_of(
        click.option("--draws", type=whole(1, MAX_DRAWS), default=4,
                     help="Posterior draws of a sentence, whose mean is its place."),
        seed_option(),
    )(command)


def scoring_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How texts are read and z is drawn for scores, under the names of `ScoreSettings`, and `--precision`."""
    return _all_of(
        text_column_option,
        click.option("--draws", "n_draws", type=whole(1, MAX_DRAWS), default=8, help="Of z, for each sentence."),
        click.option("--steps", "n_steps", type=whole(1, MAX_STEPS),
                     help="Of the posterior chain.  [default: the run's]"),
        seed_option(largest=MAX_SEED - 1),
        click.option("--precision", type=_PRECISION, default="fp32",
                     help="Of matrix products; bf16 is faster and coarser."),
    )(command)


def ngram_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What `KneserNeySettings` holds, and `--ngram-backend`."""
    return _all_of(
        click.option("--order", type=click.IntRange(2, 6), default=5, help="Longest n-gram."),
        click.option("--prune", default="", show_default=False, callback=_parse_thresholds, metavar="COUNTS",
                     help="Drop n-grams seen at most this often: a number an order, such as 0,0,1; "
                     "the last holds above."),
        click.option("--vocab-pad", type=whole(0), default=0,
                     help="Count this many types, <unk> and </s> included, when unseen words share their mass."),
        click.option("--interpolate-unigrams/--no-interpolate-unigrams", default=True,
                     help="Share the mass of unseen words among all types, or give it to <unk>."),
        click.option("--fallback/--no-fallback", default=True,
                     help="Where the counts allow no discounts take 0.5, 1, 1.5 and say so, or fail."),
        _backend_option,
    )(command)


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Those of `train`, but for its argument."""
    return _all_of(
        data_dir_option,
        click.option("--preset", metavar="NAME",
                     help=f"Configuration to start from: {', '.join(PRESETS)}.  [default: {DEFAULT_PRESET}]"),
        click.option("--set", "overrides", metavar="SECTION.KEY=VALUE", multiple=True,
                     help="Change one value of the configuration; may be repeated."),
        click.option("--out", type=NEW_DIRECTORY, help="The run directory.  [default: runs/<corpus>]"),
        click.option("--resume", is_flag=True, help="Continue the run in --out from its last checkpoint."),
        click.option("--overwrite", is_flag=True, help="Replace the run in --out."),
        trust_option,
        click.option("--max-steps", type=whole(),
                     help="Stop after update N, counted from the run's first."),
        click.option("--max-minutes", type=_MINUTES,
                     help="Stop after so many minutes of this call."),
        click.option("--seed", type=click.IntRange(0, MAX_SEED), help="Short for --set training.seed=…"),
        device_options(threads=True),
        click.option("--precision", type=_PRECISION, help="Short for --set training.precision=…"),
        click.option("--tensorboard", is_flag=True, help="Write TensorBoard event files to <run>/tensorboard, too."),
        click.option("--wandb", is_flag=True, help="Tell Weights & Biases, too; offline with WANDB_MODE=offline."),
        click.option("--mlflow", is_flag=True, help="Tell the MLflow of $MLFLOW_TRACKING_URI, too."),
        json_option,
    )(command)


def experiment_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What `experiment` takes beside its name."""
    return _all_of(
        click.option("--corpus", metavar="NAME|DIR", help="In place of the experiment's own."),
        click.option("--budget-minutes", type=_MINUTES,
                     help="Most minutes of training of a row's run from one seed; a trial has its share.  "
                     "[default: no limit]"),
        click.option("--seed", "seeds", type=click.IntRange(0, MAX_SEED), multiple=True,
                     help="Train from this seed; repeatable."),
        click.option("--row", "rows", metavar="NAME", multiple=True,
                     help="This row alone; repeatable.  [default: all]"),
        click.option("--set", "overrides", metavar="SECTION.KEY=VALUE", multiple=True,
                     help="Change one setting of all rows, such as their size; may be repeated."),
        click.option("--skip", type=click.Choice(["lstm", "likelihood", "fed"]), multiple=True,
                     help="Leave these judges out; repeatable."),
        click.option("--choices", type=TEXT,
                     help="Take the trials that this tuning.json chose, such as another corpus's, and tune nothing."),
        click.option("--jobs", type=whole(), default=1, help="Steps at a time."),
        trust_option,
        click.option("--out", type=NEW_DIRECTORY, help="Where all goes.  [default: runs/NAME-CORPUS]"),
        click.option("--plan", "plan_only", is_flag=True, help="Say what would be done, and do nothing."),
        click.option("--table", "table_only", is_flag=True, help="Write the table of what is done, and do nothing."),
    )(command)
# fmt: on
