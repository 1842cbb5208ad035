"""An independent classifier whose predictions are known: by the brightness of an image's middle."""

import copy
import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from trainings import TINY_SETTINGS
from vagan.attribution.registry import METHODS
from vagan.attribution.vagan import VAGAN
from vagan.errors import ConfigError
from vagan.evaluation.evaluate import EvaluationOptions, evaluate, evaluate_runs
from vagan.evaluation.evaluation import verdict
from vagan.evaluation.metrics.counterfactual import ClassifierPrediction, IndependentClassifier, kernel_distance
from vagan.evaluation.runs import RunSelection
from vagan.nn.classifier import CAMClassifier
from vagan.training.config import load_config
from vagan.training.engine.loop import train


class Brightness(CAMClassifier):
    """Of the class of interest if the mean over the middle is above a limit."""

    def __init__(self, limit):
        super().__init__(2, width=1)
        self.limit = limit

    def features(self, images):
        return images[..., 8:16, 7:13]

    def forward(self, images):
        score = 50 * (self.features(images).mean((1, 2, 3)) - self.limit)
        return torch.stack([0 * score, score], dim=1)


class Adding(nn.Module):
    """A generator that takes from each image's middle so much."""

    def __init__(self, amount):
        super().__init__()
        self.amount = amount

    def forward(self, images):
        maps = torch.zeros_like(images)
        maps[..., 8:16, 7:13] = -self.amount
        return maps


@pytest.fixture
def limit(small_cohort):
    """Between the middles of both classes of the test images, which it does not tell apart perfectly."""
    means = [small_cohort.images(small_cohort.manifest.indices("test", n))[..., 8:16, 7:13].mean() for n in (0, 1)]
    return float(sum(means) / 2)


def change_of(image):
    """Relative change of an image whose middle is made black."""
    return np.linalg.norm(image[..., 8:16, 7:13] + 1) / np.linalg.norm(image - image.mean())


def test_a_classifier_in_training_mode_predicts_as_in_evaluation_mode_and_keeps_its_statistics(small_cohort):
    network = CAMClassifier(2, width=2)
    before, rows = copy.deepcopy(network.state_dict()), np.arange(4)
    found = IndependentClassifier(network, small_cohort).predict(rows).probabilities
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    expected = IndependentClassifier(network.eval(), small_cohort).predict(rows).probabilities
    np.testing.assert_array_equal(found, expected)


def test_flips_by_hand(small_cohort, limit):
    first, second = (
        IndependentClassifier(Brightness(at).eval(), small_cohort, name=name)
        for name, at in (("first", limit), ("second", 5.0))
    )
    methods = {"none": VAGAN(Adding(0.0)), "much": VAGAN(Adding(2.0)), "wrong way": VAGAN(Adding(-1.0))}
    evaluation = evaluate(methods, small_cohort, EvaluationOptions(classifiers=[first, second]))
    tests = small_cohort.manifest.indices("test", 1)
    middles = small_cohort.images(tests)[..., 8:16, 7:13].mean((1, 2, 3)).numpy()
    summary = evaluation.summary
    assert [summary[name]["flip_rate"]["mean"] for name in methods] == [0, 1, 0]
    assert summary["much"]["flip_rate"]["n"] == (middles > limit).sum() > 0
    assert summary["much"]["probability_drop"]["n"] == len(tests)
    probabilities = 1 / (1 + np.exp(-50 * (middles - limit)))
    assert summary["much"]["probability_drop"]["mean"] == pytest.approx(probabilities.mean(), abs=1e-4)
    assert summary["none"]["probability_drop"]["mean"] == pytest.approx(0, abs=1e-6)
    assert summary["wrong way"]["probability_drop"]["mean"] <= 0
    assert "flip_rate/second" not in summary["much"]  # it assigns no image to the class of interest
    assert summary["much"]["kernel_distance/second"]["n"] == len(tests)
    healthy = small_cohort.images(small_cohort.manifest.indices("test", 0))
    real = evaluation.references["real baseline images"]
    assert real["flip_rate"]["mean"] == (healthy[..., 8:16, 7:13].mean((1, 2, 3)) <= limit).double().mean()
    assert real["flip_rate/second"]["mean"] == 1
    assert evaluation.references["images unchanged"]["kernel_distance"]["mean"] > real["kernel_distance"]["mean"]
    assert "real baseline images" in evaluation.to_markdown()
    # all the middle can lose, also on baseline images; of the counterfactual's nothing is left
    assert [summary["much"][name]["mean"] for name in ("empty_map", "residual_effect")] == [1, 0]
    assert "residual_effect" not in summary["none"]
    changes = [change_of(image) for image in healthy.numpy()]
    assert summary["much"]["baseline_change"]["mean"] == pytest.approx(np.mean(changes), rel=1e-5)
    image = small_cohort.images(tests[:1])[0].numpy()
    row = evaluation.rows.query("method == 'much' and metric == 'relative_change'").set_index("case")["value"]
    assert row[small_cohort.manifest.table["id"][tests[0]]] == pytest.approx(change_of(image), rel=1e-5)


def test_an_image_with_its_exact_effect_taken_out_is_as_near_as_a_baseline_image(small_cohort, limit):
    classifier = IndependentClassifier(Brightness(limit).eval(), small_cohort)
    tests = small_cohort.manifest.indices("test", 1)
    exact = (small_cohort.images(tests) - small_cohort.counterfactuals(tests)).numpy()
    subjects = np.arange(len(tests))

    def distance(maps=None):
        return kernel_distance(classifier.predict(tests, maps), classifier.reference, subjects)

    raw, without = distance(), distance(exact)
    assert without["mean"] < raw["ci95"][0] < raw["mean"]
    assert distance(0.5 * exact)["mean"] < raw["mean"]


def test_maps_in_other_units_are_not_removed_from_images(small_cohort, limit):
    random = METHODS["random-map"].make()
    assert random.unit == "none"
    assert VAGAN(Adding(0.1)).unit == "intensity"
    assert METHODS["additive-perturbation"].make(Brightness(0.0)).unit == "intensity"
    assert METHODS["cam"].make(CAMClassifier(2, width=2)).unit == "class score"
    classifier = IndependentClassifier(Brightness(limit).eval(), small_cohort)
    scores = evaluate([random], small_cohort, EvaluationOptions(classifiers=[classifier])).summary
    assert not {"flip_rate", "kernel_distance"} & set(scores["random map"])


NO_VALUES = np.zeros(0)


def distance(features, reference, subjects=0):
    subjects = np.broadcast_to(subjects, len(features))
    return kernel_distance(ClassifierPrediction(NO_VALUES, features), reference, subjects)


class TestKernelDistance:
    def test_slow_loops_and_no_bias(self):
        rng = np.random.default_rng(0)
        one, other = rng.normal(size=(5, 3)), rng.normal(1, 2, (4, 3))
        scale = np.sqrt((other**2).mean())

        def kernel(a, b):
            return (sum(x * y for x, y in zip(a, b, strict=True)) / scale**2 / 3 + 1) ** 3

        def pairs(sample):
            return [kernel(a, b) for i, a in enumerate(sample) for j, b in enumerate(sample) if i != j]

        between = np.mean([kernel(a, b) for a in one for b in other])
        expected = np.mean(pairs(one)) + np.mean(pairs(other)) - 2 * between
        assert distance(one, other)["mean"] == pytest.approx(expected)
        assert distance(7 * one, 7 * other)["mean"] == pytest.approx(expected)
        rng = np.random.default_rng(1)
        found = [distance(rng.normal(1, 1, (6, 20)), rng.normal(1, 1, (8, 20)))["mean"] for _ in range(400)]
        assert abs(np.mean(found)) < 3 * np.std(found) / 20
        assert min(found) < 0

    def test_its_interval_is_as_wide_as_repeated_samples_scatter(self):
        rng = np.random.default_rng(2)
        reference = rng.normal(size=(300, 4))
        samples = [rng.normal(0.5, 1, (60, 4)) for _ in range(60)]
        entries = [distance(sample, reference, np.arange(60)) for sample in samples]
        true = distance(rng.normal(0.5, 1, (3000, 4)), reference)["mean"]
        assert np.mean([low < true < high for low, high in (entry["ci95"] for entry in entries)]) > 0.8
        twice = distance(np.repeat(samples[0], 2, axis=0), reference, np.repeat(np.arange(60), 2))
        width = np.ptp(entries[0]["ci95"])
        assert np.ptp(twice["ci95"]) == pytest.approx(width, rel=0.3)
        assert np.isnan(distance(samples[0], reference)["ci95"][0])


def test_a_classifier_must_be_independent_of_the_runs(small_cohort, tmp_path):
    kind = {"method": "classifier", "classifier.width": "2", "classifier.updates": "2"}
    settings = {"vagan": {}, "seen": kind, "other": kind | {"training.seed": "5"}}
    run, seen, other = (
        train(small_cohort, tmp_path / name, load_config(settings=TINY_SETTINGS | more)).path
        for name, more in settings.items()
    )
    out, methods = tmp_path / "out", ["vagan", "random-map"]
    evaluate_runs(small_cohort, [run, seen], out, selection=RunSelection(methods=methods, classifiers=[other]))
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["rules"]["classifiers"].startswith("other, independent of all methods")
    rows = pd.read_csv(out / "scores.csv")
    assert set(rows[rows["metric"] == "relative_change"]["method"]) == {"VA-GAN"}
    with pytest.raises(ConfigError, match="must be independent"):
        evaluate_runs(small_cohort, [run, seen], tmp_path / "no", selection=RunSelection(classifiers=[seen]))
    with pytest.raises(ConfigError, match="holds a map-generator"):
        evaluate_runs(small_cohort, [seen], tmp_path / "no", selection=RunSelection(classifiers=[run]))
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("flips", "distance", "judged"),
    [
        (0.9, 0.2, "better than"),
        (0.6, 0.9, "no better than"),
        (0.5, 1.5, "no better than"),
        (0.9, 0.9, "not clearly better than"),
    ],
)
def test_the_verdict_compares_with_the_group_mean_difference(flips, distance, judged):
    def scores(flips, distance):
        means = {"flip_rate": flips, "kernel_distance": distance}
        return {name: {"mean": mean, "ci95": [mean - 0.1, mean + 0.1]} for name, mean in means.items()}

    summary = {"VA-GAN": scores(flips, distance), "group mean difference": scores(0.6, 0.9), "map": {}}
    real = {"real baseline images": scores(0.96, 0.0)}
    assert verdict(summary, real, "sneaker")[0].startswith(f"VA-GAN: {judged}")
    assert not verdict({"VA-GAN": summary["VA-GAN"]}, real, "sneaker")  # without a control there is none
