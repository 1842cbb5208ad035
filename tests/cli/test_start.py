"""The command starts at once: nothing heavy is imported before a verb needs it."""

import signal
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest

from vagan.cli.app import main
from vagan.cli.demo import _table
from vagan.evaluation.evaluation import Evaluation, Examples

HEAVY = ("torch", "pandas", "scipy", "matplotlib", "zarr", "fastapi", "lightning_fabric", "nibabel")
PROGRAM = """
import resource, sys
from vagan.cli.app import main
try:
    main(["--help"])
except SystemExit as end:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(end.code, used.ru_utime + used.ru_stime, *sys.modules, file=sys.stderr)
"""
ALL_PAGES = """
import ast, resource, sys
from vagan.cli.app import main
for page in ast.literal_eval(sys.argv[1]):
    try:
        main([*page, "--help"])
    except SystemExit as end:
        assert end.code == 0, page
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, *sys.modules, file=sys.stderr)
"""


def test_help_takes_less_than_half_a_second_and_imports_nothing_heavy():
    """Of processor time: on a busy machine the clock would measure the others."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, encoding="utf-8", check=True)
    code, seconds, *modules = done.stderr.splitlines()[-1].split()
    assert code == "0"
    assert [name for name in HEAVY if name in modules] == []
    assert float(seconds) < 0.5


def test_the_help_of_every_verb_imports_nothing_heavy_either():
    """All pages in one process, in the time of a few."""
    from vagan.cli.app import IMPORTS, VERBS

    pages = [[verb.__name__] for verb in VERBS] + [["import"], *(["import", source.__name__] for source in IMPORTS)]
    done = subprocess.run(
        [sys.executable, "-c", ALL_PAGES, repr(pages)], capture_output=True, encoding="utf-8", check=True
    )
    seconds, *modules = done.stderr.splitlines()[-1].split()
    assert done.stdout.count("Usage: vagan ") == len(pages)
    assert [name for name in HEAVY if name in modules] == []
    assert float(seconds) < 1.5


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "vagan", "--version"], capture_output=True, encoding="utf-8", check=True
    )
    assert done.stdout.strip() == version("vagan")


EXTRAS = ("SimpleITK", "deepbet", "nilearn", "brainextractor", "fastapi", "onnx", "monai", "wandb", "mlflow")
WITHOUT_EXTRAS = """
import importlib, sys
for name in sys.argv[1].split():
    sys.modules[name] = None  # not installed
for name in sys.argv[2].split():
    importlib.import_module(name)
"""


def test_training_scores_and_reports_ask_for_no_extra():
    modules = (
        "vagan.training.engine.loop",
        "vagan.evaluation.evaluate",
        "vagan.reporting.report",
        "vagan.inference.files",
    )
    command = [sys.executable, "-c", WITHOUT_EXTRAS, " ".join(EXTRAS), " ".join(modules)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr


def test_the_table_of_the_demo_fits_a_terminal():
    score = {"mean": 0.9312, "std": 0.04, "ci95": [0.9214, 0.9401], "n": 24}
    images = np.zeros((1, 1, 7, 8), np.float32)
    evaluation = Evaluation(
        pd.DataFrame(),
        {
            "VA-GAN": {"ncc": score, "recall/off-centre": score, "baseline_response_ratio": score, "dice": score},
            "additive perturbation, 1500 steps": {"dice": score},
        },
        {"ncc": score},
        Examples(("a",), images, None, {}),
    )
    head, *rows = _table(evaluation).splitlines()
    assert max(map(len, [head, *rows])) < 100
    assert rows[0].split() == ["VA-GAN", "0.931", "0.921", "to", "0.940", "0.931", "0.931"]
    assert len(rows) == 3
    assert "dice" not in head.lower()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
@pytest.mark.parametrize("ignored", [False, True])
def test_a_closed_terminal_stops_a_command_unless_started_with_nohup(monkeypatch, ignored):
    monkeypatch.setattr("vagan.cli.app.app", lambda *_, **__: signal.raise_signal(signal.SIGHUP))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as stopped:
            main([])
    finally:
        signal.signal(signal.SIGHUP, before)
    assert stopped.value.code == (0 if ignored else 130)
