"""Running statistics of batch norm: measured on some passes, or frozen during others."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def measuring_statistics(network: nn.Module) -> Iterator[None]:
    """Passes inside this block give batch norm new statistics: the plain means over these passes.

    Like `torch.optim.swa_utils.update_bn`, but for networks that take more than images. No derivatives are taken, and
    the network's mode is the same afterwards.
    """
    norms = [part for part in network.modules() if isinstance(part, _BatchNorm)]
    momenta, mode = [norm.momentum for norm in norms], network.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # all passes count alike
    network.train()
    try:
        with torch.no_grad():
            yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.train(mode)


class FrozenStatistics:
    """Passes inside this context leave running statistics as they are; it may be entered again and again."""

    def __init__(self, block: nn.Module) -> None:
        self._norms = [part for part in block.modules() if isinstance(part, _BatchNorm) and part.training]

    def __enter__(self) -> None:
        self._before = [(norm.momentum, norm.num_batches_tracked) for norm in self._norms]
        for norm in self._norms:
            norm.momentum = 0.0  # the batch counts for nothing
            norm.num_batches_tracked = None

    def __exit__(self, *_: object) -> None:
        for norm, (momentum, count) in zip(self._norms, self._before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
