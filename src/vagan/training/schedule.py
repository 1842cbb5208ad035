"""The order of updates, as pure functions of the update counter."""

from bisect import bisect_left
from collections.abc import Sequence
from math import cos, pi

from vagan.training.config import Schedule


def critic_updates_before(generator_update: int, schedule: Schedule) -> int:
    """Critic updates made right before the given generator update (counted from 0).

    The paper: 5, but 100 before each of the first 25 generator updates and before every 100th.
    """
    warming_up = generator_update < schedule.warmup_generator_updates
    boosted = schedule.boost_every > 0 and generator_update % schedule.boost_every == 0
    return schedule.boosted_critic_updates if warming_up or boosted else schedule.critic_updates


class UpdateOrder:
    """Tells for each update of a run (counted from 0) which of the two networks it is for."""

    def __init__(self, generator_updates: int, schedule: Schedule) -> None:
        self._generator_at: list[int] = []
        position = -1
        for update in range(generator_updates):
            position += critic_updates_before(update, schedule) + 1
            self._generator_at.append(position)

    @property
    def total(self) -> int:
        """Critic and generator updates of the whole run."""
        return self._generator_at[-1] + 1

    def generator_updates_before(self, update: int) -> int:
        """How many generator updates precede this update."""
        return bisect_left(self._generator_at, update)

    def is_generator_update(self, update: int) -> bool:
        """Whether this update is the generator's."""
        at: Sequence[int] = self._generator_at
        return at[min(self.generator_updates_before(update), len(at) - 1)] == update


def cosine_decay(progress: float, *, decay_from: float) -> float:
    """Factor on the learning rate: 1 until ``decay_from`` of the run, then half a cosine down to 0.

    Parameters
    ----------
    progress
        Fraction of the run that is done, in [0, 1].
    decay_from
        Fraction at which the decay begins; 1 for a constant rate.
    """
    if progress <= decay_from:
        return 1.0
    return 0.5 * (1 + cos(pi * (progress - decay_from) / (1 - decay_from)))


def ema_decay(updates: int, *, rampup: float, longest: float) -> float:
    """Decay of the running average of weights: short at first, so that the average is never stale.

    Parameters
    ----------
    updates
        That the average is already of, n.
    rampup
        Mean age of what is averaged, as a fraction of the updates so far, r in (0, 1): the decay (1 + n) / (1/r + n)
        weighs update k by about k^(1/r - 2).
    longest
        Bound of the decay, where the average stops growing longer; 0 for no average.
    """
    return min(longest, (1 + updates) / (1 / rampup + updates))
