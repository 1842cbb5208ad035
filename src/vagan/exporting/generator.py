"""Map generators for formats without covariates, with their metadata."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from vagan.effect import SIGN
from vagan.errors import ModelError
from vagan.files import without_folders
from vagan.model.folder import ModelSpec, load_model


def load_generator(run: Path) -> tuple[nn.Module, ModelSpec]:
    """Read the map generator of a run folder or model folder, in evaluation mode on the CPU.

    Raises
    ------
    ModelError
        If it holds another model, or one that is conditioned on covariates.
    """
    network, spec = load_model(run)
    if spec.kind != "map-generator":
        raise ModelError(f"this format needs a map generator: {run} holds a {spec.kind}; choose the format hub")
    if spec.covariates:
        names = ", ".join(covariate.name for covariate in spec.covariates)
        raise ModelError(
            f"this format cannot pass covariates, and the model in {run} is conditioned on {names}; "
            "choose the format hub"
        )
    return network, spec


def shareable(spec: ModelSpec) -> ModelSpec:
    """The same without folders of this machine in the preprocessing."""
    return spec.model_copy(update={"pipeline": without_folders(spec.pipeline)})


def metadata(spec: ModelSpec) -> dict[str, Any]:
    """Classes, preparation, spacing, sign convention and provenance, as JSON values."""
    baseline, *classes_of_interest = spec.classes
    return {
        "vagan_version": version("vagan"),
        "baseline_class": baseline,
        "classes_of_interest": classes_of_interest,
        "sign": SIGN,
        "intensity": "prepared: scaled to [-1, 1], background -1",
        "preparation": spec.preparation.model_dump(mode="json"),
        "scans_must_be_preprocessed": spec.pipeline is not None,
        "spacing_mm": spec.spacing_mm,
        "training_shape": spec.shape,
        "output": spec.output,
        "rule": spec.rule,
        "licence": "code: Apache-2.0; weights: subject to the licence of their training data",
    }


def axis_names(spec: ModelSpec) -> tuple[str, ...]:
    """Names of the spatial axes; those of volumes point to the subject's right, front and top."""
    return ("height", "width") if spec.num_spatial_dims == 2 else ("right", "front", "top")
