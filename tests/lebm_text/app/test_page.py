"""The page: what it shows is text, what is wrong is a line, its tabs work in a browser, nothing leaves the machine."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from lebm_text.app.markup import table
from lebm_text.app.page import ADDRESS
from lebm_text.app.tabs import _safe
from lebm_text.cli.main import main
from lebm_text.errors import InputError
from lebm_text.run import Run

from ..cli.test_main import one_line
from ..launching import reserved_port
from ..page.chromium import VARIABLE, Browser, browser_path, open_browser

PROGRAM = browser_path()
ROOT = Path(__file__).parents[3]
# Writes down every connection that the program asks for beyond this machine.
WATCHED = """
import socket, sys
real = socket.socket.connect
def connect(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        sys.stderr.write(f"beyond this machine: {address}\\n")
    return real(self, address)
socket.socket.connect = connect
from lebm_text.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
TABS = [
    ("Generate", "Generate", "td"),
    ("Sentence", "Read", "svg.bars"),
    ("Between two", "Decode the way", "tr.chosen"),
    ("Direction", "Move", "tr.chosen"),
    ("Plane", "Draw", ".said + svg"),  # of fewer sentences than asked for
    ("Chain", "Follow", "td"),
]
SEEN = "[...document.querySelectorAll({!r})].filter((e) => e.checkVisibility({{visibilityProperty: true}}))"


def test_what_the_model_says_is_no_markup() -> None:
    shown = table(["f(z)", "sentence"], [("1", "<b>\u202eevil</b>")], chosen=0)
    assert "<td dir=auto>&lt;b&gt;⟨U+202E⟩evil&lt;/b&gt;</td>" in shown
    assert shown.count("class=chosen") == 1


def test_repeated_texts_are_grey_and_a_line_says_what_it_means_if_all_are_alike() -> None:
    moving = table(["step", "sentence"], [("0", "a"), ("1", "a"), ("2", "b")], repeats=True)
    still = table(["step", "sentence"], [("0", "a"), ("1", "a"), ("2", "a")], chosen=1, repeats=True)
    assert (moving.count("class=same"), still.count("class=same")) == (1, 1)
    assert "keeps little in z" in still and "keeps little in z" not in moving
    assert "keeps little in z" not in table(["f(z)", "sentence"], [("0", "a"), ("1", "a")])


def test_what_is_wrong_is_a_line_and_a_bug_is_none() -> None:
    def fail(error: Exception) -> str:
        raise error

    for error in (InputError("no\n<such> thing"), FileNotFoundError(2, "gone", "text.txt")):
        shown = _safe(fail)(error)
        assert shown.startswith('<p class="problem"')
        assert "\n" not in shown
        assert "<such>" not in shown
    with pytest.raises(ZeroDivisionError):
        _safe(fail)(ZeroDivisionError())


def test_without_gradio_a_line_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["explore", "--run", str(run.path)]) == 2
    assert "pip install 'lebm-text[app]'" in one_line(capsys)


def test_where_nothing_was_trained_the_page_is_of_the_small_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setenv("LEBM_TEXT_RUNS", str(tmp_path))
    assert main(["explore"]) == 2
    assert f"no run in {tmp_path}; this is kjv-demo" in capsys.readouterr().err


def test_a_port_in_use_is_a_line(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "gradio", ModuleType("gradio"))
    with socket.create_server((ADDRESS, 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["explore", "--run", str(run.path), "--port", port, "--no-browser"]) == 2
    assert f"port {port} of 127.0.0.1" in (line := one_line(capsys))
    assert "choose another port" in line


def test_a_run_without_weights_is_a_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", ModuleType("gradio"))
    run.weights_file.unlink()
    assert main(["explore", "--run", str(run.path)]) == 2
    assert "training has not ended yet" in one_line(capsys)


@pytest.fixture
def served(run: Run, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as a process of its own, and the address that it tells."""
    command = [sys.executable, "-c", WATCHED, "explore", "--run", str(run.path), "--no-browser", "--port"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "GRADIO_SHARE": "True"}
    with (
        reserved_port() as reserved,
        subprocess.Popen(
            [*command, str(reserved.getsockname()[1])], stderr=subprocess.PIPE, text=True, env=environment
        ) as process,
    ):
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert line.startswith("http://127.0.0.1:"), line + process.stderr.read()
            yield process, line.split(" ")[0]
        finally:
            process.kill()


def press(browser: Browser, tab: str, button: str, shown: str) -> None:
    """Click a tab, which may be in the menu of those without room, then a button in it, and wait for `shown`."""
    browser.wait(
        f"""(() => {{
          const tabs = {SEEN.format("button[role=tab], .overflow-dropdown button")};
          const found = tabs.find((e) => e.innerText.trim() === {tab!r});
          if (found) found.click(); else document.querySelector('.overflow-menu > button')?.click();
          return Boolean(found);
        }})()"""
    )
    browser.wait(
        f"""(() => {{
          const buttons = {SEEN.format("[role=tabpanel] button")};
          const found = buttons.find((e) => e.innerText.trim() === {button!r});
          found?.click();
          return Boolean(found);
        }})()"""
    )
    browser.wait(f"{SEEN.format(f'[role=tabpanel] :is({shown})')}.length > 0")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="Gradio is not installed")
@pytest.mark.skipif(PROGRAM is None, reason=f"no chromium or chromium-browser on PATH, none named by {VARIABLE}")
def test_every_tab_works_in_a_browser(served: tuple[subprocess.Popen[str], str], tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    process, address = served
    assert PROGRAM is not None
    with open_browser(PROGRAM, tmp_path / "profile") as browser:
        for width, scheme in ((1280, "light"), (390, "dark")):
            browser.show(address, width=width, scheme=scheme)
            for tab in TABS:
                press(browser, *tab)
                assert browser.evaluate("document.documentElement.scrollWidth") <= width, tab
        browser.evaluate(
            """(() => {
              const field = document.querySelector('[role=tabpanel] textarea');
              field.value = '';
              field.dispatchEvent(new Event('input'));
            })()"""
        )
        press(browser, "Sentence", "Read", ".problem")
        assert "the sentence is empty" in browser.evaluate(f"{SEEN.format('.problem')}[0].innerText")
        beyond = {each for each in browser.requests if not each.startswith((address, "data:", "blob:"))}
        assert (beyond, browser.complaints) == (set(), [])
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "beyond this machine" not in told
    assert "Traceback" not in told
