"""Memory estimates: trainings that cannot fit are refused, with suggestions."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import Tensor, UntypedStorage, nn

from vagan.errors import NotEnoughMemoryError
from vagan.nn.critic import Critic
from vagan.nn.unet import MapGenerator
from vagan.training.config import Config
from vagan.training.engine.state import TrainState

MEMINFO = Path("/proc/meminfo")
CONTAINER = Path("/sys/fs/cgroup")


def require_memory(
    state: TrainState, config: Config, image: tuple[int, ...], device: torch.device, *, half: bool
) -> None:
    """Raise `NotEnoughMemoryError` if what an update keeps for its derivatives alone is more than is free.

    On a CPU the system would end the process without a message. ``image`` is ``(channel, *space)``; ``half``:
    activations are bfloat16.
    """
    free = free_bytes(device)
    needed = kept_by_an_update(state, config, image) // (2 if half else 1)
    if free is not None and needed > free:
        raise NotEnoughMemoryError(
            f"an update needs more than {needed / 2**30:.1f} GB of memory, but {free / 2**30:.1f} GB are free on "
            f"{device}; {_what_helps(config, half=half)}"
        )


def kept_by_an_update(state: TrainState, config: Config, image: tuple[int, ...]) -> int:
    """Bytes that an update of the generator keeps for its backward pass in float32; the passes need more."""
    parts = 2 if config.generator.joint_batch_norm or config.loss.identity_weight > 0 else 1
    parts += config.loss.effect_transfer_weight > 0
    count = config.training.batch_size
    generator, critic = state.networks["generator"], state.networks["critic"]
    return _kept(generator, (parts * count, *image)) + _kept(critic, (count, *image))


def _kept(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Measured on tensors without contents, which cost nothing."""
    kept: dict[int, UntypedStorage] = {}  # alive, so that no two share an identity

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    assert isinstance(network, MapGenerator | Critic)
    on_meta = copy.deepcopy(network).to("meta")
    inputs = [torch.empty(shape, device="meta")]
    if network.conditions:
        inputs.append(torch.empty((shape[0], network.conditions), device="meta"))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        on_meta(*inputs)
    return sum(storage.nbytes() for storage in kept.values())


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
    lines = map(str.split, path.read_text(encoding="utf-8").splitlines())
    return {name: int(number) for name, number, *_ in lines}


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
        raise NotEnoughMemoryError(
            f"an update needs more memory than available; {_what_helps(config, half=half)}"
        ) from error


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
