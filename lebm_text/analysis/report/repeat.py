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
from .run_files import RunFiles, dig, is_figure, mappings

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
    for name, report in run.reports.items():
        metric = report.get("metric")
        if metric in ("fppl", "rppl", "frontier"):
            yield _judging(run, name, report)
        elif metric == "likelihood" and ("settings" in report or "exact_of_all" in report):
            yield _likelihood(run, report)


def _judging(run: RunFiles, name: str, report: Mapping[str, Any]) -> str:
    """Reports are named METRIC-JUDGES-PROTOCOL-SPLIT; anything else that decided the figures stands in them."""
    rows = mappings(report.get("results"))
    judges = {str(row["judge"]) for row in rows if "judge" in row}
    words: list[Any] = ["--lm", "both" if len(judges) > 1 else judges.pop()] if judges else []
    protocol = name.split("-")[-2:-1]
    if protocol and protocol[0] in ("arae", "lebm"):
        words += ["--protocol", protocol[0]]
    if isinstance(split := dig(report, "corpus", "split"), str):
        words += ["--split", split]
    for option, values in (
        ("-n", (dig(row, "samples", "n_sentences") for row in rows[:1])),
        ("--temperature", (row.get("temperature") for row in rows)),
        ("--seed", (row.get("seed") for row in rows)),
    ):
        for value in dict.fromkeys(value for value in values if is_figure(value)):
            words += [option, value]
    if report.get("calibration"):
        words.append("--calibrate")
    if any("diversity" in row for row in rows):
        words.append("--diversity")
    return _command("evaluate" if report["metric"] == "frontier" else report["metric"], run, *words)


def _likelihood(run: RunFiles, report: Mapping[str, Any]) -> str:
    words: list[Any] = ["--split", dig(report, "corpus", "split") or "test"]
    for option, path in {
        "-n": ("n_ais",),
        "--ais-steps": ("ais", "n_steps"),
        "--ais-chains": ("ais", "n_chains"),
        "--ais-start": ("ais", "start"),
        "--leapfrog": ("ais", "n_leapfrog"),
        "--importance-n": ("n_importance",),
        "--importance-samples": ("n_samples",),
        "--partition-steps": ("partition_steps",),
        "--partition-chains": ("partition_chains",),
        "--seed": ("seed",),
    }.items():
        value = dig(report, "settings", *path)
        if value is not None:
            words += [option, value]
    if is_figure(n := dig(report, "exact", "n_sentences")):
        words += ["-n", n]
    if dig(report, "settings", "n_bracket"):
        words.append("--bracket")
    return _command("likelihood", run, *words)


def _command(name: str, run: RunFiles, *words: Any) -> str:
    shown = [f"{word:g}" if isinstance(word, float) else str(word) for word in words]
    return shlex.join(["lebm-text", name, "--run", run.path, *shown])
