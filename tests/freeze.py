"""Freeze what the command line does, for refactorings that must not change it; a developers' tool, no test.

    python tests/freeze.py OUT            # run every command on a tiny corpus, keep all that it prints and writes
    python tests/freeze.py --compare A B  # what differs; exit code 1 if anything does

Figures are kept to the last digit: both directories must come from the same machine and the same versions of packages.
What differs between two calls by nature (times, dates, versions, places) is replaced by a mark.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHOWN = 20  # lines of a difference
VOLATILE = re.compile(
    "date|git|python|platform|packages|versions|lebm_text|device_name|cpu|cpu_count|minutes|tokens_per_second"
    "|(.*_)?seconds|state_sha256|digest"
)
MARKS = (
    (r"\d+:\d\d:\d\d", "<time>"),
    (r"tokens/s +[\d,.e+]+", "tokens/s <n>"),
    (r"\b[\d.,]+ (s|min|h)\b", r"<n> \1"),
    (r"(\|v:|\blebm-text |, version )\d+\.\d+\.\d+\w*", r"\1<version>"),
    (r"\([0-9a-f]{12}( with changes)?\)", "(<commit>)"),
)
DATA = ROOT / "tests" / "data" / "freeze"  # calls.txt and wrong.txt: command lines; tiny.toml: an experiment


def write_inputs() -> None:
    """A labelled corpus, a few sentences, an experiment, and directories that are wrong, in the working directory."""
    draw = random.Random(7)
    for split, n in {"train": 120, "valid": 40, "test": 40}.items():
        lines, marks = [], []
        for _ in range(n):
            mark = draw.choice(("early", "late"))
            who = ("cat", "dog", "fox") if mark == "early" else ("bird", "fish", "owl")
            words = [draw.choice(("the", "a")), *draw.sample(("red", "old", "big"), draw.randrange(3))]
            words += [draw.choice(who), draw.choice(("sees", "likes", "hears")), draw.choice(("the", "a"))]
            lines.append(" ".join([*words, draw.choice(who), *("again",) * draw.randrange(2)]))
            marks.append(mark)
        for suffix, rows in (("txt", lines), ("label", marks)):
            write(Path("tiny") / f"{split}.{suffix}", "".join(f"{row}\n" for row in rows))
    write(Path("short.txt"), "the cat sees the dog\n\na zebra likes a fish again\n")
    write(Path("few.txt"), "the owl sees\n\n" + "the owl " * 9 + "\n")
    shutil.copy(DATA / "tiny.toml", "plan.toml")
    write(Path("broken/train.txt"), "the cat\n")


def command_lines(name: str) -> dict[str, list[str]]:
    """A file's lines in words, by a name for each; `NAME = words` at the head of it stands for {NAME} below."""
    names: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for line in filter(None, (DATA / f"{name}.txt").read_text(encoding="utf-8").splitlines()):
        key, equals, words = line.partition(" = ")
        if equals:
            names[key] = words.format_map(names)
            continue
        place = re.sub(r"[^\w.]+", "-", line).strip("-")
        if place in found:
            raise ValueError(f"two lines of {name}.txt would be kept as {place}")
        found[place] = shlex.split(line.format_map(names))
    return found


def write(path: Path, text: str) -> None:
    """Directories included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def plain(text: str) -> str:
    """What a command said, without what differs by nature."""
    text = text.replace(str(Path.cwd()), "<tmp>").replace(str(ROOT), "<root>")
    for pattern, mark in MARKS:
        text = re.sub(pattern, mark, text)
    return text


def same_again(value: Any) -> Any:
    """What a report holds, without what differs by nature."""
    if isinstance(value, dict):
        return {k: "<volatile>" if VOLATILE.fullmatch(k) else same_again(v) for k, v in value.items()}
    if isinstance(value, list):
        return [same_again(item) for item in value]
    return plain(value) if isinstance(value, str) else value


def keep(path: Path, text: str) -> None:
    """`text` at `path`: as JSON if it is JSON or a line of it each, else as it stands; nothing if there is none."""
    try:
        value = json.loads(text)
    except ValueError:
        try:
            value = [json.loads(line) for line in text.splitlines()]
        except ValueError:
            value = None
    if isinstance(value, (dict, list)) and value:
        write(path.with_name(f"{path.name}.json"), json.dumps(same_again(value), indent=1, ensure_ascii=False) + "\n")
    elif text:
        write(path.with_name(f"{path.name}.txt"), plain(text))


def call(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """One command, in the working directory."""
    known = {key: value for key, value in os.environ.items() if not key.startswith(("LEBM_TEXT", "FORCE_", "NO_COLOR"))}
    fixed = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "COLUMNS": "100", "TERM": "dumb"}
    own = {"LEBM_TEXT_CACHE": str(Path.cwd() / "cache"), "LEBM_TEXT_DATA": str(Path.cwd() / "data")}
    command = [sys.executable, "-m", "lebm_text", *arguments]
    spoken = Path("short.txt").read_text(encoding="utf-8")
    return subprocess.run(command, env=known | fixed | own, input=spoken, capture_output=True, text=True, check=False)


def keep_calls(out: Path, name: str) -> None:
    """Run the lines of a file and keep what each says."""
    for place, arguments in command_lines(name).items():
        done = call(arguments)
        keep(out / place / "stdout", done.stdout)
        keep(out / place / "stderr", done.stderr)
        write(out / place / "code.txt", f"{done.returncode}\n")


def keep_help(out: Path, *names: str) -> None:
    """The help of a command and of all below it."""
    text = call([*names, "--help"]).stdout
    keep(out / " ".join(("lebm-text", *names)), text)
    for name in re.findall(r"^  (\w+) ", text.partition("\nCommands:\n")[2], re.MULTILINE):
        keep_help(out, *names, name)


def keep_files(out: Path) -> None:
    """What the commands wrote: reports by value, texts, hashes of weights, headings of pages, pictures by name."""
    paths = sorted(path for path in Path().rglob("*") if path.is_file() and path.parts[0] != "cache")
    for path in paths:
        if path.suffix == ".html":
            keep(out / path, "\n".join(re.findall(r"<h[1-4][^>]*>.*?</h[1-4]>", path.read_text("utf-8"))))
        elif path.suffix in (".safetensors", ".model"):
            keep(out / path, hashlib.sha256(path.read_bytes()).hexdigest())
        elif path.suffix not in (".png", ".svg"):
            keep(out / path, path.read_text("utf-8"))
    write(out / "files.txt", "".join(f"{path}\n" for path in paths))


def freeze(out: Path) -> None:
    """All of it, into a directory that must not exist."""
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        write_inputs()
        keep_help(out / "help")
        keep_calls(out / "calls", "calls")
        write(shutil.copytree("runs/lebm", Path("damaged")) / "model.safetensors", "no weights")
        (shutil.copytree("runs/lebm", Path("bare")) / "model.safetensors").unlink()
        keep_calls(out / "wrong", "wrong")
        keep_files(out / "files")
        os.chdir(ROOT)


def common(before: Any, after: Any, where: str, added: list[str]) -> Any:
    """`after` without the keys that `before` lacks, which are put down in `added`."""
    if isinstance(before, dict) and isinstance(after, dict):
        added += [f"{where}: {key}" for key in after if key not in before]
        return {k: common(before[k], v, f"{where}: {k}", added) for k, v in after.items() if k in before}
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [common(a, b, f"{where}: {i}", added) for i, (a, b) in enumerate(zip(before, after, strict=True))]
    return after


def compare(before: Path, after: Path) -> bool:
    """Print what differs. Whether nothing does."""
    say, added, n_different = sys.stdout.write, list[str](), 0
    roots = (before, after)
    if missing := [str(root) for root in roots if not (root / "files").is_dir()]:
        sys.exit(f"nothing is frozen, or not all, in: {', '.join(missing)}")
    for name in sorted({str(path.relative_to(root)) for root in roots for path in root.rglob("*") if path.is_file()}):
        texts = [(root / name).read_text("utf-8") if (root / name).is_file() else "" for root in roots]
        if name.endswith(".json") and all(texts):
            old = json.loads(texts[0])
            values = (old, common(old, json.loads(texts[1]), name, added))
            texts = [json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) for value in values]
        if texts[0] != texts[1]:
            n_different += 1
            old_lines, new_lines = (text.splitlines() for text in texts)
            lines = [*difflib.unified_diff(old_lines, new_lines, str(before), str(after), n=1)]
            rest = [f"… {len(lines) - SHOWN} more lines"] if len(lines) > SHOWN else []
            say("\n".join([f"=== {name}", *(line.rstrip("\n")[:200] for line in lines[:SHOWN]), *rest]) + "\n")
    if added:
        say("\n".join([f"=== {len(added)} keys are new", *added[:SHOWN]]) + "\n")
    say(f"{n_different} files differ\n")
    return not n_different


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--compare", first, second]:
            sys.exit(not compare(Path(first), Path(second)))
        case [target] if not target.startswith("-"):
            freeze(Path(target).resolve())
        case _:
            sys.exit(__doc__)
