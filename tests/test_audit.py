"""What continuous integration makes of the answers of pip-audit, which needs a network itself."""

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest

PATH = Path(__file__).parents[1] / ".ci" / "audit.py"
HOLE = {"id": "CVE-1", "fix_versions": ["2.1"], "aliases": [], "description": ""}
SOUND = {"name": "a", "version": "1", "vulns": []}
BROKEN = {"name": "b", "version": "2", "vulns": [HOLE]}
UNKNOWN = {"name": "c", "skip_reason": "Dependency not found"}


@pytest.fixture
def audit(monkeypatch):
    spec = importlib.util.spec_from_file_location("audit", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def answered(packages, *words, error=""):
        output = "" if packages is None else json.dumps({"dependencies": packages, "fixes": []})
        answer = subprocess.CompletedProcess((), 0, stdout=output, stderr=error)
        monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: answer)
        monkeypatch.setattr(module.sys, "argv", ["audit", *words])
        return module.main()

    return answered


def test_a_hole_fails_wherever_it_is_asked_for(audit, capsys):
    assert audit([SOUND, BROKEN, UNKNOWN]) == 1
    assert audit([SOUND, BROKEN, UNKNOWN], "--if-possible") == 1
    assert "b 2: CVE-1, mended in 2.1" in capsys.readouterr().out


def test_none_passes_and_tells_how_many_were_asked_for(audit, capsys):
    assert audit([SOUND, UNKNOWN]) == 0
    assert "0 known holes in 1 of 2 packages" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("packages", "error", "reason"),
    [
        (None, "", "said nothing"),
        (None, "x\nName or service not known\n", "service not known"),
        ([UNKNOWN], "No known", "knows none"),
    ],
)
def test_without_an_answer_it_says_so_and_fails_unless_told_otherwise(audit, capsys, packages, error, reason):
    assert audit(packages, error=error) == 1
    assert reason in capsys.readouterr().err
    assert audit(packages, "--if-possible", error=error) == 0
    assert reason in capsys.readouterr().err
