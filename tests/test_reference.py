"""The site: every page is in its navigation, every setting, figure and key of a report is explained, commands exist."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import yaml

from lebm_text.config import Config
from lebm_text.experiments.plan import Experiment
from lebm_text.experiments.rows import Row
from lebm_text.presets import PRESETS, preset
from lebm_text.reports import KINDS
from lebm_text.sections import INFERENCE
from lebm_text.training.train import train

from .lebm_text.cli.commands import all_commands
from .lebm_text.toy import write_text_corpus
from .test_documents import DOCUMENTS, ROOT

FIGURES = (ROOT / "docs" / "reference" / "figures.md").read_text(encoding="utf-8")
COMMANDS = dict(all_commands())
SMALL: dict[str, dict[str, object]] = {
    "model": {"embedding_dim": 6, "hidden_dim": 6},
    "training": {
        "n_epochs": 2,
        "report_every": 2,
        "schedule": "linear",
        "validation_sentences": 6,
        "n_threads": 1,
        "select": "valid_kn5",
    },
}


def program_of_docs(name: str) -> Any:
    """A program of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hooks, generate = program_of_docs("hooks"), program_of_docs("generate")


def _pages(part: Any) -> Iterator[str]:
    for each in part.values() if isinstance(part, dict) else part:
        if isinstance(each, str):
            yield each
        else:
            yield from _pages(each)


def test_the_navigation_has_every_page_once() -> None:
    named = _pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    pages = (str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md"))
    assert sorted(named) == sorted([*pages, *hooks.OUTSIDE.values()])


def _rows() -> dict[str, tuple[str, ...]]:
    """By setting, the last of those that have several defaults."""
    return {name: tuple(rest) for section in generate.SECTIONS for name, *rest in generate.settings(section)}


def test_every_setting_is_explained() -> None:
    configs = [Config().merge({"inference": {"kind": kind}}) for kind in INFERENCE if kind != "no_latent"]
    configs += [Config().merge({"model": changes}) for changes in ({"generator": "hf:gpt2"}, {"prior": "classes"})]
    keys = {f"{name}.{key}" for config in configs for name, values in config.to_dict().items() for key in values}
    rows = _rows()
    assert set(rows) == keys - {"inference.kind"}
    assert [name for name, (_, kind, _, default, meaning) in rows.items() if not (kind and default and meaning)] == []
    page = generate.settings_tables() + generate.presets_table()
    assert [name for name in (*rows, *PRESETS) if f"`{name}`" not in page] == []


def test_every_key_of_an_experiment_is_explained() -> None:
    page = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    first_cells = " ".join(re.findall(r"^\| (`.*?) \|", page, re.MULTILINE))
    explained = set(re.findall(r"`(\w+)", first_cells))
    assert {each.name for kind in (Experiment, Row) for each in dataclasses.fields(kind)} <= explained


def test_the_reference_says_what_the_code_does() -> None:
    rows = _rows()
    said = "share of the embeddings and layer outputs that are set to 0 in the generator's update"
    assert rows["model.dropout"] == ("", "number", "from 0 to below 1", "0.2", said)
    assert rows["inference.persistent"][:4] == ("short_run", "true or false", "", "false")
    assert rows["text.vocab_size"][1:4] == ("whole number or none", "from 5 to 16,777,216", "none")
    assert {row[4] for row in generate.settings("inference") if row[0] == "inference.n_steps"} == {
        str(kind.n_steps) for kind in INFERENCE.values() if hasattr(kind, "n_steps")
    }
    assert rows["model.prior"][2] == "`ebm`, `classes`, `gaussian`, `package.module:Class`"
    assert rows["prior.labels"][1] == "list of texts or none"


@pytest.mark.parametrize("name", ["command-line", "configuration"])
def test_what_is_made_of_the_code_is_that_of_this_code(name: str) -> None:
    page = (ROOT / "docs" / "reference" / f"{name}.md").read_text(encoding="utf-8")
    assert page.count("<!-- end of ") >= 1
    assert generate.made(page) == page, "run: python docs/generate.py"


def test_a_page_shows_a_program_and_leads_out_of_its_directory() -> None:
    page = "<!-- examples/new_prior.py -->\n[It](../../examples/new_prior.py)\n[How](../../CONTRIBUTING.md)"
    shown = hooks.on_page_markdown(page, None, None, None)
    assert (ROOT / "examples" / "new_prior.py").read_text(encoding="utf-8") in shown
    assert shown.endswith(f"```\n[It]({hooks.SOURCES}/examples/new_prior.py)\n[How](../contributing.md)")


def explained(section: str) -> set[str]:
    """Keys in the first column of the tables of a section of the page about figures."""
    text = FIGURES.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    first = (line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    return {key for cell in first for key in re.findall(r"`(\w+)`", cell)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_of_a_report_is_explained(kind: str) -> None:
    report = getattr(importlib.import_module(f"lebm_text.reports.{kind}"), KINDS[kind])
    keys = {field.name for field in dataclasses.fields(report)}
    assert keys <= explained("Every report") | explained(kind)
    if kind != "perplexity":  # where those of a result are, too
        assert explained(kind) <= keys


@pytest.mark.parametrize("name", ["quick", "vae", "lm"])
def test_every_key_of_the_metrics_is_explained(name: str, tmp_path: Path) -> None:
    corpus = write_text_corpus(tmp_path / "toy")
    config = preset(name).merge(SMALL)
    if config.model.prior == "ebm":
        config = config.merge({"model": {"prior_hidden_dim": 5}, "prior": {"n_steps": 3}})
    run = train(corpus, config=config, out=tmp_path / "run", device="cpu")
    keys = {key for line in run.metrics() for key in line}
    assert {"step", "nll_token", "valid_kn5"} <= keys
    assert keys <= explained("metrics.jsonl")


def _typed(path: Path) -> Iterator[list[str]]:
    """Every `lebm-text …` in the code of a document, as a shell takes it apart."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"^(?:    |\$ )?(lebm-text [a-z].*|torchrun .* -m -- lebm_text .*)$", text, re.MULTILINE):
        found = shlex.shlex(line, posix=True, punctuation_chars="|;<>")
        found.whitespace_split = True
        words = list(takewhile(lambda word: not set(word) <= set("|;<>"), found))
        yield words[next(i for i, word in enumerate(words) if word in ("lebm-text", "lebm_text")) + 1 :]


@pytest.mark.parametrize(
    "path",
    [path for path in DOCUMENTS if path.name != "CHANGELOG.md" and path.parent.name != "decisions"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_commands_have_the_options_that_are_shown(path: Path) -> None:
    for words in _typed(path):
        command = COMMANDS.get(tuple(words[:2])) or COMMANDS.get(tuple(words[:1]))
        assert command is not None, words
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        options = {word.partition("=")[0] for word in words if re.match("--?[a-z]", word)}
        assert options <= {*known, "--help"}, words


def test_commands_are_found() -> None:
    assert sum(1 for path in DOCUMENTS for _ in _typed(path)) > 60
