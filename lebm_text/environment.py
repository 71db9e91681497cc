"""The device of a run, and the content of env.json: versions, machine, source, corpus, date."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lebm_text import __version__
from lebm_text.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = ["code_sha256", "describe_environment", "resolve_device", "versions"]

_UNFIT = ("meta", "mps")  # devices without values, and without the double precision that sums need

# Packages whose version can change what a run computes or reads.
_PACKAGES = (
    "torch",
    "numpy",
    "datasets",
    "sentencepiece",
    "safetensors",
    "sacrebleu",
    "ufal-kenlm",
    "transformers",
    "peft",
)
_OTHER_CHECKOUT = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR")  # set where git runs a command
_OF_FIGURES = ("numpy", "torch", "ufal-kenlm", "sacrebleu")  # can change the figures of any report


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of this program, Python, the packages that figures depend on, and `packages`."""
    found = {name: _version(name) for name in (*_OF_FIGURES, *packages)}
    installed = {name: version for name, version in found.items() if version is not None}
    return {"lebm-text": __version__, "python": platform.python_version(), **installed}


@lru_cache
def code_sha256() -> str:
    """Return a hash of the source of this package: what a model computes may change with it, in one version, too."""
    digest, package = hashlib.sha256(), Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def resolve_device(device: str | torch.device) -> torch.device:
    """Resolve `auto` to a CUDA device if torch finds one, else the CPU; `cpu`, `cuda` and `cuda:1` are torch's names.

    Raises:
        InputError: there is no such device.
    """
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError):
        raise InputError(f"no such device: {device!r}; try auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("no CUDA device is available: torch sees no GPU; the device cpu is always there")
    if device.type in _UNFIT:
        raise InputError(f"models run on the CPU or on CUDA devices, not on {device.type}; try auto, cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= (n := torch.cuda.device_count()):
        raise InputError(f"there is no {device}: torch sees {n} CUDA device{'s' * (n > 1)}, counted from cuda:0")
    return device


def describe_environment(
    *, device: torch.device, n_threads: int, n_processes: int = 1, precision: str, corpus: Mapping[str, object]
) -> dict[str, Any]:
    """Return the content of env.json, ready for JSON.

    Args:
        device: of the training.
        n_threads: CPU threads of each process.
        n_processes: that train together.
        precision: fp32 or bf16, as resolved.
        corpus: `Corpus.describe()`.
    """
    import torch

    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="microseconds"),
        "lebm_text": __version__,
        "git": _git_state(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_model(),
        "cpu": _cpu_model(),
        "cpu_count": os.cpu_count(),
        "threads": n_threads,
        "processes": n_processes,
        "precision": precision,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "corpus": dict(corpus),
    }


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    """Return the processor's name, from /proc/cpuinfo on Linux, elsewhere from `platform`."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line for line in lines if line.startswith("model name")).partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git_state() -> dict[str, Any] | None:
    """Return the commit of the checkout of this package and whether it is modified; None outside a checkout."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    own = {name: value for name, value in os.environ.items() if name not in _OTHER_CHECKOUT}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True, env=own)
    except (OSError, subprocess.SubprocessError):
        return None
    commit, changed, _ = done.stdout.strip().partition("-dirty")
    return {"commit": commit, "changed": bool(changed)}
