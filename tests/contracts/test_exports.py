"""What every format must do: the same map as the run, an honest card, and nobody's files touched."""

import json

import pytest
import torch

from vagan.errors import OutputError
from vagan.inference.attributor import Attributor

pytest.importorskip("onnxruntime")
pytest.importorskip("ignite")

FORMATS = ["hub", "onnx", "monai"]


def maps_by(name, folder, images):
    """Effects by what a user of the format would call."""
    if name == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(folder / "model.onnx")
        return torch.from_numpy(session.run(["effect"], {"image": images.numpy()})[0])
    if name == "monai":
        from vagan.exporting.monai import EffectNetwork

        with torch.no_grad():
            return EffectNetwork(str(folder / "models")).eval()(images)
    return Attributor.load(folder).effect(images)


@pytest.mark.parametrize("name", ["hub", "onnx", pytest.param("monai", marks=pytest.mark.long)])  # a slow import
def test_the_maps_are_those_of_the_run(name, exported, rng):
    images = torch.rand(2, 1, 21, 26, generator=rng) * 2 - 1
    wanted = Attributor.load(exported["run"]).effect(images)
    assert wanted.abs().max() > 0.01
    torch.testing.assert_close(maps_by(name, exported[name], images), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", FORMATS)
def test_the_card_tells_limits_and_licence(name, exported):
    (card,) = exported[name].rglob("README.md")
    text = card.read_text(encoding="utf-8")
    for part in ("ill, compared with healthy", "not a diagnosis", "Fill in `license` above"):
        assert part in text
    assert "{" not in text.replace('{"image": image}', "")


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_in_the_folder_is_pickled_and_all_json_can_be_read(name, exported):
    for path in exported[name].rglob("*"):
        assert path.is_dir() or path.suffix in (".json", ".safetensors", ".onnx", ".md"), path
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", FORMATS)
def test_an_older_export_is_replaced_and_somebody_elses_folder_stays(name, exported, tmp_path):
    from vagan.exporting import FORMATS as KNOWN

    assert list(KNOWN) == FORMATS
    for _ in range(0 if name == "onnx" else 2):  # its tracing takes long
        assert KNOWN[name](exported["run"], tmp_path / "out") == tmp_path / "out"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match=r"holds thesis\.txt"):
        KNOWN[name](exported["run"], tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    assert {path.name for path in tmp_path.iterdir()} - {"out"} == {"mine"}
