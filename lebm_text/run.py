"""`Run`: a run directory (its files: `lebm_text.run_files`), read on access."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lebm_text.checks import hint
from lebm_text.config import Config
from lebm_text.errors import InputError, one_line
from lebm_text.metrics import read_metrics
from lebm_text.plugins import MissingPlugin, as_recorded
from lebm_text.presets import PRESETS, preset
from lebm_text.run_files import (
    ASIDE,
    CHECKPOINTS,
    CONFIG,
    ENTRIES,
    ENVIRONMENT,
    LOCK,
    METRICS,
    PAGE,
    REPORTS,
    SAMPLES,
    TENSORBOARD,
    UNFINISHED,
    WEIGHTS,
    newest_run,
    recover,
    runs_directory,
)
from lebm_text.store import lock, read_json, sha256_file
from lebm_text.text.corpora import Corpus, CorpusDescription, find_again
from lebm_text.text.tokenizers import Tokenizer, load_tokenizer

if TYPE_CHECKING:
    from lebm_text.model import LatentEBM
    from lebm_text.reports.base import Report

__all__ = ["Run", "SampleText", "read_config", "starting_config"]

T = TypeVar("T")


@dataclass(frozen=True)
class SampleText:
    """A file of samples/, and the record next to it of how it was made (empty if there is none)."""

    path: Path
    record: Mapping[str, Any]


class Run:
    """A run directory, read on access.

    Access to anything missing or damaged raises InputError, in one line; `reports` and `samples`,
    which cover many files, leave out what cannot be read and add a line to `notes`.

    Args:
        path: the directory.
        data_dir: where to look for the corpus first, if it is no longer where it was.
        trust_plugins: see `LatentEBM.from_pretrained`.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, data_dir: str | Path | None = None, trust_plugins: bool = False
    ) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise InputError(f"a run is named by the path of its directory, got {type(path).__name__}")
        self.path, self.trust_plugins = Path(path), trust_plugins
        self.data_dir = None if data_dir is None else Path(data_dir)
        self.config_file, self.environment_file = self.path / CONFIG, self.path / ENVIRONMENT
        self.weights_file, self.metrics_file = self.path / WEIGHTS, self.path / METRICS
        self.checkpoints, self.tensorboard = self.path / CHECKPOINTS, self.path / TENSORBOARD
        self.notes: list[str] = []

    @classmethod
    def find(cls, path: str | Path | None, *, data_dir: Path | None = None) -> Run:
        """Return the named run, local or from elsewhere, or the newest one. Raises InputError if there is none."""
        if path is None:
            return cls(newest_run(runs_directory()), data_dir=data_dir)
        from lebm_text.sharing.hub import local_directory

        run = cls(local_directory(path), data_dir=data_dir)
        _require_config(run.path)
        return run

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def __str__(self) -> str:
        return str(self.path)

    def __fspath__(self) -> str:
        """Return the path, so that a run can be given wherever a directory can."""
        return str(self.path)

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def best_weights_file(self) -> Path:
        """The best weights so far by `training.select`."""
        return self.checkpoints / "best" / WEIGHTS

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Exclude other processes from training here: two would mix their checkpoints and lines of metrics.

        The directory is created, and deleted if it is left empty. Remains of a killed process whose run had not
        begun are deleted, and the run to be replaced is restored. Where files cannot be locked nothing is checked.

        Raises:
            InputError: the directory cannot be made, another process trains here, or a link leads out of the run (see
                `require_own`).
        """
        made = [each for each in (self.path, *self.path.parents) if not each.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the directory {self.path}: {error.strerror}; choose another") from None
        try:
            self.require_own(*ENTRIES, LOCK, ASIDE, UNFINISHED)
            with lock(self.path / LOCK) as alone:
                if alone is False:
                    raise InputError(f"another process is training in {self.path}; wait until it ends, or stop it")
                if alone is None and not os.access(self.path, os.W_OK):
                    raise InputError(f"cannot train in {self.path}: the directory cannot be written")
                recover(self.path)
                yield
        finally:
            with suppress(OSError):  # not empty
                for each in made:
                    each.rmdir()

    def is_training(self) -> bool:
        """Return whether a process trains here now, as far as is known: see `lebm_text.store.lock`."""
        if not self.path.is_dir():  # which the lock would make
            return False
        with lock(self.path / LOCK) as alone:
            return alone is False

    def require_own(self, *names: str) -> None:
        """Raise InputError if one of these entries, or its content, is a link that leads out of the run directory.

        For use before anything is written there: a run may come from a stranger, who must not choose what is
        overwritten. The run directory itself may be a link.
        """
        root = self.path.resolve()
        for name in names:
            for path in (self.path / name, *(self.path / name).rglob("*")):
                if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
                    raise InputError(f"{path} is a link that leads out of the run; nothing is written there: remove it")
                if path.exists() and not (path.is_file() or path.is_dir()):
                    raise InputError(f"{path} is neither a file nor a directory; remove it")

    def sample_file(self, name: str) -> Path:
        """Return the path samples/NAME for writing. Raises InputError as `require_own` does."""
        self.require_own(SAMPLES)
        return self.path / SAMPLES / name

    def report_file(self, name: str) -> Path:
        """Return the path eval/NAME.json for writing, with pictures next to it. Raises as `require_own` does."""
        self.require_own(REPORTS)
        return self.path / REPORTS / f"{name}.json"

    @property
    def page_file(self) -> Path:
        """The path report.html for writing. Raises InputError as `require_own` does."""
        self.require_own(PAGE)
        return self.path / PAGE

    @cached_property
    def config(self) -> Config:
        """Resolved configuration of the run."""
        return read_config(self.path)

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Content of env.json: see `lebm_text.environment`."""
        self._require_directory()
        if not self.environment_file.exists():
            raise InputError(f"{self.path} has no {ENVIRONMENT}, which says what text it learned: copy that, too")
        return read_json(self.environment_file)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Tokenizer of the run."""
        return load_tokenizer(self.path)

    @cached_property
    def weights_sha256(self) -> str:
        """Hash of the published weights."""
        self._require_directory()
        if not self.weights_file.is_file():
            raise InputError(f"{self.path} has no {WEIGHTS}: training has not ended yet")
        return sha256_file(self.weights_file)

    @cached_property
    def described_corpus(self) -> CorpusDescription:
        """Record in env.json of the text that the run was trained on."""
        recorded = self.environment.get("corpus")
        try:
            return CorpusDescription.read(recorded)
        except InputError as error:
            problem = f"is damaged: it does not say what text the run was trained on ({error})"
            raise InputError(f"{self.environment_file} {problem}") from None

    @property
    def corpus_name(self) -> str:
        """Name of the text that the run was trained on."""
        return self.described_corpus.name

    def corpus(self) -> Corpus:
        """Return the text that the run was trained on, unchanged. Raises InputError if it is gone."""
        return find_again(self.described_corpus, data_dir=self.data_dir, trust_plugins=self.trust_plugins)

    def model(self, *, device: str = "auto", precision: str = "fp32") -> LatentEBM:
        """Load the trained model; see `LatentEBM.from_pretrained`."""
        from lebm_text.model import LatentEBM

        return LatentEBM.from_pretrained(
            self.path, device=device, precision=precision, trust_plugins=self.trust_plugins
        )

    def metrics(self) -> list[dict[str, Any]]:
        """Return the records of metrics.jsonl; none before the first report."""
        return read_metrics(self.metrics_file) if self.metrics_file.exists() else []

    def progress(self) -> Mapping[str, Any]:
        """Return the last checkpoint's step, epoch, seconds and finished; empty if there is none."""
        for name in ("last", "previous"):  # between two renames a running training has no `last`
            path = self.checkpoints / name / "state.json"
            state = (self._noted(read_json, path) or {}).get("state") if path.exists() else None
            progress = state.get("progress") if isinstance(state, Mapping) else None
            if isinstance(progress, Mapping):
                return progress
        return {}

    def samples(self) -> list[SampleText]:
        """Return the texts in samples/, by name."""
        found = []
        for path in _files(self.path / SAMPLES, "*.txt"):
            sidecar = path.with_name(f"{path.name}.json")
            record = self._noted(read_json, sidecar) if sidecar.exists() else None
            found.append(SampleText(path, record or {}))
        return found

    def report(self, kind: str) -> Report | None:
        """Return the newest report of a kind for the current weights; None without one.

        Raises:
            InputError: a kind that is not in `lebm_text.reports.KINDS`.
        """
        from lebm_text.reports import KINDS

        if kind not in KINDS:
            raise InputError(f"there are no reports of the kind {kind!r}{hint(kind, list(KINDS))}")
        found = {name: each for name, each in self.reports().items() if each.kind == kind}
        directory = self.path / REPORTS
        newest = max(found, key=lambda name: ((directory / f"{name}.json").stat().st_mtime_ns, name), default=None)
        return None if newest is None else found[newest]

    def reports(self) -> dict[str, Report]:
        """Return the reports in eval/ by name, without those of weights that the run no longer has."""
        from lebm_text import reports

        found: dict[str, Report] = {}
        for path in _files(self.path / REPORTS, "*.json"):
            report = self._noted(reports.load, path)
            if report is None:
                continue
            if report.sha256.get("weights", self.present_weights) != self.present_weights:
                self.note(f"{path.name}: of weights that the run no longer has")
                continue
            found[path.stem] = report
        return found

    @cached_property
    def present_weights(self) -> str | None:
        """Return the sha256 of the current weights; None without any."""
        return self.weights_sha256 if self.weights_file.is_file() else None

    def _require_directory(self) -> None:
        if not self.path.is_dir():
            raise InputError(f"there is no directory {self.path}; names such as kjv-demo are for Run.find")

    def _noted(self, read: Callable[[Path], T], path: Path) -> T | None:
        """Return what `read` reads from `path`, or None and add a note."""
        try:
            return read(path)
        except (InputError, RecursionError) as error:
            self.note(error)
            return None

    def note(self, problem: Exception | str) -> None:
        """Add a problem in reading to `notes`, in one line and once."""
        if (line := one_line(problem)) not in self.notes:
            self.notes.append(line)


def read_config(directory: Path, *, plugged: bool = False, trust_plugins: bool = False) -> Config:
    """Read the configuration of a run, or of any directory with config.json.

    Args:
        plugged: import the plug-in classes that it names, and check their settings; see `Config.with_plugins`.

    Raises:
        InputError: it is missing or invalid, or a class is missing (the message names its package).
    """
    _require_config(directory)
    with as_recorded(directory / ENVIRONMENT):
        values = read_json(directory / CONFIG)
        try:
            config = Config.from_dict(values)
            return config.with_plugins(trust_plugins=trust_plugins, asked=False) if plugged else config
        except MissingPlugin:
            raise
        except InputError as error:
            raise InputError(f"{directory / CONFIG}: {error}") from None


def starting_config(name: str | Path) -> Config:
    """Return the configuration that a training starts from, with plug-in classes not yet imported.

    Args:
        name: of a preset; or a run directory or its config.json, for the settings of that run (see `Config.reopened`).

    Raises:
        InputError: there is no such preset or run, or its configuration is invalid.
    """
    if isinstance(name, str) and (name in PRESETS or (Path(name).name == name and not os.path.exists(name))):
        return preset(name)
    path = Path(name)
    return read_config(path.parent if path.name == CONFIG else path).reopened()


def _require_config(directory: Path) -> None:
    if not (directory / CONFIG).is_file():
        raise InputError(f"{directory} is no run: it holds no {CONFIG}")


def _files(directory: Path, pattern: str) -> list[Path]:
    return sorted(path for path in directory.glob(pattern) if path.is_file())
