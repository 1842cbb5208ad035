"""The training loop: checkpoints, resuming and stopping, for any task."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric

from vagan.data.cohort import Cohort
from vagan.errors import Interrupted
from vagan.training.config import Config, load_config
from vagan.training.engine.device import hosts, launch, loading_threads, open_fabric, place, using_threads
from vagan.training.engine.memory import reraise_out_of_memory
from vagan.training.engine.processes import LostProcessError, Processes, require_shares, reraise_lost_process
from vagan.training.engine.record import Record, check_divergence, collapsed_map
from vagan.training.engine.run_folder import RunFolder
from vagan.training.engine.state import Monitor, Task, TrainState
from vagan.training.image_cache import prefetch
from vagan.training.schedule import updates_of
from vagan.training.tasks import TASKS


def train(
    cohort: Cohort,
    path: Path | str,
    config: Config | None = None,
    *,
    monitor: Monitor | None = None,
    after_validation: Callable[[RunFolder], None] | None = None,
    devices: int | None = None,
) -> RunFolder:
    """Train, or resume, the model of a run folder.

    The same call resumes after a crash, a kill or an interruption; on one CPU, with the same number of threads, the
    result has the same bits as that of an uninterrupted run. Raises `RunError` if the folder belongs to another
    configuration or cohort, another training runs in it, or one of the processes of this training is lost. What was
    saved last is kept. `DivergenceError` if a loss term is no longer finite. The last good checkpoint is kept.
    `Interrupted` after Ctrl-C or SIGTERM, once a checkpoint is saved.

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
        Called with the run folder after validations, the first one too, to draw curves or to feed an experiment
        tracker; not after each if that takes more than a fiftieth of the time.
    devices
        Devices of this host to train on; default: 1, or what torchrun started. Each takes its share of the batches
        that an update accumulates, so that their number changes nothing but rounding, and may change on resuming.
        The calling script is started again for each; all see the same folders.
    """
    config = config or load_config()
    run = RunFolder(Path(path))
    fabric = open_fabric(config.training, cohort.shape, devices=devices)
    require_shares(fabric.world_size, config.training.accumulate_grad_batches, config.training.batch_size)
    processes = launch(fabric)
    precision = fabric.strategy.precision.precision
    half = "bf16" in str(precision)
    cohort = _in_memory(cohort, config)
    with reraise_out_of_memory(config, half=half):
        task = TASKS[config.method](config, cohort, monitor=monitor, processes=processes)
        state = task.build()
        place(state.networks, fabric, config.training)
        task.check(state, fabric.device, half=half)
        processes.average_gradients_of(state.optimizers.values())
        with (
            _one_process_reports(processes),
            run.locked() if processes.is_first else nullcontext(),
            using_threads(config.training.num_threads, processes=processes.count // hosts()),
        ):
            before = run.read_config() if run.is_begun else config
            resumes = run.begin(config, cohort) if processes.is_first else False
            with reraise_lost_process():
                resumes = fabric.broadcast(resumes)
            if resumes:
                state.load(run.checkpoint, total=max(updates_of(one)[1] for one in (before, config)))
                if processes.is_first:
                    run.change_length(
                        before, config, done=state.updates, stopped_early=state.early_stopping.stopped_at
                    )
            task.plan(state, {})
            record = None
            if processes.is_first:
                record = Record(task, run, state, fabric.autocast, after_validation)
                devices_used = f"{processes.count} x {fabric.device}" if processes.count > 1 else fabric.device
                begun = "resumed" if resumes else "begun"
                run.note(f"{begun} at update {state.updates} of {task.total} on {devices_used}, {precision}")
            if state.updates < task.total:
                with _stop_signals() as stopped, record or nullcontext():
                    _fit(task, state, record, fabric, processes, run=run, stopped=stopped, config=config)
            if processes.is_first:
                task.finish(run.model, fabric.device)
    return run


def _in_memory(cohort: Cohort, config: Config) -> Cohort:
    """All images that the training and the record of what it has seen need, read once, if they fit."""
    rows = np.concatenate([cohort.manifest.indices(split) for split in ("train", "validation")])
    return cohort.in_memory(rows, memory_bytes=config.training.memory_mb * 2**20)


def _fit(
    task: Task[Any],
    state: TrainState,
    record: Record | None,
    fabric: Fabric,
    processes: Processes,
    *,
    run: RunFolder,
    stopped: threading.Event,
    config: Config,
) -> None:
    begin = time.monotonic() - state.seconds
    next_save = time.monotonic() + config.training.checkpoint_seconds
    threads = loading_threads(fabric.device, processes=processes.count // hosts())
    for batch in prefetch(task.load, count(state.updates), threads=threads):
        state.set_learning_rates(task.lr_factor)
        # autocast from outside: Fabric's own module wrapper forbids the penalty's torch.autograd.grad
        with fabric.autocast():
            terms = task.update(state, fabric.to_device(batch), fabric.backward)
        processes.average_statistics_of(state.networks.values())
        means, stops = processes.agree(terms, stopped.is_set())
        check_divergence(means)
        state.updates += 1
        state.seconds = time.monotonic() - begin
        planned = task.total
        task.plan(state, means)
        stops = stops and state.updates < task.total
        if record:
            if task.total < planned:
                done = state.early_stopping.stopped_at
                run.note(f"training against the critic ended early, after {done} generator updates")
            record.add(means)
            if stops or state.updates == task.total or time.monotonic() >= next_save:
                record.save(in_a_hurry=stops)
                next_save = time.monotonic() + config.training.checkpoint_seconds
        if stops:
            if record:
                run.note(f"interrupted at update {state.updates}")
            stop = f"stopped at update {state.updates} of {task.total}"
            raise Interrupted(f"{stop}; everything is saved in {run.path}: repeat the command to resume")
        if state.updates >= task.total:
            break
    if record:
        run.note(f"finished after {state.seconds:.0f} s")
        if warning := collapsed_map(record.metrics):
            run.note(f"warning: {warning}")
            print(f"warning: {warning}", file=sys.stderr, flush=True)


@contextmanager
def _one_process_reports(processes: Processes) -> Iterator[None]:
    """Errors of all processes are reported by the first; that the first one is lost, by the second."""
    try:
        yield
    except Interrupted:
        if not processes.is_first:
            sys.exit(0)
        raise
    except LostProcessError as error:
        if processes.index > 1:
            sys.exit(error.exit_code)
        raise


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Turn Ctrl-C and SIGTERM into an event, so that an update is not cut in half unless they come twice."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped  # Python delivers signals to the main thread alone
        return

    def stop(number: int, _frame: Any) -> None:
        stopped.set()
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
