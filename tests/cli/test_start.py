"""The command starts at once: nothing heavy is imported before a verb needs it."""

import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from vagan.cli.app import IMPORTS, VERBS, main
from vagan.evaluation.evaluation import Evaluation, Examples

HEAVY = ("torch", "pandas", "scipy", "matplotlib", "zarr", "fastapi", "lightning_fabric", "nibabel")
PROGRAM = """
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
PAGES = [[verb.__name__] for verb in VERBS] + [["import"], *(["import", source.__name__] for source in IMPORTS)]


@pytest.mark.parametrize(("pages", "most_seconds"), [([[]], 0.5), (PAGES, 1.5)], ids=["program", "verbs"])
def test_help_takes_less_than_half_a_second_and_imports_nothing_heavy(pages, most_seconds):
    """Of processor time: on a busy machine the clock would measure the others."""
    command = [sys.executable, "-c", PROGRAM, repr(pages)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    seconds, *modules = done.stderr.splitlines()[-1].split()
    assert done.stdout.count("Usage: vagan ") == len(pages)
    assert [name for name in HEAVY if name in modules] == []
    assert float(seconds) < most_seconds


def test_the_table_of_scores_fits_a_terminal():
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
    head, *rows = evaluation.to_text().splitlines()
    assert max(map(len, [head, *rows])) < 100
    assert rows[0].split() == ["VA-GAN", "0.931", "0.921", "to", "0.940", "0.931", "0.931"]
    assert len(rows) == 3
    assert "dice" not in head.lower()
    assert evaluation.to_text(first=["additive perturbation, 1500 steps"]).splitlines()[1].startswith("additive")
    metrics = [f"flip_rate/{number}" for number in range(9)]  # without known effects, as many as fit
    blind = replace(evaluation, summary={"VA-GAN": dict.fromkeys(metrics, score)}, ceiling={})
    head, row = blind.to_text().splitlines()
    assert 70 < len(head) <= 100
    assert row.split()[:5] == ["VA-GAN", "0.931", "0.921", "to", "0.940"]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
@pytest.mark.parametrize("ignored", [False, True])
def test_a_closed_terminal_stops_a_command_unless_started_with_nohup(monkeypatch, ignored):
    given = (list, SimpleNamespace(arguments={}, args=(), kwargs={}), None)
    parsing = SimpleNamespace(parse_args=lambda *_, **__: signal.raise_signal(signal.SIGHUP) or given)
    monkeypatch.setattr("vagan.cli.app.app", parsing)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as stopped:
            main([])
    finally:
        signal.signal(signal.SIGHUP, before)
    assert stopped.value.code == (0 if ignored else 130)
