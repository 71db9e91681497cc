"""Exit codes and messages of the command line, with commands that fail in every way a command can."""

from __future__ import annotations

import errno
import gc
import importlib
import logging
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from lebm_text import __version__
from lebm_text.cli.main import BROKEN_PIPE, COMMANDS, CommandEntry, main, stop_on_signals
from lebm_text.errors import InputError, LostProcessError

ROOT = Path(__file__).resolve().parents[3]
MODULE = "lebm_text_test_command"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run `lebm-text try` with a command of one integer option and the given body."""

    def run(body: Callable[[], None], *arguments: str) -> int:
        module = types.ModuleType(MODULE)
        module.command = click.command("try")(click.option("--count", type=int)(lambda count: body()))  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, MODULE, module)
        monkeypatch.setitem(COMMANDS, "try", CommandEntry(MODULE, "For this test."))
        return main(["try", *arguments])

    return run


def raiser(error: BaseException) -> Callable[[], None]:
    def body() -> None:
        raise error

    return body


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The message on stderr, after checking that it is one line, marked as ours, and that stdout is empty."""
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("lebm-text: error: ")
    return captured.err.removeprefix("lebm-text: error: ").rstrip("\n")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_overview_names_every_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert all(f"  {name} " in captured.out for name in COMMANDS)
    assert captured.err == ""


def test_garbage_is_not_collected_while_a_command_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    enabled: list[bool] = []

    def fail(*_name: object) -> None:
        enabled.append(gc.isenabled())
        raise ZeroDivisionError

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(ZeroDivisionError):
        main(["train"])
    assert enabled == [False] and gc.isenabled()


def test_what_the_library_logs_is_shown(call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    logger, judges = logging.getLogger("lebm_text.some.module"), logging.getLogger("lm_eval")

    def body() -> None:
        logger.info("left out %d", 3)
        judges.warning("few words")
        logger.debug("nobody asked")

    assert call(body) == 0
    assert capsys.readouterr().err == "left out 3\nwarning: few words\n"
    assert not logging.getLogger("lebm_text").handlers


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


def test_success(call: Callable[..., int]) -> None:
    assert call(lambda: None) == 0


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["trian"], "did you mean train?"),
        (["xyzzy"], "known: train, generate"),
        (["--no-such-option"], "--no-such-option"),
        ([""], "no command ''"),
        (["--", "-x"], "no command '-x'"),
        (["try", "--cuont", "1"], "--count"),
        (["try", "--count", "many"], "'many' is not a valid integer"),
        (["try", "--count"], "requires an argument"),
        (["try", "stray"], "stray"),
    ],
)
def test_usage_errors_are_one_line(
    arguments: list[str], part: str, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(lambda: None) == 0  # registers `try`
    assert main(arguments) == 2
    assert part in one_line(capsys)


def test_input_error_is_one_line_even_if_its_message_is_not(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(raiser(InputError("the corpus\n  is empty"))) == 2
    assert one_line(capsys) == "the corpus is empty"


@pytest.mark.parametrize(
    "code",
    [
        *(errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.EFBIG, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
        *(errno.ENOENT, errno.ENOSPC, errno.ENOTDIR, errno.EPERM, errno.EROFS),
    ],
)
def test_system_error_about_a_path_is_one_line(
    code: int, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(raiser(OSError(code, os.strerror(code), "some/file"))) == 2
    assert one_line(capsys) == f"{os.strerror(code)}: some/file"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
    ],
)
def test_too_little_memory_is_one_line(
    error: Exception, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(raiser(error)) == 2
    assert one_line(capsys).startswith("not enough memory; take smaller sizes")


def test_a_lost_process_is_one_line_and_no_bad_input(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(raiser(LostProcessError("another one\nis gone"))) == 1
    assert one_line(capsys) == "another one is gone"


def test_full_disk_without_a_name_is_one_line(call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(raiser(OSError(errno.ENOSPC, "No space left on device"))) == 2
    assert one_line(capsys) == "No space left on device"


@pytest.mark.parametrize(
    "error", [RuntimeError("a bug"), ValueError("a bug"), OSError(errno.EBADF, "a bug"), AssertionError("a bug")]
)
def test_bugs_keep_their_traceback(error: Exception, call: Callable[..., int]) -> None:
    with pytest.raises(type(error), match="a bug"):
        call(raiser(error))


def test_a_bug_in_a_process_of_its_own_exits_with_1_and_a_traceback() -> None:
    code = (
        "import sys, types, click, lebm_text.cli.main as m\n"
        "fake = sys.modules['fake'] = types.ModuleType('fake')\n"
        "fake.command = click.command()(lambda: 1 / 0)\n"
        "m.COMMANDS['try'] = m.CommandEntry('fake', '')\n"
        "sys.exit(m.main(['try']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert "ZeroDivisionError" in done.stderr


def test_a_missing_requirement_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(COMMANDS, "try", CommandEntry("no_such_package.part", ""))
    assert main(["try"]) == 2
    assert "needs the package no_such_package, which is not installed" in one_line(capsys)


def test_another_distributions_lm_eval_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(COMMANDS, "try", CommandEntry("lebm_text.cli.no_such_module", ""))
    with pytest.raises(ModuleNotFoundError):
        main(["try"])
    monkeypatch.setitem(sys.modules, "lm_eval", types.ModuleType("lm_eval"))
    assert main(["try"]) == 2
    assert "is that of another package" in one_line(capsys)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """As an interactive shell leaves it: scripts start background processes with SIGINT ignored, nohup with SIGHUP."""
    before = [
        (signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler)),
        (signal.SIGHUP, signal.signal(signal.SIGHUP, signal.SIG_DFL)),
    ]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("interruptible")
def test_signal_exits_with_130_quietly(
    number: signal.Signals, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    reached = []

    def body() -> None:
        os.kill(os.getpid(), number)
        reached.append(True)

    assert call(body) == 130
    assert not reached
    assert signal.getsignal(number) is before
    assert "Traceback" not in capsys.readouterr().err


def test_nohup_is_respected(call: Callable[..., int]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert call(lambda: os.kill(os.getpid(), signal.SIGHUP)) == 0
        with stop_on_signals() as should_stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not should_stop()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("interruptible")
def test_first_signal_asks_and_second_interrupts(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as should_stop:
        assert not should_stop()
        os.kill(os.getpid(), number)
        assert should_stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
    assert capfd.readouterr().err.count("stopping") == 1


def test_reader_that_leaves_ends_the_command_quietly() -> None:
    """A loop of lines into a pipe that nobody reads any more, as in `lebm-text … | head`."""
    code = (
        "import sys, types, click, lebm_text.cli.main as m\n"
        "fake = sys.modules['fake'] = types.ModuleType('fake')\n"
        "fake.command = click.command()(lambda: [print('line') for _ in range(10**6)])\n"
        "m.COMMANDS['try'] = m.CommandEntry('fake', '')\n"
        "sys.exit(m.main(['try']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"line\n"
        process.stdout.close()
        complaint = process.stderr.read()
        assert process.wait(timeout=300) == BROKEN_PIPE
    assert complaint == b""


def test_module_runs_as_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lebm_text", "trian"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2
    assert done.stderr == "lebm-text: error: no command 'trian'; did you mean train?\n"


def test_pictures_need_no_screen_and_no_valid_backend(tmp_path: Path) -> None:
    arguments = ["curves", "tests/data/run-0.1.0", "-o", str(tmp_path / "curves.png")]
    done = subprocess.run(
        [sys.executable, "-m", "lebm_text", *arguments],
        cwd=ROOT,
        env={**os.environ, "MPLBACKEND": "nonsense"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("group", ["anomaly", "data", "ngram"])
def test_a_group_without_a_command_is_one_short_line(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([group]) == 2
    assert one_line(capsys) == "Missing command."
