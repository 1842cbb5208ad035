"""Memory estimates: trainings that cannot fit are refused, with suggestions."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

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
    """Refuse a training of VA-GAN that surely does not fit.

    Parameters
    ----------
    image
        ``(channel, *space)``.
    half
        Whether activations are bfloat16.

    Raises
    ------
    NotEnoughMemoryError
        If what an update keeps for its derivatives alone is more than is free.
    """
    free = free_bytes(device)
    needed = kept_by_an_update(state, config, image) // (2 if half else 1)
    if free is not None and needed > free:
        raise NotEnoughMemoryError(
            f"an update needs more than {needed / 2**30:.1f} GB of memory, but {free / 2**30:.1f} GB are free on "
            f"{device}; {_what_helps(config, half=half)}"
        )


def kept_by_an_update(state: TrainState, config: Config, image: tuple[int, ...]) -> int:
    """Bytes in float32 that an update of the generator keeps between its passes; the passes themselves need more."""
    parts = 2 if config.generator.joint_batch_norm or config.loss.identity_weight > 0 else 1
    parts += config.loss.effect_transfer_weight > 0
    count = config.training.batch_size
    generator, critic = state.networks["generator"], state.networks["critic"]
    return _kept(generator, (parts * count, *image)) + _kept(critic, (count, *image))


def _kept(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Measured on tensors without contents, which cost nothing."""
    sizes: dict[int, int] = {}
    kept: list[Tensor] = []  # alive, so that no two share an identity

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        sizes[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {name: tensor.to("meta") for name, tensor in network.state_dict().items()}
    for name, _ in network.named_parameters():
        weights[name].requires_grad_()
    inputs = [torch.empty(shape, device="meta")]
    assert isinstance(network, MapGenerator | Critic)
    if network.conditions:
        inputs.append(torch.empty((shape[0], network.conditions), device="meta"))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        torch.func.functional_call(network, weights, tuple(inputs))
    return sum(sizes.values())


def free_bytes(device: torch.device) -> int | None:
    """Free memory of the device, or of the host or the container for the CPU; None where unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return None
    found = [_available(MEMINFO), _container(CONTAINER)]
    return min((value for value in found if value is not None), default=None)


def _available(path: Path) -> int | None:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None


def _container(path: Path) -> int | None:
    try:
        limit, used = (int((path / name).read_text(encoding="utf-8")) for name in ("memory.max", "memory.current"))
        lines = (path / "memory.stat").read_text(encoding="utf-8").splitlines()
        files = next(int(line.split()[1]) for line in lines if line.startswith("file "))
        return limit - used + files  # copies of files are given up when memory is needed
    except (OSError, ValueError, StopIteration):  # not in a container, or without a limit
        return None


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
    remedies = []
    if not settings.gradient_checkpointing:
        remedies.append("training.gradient_checkpointing=true")
    if not half:
        remedies.append("training.precision=bf16-mixed")
    if settings.batch_size > 1:
        smaller = settings.batch_size // 2
        more = -(-settings.batch_size // smaller) * settings.accumulate_grad_batches
        remedies.append(f"training.batch_size={smaller} with training.accumulate_grad_batches={more}")
    if config.loss.effect_transfer_weight > 0:
        remedies.append("loss.effect_transfer_weight=0")
    remedies.append("a smaller generator.width, or images of a larger spacing")
    return f"what helps, each alone or together: {', '.join(remedies)}"
