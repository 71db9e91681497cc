"""The card of a model, README.md on the Hugging Face Hub: what it is, from what, how good, and how it is loaded."""

from __future__ import annotations

from importlib import resources
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined

from lebm_text import __version__
from lebm_text.page.page import Grid, parts, splits
from lebm_text.page.repeat import training_command
from lebm_text.plugged import PARTS
from lebm_text.reports.base import Report, sources_of
from lebm_text.run import Run
from lebm_text.text import registry
from lebm_text.text.parts import HUB
from lebm_text.visible import named, visible

from .hub import LIBRARY

__all__ = ["card"]

N_SAMPLES = 8
FIGURES = ("perplexity", "frontier", "embedding", "likelihood")  # reports without sentences of the corpus
_TAGS = ["energy-based-model", "latent-variable-model", "langevin-dynamics", LIBRARY]


class Measured(NamedTuple):
    """A report on the card: tables and paragraphs in Markdown, and what its figures are."""

    parts: list[str]
    signatures: list[str]


def card(run: Run, repository: str, licence: str) -> str:
    """The card of a run with weights, in Markdown, with the front matter that the Hub reads.

    Args:
        repository: `user/model`, where it is to be.
        licence: of the model, as the Hub names it, such as mit, cc-by-4.0, or unknown.

    Raises:
        InputError: the run cannot be loaded.
    """
    from huggingface_hub import ModelCardData

    model, config = run.model(device="cpu"), run.config
    corpus = run.described_corpus.to_json() if run.environment_file.is_file() else {}
    entry = registry.REGISTRY.get(corpus.get("name", ""))
    source = str(corpus.get("source", ""))
    metadata = ModelCardData(
        license=licence,
        library_name=LIBRARY,
        pipeline_tag="text-generation",
        tags=_TAGS,
        metrics=["perplexity"],
        datasets=source.removeprefix(HUB) if source.startswith(HUB) else None,
    )
    state = dict(run.progress())
    stopped = None if state.get("finished") else state.get("step")
    content: dict[str, Any] = {
        "metadata": metadata.to_yaml(),
        "name": repository.rpartition("/")[2],
        "repository": repository,
        "config": config,
        "version": __version__,
        "n_parameters": sum(each.numel() for each in model.model.parameters()),
        "n_types": len(model.tokenizer),
        "plugins": [f"{PARTS[part].setting} = {name}" for part, name in config.plugged.items()],
        "samples": model.generate(N_SAMPLES).sentences,
        "text": _markdown(splits(corpus)) if corpus else None,
        "licence_of_text": entry and entry.licence,
        "state": state,
        "command": training_command(config, corpus, f"runs/{run.name}", stopped),
        "reports": [_measured(each, run) for each in run.reports().values() if each.kind in FIGURES],
    }
    environment = Environment(
        autoescape=False,  # Markdown
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(str(value), named),
    )
    template = resources.files(__package__).joinpath("card.md.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(content) + "\n"


def _measured(report: Report, run: Run) -> Measured:
    """Without the place of the run, which is on a machine of somebody."""
    shown = (_markdown(part) for part in parts(report.table()))
    signatures = [value for name, value in sources_of(report.to_json()) if not name]
    return Measured(
        [part.replace(f"{_text(str(run.path))}/", "") for part in shown if part], [*dict.fromkeys(signatures)]
    )


def _markdown(part: Grid | str) -> str:
    """A paragraph, or a table after its caption."""
    if isinstance(part, str):
        return _text(part)
    headings = [cell.text for cell in part.headings]
    rows = [headings, ["---"] * len(headings), *([_text(cell.text) for cell in row] for row in part.rows)]
    return "\n".join([_text(part.caption), "", *(f"| {' | '.join(row)} |" for row in rows)])


def _text(text: str) -> str:
    """A text in which Markdown and HTML find nothing to obey."""
    for sign in "\\`*_[]|#":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").split())
