"""The commands that reproduce a run and everything on its page."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lebm_text.config import Config
from lebm_text.errors import InputError
from lebm_text.generation.samples import USUAL
from lebm_text.generation.settings import DecodeSettings
from lebm_text.presets import DEFAULT_PRESET, PRESETS, preset

__all__ = ["commands", "nearest_preset", "training_command"]

_NO_OPTION = {"latents", "length_penalty", "prior_steps"}  # settings that `lebm-text generate` has no option for


def commands(
    config: Config,
    name: str,
    corpus: Mapping[str, Any],
    records: Mapping[str, Mapping[str, Any]],
    max_steps: int | None = None,
) -> Iterator[str]:
    """Yield the commands that reproduce everything on the page of a run, with runs/NAME as the run directory.

    `records` are those of sample files (`.txt`) and reports, by name. Sample files that no command makes, but
    `evaluate --oracle` or Python, are left out. The rest is as for `training_command`.
    """
    path = f"runs/{name}"
    yield training_command(config, corpus, path, max_steps)
    for each, record in records.items():
        settings = record.get("settings")
        if each.endswith(".txt") and isinstance(settings, Mapping) and "n" in settings:
            if command := _generation_command(path, settings, config.text.max_length, f"{path}/samples/{each}"):
                yield command
        elif isinstance(record.get("command"), str):
            yield record["command"]
    yield shlex.join(["lebm-text", "report", "--run", path])


def training_command(config: Config, corpus: Mapping[str, Any], out: str, max_steps: int | None = None) -> str:
    """Return the `lebm-text train` command of a run, with the preset that needs the fewest changes.

    Args:
        config: of the run.
        corpus: as described in env.json: its name, its source if imported, and whether it is a directory. The path of a
            source file, which differs between machines, is replaced by its name.
        out: the run directory.
        max_steps: the update after which training was stopped, for example by `--max-minutes`; None if it was not.
    """
    name, changes = nearest_preset(config)
    text, source = str(corpus.get("name", "CORPUS")), corpus.get("source")
    if isinstance(source, str):
        text = Path(source).name if Path(source).is_absolute() else source
    elif corpus.get("origin") == "directory":
        text = f"./{text}"
    words = ["lebm-text", "train", text]
    words += [] if name == DEFAULT_PRESET else ["--preset", name]
    words += [word for change in changes for word in ("--set", change)]
    words += [] if max_steps is None else ["--max-steps", str(max_steps)]
    return shlex.join([*words, "--out", out])


def nearest_preset(config: Config) -> tuple[str, list[str]]:
    """Return the preset from which the fewest changes lead to `config`, and these changes.

    All presets are tried, since some changes imply others and some are refused: settings that the components of
    `config` do not use cannot be set, not even to their defaults. A preset with the same components always works.
    """
    found = []
    for name in PRESETS:
        base = preset(name)
        changes = config.assignments(base)
        with suppress(InputError):
            if base.override(changes) == config:
                found.append((name, changes))
    return min(found, key=lambda pair: len(pair[1]))


def _generation_command(run: str, settings: Mapping[str, Any], longest: int, output: str) -> str | None:
    """Return the `lebm-text generate` command of a sample file, with all settings that are not defaults.

    None if no such command makes it. `longest` is the run's maximum length, the default of generation.
    """
    defaults = {"seed": None, **asdict(DecodeSettings()), "max_length": longest, **USUAL}
    asked = {key: settings[key] for key in defaults if settings.get(key, defaults[key]) != defaults[key]}
    if asked.keys() & _NO_OPTION:
        return None
    words = ["lebm-text", "generate", "--run", run, "-n", str(settings["n"])]
    for key, value in asked.items():
        words.append(f"--{key.replace('_', '-')}")
        words += [] if value is True else [f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join([*words, "-o", output])
