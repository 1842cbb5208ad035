"""Batch-norm statistics measured for a generator's present weights."""

import copy
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from vagan.axes import concatenate_batches
from vagan.nn.conditioning import Condition, conditioned
from vagan.nn.layers import measuring_statistics
from vagan.training.sampling import Batch, Rows
from vagan.types import Images

BATCH = 50

Network = TypeVar("Network", bound=nn.Module)


def measure_statistics(generator: nn.Module, batches: Sequence[Batch]) -> None:
    """Give the generator the batch-norm statistics of its weights as they are now."""
    torch.clear_autocast_cache()  # it holds copies of the weights before the update
    with measuring_statistics(generator):
        for batch in batches:
            both = conditioned(generator, batch.condition, batch.target_condition)
            both(concatenate_batches(batch.source, batch.target))


def recalibrated(
    network: Network, images_of: Callable[[Rows], Images], rows: Rows, condition: Condition | None = None
) -> Network:
    """Copy of a network in evaluation mode, with the statistics of these images; its own where there are none.

    Running statistics average over updates in which the network has changed. In short trainings those of the start
    dominate, and maps and classes come out wrong that are right in training mode.
    """
    network = copy.deepcopy(network).eval()
    if len(rows):
        device = next(network.parameters()).device
        with measuring_statistics(network):
            for part in np.array_split(np.arange(len(rows)), -(-len(rows) // BATCH)):
                of_part = None if condition is None else condition[torch.from_numpy(part)].to(device)
                conditioned(network, of_part)(images_of(rows[part]).to(device))
    return network
