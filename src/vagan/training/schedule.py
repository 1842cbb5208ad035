"""The order of updates, as pure functions of the update counter."""

from bisect import bisect_left
from itertools import accumulate
from math import cos, pi

from vagan.training.config import Config, Schedule


def critic_updates_before(generator_update: int, schedule: Schedule) -> int:
    """Critic updates made right before the given generator update (counted from 0).

    The paper: 5, but 100 before each of the first 25 generator updates and before every 100th.
    """
    warming_up = generator_update < schedule.warmup_generator_updates
    boosted = schedule.boost_every > 0 and generator_update % schedule.boost_every == 0
    return schedule.boosted_critic_updates if warming_up or boosted else schedule.critic_updates


class UpdateOrder:
    """Which of the two networks each update of a run (counted from 0) is for, and how many there are in ``total``."""

    def __init__(self, generator_updates: int, schedule: Schedule) -> None:
        self.generator_updates = generator_updates
        lengths = [critic_updates_before(update, schedule) + 1 for update in range(generator_updates)]
        self._generator_at = [after - 1 for after in accumulate(lengths)]
        self.total = sum(lengths)

    def generator_updates_before(self, update: int) -> int:
        """How many generator updates precede this update."""
        return bisect_left(self._generator_at, update)

    def is_generator_update(self, update: int) -> bool:
        """Whether this update is the generator's."""
        return self.generator_updates_before(update + 1) > self.generator_updates_before(update)


def updates_of(config: Config) -> tuple[int, int]:
    """Maximum number of updates of a run before distillation, and in total; of a classifier the same."""
    if config.method != "vagan":
        return config.classifier.updates, config.classifier.updates
    adversarial = UpdateOrder(config.training.generator_updates, config.schedule).total
    return adversarial, adversarial + config.schedule.distillation_updates


def cosine_decay(progress: float, *, decay_from: float) -> float:
    """Factor on the learning rate where the fraction ``progress`` of the run is done.

    1 until the fraction ``decay_from``, then half a cosine down to 0.
    """
    if progress <= decay_from:
        return 1.0
    return 0.5 * (1 + cos(pi * (progress - decay_from) / (1 - decay_from)))


def ema_decay(updates: int, *, rampup: float, max_decay: float) -> float:
    """Decay of the running average of weights after n ``updates``: short at first, so that it is never stale.

    ``rampup`` is the mean age of what is averaged, as a fraction r of the updates so far: the decay
    (1 + n) / (1/r + n) weighs update k by about k^(1/r - 2). ``max_decay`` bounds the decay; 0 for no average.
    """
    return min(max_decay, (1 + updates) / (1 / rampup + updates))
