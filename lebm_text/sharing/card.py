"""The model card, README.md on the Hugging Face Hub: description, training data, figures, and how to load the model."""

from __future__ import annotations

from typing import Any

from lebm_text import __version__
from lebm_text.build import plugin_names
from lebm_text.config import Config
from lebm_text.page.repeat import training_command
from lebm_text.reports.base import Report, sources_of
from lebm_text.reports.grids import Grid, markdown_table, parts, splits
from lebm_text.run import Run
from lebm_text.text import registry
from lebm_text.text.parts import HUB
from lebm_text.visible import read_template

from .hub import LIBRARY

__all__ = ["card"]

N_SAMPLES = 8
FIGURES = ("perplexity", "frontier", "embedding", "likelihood")  # reports that quote no sentences of the corpus


def card(run: Run, repository: str, licence: str) -> str:
    """Return the card of a run with weights, in Markdown, with the front matter that the Hub reads.

    Arguments are those of `push`; `repository` is its `name`. Raises InputError if the run cannot be loaded.
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
        tags=_tags(config),
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
        "plugins": list(plugin_names(config).values()),
        "samples": model.generate(N_SAMPLES).sentences,
        "text": _markdown(splits(corpus)) if corpus else None,
        "licence_of_text": entry and entry.licence,
        "state": state,
        "command": training_command(config, corpus, f"runs/{run.name}", stopped),
        "reports": [_measured(each, run) for each in run.reports().values() if each.kind in FIGURES],
    }
    return read_template(__package__, "card.md.j2", escape=False).render(content) + "\n"


def _tags(config: Config) -> list[str]:
    """Return the tags by which the Hub finds such a model."""
    latent = config.model.latent_dim > 0
    learned = latent and config.model.prior != "gaussian"
    chains = learned or config.inference.kind == "short_run"
    found = {"energy-based-model": learned, "latent-variable-model": latent, "langevin-dynamics": chains}
    return [*(tag for tag, holds in found.items() if holds), LIBRARY]


def _measured(report: Report, run: Run) -> tuple[list[str], list[str]]:
    """Return the Markdown parts of a report, without the run's path, which is private, and its signatures."""
    shown = [_markdown(part, f"{run.path}/") for part in parts(report.table())]
    signatures = [value for name, value in sources_of(report.to_json()) if not name]
    return [*filter(None, shown)], [*dict.fromkeys(signatures)]


def _markdown(part: Grid | str, left_out: str = "") -> str:
    """Return a paragraph, or a table after its caption."""
    if isinstance(part, str):
        return _text(part, left_out)
    headings, *rows = ([_text(cell.text, left_out) for cell in row] for row in [part.headings, *part.rows])
    return f"{_text(part.caption, left_out)}\n\n{markdown_table(headings, rows)}"


def _text(text: str, left_out: str) -> str:
    """Return a text with everything escaped that Markdown and HTML would interpret."""
    text = text.replace(left_out, "")
    for sign in "\\`*_[]#":  # a bar is special only in tables
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").split())
