"""Output of a training in progress: metrics, validation, progress, checkpoints; and whether it has diverged."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from typing import Any

import pandas as pd
import torch

from vagan.constants import MANY_EMPTY, MIN_MAP_SIZE
from vagan.data.table import write_table
from vagan.errors import DivergenceError, OutputError, RunError
from vagan.model.folder import save_model
from vagan.progress import Bar
from vagan.training.engine.run_folder import RunFolder
from vagan.training.engine.state import Task, TrainState

PAUSE = 50
"""Time between two drawings of the curves, as a multiple of the time that one takes."""
MAX_CRITIC_GRADIENT_NORM = 1000.0
"""Slope of a critic that the penalty no longer holds near one. Where it holds, even the sum over the columns of an
image, which the constraint ``one-axis`` allows, stays far below."""
MIN_CRITIC_GRADIENT_NORM = 1e-7
MAX_MAP_SIZE = 100.0


def check_divergence(terms: Mapping[str, float]) -> None:
    """Raise `DivergenceError` if an update's terms show that a network has diverged or its output is constant."""
    size = terms.get("generator/map", 0.0)
    if size > MAX_MAP_SIZE:
        raise DivergenceError(
            f"the map generator has diverged: images lie in [-1, 1], but its mean |M| is {size:.3g}; "
            "lower optimizer.generator_learning_rate"
        )
    slope = terms.get("critic/slope", 1.0)
    if slope > MAX_CRITIC_GRADIENT_NORM:
        raise DivergenceError(
            f"the critic has diverged: its gradient norm (critic/slope) must stay near 1, but is {slope:.3g}; "
            "lower optimizer.critic_learning_rate or raise loss.gradient_penalty"
        )
    if slope < MIN_CRITIC_GRADIENT_NORM:
        raise DivergenceError(
            f"the critic has collapsed: its output is constant (critic/slope {slope:.1g}, should be near "
            "1); lower optimizer.critic_learning_rate, and check the images with `vagan check`"
        )


def collapsed_map(metrics: Mapping[str, float]) -> str:
    """Warning for a model whose maps are empty, all of them or many; else no text."""
    size, empty = metrics.get("validation/map", 1.0), metrics.get("validation/empty_map", 0.0)
    if size < MIN_MAP_SIZE:
        return (
            f"the map has collapsed to zero: mean |M| is {size:.1g} on validation images of the class of interest; "
            "lower loss.map_weight, train longer, or the classes do not differ"
        )
    if empty > MANY_EMPTY:
        return (
            f"maps are partly empty: those of {empty:.0%} of the validation images of the class of interest are no "
            "larger than those of baseline images; lower loss.map_weight or loss.effect_transfer_weight, train "
            "longer, or look whether these images show the class"
        )
    return ""


class Record:
    """Record of one session of a training; a context that shows a progress bar and keeps ``metrics.csv`` whole.

    Networks are used in ``autocast()``; ``after_validation`` is called with the run folder when its metrics grew.
    """

    def __init__(
        self,
        task: Task[Any],
        run: RunFolder,
        state: TrainState,
        autocast: Callable[[], AbstractContextManager[Any]],
        after_validation: Callable[[RunFolder], None] | None,
    ) -> None:
        self._task, self._run, self._state = task, run, state
        self._autocast, self._after_validation = autocast, after_validation
        self.metrics: dict[str, float] = {}
        """Of the last validation."""
        self._shown = self._showing = 0.0
        self._rows: list[dict[str, Any]] = []
        """Of ``metrics.csv`` so far, of earlier sessions too."""

    def __enter__(self) -> "Record":
        """Cut metrics and TensorBoard back to where the training resumes; `RunError` if the table is damaged."""
        from torch.utils.tensorboard import SummaryWriter

        task, run, done = self._task, self._run, self._state.updates
        if done and os.path.lexists(run.metrics):
            table = run.read_metrics()
            last_row = next((update for update in range(done, 0, -1) if task.should_log(update)), 0)
            if last_row and last_row not in set(table["update"]):
                raise RunError(
                    f"{run.metrics} must hold the metrics up to update {last_row}, from which the run resumes, but "
                    "its end is missing; put it back, or delete it to resume without the earlier metrics"
                )
            records = table[table["update"] <= done].to_dict("records")
            self._rows = [{str(name): value for name, value in row.items() if pd.notna(value)} for row in records]
        self._writer = SummaryWriter(str(run.tensorboard), purge_step=done + 1)
        self._hook, threading.excepthook = threading.excepthook, self._after_a_thread
        self._bar = Bar(task.total, f"training {run.path.name}", done=done).__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with ExitStack() as ending:
            ending.callback(setattr, threading, "excepthook", self._hook)
            # that metrics cannot be written must not hide why the training ended
            ending.enter_context(suppress(OutputError, OSError) if kind else nullcontext())
            ending.callback(self._writer.close)
            ending.push(self._bar)
            self._flush()

    def _after_a_thread(self, failed: threading.ExceptHookArgs) -> None:
        """TensorBoard's thread prints a traceback of what our next `_flush` raises as well, where disks vanish."""
        if type(failed.thread).__module__.partition(".")[0] != "tensorboard":
            self._hook(failed)

    def add(self, terms: dict[str, float]) -> None:
        """Write down the terms of the update that is done; validate where it is due."""
        task, state = self._task, self._state
        for name, value in terms.items():
            state.terms.setdefault(name, []).append(value)
        if task.should_log(state.updates):
            row = {"update": state.updates, "seconds": round(state.seconds, 2)}
            row |= {name: sum(values) / len(values) for name, values in state.terms.items()}
            state.terms.clear()
            if task.should_validate(state.updates):
                with self._autocast():
                    self.metrics = task.validate(state)
                row |= self.metrics
            self._run.require_there()
            self._rows.append(row)
            for name, value in row.items():
                if name != "update":
                    self._writer.add_scalar(name, value, state.updates)
            if task.should_validate(state.updates):
                if task.examples is not None:
                    self._run.write_examples(task.examples)
                if time.monotonic() - self._shown > PAUSE * self._showing:
                    self._flush()
                    self._show()
        self._bar.total = task.total
        self._bar.advance("  ".join(f"{name.split('/')[1]} {value:.3f}" for name, value in self.metrics.items()))

    def save(self, *, in_a_hurry: bool = False) -> None:
        """Write model, metrics and checkpoint; in a hurry the model last, since it is measured on images first."""
        task, run, state = self._task, self._run, self._state
        for name, network in state.networks.items():
            if not all(torch.isfinite(weights).all() for weights in network.parameters()):
                raise DivergenceError(
                    f"the weights of the {name} must be finite, but are not after update {state.updates}; "
                    f"the last good checkpoint is kept in {run.checkpoint}; lower the learning rate"
                )
        run.require_there()
        for folder in (run.model, run.checkpoint.parent):
            folder.mkdir(exist_ok=True)
        if in_a_hurry:
            self._flush()
            state.save(run.checkpoint)
        # the checkpoint last: whoever is killed before goes on from the one before, and writes all again
        with self._autocast():
            save_model(run.model, *task.model(state), in_new_folder=False)
        if not in_a_hurry:
            self._flush()
            state.save(run.checkpoint)
        if self.metrics and (in_a_hurry or state.updates == task.total):
            self._show()

    def _flush(self) -> None:
        """Write all rows; columns in order of first appearance, empty where a row has no value. No rows: no file."""
        self._run.require_there()
        if self._rows:
            write_table(self._run.metrics, pd.DataFrame(self._rows), in_new_folder=False)
        else:
            self._run.metrics.unlink(missing_ok=True)
        self._writer.flush()

    def _show(self) -> None:
        """Call what draws; its time is measured, so that drawing at each validation does not slow a training down."""
        if self._after_validation:
            begin = time.monotonic()
            self._after_validation(self._run)
            self._shown = time.monotonic()
            self._showing = self._shown - begin
