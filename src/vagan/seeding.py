"""Random generators derived from (seed, purpose, step); there is no global state."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def numpy_generator(seed: int, purpose: str, *steps: int) -> np.random.Generator:
    """Generator that depends on nothing but its arguments.

    Different purposes give independent streams; steps are the position in a run, e.g. the number of critic updates.
    """
    # hashed as text: numpy's own seed sequences take (0, 1) and (0, 1, 0) for the same
    digest = hashlib.sha256(repr((int(seed), purpose, *map(int, steps))).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


@contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """Make torch's own initialisers reproducible inside the block, and leave the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(numpy_generator(seed, purpose).integers(2**62)))
        yield
