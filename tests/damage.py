"""Damaged files. Of campaigns each is read in a child of this process, whose end, whatever it is, is counted."""

from __future__ import annotations

import copy
import json
import math
import os
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lebm_text.errors import InputError

READ, REFUSED, WRONG, TRACEBACK = 0, 1, 2, 3
NAMES = {READ: "read", REFUSED: "refused", WRONG: "wrong", TRACEBACK: "traceback"}

Campaign = Iterator[tuple[Path, Callable[[], bool]]]
"""Damaged files, and what reads each: whether what was read may be right."""


def outcome(read: Callable[[], bool]) -> int:
    """What comes of a call in a child of this process: one of `NAMES`, or minus the signal that ended it."""
    child = os.fork()
    if not child:
        code = TRACEBACK
        try:
            code = READ if read() else WRONG
        except InputError as error:
            code = TRACEBACK if "\n" in str(error) else REFUSED
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def carry_out(campaign: Campaign) -> None:
    """Print the counts; a file that was neither read nor refused stays, and is named."""
    counts: Counter[str] = Counter()
    for path, read in campaign:
        code = outcome(read)
        what = NAMES.get(code, f"signal {-code}")
        counts[what] += 1
        if code in (READ, REFUSED):
            path.unlink()
        else:
            sys.stderr.write(f"{what}: {path}\n")
    sys.stdout.write(f"{json.dumps(counts)}\n")


def counts_of(module: str, n: int, seed: int, directory: Path) -> dict[str, int]:
    """What `carry_out` prints in a process of one thread, which alone may be forked."""
    command = [sys.executable, "-m", module, str(n), str(seed), str(directory)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    counts: dict[str, int] = json.loads(finished.stdout)
    return counts


def damages(plain: Any) -> Iterator[Any]:
    """Copies of a JSON value: in each one of its parts, at any depth, is gone or a value of another kind."""
    others: tuple[Any, ...] = (None, 5, math.nan, "a\0\ud800", [], {"x": {}})
    keys = list(plain) if isinstance(plain, dict) else range(len(plain)) if isinstance(plain, list) else []
    for key in keys:
        for other in others:
            changed = copy.copy(plain)
            changed[key] = other
            yield changed
        changed = copy.copy(plain)
        del changed[key]
        yield changed
        for inner in damages(plain[key]):
            changed = copy.copy(plain)
            changed[key] = inner
            yield changed


def refused(path: Path, plain: Any, read: Callable[[], object]) -> int:
    """How many of the `damages` of `plain`, written to `path`, `read` refuses in one line; it may read the others."""
    n = 0
    for damaged in damages(plain):
        path.write_text(json.dumps(damaged))
        try:
            read()
        except InputError as error:
            assert "\n" not in str(error), damaged
            n += 1
    return n
