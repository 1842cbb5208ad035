"""Memory for the map of a large image, asked before it is spent: a small file can decode to a huge image."""

import copy
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vagan.attribution.method import AttributionMethod
from vagan.attribution.vagan import VAGAN
from vagan.errors import NotEnoughMemoryError
from vagan.nn.classifier import CAMClassifier, Classifier
from vagan.nn.unet import MapGenerator
from vagan.training.engine.memory import free_bytes

SMALL_VALUES = 2**21
"""A batch of no more is not asked about."""
RESULT_BYTES = 48
"""For each value of an image: the image, its map, what is derived from them, and copies for files."""


def require_memory(method: AttributionMethod, shape: Sequence[int], device: torch.device) -> None:
    """Raise `NotEnoughMemoryError` if a map of images ``(batch, channel, *space)`` needs more than is free."""
    size = torch.Size(shape)
    free = free_bytes(device) if size.numel() > SMALL_VALUES else None
    if free is None:
        return
    networks = [part for part in vars(method).values() if isinstance(part, MapGenerator | Classifier | CAMClassifier)]
    kept = [_peak_bytes(network, size, derivatives=not isinstance(method, VAGAN)) for network in networks]
    needed = max(kept, default=0) + RESULT_BYTES * size.numel()
    if needed > free:
        extents = " x ".join(map(str, shape[2:]))
        raise NotEnoughMemoryError(
            f"the map of an image of {extents} needs about {needed / 2**30:.1f} GB of memory, but "
            f"{free / 2**30:.1f} GB are free on {device}; crop the image, or reduce its resolution"
        )


def _peak_bytes(network: nn.Module, shape: Sequence[int], *, derivatives: bool) -> int:
    """Largest memory of a forward pass, measured on tensors without contents, which cost nothing."""
    on_meta = copy.deepcopy(network).to("meta")
    inputs = [torch.empty(*shape, device="meta")]
    if isinstance(network, MapGenerator) and network.conditions:
        inputs.append(torch.empty(shape[0], network.conditions, device="meta"))
    with _Allocations() as allocations, torch.set_grad_enabled(derivatives):
        on_meta(*inputs)
    return allocations.peak


class _Allocations(TorchDispatchMode):
    """Bytes of all tensors made inside the block that are alive at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._now = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            storage = tensor.untyped_storage() if isinstance(tensor, Tensor) else None
            if storage is not None and storage._cdata not in self._alive:
                self._alive.add(storage._cdata)
                self._now += storage.nbytes()
                self.peak = max(self.peak, self._now)
                weakref.finalize(storage, self._free, storage._cdata, storage.nbytes())
        return made

    def _free(self, storage: int, size: int) -> None:
        self._alive.discard(storage)
        self._now -= size
