"""Device, precision, memory layout and threads of a training."""

import atexit
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from torch import distributed, nn

from vagan.axes import channels_last
from vagan.errors import ConfigError
from vagan.training.config import Training
from vagan.training.engine.processes import ALONE, Processes, reraise_lost_process, start_others

SAFE_EXTENT = 48
"""Volumes with fewer voxels along an axis train in float32 on the CPU, whatever the configuration says.

Pooling leaves two voxels of them, and the bfloat16 weight gradient of a 3-D convolution over a first axis of two
reads memory that was never written (oneDNN in PyTorch 2.13; NaN in one of a few calls).
"""

MAX_LOADING_THREADS = 8


def open_fabric(settings: Training, shape: tuple[int, ...], *, devices: int | None = None) -> Fabric:
    """Fabric on the device and with the precision that the settings name; ``auto`` is decided by `fast_precision`.

    ``shape`` is that of the images; ``devices`` how many of this host, by default as many as torchrun has started
    processes on it, else one. Raises `ConfigError` if the device is not there, or cannot compute in this precision.
    """
    if devices is not None and devices < 1:
        raise ConfigError(f"`devices` must be at least 1, found {devices}")
    what = f"training.device {settings.device!r} with {settings.precision!r}"
    device = _fabric(what, settings.device).device
    precision = fast_precision(device) if settings.precision == "auto" else settings.precision
    if device.type == "cpu" and len(shape) == 3 and min(shape) < SAFE_EXTENT:
        precision = "32-true"
    return _fabric(what, device.type, precision, devices or int(os.environ.get("LOCAL_WORLD_SIZE", "1")), hosts())


def launch(fabric: Fabric) -> Processes:
    """Start the other processes on this host, unless torchrun or Slurm did, and connect all of them."""
    if fabric.world_size == 1:
        return ALONE
    if "LOCAL_RANK" not in os.environ and "SLURM_PROCID" not in os.environ:
        start_others(fabric.world_size)
    with reraise_lost_process():
        fabric.launch()
    atexit.register(lambda: distributed.destroy_process_group() if distributed.is_initialized() else None)
    return Processes(fabric.global_rank, fabric.world_size)


def hosts() -> int:
    """Hosts that torchrun or Slurm lets this training run on; else 1."""
    if "LOCAL_WORLD_SIZE" in os.environ:
        return int(os.environ["WORLD_SIZE"]) // int(os.environ["LOCAL_WORLD_SIZE"])
    return int(os.environ.get("SLURM_NNODES", "1"))


def find_device(name: str = "auto") -> torch.device:
    """Device by its name: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``mps``."""
    return _fabric(f"the device {name!r}", name).device


def fast_precision(device: torch.device) -> Literal["32-true", "bf16-mixed"]:
    """bfloat16 where the device has instructions that multiply it, else float32.

    With them (AMX, AVX512-BF16 on x86 processors) convolutions take half the time, without them more than in float32.
    """
    if device.type == "cuda":
        multiplies = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        found = _capabilities() if device.type == "cpu" else {}
        multiplies = any(found.get(name, False) for name in ("amx_bf16", "avx512_bf16"))
    return "bf16-mixed" if multiplies else "32-true"


def place(networks: dict[str, nn.Module], fabric: Fabric, settings: Training) -> None:
    """Move networks to the device, in the memory layout that the settings name."""
    for name, network in networks.items():
        if settings.channels_last:
            dims = max(weights.ndim for weights in network.parameters()) - 2
            network.to(memory_format=channels_last(dims))  # type: ignore[call-overload]
        networks[name] = fabric.to_device(network)


@contextmanager
def using_threads(count: int, *, processes: int = 1) -> Iterator[None]:
    """Compute with this many CPU threads inside the block; 0 for a fair share of the cores that may be used."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or max(1, _cores() // processes))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def loading_threads(device: torch.device, *, processes: int = 1) -> int:
    """Threads that read and augment images ahead: a share of the cores where an accelerator computes, else one."""
    return 1 if device.type == "cpu" else max(1, min(MAX_LOADING_THREADS, _cores() // processes))


def _cores() -> int:
    """Those that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # only on Linux
        return os.cpu_count() or 1


def _fabric(
    what: str, name: str, precision: Literal["32-true", "bf16-mixed"] = "32-true", devices: int = 1, nodes: int = 1
) -> Fabric:
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces the precision on every start
    strategy = "ddp" if devices * nodes > 1 else "auto"
    try:
        return Fabric(accelerator=name, strategy=strategy, devices=devices, num_nodes=nodes, precision=precision)
    except Exception as error:  # Fabric raises several kinds for a device that is not there
        raise ConfigError(f"{what} cannot be used here: {error}; choose cpu") from error


def _capabilities() -> Mapping[str, Any]:
    if hasattr(torch.cpu, "get_capabilities"):
        return torch.cpu.get_capabilities()
    # PyTorch before 2.12
    return {"amx_bf16": torch.cpu._is_amx_tile_supported(), "avx512_bf16": torch.cpu._is_avx512_bf16_supported()}
