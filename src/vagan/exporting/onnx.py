"""Export as an ONNX graph from prepared images to counterfactuals and effects."""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vagan.effect import Output, counterfactual_image, effect_map
from vagan.errors import require_extra
from vagan.exporting.card import CARD, axis_names, load_generator, metadata, model_card
from vagan.files import FolderKind, new_folder, write_json
from vagan.model.folder import ModelSpec
from vagan.nn.conditioning import Condition
from vagan.types import Images, Maps

MODEL = "model.onnx"
METADATA = "model.json"
EXPORT = FolderKind((MODEL, f"{MODEL}.data", METADATA, CARD), METADATA, '"vagan_version"')

OPSET = 20  # the first with grid sampling of volumes, which generators that deform need
TOLERANCE = 1e-4  # in prepared intensity, a hundredth of a grey value: more than rounding, less than is visible


class CounterfactualNetwork(nn.Module):
    """A map generator with its output applied: images in, counterfactuals and effects out."""

    def __init__(self, generator: nn.Module, output: Output) -> None:
        super().__init__()
        self.generator, self._output = generator, output

    def forward(self, image: Images, condition: Condition | None = None) -> tuple[Images, Maps]:
        """Counterfactual ``y`` and effect ``x - y``; ``condition`` selects the task if there are several."""
        raw_map = self.generator(image) if condition is None else self.generator(image, condition)
        counterfactual = counterfactual_image(image, raw_map, self._output)
        return counterfactual, effect_map(image, counterfactual)


def export_onnx(run: Path, out: Path, *, results: Path | None = None) -> Path:
    """Write ``model.onnx``, ``model.json`` and a model card with the lines that run it in onnxruntime.

    The graph takes ``image``, prepared images ``(batch, channel, *space)`` of any number and size, and returns
    ``baseline``, the counterfactuals, and ``effect``, of the same shape. A generator of several classes of interest
    also takes ``condition``, ``(batch, tasks)``: one-hot, the class to remove, then, if bidirectional, to insert. The
    content of ``model.json`` is in the graph's metadata too.

    See `vagan.exporting.hub.export_hub`; `ModelError` if it is no map generator, or is conditioned on covariates.
    """
    require_extra("onnx", "onnx", "onnxscript", "onnxruntime", what="the format onnx")
    generator, spec = load_generator(run)
    network = CounterfactualNetwork(generator, spec.output).eval()
    card = model_card("onnx.md.j2", run, spec, results, axes=axis_names(spec))
    facts = metadata(spec)
    with new_folder(out, EXPORT) as folder:
        graph = _graph(network, spec)
        for name, value in facts.items():
            graph.model.metadata_props[name] = value if isinstance(value, str) else json.dumps(value, allow_nan=False)
        graph.save(folder / MODEL)
        _require_same(folder / MODEL, network, spec)
        write_json(folder / METADATA, facts)
        (folder / CARD).write_text(card, encoding="utf-8")
    return out


def _graph(network: CounterfactualNetwork, spec: ModelSpec) -> Any:
    """The network, with names for the extents that may change between calls."""
    # all extents differ, none is a multiple of 8, and none is 1 at any level: the tracer would take that for a rule
    shape = (74, 85, 79) if spec.downsampling * spec.patch_size > 1 else (18, 21, 19)
    inputs = _example(spec, batch=2, shape=shape[: spec.num_spatial_dims])
    spatial = dict(enumerate(axis_names(spec), start=2))
    dynamic: dict[str, dict[int, str]] = {"image": {0: "batch", **spatial}, "condition": {0: "batch"}}
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # the exporter warns about its own internals
    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.onnx.export(
                network,
                tuple(inputs.values()),
                dynamo=True,
                input_names=list(inputs),
                output_names=["baseline", "effect"],
                dynamic_shapes={name: dynamic[name] for name in inputs},
                opset_version=OPSET,
                verbose=False,
            )
    finally:
        logger.setLevel(level)


def _require_same(path: Path, network: CounterfactualNetwork, spec: ModelSpec) -> None:
    """Run the graph on images of another number and size, and compare."""
    import onnxruntime

    inputs = _example(spec, batch=3, shape=(37, 16, 23)[: spec.num_spatial_dims])
    with torch.no_grad():
        wanted = network(*inputs.values())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(["baseline", "effect"], {name: values.numpy() for name, values in inputs.items()})
    for name, ours, theirs in zip(("baseline", "effect"), wanted, found, strict=True):
        distance = float((ours - torch.from_numpy(theirs)).abs().max())
        if not distance < TOLERANCE:
            raise RuntimeError(f"the exported {name} must equal the network's, but differs by {distance:.2g}")


def _example(spec: ModelSpec, *, batch: int, shape: tuple[int, ...]) -> dict[str, torch.Tensor]:
    inputs = {"image": torch.rand(batch, spec.channels, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1}
    if spec.tasks > 1:
        inputs["condition"] = torch.eye(spec.tasks)[torch.arange(batch) % spec.tasks]
    return inputs
