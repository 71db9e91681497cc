"""A judge of meaning: the distance between sentence embeddings of samples and of real text.

Perplexities score the next word; an embedding represents what a sentence is about. Two clouds of n vectors give

    FED = |μ_r − μ_s|² + tr(Σ_r + Σ_s − 2 (Σ_r^½ Σ_s Σ_r^½)^½)

the Fréchet distance of the Gaussians with their means and covariances (Heusel et al. 2017, for images; de Masson
d'Autume et al. 2019, "Training language GANs from scratch", for text), here times 1000, and from the k nearest
neighbours precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020). MAUVE (Pillutla
et al. 2021) of the same vectors is added where its authors' package is installed.

The distance of n vectors is not 0 for equal distributions and falls with n: compare at equal n, and with the row of
real training text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lebm_text.checks import MAX_SEED, whole
from lebm_text.errors import InputError

from .counts import FloatArray, as_sentences, drawn
from .encoders import DEFAULT_ENCODER, Embeddings, SentenceEncoder, embed, load_encoder
from .intervals import t975

__all__ = ["EmbeddingScore", "MeaningJudge", "Neighbourhoods", "check_counts", "fed", "frechet_distance"]

N, K = 3000, 5  # sentences per text, neighbours
_SCALE = 1000.0  # of the Fréchet distance: embeddings have length 1, so that it would begin with zeros
_GROUPS = 20  # groups of the jackknife
_SEEDS = (1 << 31) - 10  # of MAUVE, which adds a little; its clustering takes 32 bits


@dataclass(frozen=True)
class Neighbourhoods:
    """Figures of the k nearest neighbours; all but `density` are between 0 and 1.

    Attributes:
        precision: share of samples within the ball around some real sentence that reaches to its k-th neighbour.
        recall: share of real sentences within such a ball around some sample.
        density: mean number of real balls that contain a sample, divided by k.
        coverage: share of real balls that contain a sample.
    """

    precision: float
    recall: float
    density: float
    coverage: float


@dataclass(frozen=True)
class EmbeddingScore(Neighbourhoods):
    """Figures that compare samples with real text in the embedding space of an encoder.

    Attributes:
        frechet: the Fréchet distance × 1000.
        ci95: interval of each figure by its name, over samples; the real text is fixed.
        n: sentences per text, drawn without replacement.
        k: neighbours.
        mauve: between 0 and 1, without an interval; None without the package.
        encoder: name of the encoder and hash of its weights.
        signature: all choices behind the figures.
    """

    frechet: float
    ci95: dict[str, tuple[float, float]]
    n: int
    k: int
    encoder: str
    signature: str
    mauve: float | None = None


def frechet_distance(real: npt.ArrayLike, samples: npt.ArrayLike) -> float:
    """Return the Fréchet distance of the Gaussians fitted to two clouds of vectors, (n, d) and (m, d).

    The covariances divide by n − 1.

    Raises:
        InputError: not more vectors than dimensions: the covariance is singular and the figure meaningless.
    """
    r, s = _pair(real, samples)
    _need_full_rank({"real text": len(r), "samples": len(s)}, r.shape[1])
    return _Reference(r).distance(s)


def _score(reference: _Reference, s: FloatArray, *, encoder: str, signature: str) -> EmbeddingScore:
    """Return all figures of vectors of samples (m, d), with intervals by a jackknife over up to 20 groups of them."""
    n_groups = min(_GROUPS, len(s))
    t95 = round(t975(n_groups - 1), 3)  # to the digits of the published figures
    k, reach, within, across = reference.k, reference.reach, _squares(s, s), _squares(reference.real, s)
    found = _figures(reference, s, _neighbourhoods(reach, within, across, k))
    rest = []
    for group in range(n_groups):
        kept = np.arange(len(s)) % n_groups != group
        near = _neighbourhoods(reach, within[np.ix_(kept, kept)], across[:, kept], k)
        rest.append(_figures(reference, s[kept], near))
    ci95 = {}
    for name, value in found.items():
        values = np.array([each[name] for each in rest])
        error = math.sqrt((n_groups - 1) / n_groups * float(((values - values.mean()) ** 2).sum()))
        ci95[name] = (value - t95 * error, value + t95 * error)
    return EmbeddingScore(**found, ci95=ci95, n=len(s), k=k, encoder=encoder, signature=signature)


def _figures(reference: _Reference, samples: FloatArray, near: Neighbourhoods) -> dict[str, float]:
    return {"frechet": _SCALE * reference.distance(samples), **vars(near)}


class _Reference:
    """Mean, covariance and its square root of the real text, and with `k` the distances to its k-th neighbours."""

    def __init__(self, real: FloatArray, k: int = 0) -> None:
        self.real, self.k = real, k
        self.reach = _reach(_squares(real, real), k) if k else np.empty(0, np.float32)
        self._mean, self._covariance = _moments(real)
        values, vectors = np.linalg.eigh(self._covariance)
        self._root = (vectors * np.sqrt(values.clip(0.0))) @ vectors.T

    def distance(self, samples: FloatArray) -> float:
        mean, covariance = _moments(samples)
        # The square roots of the eigenvalues of the symmetric Σ_r^½ Σ_s Σ_r^½ sum to the trace of its root.
        cross = np.sqrt(np.linalg.eigvalsh(self._root @ covariance @ self._root).clip(0.0)).sum()
        squares = float(((self._mean - mean) ** 2).sum())
        return max(0.0, squares + float(np.trace(self._covariance) + np.trace(covariance) - 2.0 * cross))


def _moments(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    mean = rows.mean(axis=0)
    centred = rows - mean
    return mean, centred.T @ centred / (len(rows) - 1)


def check_counts(counts: Mapping[str, int], k: int = K, encoder: SentenceEncoder | None = None) -> None:
    """Refuse texts that are too short for the figures, before they are made or embedded.

    Args:
        counts: the number of sentences of each text by its name.
        k: neighbours.
        encoder: whose vectors have fewer dimensions than a text has sentences; None: not known yet.

    Raises:
        InputError: no more sentences than dimensions, or than neighbours where a group of the jackknife is left out.
    """
    n = min(counts.values())
    if n - math.ceil(n / _GROUPS) <= k:
        raise InputError(
            f"a distance of embeddings needs hundreds of sentences of each text, many more than k = {k}, got {n}"
        )
    if encoder is not None:
        _need_full_rank(counts, encoder.encode([""]).shape[1])


def _need_full_rank(counts: Mapping[str, int], dim: int) -> None:
    for name, n in counts.items():
        if n <= dim:
            raise InputError(
                f"{name}: {n:,} sentences are too few for a Fréchet distance of embeddings in {dim} dimensions; "
                f"it needs {dim + 1} at least, better thousands"
            )


def _pair(real: npt.ArrayLike, samples: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return both clouds in float64. Raises InputError for wrong shapes or values."""
    r, s = np.asarray(real, dtype=np.float64), np.asarray(samples, dtype=np.float64)
    if r.ndim != 2 or s.ndim != 2 or r.shape[1] != s.shape[1]:
        raise InputError(f"embeddings must be rows of equal dimensions, got {r.shape} and {s.shape}")
    if not (np.isfinite(r).all() and np.isfinite(s).all()):
        raise InputError("embeddings must be finite numbers")
    return r, s


def _squares(a: FloatArray, b: FloatArray) -> Embeddings:
    """Return (n, m) squared distances."""
    found = -2.0 * (a @ b.T)
    found += (a**2).sum(axis=1)[:, None]
    found += (b**2).sum(axis=1)
    squares: Embeddings = found.clip(0.0).astype(np.float32)
    return squares


def _reach(squares: Embeddings, k: int) -> Embeddings:
    """Return (n,) squared distances to the k-th neighbour; the nearest is the vector itself."""
    reach: Embeddings = np.partition(squares, k, axis=1)[:, k]
    return reach


def _neighbourhoods(reach: Embeddings, within: Embeddings, across: Embeddings, k: int) -> Neighbourhoods:
    """Compute the figures; `reach`: of real sentences; `within`: among samples; `across`: real sentences by samples."""
    in_real = across <= reach[:, None]
    in_samples = across <= _reach(within, k)
    return Neighbourhoods(
        precision=float(in_real.any(axis=0).mean()),
        recall=float(in_samples.any(axis=1).mean()),
        density=float(in_real.sum(axis=0).mean()) / k,
        coverage=float(in_real.any(axis=1).mean()),
    )


def _mauve(real: Embeddings, samples: Embeddings, seed: int) -> float | None:
    """Return MAUVE by its authors' package, `mauve-text`; None if it is not installed."""
    try:
        from mauve import compute_mauve
    except ImportError:
        return None
    # The package's default, n/10, but few enough to leave the 39 vectors per cluster that its clustering asks for.
    buckets = max(2, min(round(len(real) / 10), 2 * len(real) // 39))
    return float(compute_mauve(p_features=real, q_features=samples, num_buckets=buckets, seed=seed % _SEEDS).mauve)


def fed(
    samples: Sequence[str],
    real: Sequence[str],
    encoder: SentenceEncoder | str = DEFAULT_ENCODER,
    *,
    n: int = N,
    k: int = K,
    seed: int = 1,
    names: tuple[str, str] = ("samples", "real"),
    on_done: Callable[[int], None] = lambda _: None,
) -> EmbeddingScore:
    """Return the Fréchet distance and neighbour figures of the embeddings of samples and of held-out real text.

    Args:
        samples: sentences.
        real: sentences of real text, held out.
        encoder: the name of a sentence-transformers model, or your own encoder.
        n: sentences per text, drawn without replacement; the size of the smaller text if that has fewer.
        k: neighbours.
        seed: of the draw.
        names: of the two texts, for the signature.
        on_done: called with the number of sentences embedded so far, at most twice `n`.

    Raises:
        InputError: sentence-transformers or the model is missing, a number is out of range, or a text has no more
            sentences than the embedding has dimensions.
    """
    judge = MeaningJudge(real, encoder, k=k, seed=seed, name=names[1])
    return judge.score(samples, names[0], n=n, on_done=on_done)


class MeaningJudge:
    """`fed` for several texts and one real text, which is embedded and measured once for each n.

    Arguments are those of `fed`.
    """

    def __init__(
        self,
        real: Sequence[str],
        encoder: SentenceEncoder | str = DEFAULT_ENCODER,
        *,
        k: int = K,
        seed: int = 1,
        name: str = "real",
    ) -> None:
        self._real = as_sentences(real, name)
        self._encoder = load_encoder(encoder) if isinstance(encoder, str) else encoder
        if not (hasattr(self._encoder, "name") and hasattr(self._encoder, "encode")):
            kind = type(encoder).__name__
            raise InputError(f"an encoder is the name of one, its directory, or has .name and .encode, got {kind}")
        self._k, self._seed, self._name = whole("k", k, 1), whole("seed", seed, 0, MAX_SEED), name
        self._measured: dict[int, tuple[Embeddings, _Reference]] = {}

    def score(
        self,
        samples: Sequence[str],
        name: str = "samples",
        *,
        n: int = N,
        on_done: Callable[[int], None] = lambda _: None,
    ) -> EmbeddingScore:
        """Return the figures of `fed` for `samples`; the arguments are those of `fed`."""
        samples = as_sentences(samples, name)
        k, encoder, seed = self._k, self._encoder, self._seed
        n = whole("n", n, 1)
        counts = {"real text": min(n, len(self._real)), "samples": min(n, len(samples))}
        check_counts(counts, k)
        n = min(n, len(samples), len(self._real))
        known = self._measured.get(n)
        of_real = embed(drawn(self._real, n, [seed, 0]), encoder, on_done) if known is None else known[0]
        _need_full_rank(counts, of_real.shape[1])
        on_done(n)
        of_samples = embed(drawn(samples, n, [seed, 1]), encoder, lambda done: on_done(n + done))
        r, s = _pair(of_real, of_samples)
        reference = _Reference(r, k) if known is None else known[1]
        self._measured[n] = of_real, reference
        signature = f"FED|enc:{encoder.name}|test:{self._name}|samples:{name}|n:{n}|k:{k}|seed:{seed}"
        score = _score(reference, s, encoder=encoder.name, signature=signature)
        return replace(score, mauve=_mauve(of_real, of_samples, seed))
