"""Every format by its name on the command line. A new one is one file and one line here."""

from collections.abc import Callable
from pathlib import Path

from vagan.exporting.hub import export_hub
from vagan.exporting.monai import export_monai
from vagan.exporting.onnx import export_onnx

FORMATS: dict[str, Callable[..., Path]] = {"hub": export_hub, "onnx": export_onnx, "monai": export_monai}
"""Each is called with run, folder and ``results=``, as `vagan.exporting.hub.export_hub` is."""
