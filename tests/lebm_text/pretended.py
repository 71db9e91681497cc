"""A device that is only pretended, for tests without a GPU: its tensors lie on the CPU and say that they do not.

While it is there, operations that a GPU would refuse raise AssertionError: on tensors of the host and of the device
together, with random numbers of the wrong one, and, within a recording, on whatever is on the host or makes it look.
torch can be given one device of one's own; it stays known to the process, with a count of 0, and is used by nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

from lebm_text.cuda_graphs import Replay

from .recording import LOOKS, trace

NAME = "pretended"
aten = torch.ops.aten
ALIKE = (aten.cat, aten.stack, aten.gather, aten.scatter, aten.index_select)  # a GPU takes no number of the host there


class PretendedTensor(Tensor):
    """One of the device; `inner` has its numbers."""

    inner: Tensor  # type: ignore[assignment]
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, inner: Tensor) -> PretendedTensor:
        place, size = torch.device(NAME, 0), inner.size()
        made = Tensor._make_wrapper_subclass(
            cls, size, inner.stride(), inner.storage_offset(), dtype=inner.dtype, device=place
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return _carry_out(func, args, kwargs or {}, recording=False)

    # What torch does outside of its operations:

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"PretendedTensor({self.inner})"

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(self._placed(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(self._placed(index), value)

    def _placed(self, index: Any) -> Any:
        """Lists and tensors of the host go to the device first, as they may."""
        if isinstance(index, tuple):
            return tuple(map(self._placed, index))
        index = torch.tensor(index, dtype=None if index else torch.long) if isinstance(index, list) else index
        return index.to(self.device) if isinstance(index, Tensor) else index

    def new_tensor(self, data: Any, **options: Any) -> Tensor:  # type: ignore[override]
        return torch.tensor(data, **{"dtype": self.dtype, "device": self.device, **options})

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, **_: Any) -> Any:
        raise AssertionError(f"numpy() of a tensor on the {NAME} device")

    def data_ptr(self) -> int:
        return self.inner.data_ptr()


def _each(function: Callable[[Tensor], Any], tree: Any) -> Any:
    """`function` of all tensors in arguments or a result; torch's own `tree_map` takes most of the time."""
    if isinstance(tree, Tensor):
        return function(tree)
    return type(tree)([_each(function, part) for part in tree]) if isinstance(tree, (list, tuple)) else tree


def _carry_out(func: Any, args: Any, kwargs: dict[str, Any], *, recording: bool) -> Any:
    """An operation on what lies within, if a GPU carries it out."""
    ours: dict[int, Tensor] = {}
    hosts: list[Tensor] = []

    def inner(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, PretendedTensor):
            hosts.append(tensor)
            return tensor
        ours[id(tensor.inner)] = tensor
        return tensor.inner

    inside = _each(inner, args), {key: _each(inner, value) for key, value in kwargs.items()}
    packet, asked = func.overloadpacket, kwargs.get("device")
    there = bool(ours) if asked is None else torch.device(asked).type == NAME
    if packet in (aten.copy_, aten.copy):
        there = isinstance(args[0], PretendedTensor)
    elif ours and hosts and packet is not aten._to_copy:
        written = func._schema.is_mutable and args[0] is hosts[0]
        if written or packet in ALIKE or packet.__name__.startswith("_fused") or any(each.dim() for each in hosts):
            raise AssertionError(f"{func} of tensors on the host and on the {NAME} device")
    if recording:
        masks = packet is aten.index and any(each is not None and each.dtype == torch.bool for each in args[1])
        if masks or packet in LOOKS:
            raise AssertionError(f"{func} within a recording: the host would look at its tensor")
        if hosts or not there:
            raise AssertionError(f"{func} within a recording, on the host")
    if asked is not None and there:
        inside[1]["device"] = "cpu"
    result = func(*inside[0], **inside[1])
    if not there:
        return result
    # Of an operation in place the result is an argument.
    return _each(lambda each: ours[id(each)] if id(each) in ours else PretendedTensor(each), result)


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees also those without a tensor of the device, within a recording or outside."""

    def __init__(self, *, recording: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.recording = recording

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """See `_Tape`."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _carry_out(func, args, kwargs or {}, recording=self.recording)


class _Generator(torch.Generator):
    """In place of torch's: all lie on the CPU, and say where they should."""

    device: torch.device = torch.device("cpu")  # torch's own could not be set

    def __new__(cls, device: Any = "cpu") -> _Generator:
        made = super().__new__(cls)
        made.device = torch.device(device)
        return made


class _Functions(TorchFunctionMode):
    """What is not to be seen in operations: whose random numbers they take, and data without a tensor."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        place, rng = kwargs.get("device"), kwargs.get("generator")
        if place is None:
            place = args[0].device if args and isinstance(args[0], Tensor) else "cpu"
        if rng is not None and (place := torch.device(place)).type not in ("meta", rng.device.type):
            raise AssertionError(f"{func.__name__} on {place.type} with a generator of {rng.device.type}")
        if func in (torch.tensor, torch.as_tensor) and torch.device(place).type == NAME:
            return func(*args, **{**kwargs, "device": None}).to(place)
        return func(*args, **kwargs)


class _Module:
    """What torch asks of a device's module, `torch.cuda` for one."""

    device_count = staticmethod(lambda: 0)
    is_available = _is_in_bad_fork = staticmethod(lambda: False)
    manual_seed_all = staticmethod(lambda seed: None)
    get_amp_supported_dtype = staticmethod(lambda: [torch.bfloat16])


def possible() -> bool:
    """Whether torch takes a device that is written in Python, an experiment of its own, and has no GPU to disturb."""
    return hasattr(backend_registration, "_setup_privateuseone_for_python_backend") and not torch.cuda.is_available()


@cache
def _register() -> None:
    backend_registration._setup_privateuseone_for_python_backend(NAME, _Module())


@contextmanager
def pretence() -> Iterator[torch.device]:
    """Within it there is the device, which it gives."""
    _register()
    with pytest.MonkeyPatch.context() as patch, torch.autograd.set_multithreading_enabled(False):
        patch.setattr(torch, "Generator", _Generator)
        with _Functions(), _Operations():
            yield torch.device(NAME, 0)


def record(function: Callable[..., Tensor], given: tuple[Tensor, ...], pool: Any) -> Replay:
    """In place of `cuda_graphs._record`, within a pretence: `trace`, which sees the inner tensors, under its checks."""

    def checked(*arguments: Tensor) -> Tensor:
        with pytest.MonkeyPatch.context() as patch, _Operations(recording=True):
            patch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)  # who asks may do otherwise then
            return function(*arguments)

    function(*given)
    return trace(checked, given, pool)
