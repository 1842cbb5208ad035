"""Trained models for use elsewhere. A new format is one file and one line here."""

from collections.abc import Callable
from pathlib import Path

from vagan.exporting.hub import export_hub
from vagan.exporting.monai import export_monai
from vagan.exporting.onnx import export_onnx

FORMATS: dict[str, Callable[..., Path]] = {"hub": export_hub, "onnx": export_onnx, "monai": export_monai}
"""By name on the command line; called as `vagan.exporting.hub.export_hub` is."""
