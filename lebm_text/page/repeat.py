"""How to repeat a run: the commands that lead to it, and what they ran with."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.presets import DEFAULT_PRESET, PRESETS, preset

from .html import Section, element
from .run_files import RunFiles, dig

__all__ = ["how_to_repeat", "training_command"]


def how_to_repeat(run: RunFiles) -> Section:
    """The section."""
    commands = [training_command(run), *_generation(run), *_evaluation(run), _command("report", run)]
    git = run.env.get("git")
    source = ""
    if isinstance(git, Mapping) and git.get("commit"):
        source = f" (commit {git['commit']}{', with changes that were not committed' if git.get('changed') else ''})"
    device = run.env.get("device_name") or run.env.get("device")
    machine = f" on {device}" if device else ""
    version = run.env.get("lebm_text")
    parts = [
        element(
            "p",
            "With the text of the checksums above, the same versions and the same kind of machine these commands give "
            "the same run; elsewhere numbers differ by rounding.",
        ),
        element("pre", element("code", "\n".join(dict.fromkeys(commands))), tabindex=0),
    ]
    if version:
        parts.append(element("p", f"Trained with lebm-text {version}{source}{machine}."))
    return Section("repeat", "How to repeat it", parts)


def training_command(run: RunFiles) -> str:
    """`lebm-text train` with the preset that needs the fewest changes, and these."""
    name, changes = _nearest_preset(run.config)
    corpus = dig(run.env, "corpus", "name") or "CORPUS"
    if dig(run.env, "corpus", "origin") == "directory":
        corpus = f"./{corpus}"
    words = ["lebm-text", "train", str(corpus), *([] if name == DEFAULT_PRESET else ["--preset", name])]
    for change in changes:
        words += ["--set", change]
    return shlex.join([*words, "--out", run.path])


def _nearest_preset(config: Config) -> tuple[str, list[str]]:
    """The preset from which the fewest changes lead to `config`, and these.

    Each is tried, since some changes bring others and some are refused: what the kinds of `config` do not read cannot
    be set, not even back to its default. From a preset of the same kinds it always can.
    """
    found = []
    for name in PRESETS:
        base = preset(name)
        changes = config.assignments(base)
        with suppress(InputError):
            if base.override(changes) == config:
                found.append((name, changes))
    return min(found, key=lambda pair: len(pair[1]))


def _generation(run: RunFiles) -> Iterator[str]:
    for text in run.samples:
        settings = text.record.get("settings")
        if not isinstance(settings, Mapping) or "n" not in settings:
            continue
        words = ["-n", settings["n"], "--seed", settings.get("seed", 1), "--decode", settings.get("decode", "sample")]
        if settings.get("decode") == "sample":
            words += ["--temperature", settings.get("temperature", 1.0)]
            for key, off in (("top_k", 0), ("top_p", 1.0)):
                if settings.get(key, off) != off:
                    words += [f"--{key.replace('_', '-')}", settings[key]]
        if settings.get("max_length", run.config.text.max_length) != run.config.text.max_length:
            words += ["--max-length", settings["max_length"]]
        yield _command("generate", run, *words, "-o", f"{run.path}/samples/{text.name}")


def _evaluation(run: RunFiles) -> Iterator[str]:
    """Every report of an evaluation says by which command it was made."""
    for report in run.reports.values():
        if isinstance(report.get("command"), str):
            yield report["command"]


def _command(name: str, run: RunFiles, *words: Any) -> str:
    shown = [f"{word:g}" if isinstance(word, float) else str(word) for word in words]
    return shlex.join(["lebm-text", name, "--run", run.path, *shown])
