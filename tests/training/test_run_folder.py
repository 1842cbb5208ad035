"""Reading a run folder, and errors where it is damaged."""

import errno
import json
import os

import pytest

from vagan.errors import OutputError, RunError
from vagan.training.engine.run_folder import RunFolder

DAMAGES = [
    *(("metrics.csv", content) for content in (b"u", bytes(40), b"<html>\n<p>404</p>\n", b"", b"\x80\x04pickled")),
    *(("cohort.json", content) for content in (b"", b"\xec\x00\x9f", b"[1]", b'{"splits": {}}', b'{"hash": "a"}')),
    ("cohort.json", b'{"hash": ["<img>"], "splits": {}}'),
    ("cohort.json", b'{"hash": "a", "splits": {"train": 7}}'),
]


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    return folder


@pytest.mark.parametrize(("name", "content"), DAMAGES)
def test_damaged_figures_and_records_are_refused(run, name, content):
    (run.path / name).write_bytes(content)
    with pytest.raises(RunError, match=rf"{name}.*(delete it|put the file)"):
        run.seconds() if name == "metrics.csv" else run.read_cohort()


def test_figures_and_records_come_back_and_only_from_regular_files(run):
    record = {"hash": "a", "splits": {"train": ["1"]}, "source": "ü"}
    run.cohort.write_text(json.dumps(record), encoding="utf-8")
    assert run.read_cohort() == record
    run.metrics.symlink_to(run.metrics)
    with pytest.raises(RunError, match=r"metrics\.csv must be"):
        run.read_metrics()
    run.metrics.unlink()
    os.mkfifo(run.metrics)
    with pytest.raises(RunError, match="not a regular file"):
        run.read_metrics()
    run.metrics.unlink()
    assert run.read_metrics().empty
    assert run.seconds() == 0
    run.metrics.write_text("update,seconds\n5,1.5\n10,3.25\n", encoding="utf-8")
    assert run.seconds() == 3.25


@pytest.mark.parametrize("code", ["ENOLCK", "ENOSYS", "EOPNOTSUPP"])
def test_without_locks_in_the_file_system_work_continues_with_a_warning(run, monkeypatch, code):
    def flock(*_):
        raise OSError(getattr(errno, code), "no locks")

    monkeypatch.setattr("fcntl.flock", flock)
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
