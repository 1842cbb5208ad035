"""Execute the examples: each script becomes a notebook of the same name, with outputs.

    python examples/execute.py [NAME...]

Cells are separated by ``# %%``. Each notebook is executed in an empty folder. Progress on stderr and execution times
are not stored.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
NAMES = (
    "two_d_in_ten_lines",
    "own_png_folders",
    "pictures_without_known_effects",
    "own_nifti_from_bids",
    "compare_methods",
    "read_a_score_table",
)
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
LIMIT_S = 3600


def execute(source: Path) -> nbformat.NotebookNode:
    """The script as a notebook with its outputs.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell fails.
    """
    notebook = unexecuted(source)
    with tempfile.TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        options = {"timeout": LIMIT_S, "kernel_name": KERNEL["name"], "resources": place, "coalesce_streams": True}
        NotebookClient(notebook, **options).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    return notebook


def unexecuted(source: Path) -> nbformat.NotebookNode:
    """The script as a notebook; a cell's name is its number."""
    notebook = jupytext.read(source)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
    return notebook


def main(names: list[str]) -> None:
    os.environ["PATH"] = (
        f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # `vagan` of this environment
    )
    for name in names or NAMES:
        begin = time.monotonic()
        notebook = execute(HERE / f"{name}.py")
        target = HERE / f"{name}.ipynb"
        temporary = target.with_suffix(".part")
        nbformat.write(notebook, temporary)
        temporary.replace(target)
        print(f"{target.name}: {time.monotonic() - begin:.0f} s, {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
