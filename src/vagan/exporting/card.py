"""The card that lies beside every exported model: what it is, of what data, how good, what it is not for."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from vagan.errors import RunError
from vagan.evaluation.results import ResultsFolder
from vagan.evaluation.tables import markdown_table
from vagan.model.folder import ModelSpec
from vagan.training.engine.run_folder import RunFolder

CARD = "README.md"


def model_card(template: str, run: Path, facts: ModelSpec, results: Path | None, **more: Any) -> str:
    """Markdown that describes a model.

    Parameters
    ----------
    template
        Name of the format's template, which says how the model is used.
    run
        Run folder, whose record of the data is quoted, without names; or a model folder on its own.
    facts
        Of the model.
    results
        Results folder of `vagan evaluate`, whose scores the card shows.
    more
        What else the template asks for.
    """
    # Markdown, not HTML: nothing is escaped, and so names of classes must not end their line
    environment = Environment(
        loader=PackageLoader("vagan.exporting"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(
        facts=facts,
        classes=[_plain(name) for name in facts.classes],
        training=_training(run),
        scores=_scores(results),
        **more,
    )


def _training(run: Path) -> Mapping[str, Any]:
    """What the run folder knows of its data; empty for a model folder on its own."""
    record = RunFolder(run).cohort
    if not record.is_file():
        return {}
    try:
        about = json.loads(record.read_text(encoding="utf-8"))
        counts = {split: len(ids) for split, ids in about["splits"].items()}
        return {"source": _plain(about["source"]), "hash": about["hash"], "counts": counts}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise RunError(f"{record} must tell what the run was trained on, but is damaged: {error}") from error


def _scores(results: Path | None) -> str:
    if results is None:
        return ""
    summary = ResultsFolder(results).read_summary()
    return markdown_table(summary["methods"], ceiling=summary.get("ceiling"))


def _plain(text: str) -> str:
    """On one line, and without what Markdown or HTML would read."""
    return "".join(letter for letter in " ".join(text.split()) if letter not in "<>`*[]|")
