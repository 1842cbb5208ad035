"""What the formats have in common: the model card, metadata, and map generators for formats without covariates."""

import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from torch import nn

from vagan.effect import SIGN
from vagan.errors import ModelError
from vagan.evaluation.evaluation import markdown_table
from vagan.evaluation.results import ResultsFolder
from vagan.files import without_folders
from vagan.model.folder import ModelSpec, load_model
from vagan.training.engine.run_folder import RunFolder

CARD = "README.md"

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#~$&!:@])")


def model_card(template: str, run: Path, spec: ModelSpec, results: Path | None, **more: Any) -> str:
    """Markdown that describes a model; no text of the model or its run can add markup to it.

    The template is that of the format, which says how the model is used, and gets ``more`` values. The record of the
    data is quoted without identifiers if ``run`` is a run folder. The card shows the scores in ``results``, if any.
    """
    jinja = Environment(
        loader=PackageLoader("vagan.exporting"),
        autoescape=False,  # Markdown, not HTML: see finalize
        finalize=escape_markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return jinja.get_template(template).render(spec=spec, training=_training(run), scores=_scores(results), **more)


def escape_markdown(value: Any) -> Any:
    """Text on one line, with a backslash before all that Markdown or HTML could read as markup; no other value."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return _escape_in_cell(value).replace("|", r"\|")


def _escape_in_cell(text: str) -> str:
    """All but the pipe, which tables escape themselves."""
    escaped = _SPECIAL.sub(r"\\\1", re.sub(r"\s+", " ", text))
    return re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", escaped)  # at the beginning of a line, a list or a heading


def _training(run: Path) -> Mapping[str, Any]:
    """The run folder's record of its data, without identifiers; empty for a model folder on its own."""
    folder = RunFolder(run)
    if not folder.cohort.is_file():
        return {}
    about = folder.read_cohort()
    counts = {split: len(ids) for split, ids in about["splits"].items()}
    return {"source": about.get("source", "an unknown source"), "hash": about["hash"], "counts": counts}


def _scores(results: Path | None) -> str:
    if results is None:
        return ""
    summary = ResultsFolder(results).read_summary().model_dump()
    methods = {_escape_in_cell(name): scores for name, scores in summary["methods"].items()}
    return Markup(markdown_table(methods, ceiling=summary["ceiling"]))


def load_generator(run: Path) -> tuple[nn.Module, ModelSpec]:
    """Read the map generator of a run folder or model folder, in evaluation mode on the CPU.

    `ModelError` if it holds another model, or one that is conditioned on covariates.
    """
    network, spec = load_model(run)
    if spec.kind != "map-generator":
        raise ModelError(f"this format needs a map generator: {run} holds a {spec.kind}; choose the format hub")
    if spec.covariates:
        names = ", ".join(covariate.name for covariate in spec.covariates)
        raise ModelError(f"this format cannot pass covariates, but {run} requires {names}; choose the format hub")
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
