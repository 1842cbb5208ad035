"""`vagan train`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from vagan.cli.options import parse_settings


def train(
    cohort: Path,
    run: Path,
    *,
    method: Literal["vagan", "classifier", "cam-classifier", "label-classifier"] | None = None,
    with_classifier: Annotated[bool, Parameter(negative=())] = False,
    preset: str | None = None,
    devices: int | None = None,
    settings: Annotated[list[str] | None, Parameter(name="--set", consume_multiple=True)] = None,
) -> None:
    """Train on a cohort. The same command again resumes after a kill, a crash or Ctrl-C.

    Parameters
    ----------
    cohort
        Cohort folder.
    run
        Run folder: new, or that of an unfinished training.
    method
        What to train: the map generator, or a classifier for the methods it is compared with [default: vagan]; a
        label-classifier tells all classes apart, and is what --with-classifier trains.
    with_classifier
        Train a classifier as well, in the run folder's folder `classifier`, that decides which class a new image is
        of (`vagan attribute --predict-class`), or weights maps (--expected). Its probabilities are calibrated on
        validation images.
    preset
        fast, brain (registered brain scans), bidirectional (removes and inserts the class), paper, or a YAML file
        such as another run's config.yaml [default: fast; in an existing run folder, its own].
    devices
        GPUs of this host, or processes on a CPU, to train on [default: 1, or what torchrun started]. Each takes its
        share of training.accumulate_grad_batches; their number changes nothing else, and may change on resuming.
    settings
        Single settings, e.g. --set training.seed=3 loss.map_weight=20; `vagan settings` lists them. Of a stopped
        training the number of updates may change, until distillation begins.
    """
    from vagan.data.cohort import Cohort
    from vagan.errors import ConfigError
    from vagan.evaluation.metrics.agreement import mean_ncc
    from vagan.inference.strategies import CLASS_GATE_FOLDER
    from vagan.reporting.progress import draw_progress
    from vagan.training.config import load_config, settings_without_effect
    from vagan.training.engine.loop import train as fit
    from vagan.training.engine.processes import is_main_process
    from vagan.training.engine.run_folder import RunFolder

    folder = RunFolder(run)
    if preset is None and folder.is_begun:
        folder.read_config()  # as a preset it may be empty, as a run's it must be whole
        preset = str(folder.config)
    chosen = parse_settings(settings or []) | ({"method": method} if method else {})
    config = load_config(preset or "fast", chosen)
    if with_classifier and (config.method != "vagan" or (devices or 1) > 1):
        raise ConfigError(
            "`with_classifier` goes with a map generator on one device; otherwise train it by itself: "
            f"vagan train {cohort} {run / CLASS_GATE_FOLDER} --method label-classifier"
        )
    for key in settings_without_effect(config.method, chosen):
        if is_main_process() and not (with_classifier and key.startswith("classifier.")):
            print(f"warning: {key} has no effect on a training of the method {config.method}")
    images, before = Cohort(cohort), folder.seconds() if folder.is_begun else 0.0
    fit(images, run, config, monitor=mean_ncc, after_validation=draw_progress, devices=devices)
    if with_classifier:
        labels = config.model_copy(update={"method": "label-classifier"})
        fit(images, run / CLASS_GATE_FOLDER, labels, after_validation=draw_progress)
    if not is_main_process():
        return
    following = f"attribute {run} IMAGE..." if config.method == "vagan" else f"evaluate {cohort} {run}"
    seconds = folder.seconds()
    done = f"trained for {seconds:.0f} s" if seconds > before else "this run was finished before"
    print(f"{done}; next: vagan {following} --out DIR")
