"""The training loop: checkpoints, resuming and stopping, for any task."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from vagan.data.cohort import Cohort
from vagan.errors import Interrupted
from vagan.training.collapse import require_alive
from vagan.training.config import Config, load_config
from vagan.training.engine.device import hosts, launch, open_fabric, place, using_threads
from vagan.training.engine.memory import reraise_out_of_memory
from vagan.training.engine.processes import LostProcessError, Processes, require_shares, reraise_lost_process
from vagan.training.engine.record import Record, Track
from vagan.training.engine.run_folder import RunFolder
from vagan.training.engine.state import TrainState
from vagan.training.engine.task import Monitor, Task
from vagan.training.engine.trackers import require_trackers, tracking
from vagan.training.image_cache import prefetch
from vagan.training.tasks import open_task


def train(
    cohort: Cohort,
    path: Path | str,
    config: Config | None = None,
    *,
    monitor: Monitor | None = None,
    after_validation: Callable[[RunFolder], None] | None = None,
    devices: int | None = None,
    trackers: Sequence[str] = (),
    tracker_images: bool = False,
    stop_within_s: float | None = None,
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
    devices
        Devices of this host to train on; default: 1, or what torchrun started. Each takes its share of the batches
        that an update accumulates, so that their number changes nothing but rounding, and may change on resuming.
        The calling script is started again for each; all see the same folders.
    trackers
        Trackers beside TensorBoard, see `vagan.training.engine.trackers`.
    tracker_images
        Whether they get the pictures in the run folder too.
    stop_within_s
        End this process, with what the last checkpoint holds, if Ctrl-C or SIGTERM come in the middle of an update
        that takes longer than this; default: the update is done first, however long it takes.

    Raises
    ------
    RunError
        If the folder belongs to another configuration or cohort, another training runs in it, or one of the
        processes of this training is lost. What was saved last is kept.
    DivergenceError
        If a loss term is no longer finite. The last good checkpoint is kept.
    Interrupted
        After Ctrl-C or SIGTERM, once a checkpoint is saved.
    """
    config = config or load_config()
    require_trackers(trackers)
    run = RunFolder(Path(path))
    fabric = open_fabric(config.training, cohort.shape, devices=devices)
    require_shares(fabric.world_size, config.training.accumulate_grad_batches, config.training.batch_size)
    processes = launch(fabric)
    half = "bf16" in str(fabric.strategy.precision.precision)
    with reraise_out_of_memory(config, half=half):
        task = open_task(config, cohort, monitor=monitor, processes=processes)
        state = task.build()
        place(state.networks, fabric, config.training)
        task.check(state, fabric.device, half=half)
        with (
            _one_process_reports(processes),
            run.locked() if processes.is_first else nullcontext(),
            using_threads(config.training.num_threads, processes=processes.count // hosts()),
        ):
            resumes = run.begin(config, cohort) if processes.is_first else False
            with reraise_lost_process():
                resumes = fabric.broadcast(resumes)
            _fit(
                task,
                state,
                run,
                config=config,
                fabric=fabric,
                processes=processes,
                resumes=resumes,
                after_validation=after_validation or (lambda _: None),
                track=partial(tracking, trackers, run, config, pictures=tracker_images),
                stop_within_s=stop_within_s,
            )
            if processes.is_first:
                task.finish(run.model, fabric.device)
    return run


def _fit(
    task: Task[Any],
    state: TrainState,
    run: RunFolder,
    *,
    config: Config,
    fabric: Fabric,
    processes: Processes,
    resumes: bool,
    after_validation: Callable[[RunFolder], None],
    track: Track,
    stop_within_s: float | None,
) -> None:
    rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in state.optimizers.items()}
    processes.average_gradients_of(state.optimizers.values())
    if resumes:
        state.load(run.checkpoint, total=task.total)
    record = Record(task, run, state, fabric.autocast, after_validation, track=track) if processes.is_first else None
    if record:
        devices = f"{processes.count} x {fabric.device}" if processes.count > 1 else f"{fabric.device}"
        record.begin(f"{devices}, {fabric.strategy.precision.precision}", resumes=resumes)
    if state.updates >= task.total:
        return
    save_is_due = _timer(config.training.checkpoint_seconds)
    begin = time.monotonic() - state.seconds
    watchdog = _watchdog(run, stop_within_s, reports=processes.is_first)
    with _stop_signals(watchdog) as stopped, record or nullcontext():
        for batch in prefetch(task.load, state.updates, task.total):
            _set_rates(state, rates, task)
            # autocast from outside: Fabric's own module wrapper forbids the penalty's torch.autograd.grad
            with fabric.autocast():
                terms = task.update(state, fabric.to_device(batch), fabric.backward)
            processes.average_statistics_of(state.networks.values())
            means, stops = processes.agree(terms, stopped.is_set())
            require_alive(means)
            state.updates += 1
            state.seconds = time.monotonic() - begin
            finished = state.updates == task.total
            if record:
                record.add(means)
                if finished or stops or save_is_due():
                    record.save(in_a_hurry=stops and not finished)
                if stops and not finished:
                    run.note(f"interrupted at update {state.updates}")
            if stops and not finished:
                raise Interrupted(
                    f"stopped at update {state.updates} of {task.total}; everything is saved in {run.path}: "
                    "repeat the command to resume"
                )
    if record:
        run.note(f"finished after {state.seconds:.0f} s")
        record.warn()


def _set_rates(state: TrainState, rates: dict[str, float], task: Task[Any]) -> None:
    for name, optimizer in state.optimizers.items():
        for group in optimizer.param_groups:
            group["lr"] = rates[name] * task.lr_factor(name, state.updates)


def _timer(seconds: float) -> Callable[[], bool]:
    last = time.monotonic()

    def is_due() -> bool:
        nonlocal last
        if time.monotonic() - last < seconds:
            return False
        last = time.monotonic()
        return True

    return is_due


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


def _watchdog(run: RunFolder, seconds: float | None, *, reports: bool) -> threading.Timer | None:
    """What ends this process when it was asked to stop and cannot; as safe as a kill at any moment is."""
    if seconds is None:
        return None

    def end() -> None:
        if reports:
            print(
                f"vagan: stopped in the middle of an update that takes longer than {seconds:g} s; everything up to "
                f"the last checkpoint is saved in {run.path}: repeat the command to resume",
                file=sys.stderr,
                flush=True,
            )
        os._exit(Interrupted.exit_code)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    return timer


@contextmanager
def _stop_signals(watchdog: threading.Timer | None) -> Iterator[threading.Event]:
    """Turn Ctrl-C and SIGTERM into an event, so that an update is not cut in half."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped  # Python delivers signals to the main thread alone
        return

    def stop(*_: object) -> None:
        if watchdog and not stopped.is_set():
            watchdog.start()
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        if watchdog:
            watchdog.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
