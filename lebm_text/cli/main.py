"""The `lebm-text` command: a click group that imports a command when it is called.

`COMMANDS` is the only list of commands. A command's module is imported to run it or to show its help. The overview
needs nothing but this list, so that it imports neither torch nor another large package.

Exit codes: 0 success, 1 a bug or a lost process, 2 bad input, 130 interrupted, 141 broken pipe. `InputError`,
`LostProcessError`, click's usage errors, and system errors about paths that the user gave become one line on stderr.
Every other error is a bug and keeps its traceback.
"""

from __future__ import annotations

import errno
import gc
import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NamedTuple, TextIO, cast

import click

from lebm_text import __version__
from lebm_text.checks import hint
from lebm_text.errors import InputError, LostProcessError
from lebm_text.processes import n_launched
from lebm_text.threads import spin_briefly

from .parameters import Group
from .streams import OutputError, print_note

__all__ = [
    "ARGUMENTS",
    "COMMANDS",
    "INTERRUPTED",
    "PROGRAM",
    "CommandEntry",
    "cli",
    "main",
    "quick_imports",
    "stop_on_signals",
]

PROGRAM = "lebm-text"
ARGUMENTS = "lebm_text.arguments"  # key in the root context's `meta`: the arguments as typed
FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 128 + 2
BROKEN_PIPE = 128 + 13

# Errors that a path given by the user or a full disk can cause; other system errors are bugs.
_USERS_PATH = {
    errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.EFBIG, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT,
    errno.ENOSPC, errno.ENOTDIR, errno.EPERM, errno.EROFS,
}  # fmt: skip
_ENDING = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))  # Windows has no SIGHUP
_NO_MEMORY = ("DefaultCPUAllocator", "out of memory")  # parts of torch's error messages
_STDERR = 2  # file descriptor


class CommandEntry(NamedTuple):
    """Where a command is defined, and its line in the overview.

    Attributes:
        module: relative name of its module.
        summary: its line in the overview.
        several: whether several processes, started by `torchrun`, can share its work.
        attribute: name of the click command in the module.
    """

    module: str
    summary: str
    several: bool = False
    attribute: str = "command"


COMMANDS: dict[str, CommandEntry] = {
    "train": CommandEntry(".train", "Train a model on a corpus, or resume a run.", True),
    "generate": CommandEntry(".generate", "Write sentences sampled from a trained model.", True),
    "reconstruct": CommandEntry(".reconstruct", "Encode sentences into the latent space and decode them."),
    "fppl": CommandEntry(".perplexity", "Forward perplexity: a model of real text reads generated text.", True, "fppl"),
    "rppl": CommandEntry(".perplexity", "Reverse perplexity: a model of generated text reads real text.", True, "rppl"),
    "evaluate": CommandEntry(".evaluate", "FPPL and RPPL over decoding temperatures, with a picture.", True),
    "fed": CommandEntry(".fed", "Fréchet distance of sentence embeddings between samples and real text."),
    "likelihood": CommandEntry(".likelihood", "log p(x) of held-out sentences, and information in z.", True),
    "trajectories": CommandEntry(".trajectories", "Langevin chains of the prior, step by step."),
    "views": CommandEntry(".views", "Prior, posterior and N(0, I) in one picture."),
    "interpolate": CommandEntry(".interpolate", "Decode latent vectors between two sentences."),
    "neighbours": CommandEntry(".neighbours", "Nearest sentences of a corpus in the latent space."),
    "directions": CommandEntry(".directions", "The latent direction of an attribute, from labelled sentences."),
    "score": CommandEntry(".score", "How anomalous each sentence of a text is under a model."),
    "anomaly": CommandEntry(".anomaly", "Evaluate anomaly detection; prepare corpora for it."),
    "experiment": CommandEntry(".experiment", "Train, tune and judge many models, with a table of results."),
    "ngram": CommandEntry(".ngram", "Train and query n-gram language models."),
    "explore": CommandEntry(".explore", "A local web page to try out a model (pip install 'lebm-text[app]')."),
    "curves": CommandEntry(".curves", "Draw the training curves of runs."),
    "report": CommandEntry(".report", "One HTML page about a run: curves, samples, evaluations."),
    "push": CommandEntry(".push", "Share a run on the Hugging Face Hub, with a model card."),
    "compare": CommandEntry(".compare", "Which figures of runs or reports differ by more than their intervals."),
    "explain": CommandEntry(".explain", "Explain the signature of a figure."),
    "data": CommandEntry(".data", "List, fetch and check corpora; import your own text."),
}


class LazyGroup(Group):
    """A group of the commands in `COMMANDS`, which imports a command only when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        entry = COMMANDS[cmd_name]
        try:
            with quick_imports():
                command: click.Command = getattr(importlib.import_module(entry.module, __package__), entry.attribute)
        except ImportError:
            from lebm_text.judges import check_judges

            check_judges()  # explains the error if another distribution's lm_eval was imported
            raise
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS:
            raise click.UsageError(f"no command {args[0]!r}{hint(args[0], list(COMMANDS))}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


_SETTINGS = {"help_option_names": ["-h", "--help"], "show_default": True}


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings=_SETTINGS)
@click.version_option(__version__, prog_name=PROGRAM)
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Latent variable models of sentences with a learned prior, and evaluation of any generated text.

    \b
    lebm-text train reviews.csv          train on a text and write the run to runs/reviews
    lebm-text generate -n 1000           write 1000 sentences from the newest run
    lebm-text COMMAND --help             the options of a command
    """
    name = ctx.invoked_subcommand
    if name is None:
        click.echo(ctx.get_help())
        return
    if n_launched() > 1 and not COMMANDS[name].several:
        able = ", ".join(name for name, entry in COMMANDS.items() if entry.several)
        raise click.UsageError(f"{name} works in one process; start it without torchrun, which is for: {able}", ctx)
    from .console import print_message, show_log  # here, since the overview does not need it

    ctx.with_resource(show_log(print_message))


@contextmanager
def quick_imports() -> Iterator[None]:
    """Context manager: disable garbage collection, and afterwards exempt the objects that were created.

    Importing torch creates 250 000 objects that are never freed; collections would take a fifth of the import time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if was_enabled:
            gc.enable()


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line on `args` (default: those of the process) and return the exit code.

    Errors of the user are printed on stderr; other exceptions propagate.
    """
    spin_briefly()
    os.environ["MPLBACKEND"] = "agg"  # pictures go to files; matplotlib does not even import with a wrong one
    with _standard_streams():
        return _run(list(sys.argv[1:] if args is None else args))


def _run(typed: list[str]) -> int:
    try:
        with _handlers(_interrupt, *_ENDING):
            with cli.make_context(PROGRAM, [*typed]) as context:  # a copy, since click empties the list
                context.meta[ARGUMENTS] = typed
                cli.invoke(context)
            sys.stdout.flush()
    except click.exceptions.Exit as request:
        return request.exit_code
    except (KeyboardInterrupt, click.Abort):
        with suppress(OSError):
            print_note(f"{PROGRAM}: interrupted; no file is half written")
        return INTERRUPTED
    except InputError as error:
        return _refuse(str(error))
    except click.ClickException as error:
        return _refuse(error.format_message())
    except LostProcessError as error:
        return _refuse(str(error), FAILED)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "lebm_text", "lm_eval"):
            raise
        return _refuse(f"this needs the package {package}, which is not installed; install all that lebm-text requires")
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or any(part in str(error) for part in _NO_MEMORY)):
            raise
        return _refuse("not enough memory; take smaller sizes, a smaller batch or fewer sentences")
    except BrokenPipeError:
        return BROKEN_PIPE
    except OSError as error:
        if error.errno not in _USERS_PATH:
            raise
        where = "" if error.filename is None else f": {os.fsdecode(error.filename)}"
        return _refuse(f"{error.strerror}{where}")
    return 0


def _refuse(message: str, code: int = BAD_INPUT) -> int:
    line = " ".join(message.split())
    with suppress(BrokenPipeError):
        print_note(f"{PROGRAM}: error: {line}")
    return code


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Handle SIGTERM and SIGHUP like Ctrl-C, so that the same cleanup runs."""
    raise KeyboardInterrupt


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Context manager: yield a function that returns whether a SIGINT, SIGTERM or SIGHUP has arrived.

    The second signal raises KeyboardInterrupt.
    """
    requested = False

    def request(_signal: int, _frame: FrameType | None) -> None:
        nonlocal requested
        if requested:
            raise KeyboardInterrupt
        requested = True
        # Not through sys.stderr: the handler may run during a write to it.
        with suppress(OSError):  # the terminal may be gone
            os.write(_STDERR, b"\nstopping after this update; once more stops at once\n")

    with _handlers(request, signal.SIGINT, *_ENDING):
        yield lambda: requested


@contextmanager
def _handlers(handler: Callable[[int, FrameType | None], None], *signals: signal.Signals) -> Iterator[None]:
    """Context manager: install `handler` for `signals`; a SIGHUP that `nohup` has set to be ignored stays ignored."""
    taken = [number for number in signals if not (number in _ENDING[1:] and signal.getsignal(number) is signal.SIG_IGN)]
    previous = {number: signal.signal(number, handler) for number in taken}
    try:
        yield
    finally:
        for number, former in previous.items():
            signal.signal(number, former)


@contextmanager
def _standard_streams() -> Iterator[None]:
    """Context manager: replace standard streams that are closed, and at the end discard what cannot be written.

    Otherwise the next file that is opened would get the number of the closed stream: native code, which writes errors
    to number 2, would write them into that file.
    """
    for number, way in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_RDONLY)):  # so that reading or writing fails
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, way)  # takes the lowest free number, which is this one
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:
        sys.stdout, sys.stderr = before[0] or cast(TextIO, _Closed()), before[1] or nowhere
        try:
            yield
        finally:
            _forget()
            sys.stdout, sys.stderr = before


def _forget() -> None:
    """Redirect streams that cannot be flushed to the null device; else Python reports an error when it exits."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
                stream.flush()


class _Closed:
    """A binary and text stream in place of a closed standard output; writing raises OutputError."""

    encoding = "utf-8"

    @property
    def buffer(self) -> _Closed:
        return self

    def isatty(self) -> bool:
        return False

    def flush(self) -> None: ...

    def write(self, _data: Any) -> int:
        raise OutputError("standard output is closed")
