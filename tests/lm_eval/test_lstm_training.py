"""Training of the LSTM judge: it learns, stops where it should, and is found again or resumed as it was."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lebm_text import cuda_graphs
from lebm_text.cuda_graphs import recordings_of
from lebm_text.errors import InputError
from lebm_text.models.packing import Packing
from lebm_text.text.batching import BatchPlan
from lm_eval import lstm_training
from lm_eval.judges import RECIPES, LSTMRecipe
from lm_eval.lstm import LSTMJudge, LSTMNetwork, OutputVocabulary
from lm_eval.lstm_training import adam, train_lstm, update
from lm_eval.perplexity import SentenceScores, perplexity

from ..lebm_text.recording import NoLook, record_on_cpu

TINY = LSTMRecipe(
    "tiny",
    16,
    16,
    shortlist=8,
    input_dropout=0.1,
    output_dropout=0.1,
    learning_rate=0.02,
    batch_tokens=200,
    max_epochs=4,
    min_updates=10,
)
WORDS = [f"w{i}" for i in range(12)]


def walk(n: int, seed: int) -> list[str]:
    """Sentences that end after each word with probability 1/4; the next word is one of two, given the last."""
    rng = np.random.default_rng(seed)
    sentences = []
    for _ in range(n):
        places = [int(rng.integers(2))]
        for _ in range(rng.geometric(0.25) - 1):
            places.append((2 * places[-1] + int(rng.integers(2))) % len(WORDS))
        sentences.append(" ".join(WORDS[place] for place in places))
    return sentences


TRAIN, VALID, TEST = walk(60, 1), walk(30, 2), walk(30, 3)


def train(
    text: Sequence[str] = TRAIN,
    valid: Sequence[str] = VALID,
    vocabulary: Sequence[str] = WORDS,
    *,
    recipe: LSTMRecipe = TINY,
    seed: int = 1,
    on_log: Callable[[str], None] = lambda _message: None,
    **options: Any,
) -> LSTMJudge:
    with logged(on_log):
        return train_lstm(text, valid, vocabulary, recipe=recipe, seed=seed, **{"precision": "fp32", **options})


@contextmanager
def logged(act: Callable[[str], None]) -> Iterator[None]:
    """Everything that `lm_eval` logs goes to `act`, whose exceptions pass."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            act(record.getMessage())

    logger, handler = logging.getLogger("lm_eval"), Handler()
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def same(left: SentenceScores, right: SentenceScores) -> bool:
    return all(np.array_equal(left.__dict__[name], right.__dict__[name]) for name in left.__dict__)


def test_learns_a_language_to_near_its_entropy() -> None:
    judge = train(walk(1000, 4), walk(300, 5), recipe=replace(TINY, max_epochs=8))
    test = walk(500, 6)
    n_words = sum(len(sentence.split()) for sentence in test)
    truth = n_words * math.log(2) - (n_words - len(test)) * math.log(3 / 4) - len(test) * math.log(1 / 4)
    assert judge.score(test).nll.sum() == pytest.approx(truth, rel=0.05)


@pytest.mark.parametrize("clip_norm", [1e9, 0.05])
def test_a_token_weighs_the_same_in_every_batch(clip_norm: float) -> None:
    """An update's gradient is that of the NLL over the tokens of the mean batch, here 7, and then clipped."""
    vocabulary = OutputVocabulary(WORDS)
    recipe = replace(TINY, clip_norm=clip_norm, input_dropout=0.0, output_dropout=0.0)
    network = LSTMNetwork(len(vocabulary), recipe, "fp32", rng=torch.Generator().manual_seed(1))
    batch, parameters = vocabulary.encode(TRAIN[:5]).batch(np.arange(5)), list(network.parameters())
    nll = -network.log_probs(batch, Packing.of(batch.lengths, network.device)).sum()
    wanted = torch.autograd.grad(nll / 7, parameters)
    norm = float(torch.stack([each.norm() for each in wanted]).norm())
    assert norm > 0.1 and batch.n_tokens != 7
    found = update(network, adam(network, 1e-3), batch, 7.0, rng=torch.Generator())
    assert float(found) == pytest.approx(float(nll.detach()))
    for parameter, gradient in zip(parameters, wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient * min(1.0, clip_norm / norm), rtol=1e-4, atol=1e-7)


def test_an_update_does_not_make_the_host_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    record_on_cpu(monkeypatch)
    vocabulary = OutputVocabulary(WORDS)
    network = LSTMNetwork(len(vocabulary), TINY, "fp32", rng=torch.Generator().manual_seed(1))
    batch, optimizer = vocabulary.encode(TRAIN[:5]).batch(np.arange(5)), adam(network, 1e-3)
    assert bool((batch.tokens >= network.n_first).any())  # both levels of the softmax are at work
    for _ in range(2):
        with NoLook():  # type: ignore[no-untyped-call]
            update(network, optimizer, batch, 7.0, rng=torch.Generator())
        monkeypatch.setattr(cuda_graphs, "_record", None)  # the second update replays what there is


def test_recorded_updates_are_those_of_packed_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """One recording for each padded shape, valid while weights move, the learning rate falls and Adam starts anew."""
    vocabulary = OutputVocabulary(WORDS)
    recipe = replace(TINY, input_dropout=0.0, output_dropout=0.0, clip_norm=0.5)
    text = vocabulary.encode(TRAIN)
    batches = [text.batch(index) for index in BatchPlan(text, 64, 60, seed=1).epoch(0)] * 2
    shapes = {tuple(batch.padded().tokens.shape) for batch in batches}
    assert 3 < len(shapes) < len(batches)
    found: list[list[torch.Tensor]] = []
    for recording in (False, True):
        if recording:
            record_on_cpu(monkeypatch)
        network = LSTMNetwork(len(vocabulary), recipe, "fp32", rng=torch.Generator().manual_seed(1))
        optimizer, found = adam(network, 0.01), [*found, []]
        for i, batch in enumerate(batches):
            if i == len(batches) // 2:
                optimizer = adam(network, 0.003)
            found[-1].append(update(network, optimizer, batch, 20.0, rng=torch.Generator()))
        found[-1] += [parameter.detach() for parameter in network.parameters()]
        assert len(recordings_of(network).kept) == (len(shapes) if recording else 0)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-4)


def test_recorded_updates_drop_by_new_masks_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same batch and weights, and another loss; from the same generator the same one."""
    record_on_cpu(monkeypatch)
    vocabulary = OutputVocabulary(WORDS)
    recipe = replace(TINY, input_dropout=0.4, output_dropout=0.4)
    network = LSTMNetwork(len(vocabulary), recipe, "fp32", rng=torch.Generator().manual_seed(1))
    batch, frozen = vocabulary.encode(TRAIN[:5]).batch(np.arange(5)), adam(network, 0.0)
    rng = torch.Generator().manual_seed(1)
    first, second = (float(update(network, frozen, batch, 7.0, rng=rng)) for _ in range(2))
    again = float(update(network, frozen, batch, 7.0, rng=torch.Generator().manual_seed(1)))
    assert again == first != second


def test_every_epoch_has_masks_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    def watched(*given: Any, rng: torch.Generator) -> torch.Tensor:
        seeds.append(rng.initial_seed())
        return update(*given, rng=rng)

    monkeypatch.setattr(lstm_training, "update", watched)
    train(recipe=replace(TINY, early_stopping=False, max_epochs=3))
    assert len(set(seeds)) == 3
    assert seeds == sorted(seeds, key=seeds.index)  # one after the other


def test_stops_early_and_keeps_the_best_epoch() -> None:
    """Twelve random sentences by heart: validation gets worse after the first epochs."""
    rng = np.random.default_rng(0)
    noise = [" ".join(rng.choice(WORDS, 5)) for _ in range(24)]
    recipe = replace(
        TINY, hidden_dim=48, embedding_dim=48, input_dropout=0.0, output_dropout=0.0, max_epochs=30, min_gain=0.0
    )
    judge = train(noise[:12], noise[12:], recipe=recipe)
    report = judge.report
    assert report.n_epochs < 30
    assert report.best_epoch < report.n_epochs
    assert perplexity(judge.score(noise[12:])).ppl == pytest.approx(report.valid_ppl, rel=1e-9)
    last = train(noise[:12], noise[12:], recipe=replace(recipe, early_stopping=False, max_epochs=4))
    assert report.valid_ppl < 0.5 * last.report.valid_ppl
    assert perplexity(last.score(noise[:12])).ppl < 0.5 * perplexity(judge.score(noise[:12])).ppl


def test_without_early_stopping_the_last_epoch_is_the_judge() -> None:
    report = train(recipe=replace(TINY, early_stopping=False)).report
    assert (report.n_epochs, report.best_epoch) == (4, 4)


def test_report_and_progress() -> None:
    messages: list[str] = []
    report = train(on_log=messages.append).report
    assert [message.split(":")[0] for message in messages] == ["epoch 1", "epoch 2", "epoch 3", "epoch 4"]
    assert f"{report.valid_ppl:.2f} on validation text" in messages[report.best_epoch - 1]
    assert report.seconds > 0
    assert report.precision == "fp32"
    assert not report.cached


def test_counts_words_that_the_training_text_lacks() -> None:
    judge = train(["w1 w2", "w2 <unk>"], vocabulary=["<unk>", *WORDS])
    scores = judge.score(["w1 w3 w3", "w2", "", "never-seen"])
    assert scores.n_tokens.tolist() == [4, 2, 1, 2]
    assert scores.n_oov.tolist() == [2, 0, 0, 0]
    assert scores.nll_oov[0] > 0
    assert not scores.nll_oov[1:].any()
    assert (scores.nll > scores.nll_oov + scores.nll_eos - 1e-12).all()
    assert len(judge.score([])) == 0
    # `never-seen` is outside the vocabulary and read as `<unk>`, which the training text has.
    assert train(["w1"]).score(["never-seen"]).n_oov.tolist() == [1]


def test_same_seed_same_judge_other_seed_another() -> None:
    first = train(seed=7).score(TEST)
    assert same(first, train(seed=7).score(TEST))
    assert not same(first, train(seed=8).score(TEST))


@pytest.mark.parametrize("state", [torch.inference_mode, torch.no_grad, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_what_the_caller_has_set_for_torch_changes_nothing(state: Callable[[], Any]) -> None:
    recipe = replace(TINY, max_epochs=1)
    plain = train(recipe=recipe).score(TEST)
    with state():
        assert same(train(recipe=recipe).score(TEST), plain)


def test_bf16_is_close_to_fp32() -> None:
    wide, narrow = train(), train(precision="bf16")
    assert narrow.report.precision == "bf16"
    assert perplexity(narrow.score(TEST)).ppl == pytest.approx(perplexity(wide.score(TEST)).ppl, rel=0.05)


def test_cached_judge_is_not_trained_again(tmp_path: Path) -> None:
    first = train(cache=tmp_path)
    messages: list[str] = []
    again = train(cache=tmp_path, on_log=messages.append)
    assert messages == []
    assert again.report == replace(first.report, cached=True)
    assert same(first.score(TEST), again.score(TEST))
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]  # nothing else is left behind


def test_whatever_changes_the_judge_changes_the_entry(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"text": [*TRAIN[:-1], "w1"]},
        {"text": [*TRAIN[1:], TRAIN[0]]},
        {"text": ["", *TRAIN]},
        {"valid": VALID[1:]},
        {"vocabulary": [*WORDS, "more"]},
        {"vocabulary": WORDS[::-1]},
        {"recipe": replace(TINY, learning_rate=0.01, max_epochs=1)},
        {"seed": 2},
        {"precision": "bf16"},
    ]
    options: dict[str, Any] = {"recipe": replace(TINY, max_epochs=1), "cache": tmp_path}
    for number, change in enumerate(changes, 1):
        assert not train(**{**options, **change}).report.cached, change
        assert len(list(tmp_path.iterdir())) == number
    # Ways to write the same text.
    assert train([f" {sentence} " for sentence in TRAIN], **options).report.cached


class _Interrupter(list[str]):
    """Raises KeyboardInterrupt after the given number of epochs."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def __call__(self, message: str) -> None:
        self.append(message)
        if len(self) == self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_interrupted_training_gives_the_same_judge(tmp_path: Path, after: int) -> None:
    # So greedy a rule that the learning rate falls and the best epoch is loaded again on the way.
    recipe = replace(TINY, min_gain=0.2, n_decays=9, max_epochs=5, learning_rate=0.1)
    whole: list[str] = []
    uninterrupted = train(recipe=recipe, on_log=whole.append)
    with pytest.raises(KeyboardInterrupt):
        train(recipe=recipe, cache=tmp_path, on_log=_Interrupter(after))
    rest: list[str] = []
    resumed = train(recipe=recipe, cache=tmp_path, on_log=rest.append)
    assert rest[0] == f"going on after epoch {after}"
    assert [_figures(line) for line in rest[1:]] == [_figures(line) for line in whole[after:]]
    assert same(uninterrupted.score(TEST), resumed.score(TEST))
    assert [path.name for path in tmp_path.iterdir() if "unfinished" in path.name] == []
    rates = [line.split("learning rate ")[1].split(",")[0] for line in whole]
    assert any(left != right for left, right in pairwise(rates))


def _figures(message: str) -> str:
    return message.rsplit(",", 1)[0]  # all but the seconds


DAMAGE = {
    "flipped bit": lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:],
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "text": lambda data: b"not a judge\n" * 9,
    "other notes": lambda data: data.replace(b"best_epoch", b"lost_epoch"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_entry_is_noticed_and_made_again(tmp_path: Path, damage: Any) -> None:
    first = train(cache=tmp_path)
    (path,) = tmp_path.iterdir()
    intact = path.read_bytes()
    path.write_bytes(damage(intact))
    messages: list[str] = []
    again = train(cache=tmp_path, on_log=messages.append)
    assert "is damaged" in messages[0]
    assert not again.report.cached
    assert same(first.score(TEST), again.score(TEST))
    assert train(cache=tmp_path).report.cached


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_state_of_an_interrupted_training_starts_it_again(tmp_path: Path, damage: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(cache=tmp_path, on_log=_Interrupter(2))
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(damage(path.read_bytes()))
    messages: list[str] = []
    again = train(cache=tmp_path, on_log=messages.append)
    assert "is damaged" in messages[0]
    assert messages[1].startswith("epoch 1:")
    assert same(again.score(TEST), train().score(TEST))


def test_cache_that_cannot_be_written_is_a_notice(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    messages: list[str] = []
    judge = train(cache=tmp_path / "file" / "judges", on_log=messages.append)
    assert sum("going on without" in message for message in messages) > 0
    assert judge.report.n_epochs == 4


DEGENERATE = {
    "one sentence repeated": ["w1 w2 w3"] * 500,
    "empty samples": [""] * 300,
    "one empty sample": [""],
    "one word": ["w1"],
    "ten sentences": TRAIN[:10],
    "only unknown words": ["x y z"] * 20,
    "one long sentence": [" ".join(WORDS * 20)],
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("text", DEGENERATE.values(), ids=DEGENERATE.keys())
def test_degenerate_text_gives_a_judge_no_worse_than_unigrams(text: list[str], precision: str) -> None:
    recipe = replace(RECIPES["default"], embedding_dim=16, hidden_dim=16, max_epochs=2, min_updates=10)
    judge = train(text, recipe=recipe, precision=precision)
    scores = judge.score(VALID)
    assert np.isfinite(scores.nll).all()
    assert perplexity(scores).ppl <= 1.05 * _unigram_ppl(text)


def _unigram_ppl(text: Sequence[str]) -> float:
    """Of VALID, each type counted once more than `text` has it."""
    words = [word if word in WORDS else "<unk>" for sentence in text for word in sentence.split()]
    counts = {word: 1 + words.count(word) for word in ("<unk>", *WORDS)} | {"</s>": 1 + len(text)}
    tokens = [word for sentence in VALID for word in (*sentence.split(), "</s>")]
    total = sum(counts.values())
    return math.exp(-sum(math.log(counts[token] / total) for token in tokens) / len(tokens))


@pytest.mark.parametrize(("text", "valid", "named"), [([], VALID, "text to train on"), (TRAIN, [], "validation text")])
def test_no_text_is_refused(text: list[str], valid: list[str], named: str) -> None:
    with pytest.raises(InputError, match=f"the {named} is empty"):
        train(text, valid)


def test_reserved_words_are_refused_with_line_and_text() -> None:
    with pytest.raises(InputError, match=r"^line 2 "):
        train(["w1", "<s> w1"])
    with pytest.raises(InputError, match=r"^validation text: line 1 "):
        train(valid=["</s>"])


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_train(name: str) -> None:
    recipe = replace(RECIPES[name], embedding_dim=8, hidden_dim=8, max_epochs=2, min_updates=1)
    assert train(recipe=recipe).report.n_epochs == 2


def test_every_choice_of_a_recipe_counts() -> None:
    """No setting that does nothing: each gives another judge."""
    base = replace(TINY, max_epochs=3, n_decays=2, min_gain=0.5, learning_rate=0.05)
    first = train(recipe=base).score(TEST)
    changes: list[dict[str, Any]] = [
        {"embedding_dim": 8, "hidden_dim": 8},
        {"tied": False},
        {"shortlist": None},
        {"input_dropout": 0.2},
        {"output_dropout": 0.2},
        {"learning_rate": 0.04},
        {"clip_norm": 0.1},
        {"batch_tokens": 100},
        {"batch_size": 4},
        {"max_epochs": 1},
        {"early_stopping": False},
        {"decay": 0.1},
        {"n_decays": 0},
        {"min_gain": 0.0},
        {"min_updates": 30},
    ]
    assert {key for change in changes for key in change} == set(base.__dict__) - {"name"}
    for change in changes:
        assert not same(first, train(recipe=replace(base, **change)).score(TEST)), change
