"""Random small texts and estimator settings."""

from __future__ import annotations

from hypothesis import strategies as st

from lm_eval.kneser_ney import KneserNeySettings

__all__ = ["sentences", "settings"]

_WORDS = st.sampled_from(["a", "b", "c", "d", "<unk>", "é"])
sentences = st.lists(st.lists(_WORDS, max_size=7).map(" ".join), min_size=1, max_size=12)


@st.composite
def settings(draw: st.DrawFn) -> KneserNeySettings:
    order = draw(st.integers(2, 6))
    prune = draw(st.lists(st.integers(0, 2), max_size=order))
    interpolate = draw(st.booleans())
    pad = draw(st.sampled_from([0, 50])) if interpolate else 0
    return KneserNeySettings(order, tuple(sorted(prune)), pad, interpolate)
