"""Malicious names and models on a machine without a network."""

import hashlib
import json
import os
import re
import socket

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from models import save_random_generator
from trainings import TINY
from vagan.data.manifest import UNSAFE
from vagan.data.volume import write_volume
from vagan.errors import ConfigError, ImageFileError, ModelError, PreprocessingError
from vagan.exporting.hub import export_hub
from vagan.files import digest_of
from vagan.inference.scans import pipeline_of
from vagan.model.folder import load_model
from vagan.model.ood import OOD_FILE, MahalanobisOOD
from vagan.preprocessing.registration import load_template
from vagan.training.config import parse_yaml

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
    pd.DataFrame(rows, columns=["image", "id", "subject", "class", "split"]).to_csv(home / "table.csv", index=False)
    for command in (
        ("import", "csv", home / "table.csv", home / "cohort"),
        ("check", home / "cohort"),
        ("train", home / "cohort", home / "run", *TINY),
        ("attribute", home / "run", home / "1.npy", "--out", home / "maps"),
        ("evaluate", home / "cohort", home / "run", "--out", home / "results", "--methods", "vagan", "random-map"),
        ("report", home / "results"),
    ):
        code, _, error = vagan(*command)
        assert code == 0, error
    assert {path.name for path in tmp_path.rglob("*") if home not in path.parents} == {"a", "b", "c"}
    page = (home / "results" / "report.html").read_text(encoding="utf-8")
    assert NASTY not in page
    assert "&lt;img src=x" in page  # it is shown, as text
    assert not re.search(r"""(src|href)=["']?https?://""", page)


SAFETY = dict.fromkeys(["=1+1", "@SUM(1)", "+cmd|' /C calc'!A0", "-2+3", "a\tb", "a\x1b[2J"], True)
SAFETY |= dict.fromkeys(["+", "-", "-1", "+0.5", "a=b", "A-1", "user@site"], False)


@pytest.mark.parametrize("name", SAFETY)
def test_names_that_a_spreadsheet_or_terminal_executes_are_unsafe(name):
    assert bool(UNSAFE.match(name)) == SAFETY[name]


def test_a_models_preprocessing_runs_no_untrusted_program(tmp_path, monkeypatch):
    command = f"command: touch {tmp_path / 'mark'} {{input}} {{mask}}"
    steps = [{"step": "strip-skull", "method": command}]
    model = save_random_generator(tmp_path / "m", num_spatial_dims=3, shape=(16, 17, 18), pipeline={"steps": steps})
    _, facts = load_model(model)
    digest = hashlib.sha256(command.encode()).hexdigest()
    for value in ("", "0", "no", "1", hashlib.sha256(b"command: another {input} {mask}").hexdigest()):
        monkeypatch.setenv("VAGAN_TRUST_COMMANDS", value)
        with pytest.raises(ModelError, match=f"VAGAN_TRUST_COMMANDS={digest}"):
            pipeline_of(facts)
    monkeypatch.setenv("VAGAN_TRUST_COMMANDS", digest)
    assert pipeline_of(facts).steps[0].method == command
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "step",
    [
        {"step": "rescale", "percentiles": [-5, 99]},
        {"step": "rescale", "percentiles": [1, 1e9]},
        {"step": "correct-bias", "iterations": [10**9]},
        {"step": "correct-bias", "iterations": [5] * 50},
        {"step": "crop-field", "finest_mm": 1e-9},
        {"step": "crop-field", "margin_mm": 1e30},
        {"step": "conform", "center_mm": [1e300, 0, 0]},
        {"step": "strip-skull", "brain_ml": ["nan", 5]},
    ],
)
def test_a_models_preprocessing_is_bounded(tmp_path, step):
    model = save_random_generator(tmp_path / "m", num_spatial_dims=3, shape=(16, 17, 18), pipeline={"steps": [step]})
    with pytest.raises(ModelError, match="preprocessing"):
        pipeline_of(load_model(model)[1])


def test_a_huge_network_is_refused_before_memory_is_spent(tmp_path):
    model = save_random_generator(tmp_path / "m")
    record = json.loads((model / "config.json").read_text(encoding="utf-8")) | {"width": 4096}
    (model / "config.json").write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ModelError, match="size mismatch|key"):
        load_model(model)


@pytest.mark.parametrize(
    "change",
    [
        {"means": torch.zeros(2, 4)},
        {"whitening": torch.full((3, 3), torch.nan)},
        {"validation": torch.tensor([2.0, 1.0])},
        {"validation": torch.zeros(0)},
        {"more": torch.zeros(1)},
    ],
)
def test_unsound_statistics_of_images_are_refused(tmp_path, change):
    sound = {"means": torch.zeros(2, 3), "whitening": torch.eye(3), "validation": torch.tensor([1.0, 2.0])}
    save_file(sound, tmp_path / OOD_FILE)
    assert MahalanobisOOD.load(tmp_path) is not None
    save_file(sound | change, tmp_path / OOD_FILE)
    with pytest.raises(ModelError, match="damaged"):
        MahalanobisOOD.load(tmp_path)


def test_an_export_has_no_folders_of_this_machine(tmp_path):
    steps = [
        {
            "step": "strip-skull",
            "method": "command: python '/home/jane doe/strip.py' --weights=/srv/w {input} {mask}",
        },
        {"step": "register", "template": "/home/jane doe/t.nii.gz", "template_hash": "00"},
    ]
    model = save_random_generator(tmp_path / "m", num_spatial_dims=3, shape=(16, 17, 18), pipeline={"steps": steps})
    export_hub(model, tmp_path / "hub")
    record = (tmp_path / "hub" / "config.json").read_text(encoding="utf-8")
    assert not re.search("home|jane|doe|srv", record)
    assert "command: python 'strip.py' --weights=w {input} {mask}" in record
    assert '"t.nii.gz"' in record


def test_a_template_must_be_that_of_the_training(tmp_path):
    template = tmp_path / "t.nii.gz"
    write_volume(template, np.pad(np.ones((9, 10, 11), np.float32), 5), np.eye(4))
    load_template(str(template), "", digest_of(template))
    with pytest.raises(PreprocessingError, match="training.s template, of digest"):
        load_template(str(template), "", "0123456789abcdef")
    template.unlink()
    os.mkfifo(template)
    with pytest.raises(ImageFileError, match="regular file"):
        load_template(str(template), "", "0123")


def test_a_few_lines_of_yaml_cannot_stand_for_billions():
    lines = ["a0: &a0 {x: 1}", *(f"a{n}: &a{n} {{p: *a{n - 1}, q: *a{n - 1}}}" for n in range(1, 60))]
    with pytest.raises(ConfigError, match="aliases"):
        parse_yaml("\n".join(lines), where="config.yaml")
