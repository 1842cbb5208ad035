"""Templates of self-contained pages: text is escaped, nothing is loaded from elsewhere."""

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


def page_template(name: str, **filters: Callable[..., Any]) -> Template:
    """A template of ``reporting/templates`` with additional filters."""
    environment = Environment(
        loader=PackageLoader("vagan.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    return environment.get_template(name)
