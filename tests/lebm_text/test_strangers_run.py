"""A run directory from a stranger: nothing is written through a link that leads out of it, whatever writes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lebm_text.errors import InputError
from lebm_text.page.page import write_page
from lebm_text.run import Run
from lebm_text.training.train import train

from .tiny import tiny_model
from .toy import text_corpus, toy_config

if not hasattr(os, "mkfifo"):
    pytest.skip("needs POSIX files", allow_module_level=True)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What is not to change."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "bashrc").write_text("mine\n")
    return tmp_path / "home"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """It has all that reports need."""
    tiny_model().save_pretrained(tmp_path / "run")
    return tmp_path / "run"


def _report(run: Path) -> object:
    return Run(run).report_file("views")


def _sample(run: Path) -> object:
    return Run(run).sample_file("n10.txt")


def _page(run: Path) -> object:
    return write_page(Run(run), Run(run).page_file)


def _resume(run: Path) -> object:
    return train(out=run, resume=True, device="cpu")


def _overwrite(run: Path) -> object:
    corpus = text_corpus(run.parent / "text", n_train=8)
    return train(corpus, out=run, config=toy_config(), overwrite=True, device="cpu")


FILES = ["model.safetensors", "metrics.jsonl", "config.json", "env.json", "tokenizer.json", "report.html", ".lock"]
DIRECTORIES = ["checkpoints", "checkpoints/last", "checkpoints/best", "tensorboard", "samples", "eval", ".replaced"]
WRITERS = [
    *((each, name) for each in (_resume, _overwrite) for name in (*FILES, *DIRECTORIES, ".unfinished")),
    (_report, "eval"), (_report, "eval/views.json"), (_report, "eval/views.png"),
    (_sample, "samples"), (_sample, "samples/n10.txt"), (_sample, "samples/n10.txt.json"),
    (_page, "report.html"),
]  # fmt: skip


@pytest.mark.parametrize(("write", "name"), WRITERS)
@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_that_leads_out_is_refused(
    run: Path, outside: Path, write: Callable[[Path], object], name: str, dangling: bool
) -> None:
    leads_to = outside / "new" if dangling else outside if name in (*DIRECTORIES, ".unfinished") else outside / "bashrc"
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(leads_to)
    with pytest.raises(InputError) as refused:
        write(run)
    assert "\n" not in str(refused.value)
    if not dangling:  # what begins with reading may stop at the missing file
        assert f"{run / name} is a link that leads out of the run" in str(refused.value)
    assert [path.name for path in outside.iterdir()] == ["bashrc"]
    assert (outside / "bashrc").read_text() == "mine\n"
    assert (run / name).is_symlink()


def test_no_way_out_by_links_among_each_other(run: Path, outside: Path) -> None:
    (run / "eval").mkdir()
    (run / "eval" / "views.json").symlink_to("../near")
    (run / "near").symlink_to(outside / "bashrc")
    with pytest.raises(InputError, match=r"views\.json is a link"):
        Run(run).report_file("views")


def test_a_pipe_is_refused(run: Path) -> None:
    (run / "samples").mkdir()
    os.mkfifo(run / "samples" / "n10.txt")
    with pytest.raises(InputError, match="neither a file nor a directory"):
        Run(run).sample_file("n10.txt")


def test_a_run_that_is_itself_a_link_and_links_inside_it_are_fine(run: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("run")
    (run / "eval").mkdir()
    (run / "eval" / "same.json").symlink_to("views.json")
    (run / "eval" / "views.json").symlink_to(run / "kept.json")
    here = Run(tmp_path / "link")
    assert here.report_file("views") == tmp_path / "link" / "eval" / "views.json"
    assert here.sample_file("a.txt") == tmp_path / "link" / "samples" / "a.txt"
    with here.locked():
        pass
    write_page(here, here.page_file)
    assert (run / "report.html").is_file()
