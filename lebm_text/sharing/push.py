"""Upload of a run to the Hugging Face Hub: weights, settings, vocabulary, training figures, and a card."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lebm_text import __version__
from lebm_text.errors import InputError
from lebm_text.run import Run
from lebm_text.run_files import ENVIRONMENT, PUBLISHED, REPORTS
from lebm_text.store import atomic_write_json, atomic_write_text
from lebm_text.text.corpora import CorpusDescription
from lebm_text.text.fetching import unreachable
from lebm_text.text.parts import HUB

from .card import card
from .hub import LIBRARY, NAME, UNKNOWN_LICENCE, hub

__all__ = ["export", "push"]

CARD = "README.md"
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]*")
# Fields of env.json that are needed to repeat the training and do not identify the machine.
_SHARED = ("date", "lebm_text", "python", "packages", "threads", "processes", "precision", "cuda")


def push(run: Run, name: str, *, private: bool = False, licence: str = UNKNOWN_LICENCE) -> str:
    """Upload a run to the Hub as the model `name`, which is created if necessary, and return its address.

    One commit contains what `export` writes; other files there are kept. Samples, checkpoints and text are never sent.

    Args:
        run: the run directory.
        name: `user/model`.
        private: only you and those you admit can read it; a model that is already public is refused.
        licence: of the model, as the Hub names it, such as mit or cc-by-4.0.

    Raises:
        InputError: no token, an invalid name, no permission, no connection; and as `export` does.
    """
    if not NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name on the Hub: a model is user/model, in letters, digits, '-', '_' and '.'")
    with TemporaryDirectory() as scratch:
        directory = Path(scratch)
        try:
            with hub():
                from huggingface_hub import CommitOperationAdd, CommitOperationDelete, get_token

                if get_token() is None:
                    raise InputError("it takes a token of yours: hf auth login, or HF_TOKEN")
            export(run, directory, name, licence)
            with hub() as api:
                if error := unreachable(name):  # asked for each name, so that nothing waits without end
                    raise error
                if not api.repo_exists(name):
                    api.create_repo(name, private=private or None)
                info = api.model_info(name)
                there = {each.rfilename for each in info.siblings or ()} - {".gitattributes"}
                if private and not info.private:
                    raise InputError("it is there already and public; change that on its page, or take another name")
                if there and info.library_name != LIBRARY:
                    raise InputError("it is there already and holds something else than a model of lebm-text")
                made = sorted(path.name for path in directory.iterdir())
                api.create_commit(
                    name,
                    [
                        *(CommitOperationAdd(each, directory / each) for each in made),
                        *(CommitOperationDelete(each) for each in there.intersection(PUBLISHED).difference(made)),
                    ],
                    commit_message=f"Upload a model of lebm-text {__version__}",
                )
        except InputError as error:
            raise InputError(f"cannot push to {name}: {error}") from error
    return f"{api.endpoint}/{name}"


def export(run: Run, directory: Path, name: str, licence: str = UNKNOWN_LICENCE) -> None:
    """Write the upload of `push` to a directory: the run's files of `PUBLISHED`, env.json without its machine, a card.

    Raises:
        InputError: the run has no weights, is in training, has links that lead outside, or cannot be loaded.
    """
    if not _LICENCE.fullmatch(licence):
        raise InputError(f"a licence is named as the Hub does, such as mit, cc-by-4.0 or unknown, got {licence!r}")
    run.require_own(*PUBLISHED, REPORTS)
    if run.is_training():
        raise InputError(f"a process is training in {run}; wait until it ends, or stop it")
    text = card(run, name, licence)
    for each in PUBLISHED:
        if (run.path / each).is_file() and each != ENVIRONMENT:
            shutil.copyfile(run.path / each, directory / each)
    if run.environment_file.is_file():
        atomic_write_json(directory / ENVIRONMENT, _without_machine(run))
    atomic_write_text(directory / CARD, text)


def _without_machine(run: Run) -> dict[str, Any]:
    """Return env.json without paths, processor names and the like; the corpus is identified by name."""
    corpus = run.described_corpus
    public = CorpusDescription(
        corpus.name,
        corpus.origin if corpus.origin in ("directory", "package") else "fetched",
        {name: replace(split, path=f"{corpus.name}/{name}.txt") for name, split in corpus.splits.items()},
        corpus.source if corpus.source is not None and corpus.source.startswith(HUB) else None,
    )
    shared = {key: run.environment[key] for key in _SHARED if key in run.environment}
    return {**shared, "corpus": public.to_json()}
