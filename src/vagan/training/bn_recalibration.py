"""Batch-norm statistics during training, and their recalibration for inference."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vagan.axes import concatenate_batches
from vagan.nn.batch_statistics import measuring_statistics
from vagan.nn.conditioning import Condition, conditioned
from vagan.training.sampling import Batch
from vagan.types import Images

BATCH = 50

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class BatchNormPolicy:
    """Statistics of a map generator's batch norm during training.

    Attributes
    ----------
    joint
        Source and target images pass through the generator in one batch, as in use. The critic then sees images
        that were generated with the statistics of both, measured after the generator's last update. Otherwise (the
        authors' code) each pass uses the statistics of its own batch.
    """

    joint: bool

    def before_critic_update(self, generator: nn.Module) -> None:
        """Generated images for the critic are those of the generator in use."""
        if self.joint:
            generator.eval()

    def before_generator_update(self, generator: nn.Module) -> None:
        """The generator learns with the statistics of its batches."""
        if self.joint:
            generator.train()

    def before_distillation_update(self, generator: nn.Module) -> None:
        """In distillation all images pass in one batch."""
        generator.train()

    def after_generator_update(self, generator: nn.Module, batches: Sequence[Batch]) -> None:
        """Statistics for the weights as they are now."""
        if not self.joint:
            return
        torch.clear_autocast_cache()  # it holds copies of the weights before the update
        with measuring_statistics(generator):
            for batch in batches:
                both = conditioned(generator, batch.condition, batch.target_condition)
                both(concatenate_batches(batch.source, batch.target))


def recalibrated(
    network: Network,
    images_of: Callable[[NDArray[np.int64]], Images],
    rows: NDArray[np.int64],
    condition: Condition | None = None,
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
