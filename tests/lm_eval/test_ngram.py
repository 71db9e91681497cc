"""Judges: kenlm's scores of our files are our own scores; what is said when something is missing."""

from __future__ import annotations

import math
import stat
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lebm_text.errors import InputError
from lm_eval.kenlm import KenlmJudge, _memory, train_with_lmplz, write_arpa
from lm_eval.kneser_ney import KneserNeySettings
from lm_eval.ngram import BACKENDS, NgramModel, train_arpa, train_judge
from lm_eval.perplexity import perplexity

from .grammar import grammar_sentences
from .reference import log_prob, needs_lmplz, parse_arpa
from .strategies import sentences, settings

UNIFORM = """\\data\\
ngram 1={total}
ngram 2=0

\\1-grams:
-99\t<s>\t0
-99\t<unk>
{rows}

\\2-grams:

\\end\\
"""


@hypothesis_settings(max_examples=60, deadline=None)
@given(sentences, settings(), sentences)
def test_own_scores_are_those_of_kenlm(
    tmp_path_factory: pytest.TempPathFactory, train: list[str], options: KneserNeySettings, test: list[str]
) -> None:
    test = [line.replace("d", "never-seen") for line in test]
    path = tmp_path_factory.mktemp("model") / "model.arpa"
    model = NgramModel.train(train, options)
    write_arpa(model, path)
    ours, theirs = model.score(test), KenlmJudge(path).score(test)
    for name in ("n_tokens", "n_oov"):
        assert getattr(ours, name).tolist() == getattr(theirs, name).tolist()
    for name in ("nll", "nll_oov", "nll_eos"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=2e-6, atol=2e-6)


def test_scores_are_sums_by_the_query_rule(tmp_path: Path) -> None:
    train, test = grammar_sentences(60, 1), grammar_sentences(5, 2)
    model = NgramModel.train(train, KneserNeySettings(order=3))
    write_arpa(model, tmp_path / "model.arpa")
    arpa = parse_arpa((tmp_path / "model.arpa").read_text())
    for line, nll in zip(test, model.score(test).nll, strict=True):
        words = ["<s>", *(w if (w,) in arpa else "<unk>" for w in line.split()), "</s>"]
        logs = [log_prob(arpa, tuple(words[max(0, i - 2) : i]), words[i]) for i in range(1, len(words))]
        assert nll == pytest.approx(-math.log(10) * sum(logs), rel=1e-5)


@pytest.mark.parametrize("n", [2, 7, 100])
def test_uniform_model_over_n_outcomes_has_perplexity_n(n: int, tmp_path: Path) -> None:
    outcomes = ["</s>", *(f"w{i}" for i in range(n - 1))]
    rows = "\n".join(f"{-math.log10(n):.9f}\t{word}" for word in outcomes)
    (tmp_path / "uniform.arpa").write_text(UNIFORM.format(total=n + 2, rows=rows))
    score = perplexity(KenlmJudge(tmp_path / "uniform.arpa").score(["w0", "", "w0 w0 w0"]))
    assert score.ppl == pytest.approx(n, rel=1e-6)
    assert score.n_tokens == 7


def test_unknown_words_are_counted_and_carry_their_part(tmp_path: Path) -> None:
    scores = NgramModel.train(["a b", "b a"], KneserNeySettings(order=2)).score(["a x", "x x", "a"])
    assert scores.n_oov.tolist() == [1, 2, 0]
    assert scores.n_tokens.tolist() == [3, 3, 2]
    assert scores.nll_oov[2] == 0
    assert 0 < scores.nll_oov[0] < scores.nll[0]
    assert scores.nll_oov[1] + scores.nll_eos[1] == pytest.approx(scores.nll[1])


def test_no_sentences_no_scores() -> None:
    judge = NgramModel.train(["a"], KneserNeySettings(order=2))
    assert len(judge.score([])) == 0


def test_empty_text_is_refused() -> None:
    with pytest.raises(InputError, match="empty"):
        NgramModel.train([], KneserNeySettings())


@pytest.mark.parametrize("lines", [["a"], ["", ""], ["a b c"] * 1000, [f"w{i}" for i in range(1000)]])
def test_degenerate_texts_fall_back_and_say_so(lines: list[str]) -> None:
    judge, fallback_orders = train_judge(lines, KneserNeySettings(order=5))
    assert fallback_orders
    assert np.isfinite(judge.score(["a b", ""]).nll).all()


def test_missing_kenlm_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(InputError, match="pip install ufal-kenlm"):
        KenlmJudge(tmp_path / "model.arpa")


def test_judging_needs_no_kenlm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kenlm", None)
    judge, _ = train_judge(["a b"], KneserNeySettings(order=2))
    assert len(judge.score(["a", "b"])) == 2


@pytest.mark.parametrize(("n_bytes", "machine", "expected"), [(5, 24e9, 300e6), (1e8, 24e9, 4e9), (1e12, 24e9, 12e9)])
def test_lmplz_gets_memory_as_the_text_needs_and_the_machine_has(
    n_bytes: float, machine: float, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lm_eval.kenlm.machine_bytes", lambda: int(machine))
    assert _memory(int(n_bytes)) == expected


def test_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.arpa").write_text("hello\n")
    with pytest.raises(InputError, match="cannot load"):
        KenlmJudge(tmp_path / "model.arpa")


def test_a_text_too_large_is_refused_before_it_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lm_eval.kenlm.machine_bytes", lambda: 1000)
    with pytest.raises(InputError, match="n-gram backend lmplz"):
        NgramModel.train(["a b c"] * 10, KneserNeySettings())


FAKE_LMPLZ = """#!{python}
import sys
from pathlib import Path
arguments = sys.argv[1:]
here = Path(__file__).parent
here.joinpath("arguments").write_text(" ".join(arguments))
here.joinpath("text").write_bytes(Path(arguments[arguments.index("--text") + 1]).read_bytes())
if here.joinpath("fails").exists():
    sys.stderr.write("first line\\nwhy it failed\\n")
    sys.exit(134)
sys.stderr.write("Substituting fallback discounts for order 1: D1=0.5 D2=1 D3+=1.5\\n")
Path(arguments[arguments.index("--arpa") + 1]).write_text("the model\\n")
"""


@pytest.fixture
def lmplz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on PATH with a program that writes down what it is asked for."""
    directory = tmp_path / "bin"
    directory.mkdir()
    program = directory / "lmplz"
    program.write_text(FAKE_LMPLZ.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(directory))
    return directory


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a script with a #! line")
def test_lmplz_is_asked_for_the_same_model(lmplz: Path, tmp_path: Path) -> None:
    options = KneserNeySettings(order=3, prune=(0, 0, 1), vocab_pad=50)
    fallback_orders = train_arpa(["a <unk>", "", "b"], options, tmp_path / "model.arpa", backend="lmplz")
    assert (tmp_path / "model.arpa").read_text() == "the model\n"
    assert fallback_orders == [2]
    assert (lmplz / "text").read_bytes() == b"a <oov>\n\nb\n"
    arguments = (lmplz / "arguments").read_text()
    for part in ("--order 3", "--interpolate_unigrams 1", "--prune 0 0 1 ", "--vocab_pad 50", "--discount_fallback"):
        assert part in arguments
    assert "--memory" in arguments
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "model.arpa"]
    plain = KneserNeySettings(order=2, interpolate_unigrams=False, fallback=False)
    train_arpa(["a"], plain, tmp_path / "model.arpa", backend="lmplz")
    arguments = (lmplz / "arguments").read_text()
    assert arguments.startswith("--order 2 --interpolate_unigrams 0 --memory ")


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a script with a #! line")
def test_failure_of_lmplz_gives_its_last_words(lmplz: Path, tmp_path: Path) -> None:
    (lmplz / "fails").touch()
    with pytest.raises(InputError, match="exit code 134: why it failed"):
        train_arpa(["a"], KneserNeySettings(), tmp_path / "model.arpa", backend="lmplz")
    assert not (tmp_path / "model.arpa").exists()


def test_lmplz_that_is_not_there_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="not on PATH"):
        train_with_lmplz(["a"], KneserNeySettings(), tmp_path / "model.arpa")


def assert_same_entries(lines: list[str], options: KneserNeySettings, directory: Path) -> None:
    """Both estimators give the same n-grams, probabilities and back-offs, or both refuse the text."""
    fallback_orders: list[list[int] | None] = []
    for backend in BACKENDS:
        try:
            fallback_orders.append(train_arpa(lines, options, directory / backend, backend=backend))
        except InputError:
            fallback_orders.append(None)
    assert fallback_orders[0] == fallback_orders[1]
    if fallback_orders[0] is None:
        return
    ours, theirs = (parse_arpa((directory / backend).read_text(encoding="utf-8")) for backend in BACKENDS)
    assert ours.keys() == theirs.keys()
    found, expected = (np.array([arpa[gram] for gram in ours]) for arpa in (ours, theirs))
    expected[:, 1] = np.maximum(expected[:, 1], -99)  # ours for minus infinity, which kenlm does not read
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@needs_lmplz
@pytest.mark.parametrize(
    "options",
    [
        KneserNeySettings(2),
        KneserNeySettings(3),
        KneserNeySettings(6),
        KneserNeySettings(3, prune=(0, 0, 1)),
        KneserNeySettings(4, prune=(1, 1, 2)),
        KneserNeySettings(5, prune=(0, 0, 1), vocab_pad=50_000),
        KneserNeySettings(3, interpolate_unigrams=False),
        KneserNeySettings(4, prune=(0, 1), interpolate_unigrams=False, fallback=False),
    ],
    ids=str,
)
def test_every_entry_is_that_of_lmplz(options: KneserNeySettings, tmp_path: Path) -> None:
    assert_same_entries(grammar_sentences(2000, 5), options, tmp_path)


@needs_lmplz
@hypothesis_settings(max_examples=40, deadline=None)
@given(sentences, settings(), st.booleans())
def test_every_entry_of_small_texts_is_that_of_lmplz(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], options: KneserNeySettings, fallback: bool
) -> None:
    assume(options.threshold(1) < len(lines))  # lmplz would prune `</s>`, and its model is nonsense then
    assert_same_entries(lines, replace(options, fallback=fallback), tmp_path_factory.mktemp("models"))


@needs_lmplz
def test_lmplz_judges_as_we_do() -> None:
    train, test = grammar_sentences(2000, 5), [*grammar_sentences(50, 6), "never seen <unk>", ""]
    scores = []
    for backend in BACKENDS:
        judge, fallback_orders = train_judge(train, KneserNeySettings(order=4), backend=backend)
        assert not fallback_orders
        scores.append(judge.score(test))
    np.testing.assert_allclose(scores[0].nll, scores[1].nll, rtol=1e-5)
    assert scores[0].n_oov.tolist() == scores[1].n_oov.tolist()
