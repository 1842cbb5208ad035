"""Endless shuffled streams of indices that can be entered at any position, so that a resumed run needs no state."""

import numpy as np
from numpy.typing import NDArray

from vagan.seeding import numpy_generator


class ShuffledStream:
    """Goes through the indices in a new random order each time round.

    Parameters
    ----------
    indices
        What to draw from.
    seed, purpose
        Decide the orders; streams of different purpose are independent.
    """

    def __init__(self, indices: NDArray[np.int64], *, seed: int, purpose: str) -> None:
        self._indices, self._seed, self._purpose = indices, seed, purpose

    def draw(self, start: int, count: int) -> NDArray[np.int64]:
        """Entries ``start`` to ``start + count`` of the stream."""
        rounds = range(start // len(self._indices), (start + count - 1) // len(self._indices) + 1)
        entries = np.concatenate([self._round(number) for number in rounds])
        offset = start - rounds.start * len(self._indices)
        return entries[offset : offset + count]

    def _round(self, number: int) -> NDArray[np.int64]:
        return numpy_generator(self._seed, self._purpose, number).permutation(self._indices)
