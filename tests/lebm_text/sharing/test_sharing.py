"""A run goes to the Hub and comes back by its name; all that can go wrong on the way is one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import HfApi, constants
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, enable_progress_bars

from lebm_text import LatentEBM, Run
from lebm_text.cli.main import main
from lebm_text.errors import InputError
from lebm_text.reports import perplexity
from lebm_text.run_files import LOCK
from lebm_text.sharing.push import export, push
from lebm_text.store import lock
from lebm_text.text.tokenizers import load_tokenizer
from lebm_text.training.train import train

from ..cli.test_main import one_line
from ..tiny import tiny_model
from ..toy import text_corpus, toy_config
from .fake_hub import FakeHub, Repository, fake_hub, silent_hub

# Of huggingface_hub's own call of httpx.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub on which the user is ann; a cache and a working directory without anything."""
    with fake_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", "hf_ann")
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # a protocol of its own, in a library of its own
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("LEBM_TEXT_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "no-tokens"))
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        yield server


@pytest.fixture
def tiny(tmp_path: Path) -> Run:
    """A model alone: no record of a text, no reports."""
    tiny_model().save_pretrained(tmp_path / "tiny")
    return Run(tmp_path / "tiny")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of a few updates, judged."""
    place = tmp_path_factory.mktemp("trained")
    corpus = text_corpus(place / "toy", n_train=16)
    run = train(corpus, config=toy_config(), out=place / "run", device="cpu")
    settings = perplexity.PerplexitySettings(metric="fppl", lm="kn5", device="cpu", n=20)
    perplexity.compute(run, settings).save(run.report_file("fppl"))
    return run


def test_there_and_back(hub: FakeHub, trained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    enable_progress_bars()
    assert main(["push", str(trained), "ann/toy", "--private"]) == 0
    assert capsys.readouterr().out == f"{hub.url}/ann/toy\n"
    made = hub.repositories["ann/toy"]
    assert made.private
    own = {"config.json", "env.json", "metrics.jsonl", "model.safetensors", "tokenizer.json", "README.md"}
    assert set(made.files) == {*own, ".gitattributes"}
    for name in own - {"env.json", "README.md"}:
        assert made.files[name] == (trained.path / name).read_bytes()
    expected = LatentEBM.from_pretrained(trained.path, device="cpu").generate(5).sentences
    assert LatentEBM.from_pretrained("ann/toy", device="cpu").generate(5).sentences == expected
    assert main(["generate", "-n", "5", "--run", "ann/toy", "--device", "cpu"]) == 0
    assert capsys.readouterr().out.splitlines() == expected
    assert Run.find(Path("ann/toy")).metrics() == trained.metrics()
    assert not are_progress_bars_disabled()


def test_nothing_of_the_machine_or_the_text_is_sent(hub: FakeHub, trained: Run) -> None:
    push(trained, "ann/toy")
    files = hub.repositories["ann/toy"].files
    assert not hub.repositories["ann/toy"].private
    paths = str(trained.path.parent).encode()
    assert not [name for name, content in files.items() if paths in content]
    sent = json.loads(files["env.json"])
    assert {"platform", "cpu", "device_name", "git"}.isdisjoint(sent)
    splits = trained.environment["corpus"]["splits"]
    assert {name: each["sha256"] for name, each in sent["corpus"]["splits"].items()} == {
        name: each["sha256"] for name, each in splits.items()
    }
    sentences = {line for line in Path(splits["train"]["path"]).read_text().splitlines() if line.count(" ") > 3}
    assert sentences
    assert not [line for line in sentences if any(line.encode() in content for content in files.values())]
    # The text is found by its directory's name where the data are.
    run = Run.find(Path("ann/toy"), data_dir=Path(splits["train"]["path"]).parents[1])
    assert run.corpus().splits["test"].sha256 == splits["test"]["sha256"]
    with pytest.raises(InputError, match="name the data directory that holds toy/"):
        Run.find(Path("ann/toy")).corpus()


@pytest.mark.parametrize(("source", "sent"), [("/home/ann/diary.csv", None), ("hf:ann/cats", "hf:ann/cats")])
def test_where_a_text_was_imported_from_is_sent_only_if_it_is_on_the_hub(
    trained: Run, tmp_path: Path, source: str, sent: str | None
) -> None:
    run = Run(shutil.copytree(trained.path, tmp_path / "run"))
    environment = run.environment
    environment["corpus"]["source"] = source
    run.environment_file.write_text(json.dumps(environment))
    (tmp_path / "out").mkdir()
    export(run, tmp_path / "out", "ann/toy")
    assert json.loads((tmp_path / "out" / "env.json").read_text())["corpus"].get("source") == sent
    assert not [path.name for path in (tmp_path / "out").iterdir() if b"/home/ann" in path.read_bytes()]
    metadata = yaml.safe_load((tmp_path / "out" / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert metadata.get("datasets") == (None if sent is None else "ann/cats")


def test_the_card_repeats_a_training_as_far_as_it_went(trained: Run, tmp_path: Path) -> None:
    run = Run(shutil.copytree(trained.path, tmp_path / "run"))
    export(run, tmp_path, "ann/toy")
    assert "--max-steps" not in (tmp_path / "README.md").read_text(encoding="utf-8")
    path = run.checkpoints / "last" / "state.json"
    document = json.loads(path.read_text())
    document["state"]["progress"] |= {"finished": False, "step": 3}
    path.write_text(json.dumps(document))
    export(run, tmp_path, "ann/toy")
    assert "--max-steps 3" in (tmp_path / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("model", "tags"),
    [
        ({"latent_dim": 0}, ["lebm-text"]),
        ({"prior": "gaussian"}, ["latent-variable-model", "langevin-dynamics", "lebm-text"]),
        ({"prior": "gaussian", "kind": "amortized"}, ["latent-variable-model", "lebm-text"]),
    ],
)
def test_the_card_has_no_tag_of_what_the_model_is_not(model: dict[str, Any], tags: list[str], tmp_path: Path) -> None:
    tiny_model(**model).save_pretrained(tmp_path / "run")
    (tmp_path / "up").mkdir()
    export(Run(tmp_path / "run"), tmp_path / "up", "ann/toy")
    card = (tmp_path / "up" / "README.md").read_text(encoding="utf-8")
    assert yaml.safe_load(card.split("---\n")[1])["tags"] == tags


def test_the_card_says_what_there_is(hub: FakeHub, trained: Run, tmp_path: Path) -> None:
    export(trained, tmp_path, "ann/toy", "mit")
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["license"] == "mit"
    assert metadata["library_name"] == "lebm-text"
    assert metadata["pipeline_tag"] == "text-generation"
    assert metadata["metrics"] == ["perplexity"]
    assert metadata["tags"] == ["energy-based-model", "latent-variable-model", "langevin-dynamics", "lebm-text"]
    report = json.loads((trained.path / "eval" / "fppl.json").read_text())
    assert f"- `{report['results'][0]['signature']}`" in card
    assert f"{report['results'][0]['ppl']:.2f}" in card
    samples = LatentEBM.from_pretrained(trained.path, device="cpu").generate(8).sentences
    assert "".join(f"    {each or '(empty)'}\n" for each in samples) in card
    assert 'LatentEBM.from_pretrained("ann/toy")' in card
    assert trained.environment["corpus"]["splits"]["train"]["sha256"] in card
    assert "lebm-text train ./toy" in card
    assert f"It ended after {trained.progress()['step']} updates" in card
    assert "\n\n\n\n" not in card


def test_a_model_without_a_run_is_pushed_too(hub: FakeHub) -> None:
    model = tiny_model()
    assert model.push_to_hub("ann/tiny", licence="cc-by-4.0") == f"{hub.url}/ann/tiny"
    again = LatentEBM.from_pretrained("ann/tiny", device="cpu")
    assert again.generate(4).sentences == model.generate(4).sentences
    assert hub.repositories["ann/tiny"].metadata["license"] == "cc-by-4.0"
    assert "Nothing has been measured." in hub.repositories["ann/tiny"].files["README.md"].decode()


def test_a_second_push_replaces_the_first(hub: FakeHub, tiny: Run) -> None:
    push(tiny, "ann/tiny")
    old = LatentEBM.from_pretrained("ann/tiny", device="cpu").generate(4).sentences
    hub.repositories["ann/tiny"].files["spm.model"] = b"of another tokenizer"
    hub.repositories["ann/tiny"].files["NOTES.md"] = b"mine"
    copy = Run.find(Path("ann/tiny")).path
    assert (copy / "spm.model").is_file() and not (copy / "NOTES.md").exists()
    other = tiny_model(latent_dim=5)
    other.push_to_hub("ann/tiny")
    assert hub.repositories["ann/tiny"].files["NOTES.md"] == b"mine"
    assert "spm.model" not in hub.repositories["ann/tiny"].files
    new = LatentEBM.from_pretrained("ann/tiny", device="cpu").generate(4).sentences
    assert new == other.generate(4).sentences != old
    assert not (copy / "spm.model").exists()


def test_a_copy_that_was_half_replaced_is_not_taken_for_a_whole_one(
    hub: FakeHub, tiny: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(tiny, "ann/tiny")
    Run.find(Path("ann/tiny"))
    other = tiny_model(latent_dim=5)
    other.push_to_hub("ann/tiny")

    def cut_off(*_: object, local_dir: Path, **__: object) -> None:
        (local_dir / "config.json").write_text("{")
        raise OSError("cut off")

    with monkeypatch.context() as patch:
        patch.setattr(HfApi, "snapshot_download", cut_off)
        with pytest.raises(InputError, match="the exchange with the Hub failed: cut off; the cache holds no copy"):
            Run.find(Path("ann/tiny"))
    again = LatentEBM.from_pretrained("ann/tiny", device="cpu")
    assert again.generate(4).sentences == other.generate(4).sentences


def test_what_is_there_is_fetched_once_and_kept_for_when_the_hub_is_away(
    hub: FakeHub, tiny: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    push(tiny, "ann/tiny")
    place = Run.find(Path("ann/tiny")).path
    hub.asked.clear()
    assert Run.find(Path("ann/tiny")).path == place
    assert hub.asked == [("GET", "/api/models/ann/tiny")]
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert load_tokenizer(Run.find(Path("ann/tiny")).path).fingerprint() == tiny.tokenizer.fingerprint()
    assert "the exchange with the Hub failed: [Errno 111] Connection refused" in caplog.text
    assert "taking the copy" in caplog.text
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert Run.find(Path("ann/tiny")).path == place


@pytest.mark.parametrize(
    ("environment", "name", "message"),
    [
        ({}, "ann/none", "there is none of that name, or it is private and needs a token"),
        ({}, "bob/secret", "there is none of that name, or it is private and needs a token"),
        ({}, "ann/other", "it is no model of lebm-text: it has no config.json"),
        ({"HF_TOKEN": "hf_wrong"}, "ann/none", "the Hub does not accept the token"),
        (
            {"HF_ENDPOINT": "http://127.0.0.1:9"},
            "ann/none",
            "the exchange with the Hub failed: [Errno 111] Connection refused",
        ),
        ({"HF_HUB_OFFLINE": "1"}, "ann/none", "the network is not to be used (offline)"),
    ],
)
def test_what_cannot_be_fetched_is_one_line(
    hub: FakeHub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    environment: dict[str, str],
    name: str,
    message: str,
) -> None:
    hub.repositories["bob/secret"] = Repository(private=True)
    hub.repositories["ann/other"] = Repository(private=False)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert main(["generate", "--run", name]) == 2
    line = one_line(capsys)
    assert f"{name} is no directory, and no model that the Hub gives: {message}" in line
    assert line.endswith("the cache holds no copy")


def test_a_hub_that_does_not_answer_is_not_waited_for(hub: FakeHub, tiny: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with silent_hub(monkeypatch):
        with pytest.raises(InputError, match=r"the exchange with the Hub failed: .*timed out; the cache holds no copy"):
            Run.find(Path("ann/tiny"))
        with pytest.raises(InputError, match=r"cannot push to ann/tiny: the exchange with the Hub failed: .*timed out"):
            push(tiny, "ann/tiny")


def test_a_path_is_not_asked_for(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    Path("runs").mkdir()
    for name in ("runs/none", "none", "a/b/c", "../x"):
        assert main(["generate", "--run", name]) == 2
        assert "does not exist" in one_line(capsys)
    assert hub.asked == []


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["ann/tiny"], {"HF_TOKEN": ""}, "it takes a token of yours: hf auth login, or HF_TOKEN"),
        (["ann/tiny"], {"HF_TOKEN": "hf_wrong"}, "the Hub does not accept the token"),
        (
            ["ann/tiny"],
            {"HF_ENDPOINT": "http://127.0.0.1:9"},
            "the exchange with the Hub failed: [Errno 111] Connection refused",
        ),
        (["bob/tiny"], {}, "the token may not write there: the name is another user's"),
        (["bob/public"], {}, "the token may not write there: the name is another user's"),
        (["ann/public", "--private"], {}, "it is there already and public"),
        (["ann/bert"], {}, "it is there already and holds something else than a model of lebm-text"),
        (["tiny"], {}, "'tiny' is no name on the Hub: a model is user/model"),
        (["ann/tiny", "--licence", "My own"], {}, "a licence is named as the Hub does"),
    ],
)
def test_what_cannot_be_pushed_is_one_line(
    hub: FakeHub,
    tiny: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    environment: dict[str, str],
    message: str,
) -> None:
    ours = {"README.md": b"---\nlibrary_name: lebm-text\n---\n"}
    hub.repositories |= {each: Repository(False, dict(ours)) for each in ("bob/public", "ann/public")}
    hub.repositories["ann/bert"] = Repository(False, {"config.json": b"{}"})
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert main(["push", str(tiny), *arguments]) == 2
    assert message in one_line(capsys)
    assert hub.repositories["ann/public"].files == ours
    assert hub.repositories["ann/bert"].files == {"config.json": b"{}"}


def test_a_run_that_is_not_ready_is_refused(hub: FakeHub, tiny: Run, tmp_path: Path) -> None:
    with lock(tiny.path / LOCK), pytest.raises(InputError, match=r"cannot push to ann/tiny: a process is training in"):
        push(tiny, "ann/tiny")
    (tmp_path / "secret").write_text("mine")
    (tiny.path / "metrics.jsonl").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="a link that leads out of the run"):
        push(tiny, "ann/tiny")
    (tiny.path / "metrics.jsonl").unlink()
    tiny.weights_file.unlink()
    with pytest.raises(InputError, match="training has not ended yet"):
        push(tiny, "ann/tiny")
    assert hub.repositories == {}


def test_classes_of_a_stranger_are_not_imported(hub: FakeHub) -> None:
    model = tiny_model(prior="tests.lebm_text.toy:Mixture")
    model.push_to_hub("ann/mixture")
    assert (
        "`model.prior = tests.lebm_text.toy:Mixture` is a class"
        in hub.repositories["ann/mixture"].files["README.md"].decode()
    )
    with pytest.raises(InputError, match="if you trust it"):
        LatentEBM.from_pretrained("ann/mixture")
    again = LatentEBM.from_pretrained("ann/mixture", device="cpu", trust_plugins=True)
    assert again.generate(3).sentences == model.generate(3).sentences


def test_what_is_no_failure_of_the_exchange_is_not_called_one(
    hub: FakeHub, tiny: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> str:
        raise TypeError("a fault in the card")

    monkeypatch.setattr("lebm_text.sharing.push.card", broken)
    with pytest.raises(TypeError, match="a fault in the card"):
        push(tiny, "ann/tiny")
    assert hub.repositories == {}
