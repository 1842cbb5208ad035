"""Batch norm's statistics of some images instead of a running average."""

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
