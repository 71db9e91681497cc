"""Standard streams that are closed, full or have no reader, and what may not reach a terminal."""

from __future__ import annotations

import ast
import errno
import io
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from lebm_text.cli import console
from lebm_text.cli.main import main
from lebm_text.cli.streams import OutputError, print_json, print_note, print_text
from lebm_text.reports.base import new_table
from lebm_text.visible import visible

from ..tiny import tiny_model
from .test_main import one_line
from .test_train import _arguments, _result, corpus

__all__ = ["corpus"]  # a fixture

ROOT = Path(__file__).resolve().parents[3]
EVIL = "a\x1b[31m\x07\r\x9b2J\u202eb\u2028\x7f\udce9"
SPELLED = r"a\x1b[31m\x07\r\x9b2J\u202eb\u2028\x7f\udce9"


class Full(io.StringIO):
    """A stream on a full disk."""

    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_a_terminal_obeys_is_spelled_out_and_nothing_else() -> None:
    assert visible(EVIL) == SPELLED
    plain = "naïve \u4e2d\u6587 \u05e9\u05dc\u05d5\u05dd a\u200db \U0001f600 \\x1b\ttab\n"
    assert visible(plain) == plain


def test_all_ways_out_spell_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_text(EVIL)
    print_note(EVIL)
    console.print_message("warning", EVIL)
    assert capsys.readouterr() == (f"{SPELLED}\n", f"{SPELLED}\nwarning: {SPELLED}\n")


def test_json_has_no_number_that_json_does_not_have(capsys: pytest.CaptureFixture[str]) -> None:
    """A perplexity may be infinite."""
    print_json({"ppl": math.inf, "rows": [{"nll": math.nan}, 1.5, True], "text": EVIL[:5]})
    assert capsys.readouterr().out == '{"ppl": null, "rows": [{"nll": null}, 1.5, true], "text": "a\\u001b[31"}\n'


def test_tables_spell_it_too_and_stay_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    table = new_table(None, "sentence", "n")
    table.add_row("a\x1b[31mb", "1")
    table.add_row("plain", "2")
    console.show_table(table)
    other = Table(EVIL)
    other.add_row("cell\x1b]0;title\x07")
    console.show_table(other)
    shown = capsys.readouterr().out
    assert r"a\x1b[31mb" in shown and r"cell\x1b]0;title" in shown
    assert visible(shown) == shown
    one, two = (line for line in shown.splitlines() if line.endswith(("1", "2")))
    assert len(one) == len(two)


def test_error_lines_spell_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no\x1b[31mcommand\x9b"]) == 2
    assert r"no\x1b[31mcommand\x9b" in one_line(capsys)


def test_a_file_of_samples_is_exact_and_the_pipe_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    tiny_model().save_pretrained(tmp_path / "run")
    words = "lebm_text.text.tokenizers.WordTokenizer.decode"
    monkeypatch.setattr(words, lambda self, ids: "a\x1b[31mb")
    common = ["generate", "-n", "1", "--run", str(tmp_path / "run"), "--device", "cpu"]
    assert main(common) == 0
    assert capfd.readouterr().out == "a\\x1b[31mb\n"
    assert main([*common, "-o", str(tmp_path / "out.txt")]) == 0
    assert (tmp_path / "out.txt").read_bytes() == b"a\x1b[31mb\n"


def test_no_command_writes_past_these_ways_out() -> None:
    """`click.echo` is for the help, which the program has written itself."""
    for path in (ROOT / "lebm_text" / "cli").glob("*.py"):
        calls = [
            ast.unparse(node) for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)
        ]
        echoed = [call for call in calls if call.startswith(("click.echo", "click.secho", "print(", "json.dump"))]
        assert path.name == "streams.py" or echoed in ([], ["click.echo(ctx.get_help())"]), path


@pytest.mark.parametrize(
    ("ending", "code", "out", "err"),
    [
        (">&-", 2, "", "note\nlebm-text: error: standard output is closed\n"),
        (">/dev/full", 2, "", "note\nlebm-text: error: cannot write to standard output: No space left on device\n"),
        ("2>&-", 0, "text\n", ""),
        ("2>/dev/full", 0, "text\n", ""),
        (">/dev/full 2>/dev/full", 2, "", ""),
        (">&- 2>&- <&-", 2, "", ""),
    ],
)
def test_a_closed_or_full_stream_is_one_line(ending: str, code: int, out: str, err: str) -> None:
    program = (
        "import sys, types, click, lebm_text.cli.main as m\n"
        "from lebm_text.cli.streams import print_note, print_text\n"
        "fake = sys.modules['fake'] = types.ModuleType('fake')\n"
        "fake.command = click.command()(lambda: (print_note('note'), print_text('text')))\n"
        "m.COMMANDS['try'] = m.CommandEntry('fake', '')\n"
        "m.LazyGroup.invoke = lambda self, ctx: fake.command.invoke(ctx)\n"  # without rich and torch
        "sys.exit(m.main(['try']))"
    )
    shell = ["sh", "-c", f'"$0" -c "$1" {ending}', sys.executable, program]
    done = subprocess.run(shell, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (code, out, err)


def test_help_into_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    assert main(["--help"]) == 2
    assert "No space left on device" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["--help"]) == 2
    assert "standard output is closed" in capsys.readouterr().err
    assert sys.stdout is None


ONE_EPOCH = ("--set", "training.n_epochs=1")


@pytest.fixture(scope="module")
def heard(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run all of whose messages were taken."""
    out = tmp_path_factory.mktemp("runs") / "heard"
    assert main(_arguments(corpus, out, *ONE_EPOCH)) == 0
    return out


@pytest.mark.parametrize("stream", [None, Full()])
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_training_goes_on_without_a_stream_that_takes_nothing(
    name: str,
    stream: Full | None,
    corpus: Path,
    heard: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, name, stream)
        code = main(_arguments(corpus, tmp_path / "run", *ONE_EPOCH, *["--json"] * (name == "stdout")))
    assert code == (2 if name == "stdout" else 0)  # what was asked for is lost, or but talk
    assert _result(tmp_path / "run") == _result(heard)
    assert (tmp_path / "run" / "checkpoints" / "last").is_dir()


def test_what_is_lost_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(OutputError, match="cannot write to standard output: No space left"):
        print_text("text")
