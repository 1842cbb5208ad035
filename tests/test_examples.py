"""The examples run, and what they claim about other packages is so."""

import ast
import inspect
import re
import runpy
import sys
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pytest
import torch

from trainings import TINY_SETTINGS
from vagan.attribution.gradients import IntegratedGradients
from vagan.seeding import seeded

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLES = sorted(
    path for path in FOLDER.glob("*.py") if path.name != "execute.py" and not path.with_suffix(".ipynb").exists()
)
"""Programs; the scripts of notebooks are executed by `make test-long`."""
TINY = {"score_with_other_toolkits.py": ["--images", "40", "--updates", "3", "--scored", "2"]}
"""A line for each example: arguments with which it ends within seconds."""
SCORING = next(path for path in EXAMPLES if path.name == "score_with_other_toolkits.py")


@pytest.fixture
def run_example(tmp_path, monkeypatch, capsys):
    """Run an example as a user would, in an empty folder; gives what it printed."""

    def run(path: Path, *arguments: str) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [path.name, *TINY[path.name], *arguments])
        runpy.run_path(str(path), run_name="__main__")
        return capsys.readouterr().out

    return run


def table_rows(printed: str) -> dict[str, list[str]]:
    """Cells of each row of a printed table, by the row's name."""
    rows = re.findall(r"^(\w[\w -]*?)((?: +(?:-?\d+\.\d+|-))+)$", printed, re.M)
    return {name: cells.split() for name, cells in rows}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_print_finite_numbers(path, run_example, monkeypatch):
    monkeypatch.setitem(sys.modules, "quantus", None)  # optional; as if it were not installed
    printed = run_example(path)
    assert re.search(r"\d\.\d", printed)
    assert not re.search(r"\b(nan|inf)\b", printed, re.I)
    if path == SCORING:
        assert printed.count("pip install quantus") == 1
        rows = table_rows(printed)
        assert set(rows) == {"integrated gradients", "guided backprop", "occlusion", "random map"}
        assert all(len(cells) == 4 and "-" not in cells for cells in rows.values())


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_arguments_are_those_that_our_functions_have(path):
    """Of the notebooks too, which are executed by `make test-long` alone."""
    nodes, ours = list(ast.walk(ast.parse(path.read_text(encoding="utf-8")))), {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "vagan":
            ours |= {one.asname or one.name: resolve_name(f"{node.module}.{one.name}") for one in node.names}
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ours:
            given = {argument.arg: argument.value for argument in node.keywords if argument.arg}
            inspect.signature(ours[node.func.id]).bind_partial(*node.args, **given)


def test_a_trained_map_generator_is_scored_beside_the_others(run_example, monkeypatch, small_cohort, tmp_path):
    from vagan import load_config, train

    monkeypatch.setitem(sys.modules, "quantus", None)
    run = train(small_cohort, tmp_path / "run", load_config("fast", TINY_SETTINGS))
    printed = run_example(SCORING, "--run", str(run.path), "--cohort", str(small_cohort.path))
    mass, rank, infidelity, sensitivity = table_rows(printed)["VA-GAN"]
    assert infidelity == "-"
    assert np.isfinite([float(mass), float(rank), float(sensitivity)]).all()
    with pytest.raises(SystemExit):  # images of another kind would make its maps look worse than they are
        run_example(SCORING, "--run", str(run.path))


def test_the_adapter_explains_the_model_and_the_targets_it_is_given():
    explain = runpy.run_path(str(SCORING))["explain"]
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 2))
    inputs = np.random.default_rng(0).uniform(-1, 1, (3, 1, 2, 3)).astype(np.float32)
    targets = np.array([1, 0, 1])
    for _ in range(2):
        maps = explain(model, inputs, targets, make=IntegratedGradients, device="cpu")
        # a linear model: weight times what lies above the background
        weights = model[1].weight.detach().numpy()[targets].reshape(inputs.shape)
        np.testing.assert_allclose(maps, weights * (inputs + 1), atol=1e-6)
        torch.nn.init.normal_(model[1].weight, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("gradient", [True, False])
def test_an_exact_map_has_no_infidelity(gradient):
    from captum.metrics import infidelity

    hide = runpy.run_path(str(SCORING))["hide_blocks"](gradient=gradient)
    with seeded(0, "test"):
        images = torch.rand(3, 1, 12, 10) * 2 - 1
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(120, 2))
        weights = model[1].weight[1].detach().view(1, 1, 12, 10).expand_as(images)
        exact = weights if gradient else weights * (images + 1)
        of_exact, of_flipped = (infidelity(model, hide, images, maps, target=1) for maps in (exact, exact.flip(-1)))
    torch.testing.assert_close(of_exact, torch.zeros(3), atol=1e-9, rtol=0)
    assert (of_flipped > 1e-4).all()
