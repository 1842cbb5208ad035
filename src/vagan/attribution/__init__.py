"""Attribution methods; each is a class with ``attribute(images) -> maps``."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vagan.attribution.cam import CAM as CAM
    from vagan.attribution.cam import GradCAM as GradCAM
    from vagan.attribution.controls import GradientMagnitude as GradientMagnitude
    from vagan.attribution.controls import GroupMeanDifference as GroupMeanDifference
    from vagan.attribution.controls import RandomSmoothMap as RandomSmoothMap
    from vagan.attribution.guided import GuidedBackpropagation as GuidedBackpropagation
    from vagan.attribution.integrated import IntegratedGradients as IntegratedGradients
    from vagan.attribution.method import AttributionMethod as AttributionMethod
    from vagan.attribution.occlusion import Occlusion as Occlusion
    from vagan.attribution.perturbation import AdditivePerturbation as AdditivePerturbation
    from vagan.inference.generator import VAGAN as VAGAN

# imported when first asked for: Captum, behind some of them, is slow to import
_HOME = {
    "VAGAN": "generator",
    "AdditivePerturbation": "perturbation",
    "AttributionMethod": "method",
    "CAM": "cam",
    "GradCAM": "cam",
    "GradientMagnitude": "controls",
    "GroupMeanDifference": "controls",
    "GuidedBackpropagation": "guided",
    "IntegratedGradients": "integrated",
    "Occlusion": "occlusion",
    "RandomSmoothMap": "controls",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vagan.attribution' has no attribute {name!r}")
    return getattr(import_module(f"vagan.attribution.{_HOME[name]}"), name)
