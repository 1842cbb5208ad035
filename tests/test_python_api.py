"""The Python that people write, as the documents have it, on small data."""

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch

import vagan
from models import save_random_generator
from tables import table_of, write_made_up
from trainings import TINY_SETTINGS
from vagan.attribution import IntegratedGradients
from vagan.data.schema import CohortCase
from vagan.errors import ConfigError
from vagan.nn.classifier import CAMClassifier

SETTINGS = {key: int(value) for key, value in TINY_SETTINGS.items()}
"""Typed, as Python has them."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("python")


@pytest.fixture(scope="module")
def cohort(folder):
    return vagan.Cohort.synthetic(folder / "cohort", n=80, size=(24, 20))


@pytest.fixture(scope="module")
def model(cohort, folder):
    return vagan.fit(cohort, folder / "run", preset="fast", seed=3, settings=SETTINGS)


def test_typed_settings_are_those_of_the_command_line(cohort, model, folder):
    text = vagan.load_config("fast", TINY_SETTINGS | {"training.seed": "3"})
    assert vagan.load_config("fast", SETTINGS | {"training.seed": 3}) == text
    again = vagan.train(cohort, folder / "again", text)
    x = cohort.select(split="test", label=1)
    assert torch.equal(vagan.load(again.path).effect(x), model.effect(x))


def test_an_attribution_of_a_selection(cohort, model, folder):
    x = cohort.select(split="test", label=1)[:4]
    a = model.attribute(x)
    assert a.effect.shape == (4, 1, 24, 20)
    saved = a.save(folder / "maps")
    assert [one.path.name for one in saved] == [f"{name}_effect.npy" for name in x.ids]
    np.testing.assert_array_equal(np.load(saved[3].path), a.effect[3, 0])


def test_arrays_are_taken_like_tensors_and_integers_refused(cohort, model):
    x = cohort.select(split="test", label=1)[:2].images
    assert torch.equal(model.attribute(x.numpy()).effect, model.attribute(x).effect)
    assert torch.equal(model.attribute(x.double()).effect, model.attribute(x).effect)
    for wrong in ((x * 255).to(torch.uint8), x[0].numpy()):
        with pytest.raises(ConfigError, match="floating-point"):
            model.attribute(wrong)


def test_methods_refuse_arrays_integers_and_single_images_in_one_line(tmp_path):
    """Outside of the tests, which check the types of arguments."""
    save_random_generator(tmp_path / "model")
    done = subprocess.run(
        [sys.executable, "-c", WRONG_IMAGES, tmp_path / "model"], capture_output=True, encoding="utf-8", check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 10 * 4
    assert {line.partition(",")[0] for line in lines} == {"images must be a tensor (batch"}


WRONG_IMAGES = """
import sys, numpy as np, torch
from torch import nn
from vagan import load
from vagan.attribution import *
from vagan.errors import ConfigError
net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
kinds = (CAM, GradCAM, GuidedBackpropagation, IntegratedGradients, Occlusion, AdditivePerturbation)
methods = [kind(net) for kind in kinds]
difference = GroupMeanDifference(torch.zeros(2, 1, 7, 8), torch.ones(2, 1, 7, 8))
for method in (*methods, GradientMagnitude(), RandomSmoothMap(), difference, *load(sys.argv[1]).methods):
    for images in (np.zeros((2, 1, 7, 8), np.float32), torch.zeros(2, 1, 7, 8, dtype=int), torch.zeros(7, 8), [[1]]):
        try:
            method.attribute(images)
        except ConfigError as error:
            print(error)
"""


def test_a_volume_file(tmp_path, rng):
    save_random_generator(tmp_path / "run", num_spatial_dims=3, shape=(16, 17, 18))
    values = torch.rand(16, 17, 18, generator=rng).numpy() * 255
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 1.5, 2.0, 1.0])), tmp_path / "scan.nii.gz")
    a = vagan.load(tmp_path / "run").attribute(tmp_path / "scan.nii.gz")
    (saved,) = a.save(tmp_path / "maps")
    assert saved.path.name == "scan_effect.nii.gz"
    written = nib.load(saved.path)
    np.testing.assert_allclose(written.affine, np.diag([1.0, 1.5, 2.0, 1.0]))
    np.testing.assert_allclose(written.get_fdata(), a.effect[0, 0], atol=1e-6)
    (again,) = vagan.load(str(tmp_path / "run")).attribute([str(tmp_path / "scan.nii.gz")]).effect
    assert torch.equal(again, a.effect[0])
    (written,) = vagan.load(tmp_path / "run").attribute_files(str(tmp_path / "scan.nii.gz"), str(tmp_path / "more"))
    assert written.path.read_bytes() == saved.path.read_bytes()


def test_volumes_of_a_cohort_are_saved_where_they_lie(tmp_path):
    affine = ((2.0, 0, 0, -7), (0, 1.5, 0, 5), (0, 0, 3.0, 1), (0, 0, 0, 1))
    noise = np.random.default_rng(0).uniform(-1, 1, (2, 1, 16, 17, 18)).astype(np.float32)
    table = table_of([0, 1], split="test")
    cohort = write_made_up(tmp_path / "cohort", table, lambda row: CohortCase(noise[row]), affine=affine)
    save_random_generator(tmp_path / "run", num_spatial_dims=3, shape=cohort.shape, output="warp")
    x = cohort.select(label=1)[:1]
    a = vagan.load(tmp_path / "run").attribute(x)
    (saved,) = a.save(tmp_path / "maps")
    written = nib.load(saved.path)
    np.testing.assert_allclose(written.affine, affine)
    np.testing.assert_allclose(written.get_fdata(), a.effect[0, 0], atol=1e-6)
    vectors = nib.load(saved.path.with_name(saved.path.name.replace("effect", "displacement")))
    assert vectors.shape == (*cohort.shape, 1, 3)


def test_every_public_object_shows_what_it_is(cohort, model):
    x = cohort.select(split="test", label=1)
    shown = [repr(one) for one in (cohort, x, model, model.attribute(x[:1]))]  # of methods: their contract
    assert not [one for one in shown if " object at 0x" in one]
    assert repr(IntegratedGradients(CAMClassifier(2, width=2))).startswith("IntegratedGradients(target=1, steps=50")
    assert repr(cohort.manifest).startswith("Manifest(80 images of")
    assert "\n" not in repr(cohort.manifest)


def test_names_are_complete_and_imported_when_used():
    assert set(vagan.__all__) <= set(dir(vagan))
    for name in vagan.__all__:
        assert getattr(vagan, name) is not None
    assert {"fit", "load", "evaluate", "train", "Cohort", "Attributor", "Attribution"} <= set(vagan.__all__)
    assert vagan.__version__[0].isdigit()
    names: dict[str, object] = {}
    exec("from vagan.attribution import *", names)
    assert {"IntegratedGradients", "GradCAM", "VAGAN"} <= set(names)
    code = "import sys, vagan; assert 'torch' not in sys.modules; print(dir(vagan))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert "'fit'" in done.stdout
