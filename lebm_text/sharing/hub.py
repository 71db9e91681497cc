"""Models of the Hugging Face Hub: a name `user/model` becomes a directory in the cache; what fails is one line."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lebm_text import __version__
from lebm_text.errors import InputError
from lebm_text.run import CONFIG, PUBLISHED, WEIGHTS
from lebm_text.store import atomic_write_text, cache_directory
from lebm_text.text.fetching import is_offline

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["LIBRARY", "NAME", "UNKNOWN_LICENCE", "fetch", "hub", "is_hub_name", "local_directory"]

LIBRARY, UNKNOWN_LICENCE = "lebm-text", "unknown"  # as the Hub knows them
NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_REVISION = ".revision"  # of the Hub's files that are here; not there while they change

logger = logging.getLogger(__name__)


def is_hub_name(name: str | Path) -> bool:
    """Whether `name` is to be looked for on the Hub: `user/model`, and no directory `user` here."""
    path = Path(name)
    return bool(NAME.fullmatch(path.as_posix())) and not path.parent.exists()


def local_directory(name: str | Path) -> Path:
    """`name` as a directory: itself, or where the Hub's model of that name is. Raises InputError as `fetch` does."""
    return fetch(Path(name).as_posix()) if is_hub_name(name) else Path(name)


def fetch(name: str) -> Path:
    """The Hub's model of that name as a run directory in the cache, as it is on the Hub now.

    Where the Hub cannot be asked, or not asked for this model, the copy of an earlier call is taken, with a warning.

    Raises:
        InputError: there is no such model, or no way to it, and no copy; or it is none of this program.
    """
    target = cache_directory() / "hub" / name
    revision = target / _REVISION
    try:
        if is_offline():
            raise InputError("the network is not to be used (offline)")
        with hub() as api:
            info = api.model_info(name)
            found = {each.rfilename for each in info.siblings or ()}
            if missing := {CONFIG, WEIGHTS} - found:
                raise InputError(f"it is no model of {LIBRARY}: it has no {min(missing)}")
            if not revision.is_file() or revision.read_text() != info.sha:
                logger.info("fetching %s from the Hub into %s", name, target)
                revision.unlink(missing_ok=True)
                api.snapshot_download(name, revision=info.sha, local_dir=target, allow_patterns=list(PUBLISHED))
                for each in set(PUBLISHED) - found:
                    (target / each).unlink(missing_ok=True)
                atomic_write_text(revision, str(info.sha))
    except InputError as error:
        if not revision.is_file():
            raise InputError(
                f"{name} is no directory, and no model that the Hub gives: {error}; the cache holds no copy"
            ) from error
        logger.warning("%s cannot be had from the Hub: %s; taking the copy in %s", name, error, target)
    return target


@contextmanager
def hub() -> Iterator[HfApi]:
    """The Hub's client, for $HF_ENDPOINT if that is set. Whatever fails inside is an InputError, without a name."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    bars = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name=LIBRARY, library_version=__version__)
    except InputError:
        raise
    # What a transfer can raise is not bounded, as in `lebm_text.text.fetching`. The cause stays attached.
    except Exception as error:
        raise InputError(_reason(error)) from error
    finally:
        if bars:
            enable_progress_bars()


def _reason(error: Exception) -> str:
    """What went wrong, and what may help."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, GatedRepoError):
        return "its owner gives access on the page of the model"
    if isinstance(error, RepositoryNotFoundError):
        return "there is none of that name, or it is private and needs a token (hf auth login, or HF_TOKEN)"
    if status == 401:
        return "the Hub does not accept the token; get another: hf auth login, or HF_TOKEN"
    if status == 403:
        return "the token may not write there: the name is another user's, or the token is for reading only"
    first = re.sub(r"\s+", " ", str(error.__cause__ or error))[:200] or type(error).__name__
    return f"the Hub answers: {first}" if status else f"the exchange with the Hub failed: {first}"
