"""A folder that can be shared, on a model hub for example: the model with a card that says what it is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from vagan.errors import RunError
from vagan.evaluation.tables import markdown_table
from vagan.files import new_folder
from vagan.model_folder import CONFIG, WEIGHTS, ModelFacts, load_model, save_model
from vagan.training.run_folder import RunFolder

CARD = "README.md"


def export_hub(run: Path, out: Path, *, results: Path | None = None) -> Path:
    """Write ``config.json``, ``model.safetensors`` and a model card; `vagan attribute` takes the folder.

    No name of a subject or image is in it.

    Parameters
    ----------
    run
        Run folder, or a model folder.
    out
        New or empty folder, or an older export, which is replaced.
    results
        Results folder of `vagan evaluate`, whose scores the card shows.
    """
    network, facts = load_model(run)
    card = _card(facts, _training(run), _scores(results))
    with new_folder(out, frozenset({CONFIG, WEIGHTS, CARD})) as folder:
        save_model(folder, network, facts)
        (folder / CARD).write_text(card, encoding="utf-8")
    return out


def _card(facts: ModelFacts, training: Mapping[str, Any], scores: str) -> str:
    # Markdown, not HTML: nothing is escaped, and so names of classes must not end their line
    environment = Environment(
        loader=PackageLoader("vagan.exporting"), autoescape=False, undefined=StrictUndefined, trim_blocks=True
    )
    classes = [_plain(name) for name in facts.classes]
    return environment.get_template("card.md.j2").render(
        facts=facts, classes=classes, training=training, scores=scores
    )


def _training(run: Path) -> dict[str, Any]:
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
    path = results / "summary.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        return markdown_table(summary["methods"], ceiling=summary.get("ceiling") or None)
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise RunError(f"{results} must be results of `vagan evaluate`, but {path} is not: {error}") from error


def _plain(text: str) -> str:
    """On one line, and without what Markdown or HTML would read."""
    return "".join(letter for letter in " ".join(text.split()) if letter not in "<>`*[]|")
