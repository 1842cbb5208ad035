"""Malicious names and models on a machine without a network."""

import re
import socket

import numpy as np
import pandas as pd
import pytest

from models import save_random_generator
from trainings import TINY
from vagan.data.manifest import UNSAFE
from vagan.errors import ModelError
from vagan.inference.scans import pipeline_of
from vagan.model.folder import load_model

NASTY = "<img src=x onerror=alert(1)>"
OUT_OF_HERE = "../../../escaped"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Every lookup of an address and every connection fails."""

    def refuse(*arguments, **_):
        raise AssertionError(f"a network call: {arguments}")

    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)


def test_names_neither_escape_the_output_folder_nor_inject_html(vagan, tmp_path):
    rng = np.random.default_rng(0)
    home = tmp_path / "a" / "b" / "c"
    home.mkdir(parents=True)
    rows = []
    for number in range(24):
        np.save(home / f"{number}.npy", rng.random((18, 17)) + (number % 2) * np.eye(18, 17))
        subject = (NASTY if number < 12 else OUT_OF_HERE) + str(number)
        split = ("train", "train", "test", "validation")[number // 2 % 4]
        rows.append((f"{number}.npy", subject, subject, ("healthy", f"ill{NASTY}")[number % 2], split))
    table = pd.DataFrame(rows, columns=["image", "id", "subject", "class", "split"])
    table.to_csv(home / "table.csv", index=False)
    for command in (
        ("import", "csv", home / "table.csv", home / "cohort"),
        ("check", home / "cohort"),
        ("train", home / "cohort", home / "run", *TINY),
        ("attribute", home / "run", home / "1.npy", "--out", home / "maps"),
        ("evaluate", home / "cohort", home / "run", "--out", home / "results", "--methods", "vagan", "random"),
        ("report", home / "results"),
    ):
        code, _, error = vagan(*command)
        assert code == 0, error
    assert {path.name for path in tmp_path.rglob("*") if home not in path.parents} == {"a", "b", "c"}
    page = (home / "results" / "report.html").read_text(encoding="utf-8")
    assert NASTY not in page
    assert "&lt;img src=x" in page  # it is shown, as text
    assert not re.search(r"""(src|href)=["']?https?://""", page)


@pytest.mark.parametrize("name", ["=1+1", "@SUM(1)", "+cmd|' /C calc'!A0", "-2+3", "a\tb", "a\x1b[2J"])
def test_names_that_a_spreadsheet_or_terminal_executes_are_unsafe(name):
    assert UNSAFE.match(name)


@pytest.mark.parametrize("name", ["+", "-", "-1", "+0.5", "a=b", "A-1", "user@site"])
def test_other_names_are_safe(name):
    assert not UNSAFE.match(name)


def test_a_models_preprocessing_runs_no_untrusted_program(tmp_path, monkeypatch):
    command = f"command: touch {tmp_path / 'mark'} {{input}} {{mask}}"
    steps = [{"step": "strip-skull", "method": command}]
    model = save_random_generator(tmp_path / "m", num_spatial_dims=3, shape=(16, 17, 18), pipeline={"steps": steps})
    _, facts = load_model(model)
    with pytest.raises(ModelError, match="VAGAN_TRUST_COMMANDS=1"):
        pipeline_of(facts)
    monkeypatch.setenv("VAGAN_TRUST_COMMANDS", "1")
    assert pipeline_of(facts).steps[0].method == command
    assert not (tmp_path / "mark").exists()
