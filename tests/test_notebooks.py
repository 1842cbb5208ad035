"""The notebooks among the examples: what is stored is what their scripts give."""

import json
import re
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = [
    path for path in sorted(EXAMPLES.glob("*.py")) if path.read_text(encoding="utf-8").startswith("# %% [markdown]")
]
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
MAX_BYTES = 300_000
OF_A_MACHINE = re.compile(
    r"(?<![\w.~<])/(?:home|mnt|opt|private|root|tmp|usr|Users|var|work)/|[A-Z]:\\\\|site-packages"
)


def stored(script):
    return json.loads(script.with_suffix(".ipynb").read_text(encoding="utf-8"))


def outputs(notebook):
    return [output for cell in notebook["cells"] for output in cell.get("outputs", ())]


def text_of(output):
    """All that an output shows as text, its HTML too; pictures are left out."""
    shown = [output.get("text", "")]
    shown += [value for kind, value in output.get("data", {}).items() if not kind.startswith("image/")]
    text = "".join("".join(part) if isinstance(part, list) else str(part) for part in shown)
    return re.sub(r"base64,[A-Za-z0-9+/=\n]+", "", text)


def test_the_command_makes_them_all():
    names = (EXAMPLES / "execute.py").read_text(encoding="utf-8").split("NAMES =")[1].split(")")[0]
    assert {path.stem for path in SCRIPTS} == set(re.findall(r'"([a-z_]+)"', names))
    assert {path.with_suffix(".ipynb") for path in SCRIPTS} == set(EXAMPLES.rglob("*.ipynb"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what jupytext imports
def test_a_stored_notebook_has_the_cells_of_its_script(script):
    import jupytext

    found = [(cell["cell_type"], "".join(cell["source"])) for cell in stored(script)["cells"]]
    assert found == [(cell.cell_type, cell.source) for cell in jupytext.read(script).cells]
    assert len(found) > 4


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_stored_notebook_was_executed_without_an_error_and_tells_nothing_of_a_machine(script):
    notebook = stored(script)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert {output["output_type"] for output in outputs(notebook)} <= {"stream", "display_data", "execute_result"}
    assert all(output.get("name", "stdout") == "stdout" for output in outputs(notebook))
    assert any("image/png" in output.get("data", {}) for output in outputs(notebook))
    assert script.with_suffix(".ipynb").stat().st_size < MAX_BYTES
    for text in (json.dumps(notebook["metadata"]), *map(text_of, outputs(notebook))):
        assert not OF_A_MACHINE.search(text), text


@pytest.mark.long
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_notebook_runs_and_shows_the_same_kinds_of_things(script, monkeypatch):
    if "fashion-mnist" in script.read_text(encoding="utf-8") and not FASHION_MNIST.is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    from execute import execute

    def kinds(notebook):
        return [
            [sorted(output.get("data", {"text": ""})) for output in cell.get("outputs", ())]
            for cell in notebook["cells"]
        ]

    assert kinds(execute(script)) == kinds(stored(script))
