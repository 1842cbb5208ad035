"""Docstrings are written to be read as they are: ``|x|`` in them is a size, not a substitution."""

import re

from sphinx.application import Sphinx

CODE_OR_BAR = re.compile(r"(``.*?``)|\|")


def keep_bars(_app: Sphinx, _kind: str, _name: str, _thing: object, _options: object, lines: list[str]) -> None:
    """Escape vertical bars outside code."""
    lines[:] = [line if line.startswith(">>>") else CODE_OR_BAR.sub(lambda m: m[1] or r"\|", line) for line in lines]


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", keep_bars)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
