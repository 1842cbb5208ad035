"""Parts of pages that are made of the package when the site is built, so that they are never stale.

A page marks the place with a comment, ``<!-- made of: NAME -->``.
"""

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import BaseModel

from vagan.attribution.registry import METHODS
from vagan.cli.app import app as command_line
from vagan.training.config import PRESETS, Config, load_config

if TYPE_CHECKING:
    from sphinx.application import Sphinx

RESULTS = "benchmarks/results/"
MARK = re.compile(r"<!-- made of: ([a-z ]+) -->")


def commands() -> str:
    """A section for each verb, with what ``vagan VERB --help`` says."""
    text = command_line.generate_docs(output_format="markdown", recursive=True)
    text = text[text.index("\n## vagan ") :]
    text = re.sub(r"(?<=[\w/-])\*(?=[/_.])", r"\\*", text)  # file names with wildcards are not emphasised
    return re.sub(r"^\*\*Parameters\*\*:$", "", text, flags=re.M)


def settings() -> str:
    """A table for each section of the settings, with a column for what each preset has instead of the default."""
    defaults, others = Config(), {name: load_config(name) for name in PRESETS if name != "fast"}
    head = " | ".join(["setting", "default", *(f"`{name}`" for name in others), "meaning"])
    parts = []
    for name in Config.model_fields:
        section = getattr(defaults, name)
        if not isinstance(section, BaseModel):
            continue
        rows = [
            " | ".join(
                [
                    f"`{name}.{key}`",
                    f"`{_text(getattr(section, key))}`",
                    *(_other(getattr(section, key), getattr(getattr(other, name), key)) for other in others.values()),
                    _cell(entry.description or ""),
                ]
            )
            for key, entry in type(section).model_fields.items()
        ]
        table = "\n".join(f"| {row} |" for row in (head, " | ".join(["---"] * (3 + len(others))), *rows))
        parts.append(f"## {name}\n\n{(type(section).__doc__ or '').strip()}\n\n{table}")
    return "\n\n".join(parts)


def methods() -> str:
    """A table of the attribution methods."""
    rows = [f"| `{name}` | {entry.needs} | {entry.method.unit} | {entry.cost} |" for name, entry in METHODS.items()]
    return "| name | needs | unit of its maps | passes for a map |\n| --- | --- | --- | --- |\n" + "\n".join(rows)


def _text(value: object) -> str:
    """As it is written behind ``--set``."""
    return (value or "''") if isinstance(value, str) else json.dumps(value)


def _other(default: object, preset: object) -> str:
    return "" if preset == default else f"`{_text(preset)}`"


def _cell(text: str) -> str:
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())


PARTS: dict[str, Callable[[], str]] = {"the command line": commands, "the settings": settings, "the methods": methods}


def fill(_app: "Sphinx", name: str, source: list[str]) -> None:
    """Replace the marks of a page before it is parsed; a table that a benchmark wrote gets its name as title."""
    source[0] = MARK.sub(lambda mark: PARTS[mark[1]](), source[0])
    if name.startswith(RESULTS):
        source[0] = f"---\norphan: true\n---\n\n# {name.removeprefix(RESULTS)}\n\n{source[0]}"


def setup(app: "Sphinx") -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
