"""A seeded campaign of malformed command lines, made from click's own tables: one line, exit 2, nothing left behind."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch

from lebm_text.cli.main import main
from lebm_text.config import Config
from lebm_text.sections import INFERENCE
from lebm_text.visible import visible

from ..tiny import tiny_model
from ..toy import write_text_corpus
from .commands import all_commands
from .test_main import one_line

WORDS = ["", " ", "nonsense", "\x1b[31m", "\u202e", "ü\udc80", "-", "--", "../..", "a" * 5000, "%s{}"]
WORDS += ["\n", "\0", "nan"]
NUMBERS = ["x", "", "nan", "1e", "0x10", "--1", "1,5", "\x1b[1m3", "1_0_", "1" + 400 * "0", "-1" + 400 * "0", "3 4"]
SIZES = ["1e300", "-1e300", "1e39", "inf", "-inf", "NaN", "1" + 400 * "0", '"x"', "[[1]]", "{}", "none", "\x1b", "tru"]


def malformed(parameter: click.Parameter, draw: random.Random) -> str:
    """A value that `parameter` cannot take."""
    kind = parameter.type
    if isinstance(kind, (click.IntRange, click.FloatRange)):
        around = [str(bound + step) for bound, step in ((kind.min, -1), (kind.max, 1)) if bound is not None]
        whole = ["1.5", "1e3"] if isinstance(kind, click.IntRange) else ["1e-400x", "1e400"]
        return draw.choice([*NUMBERS, *whole, *around])
    if isinstance(kind, click.Choice):
        return draw.choice([word for word in WORDS if word not in kind.choices])
    if isinstance(kind, click.Path):
        return draw.choice(["", "a\0b", *([] if not kind.exists else ["nowhere", "\x1b[31m", "ü\udc80"])])
    return draw.choice(WORDS)


def lines(n: int, seed: int, corpus: Path) -> Iterator[list[str]]:
    """`n` command lines, each with something that cannot be."""
    draw = random.Random(seed)
    commands = list(all_commands())
    keys = [f"{s}.{key}" for s, values in Config().to_dict().items() for key in values]
    keys += [f"inference.{key}" for kind in INFERENCE.values() for key in vars(kind()) if key != "kind"]
    for _ in range(n):
        path, command = draw.choice(commands)
        options = [each for each in command.params if isinstance(each, click.Option)]
        typed = [each for each in options if not each.is_flag and type(each.type) is not type(click.STRING)]
        flags = [each for each in options if each.is_flag]
        kind = draw.choice(["value", "value", "value", "missing", "unknown", "flag", "setting", "extra", "name"])
        line = [*path]
        if kind == "setting":
            line = ["train", str(corpus), "--out", "run", "--set", f"{draw.choice(keys)}={draw.choice(SIZES)}"]
            line += ["--max-steps", draw.choice(NUMBERS)] if draw.random() < 0.3 else ["--set", "text.tokenizer=none"]
        elif kind == "value" and typed:
            for option in draw.sample(typed, min(len(typed), draw.choice([1, 1, 2, 3]))):
                line += [draw.choice(option.opts), malformed(option, draw)]
        elif kind == "missing" and typed:
            line += [draw.choice(typed).opts[-1]]
        elif kind == "flag" and flags:
            line += [f"{max(draw.choice(flags).opts, key=len)}={draw.choice(WORDS)}"]
        elif kind == "extra":
            line += [*("no-such-thing" for _ in range(9)), *draw.choices(WORDS, k=2)]
            line += [] if command.name != "neighbours" else ["-k", "0"]
        elif kind == "name":
            line = ["nonsense", *draw.choices(WORDS, k=draw.choice([0, 1]))]
            draw.shuffle(line)
        else:
            line += [
                f"--{draw.choice(['nope', 'sed', chr(27), 'run-', 'ö'])}",
                *draw.choices(WORDS, k=draw.choice([0, 1])),
            ]
        yield line


def campaign(n: int, seed: int, here: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run them in the empty directory `here`."""
    for line in lines(n, seed, corpus):
        before = sorted(here.rglob("*"))
        code = main(line)
        out, err = capsys.readouterr()
        assert code == 2, (line, code, out, err)
        assert out == "", line
        assert err.count("\n") == 1 and err.startswith("lebm-text: error: "), (line, err)
        assert visible(err) == err
        assert sorted(here.rglob("*")) == before, line


def test_a_malformed_command_line_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = write_text_corpus(tmp_path / "toy", n_train=8)
    tiny_model().save_pretrained(tmp_path / "runs" / "tiny")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("LEBM_TEXT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("LEBM_TEXT_CACHE", str(tmp_path / "cache"))
    campaign(100, 16, tmp_path / "here", corpus, capsys)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with_device = [
        (path, command) for path, command in all_commands() if any(p.name == "device" for p in command.params)
    ]
    assert len(with_device) > 10
    for path, _ in with_device:
        assert main([*path, "--device", "cuda"]) == 2, path
        assert "no CUDA device" in one_line(capsys)
        assert list(tmp_path.iterdir()) == [], path
