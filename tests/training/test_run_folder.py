"""Reading a run folder, and errors where it is damaged."""

import errno
import json
import os

import pytest
from filelock import FileLock

from vagan.errors import OutputError, RunError
from vagan.training.engine.run_folder import RunFolder

NO_TABLE = {"one byte": b"u", "zeros": bytes(40), "web page": b"<html>\n<p>404</p>\n", "nothing": b""}
NO_RECORD = {
    "empty": b"",
    "noise": b"\xec\x00\x9f",
    "a list": b"[1]",
    "no hash": b'{"splits": {}}',
    "no splits": b'{"hash": "a"}',
}


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    return folder


@pytest.mark.parametrize("damage", NO_TABLE)
def test_figures_that_are_none_are_refused(run, damage):
    run.metrics.write_bytes(NO_TABLE[damage])
    with pytest.raises(RunError, match=r"metrics\.csv.*delete it"):
        run.seconds()


def test_figures_that_cannot_be_read_to_their_end_are_refused(run):
    run.metrics.symlink_to(run.metrics)
    with pytest.raises(RunError, match=r"metrics\.csv must be"):
        run.read_metrics()
    run.metrics.unlink()
    os.mkfifo(run.metrics)
    with pytest.raises(RunError, match="not a regular file"):
        run.read_metrics()
    run.metrics.unlink()
    assert run.seconds() == 0


@pytest.mark.parametrize("damage", NO_RECORD)
def test_a_record_of_the_cohort_that_is_none_is_refused(run, damage):
    run.cohort.write_bytes(NO_RECORD[damage])
    with pytest.raises(RunError, match=r"cohort\.json.*put the file"):
        run.read_cohort()


def test_the_record_of_the_cohort_comes_back(run):
    record = {"hash": "a", "splits": {"train": ["1"]}, "source": "ü"}
    run.cohort.write_text(json.dumps(record), encoding="utf-8")
    assert run.read_cohort() == record


def test_without_locks_in_the_file_system_work_continues_with_a_warning(run, monkeypatch):
    def acquire(*_, **__):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with pytest.warns(UserWarning, match="not locked"), run.locked():
        pass


@pytest.mark.parametrize("name", ["lock", "log.txt", "checkpoints", "model", "tensorboard", "metrics.csv"])
def test_a_link_in_a_run_folder_is_never_followed(run, name, tmp_path):
    outside = tmp_path / "outside"
    if "." in name or name == "lock":
        outside.write_text("mine", encoding="utf-8")
    else:
        outside.mkdir()
    (run.path / "config.yaml").write_text("{}", encoding="utf-8")
    (run.path / name).symlink_to(outside)
    with pytest.raises(OutputError, match=name), run.locked():
        pass
    assert not outside.is_file() or outside.read_text(encoding="utf-8") == "mine"
