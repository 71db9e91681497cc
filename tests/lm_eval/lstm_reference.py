"""The LSTM judge's probabilities by the textbook: one sentence, one step at a time, in double precision."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lm_eval.lstm import END, LSTMNetwork

__all__ = ["token_nll"]

Array = npt.NDArray[np.float64]


def token_nll(network: LSTMNetwork, ids: list[int]) -> Array:
    """-log p of each id of a sentence that ends with `END`."""
    p = {name: tensor.detach().double().numpy() for name, tensor in network.state_dict().items()}
    output, width = p.get("output_weight", p["embedding"]), network.recipe.hidden_dim
    n = network.n_first
    h, c, nll, before = np.zeros(width), np.zeros(width), [], END
    for target in ids:
        row = before + (before >= n)
        gates = p["token_weight"] @ p["embedding"][row] + p["recurrent_weight"] @ h + p["gate_bias"]
        i, f, o, g = np.split(gates, 4)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = _sigmoid(o) * np.tanh(c)
        logits = output @ h + p["output_bias"]
        first, second = _log_softmax(logits[: n + 1]), logits[n + 1 :]
        nll.append(-first[target] if target < n else -first[n] - _log_softmax(second)[target - n])
        before = target
    return np.array(nll)


def _sigmoid(a: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-a)))


def _log_softmax(logits: Array) -> Array:
    shifted = logits - logits.max()
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))
