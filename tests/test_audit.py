"""Exit code and messages of `.ci/audit.py` for what pip-audit may return."""

import importlib
import json
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / ".ci"
VULNERABILITY = {"id": "CVE-1", "fix_versions": ["2.1"], "aliases": [], "description": ""}
SOUND = {"name": "a", "version": "1", "vulns": []}
BROKEN = {"name": "b", "version": "2", "vulns": [VULNERABILITY]}
UNKNOWN = {"name": "c", "skip_reason": "Dependency not found"}


@pytest.fixture
def audit(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    module = importlib.import_module("audit")

    def answered(packages, *words, error=""):
        output = "" if packages is None else json.dumps({"dependencies": packages, "fixes": []})
        answer = subprocess.CompletedProcess((), 0, stdout=output, stderr=error)
        monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: answer)
        monkeypatch.setattr(module.sys, "argv", ["audit", *words])
        return module.main()

    return answered


def test_a_vulnerability_fails_with_and_without_a_network_required(audit, capsys):
    for words in ((), ("--if-possible",)):
        assert audit([SOUND, BROKEN, UNKNOWN], *words) == 1
    assert "b 2: CVE-1, fixed in 2.1" in capsys.readouterr().out
    assert audit([SOUND, UNKNOWN]) == 0
    assert "0 known vulnerabilities in 1 of 2 packages" in capsys.readouterr().out


UNANSWERED = [(None, "", "no output"), (None, "x\nName or service not known\n", "service not known")]
UNANSWERED += [([UNKNOWN], "No known", "no package")]


@pytest.mark.parametrize(("packages", "error", "reason"), UNANSWERED)
def test_without_an_answer_the_last_line_is_not_audited(audit, capsys, packages, error, reason):
    assert audit(packages, error=error) == 1
    assert reason in capsys.readouterr().err
    assert audit(packages, "--if-possible", error=error) == 0
    assert capsys.readouterr().err.endswith("\naudit: not audited\n")
