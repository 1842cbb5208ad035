"""When the networks of a training work: the rest of the time is the host's."""

import time
from pathlib import Path

from vagan.data.cohort import Cohort
from vagan.training.config import load_config
from vagan.training.engine.loop import train
from vagan.training.tasks.adversarial import AdversarialTask


def train_with_spans(cohort: Cohort, path: Path, settings: dict[str, str], *, skip: int) -> tuple[float, float]:
    """Seconds inside the updates, and from the end of the first ones to the end of the last.

    Parameters
    ----------
    skip
        The first updates, which allocate memory and fill caches.
    """
    spans: list[tuple[float, float]] = []
    update = AdversarialTask.update

    def timed(self, *arguments):
        begin = time.perf_counter()
        terms = update(self, *arguments)
        spans.append((begin, time.perf_counter()))
        return terms

    AdversarialTask.update = timed
    try:
        train(cohort, path, load_config("fast", settings))
    finally:
        AdversarialTask.update = update
    counted = spans[skip:]
    return sum(end - begin for begin, end in counted), counted[-1][1] - spans[skip - 1][1]
