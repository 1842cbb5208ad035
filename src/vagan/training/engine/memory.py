"""Memory estimates: trainings that cannot fit are refused, with suggestions."""

import copy
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vagan.errors import NotEnoughMemoryError
from vagan.training.config import Config
from vagan.training.engine.state import TrainState

MEMINFO = Path("/proc/meminfo")
CONTAINER = Path("/sys/fs/cgroup")
Shape = tuple[int, ...]


def require_memory(state: TrainState, config: Config, image: Shape, device: torch.device, *, half: bool) -> None:
    """Raise `NotEnoughMemoryError` if what an update keeps for its derivatives alone is more than is free.

    On a CPU the system would end the process without a message. ``image`` is ``(channel, *space)``.
    """
    free = free_bytes(device)
    needed = kept_by_an_update(state, config, image) // (2 if half else 1)
    if free is not None and needed > free:
        raise NotEnoughMemoryError(
            f"an update needs more than {needed / 2**30:.1f} GB of memory, but {free / 2**30:.1f} GB are free on "
            f"{device}; {_what_helps(config, half=half)}"
        )


def kept_by_an_update(state: TrainState, config: Config, image: Shape) -> int:
    """Bytes that an update of the generator keeps for its backward pass in float32; the passes need more."""
    parts = 2 if config.generator.joint_batch_norm or config.loss.identity_weight > 0 else 1
    parts += config.loss.effect_transfer_weight > 0
    count = config.training.batch_size
    generator, critic = state.networks["generator"], state.networks["critic"]
    return peak_bytes(generator, (parts * count, *image)) + peak_bytes(critic, (count, *image))


def peak_bytes(network: nn.Module, shape: Sequence[int], *, derivatives: bool = True) -> int:
    """Largest memory of a forward pass in float32, measured on tensors without contents, which cost nothing.

    ``shape`` is that of the images, ``(batch, channel, *space)``; with ``derivatives`` what they need is kept.
    """
    on_meta = copy.deepcopy(network).to("meta")
    inputs = [torch.empty(*shape, device="meta")]
    if conditions := getattr(network, "conditions", 0):
        inputs.append(torch.empty(shape[0], conditions, device="meta"))
    with _Allocations() as allocations, torch.set_grad_enabled(derivatives):
        on_meta(*inputs)
    return allocations.peak


class _Allocations(TorchDispatchMode):
    """Bytes of all tensors made inside the block that are alive at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._now = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
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


def free_bytes(device: torch.device) -> int | None:
    """Free memory of the device, or of the host or the container for the CPU; None where unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return None
    found = []
    with suppress(OSError, KeyError):
        found.append(1024 * _table(MEMINFO)["MemAvailable:"])
    with suppress(OSError, ValueError, KeyError):  # not in a container, or without a limit
        limit, used = (int((CONTAINER / f"memory.{name}").read_text(encoding="utf-8")) for name in ("max", "current"))
        # copies of files are given up when memory is needed
        found.append(limit - used + _table(CONTAINER / "memory.stat")["file"])
    return min(found, default=None)


def _table(path: Path) -> dict[str, int]:
    """Numbers of a file of the system, by the word before them."""
    return {name: int(number) for name, number, *_ in map(str.split, path.read_text(encoding="utf-8").splitlines())}


@contextmanager
def reraise_out_of_memory(config: Config, *, half: bool) -> Iterator[None]:
    """Raise `NotEnoughMemoryError`, with the settings that help, where the device lacks memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error).lower()
        lack = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not lack and "not enough memory" not in text and "can't allocate memory" not in text:
            raise
        remedies = _what_helps(config, half=half)
        raise NotEnoughMemoryError(f"an update needs more memory than available; {remedies}") from error


def _what_helps(config: Config, *, half: bool) -> str:
    settings = config.training
    smaller = max(1, settings.batch_size // 2)
    more = -(-settings.batch_size // smaller) * settings.accumulate_grad_batches
    remedies = {
        "training.gradient_checkpointing=true": not settings.gradient_checkpointing,
        "training.precision=bf16-mixed": not half,
        f"training.batch_size={smaller} with training.accumulate_grad_batches={more}": settings.batch_size > 1,
        "loss.effect_transfer_weight=0": config.loss.effect_transfer_weight > 0,
        "a smaller generator.width, or images of a larger spacing": True,
    }
    return f"use, alone or together: {', '.join(text for text, helps in remedies.items() if helps)}"
