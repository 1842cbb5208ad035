import json

import imageio.v3 as imageio
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from trainings import TINY
from vagan.data.cohort import Cohort
from vagan.inference.attributor import Attributor


@pytest.fixture
def trained(vagan, pictures, tmp_path):
    assert vagan("import", "folder", pictures, tmp_path / "cohort", "--range", 0, 255)[0] == 0
    code, out, _ = vagan("train", tmp_path / "cohort", tmp_path / "run", *TINY)
    assert code == 0
    assert "vagan attribute" in out
    return tmp_path / "run"


def test_import_keeps_the_images_and_their_classes(vagan, pictures, tmp_path):
    assert vagan("import", "folder", pictures, tmp_path / "cohort", "--range", 0, 255)[0] == 0
    cohort = Cohort(tmp_path / "cohort")
    assert cohort.manifest.classes == ("healthy", "ill")
    assert cohort.manifest.table["split"].value_counts().to_dict() == {"train": 38, "test": 12, "validation": 10}
    row = cohort.manifest.table.index[cohort.manifest.table["id"] == "ill/07"][0]
    original = imageio.imread(pictures / "ill" / "07.png").astype(float)
    np.testing.assert_allclose(cohort.images([row])[0, 0], original / 255 * 2 - 1, atol=1e-6)


def test_images_of_different_size_are_resized_when_asked_and_maps_go_back(vagan, pictures, trained, tmp_path):
    imageio.imwrite(pictures / "ill" / "00.png", np.arange(40 * 33).reshape(40, 33).astype(np.uint8))
    assert vagan("import", "folder", pictures, tmp_path / "c", "--size", "18x24", "--intensity", "per-image")[0] == 0
    assert Cohort(tmp_path / "c").shape == (18, 24)
    assert vagan("train", tmp_path / "c", tmp_path / "r", *TINY)[0] == 0
    assert vagan("attribute", tmp_path / "r", pictures / "ill" / "00.png", "--out", tmp_path / "m")[0] == 0
    assert np.load(tmp_path / "m" / "00_effect.npy").shape == (40, 33)


def as_prepared(image):
    return torch.from_numpy(imageio.imread(image).astype(np.float32)[None, None] / 255 * 2 - 1)


def about_of(folder):
    return json.loads((folder / "03_effect.json").read_text(encoding="utf-8"))


def test_attribute_writes_map_overlay_and_description_of_the_images_size(vagan, trained, pictures, tmp_path):
    image, out = pictures / "ill" / "03.png", tmp_path / "maps"
    assert vagan("attribute", trained, image, pictures / "ill" / "04.png", "--out", out)[0] == 0
    effect, without = (np.load(out / f"03_{name}.npy") for name in ("effect", "counterfactual"))
    np.testing.assert_allclose(effect, Attributor.load(trained).effect(as_prepared(image))[0, 0], atol=1e-5)
    np.testing.assert_allclose(without, as_prepared(image)[0, 0].numpy() - effect, atol=1e-5)
    shown = imageio.imread(out / "03_counterfactual.png")
    np.testing.assert_allclose(shown, (without.clip(-1, 1) + 1) * 127.5, atol=0.51)
    assert imageio.imread(out / "overview.png").ndim == 3
    assert np.load(trained / "examples.npz")["images"].shape[1:] == (1, 21, 18)
    assert imageio.imread(out / "03_overlay.png").shape == (*effect.shape, 3) == (21, 18, 3)
    assert about_of(out)["class_of_interest"] == "ill"
    assert about_of(out)["times_this_in_the_units_of_the_file"] == 127.5
    affine = np.array([[0, 0, 2.0, 5], [-1.5, 0, 0, 7], [0, 1.0, 0, -3], [0, 0, 0, 1]])
    values = np.random.default_rng(0).integers(0, 255, (18, 21, 1)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "slice.nii.gz")
    assert vagan("attribute", trained, tmp_path / "slice.nii.gz", "--out", out)[0] == 0
    effect = nib.load(out / "slice_effect.nii.gz")
    assert effect.shape == (18, 21, 1)
    np.testing.assert_allclose(effect.affine, affine)


def test_an_evaluation_tells_what_a_map_marks_and_makes_a_report(vagan, trained, pictures, tmp_path):
    image, out, results = pictures / "ill" / "03.png", tmp_path / "maps", tmp_path / "results"
    assert vagan("evaluate", tmp_path / "cohort", trained, "--out", results)[0] == 0
    scores = pd.read_csv(results / "scores.csv")
    assert set(scores.columns) == {"case", "subject", "label", "method", "metric", "value"}
    without_truth = {"mean_abs", "relative_change", "empty_map", "residual_effect"}
    assert set(scores["metric"]) <= without_truth  # nothing else can be said without known effects
    code, printed, _ = vagan("report", results)
    assert (code, str(results / "report.html") in printed) == (0, True)
    assert vagan("attribute", trained, image, "--out", out, "--masks", results)[0] == 0
    threshold = json.loads((results / "summary.json").read_text(encoding="utf-8"))["thresholds"]["VA-GAN"]
    mask = imageio.imread(out / "03_mask.png") > 0
    assert not (mask & (np.abs(np.load(out / "03_effect.npy")) <= threshold)).any()  # but for specks
    assert pd.read_csv(out / "03_lesions.csv")["pixels"].sum() == mask.sum()


def test_a_class_is_put_into_an_image(vagan, pictures, tmp_path):
    image, out = pictures / "healthy" / "03.png", ("--out", tmp_path / "maps", "--insert")
    assert vagan("import", "folder", pictures, tmp_path / "cohort", "--range", 0, 255)[0] == 0
    both = tmp_path / "both"
    assert vagan("train", tmp_path / "cohort", both, *TINY, "training.bidirectional=true")[0] == 0
    assert vagan("attribute", both, image, *out)[0] == 0
    assert about_of(tmp_path / "maps")["sign"].startswith("effect = image as if of the class of interest - image")
    prepared = as_prepared(image)
    expected = Attributor.load(both, insert=True).attribute(prepared).counterfactual - prepared
    np.testing.assert_allclose(np.load(tmp_path / "maps" / "03_effect.npy"), expected[0, 0], atol=1e-5)


def test_a_classifier_is_explained_by_the_method_that_is_asked_for(vagan, trained, pictures, tmp_path):
    image = pictures / "ill" / "03.png"
    kind = ("--method", "cam-classifier", *TINY, "--set", "classifier.updates=2", "--set", "classifier.width=2")
    assert vagan("train", tmp_path / "cohort", tmp_path / "cam", *kind)[0] == 0
    for name, unit in (("cam", "class score"), ("additive-perturbation", "intensity after scaling to [-1, 1]")):
        out = tmp_path / name
        assert vagan("attribute", tmp_path / "cam", image, "--method", name, "--out", out)[0] == 0
        about, method = about_of(out), Attributor.load(tmp_path / "cam", name)
        expected = method.effect(as_prepared(image))[0, 0]
        found = np.load(out / "03_effect.npy")
        if name == "cam":
            np.testing.assert_allclose(found, expected, atol=1e-5)
        else:  # a thousand steps of Adam amplify rounding errors
            assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.5
        assert (about["method"], about["unit"]) == (method.name, unit)
        assert ("times_this_in_the_units_of_the_file" in about) == (method.unit == "intensity")


def test_an_image_of_another_kind_is_flagged(vagan, trained, pictures, tmp_path):
    statistics, checks, out = trained / "model" / "ood.safetensors", tmp_path / "03.png", tmp_path / "maps"
    measured = statistics.read_bytes()
    assert vagan("train", tmp_path / "cohort", trained)[0] == 0  # nothing left to do
    assert statistics.read_bytes() == measured
    imageio.imwrite(checks, (np.indices((21, 18)).sum(0) % 2 * 255).astype(np.uint8))
    images = [pictures / "ill" / f"{number:02d}.png" for number in range(4, 16)]
    _, printed, _ = vagan("attribute", trained, checks, *images, "--out", out)
    warned = [line for line in printed.splitlines() if line.startswith("warning: ")]
    assert f"warning: {checks} is out of distribution" in warned[0]
    assert len(warned) < 5
    assert about_of(out)["is_ood"]
    assert about_of(out)["ood_score"] > 2 * about_of(out)["ood_threshold"]
    statistics.unlink()
    assert "warning" not in vagan("attribute", trained, checks, "--out", tmp_path / "again")[1]
    assert "is_ood" not in about_of(tmp_path / "again")
