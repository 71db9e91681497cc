"""From exceptions to exit codes: 0 fine, 1 a bug or a lost process, 2 bad input, 130 interrupted, 141 broken pipe.

`InputError`, `LostProcessError`, click's own usage errors and what the system says of a path that the user named
become one line on stderr. Everything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

import click

from lebm_text.errors import InputError, LostProcessError

from .signals import ending_interrupts

__all__ = ["ARGUMENTS", "BAD_INPUT", "BROKEN_PIPE", "FAILED", "INTERRUPTED", "PROGRAM", "exit_code_of"]

PROGRAM = "lebm-text"
ARGUMENTS = "lebm_text.arguments"  # in the root context's `meta`: what was typed
FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 128 + 2
BROKEN_PIPE = 128 + 13

# What a path given by the user, or a disk without room, can cause; other system errors are bugs.
_USERS_PATH = frozenset(
    {
        errno.EACCES,
        errno.EDQUOT,
        errno.EEXIST,
        errno.EFBIG,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOSPC,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)


def exit_code_of(command: Callable[[], None]) -> int:
    """Run `command` and return the exit code; errors of the user are reported on stderr, bugs propagate."""
    try:
        with ending_interrupts():
            command()
            sys.stdout.flush()
    except click.exceptions.Exit as request:
        return request.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except InputError as error:
        return _refuse(str(error))
    except click.ClickException as error:
        return _refuse(error.format_message())
    except LostProcessError as error:
        return _refuse(str(error), FAILED)
    except BrokenPipeError:
        _forget_streams()
        return BROKEN_PIPE
    except OSError as error:
        if error.errno not in _USERS_PATH:
            raise
        where = "" if error.filename is None else f": {os.fsdecode(error.filename)}"
        return _refuse(f"{error.strerror}{where}")
    return 0


def _refuse(message: str, code: int = BAD_INPUT) -> int:
    line = " ".join(message.split())
    click.echo(f"{PROGRAM}: error: {line}", err=True)
    return code


def _forget_streams() -> None:
    """Send what is still buffered nowhere, or Python complains about the closed pipe while it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
