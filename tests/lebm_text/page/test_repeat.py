"""The commands on the page: run as they stand, they ask for exactly what the run was."""

from __future__ import annotations

import html
import itertools
import json
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from lebm_text.cli.main import cli
from lebm_text.config import Config
from lebm_text.page.repeat import training_command
from lebm_text.presets import PRESETS, preset

from .pages import OLD, page_of, write_run

CHANGES = {
    "quick": ["training.precision=bf16", "training.n_threads=1", "text.tokenizer=sentencepiece", "text.vocab_size=90"],
    "paper": ["inference.likelihood_weight_start=10", "model.energy_bound=10.5"],
    "lm": ["training.n_epochs=1", "model.tied=true"],
    "vae": ["model.prior=ebm", "prior.n_steps=7"],
    "savae": ["model.prior=ebm", "inference.step_size=[0.5,0.4,0.3,0.3,0.3,0.3,0.3,0.3,0.3,0.3]"],
    "sri": ["inference.kind=amortized"],
    "gaussian": ["model.latent_dim=0"],
}


def configuration(words: list[str]) -> Config:
    """What `lebm-text train` would run with."""
    name = words[words.index("--preset") + 1] if "--preset" in words else "quick"
    return preset(name).override([after for word, after in itertools.pairwise(words) if word == "--set"])


@pytest.mark.parametrize("name", list(PRESETS))
def test_the_command_gives_the_configuration(name: str) -> None:
    for config in (preset(name), preset(name).override(CHANGES.get(name, []))):
        words = shlex.split(training_command(config, {"name": "ptb"}, "runs/some"))
        assert configuration(words) == config
        assert words[:3] == ["lebm-text", "train", "ptb"]
        if config == preset(name):
            assert "--set" not in words


def commands_on(directory: Path) -> list[list[str]]:
    block = page_of(directory).source.partition('<pre tabindex="0"><code>')[2].partition("</code>")[0]
    return [shlex.split(line)[1:] for line in html.unescape(block).splitlines()]


def test_every_command_is_one_that_the_program_takes(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"n": 12, "seed": 3, "decode": "sample", "temperature": 0.8, "top_k": 5, "max_length": 9}
    settings |= {"no_unk": True, "prior_temperature": 0.5, "label": "sports", "length_penalty": 1.0}
    reports = {
        name: json.loads((OLD / "eval" / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("views", "directions")
    }
    del reports["directions"]["command"]
    for report in reports.values():
        del report["sha256"]["weights"]
    texts = {name: ["x"] for name in ("some.txt", "z.txt", "penalty.txt", "steps.txt")}
    directory = write_run(tmp_path / "a run", samples=texts, reports=reports)
    # These were made from Python, or by `evaluate --oracle`: no command that could be shown makes them.
    others: dict[str, dict[str, Any]] = {
        "z": {"latents": "posterior"},
        "penalty": {"decode": "beam", "temperature": 1.0, "top_k": 0, "length_penalty": 0.5},
        "steps": {"prior_steps": 400},
    }
    for name, other in others.items():
        (directory / "samples" / f"{name}.txt.json").write_text(json.dumps({"settings": settings | other}))
    assert "z.txt (no samples of the model)" in page_of(directory).source
    (directory / "samples" / "some.txt.json").write_text(json.dumps({"settings": settings}))
    found = {words[0]: words[1:] for words in commands_on(directory)}
    assert list(found) == ["train", "generate", "views", "report"]
    program = click.Context(cli, **cli.context_settings)  # without its settings a command would keep another --help
    for name, words in found.items():
        command = cli.get_command(program, name)
        assert command is not None
        parser = command.make_parser(click.Context(command, program))
        _, rest, _ = parser.parse_args(list(words))
        assert rest == [] or name == "train"
    assert found["views"] == ["--run", "runs/run-0.1.0", "-n", "12"]
    assert found["generate"][2:] == [
        *("-n", "12", "--seed", "3", "--temperature", "0.8", "--top-k", "5", "--no-unk"),
        *("--max-length", "9", "--prior-temperature", "0.5", "--label", "sports"),
        *("-o", "runs/a run/samples/some.txt"),
    ]


def test_a_stopped_run_is_repeated_up_to_where_it_stopped(tmp_path: Path) -> None:
    for name, finished, expected in (("stopped", False, ["--max-steps", "123"]), ("whole", True, [])):
        progress = {"step": 123, "epoch": 1, "seconds": 9.0, "finished": finished}
        words = commands_on(write_run(tmp_path / name, config=preset("quick"), progress=progress))[0]
        assert words == ["train", "CORPUS", *expected, "--out", f"runs/{name}"]


@pytest.mark.parametrize(
    ("corpus", "named"),
    [
        ({"name": "mine", "origin": "directory"}, "./mine"),
        ({"name": "ag_news", "origin": "directory", "source": "hf:fancyzhx/ag_news"}, "hf:fancyzhx/ag_news"),
        ({"name": "Grammar,n=5", "origin": "directory", "source": "new_corpus:Grammar,n=5"}, "new_corpus:Grammar,n=5"),
        ({"name": "reviews", "origin": "directory", "source": "/home/ann/reviews.csv"}, "reviews.csv"),
    ],
)
def test_a_text_that_was_imported_is_named_by_where_it_came_from(corpus: dict[str, str], named: str) -> None:
    assert shlex.split(training_command(preset("quick"), corpus, "runs/some"))[2] == named
