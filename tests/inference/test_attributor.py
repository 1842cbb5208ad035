"""One pass of each network fills an attribution, and what is in it comes from that pass."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from models import save_random_generator
from vagan.cli.attribute import attribute
from vagan.data.covariates import Covariate
from vagan.data.preparation import Preparation
from vagan.effect import counterfactual_image, deformation
from vagan.errors import ConfigError, ImageFileError, ModelError, NotEnoughMemoryError, OutputError
from vagan.inference import files
from vagan.inference.attributor import Attributor
from vagan.inference.covariates import rows_of
from vagan.inference.strategies import CLASS_GATE_FOLDER, ClassGate
from vagan.model.folder import load_model
from vagan.model.ood import MahalanobisOOD, image_features
from vagan.nn.classifier import CAMClassifier
from vagan.nn.unet import MapGenerator

CLASSES = ("healthy", "ill", "worse")


def save_run(folder, *, seed=0, **spec):
    """A map generator with a classifier of all classes beside it, and statistics of its features."""
    save_random_generator(folder / "model", seed=seed, classes=CLASSES, **spec)
    save_random_generator(folder / CLASS_GATE_FOLDER / "model", kind="label-classifier", classes=CLASSES)
    network, _ = load_model(folder)
    features = image_features(network, torch.rand(40, 1, 24, 20, generator=torch.Generator().manual_seed(1)))
    MahalanobisOOD.fit(features, np.arange(40) % 3, features).save(folder / "model")
    return folder


@pytest.fixture
def images(rng):
    return torch.rand(3, 1, 24, 20, generator=rng) * 2 - 1


@pytest.fixture
def passes(monkeypatch):
    """Counts passes of map generators, of their encoders and of classifiers, and files read."""
    counts = Counter()

    def count(owner, name):
        original = getattr(owner, name)

        def counted(*arguments, **options):
            counts[f"{owner.__name__.rpartition('.')[-1]}.{name}"] += 1
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, counted)

    count(MapGenerator, "encoded"), count(MapGenerator, "decoded")
    count(CAMClassifier, "forward"), count(files, "read_image")
    return counts


@pytest.mark.parametrize("output", ["add", "warp", "warp+add"])
def test_a_batch_takes_one_pass(tmp_path, passes, images, output):
    attributor = Attributor.load(save_run(tmp_path, output=output), class_of_interest="ill")
    passes.clear()
    found = attributor.attribute(images)
    assert passes == {"MapGenerator.decoded": 1, "MapGenerator.encoded": 1}
    assert found.ood_score.shape == found.is_ood.shape == (3,)
    assert (found.deformation is not None) == (output != "add")
    assert attributor.cost == 1


def test_an_ensemble_takes_one_pass_of_each_member(tmp_path, passes, images):
    runs = [save_run(tmp_path / str(seed), seed=seed, output="warp") for seed in range(3)]
    attributor = Attributor.load(runs, class_of_interest="ill")
    passes.clear()
    found = attributor.attribute(images)
    assert passes == {"MapGenerator.decoded": 3, "MapGenerator.encoded": 3}
    assert (attributor.cost, found.members, found.unit) == (3, 3, "intensity")
    assert found.uncertainty is not None
    members = [Attributor.load(run, class_of_interest="ill").attribute(images) for run in runs]
    for name in ("displacement", "log_jacobian"):
        mean = torch.stack([getattr(member.deformation, name) for member in members]).mean(0)
        assert mean.abs().max() > 1e-3
        torch.testing.assert_close(getattr(found.deformation, name), mean)
    torch.testing.assert_close(found.counterfactual, images - found.effect)


def test_predicted_classes_take_one_pass_of_the_classifier(tmp_path, passes, images):
    run = save_run(tmp_path, output="warp")
    attributor = Attributor.load(run, predict_class=True, reject_interval=(0.0, 1.0))
    passes.clear()
    found = attributor.attribute(images)
    assert passes == {"MapGenerator.decoded": 1, "MapGenerator.encoded": 1, "CAMClassifier.forward": 1}
    assert all(decision.abstained and decision.label for decision in found.decisions)
    for one, decision in zip(found, found.decisions, strict=True):
        alone = Attributor.load(run, class_of_interest=CLASSES[decision.label]).attribute(one.images)
        torch.testing.assert_close(one.effect, alone.effect)
        torch.testing.assert_close(one.deformation.displacement, alone.deformation.displacement)
        torch.testing.assert_close(one.deformation.log_jacobian, alone.deformation.log_jacobian)
        torch.testing.assert_close(one.ood_score, alone.ood_score, rtol=1e-4, atol=0)
    nothing = Attributor.load(run, predict_class=True, reject_interval=(1.0, 1.0)).attribute(images)
    assert not nothing.effect.any()
    assert not nothing.deformation.displacement.any()
    assert torch.equal(nothing.counterfactual, images)


@pytest.mark.parametrize("output", ["add", "warp", "warp+add"])
def test_expected_effects_are_of_the_raw_map_times_the_probability(tmp_path, passes, images, output):
    run = save_run(tmp_path, output=output)
    attributor = Attributor.load(run, expected=True)
    passes.clear()
    found = attributor.attribute(images)
    assert passes == {"MapGenerator.decoded": 1, "MapGenerator.encoded": 1, "CAMClassifier.forward": 1}
    network, _ = load_model(run)
    probabilities = attributor.gate.probabilities(images)
    for one, of_classes in zip(found, probabilities, strict=True):
        label = 1 + int(of_classes[1:].argmax())
        condition = nn.functional.one_hot(torch.tensor([label - 1]), len(CLASSES) - 1).float()
        raw = network(one.images, condition).detach() * of_classes[label]
        torch.testing.assert_close(one.counterfactual, counterfactual_image(one.images, raw, output))
        torch.testing.assert_close(one.effect, one.images - one.counterfactual)
        if output != "add":
            torch.testing.assert_close(one.deformation.log_jacobian, deformation(raw).log_jacobian)
    certain, never = (
        Attributor(attributor.methods, attributor.spec, gate=ClassGate(Fixed(logits))).expected()
        for logits in ((-100.0, 100.0, 0.0), (200.0, 0.0, 0.0))
    )
    alone = Attributor.load(run, class_of_interest=CLASSES[1]).attribute(images)
    torch.testing.assert_close(certain.attribute(images).effect, alone.effect)
    assert not never.attribute(images).effect.any()


def test_expected_effects_need_a_classifier_and_a_map_of_zero_that_changes_nothing(tmp_path):
    with pytest.raises(ConfigError, match="tanh"):
        Attributor.load(save_run(tmp_path / "tanh", output="tanh"), expected=True)
    with pytest.raises(ConfigError, match="classifier"):
        Attributor.load(save_run(tmp_path / "add"), class_of_interest="ill").expected()


class Fixed(nn.Module):
    """The same logits for every image."""

    def __init__(self, logits: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("logits", torch.tensor(logits))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(images), -1)


def test_everything_comes_from_the_same_raw_map(tmp_path, images):
    run = save_run(tmp_path, output="warp+add")
    network, spec = load_model(run)
    attributor = Attributor.load(run, class_of_interest="worse")
    found = attributor.attribute(images)
    raw = network(images, torch.tensor([[0.0, 1.0]]).expand(3, 2)).detach()
    assert torch.equal(attributor.methods[0].raw_map(images), raw)
    assert torch.equal(found.effect, images - found.counterfactual)
    assert torch.equal(found.deformation.log_jacobian, deformation(raw).log_jacobian)
    ood = MahalanobisOOD.load(run)
    assert torch.equal(found.ood_score, ood.scores(image_features(network, images)))
    assert torch.equal(found.is_ood, found.ood_score > ood.threshold)
    assert found.spec.classes == ("healthy", "worse")
    assert spec.classes == CLASSES


@pytest.mark.parametrize("shape", [(24, 20), (8, 16, 9)])
def test_counterfactuals_stay_in_the_range_of_images(tmp_path, rng, shape):
    images = torch.rand(3, 1, *shape, generator=rng).round() * 2 - 1  # every pixel at one end
    facts = {"num_spatial_dims": len(shape), "shape": shape, "bidirectional": True}
    run = save_random_generator(tmp_path / "run", **facts)
    for insert in (False, True):
        attributor = Attributor.load(run, insert=insert)
        raw, found = attributor.methods[0].raw_map(images), attributor.attribute(images)
        assert (images + raw).abs().max() > 1.01
        assert found.counterfactual.abs().max() <= 1
        assert torch.equal(found.counterfactual, (images + raw).clamp(-1, 1))
        effect = found.counterfactual - images if insert else images - found.counterfactual
        assert torch.equal(found.effect, effect)


def test_counterfactuals_of_resized_files_stay_in_the_range_of_images(tmp_path, rng):
    image = (torch.rand(29, 31, generator=rng).round() * 2 - 1).numpy()
    np.save(tmp_path / "a.npy", image)
    run = save_random_generator(
        tmp_path / "run", shape=(16, 18), bidirectional=True, preparation=Preparation(size=(16, 18))
    )
    for insert in (False, True):
        Attributor.load(run, insert=insert).attribute_files([tmp_path / "a.npy"], tmp_path / "maps")
        effect, other = (np.load(tmp_path / "maps" / f"a_{kind}.npy") for kind in ("effect", "counterfactual"))
        assert np.abs(other).max() <= 1
        np.testing.assert_allclose(image + effect if insert else image - effect, other, atol=1e-6)


def test_parts_and_pictures_of_an_attribution(tmp_path, images):
    spec = {"covariates": (Covariate(name="age", mean=60, std=9),), "output": "warp"}
    runs = [save_random_generator(tmp_path / str(seed), seed=seed, **spec) for seed in range(2)]
    whole = Attributor.load(runs).attribute(images, {"age": 70})
    part = whole[1:]
    assert (len(whole), len(part), len(list(whole))) == (3, 2, 3)
    for field in ("images", "effect", "counterfactual"):
        assert torch.equal(getattr(part, field), getattr(whole, field)[1:])
    assert torch.equal(part.uncertainty.std, whole.uncertainty.std[1:])
    assert torch.equal(whole[-1].deformation.displacement, whole.deformation.displacement[2:])
    assert part.covariates["age"].tolist() == [70, 70]
    assert part.names == ("1", "2")
    with pytest.raises(IndexError):
        whole[3]
    assert "uncertainty" in repr(whole)
    assert "VA-GAN, mean of 2" in repr(Attributor.load(runs))
    pictures = whole.plot().axes[0].images
    assert len(pictures) == 3 * 3
    assert len({picture.get_clim() for picture in pictures[2::3]}) == 1  # one colour range of all effects
    assert whole._repr_png_().startswith(b"\x89PNG")


def test_prepared_images_are_saved_by_name_and_volumes_too(tmp_path, rng):
    run = save_random_generator(tmp_path / "run", num_spatial_dims=3, shape=(16, 17, 18), output="warp")
    found = Attributor.load(run).attribute(torch.rand(2, 1, 16, 17, 18, generator=rng))
    saved = found.save(tmp_path / "out", ["sub-1/ses-1", "sub-2"])
    assert [one.path.name for one in saved] == ["sub-1_ses-1_effect.npy", "sub-2_effect.npy"]
    assert np.array_equal(np.load(saved[1].path), found.effect[1, 0].numpy())
    displacement = np.load(tmp_path / "out" / "sub-2_displacement.npy")
    assert np.array_equal(displacement, found.deformation.displacement[1].movedim(0, -1).numpy())
    assert len(found.plot().axes[0].images) == 3 * 2
    saved = found.save(tmp_path / "same stem", ["ill/1.png", "ill/1.jpg"])
    assert [one.path.name for one in saved] == ["ill_1-png_effect.npy", "ill_1-jpg_effect.npy"]
    with pytest.raises(OutputError, match="ill_1"):
        found.save(tmp_path / "same name", ["ill/1", "ill_1"])


class TestFiles:
    @pytest.fixture
    def pictures(self, tmp_path):
        paths = [tmp_path / "in" / f"{name}.png" for name in "abc"]
        paths[0].parent.mkdir()
        for number, path in enumerate(paths):
            imageio.imwrite(path, np.random.default_rng(number).integers(0, 255, (24, 20), dtype=np.uint8))
        return paths

    def test_each_file_is_read_once_each_network_passes_once_and_nothing_is_read_back(
        self, tmp_path, passes, pictures, monkeypatch, capsys
    ):
        run, out = save_run(tmp_path / "run", output="warp"), tmp_path / "out"
        original, opened = Path.open, []

        def recorded(path, mode="r", *arguments, **options):
            if "r" in mode and not path.name.startswith("."):  # not yet in its place
                opened.append(path.name)
            return original(path, mode, *arguments, **options)

        monkeypatch.setattr(Path, "open", recorded)
        passes.clear()
        attribute(run, *pictures, out=out, predict_class=True, device="cpu")
        once = ("MapGenerator.decoded", "MapGenerator.encoded", "CAMClassifier.forward")
        assert passes == {**dict.fromkeys(once, 3), "files.read_image": 6}  # all files, before anything is written
        assert not [name for name in opened if name.endswith("_effect.json")]
        assert capsys.readouterr().out.splitlines()[-1].startswith(f"3 maps in {out}: ")
        for kind in ("effect.npy", "displacement.npy", "log-jacobian.npy", "overlay.png"):
            assert len(list(out.glob(f"*_{kind}"))) == 3
        about = json.loads((out / "a_effect.json").read_text(encoding="utf-8"))
        assert {"predicted_class", "is_ood", "deformation"} <= set(about)

    def test_ensembles_of_deforming_models_write_deformation_and_uncertainty(self, tmp_path, passes, pictures):
        runs = [save_run(tmp_path / str(seed), seed=seed, output="warp") for seed in range(2)]
        passes.clear()
        options = {"out": tmp_path / "out", "ensemble": runs[1:], "class_of_interest": "ill", "device": "cpu"}
        attribute(runs[0], pictures[0], **options)
        assert passes["MapGenerator.decoded"] == 2
        names = {path.name for path in (tmp_path / "out").iterdir()}
        assert {f"a_{kind}.npy" for kind in ("displacement", "log-jacobian", "std", "sign-agreement")} < names
        about = json.loads((tmp_path / "out" / "a_effect.json").read_text(encoding="utf-8"))
        assert about["unit"].startswith("intensity")
        assert about["times_this_in_the_units_of_the_file"] == 127.5

    def test_folders_are_the_images_in_them_and_folders_tell_alike_names_apart(self, tmp_path, pictures):
        (tmp_path / "other").mkdir()
        for name in ("a.png", "a.tif", "z.png", ".hidden.png", "notes.txt"):
            shutil.copy(pictures[0], tmp_path / "other" / name)
        imageio.imwrite(tmp_path / "other" / "a.tif", imageio.imread(pictures[0]))
        (tmp_path / "in" / "z").mkdir()
        shutil.copy(pictures[0], tmp_path / "in" / "z" / "c.png")
        attributor = Attributor.load(save_run(tmp_path / "run"), class_of_interest="ill")
        given = [tmp_path / "in", tmp_path / "other", tmp_path / "in" / "z"]
        saved = attributor.attribute_files(given, tmp_path / "out")
        names = [one.path.name.removesuffix("_effect.npy") for one in saved]
        assert names == ["a", "b", "in_c", "a-png", "a-tif", "z", "z_c"]
        assert [one.path.name for one in attributor.attribute(given).save(tmp_path / "again")] == [
            one.path.name for one in saved
        ]
        with pytest.raises(ImageFileError, match="must hold images"):
            attributor.attribute_files(tmp_path / "run", tmp_path / "out")
        table = pd.DataFrame({"image": ["in/c.png", "z/c.png"], "age": [1, 2]})
        assert rows_of([tmp_path / "in" / "z" / "c.png"], table)["age"].tolist() == [2]

    def test_files_of_one_shape_are_a_batch(self, tmp_path, pictures):
        attributor = Attributor.load(save_run(tmp_path / "run"), class_of_interest="ill")
        found = attributor.attribute(pictures)
        assert torch.equal(found.images[1:2], attributor.attribute(pictures[1]).images)
        assert [one.path.name for one in found.save(tmp_path / "out")] == [f"{n}_effect.npy" for n in "abc"]
        imageio.imwrite(pictures[0], np.arange(16 * 16, dtype=np.uint8).reshape(16, 16))
        with pytest.raises(ModelError, match="one shape"):
            attributor.attribute(pictures)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"predict_class": True, "class_of_interest": "ill"}, "excludes"),
        ({"predict_class": True, "insert": True}, "excludes"),
        ({"predict_class": True, "expected": True}, "excludes"),
        ({"expected": True, "class_of_interest": "ill"}, "excludes"),
        ({"insert": True, "class_of_interest": "ill"}, "bidirectional"),
        ({}, "`class_of_interest` is needed"),
        ({"class_of_interest": "il"}, "did you mean 'ill'"),
        ({"method": "grad-cam"}, "cannot explain it"),
    ],
)
def test_impossible_choices_are_refused(tmp_path, options, message):
    save_random_generator(tmp_path, classes=CLASSES)
    with pytest.raises(ConfigError, match=message):
        Attributor.load(tmp_path, **options)


def test_maps_that_are_not_finite_are_an_error_and_a_score_that_is_nan_out_of_distribution(tmp_path, images):
    model = Attributor.load(save_run(tmp_path / "run"), class_of_interest="ill")
    found = replace(model.attribute(images), ood_score=torch.tensor([float("nan"), 0.0, 0.0]), ood_threshold=1.0)
    assert found.is_ood.tolist() == [True, False, False]
    with torch.no_grad():
        list(model.methods[0].generator.parameters())[-1].fill_(float("inf"))
    with pytest.raises(ModelError, match="finite"):
        model.attribute(images)


def test_a_map_that_cannot_fit_is_refused_with_the_estimate(tmp_path, monkeypatch):
    model = Attributor.load(save_random_generator(tmp_path / "m", width=16))
    monkeypatch.setattr("vagan.inference.attributor.free_bytes", lambda _: 30 * 2**30)
    huge = torch.zeros(1).expand(1, 1, 11585, 11585)  # of no memory
    with pytest.raises(NotEnoughMemoryError, match=r"11585 x 11585 needs about [456]\d\.\d GB .* 30\.0 GB"):
        model.attribute(huge)


@pytest.mark.parametrize("kind", ["effect", "counterfactual"])
def test_an_image_is_not_replaced_by_the_map_of_another(tmp_path, kind):
    paths = [tmp_path / "a.npy", tmp_path / f"a_{kind}.npy"]
    for path in paths:
        np.save(path, np.arange(480.0).reshape(24, 20))
    model = Attributor.load(save_random_generator(tmp_path / "m"))
    with pytest.raises(OutputError, match=rf"a_{kind}\.npy would be replaced"):
        model.attribute_files(paths, tmp_path)
