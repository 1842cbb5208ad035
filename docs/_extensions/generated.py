"""Parts of pages that are generated from the package.

They stand between ``<!-- generated: NAME -->`` and ``<!-- /generated -->``. The build fills all of them. The tables
of settings and methods are committed as well, so that they can be read without a build; to update them:

    python docs/_extensions/generated.py
"""

import json
import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import BaseModel

from vagan.attribution.registry import METHODS
from vagan.cli.app import app as command_line
from vagan.training.config import PRESETS, Config

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
RESULTS = "benchmarks/results/"
MARK = re.compile(r"(<!-- generated: ([a-z ]+) -->\n).*?(<!-- /generated -->)", re.S)
COMMITTED = [ROOT / "docs/reference/settings.md", ROOT / "docs/reference/methods.md"]


def commands() -> str:
    """A section for each verb, with what ``vagan VERB --help`` says."""
    text = command_line.generate_docs(output_format="markdown", recursive=True)
    text = text[text.index("\n## vagan ") :]
    text = re.sub(r"(?<=[\w/-])\*(?=[/_.])", r"\\*", text)  # file names with wildcards are not emphasised
    return re.sub(r"^\*\*Parameters\*\*:$", "", text, flags=re.M)


def settings() -> str:
    """A table for each section of the settings, with a column of differences for each preset."""
    others = [preset for preset in PRESETS if preset != "fast"]
    presets = resources.files("vagan.training.presets")
    values = [yaml.safe_load((presets / f"{name}.yaml").read_text(encoding="utf-8")) for name in others]
    head = " | ".join(["setting", "default", *(f"`{name}`" for name in others), "meaning"])
    parts = []
    for name in Config.model_fields:
        section = getattr(Config(), name)
        if not isinstance(section, BaseModel):
            continue
        rows = []
        for key, entry in type(section).model_fields.items():
            differences = [value.get(name, {}) for value in values]
            cells = [f"`{_text(section[key])}`" if key in section else "" for section in differences]
            default = f"`{_text(getattr(section, key))}`"
            rows.append(" | ".join([f"`{name}.{key}`", default, *cells, _cell(entry.description or "")]))
        table = "\n".join(f"| {row} |" for row in (head, " | ".join(["---"] * (3 + len(others))), *rows))
        parts.append(f"## {name}\n\n{(type(section).__doc__ or '').strip()}\n\n{table}")
    return "\n\n".join(parts)


def methods() -> str:
    """A table of the attribution methods."""
    rows = [
        f"| `{name}` | {entry.label} | {entry.needs} | {entry.method.unit} | {entry.cost} | "
        f"{'' if entry.needs == 'training images' else '`attribute`, '}`evaluate` |"
        for name, entry in METHODS.items()
    ]
    return (
        "| name | in tables | needs | unit of its maps | passes for a map | commands |\n"
        "| --- | --- | --- | --- | --- | --- |\n" + "\n".join(rows)
    )


def _text(value: object) -> str:
    """As it is written behind ``--set``."""
    return (value or "''") if isinstance(value, str) else json.dumps(value)


def _cell(text: str) -> str:
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())


PARTS: dict[str, Callable[[], str]] = {"command line": commands, "settings": settings, "methods": methods}


def filled(text: str) -> str:
    """A page with its generated parts."""
    return MARK.sub(lambda mark: f"{mark[1]}{PARTS[mark[2]]()}\n{mark[3]}", text)


def fill(_app: "Sphinx", name: str, source: list[str]) -> None:
    """Fill a page before it is parsed; a table written by a benchmark gets its name as title."""
    source[0] = filled(source[0])
    if name.startswith(RESULTS):
        source[0] = f"---\norphan: true\n---\n\n# {name.removeprefix(RESULTS)}\n\n{source[0]}"


def setup(app: "Sphinx") -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    for page in COMMITTED:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
