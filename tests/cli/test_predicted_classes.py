"""Images of which nobody says the class: a classifier in the run folder decides."""

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

from trainings import TINY
from vagan.data.cohort import Cohort
from vagan.inference import strategies as class_gate
from vagan.inference.attributor import Attributor
from vagan.model import folder
from vagan.model import folder as model_in_memory

CLASSIFIER = ("classifier.width=4", "classifier.updates=40", "training.batch_size=8")


@pytest.fixture
def trained(vagan, pictures, tmp_path):
    assert vagan("import", "folder", pictures, tmp_path / "cohort", "--range", 0, 255)[0] == 0
    assert vagan("train", tmp_path / "cohort", tmp_path / "run", "--with-classifier", *TINY, *CLASSIFIER)[0] == 0
    return tmp_path / "run"


def test_a_classifier_decides_and_the_map_follows(vagan, refused, trained, pictures, tmp_path):
    before = load_file(trained / "classifier" / "model" / "model.safetensors")
    again = vagan("train", tmp_path / "cohort", trained, "--with-classifier", *TINY, *CLASSIFIER)
    assert again[0] == 0  # nothing left to do
    after = load_file(trained / "classifier" / "model" / "model.safetensors")
    assert all((before[name] == after[name]).all() for name in before)

    images = [pictures / name / "04.png" for name in ("ill", "healthy")]
    (tmp_path / "new").mkdir()
    renamed = [path.rename(tmp_path / "new" / f"{path.parent.name}.png") for path in images]
    code, printed, _ = vagan("attribute", trained, *renamed, "--out", tmp_path / "maps", "--predict-class")
    assert code == 0
    assert printed.strip() == f"2 maps in {tmp_path / 'maps'}: 1 healthy, 1 ill"
    about = {
        name: json.loads((tmp_path / "maps" / f"{name}_effect.json").read_text(encoding="utf-8"))["predicted_class"]
        for name in ("ill", "healthy")
    }
    assert {name: one["decision"] for name, one in about.items()} == {"ill": "ill", "healthy": "healthy"}
    assert about["ill"]["probabilities"]["ill"] > 0.65
    assert about["healthy"]["reject_interval"] == [0.35, 0.65]
    assert not np.load(tmp_path / "maps" / "healthy_effect.npy").any()
    assert vagan("attribute", trained, renamed[0], "--out", tmp_path / "said")[0] == 0
    said, decided = (np.load(tmp_path / folder / "ill_effect.npy") for folder in ("said", "maps"))
    np.testing.assert_array_equal(said, decided)
    assert said.any()

    wide = ("--predict-class", "--reject-interval", "0:1")
    code, printed, _ = vagan("attribute", trained, *renamed, "--out", tmp_path / "wide", *wide)
    assert "2 abstained" in printed
    assert np.load(tmp_path / "wide" / "healthy_effect.npy").any()
    told = json.loads((tmp_path / "wide" / "ill_effect.json").read_text(encoding="utf-8"))["predicted_class"]
    assert told["decision"] == "abstained"

    code, printed, _ = vagan("attribute", trained, *renamed, "--out", tmp_path / "expected", "--expected")
    assert (code, printed.strip()) == (0, f"2 maps in {tmp_path / 'expected'}")
    told = json.loads((tmp_path / "expected" / "ill_effect.json").read_text(encoding="utf-8"))["predicted_class"]
    assert told["map_of"] == "ill"
    expected = np.load(tmp_path / "expected" / "ill_effect.npy")
    assert np.abs(expected).mean() == pytest.approx(np.abs(said).mean() * told["probabilities"]["ill"], rel=0.02)

    line = refused("attribute", trained / "model", renamed[0], "--out", tmp_path / "no", "--predict-class")
    assert "--with-classifier" in line


def test_scores_stand_side_by_side_and_each_network_is_loaded_once(vagan, trained, tmp_path, monkeypatch):
    loaded = []

    def recorded(path, original=folder.load_model):
        loaded.append(path)
        return original(path)

    for module in (folder, model_in_memory, class_gate):
        monkeypatch.setattr(module, "load_model", recorded)
    code, _, _ = vagan("evaluate", tmp_path / "cohort", trained, "--out", tmp_path / "results", "--predicted-classes")
    assert code == 0
    assert sorted(loaded) == [trained, trained / "classifier"]
    scores = pd.read_csv(tmp_path / "results" / "scores.csv").query("metric == 'mean_abs'")
    energies = {
        name: scores[scores["method"] == name].set_index("case")["value"]
        for name in ("VA-GAN", "VA-GAN, predicted classes", "VA-GAN, expected effect")
    }
    cohort = Cohort(tmp_path / "cohort")
    rows = cohort.manifest.indices("test")
    maps = Attributor.load(trained).effect(cohort.images(rows)).abs().mean(dim=(1, 2, 3)).numpy()
    known = pd.Series(maps, index=cohort.manifest.table["id"].iloc[rows])
    np.testing.assert_allclose(energies["VA-GAN"], known[energies["VA-GAN"].index], rtol=1e-4)
    gate = Attributor.load(trained, expected=True).gate
    weighted = known * gate.probabilities(cohort.images(rows))[:, 1].numpy()
    expected = energies["VA-GAN, expected effect"]
    assert weighted.max() > 2 * weighted.min()
    np.testing.assert_allclose(expected, weighted[expected.index], rtol=0.02)  # but for pixels that are clipped
    predicted = energies["VA-GAN, predicted classes"]
    assert all(value == 0 or value == pytest.approx(known[case], rel=1e-4) for case, value in predicted.items())
    healthy = cohort.manifest.table["class"].iloc[rows].to_numpy() == "healthy"
    assert (predicted[cohort.manifest.table["id"].iloc[rows[healthy]]] == 0).mean() > 0.5
    summary = json.loads((tmp_path / "results" / "summary.json").read_text(encoding="utf-8"))
    assert summary["classifiers"]["run, class gate"]["accuracy"] > 0.6
    assert "abstained" in summary["rules"]["predicted classes of run"]
