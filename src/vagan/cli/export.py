"""`vagan export`."""

from pathlib import Path
from typing import Literal


def export(
    run: Path, out: Path, *, format: Literal["hub", "onnx", "monai"] = "hub", results: Path | None = None
) -> None:
    """Write a model for use elsewhere, with a card of data, scores, limits and a note on the licence.

    Parameters
    ----------
    run
        Run folder made by `vagan train`, or a model folder.
    out
        New or empty folder, or an older export, which is replaced.
    format
        hub: config.json and model.safetensors; what `vagan attribute` takes, and a model hub. onnx: a graph from
        prepared images to their baseline images and effects, for any runtime. monai: a MONAI bundle.
    results
        Results folder of `vagan evaluate`, whose scores the card shows.
    """
    from vagan.exporting.formats import FORMATS

    print(f"{format}: {FORMATS[format](run, out, results=results).resolve()}")
