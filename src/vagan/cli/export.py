"""`vagan export`."""

from pathlib import Path
from typing import Literal

ExportFormat = Literal["hub", "onnx", "monai"]


def export(run: Path, out: Path, *, format: ExportFormat = "hub", results: Path | None = None) -> None:
    """Export a model, with a model card: data, scores, limitations and licence.

    Parameters
    ----------
    run
        Run folder made by `vagan train`, or a model folder.
    out
        New or empty folder, or an older export, which is replaced.
    format
        hub: config.json and model.safetensors, for `vagan attribute` or a model hub. onnx: a graph from prepared
        images to counterfactuals and effects, for any runtime. monai: a MONAI bundle.
    results
        Results folder of `vagan evaluate`, whose scores the card shows.
    """
    from vagan.exporting import FORMATS

    print(f"{format}: {FORMATS[format](run, out, results=results).resolve()}")
