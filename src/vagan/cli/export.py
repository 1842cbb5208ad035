"""`vagan export`."""

from pathlib import Path
from typing import Literal


def export(run: Path, out: Path, *, format: Literal["hub"] = "hub", results: Path | None = None) -> None:
    """Write a model for use elsewhere.

    Parameters
    ----------
    run
        Run folder made by `vagan train`, or a model folder.
    out
        New or empty folder, or an older export, which is replaced.
    format
        hub: config.json, model.safetensors and a model card with data, scores, limits and a note on the licence. What
        `vagan attribute` takes, and a model hub.
    results
        Results folder of `vagan evaluate`, whose scores the card shows.
    """
    from vagan.exporting.hub import export_hub

    print(f"{format}: {export_hub(run, out, results=results).resolve()}")
