"""Models of the Hugging Face Hub, and the one bundled with the package: a name becomes a directory in the cache."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from lebm_text import __version__
from lebm_text.errors import InputError, one_line
from lebm_text.run import Run
from lebm_text.run_files import CONFIG, PUBLISHED, WEIGHTS, runs_directory
from lebm_text.store import atomic_write_bytes, atomic_write_text, cache_directory, writing_cache
from lebm_text.text.fetching import HUB_WAIT, is_offline, quiet_hub

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = [
    "DEMO",
    "LIBRARY",
    "NAME",
    "UNKNOWN_LICENCE",
    "hub",
    "is_elsewhere",
    "local_directory",
    "run_or_demo",
]

LIBRARY, UNKNOWN_LICENCE = "lebm-text", "unknown"  # as the Hub knows them
DEMO = "kjv-demo"  # the small model bundled with the package
NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_REVISION = ".revision"  # revision of the downloaded files; missing during an update

logger = logging.getLogger(__name__)


def is_elsewhere(name: str | Path) -> bool:
    """Return whether `name` is `DEMO`, or `user/model` on the Hub, and not a local directory."""
    path = Path(name)
    if path.as_posix() == DEMO:
        return not path.exists()
    return bool(NAME.fullmatch(path.as_posix())) and not path.parent.exists()


def local_directory(name: str | Path) -> Path:
    """Return `name` as a directory: itself, or in the cache if it is elsewhere. Raises InputError as `fetch` does."""
    if not is_elsewhere(name):
        return Path(name)
    return _unpacked() if Path(name).as_posix() == DEMO else fetch(Path(name).as_posix())


def run_or_demo(name: Path | None, *, data_dir: Path | None = None) -> Run:
    """Return `Run.find`, or `DEMO`, with a notice, if no run is named and none exists."""
    if name is None and not any(runs_directory().glob(f"*/{CONFIG}")):
        name = Path(DEMO)
        logger.info("no run in %s; this is %s, the small model that comes with lebm-text", runs_directory(), DEMO)
    return Run.find(name, data_dir=data_dir)


def _unpacked() -> Path:
    """Return a copy of `DEMO` to which reports can be added."""
    target = cache_directory() / "pretrained" / DEMO
    with writing_cache(target.parent):
        target.mkdir(parents=True, exist_ok=True)
        for packed in (resources.files("lebm_text") / "pretrained" / DEMO).iterdir():
            content, path = packed.read_bytes(), target / packed.name
            if not path.is_file() or path.read_bytes() != content:
                atomic_write_bytes(path, content)
    return target


def fetch(name: str) -> Path:
    """Return the current version of a Hub model as a run directory in the cache.

    If the Hub cannot be reached, or refuses this model, an earlier copy is used, with a warning.

    Raises:
        InputError: the model does not exist or cannot be reached and there is no copy; or it is not of this program.
    """
    target = cache_directory() / "hub" / name
    revision = target / _REVISION
    try:
        if is_offline():
            raise InputError("the network is not to be used (offline)")
        with hub() as api:
            info = api.model_info(name, timeout=HUB_WAIT)
            found = {each.rfilename for each in info.siblings or ()}
            if missing := {CONFIG, WEIGHTS} - found:
                raise InputError(f"it is no model of {LIBRARY}: it has no {min(missing)}")
            if not revision.is_file() or revision.read_text() != info.sha:
                logger.info("fetching %s from the Hub into %s", name, target)
                with writing_cache(target.parent):
                    target.mkdir(parents=True, exist_ok=True)
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
    """Provide the Hub's client, for $HF_ENDPOINT if that is set. Any failure inside becomes an InputError."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    bars = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        with quiet_hub():
            yield HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name=LIBRARY, library_version=__version__)
    except InputError:
        raise
    # A transfer can raise anything, as in `lebm_text.text.fetching`. The cause stays attached.
    except Exception as error:
        raise InputError(_reason(error)) from error
    finally:
        if bars:
            enable_progress_bars()


def _reason(error: Exception) -> str:
    """Return the cause of the error and a possible remedy."""
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
    first = one_line(error.__cause__ or error, 200)
    return f"the Hub answers: {first}" if status else f"the exchange with the Hub failed: {first}"
