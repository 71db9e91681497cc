"""What a run may hold, one report of each kind: for tests of the page."""

from __future__ import annotations

from typing import Any

__all__ = ["ANOMALY", "DIRECTIONS", "ENV", "LIKELIHOOD", "METRICS", "TRAJECTORIES", "VIEWS"]

ENV: dict[str, Any] = {
    "date": "2026-01-01",
    "lebm_text": "0.1.0",
    "git": {"commit": "abc123", "changed": True},
    "device_name": "some processor",
    "packages": {"torch": "2.9"},
    "corpus": {
        "name": "e2e",
        "origin": "directory",
        "splits": {"train": {"path": "/secret/place", "sha256": "cd" * 32, "n_sentences": 42061, "n_words": 911391}},
    },
}
TRAJECTORIES: dict[str, Any] = {
    "metric": "trajectories",
    "signature": "trajectories(n=2)",
    "chain": {"n_steps": 2},
    "bands": {"neg_energy": [[0, 1, 2], [1, 2, 3], [2, 3, 4]], "norm": [[5, 6, 7]] * 3},
    "long": {"curve": {"steps": [0, 50, 100], "neg_energy": [[0, 1, 2]] * 3}},
    "judged": [{"decode": "greedy", "step": s, "fppl": {"ppl": 9 - s}, "rppl": {"ppl": 8}} for s in (0, 1, 2, 100)],
    "real": {"fppl": {"ppl": 5.9}, "rppl": {"ppl": 10.9}},
    "statements": ["f settles"],
    "sentences": [{"chain": 0, "decode": "greedy", "step": 0, "f": 0.5, "text": "a chained sentence"}],
}
LIKELIHOOD: dict[str, Any] = {
    "metric": "likelihood",
    "signature": "log_p|test",
    "corpus": {"name": "e2e", "split": "test"},
    "log_z": {"forward": {"value": 0.3182, "standard_error": 0.003}, "reverse": {"value": 0.3145}},
    "ais": {"n_sentences": 20, "nll": 51.21, "nll_standard_error": 4.42, "perplexity": 6.784, "bits_per_byte": None},
    "encoder_kl": {"value": 5.25, "standard_error": 0.5},
    "latent": {"active_units": 3, "unit_variances": [0.5, 0.2, 0.0]},
    "sentences": [{"n_tokens": 5, "log_p_lower": -20.5}, {"n_tokens": 9, "log_p_lower": None}],
}
VIEWS: dict[str, Any] = {
    "metric": "views",
    "explained": [0.25, 0.125],
    "clouds": {name: {"coordinates": [[0.5, 1.0], [1, 2]]} for name in ("p0", "prior", "posterior")},
}
DIRECTIONS: dict[str, Any] = {
    "metric": "directions",
    "positive": "1",
    "majority": 0.613,
    "accuracy": [
        {"n": n, "probe": {"mean": 0.7 + n / 1e4, "spread": 0.01}, "bag_of_words": {"mean": 0.6 + n / 1e4}}
        for n in (10, 1000)
    ],
    "moved": {"attribute": [{"shift": s, "share_positive": 0.5 + s / 8} for s in (-4.0, 4.0)]},
    "sentences": [{"input": "the soup", "moved": [{"shift": -4.0, "sentence": "the bad soup"}, {"shift": 1}]}],
}
ANOMALY: dict[str, Any] = {
    "metric": "anomaly",
    "corpus": {"name": "news"},
    "contrasts": [
        {
            "anomalies": "sport",
            "n_normal": 1900,
            "n_anomalous": 95,
            "share": 0.0476,
            "signature": "AUROC,AUPRC|positive:sport",
            "curves": {
                "a run joint": {"roc": [[0, 0], [0.2, 0.9], [1, 1]], "precision_over_recall": [[0, 1], [1, 0.05]]}
            },
            "results": [
                {"system": "a run", "score": "joint", "per_token": True, "auroc": 0.8125, "auroc_ci95": [0.78, 0.84]},
                {"system": "length", "score": "tokens", "auroc": 0.55, "auprc": 0.0625},
            ],
            "comparisons": [
                {
                    "model": "a run",
                    "baseline": "length",
                    "auroc_difference": 0.26,
                    "ci95": [0.2, 0.3],
                    "model_is": "better",
                }
            ],
        }
    ],
}
METRICS = [
    {
        "step": step,
        "epoch": step / 10,
        "gap": 0.1 * step,
        "nll_token": 3.0,
        "std_ratio": 1.0,
        "tokens_per_second": 900.0,
    }
    for step in range(1, 21)
] + [{"step": 20, "epoch": 2, "valid_ppl_posterior": 4.263, "valid_ppl_prior": 10.19}]
