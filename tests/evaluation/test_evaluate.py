"""Scores of methods whose maps are known."""

import itertools
import json
import math
import time

import numpy as np
import pandas as pd
import pytest
import torch

from models import Known
from trainings import TINY_SETTINGS
from vagan.data.cohort import write_cohort
from vagan.data.manifest import Manifest
from vagan.data.schema import CohortCase
from vagan.data.sources.synthetic import square_regions
from vagan.errors import CohortError, ConfigError
from vagan.evaluation.evaluate import EvaluationOptions, choose_examples, evaluate, evaluate_runs
from vagan.evaluation.metrics.agreement import ncc
from vagan.evaluation.metrics.detection import otsu_threshold
from vagan.evaluation.runs import RunSelection, load_methods
from vagan.inference.attributor import Attributor
from vagan.training.config import load_config
from vagan.training.engine.loop import train


@pytest.fixture
def truth(small_cohort):
    return small_cohort.effects(np.arange(len(small_cohort.manifest))).numpy()


def mean(evaluation, method, metric):
    return (evaluation.ceiling if method == "ceiling" else evaluation.summary[method])[metric]["mean"]


def test_the_true_effect_scores_one_its_negative_minus_one_and_nothing_zero(small_cohort, truth):
    methods = {
        "true": Known(small_cohort, lambda row: truth[row]),
        "inverted": Known(small_cohort, lambda row: -truth[row]),
        "empty": Known(small_cohort, lambda row: 0 * truth[row]),
    }
    evaluation = evaluate(methods, small_cohort, EvaluationOptions(parts=square_regions))
    assert mean(evaluation, "true", "ncc") == pytest.approx(1, abs=1e-5)
    assert mean(evaluation, "inverted", "ncc") == pytest.approx(-1, abs=1e-5)
    assert mean(evaluation, "empty", "ncc") == 0
    for metric in ("dice", "average_precision", "relevance_mass", "recall/centre", "recall/off-centre"):
        assert mean(evaluation, "true", metric) == pytest.approx(1), metric
    assert mean(evaluation, "true", "baseline_response_ratio") == 0
    tests = small_cohort.manifest.indices("test", 1)
    assert mean(evaluation, "true", "mean_abs") == pytest.approx(truth[tests].mean(), rel=1e-5)


def test_the_sign_counts_as_the_convention_says(small_cohort, truth, tmp_path):
    words = ("signed", "absolute", "positive")

    def scores(cohort, map_of, metric="ncc"):
        methods = {word: Known(cohort, map_of, word) for word in words}
        evaluation = evaluate(methods, cohort)
        return [mean(evaluation, word, metric) for word in (*words, "ceiling")]

    *found, bright = scores(small_cohort, lambda row: -truth[row])
    assert found == pytest.approx([-1, 1, 0], abs=1e-5)
    rows = np.arange(len(truth))
    images, without = (read(rows).numpy() for read in (small_cohort.images, small_cohort.counterfactuals))
    dark = write_cohort(
        tmp_path / "dark",
        Manifest(small_cohort.manifest.table),
        small_cohort.metadata,
        lambda row: CohortCase(images[row], -truth[row], 2 * images[row] - without[row]),
    )
    # maps that know no direction are not blamed for dark effects
    *found, ceiling = scores(dark, lambda row: truth[row])
    assert found == pytest.approx([-1, 1, 1], abs=1e-5)
    assert ceiling == pytest.approx(bright, abs=1e-6)
    slopes = scores(dark, lambda row: truth[row], "amplitude_slope")
    assert slopes[:2] == pytest.approx([-slopes[1], slopes[2]])


def test_the_ceiling_is_the_exact_counterfactual_and_amplitude_is_measured_by_it(small_cohort):
    tests = small_cohort.manifest.indices("test", 1)
    exact = (small_cohort.images(tests) - small_cohort.counterfactuals(tests)).numpy()
    images = small_cohort.images(np.arange(80)).numpy()
    without = small_cohort.counterfactuals(np.arange(80)).numpy()
    half = Known(small_cohort, lambda row: 0.5 * (images[row] - without[row]))
    evaluation = evaluate({"half": half}, small_cohort)
    assert evaluation.examples.effects_name == "true effect"
    expected = ncc(exact, small_cohort.effects(tests).numpy()).mean()
    assert mean(evaluation, "ceiling", "ncc") == pytest.approx(expected)
    assert mean(evaluation, "half", "ncc") == pytest.approx(expected, abs=1e-6)
    assert mean(evaluation, "ceiling", "amplitude_slope") == pytest.approx(1)
    assert mean(evaluation, "half", "amplitude_slope") == pytest.approx(0.5)


def test_thresholds_come_from_validation_images(small_cohort, truth):
    """A map ten times stronger on test images must not move the threshold."""
    split = small_cohort.manifest.table["split"]
    rng = np.random.default_rng(0)
    noise = rng.random(truth.shape, dtype=np.float32) * 0.2

    def map_of(row):
        return (truth[row] + noise[row]) * (10 if split[row] == "test" else 1)

    evaluation = evaluate({"known": Known(small_cohort, map_of)}, small_cohort)
    expected = otsu_threshold(np.stack([map_of(row) for row in small_cohort.manifest.indices("validation", 1)]))
    assert evaluation.thresholds["known"] == pytest.approx(expected, abs=0.02)


def test_images_of_the_training_are_never_attributed_and_test_images_once(small_cohort, truth):
    method = Known(small_cohort, lambda row: truth[row])
    evaluate([method], small_cohort)
    asked = small_cohort.manifest.table["split"][method.asked]
    assert set(asked) == {"validation", "test"}
    tests = asked.index[asked == "test"]
    assert len(tests) == len(set(tests)) == len(small_cohort.manifest.indices("test"))


def test_expensive_methods_are_scored_on_the_first_of_the_others_images(small_cohort, truth):
    methods = {name: Known(small_cohort, lambda row: truth[row]) for name in ("cheap", "expensive")}
    methods["expensive"].cost = 50
    evaluation = evaluate(methods, small_cohort, EvaluationOptions(limit=6, subset=3, examples=3))
    rows = evaluation.rows[(evaluation.rows["metric"] == "ncc")]
    cases = {name: list(rows["case"][rows["method"] == name]) for name in methods}
    assert [len(found) for found in cases.values()] == [6, 3]
    assert cases["expensive"] == cases["cheap"][:3]
    roles = dict(zip(evaluation.examples.ids, evaluation.examples.roles, strict=True))
    assert {name for name, role in roles.items() if "random" in role} == set(cases["cheap"][:3])
    # the extremes lie among all six images, and the expensive method has their maps too
    assert {name: len(maps) for name, maps in evaluation.examples.maps.items()} == dict.fromkeys(methods, len(roles))
    fewer = evaluate(methods, small_cohort, EvaluationOptions(limit=6, subset=2, examples=3))
    assert set(fewer.examples.maps) == {"cheap"}


@pytest.mark.parametrize(("seconds", "images"), [(1e-9, 1), (0.33, 2), (math.inf, 4)])
def test_time_limits_the_images_of_expensive_methods(small_cohort, truth, monkeypatch, seconds, images):
    """A map takes 0.1 s; those of four images, one for the threshold and one of the baseline class 0.6 s."""
    monkeypatch.setattr(time, "perf_counter", itertools.count(step=0.1).__next__)
    method = Known(small_cohort, lambda row: truth[row])
    method.cost = 50
    evaluation = evaluate([method], small_cohort, EvaluationOptions(subset=4, method_seconds=seconds))
    assert evaluation.summary["known"]["ncc"]["n"] == images


def test_the_best_the_median_and_the_worst_image_are_shown_with_their_own_maps(small_cohort, truth):
    tests = small_cohort.manifest.indices("test", 1)
    noise = np.random.default_rng(3).normal(size=truth.shape).astype(np.float32)
    share = {row: 0.02 * (1 + (7 * place) % len(tests)) for place, row in enumerate(tests)}  # a score for each image

    def map_of(row):
        return truth[row] + share.get(row, 0) * noise[row]

    methods = {"worse": Known(small_cohort, lambda row: noise[row]), "better": Known(small_cohort, map_of)}
    examples = evaluate(methods, small_cohort, EvaluationOptions(examples=1)).examples
    rows = [int(np.flatnonzero(small_cohort.manifest.table["id"] == name)[0]) for name in examples.ids]
    shown = dict(zip((role.split(",")[0] for role in examples.roles), rows, strict=True))
    by_share = sorted(tests, key=share.__getitem__)
    assert [shown[role] for role in ("best", "median", "worst")] == [
        by_share[0],
        by_share[len(tests) // 2],
        by_share[-1],
    ]
    np.testing.assert_allclose(examples.maps["better"], np.stack([map_of(row) for row in rows]), atol=1e-6)
    np.testing.assert_array_equal(examples.images, small_cohort.images(rows))
    assert "by NCC of better, the method of the highest mean" in examples.rule


def test_without_known_effects_the_largest_and_the_smallest_map_are_shown():
    rows = pd.DataFrame(
        {"case": list("abcde"), "method": "m", "metric": "mean_abs", "value": [3.0, 1.0, 5.0, 2.0, 4.0]}
    )
    roles, rule = choose_examples(rows, list("abcde"), random=2)
    assert list(roles.items()) == [(2, "largest map"), (0, "median map, random"), (1, "smallest map, random")]
    assert "by mean |map| of m" in rule


def test_the_baseline_response_ratio_is_that_of_the_class_means(small_cohort, truth):
    labels = small_cohort.manifest.table["label"]
    method = Known(small_cohort, lambda row: np.full_like(truth[row], 0.4 if labels[row] else -0.1))
    assert mean(evaluate({"flat": method}, small_cohort), "flat", "baseline_response_ratio") == pytest.approx(0.25)


def test_runs_are_compared_and_what_is_written_agrees(small_cohort, tmp_path):
    settings = {
        "vagan": {},
        "classifier": {"method": "classifier", "classifier.width": "2", "classifier.updates": "3"},
        "cam": {"method": "cam-classifier", "classifier.width": "2", "classifier.updates": "3"},
    }
    runs = [
        train(small_cohort, tmp_path / name, load_config(settings=TINY_SETTINGS | more)).path
        for name, more in settings.items()
    ]
    wanted = ["vagan", "guided-backprop", "integrated-gradients", "cam", "random-map", "group-mean-difference"]
    options, selection = EvaluationOptions(subset=3), RunSelection(methods=wanted)
    evaluation = evaluate_runs(small_cohort, runs, tmp_path / "out", options, selection)
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert table == evaluation.to_markdown()
    rows = pd.read_csv(tmp_path / "out" / "scores.csv", dtype={"case": str})
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert set(summary["methods"]) == {
        "VA-GAN", "guided backprop", "integrated gradients", "CAM", "random map", "group mean difference",
    }  # fmt: skip
    for method, scores in summary["methods"].items():
        found = rows[(rows["method"] == method) & (rows["metric"] == "ncc")]["value"]
        assert scores["ncc"]["mean"] == pytest.approx(found.mean(), abs=1e-5)
        assert scores["ncc"]["n"] == len(found) == (3 if method == "integrated gradients" else 8)
        assert f"| {method} |" in table
    assert summary["runs"] == ["vagan", "classifier", "cam"]
    assert summary["rules"]["conventions"]["CAM"] == "positive"
    for name in ("classifier", "cam"):
        assert (16 * summary["classifiers"][name]["accuracy"]) % 1 == 0
    difference = small_cohort.images(small_cohort.manifest.indices("train", 1)).mean(0)
    difference -= small_cohort.images(small_cohort.manifest.indices("train", 0)).mean(0)
    tests = small_cohort.manifest.indices("test", 1)
    expected = ncc(difference[None].repeat(8, 1, 1, 1).numpy(), small_cohort.effects(tests).numpy()).mean()
    assert summary["methods"]["group mean difference"]["ncc"]["mean"] == pytest.approx(expected, abs=1e-5)


def test_uncertainty_that_predicts_the_error_scores_one(small_cohort, truth):
    rng = np.random.default_rng(0)
    images, without = (read(np.arange(80)).numpy() for read in (small_cohort.images, small_cohort.counterfactuals))
    wrong = rng.random(truth.shape, dtype=np.float32) ** 4

    def member(sign, doubt):
        return Known(small_cohort, lambda row: images[row] - without[row] + wrong[row] + sign * doubt(wrong[row]))

    def growing(error):
        return error**2 + 0.01  # any growing function of the error

    calibrated = Attributor([member(sign, growing) for sign in (-1, 1)])
    overconfident = Attributor([member(sign, lambda error: 1 / (0.1 + error)) for sign in (-1, 1)])
    summary = evaluate(
        {"calibrated": calibrated, "overconfident": overconfident, "alone": calibrated.methods[0]}, small_cohort
    ).summary
    assert summary["calibrated"]["uncertainty_error_correlation"]["mean"] == pytest.approx(1, abs=1e-3)
    assert summary["overconfident"]["uncertainty_error_correlation"]["mean"] == pytest.approx(-1, abs=1e-3)
    assert "uncertainty_error_correlation" not in summary["alone"]
    # the errors of the members cancel in the mean, whatever their spread
    assert summary["calibrated"]["ncc"]["mean"] == pytest.approx(summary["overconfident"]["ncc"]["mean"], abs=1e-5)


def test_a_run_with_several_classes_is_scored_on_the_one_that_is_named(three_classes, tmp_path):
    three = three_classes
    run = train(three, tmp_path / "run", load_config(settings=TINY_SETTINGS)).path
    single = [
        train(three, tmp_path / name, load_config(settings=TINY_SETTINGS | {"training.class_of_interest": name})).path
        for name in ("type A", "type B")
    ]
    with pytest.raises(ConfigError, match="type A, type B"):
        evaluate_runs(three, [run], tmp_path / "out")
    with pytest.raises(ConfigError, match=r"the same classes: found type A against .* and type B against "):
        evaluate_runs(three, single, tmp_path / "out")
    with pytest.raises(CohortError, match="several classes of interest"):
        evaluate_runs(three, [], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    options, cpu = EvaluationOptions(class_of_interest="type B"), torch.device("cpu")
    assert load_methods(three, [], RunSelection(), interest="type B", seed=0, device=cpu).label == 2
    evaluate_runs(three, [run], tmp_path / "out", options, RunSelection(methods=["vagan"]))
    rows = pd.read_csv(tmp_path / "out" / "scores.csv", dtype={"case": str})
    assert set(rows["label"]) == {0, 2}
    method = Attributor.load(run, class_of_interest="type B")
    cases = three.manifest.indices("test", label=2)
    expected = np.abs(method.effect(three.images(cases)).numpy()).mean(axis=(1, 2, 3))
    found = rows.query("method == 'VA-GAN' and metric == 'mean_abs' and label == 2").set_index("case")["value"]
    np.testing.assert_allclose(found[three.manifest.table["id"].iloc[cases]], expected, rtol=1e-4)
    selection = RunSelection(methods=["vagan", "group-mean-difference"])
    evaluate_runs(three, single[1:], tmp_path / "one", selection=selection)
    rows = pd.read_csv(tmp_path / "one" / "scores.csv", dtype={"case": str})
    assert set(rows["label"]) == {0, 2}  # of the class that the run is about


def test_python_users_get_a_table_and_unique_names(small_cohort, truth):
    from vagan.attribution import IntegratedGradients
    from vagan.nn.classifier import CAMClassifier

    low = Known(small_cohort, lambda row: -truth[row])
    low.name = "inverted"
    network = CAMClassifier(2, width=2).eval()
    methods = [low, Known(small_cohort, lambda row: truth[row]), IntegratedGradients(network, target=1)]
    evaluation = evaluate(methods, small_cohort, EvaluationOptions(subset=2, device="auto"))
    table = evaluation.to_frame()
    assert list(table.index) == ["known", "integrated gradients", "inverted", "exact effect (ceiling)"]
    assert table.loc["inverted", "ncc"] == mean(evaluation, "inverted", "ncc")
    assert table.loc["exact effect (ceiling)", "ncc"] == mean(evaluation, "ceiling", "ncc")
    assert "inverted" in repr(evaluation)
    with pytest.raises(ConfigError, match="'known' occurs twice"):
        evaluate([methods[1], methods[1]], small_cohort)
