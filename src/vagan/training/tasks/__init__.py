"""Training tasks, by ``method`` of the configuration."""

from collections.abc import Callable
from typing import Any

from vagan.data.cohort import Cohort
from vagan.training.config import Config
from vagan.training.engine.processes import ALONE, Processes
from vagan.training.engine.task import Monitor, Task
from vagan.training.tasks.adversarial import AdversarialTask
from vagan.training.tasks.classification import ClassifierTask

TASKS: dict[str, Callable[..., Task[Any]]] = {
    "vagan": AdversarialTask,
    "classifier": ClassifierTask,
    "cam-classifier": ClassifierTask,
    "label-classifier": ClassifierTask,
}


def open_task(
    config: Config, cohort: Cohort, *, monitor: Monitor | None = None, processes: Processes = ALONE
) -> Task[Any]:
    """The task of a configuration; see `vagan.training.engine.loop.train` for the arguments."""
    return TASKS[config.method](config, cohort, monitor=monitor, processes=processes)
