"""env.json: what a run ran with, so that it can be repeated: versions, machine, source, corpus, date."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from lebm_text import __version__

__all__ = ["describe_environment"]

# Packages whose version can change what a run computes or reads.
_PACKAGES = ("torch", "numpy", "datasets", "sentencepiece", "safetensors", "sacrebleu", "ufal-kenlm")


def describe_environment(
    *, device: torch.device, n_threads: int, n_processes: int = 1, precision: str, corpus: Mapping[str, object]
) -> dict[str, Any]:
    """The content of env.json, ready for JSON.

    Args:
        device: where the run computes.
        n_threads: CPU threads that it uses, of each process.
        n_processes: that train together.
        precision: fp32 or bf16, as resolved.
        corpus: `Corpus.describe()`.
    """
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
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
    """The processor's name; Linux keeps it in /proc, elsewhere `platform` knows what there is to know."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _git_state() -> dict[str, Any] | None:
    """Commit of the checkout that this package runs from and whether it was changed; None if it is none."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:
        return None
    return {"commit": commit, "changed": bool(changes)}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
