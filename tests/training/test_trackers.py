"""Trackers get every row once, whatever happens to the training, and nothing leaves the machine unasked."""

import json
import socket

import imageio.v3 as imageio
import numpy as np
import pandas as pd
import pytest

from trainings import stop_after, tiny
from vagan.errors import ConfigError, MissingExtraError, RunError
from vagan.reporting.progress import draw_examples
from vagan.training.engine import trackers
from vagan.training.engine.loop import train


@pytest.fixture
def sent(monkeypatch):
    """A tracker ``notes`` in the place of the others: what it gets, one event after the other."""
    events: list[tuple[object, ...]] = []

    def notes(run, config, key):
        key = key or f"run {len(events)}"
        events.append(("open", key, config.training.seed))
        return trackers.Tracker(
            key,
            send=lambda row: events.append(("row", dict(row))),
            send_picture=lambda path, update: events.append(("picture", path.name, update)),
            close=lambda whole: events.append(("close", whole)),
        )

    monkeypatch.setattr(trackers, "TRACKERS", {"notes": notes})
    monkeypatch.setattr(trackers, "require_extra", lambda *_, **__: None)
    return events


def rows_of(events):
    return pd.DataFrame([event[1] for event in events if event[0] == "row"])


def table_of(run):
    return pd.read_csv(run.metrics)


def test_every_row_is_sent_once_and_no_picture(sent, small_cohort, tmp_path):
    def draw(run):
        (run.path / "curve.png").write_bytes(b"")

    run = train(small_cohort, tmp_path / "run", tiny(), trackers=["notes"], after_validation=draw)
    pd.testing.assert_frame_equal(rows_of(sent), table_of(run), check_like=True)
    assert sent[0] == ("open", "run 0", 0)
    assert sent[-1] == ("close", True)
    assert {event[0] for event in sent} == {"open", "row", "close"}


@pytest.mark.parametrize("count", [3, 9])
def test_a_killed_training_goes_on_in_the_same_run_and_repeats_nothing(
    sent, small_cohort, tmp_path, monkeypatch, count
):
    def crash():
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        stop_after(count, patch, crash)
        with pytest.raises(OSError, match="power cut"):
            train(small_cohort, tmp_path / "run", tiny(training__checkpoint_seconds=1e6), trackers=["notes"])
    assert sent[-1] == ("close", False)
    run = train(small_cohort, tmp_path / "run", tiny(), trackers=["notes"])
    assert {event[1] for event in sent if event[0] == "open"} == {"run 0"}
    found, wanted = rows_of(sent).drop(columns="seconds"), table_of(run).drop(columns="seconds")
    pd.testing.assert_frame_equal(found, wanted, check_like=True, check_exact=False, rtol=1e-12)


def test_a_tracker_that_joins_late_gets_all_so_far_and_pictures_if_asked(sent, small_cohort, tmp_path, monkeypatch):
    def draw(run):
        draw_examples(run, small_cohort)

    with monkeypatch.context() as patch:
        stop_after(8, patch, lambda: (_ for _ in ()).throw(OSError("power cut")))
        with pytest.raises(OSError, match="power cut"):
            train(small_cohort, tmp_path / "run", tiny())
    assert not sent
    run = train(
        small_cohort, tmp_path / "run", tiny(), trackers=["notes"], tracker_images=True, after_validation=draw
    )
    assert rows_of(sent)["update"].tolist() == table_of(run)["update"].tolist()
    pictures = [event[1:] for event in sent if event[0] == "picture"]
    assert pictures[-3:] == [(f"example-{number}.png", table_of(run)["update"].iloc[-1]) for number in range(3)]
    assert imageio.imread(run.path / "example-0.png").shape == (24, 20, 3)


def test_what_cannot_be_is_refused_before_anything_is_written(small_cohort, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="no tracker is called 'wandbb'; did you mean 'wandb'"):
        train(small_cohort, tmp_path / "run", tiny(), trackers=["wandbb"])
    monkeypatch.setattr("vagan.errors.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"--tracker mlflow needs mlflow: pip install 'vagan\[mlflow\]'"):
        train(small_cohort, tmp_path / "run", tiny(), trackers=["mlflow"])
    assert not (tmp_path / "run").exists()


def test_damage_and_a_tracker_that_does_not_open_are_one_line(sent, small_cohort, tmp_path, monkeypatch):
    def closed(*_):
        raise ConnectionError("no such\nhost")

    monkeypatch.setattr(trackers, "TRACKERS", {"notes": closed})
    with pytest.raises(RunError, match="notes cannot be opened: no such host"):
        train(small_cohort, tmp_path / "run", tiny(), trackers=["notes"])
    (tmp_path / "run" / "trackers.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match=r"trackers\.json.*damaged"):
        train(small_cohort, tmp_path / "run", tiny(), trackers=["notes"])
    train(small_cohort, tmp_path / "run", tiny())  # without it nothing is in the way


@pytest.fixture
def listener(monkeypatch):
    """A server of this machine that nobody calls; connections to others are errors."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        connect = socket.socket.connect

        def only_here(self, address):
            assert self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1"), address
            return connect(self, address)

        monkeypatch.setattr(socket.socket, "connect", only_here)
        yield server
        with pytest.raises(BlockingIOError):
            server.accept()


def trained_twice(cohort, path, name, monkeypatch):
    """A training that is stopped in the middle and goes on."""
    with monkeypatch.context() as patch:
        stop_after(8, patch, lambda: (_ for _ in ()).throw(OSError("power cut")))
        with pytest.raises(OSError, match="power cut"):
            train(cohort, path, tiny(), trackers=[name])
    return train(cohort, path, tiny(), trackers=[name])


@pytest.mark.long
@pytest.mark.filterwarnings("default")
def test_mlflow_has_what_metrics_csv_has(small_cohort, tmp_path, monkeypatch, listener):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = trained_twice(small_cohort, tmp_path / "run", "mlflow", monkeypatch)
    client = mlflow.MlflowClient(f"sqlite:///{run.path / 'mlflow.db'}")
    (experiment,) = [found for found in client.search_experiments() if found.name == "vagan"]
    (kept,) = client.search_runs([experiment.experiment_id])
    assert (kept.info.status, kept.info.run_name) == ("FINISHED", "run")
    assert kept.data.params["training.seed"] == "0"
    table = table_of(run)
    for name in table.columns.drop(["update", "seconds"]):
        history = client.get_metric_history(kept.info.run_id, name)
        wanted = table[["update", name]].dropna()
        assert [point.step for point in history] == wanted["update"].tolist(), name
        np.testing.assert_allclose([point.value for point in history], wanted[name], rtol=1e-6)


@pytest.mark.long
@pytest.mark.filterwarnings("default")
def test_wandb_writes_to_the_run_folder_and_calls_nobody(small_cohort, tmp_path, monkeypatch, listener):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    run = trained_twice(small_cohort, tmp_path / "run", "wandb", monkeypatch)
    key = json.loads((run.path / "trackers.json").read_text(encoding="utf-8"))["wandb"]["key"]
    written = list((run.path / "wandb").glob(f"offline-run-*-{key}/run-{key}.wandb"))
    assert len(written) == 2
    content = b"".join(path.read_bytes() for path in written)
    for name in table_of(run).columns:
        assert name.encode() in content
    assert not list((run.path / "wandb").rglob("*.png"))
