r"""An LSTM layer over packed sequences: one set of weights, two ways to run them.

    a_t = W_x x_t + W_z z + b + W_h h_{t-1},   then the cell of `nn.lstm`

On a CPU W_x x_t is multiplied out once a batch, whatever z is, and `lstm_scan` runs the steps. On a GPU the many small
operations of a step cost more than that product: there cuDNN's LSTM takes [x_t; z] with [W_x W_z] and runs all steps by
itself, through `torch.lstm`, which is the same function on every device.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache, cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from .lstm import gate_scale, lstm_scan
from .packing import Packing

__all__ = ["LSTMLayer", "library_runs"]

TF32_SINCE = (8, 0)  # the compute capability from which cuDNN rounds float32 operands of an LSTM to 10 bits


@dataclass(frozen=True)
class LSTMLayer:
    """Weights of an LSTM as they are used: rows of the gates scaled (`gate_scale`), operands of large products cast.

    Attributes:
        token: (4H, E), of x.
        recurrent: (4H, H).
        latent: (4H, D), of z; D may be 0.
        token_bias: (4H,) added to each token's share of the gates, or none.
        row_bias: (4H,) added to each row's share, or none. It is one bias in two places: a gradient summed over rows
            first is rounded otherwise than one summed over tokens.
        library: whether cuDNN runs the steps.
    """

    token: Tensor
    recurrent: Tensor
    latent: Tensor
    token_bias: Tensor | None
    row_bias: Tensor | None
    library: bool

    @classmethod
    def of(
        cls,
        token_weight: Tensor,
        recurrent_weight: Tensor,
        *,
        latent_weight: Tensor | None = None,
        token_bias: Tensor | None = None,
        row_bias: Tensor | None = None,
        dtype: torch.dtype,
    ) -> LSTMLayer:
        """From parameters with gates in the order i, f, o, g; `dtype` is that of the operands of large products."""
        width = recurrent_weight.shape[1]
        scale = gate_scale(width, recurrent_weight)
        if latent_weight is None:
            latent_weight = recurrent_weight.new_empty(4 * width, 0)
        return cls(
            token=(token_weight * scale).to(dtype),
            recurrent=(recurrent_weight * scale).to(dtype),
            latent=latent_weight * scale,
            token_bias=None if token_bias is None else token_bias * scale.squeeze(1),
            row_bias=None if row_bias is None else row_bias * scale.squeeze(1),
            library=library_runs(recurrent_weight.device, dtype),
        )

    def detach(self) -> LSTMLayer:
        """The same weights as constants."""
        token_bias = None if self.token_bias is None else self.token_bias.detach()
        row_bias = None if self.row_bias is None else self.row_bias.detach()
        weights = (self.token.detach(), self.recurrent.detach(), self.latent.detach())
        return LSTMLayer(*weights, token_bias, row_bias, self.library)

    def project(self, embedded: Tensor) -> Tensor:
        """The tokens' share of the gates, (N, E) → (N, 4H) in the parameters' type."""
        product = F.linear(embedded.to(self.token.dtype), self.token)
        return product.to(self.latent.dtype) if self.token_bias is None else product + self.token_bias

    def prepare(self, embedded: Tensor) -> Tensor:
        """What `scan` takes of tokens, (N, E) → (N, …): all that does not depend on z."""
        return embedded.to(self.token.dtype) if self.library else self.project(embedded)

    def offset(self, z: Tensor) -> Tensor:
        """The rows' share of the gates, (B, D) → (B, 4H)."""
        if not z.shape[1] and self.row_bias is not None:
            return self.row_bias.expand(len(z), -1)
        return F.linear(z, self.latent, self.row_bias)

    def scan(self, prepared: Tensor, z: Tensor, h0: Tensor, c0: Tensor, packing: Packing) -> Tensor:
        """All hidden states.

        Args:
            prepared: (N, …) of `prepare`, packed.
            z: (B, D).
            h0, c0: (B, H).
            packing: of the same tokens.

        Returns:
            (N, H) packed, in the parameters' type.
        """
        if not self.library:
            return lstm_scan(prepared, self.offset(z), self.recurrent, h0, c0, packing.batch_sizes)
        dtype = self.recurrent.dtype
        inputs = prepared
        if z.shape[1]:
            inputs = torch.cat([prepared, z.to(dtype).index_select(0, packing.row)], dim=1)
        start = [state.to(dtype).unsqueeze(0) for state in (h0, c0)]
        sizes = torch.tensor(packing.batch_sizes)  # cuDNN reads them on the host
        training = torch.is_grad_enabled()  # without it cuDNN keeps nothing for a gradient
        hidden, _, _ = torch.lstm(inputs, sizes, start, self._library_weights, True, 1, 0.0, training, False)
        return hidden.to(self.latent.dtype)

    @cached_property
    def _library_weights(self) -> list[Tensor]:
        """[W_x W_z], W_h and two biases, which cuDNN has for historical reasons: gates as i, f, g, o, none doubled.

        They are parts of one array in cuDNN's own order, else it would gather them anew at every call.
        """
        dtype = self.recurrent.dtype
        bias = sum(b for b in (self.token_bias, self.row_bias) if b is not None)
        if not isinstance(bias, Tensor):
            bias = self.latent.new_zeros(len(self.latent))
        weights = [torch.cat([self.token, self.latent.to(dtype)], dim=1), self.recurrent, bias.to(dtype)]
        ordered = [_library_order(weight) for weight in weights]
        ordered.append(torch.zeros_like(ordered[-1]))
        flat = torch.cat([weight.flatten() for weight in ordered])
        parts = torch.split_with_sizes(flat, [weight.numel() for weight in ordered])
        return [part.view(weight.shape) for part, weight in zip(parts, ordered, strict=True)]


def library_runs(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether cuDNN runs an LSTM with operands of `dtype` on `device` as exactly as `dtype` promises.

    Not on a CPU. Nor in float32 where cuDNN would take TF32 for it: the flags against that hold for the whole
    process, and a plain scan is at hand. Depends on the machine alone, so that one machine always computes alike.
    """
    if device.type != "cuda" or not (torch._C._has_cudnn and torch.backends.cudnn.enabled):
        return False
    if dtype == torch.float32 and torch.cuda.get_device_capability(device) >= TF32_SINCE:
        return False
    return _library_works(device, dtype)


@cache
def _library_works(device: torch.device, dtype: torch.dtype) -> bool:
    """One tiny LSTM forth and back; its failure is a warning, once."""
    try:
        weights = torch.ones(4, 1, device=device, dtype=dtype, requires_grad=True)
        layer = LSTMLayer(weights, weights, weights[:, :0], None, None, library=True)
        state = torch.ones(1, 1, device=device, dtype=dtype)
        packing = Packing.of(torch.tensor([2]), device)
        with torch.enable_grad():
            hidden = layer.scan(state.expand(2, 1), state[:, :0], state, state, packing)
            torch.autograd.grad(hidden.sum(), weights)
    except RuntimeError as error:
        warnings.warn(f"cuDNN runs no LSTM in {dtype}; a slower one takes its place: {error}", stacklevel=2)
        return False
    return True


def _library_order(weight: Tensor) -> Tensor:
    """Rows i, f, o, 2g → i, f, g, o; halving is exact."""
    i, f, o, g = weight.chunk(4)
    return torch.cat([i, f, 0.5 * g, o])
