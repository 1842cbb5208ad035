"""Batch norm's statistics measured anew for the network that is used.

Running statistics look back over updates in which the network has become another one; in short trainings they are
those of its start, and maps and classes come out wrong that are right in training.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vagan.nn.batch_statistics import measuring_statistics
from vagan.nn.conditioning import Condition, told
from vagan.seeding import numpy_generator
from vagan.training.image_cache import ImageBank

BATCH = 50

Network = TypeVar("Network", bound=nn.Module)


def calibration_rows(rows: Mapping[int, NDArray[np.int64]], count: int, *, seed: int) -> NDArray[np.int64]:
    """Random training images, ``count`` of each class, one after the other: each batch of them holds both classes."""
    count = min(count, *map(len, rows.values()))
    chosen = [numpy_generator(seed, "calibration", label).permutation(found)[:count] for label, found in rows.items()]
    return in_turn(chosen)


def in_turn(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """One entry of each part after the other, as long as all have some."""
    shortest = min(map(len, parts))
    return np.stack([part[:shortest] for part in parts], axis=-1).ravel()


def calibrated(
    network: Network, bank: ImageBank, rows: NDArray[np.int64], condition: Condition | None = None
) -> Network:
    """Copy of the network in evaluation mode, with statistics of these images; as it is where there are none."""
    network = copy.deepcopy(network).eval()
    if len(rows):
        device = next(network.parameters()).device
        with measuring_statistics(network):
            for part in np.array_split(np.arange(len(rows)), -(-len(rows) // BATCH)):
                of_part = None if condition is None else condition[torch.from_numpy(part)].to(device)
                told(network, of_part)(bank.images(rows[part]).to(device))
    return network
