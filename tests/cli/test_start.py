"""The command starts at once: nothing heavy is imported before a verb needs it."""

import signal
import subprocess
import sys
from importlib.metadata import version

import pytest

from vagan.cli.app import IMPORTS, VERBS, main

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


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "vagan", "--version"], capture_output=True, encoding="utf-8", check=True
    )
    assert done.stdout.strip() == version("vagan")


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
