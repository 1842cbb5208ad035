"""Distributed training: each process takes its share of the accumulated batches.

Networks are not wrapped. Gradients are averaged right before an optimiser uses them, which is what data parallelism
comes to; the steps see plain networks, so the penalty's derivative of a derivative is that of a single process. Batch
norm sees one batch at a time, here as in a single process; its running statistics are averaged after each update.
"""

import atexit
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from threading import Thread
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.optim import Optimizer

from vagan.errors import ConfigError, RunError

TIME_TO_REPORT_S = 2.0
"""For a process that notices by itself that another one is lost."""
TIME_TO_END_S = 10.0


class LostProcessError(RunError):
    """Another process of the same training has ended before its time."""


@dataclass(frozen=True)
class Processes:
    """All processes of a training, seen from one of them; several are a process group of ``torch.distributed``."""

    index: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that alone writes files, validates and shows progress."""
        return self.index == 0

    def share(self, parts: int) -> range:
        """Which of so many accumulated batches are this process's."""
        return range(self.index, parts, self.count)

    def average_gradients_of(self, optimizers: Iterable[Optimizer]) -> None:
        """From now on, let each optimiser use the mean of all processes' gradients."""

        def average(optimizer: Optimizer, *_: Any) -> None:
            weights = chain.from_iterable(group["params"] for group in optimizer.param_groups)
            self.average([weight.grad for weight in weights if weight.grad is not None])

        for optimizer in optimizers:
            optimizer.register_step_pre_hook(average)

    def average_statistics_of(self, networks: Iterable[nn.Module]) -> None:
        """Replace batch norm's running statistics by their mean over all processes."""
        self.average([part for network in networks for part in network.buffers() if part.is_floating_point()])

    def agree(self, terms: Mapping[str, Tensor], stopped: bool) -> tuple[dict[str, float], bool]:
        """Means of the loss's terms, and whether any process was asked to stop, so that all stop together."""
        values = torch.tensor([*map(float, terms.values()), float(stopped)], dtype=torch.float64)
        if self.count > 1:
            values = values.to(next(iter(terms.values())).device, torch.float32)
            self.average([values])
        *means, stops = values.tolist()
        return dict(zip(terms, means, strict=True)), stops > 0

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over all processes; `LostProcessError` if one of them is gone."""
        if self.count == 1 or not tensors:
            return
        with torch.no_grad():
            together = torch.cat([tensor.reshape(-1) for tensor in tensors])
            with reraise_lost_process():
                distributed.all_reduce(together)
            together /= self.count
            for tensor, mean in zip(tensors, together.split([part.numel() for part in tensors]), strict=True):
                tensor.copy_(mean.view_as(tensor))


ALONE = Processes()

LOST = (
    "another process of this training has ended; everything up to the last checkpoint is saved: "
    "repeat the command to resume, with as many devices as there are"
)


@contextmanager
def reraise_lost_process() -> Iterator[None]:
    """Raise `LostProcessError` where a communication fails because another process has ended."""
    try:
        yield
    except RuntimeError as error:
        raise LostProcessError(LOST) from error


def is_main_process() -> bool:
    """Whether this process is the only or the first one of a training; the others print nothing."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def start_others(count: int) -> None:
    """Start this command again, ``count - 1`` times, as torchrun would; end with a message if one of them is lost.

    Fabric's own launcher cannot repeat ``python -c`` and ``-m``, and ends all processes without a message.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "LOCAL_RANK": "0"}
    command = [sys.executable, *sys.orig_argv[1:]]
    others = [subprocess.Popen(command, env=os.environ | {"LOCAL_RANK": str(index)}) for index in range(1, count)]
    for one in others:
        Thread(target=_watch, args=(one, others), daemon=True, name="watch").start()
    atexit.register(_end, others)


def _watch(one: subprocess.Popen[bytes], all_others: Sequence[subprocess.Popen[bytes]]) -> None:
    """Communication between GPUs does not notice a lost process: the others would wait for it."""
    if one.wait() == 0:
        return
    time.sleep(TIME_TO_REPORT_S)
    print(f"vagan: {LOST}", file=sys.stderr, flush=True)
    for other in all_others:
        other.kill()
    os._exit(RunError.exit_code)


def _end(others: Sequence[subprocess.Popen[bytes]]) -> None:
    """End those that do not end by themselves because they wait for this one."""
    for other in others:
        try:
            other.wait(TIME_TO_END_S)
        except subprocess.TimeoutExpired:
            other.kill()


def require_shares(count: int, accumulate: int, batch_size: int) -> None:
    """Refuse a number of processes among which an update's batches cannot be divided."""
    if accumulate % count:
        smaller = max(1, batch_size * accumulate // count)
        raise ConfigError(
            "training.accumulate_grad_batches must be a multiple of the number of devices, which share an update's "
            f"batches: found {accumulate} for {count} devices; "
            f"set training.accumulate_grad_batches={count} and training.batch_size={smaller} for instance"
        )
