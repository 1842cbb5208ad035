"""The training loop: checkpoints, resuming and stopping, for any task."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from vagan.data.bank import read_ahead
from vagan.data.cohort import Cohort
from vagan.errors import DivergenceError, Interrupted
from vagan.model_folder import save_model
from vagan.progress import Bar
from vagan.training.adversarial import AdversarialTask
from vagan.training.classification import ClassifierTask
from vagan.training.config import Config, load_config
from vagan.training.device import open_fabric, place, using_threads
from vagan.training.run_folder import MetricsLog, RunFolder
from vagan.training.state import TrainState
from vagan.training.task import Monitor, Task


def train(
    cohort: Cohort,
    path: Path | str,
    config: Config | None = None,
    *,
    monitor: Monitor | None = None,
    after_validation: Callable[[RunFolder], None] | None = None,
) -> RunFolder:
    """Train, or go on with, the model of a run folder.

    The same call after a crash, a kill or an interruption resumes; on one CPU and thread count the result has
    the same bits as that of an uninterrupted run.

    Parameters
    ----------
    cohort
        Training and validation images. Test images are never touched.
    path
        Run folder: new, empty, or begun with the same configuration and cohort.
    config
        Settings; default: the preset ``fast``.
    monitor
        Compares validation maps with true effects, where the cohort knows them. Its value is only plotted.
    after_validation
        Called with the run folder each time its metrics grew, to draw curves for example.

    Raises
    ------
    RunError
        If the folder belongs to another configuration or cohort, or another process trains in it.
    DivergenceError
        If a loss term is no longer finite. The last good checkpoint is kept.
    Interrupted
        After Ctrl-C or SIGTERM, once a checkpoint is saved.
    """
    config = config or load_config()
    run = RunFolder(Path(path))
    task: Task[Any] = (
        AdversarialTask(config, cohort, monitor=monitor)
        if config.method == "vagan"
        else ClassifierTask(config, cohort)
    )
    fabric = open_fabric(config.training, cohort.shape)
    with run.locked(), using_threads(config.training.threads):
        resumes = run.begin(config, cohort)
        _fit(task, run, config, fabric, resumes=resumes, after_validation=after_validation or (lambda _: None))
    return run


def _fit(
    task: Task[Any],
    run: RunFolder,
    config: Config,
    fabric: Fabric,
    *,
    resumes: bool,
    after_validation: Callable[[RunFolder], None],
) -> None:
    state = task.build()
    rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in state.optimizers.items()}
    place(state.networks, fabric, config.training)
    if resumes:
        state.load(run.checkpoint)
    if state.updates >= task.total:
        run.note("already complete")
        return
    where = f"{fabric.device}, {fabric.strategy.precision.precision}"
    run.note(f"{'resumed' if resumes else 'begun'} at update {state.updates} of {task.total} on {where}")
    save_is_due = _timer(config.training.checkpoint_seconds)
    begin = time.monotonic() - state.seconds
    with (
        _stop_signals() as stopped,
        MetricsLog(run, updates_done=state.updates) as metrics,
        Bar(task.total, f"training {run.path.name}", done=state.updates) as bar,
    ):
        figures: dict[str, float] = {}
        for batch in read_ahead(task.load, state.updates, task.total):
            _set_rates(state, rates, task)
            # autocast from outside: Fabric's own module wrapper forbids the penalty's torch.autograd.grad
            with fabric.autocast():
                terms = task.update(state, fabric.to_device(batch), fabric.backward)
            state.updates += 1
            state.seconds = time.monotonic() - begin
            for name, value in terms.items():
                state.terms.setdefault(name, []).append(float(value))
            finished = state.updates == task.total
            if task.row_is_due(state.updates):
                row = {"update": state.updates, "seconds": round(state.seconds, 2)}
                row |= {name: sum(values) / len(values) for name, values in state.terms.items()}
                state.terms.clear()
                if task.validation_is_due(state.updates):
                    with fabric.autocast():
                        figures = task.validate(state)
                metrics.add(row | figures if task.validation_is_due(state.updates) else row)
            bar.advance(_in_words(figures))
            if finished or stopped.is_set() or save_is_due():
                with fabric.autocast():
                    _save(task, state, run, metrics)
                if len(figures):
                    after_validation(run)
            if stopped.is_set() and not finished:
                run.note(f"interrupted at update {state.updates}")
                raise Interrupted(
                    f"stopped at update {state.updates} of {task.total}; everything is saved in {run.path}: "
                    "give the same command again to go on"
                )
    run.note(f"finished after {state.seconds:.0f} s")


def _save(task: Task[Any], state: TrainState, run: RunFolder, metrics: MetricsLog) -> None:
    for name, network in state.networks.items():
        if not all(torch.isfinite(weights).all() for weights in network.parameters()):
            raise DivergenceError(
                f"the weights of the {name} must be finite, but are not after update {state.updates}; "
                f"the last good checkpoint is kept in {run.checkpoint}; lower the learning rate"
            )
    # the checkpoint last: whoever is killed before it is there goes on from the one before and writes all again
    save_model(run.model, *task.model(state))
    metrics.flush()
    state.save(run.checkpoint)


def _set_rates(state: TrainState, rates: dict[str, float], task: Task[Any]) -> None:
    for name, optimizer in state.optimizers.items():
        for group in optimizer.param_groups:
            group["lr"] = rates[name] * task.rate_factor(name, state.updates)


def _timer(seconds: float) -> Callable[[], bool]:
    last = time.monotonic()

    def is_due() -> bool:
        nonlocal last
        if time.monotonic() - last < seconds:
            return False
        last = time.monotonic()
        return True

    return is_due


def _in_words(figures: dict[str, float]) -> str:
    return "  ".join(f"{name.split('/')[1]} {value:.3f}" for name, value in figures.items())


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Turn Ctrl-C and SIGTERM into an event, so that an update is never cut in half."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped  # Python delivers signals to the main thread alone
        return
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
