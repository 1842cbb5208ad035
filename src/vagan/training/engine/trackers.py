"""Experiment trackers: `metrics.csv` in Weights & Biases and MLflow.

Nothing leaves this machine unless its owner says so by WANDB_MODE or MLFLOW_TRACKING_URI: W&B writes to ``wandb/`` in
the run folder, MLflow to ``mlflow.db``. Figures and settings are sent, pictures only if asked for.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vagan.errors import ConfigError, RunError, nearest, require_extra
from vagan.files import replacing
from vagan.training.config import Config, known_keys, value_of
from vagan.training.engine.run_folder import MetricsLog, RunFolder

Row = Mapping[str, Any]

SENT = "trackers.json"
"""In the run folder: each tracker's own key of the run, and the last update that was sent."""
PROJECT = "vagan"
"""Under which runs are gathered, unless WANDB_PROJECT or MLFLOW_EXPERIMENT_NAME says otherwise."""


@dataclass(frozen=True)
class Tracker:
    """One run of one tracker, opened."""

    key: str
    """By which the tracker finds the run again."""
    send: Callable[[Row], None]
    """A row of metrics; ``update`` is its position in the run."""
    send_picture: Callable[[Path, int], None]
    """A picture as it looks after so many updates."""
    close: Callable[[bool], None]
    """The session ends; whether it did so by itself."""


def open_wandb(run: RunFolder, config: Config, key: str | None) -> Tracker:
    """A run in Weights & Biases; ``wandb sync`` uploads an offline one later."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read on import
    import wandb

    quiet = ("disable_code", "disable_git", "x_disable_meta", "x_disable_stats", "x_disable_machine_info")
    opened = wandb.init(
        mode=None if "WANDB_MODE" in os.environ else "offline",
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        dir=str(run.path),
        name=run.path.name,
        id=key,
        resume="allow",
        config=config.model_dump(mode="json"),
        settings=wandb.Settings(silent=True, console="off", **dict.fromkeys(quiet, True)),
    )
    opened.define_metric("*", step_metric="update")
    return Tracker(
        opened.id,
        send=lambda row: opened.log(dict(row)),
        send_picture=lambda path, update: opened.log({path.stem: wandb.Image(str(path)), "update": update}),
        close=lambda whole: opened.finish(exit_code=0 if whole else 1),
    )


def open_mlflow(run: RunFolder, config: Config, key: str | None) -> Tracker:
    """A run in MLflow."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read on import
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param
    from mlflow.exceptions import MlflowException

    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    folder = run.path.resolve()
    own = f"sqlite:///{folder / 'mlflow.db'}"
    uri = os.environ.get("MLFLOW_TRACKING_URI", own)
    client = MlflowClient(uri)
    try:
        found = client.get_run(key or "").info.run_id
        client.update_run(found, status="RUNNING")
    except MlflowException:  # none yet, or none that this server knows
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        known = client.get_experiment_by_name(name)
        pictures = (folder / "mlflow").as_uri() if uri == own else None
        experiment = known.experiment_id if known else client.create_experiment(name, artifact_location=pictures)
        found = client.create_run(experiment, run_name=folder.name).info.run_id
        settings = ((key, value_of(config, key)) for key in known_keys())
        client.log_batch(found, params=[Param(name, str(value)) for name, value in settings])

    def send(row: Row) -> None:
        now, step = int(1000 * time.time()), int(row["update"])
        figures = [Metric(name, float(value), now, step) for name, value in row.items() if name != "update"]
        client.log_batch(found, metrics=figures)

    return Tracker(
        found,
        send=send,
        send_picture=lambda path, update: client.log_artifact(found, str(path), f"update-{update}"),
        close=lambda whole: client.set_terminated(found, "FINISHED" if whole else "KILLED"),
    )


TRACKERS: dict[str, Callable[[RunFolder, Config, str | None], Tracker]] = {"wandb": open_wandb, "mlflow": open_mlflow}
"""By their names on the command line, which are those of their packages and extras. A new one is a function here."""


def require_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that do not exist or whose package is missing, before anything is written."""
    for name in names:
        if name not in TRACKERS:
            raise ConfigError(f"no tracker is called {name!r}; {nearest(name, TRACKERS)}")
        require_extra(name, name, what=f"--tracker {name}")


@contextmanager
def tracking(
    names: Sequence[str], run: RunFolder, config: Config, metrics: MetricsLog, *, pictures: bool
) -> Iterator[Callable[[], None]]:
    """Open the trackers of a run, or the runs that they have of it already; yields a function that sends new rows.

    A row is sent once, however often a training is killed and resumed; a tracker that joins late gets all so far.
    With ``pictures`` those in the run folder are sent too.
    """
    known = _read(run.path / SENT) if names else {}
    opened: dict[str, Tracker] = {}

    def send() -> None:
        for name, tracker in opened.items():
            news = [row for row in metrics.rows if row["update"] > known[name]["update"]]
            for row in news:
                tracker.send(row)
            if news:
                known[name]["update"] = int(news[-1]["update"])
                for path in sorted(run.path.glob("*.png")) if pictures else []:
                    tracker.send_picture(path, known[name]["update"])
        if opened:
            with replacing(run.path / SENT) as temporary:
                temporary.write_text(json.dumps(known, indent=1, allow_nan=False) + "\n", encoding="utf-8")

    whole = False
    try:
        for name in dict.fromkeys(names):
            key = known.get(name, {}).get("key")
            try:
                opened[name] = TRACKERS[name](run, config, key)
            except Exception as error:  # their errors have no common base
                reason = " ".join(str(error).split())[:200]
                raise RunError(
                    f"the tracker {name} cannot be opened: {reason}; check its settings or omit it"
                ) from error
            if opened[name].key != key:
                known[name] = {"key": opened[name].key, "update": 0}
        yield send
        whole = True
    finally:
        try:
            send()
        finally:
            for tracker in opened.values():
                tracker.close(whole)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return {name: {"key": str(one["key"]), "update": int(one["update"])} for name, one in known.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} must list the tracker runs, but is damaged: {error}; delete it for new runs"
        ) from error
