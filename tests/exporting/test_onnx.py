"""The graph gives the network's own numbers for any number and size of images, and says what it is."""

import json
import re

import numpy as np
import pytest
import torch

from models import FIXED, save_random_generator, unchecked_shapes
from vagan.data.preparation import Preparation
from vagan.errors import ModelError
from vagan.exporting.card import load_generator
from vagan.exporting.onnx import CounterfactualNetwork, export_onnx
from vagan.inference.attributor import Attributor

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

# traced at 18, 21 and 19: smaller and larger, multiples of 8 and others
SIZES = [(1, (24, 16, 32)), (3, (33, 26, 17)), (2, (17, 40, 23))]


def run_graph(path, **inputs):
    session = onnxruntime.InferenceSession(path)
    return session.run(["baseline", "effect"], {name: values.numpy() for name, values in inputs.items()})


def assert_same_numbers(folder, run, rng):
    generator, spec = load_generator(run)
    network = CounterfactualNetwork(generator, spec.output).eval()
    for batch, shape in SIZES:
        image = torch.rand(batch, spec.channels, *shape[: spec.num_spatial_dims], generator=rng) * 2 - 1
        conditions = torch.eye(spec.tasks)[torch.arange(batch) % spec.tasks]
        condition = {"condition": conditions} if spec.tasks > 1 else {}
        with torch.no_grad():
            wanted = network(image, **condition)
        for ours, theirs in zip(wanted, run_graph(folder / "model.onnx", image=image, **condition), strict=True):
            np.testing.assert_allclose(theirs, ours.numpy(), rtol=0, atol=1e-5)
        assert wanted[0].abs().max() <= 1
        if spec.output == "add":  # some pixels are clipped
            assert (wanted[0].abs() == 1).any()
        assert wanted[1].abs().max() > 0.01


def snippet_of(folder):
    (snippet,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.S)
    return compile(snippet, "README.md", "exec")


def test_the_graph_gives_the_networks_numbers_at_any_size(exported, rng):
    assert_same_numbers(exported["onnx"], exported["run"], rng)


def test_the_graph_says_what_it_is_and_how_images_are_prepared(exported):
    session = onnxruntime.InferenceSession(exported["onnx"] / "model.onnx")
    (taken,) = session.get_inputs()
    assert (taken.name, taken.shape) == ("image", ["batch", 1, "height", "width"])
    told = session.get_modelmeta().custom_metadata_map
    beside = json.loads((exported["onnx"] / "model.json").read_text(encoding="utf-8"))
    assert {name: value if isinstance(value, str) else json.dumps(value) for name, value in beside.items()} == told
    assert (beside["baseline_class"], beside["classes_of_interest"]) == ("healthy", ["ill"])
    assert Preparation.model_validate(beside["preparation"]) == FIXED
    assert "positive: the class made it brighter" in beside["sign"]


def test_the_lines_on_the_card_run(exported, tmp_path, monkeypatch, rng):
    image = (torch.rand(21, 27, generator=rng) * 255).numpy()
    np.save(tmp_path / "image.npy", image)
    (tmp_path / "model.onnx").write_bytes((exported["onnx"] / "model.onnx").read_bytes())
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(snippet_of(exported["onnx"]), names)
    method = Attributor.load(exported["run"])
    wanted = method.effect(torch.from_numpy(method.spec.preparation.apply(image[None]))[None])
    np.testing.assert_allclose(names["effect"], wanted.numpy(), rtol=0, atol=1e-5)


def test_a_classifier_is_refused(tmp_path):
    save_random_generator(tmp_path / "classifier", kind="classifier")
    with pytest.raises(ModelError, match="a classifier"):
        export_onnx(tmp_path / "classifier", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.long
@pytest.mark.parametrize(
    ("facts", "axes"),
    [
        ({"output": "tanh", "channels": 3}, 2),
        ({"output": "warp"}, 2),
        ({"output": "warp", "downsampling": 2, "patch_size": 2}, 3),
        ({"output": "warp+add", "global_context": True}, 3),
        ({"classes": ("healthy", "ill", "worse"), "global_context": True, "spacing_mm": (2.0, 1.0, 1.5)}, 3),
    ],
    ids=["tanh, colour", "warp", "downsampled volumes", "warp+add, volumes", "classes, volumes"],
)
def test_every_output_in_images_and_volumes(tmp_path, monkeypatch, rng, facts, axes):
    per_image = Preparation(intensity="per-image")
    shape = (24, 20, 28)[:axes]
    run = save_random_generator(tmp_path / "run", num_spatial_dims=axes, shape=shape, preparation=per_image, **facts)
    with unchecked_shapes():
        folder = export_onnx(run, tmp_path / "onnx")
    assert_same_numbers(folder, run, rng)
    beside = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert beside["spacing_mm"] == (list(facts["spacing_mm"]) if "spacing_mm" in facts else None)

    channels = facts.get("channels", 1)
    array = torch.rand(*([channels] if channels > 1 else []), *shape, generator=rng).numpy()
    np.save(folder / "image.npy", array)
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    exec(snippet_of(folder), names)
    method = Attributor.load(run, class_of_interest="ill")
    prepared = method.spec.preparation.apply(array.reshape(channels, *shape))
    np.testing.assert_allclose(
        names["effect"], method.effect(torch.from_numpy(prepared)[None]).numpy(), rtol=0, atol=1e-5
    )
