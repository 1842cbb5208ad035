"""What the documents show must run, and what they point at must exist."""

import re
import shlex
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch

from trainings import TINY_SETTINGS

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
NOTEBOOK_SCRIPTS = [path for path in sorted((ROOT / "examples").glob("*.py")) if path.with_suffix(".ipynb").exists()]


def shell_lines(text):
    """Lines of the indented and fenced blocks of a page or script, continued lines joined, comments cut off."""
    text = re.sub(r"\\\n\s*(?:# )?", " ", text)
    return [re.sub(r"\s+#.*", "", line).strip() for line in re.findall(r"^(?:    |# |\$ )?(\S.*)", text, re.M)]


def commands(text):
    """Every `vagan ...` that a reader could type, also behind torchrun, or in a loop."""
    for line in shell_lines(text):
        behind = r"(?:torchrun|srun) .*?|for .*? do (?:.*?; )?|" + r"(?:[A-Z_]+=\S+ )*"
        found = re.fullmatch(rf"(?:{behind})(vagan (?:[a-z].*|--version))", line)
        if found:
            yield re.sub(r"\$\w+", "1", re.sub(r";? *(?:done|\|.*|>.*)$", "", found[1]))


def every_command():
    for path in [*DOCUMENTS, *NOTEBOOK_SCRIPTS]:
        for command in commands(path.read_text(encoding="utf-8")):
            yield pytest.param(command, id=f"{path.name}: {command[:60]}")


def code_spans(path):
    """What a page shows between single backticks in running text."""
    text = re.sub(r"^(```+|~~~).*?^\1", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.findall(r"(?<!`)`([^`]+)`(?!`)", re.sub(r"^    .*", "", text, flags=re.M))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_extras_and_python_of_a_page_are_right(path):
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (path.parent / target).exists(), target
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for named in re.findall(r"vagan\[([a-z,]+)\]", text):
        assert set(named.split(",")) <= set(extras), named
    for snippet in re.findall(r"```python\n(.*?)```", text, re.S):
        compile(snippet, path.name, "exec")


def test_the_readmes_python_runs(tmp_path, monkeypatch, capsys):
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    changes = {
        "n=10_000": "n=60, size=(18, 17)",
        "seed=3": f"seed=3, settings={TINY_SETTINGS}",
        "net = ...": "net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(18 * 17, 2))",
    }
    for shown, tiny in changes.items():
        assert shown in snippet
        snippet = snippet.replace(shown, tiny)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"torch": torch}
    exec(compile(snippet, "README.md", "exec"), names)
    assert names["a"].effect.shape == names["x"].images.shape == (4, 1, 18, 17)
    assert set(names["scores"].index) >= {"VA-GAN", "integrated gradients"}
    assert "(4, 1, 18, 17)" in capsys.readouterr().out.replace("torch.Size([4, 1, 18, 17])", "(4, 1, 18, 17)")


@pytest.mark.parametrize("command", [*every_command()])
def test_commands_of_all_pages_are_verbs_with_these_arguments(command):
    from vagan.cli.app import app
    from vagan.training.config import load_config

    function, bound, *_ = app.parse_args(shlex.split(command)[1:], exit_on_error=False, print_error=False)
    if "set" in bound.arguments:
        load_config("fast", dict(entry.split("=", 1) for entry in bound.arguments["set"] or ()))
    assert callable(function)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_code_in_running_text_names_what_exists(path):
    from vagan.attribution.registry import METHODS
    from vagan.cli.app import VERBS, app
    from vagan.training.config import known_keys

    keys, parts = set(known_keys()), {key.split(".")[0] for key in known_keys() if "." in key}
    targets = set(re.findall(r"^([a-z0-9.%-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    for span in code_spans(path):
        for key in re.findall(rf"(?<![\w./])(?:{'|'.join(parts)})\.[a-z]\w*(?![\w/])", span):
            assert key in keys or key.endswith((".py", ".yaml")), span
        if re.match(r"make [a-z]", span):
            assert any(fnmatch(span.split()[1], target.replace("%", "*")) for target in targets), span
        if re.match(r"vagan [a-z]", span):
            verb, *rest = span.split()[1:]
            assert verb in {*(command.__name__ for command in VERBS), "import"}, span
            command = app[verb]
            if verb == "import":
                if not rest or rest[0] not in ("folder", "csv", "bids", "adni"):
                    continue
                command = command[rest[0]]
            options = {name for argument in command.assemble_argument_collection() for name in argument.names}
            for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", span):
                assert option in {*options, "--help", "--version"}, span
            for method in re.findall(r"--method ([a-z-]+)", span):
                assert method in {*METHODS, "vagan", "classifier", "cam-classifier"}, span


def test_measured_results_are_those_of_the_files(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from measured import BEGIN, END, README, documents

    for path, text in documents().items():
        assert path.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0] == text
    assert documents()[README].count("\n") <= 2 + 8


def test_commands_of_the_adni_scripts_are_verbs_with_these_arguments():
    from vagan.cli.app import app

    lines = []
    for name, command in (("adni.sh", "step"), ("adni_lookalike/run.sh", "vagan")):
        script = (ROOT / "examples" / name).read_text(encoding="utf-8").replace("\\\n", " ")
        script = re.sub(r'"\$@"|\$\{\w+:-\}|"', "", script)
        lines += re.findall(rf"(?:^ *|\|\| ){command} ([a-z]+ [^#\n]+)", script, re.M)
    assert len(lines) >= 8 + 1
    for line in lines:
        app.parse_args(line.split(), exit_on_error=False, print_error=False)
