"""Maps against follow-up scans, on made-up brains whose exact effect is known."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from brains import COARSE, Oracle, patients, write_brains
from vagan.attribution.vagan import VAGAN
from vagan.data.volume import read_volume
from vagan.errors import CohortError, ConfigError
from vagan.evaluation import runs
from vagan.evaluation.evaluate import EvaluationOptions
from vagan.evaluation.ground_truth import CEILING
from vagan.evaluation.longitudinal import evaluate as ground_truth
from vagan.evaluation.longitudinal.evaluate import evaluate_longitudinal, noise_ceiling
from vagan.evaluation.metrics.agreement import ncc
from vagan.evaluation.runs import RunSelection
from vagan.inference.attributor import Attributor

CONTROLS = ("group-mean-difference", "random-map")
RANDOM = RunSelection(methods=["random-map"])


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_brains(tmp_path_factory.mktemp("brains ü") / "cohort", patients())


@pytest.fixture(scope="module")
def results(cohort):
    out = cohort.path.parent / "results"
    evaluate_longitudinal(cohort, [], out, selection=RunSelection(methods=CONTROLS))
    return out


def test_the_results_folder(cohort, results):
    scores = pd.read_csv(results / "scores.csv")
    assert set(scores["method"]) == {"group mean difference", "random map", CEILING}
    known = {"ncc", "ncc_brain", "ncc_brain_by_subject", "mean_abs", "relative_change", "residual_effect"}
    assert set(scores["metric"]) == known
    assert (scores[scores["metric"] == "ncc"].groupby("method").size() == 3).all()
    assert scores["value"].between(-1, 1).all()
    case = "sub-c0_ses-m24_from-bl"
    effect = read_volume(results / "observed" / f"{case}_desc-observed_stat-effect_statmap.nii.gz")
    np.testing.assert_allclose(effect.affine, COARSE.affine)
    assert np.abs(effect.array).max() > 0.2
    about = json.loads((results / "observed" / f"{case}_desc-observed_stat-effect_statmap.json").read_text("utf-8"))
    assert about["Sources"] == ["c0_bl", "c0_m24"]
    assert about["Found"]["similarity"] > 0.8
    saved = read_volume(results / "maps" / "group-mean-difference" / f"{case}_stat-effect_statmap.nii.gz")
    again = float(ncc(saved.array[None, None], effect.array[None, None])[0])
    told = scores.query("case == @case and method == 'group mean difference' and metric == 'ncc'")["value"].item()
    assert told == pytest.approx(again, abs=1e-4)
    summary = json.loads((results / "summary.json").read_text("utf-8"))
    means = {name: scores["ncc_brain"]["mean"] for name, scores in summary["methods"].items()}
    assert means["random map"] < 0.2 < means["group mean difference"] < summary["ceiling"]["ncc_brain"]["mean"]
    pairs = pd.read_csv(results / "pairs.csv", dtype=str).set_index("subject")
    assert pairs["kind"].to_dict() == dict.fromkeys(("c0", "c1", "c2"), "converter") | dict.fromkeys(
        ("s0", "s1", "s2"), "stable"
    )
    assert pairs["months"].unique().tolist() == ["24.0"]


def test_table2_has_the_best_first_and_the_ceiling_last(results):
    lines = (results / "table2.md").read_text("utf-8").splitlines()
    names = [line.split(" | ")[0] for line in lines[2:5]]
    assert names == ["| group mean difference", "| random map", "| ceiling: the exact effect"]
    ceiling = json.loads((results / "summary.json").read_text("utf-8"))["ceiling"]
    cells = lines[2].removesuffix(" |").split(" | ")[1:4]
    metrics = ("ncc", "ncc_brain", "ncc_brain_by_subject")
    assert [cell[-8:] for cell in cells] == [f" of {ceiling[metric]['mean']:.2f}" for metric in metrics]
    assert " of " not in lines[4].split(" | ")[1]  # the ceiling itself


def test_the_ceiling_is_what_the_exact_effect_scores(cohort, results, monkeypatch):
    """A method that knows the truth must come near the ceiling, which knows only noise and stable subjects."""
    monkeypatch.setattr(runs, "_control", lambda *_: Oracle(cohort))
    evaluate_longitudinal(cohort, [], results.parent / "oracle", selection=RANDOM)
    summary = json.loads((results.parent / "oracle" / "summary.json").read_text("utf-8"))
    for metric in ("ncc", "ncc_brain"):
        reached, ceiling = (scores[metric]["mean"] for scores in (summary["methods"]["oracle"], summary["ceiling"]))
        assert reached == pytest.approx(ceiling, abs=0.1)


class Restless(Oracle):
    """The truth, and elsewhere as much against it."""

    def __init__(self, cohort, convention):
        super().__init__(cohort)
        self.convention = convention

    def attribute(self, images, covariates=None):
        effect = super().attribute(images)
        return effect - effect.roll(3, 2)


@pytest.mark.parametrize(("convention", "read"), [("absolute", np.abs), ("positive", lambda found: found.clip(0))])
def test_maps_are_read_as_their_method_says(cohort, results, monkeypatch, convention, read):
    out = results.parent / convention
    shutil.copytree(results, out)
    monkeypatch.setattr(runs, "_control", lambda *_: Restless(cohort, convention))
    evaluate_longitudinal(cohort, [], out, selection=RANDOM, options=EvaluationOptions(limit=1))
    told = pd.read_csv(out / "scores.csv").query("method == 'oracle' and metric == 'ncc'")
    case = told["case"].item()
    effect = read_volume(out / "observed" / f"{case}_desc-observed_stat-effect_statmap.nii.gz").array
    found = read_volume(out / "maps" / "oracle" / f"{case}_stat-effect_statmap.nii.gz").array
    again = float(ncc(read(found)[None, None], np.abs(effect)[None, None])[0])
    assert told["value"].item() == pytest.approx(again, abs=1e-4)


class Shrinking(torch.nn.Module):
    """Raw map of a velocity along the first axis that is linear: volumes change by the same factor everywhere."""

    def forward(self, images):
        places = torch.linspace(-1, 1, images.shape[2]).view(1, 1, -1, 1, 1)
        raw = torch.zeros(len(images), 3, *images.shape[2:])
        raw[:, :1] = 0.5 * places
        return raw


def test_what_a_generator_moves_is_written_as_log_jacobian(cohort, results, monkeypatch):
    method = Attributor([VAGAN(Shrinking(), output="warp")])
    monkeypatch.setattr(runs, "_control", lambda *_: method)
    out = shutil.copytree(results, results.parent / "deforming")
    evaluate_longitudinal(cohort, [], out, selection=RANDOM, options=EvaluationOptions(limit=1))
    (path,) = (out / "maps" / "VA-GAN").glob("*_stat-logjacobian_statmap.nii.gz")
    subjects = [f"sub-{name}" for name in cohort.manifest.table["subject"]]
    row = subjects.index(path.name.split("_")[0]) + 1
    written = read_volume(path)
    wanted = method.attribute(cohort.images([row])).deformation.log_jacobian[0, 0].numpy()
    np.testing.assert_allclose(written.array, wanted, atol=1e-5)
    np.testing.assert_allclose(written.affine, COARSE.affine)
    middle = wanted[6:14, 4:-4, 4:-4]
    assert abs(middle.mean()) > 0.01
    assert middle.std() < 0.1 * abs(middle.mean())
    monkeypatch.setattr(runs, "_control", lambda *_: Oracle(cohort, "VA-GAN"))
    evaluate_longitudinal(cohort, [], out, selection=RANDOM, options=EvaluationOptions(limit=1))
    assert not path.exists()


def test_the_formula_of_the_ceiling():
    rng = np.random.default_rng(0)
    for size in (0.5, 1.0, 2.0):
        effect, noise = rng.normal(0, 1, 40_000), rng.normal(0, size, 40_000)
        observed = effect + noise
        measured = np.corrcoef(observed, effect)[0, 1]
        assert noise_ceiling(observed.var(), noise.var()) == pytest.approx(measured, abs=0.02)
    assert noise_ceiling(1.0, 2.0) == noise_ceiling(0.0, 0.0) == 0


def test_observed_effects_are_kept_until_their_rule_changes(cohort, results, monkeypatch):
    calls = []
    observe = ground_truth.observe
    monkeypatch.setattr(ground_truth, "observe", lambda *args, **more: calls.append(args) or observe(*args, **more))
    evaluate_longitudinal(cohort, [], results, selection=RANDOM)
    assert calls == []
    next((results / "observed").glob("*c1*_statmap.json")).write_text("{damaged", encoding="utf-8")
    evaluate_longitudinal(cohort, [], results, selection=RANDOM)
    assert len(calls) == 1
    evaluate_longitudinal(cohort, [], results, intensity="linear", selection=RANDOM)
    assert len(calls) == 1 + 6


def test_mistakes_are_told_before_anything_is_written(cohort, tmp_path):
    with pytest.raises(ConfigError, match="needs the run of a map-generator"):
        evaluate_longitudinal(cohort, [], tmp_path / "out", selection=RunSelection(methods=["vagan"]))
    with pytest.raises(CohortError, match="less than 30 months apart"):
        evaluate_longitudinal(cohort, [], tmp_path / "out", min_months=30.0)
    assert not (tmp_path / "out").exists()
