"""A map generator as ONNX: from a prepared image to its baseline image and its effect, in any runtime."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vagan.errors import require_extra
from vagan.exporting.about import about, axes_of
from vagan.exporting.applied import AppliedGenerator, load_applied
from vagan.exporting.card import CARD, model_card
from vagan.files import new_folder
from vagan.model.folder import ModelSpec

MODEL = "model.onnx"
FACTS = "model.json"

OPSET = 20
"""The first in which grids are sampled in volumes too, as generators that deform do."""

TOLERANCE = 1e-4
"""Of prepared intensity, a hundredth of a grey value: more than rounding, less than anybody sees."""


def export_onnx(run: Path, out: Path, *, results: Path | None = None) -> Path:
    """Write ``model.onnx``, ``model.json`` and a model card with the lines that run it in onnxruntime.

    The graph takes ``image``, prepared images ``(batch, channel, *space)`` of any number and size, and gives
    ``baseline`` and ``effect`` of the same shape. A generator of several classes of interest also takes
    ``condition``, ``(batch, tasks)``: one-hot, which class is to be taken out, in their order, and, of a generator of
    both directions, which one is to be put in. What `about` tells is in the graph's metadata, and again in
    ``model.json``.

    Parameters
    ----------
    run, out, results
        See `vagan.exporting.hub.export_hub`.

    Raises
    ------
    MissingExtraError
        If an optional package is not installed.
    ModelError
        If it is no map generator.
    """
    require_extra("onnx", "onnx", "onnxscript", "onnxruntime", what="--format onnx")
    network, facts = load_applied(run)
    card = model_card("onnx.md.j2", run, facts, results, axes=axes_of(facts))
    with new_folder(out, frozenset({MODEL, FACTS, CARD})) as folder:
        graph = _graph(network, facts)
        graph.model.metadata_props.update({name: _text(value) for name, value in about(facts).items()})
        graph.save(folder / MODEL)
        _require_same(folder / MODEL, network, facts)
        (folder / FACTS).write_text(json.dumps(about(facts), indent=2) + "\n", encoding="utf-8")
        (folder / CARD).write_text(card, encoding="utf-8")
    return out


def _graph(network: AppliedGenerator, facts: ModelSpec) -> Any:
    """The network, with the numbers that may differ from call to call by their names."""
    # no two numbers alike, none a multiple of 8: the tracer would take what happens to hold of them for a rule
    inputs = _example(facts, batch=2, shape=(18, 21, 19)[: facts.num_spatial_dims])
    spatial = dict(enumerate(axes_of(facts), start=2))
    free: dict[str, dict[int, str]] = {"image": {0: "batch", **spatial}, "condition": {0: "batch"}}
    with _quiet():
        return torch.onnx.export(
            network,
            tuple(inputs.values()),
            dynamo=True,
            input_names=list(inputs),
            output_names=["baseline", "effect"],
            dynamic_shapes={name: free[name] for name in inputs},
            opset_version=OPSET,
            verbose=False,
        )


def _require_same(path: Path, network: AppliedGenerator, facts: ModelSpec) -> None:
    """Run what was written on images of another number and size, and compare."""
    import onnxruntime

    inputs = _example(facts, batch=3, shape=(25, 16, 23)[: facts.num_spatial_dims])
    with torch.no_grad():
        wanted = network(*inputs.values())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(["baseline", "effect"], {name: values.numpy() for name, values in inputs.items()})
    for name, ours, theirs in zip(("baseline", "effect"), wanted, found, strict=True):
        distance = float((ours - torch.from_numpy(theirs)).abs().max())
        if not distance < TOLERANCE:
            raise RuntimeError(f"the exported {name} must be that of the network, but is {distance:.2g} away from it")


def _example(facts: ModelSpec, *, batch: int, shape: tuple[int, ...]) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    inputs = {"image": torch.rand(batch, facts.channels, *shape, generator=random) * 2 - 1}
    if facts.tasks > 1:
        inputs["condition"] = torch.eye(facts.tasks)[torch.arange(batch) % facts.tasks]
    return inputs


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of its own insides."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
