"""What the documents show must run, and what they point at must exist."""

import re
from pathlib import Path

import pytest

from tiny import TINY_SETTINGS

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_the_readmes_python_runs(tmp_path, monkeypatch, capsys):
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    assert "images=10_000" in snippet
    small = snippet.replace("images=10_000", "images=60, size=(18, 17)").replace(
        'load_config("fast")', f'load_config("fast", {TINY_SETTINGS})'
    )
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(small, "README.md", "exec"), names)
    assert names["effects"].shape == names["patients"].shape == (4, 1, 18, 17)
    assert "of at most" in capsys.readouterr().out


def test_the_readmes_commands_are_verbs_with_these_arguments(capsys):
    from vagan.cli.app import app

    lines = re.findall(r"^    (vagan [^#\n]+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    assert len(lines) >= 4
    for line in lines:
        arguments = line.replace("*.png", "a.png").split()[1:]
        app.parse_args(arguments, exit_on_error=False, print_error=False)


def test_every_key_of_the_paper_preset_is_documented():
    import yaml

    values = yaml.safe_load((ROOT / "src/vagan/training/presets/paper.yaml").read_text(encoding="utf-8"))
    text = (ROOT / "docs/explanation/differences-from-the-paper.md").read_text(encoding="utf-8")
    for section, settings in values.items():
        for name in settings:
            assert f"{section}.{name}" in text or f"{section}.*" in text, f"{section}.{name}"


def test_public_names_import():
    import vagan

    assert all(getattr(vagan, name) is not None for name in vagan.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vagan.nothing


def test_the_readmes_results_are_those_of_the_files():
    import sys

    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from readme_table import BEGIN, END, table
    finally:
        sys.path.pop(0)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.split(BEGIN)[1].split(END)[0] == table()


def test_commands_of_the_adni_tutorial_and_its_script_are_verbs_with_these_arguments():
    from vagan.cli.app import app

    text = (ROOT / "docs/tutorial/from-an-adni-download-to-table-2.md").read_text(encoding="utf-8")
    lines = re.findall(r"^    (vagan [^#\n]+)", text, re.M)
    for name, command in (("adni.sh", "step"), ("adni_lookalike/run.sh", "vagan")):
        script = (ROOT / "examples" / name).read_text(encoding="utf-8").replace("\\\n", " ")
        script = re.sub(r'"\$@"|\$\{\w+:-\}|"', "", script)
        lines += [f"vagan {found}" for found in re.findall(rf"(?:^ *|\|\| ){command} ([a-z]+ [^#\n]+)", script, re.M)]
    assert len(lines) >= 6 + 8 + 1
    for line in lines:
        app.parse_args(line.split()[1:], exit_on_error=False, print_error=False)


def test_the_adni_tutorials_hours_follow_from_what_was_measured():
    import json

    measured = json.loads((ROOT / "benchmarks/results/preprocessing.json").read_text(encoding="utf-8"))["presets"]
    text = (ROOT / "docs/tutorial/from-an-adni-download-to-table-2.md").read_text(encoding="utf-8")
    rates = [measured[preset]["scans_per_hour_and_core"] for preset in ("default", "paper")]
    assert "{:.0f} scans an hour and core with the default preset, {:.0f} with".format(*rates) in text
    hours = [6000 / rate for rate in rates]
    assert "| one core | {:.0f} hours | {:.0f} hours |".format(*hours) in text
    assert "| 16 cores | {:.1f} hours | {:.1f} hours |".format(*(value / 16 for value in hours)) in text
    minutes = [value / 200 * 60 for value in hours]
    assert "| {:.0f} minutes | {:.0f} minutes |".format(*minutes) in text
