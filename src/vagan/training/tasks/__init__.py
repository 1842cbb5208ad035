"""Training tasks, by ``method`` of the configuration."""

from collections.abc import Callable
from typing import Any

from vagan.training.engine.state import Task
from vagan.training.tasks.adversarial import AdversarialTask
from vagan.training.tasks.classification import ClassifierTask

TASKS: dict[str, Callable[..., Task[Any]]] = {
    "vagan": AdversarialTask,
    "classifier": ClassifierTask,
    "cam-classifier": ClassifierTask,
    "label-classifier": ClassifierTask,
}
