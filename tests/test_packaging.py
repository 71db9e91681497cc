"""What an installation promises: quick help, one version, and a pin for everything it needs."""

from __future__ import annotations

import importlib.metadata
import json
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lebm_text
from lebm_text.cli.main import COMMANDS, main

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "numpy", "datasets", "sentencepiece", "kenlm", "sacrebleu", "matplotlib", "rich", "safetensors")


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]  # type: ignore[no-any-return]


def pins() -> set[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {line.partition("==")[0] for line in lines if line and not line.startswith("#")}


def distribution(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def imported_by(code: str) -> set[str]:
    """Top-level packages in `sys.modules` of a fresh interpreter after `code`."""
    script = f"import json, sys\n{code}\njson.dump(sorted(sys.modules), sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300
    )
    return {name.partition(".")[0] for name in json.loads(done.stderr)}


@pytest.mark.parametrize(
    "code",
    [
        "from lebm_text.cli.main import main; assert main(['--help']) == 0",
        "from lebm_text.cli.main import main; assert main(['no-such-command']) == 2",
        "import lebm_text; lebm_text.__version__",
    ],
)
def test_imports_nothing_heavy(code: str) -> None:
    # The error line of the second goes to stderr, too: keep it out of the JSON.
    silenced = f"import contextlib, io\nwith contextlib.redirect_stderr(io.StringIO()):\n    {code}"
    assert imported_by(silenced).isdisjoint(HEAVY)


def test_help_is_quick() -> None:
    """Half a second; of CPU time, which a busy machine does not stretch."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "lebm_text", "--help"], cwd=ROOT, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_under_its_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"Usage: lebm-text {name} ")
    assert captured.err == ""


def test_version_is_that_of_the_installed_distribution() -> None:
    try:
        installed = importlib.metadata.version("lebm-text")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("not installed")
    assert installed == lebm_text.__version__


def test_public_names_are_lazy_and_others_unknown() -> None:
    assert "LatentEBM" in dir(lebm_text)
    with pytest.raises(AttributeError, match="no_such_name"):
        lebm_text.no_such_name  # noqa: B018


def test_every_requirement_is_pinned() -> None:
    described = project()
    extras = described["optional-dependencies"].values()
    required = [*described["dependencies"], *(requirement for extra in extras for requirement in extra)]
    assert {distribution(requirement) for requirement in required} <= pins()


def test_pins_name_no_place_and_no_local_build() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line and not line.startswith("#"):
            assert re.fullmatch(
                r"[a-z0-9-]+==[0-9][0-9.]*(\.post[0-9]+)?( ; python_version (<|>=) \"3\.11\")?", line
            ), line


def test_packages_are_typed() -> None:
    assert (ROOT / "lebm_text" / "py.typed").is_file()
    assert (ROOT / "lm_eval" / "py.typed").is_file()


def test_links_of_the_readme_are_absolute_on_the_package_index() -> None:
    """As the build makes them; pictures are files, not pages about them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    hook = settings["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    relative = set(re.findall(r"\]\((?!https?:)([^)]+)\)", text))
    for rule in hook["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    assert len(relative) > 10
    home = settings["project"]["urls"]["Homepage"]
    files = home.replace("github.com", "raw.githubusercontent.com")
    for name in relative:
        where = files if name.endswith((".png", ".svg")) else f"{home}/blob"
        assert f"]({where}/v$HFPR_VERSION/{name})" in text
    assert not re.findall(r"\]\((?!https?:)", text)
