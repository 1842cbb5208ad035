"""When training against the critic is complete, judged by loss terms on training images."""

import math
from dataclasses import dataclass

from vagan.constants import MIN_MAP_SIZE

AVERAGED_UPDATES, AVERAGED_CRITIC_UPDATES = 40, 100
"""Time constants of the running means, in updates of the generator and of the critic."""
MAX_RATIO = 0.12
"""M(x0)/M(x1), the size of maps of baseline images relative to the others', at which training may end."""
PATIENCE, MIN_IMPROVEMENT = 40, 0.1
"""Training ends if the ratio has not fallen by this share of its lowest value in so many generator updates."""
FOUND_RATIO, UPDATES_AFTER_FOUND = 0.5, 175
"""An effect counts as found where the ratio first was this low. Training goes on for so many generator updates more:
where an effect is faint, maps may stay empty for a hundred updates."""
MIN_RATIO = 0.01
"""Smaller ratios count as this one: maps of baseline images are empty."""
MIN_FALL, MAX_RISE = 0.5, 0.5
"""Training also ends if the critic's estimate of the Wasserstein distance, after it had fallen by this share of its
highest value, rises again by this share of its fall."""


@dataclass
class EarlyStopping:
    """What the decision rests on; stored in checkpoints.

    Maps show that an effect is found: one that is faint, or hardly differs from what all images show, is found in
    baseline images as well at first. The critic shows when it overfits: it separates the training images better
    again, by features that other images do not have, and maps that remove them are wrong.
    """

    updates: int = 0  #: Of the generator.
    ratio: float = 1.0  #: Running mean of M(x0)/M(x1), the size of M(x0) as in the identity loss.
    found_at: int = 0  #: Generator updates at which the ratio first was at most `FOUND_RATIO`; 0: not yet.
    lowest_ratio: float = 1.0
    lowest_at: int = 0  #: Generator updates at which the ratio last fell by `MIN_IMPROVEMENT`.
    critic_updates: int = 0
    wasserstein: float = 0.0  #: Running mean of the critic's estimate.
    highest: float = 0.0  #: Highest value of ``wasserstein`` before its fall.
    lowest: float = 0.0  #: Lowest value after ``highest``.
    stopped_at: int = 0  #: Generator updates after which training ended early; 0: it did not.

    def add_critic_update(self, wasserstein: float) -> None:
        """Note the critic's estimate in its last update."""
        self.critic_updates += 1
        self.wasserstein += (wasserstein - self.wasserstein) / min(self.critic_updates, AVERAGED_CRITIC_UPDATES)
        if self.critic_updates >= AVERAGED_CRITIC_UPDATES:
            if self.wasserstein > self.highest and not self._has_fallen():
                self.highest = self.lowest = self.wasserstein
            self.lowest = min(self.lowest, max(self.wasserstein, 0.0))

    def add_generator_update(self, size: float, baseline_size: float) -> None:
        """Note the sizes of both classes' maps in the generator's last update."""
        self.updates += 1
        ratio = 1.0 if size < MIN_MAP_SIZE else min(baseline_size / size, 1.0)
        self.ratio += (ratio - self.ratio) / AVERAGED_UPDATES
        if not self.found_at and self.ratio <= FOUND_RATIO:
            self.found_at = self.updates
        if max(self.ratio, MIN_RATIO) <= (1 - MIN_IMPROVEMENT) * self.lowest_ratio:
            self.lowest_ratio, self.lowest_at = self.ratio, self.updates

    def is_complete(self) -> bool:
        """Whether more updates would not help."""
        rise, fall = self.wasserstein - self.lowest, self.highest - self.lowest
        overfits = self._has_fallen() and rise > MAX_RISE * fall
        settled = self.ratio <= MAX_RATIO and self.updates - self.lowest_at >= PATIENCE
        return overfits or (settled and self.updates - self.found_at >= UPDATES_AFTER_FOUND)

    def is_valid(self, updates: int) -> bool:
        """Whether the values can be those of a run of so many updates of both networks."""
        counters = (self.updates, self.critic_updates, self.found_at, self.lowest_at, self.stopped_at)
        counted = all(isinstance(count, int) and 0 <= count <= updates for count in counters)
        return counted and 0 <= self.ratio <= 1 and math.isfinite(self.wasserstein + self.highest + self.lowest)

    def _has_fallen(self) -> bool:
        return self.lowest < (1 - MIN_FALL) * self.highest
