"""Reading of experiments from TOML: those of the package, the user's own, and files that change another experiment."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from lebm_text.checks import from_plain, hint
from lebm_text.errors import InputError
from lebm_text.experiments.plan import Experiment

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["builtin_experiments", "read_experiment"]

_HERE = Path(__file__).parent


def builtin_experiments() -> dict[str, Path]:
    """Return the experiments that come with the package: name → file."""
    return {path.stem: path for path in sorted(_HERE.glob("*.toml"))}


def read_experiment(name_or_file: str) -> Experiment:
    """Read an experiment of the package by its name, or any TOML file.

    A file with `base`, the name of an experiment of the package or of a file next to it, changes that experiment: its
    tables override those of the base, key by key; its rows override those of the same name, and new rows are appended.

    Raises:
        InputError: the file cannot be read or is not valid.
    """
    path = _find(name_or_file)
    values = _read(path)
    try:
        values = _over_base(values, [path])
        experiment = from_plain(Experiment, {"name": path.stem, **values}, strict=True)
        experiment.check()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return experiment


def _over_base(values: dict[str, Any], files: list[Path]) -> dict[str, Any]:
    """Return the values over those of their `base`, if they have one; `files` are those that were read, theirs last."""
    name = values.pop("base", None)
    if name is None:
        return values
    if not isinstance(name, str):
        raise InputError(f"base must be the name of an experiment or of a file, got {name!r}")
    path = _find(name, files[-1].parent)
    if any(path.samefile(file) for file in files):
        raise InputError(f"base = {name!r} is based on itself")
    base = _over_base(_read(path), [*files, path])
    base.pop("name", None)
    return _over(base, values)


def _find(name_or_file: str, directory: Path = Path()) -> Path:
    known = builtin_experiments()
    path = known.get(name_or_file, directory / name_or_file)
    if path.suffix and not path.exists():
        raise InputError(f"there is no file {path}; experiments of the package: {', '.join(known)}")
    if path.is_dir() or not path.exists():
        raise InputError(f"unknown experiment {name_or_file!r}{hint(name_or_file, list(known))}; or give a TOML file")
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read the experiment {path}: {error}") from None
    for row in values.get("rows", ()) if _are_rows(values.get("rows")) else ():
        if isinstance(row.get("samples"), str):  # relative to the file, not to the working directory
            row["samples"] = str(path.parent / row["samples"])
    return values


def _are_rows(value: object) -> TypeGuard[list[dict[str, Any]]]:
    """Return whether `value` is a list of tables with names; other values are refused later.

    Raises:
        InputError: two rows have the same name.
    """
    if not isinstance(value, list) or not all(isinstance(r, dict) and isinstance(r.get("name"), str) for r in value):
        return False
    if len({row["name"] for row in value}) < len(value):
        raise InputError("two rows have the same name")
    return True


def _over(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the changes applied, table by table, row by row."""
    merged = dict(base)
    for key, value in changes.items():
        before = base.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            merged[key] = _over(before, value)
        elif key == "rows" and _are_rows(before) and _are_rows(value):
            rows = {row["name"]: row for row in before}
            for row in value:
                rows[row["name"]] = _over(rows.get(row["name"], {}), row)
            merged[key] = list(rows.values())
        else:
            merged[key] = value
    return merged
