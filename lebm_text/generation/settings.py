"""How the next word is chosen: only the settings, so that modules that need them do not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from lebm_text.checks import (
    MAX_TEMPERATURE,
    MIN_SHARE,
    MIN_TEMPERATURE,
    Checked,
    hint,
    in_range,
    one_of,
    setting,
    whole,
)
from lebm_text.errors import InputError

__all__ = ["DECODERS", "DecodeOptions", "DecodeSettings", "decode_settings"]

DECODERS = ("sample", "greedy", "beam")
_MAX_PENALTY = 10.0  # a length to a larger power overflows


class DecodeOptions(TypedDict, total=False):
    """The fields of `DecodeSettings` as keyword arguments."""

    decode: str
    temperature: float
    top_k: int
    top_p: float
    beam_size: int
    length_penalty: float
    no_unk: bool


@dataclass(frozen=True)
class DecodeSettings(Checked):
    """How the next id is chosen. Raises InputError for invalid settings and for settings without effect."""

    decode: str = setting("sample", one_of, DECODERS)
    temperature: float = setting(1.0, in_range, MIN_TEMPERATURE, MAX_TEMPERATURE)  # towards 0 it becomes greedy
    top_k: int = setting(0, whole, 0)  # 0: no restriction
    top_p: float = setting(1.0, in_range, MIN_SHARE, 1)  # 1: no restriction
    beam_size: int = setting(5, whole, 1, 1000)  # of decode="beam"
    # Of decode="beam"; 1 ranks by mean log p per token, 0 by log p.
    length_penalty: float = setting(1.0, in_range, 0.0, _MAX_PENALTY)
    no_unk: bool = False  # never `<unk>`: its probability is divided among the other words

    def __post_init__(self) -> None:
        if self.temperature == 0:
            raise InputError("temperature must be above 0; decode=greedy always takes the likeliest word")
        super().__post_init__()
        if self.decode != "sample" and (self.temperature, self.top_k, self.top_p) != (1.0, 0, 1.0):
            raise InputError(f"temperature, top_k and top_p belong to decode=sample, got decode={self.decode}")
        if self.decode != "beam" and (self.beam_size, self.length_penalty) != (5, 1.0):
            raise InputError(f"beam_size and length_penalty belong to decode=beam, got decode={self.decode}")

    def describe(self) -> str:
        """Return how sentences were decoded, as in signatures: `decode=sample,T=0.8,top_k=40`."""
        no_unk = ",no_unk" * self.no_unk
        if self.decode == "greedy":
            return f"decode=greedy{no_unk}"
        if self.decode == "beam":
            return f"decode=beam,size={self.beam_size},length_penalty={self.length_penalty:g}{no_unk}"
        top_k = f",top_k={self.top_k}" if self.top_k else ""
        top_p = f",top_p={self.top_p:g}" if self.top_p < 1 else ""
        return f"decode=sample,T={self.temperature:g}{top_k}{top_p}{no_unk}"


def decode_settings(default: str, settings: DecodeSettings | None, options: DecodeOptions) -> DecodeSettings:
    """Return the given settings, whole or by their fields; `default` is the default of `decode`."""
    if not isinstance(settings, DecodeSettings | None):
        raise InputError(f"expected DecodeSettings, got {type(settings).__name__}; or give their fields as keywords")
    if settings is not None and options:
        raise InputError(f"give DecodeSettings or {', '.join(options)}, not both")
    known = list(DecodeOptions.__annotations__)
    for name in options:
        if name not in known:
            raise InputError(f"unknown setting {name}{hint(name, known)}")
    return settings or DecodeSettings(**({"decode": default} | options))
