"""Trainings of classifiers; whether their probabilities mean what they say, and how they are made to."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from trainings import TINY_SETTINGS, assert_resumes
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.model.folder import load_model
from vagan.nn.classification_metrics import binary_metrics, multiclass_metrics
from vagan.training.config import load_config
from vagan.training.engine.loop import train
from vagan.training.tasks.classification import ClassifierTask, fitted_temperature

SETTINGS = TINY_SETTINGS | {"classifier.width": "2", "classifier.updates": "10", "training.batch_size": "8"}


@pytest.mark.parametrize("method", ["classifier", "cam-classifier"])
@pytest.mark.parametrize("size", [(24, 20), (16, 18, 17)])
def test_classifiers_learn_to_separate_the_classes(method, size, tmp_path):
    cohort = make_synthetic_cohort(tmp_path / "cohort", n=80, size=size, intensity="fixed")
    settings = SETTINGS | {"method": method, "classifier.updates": "60", "classifier.width": "4"}
    run = train(cohort, tmp_path / "run", load_config(settings=settings))
    metrics = pd.read_csv(run.metrics)
    losses = metrics["classifier/cross_entropy"]
    assert losses.iloc[-3:].mean() < 0.5 * losses.iloc[:3].mean()
    assert {"validation/accuracy", "validation/balanced_accuracy", "validation/auc"} < set(metrics.columns)
    network, facts = load_model(run.path)
    assert facts.kind == method
    assert not network.training


def test_a_classifier_resumes_bit_equal(small_cohort, tmp_path, monkeypatch):
    config = load_config(settings=SETTINGS | {"method": "classifier", "training.checkpoint_seconds": "0"})
    whole = train(small_cohort, tmp_path / "whole", config)
    assert_resumes(small_cohort, tmp_path / "run", config, whole, monkeypatch, task=ClassifierTask)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
def test_the_temperature_is_that_by_which_a_classifier_is_too_sure(classes, scale):
    rng = np.random.default_rng(1)
    logits = 1.5 * rng.normal(size=(6000, classes))
    labels = np.array([rng.choice(classes, p=row) for row in softmax(logits, axis=1)])
    assert fitted_temperature(scale * logits, labels) == pytest.approx(scale, rel=0.07)


def calibration_error(probabilities, labels):
    return binary_metrics(probabilities, labels)["calibration_error"]


def test_figures_and_calibration_of_hand_worked_cases():
    probabilities = np.array([0.9, 0.8, 0.4, 0.3, 0.6])
    figures = binary_metrics(probabilities, np.array([1, 1, 1, 0, 0]))
    assert figures["accuracy"] == pytest.approx(3 / 5)
    assert figures["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert figures["auc"] == pytest.approx(5 / 6)  # of six pairs only (0.4, 0.6) is in the wrong order
    assert calibration_error(np.full(10, 0.95), np.array([1] * 6 + [0] * 4)) == pytest.approx(0.35)
    assert calibration_error(np.array([1.0, 0.0]), np.array([1, 0])) == pytest.approx(0)
    # two bins: 0.9 is right half of the time, 0.6 always; each holds half of the cases
    mixed = np.array([0.92, 0.92, 0.62, 0.62])
    assert calibration_error(mixed, np.array([1, 0, 1, 1])) == pytest.approx((0.42 + 0.38) / 2)


def test_calibration_makes_the_error_small():
    rng = np.random.default_rng(2)
    logits = np.stack([np.zeros(4000), rng.normal(0, 2, 4000)], axis=1)
    labels = (rng.random(4000) < softmax(logits, axis=1)[:, 1]).astype(np.int64)
    overconfident = 4 * logits
    temperature = fitted_temperature(overconfident[:2000], labels[:2000])
    before, after = (
        calibration_error(softmax(overconfident[2000:] / t, axis=1)[:, 1], labels[2000:]) for t in (1, temperature)
    )
    assert before > 0.1
    assert after < 0.03


@pytest.mark.parametrize("count", [5, 50])
def test_where_all_are_separated_probabilities_follow_the_rule_of_succession(count):
    labels = np.repeat([0, 1], count)
    logits = np.where(labels[:, None] == [0, 1], 30.0, 0.0)
    surest = softmax(logits / fitted_temperature(logits, labels), axis=1).max(axis=1)
    np.testing.assert_allclose(surest, (count + 1) / (count + 2), rtol=1e-3)


def test_figures_of_three_classes_are_those_of_scikit_learn():
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(3), [30, 20, 10])
    probabilities = softmax(rng.normal(size=(60, 3)) + np.eye(3)[labels], axis=1)
    found = multiclass_metrics(probabilities, labels)
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, probabilities.argmax(1)))
    assert found["auc"] == pytest.approx(roc_auc_score(labels, probabilities, multi_class="ovr"))
    both = labels < 2
    two = probabilities[both][:, :2] / probabilities[both][:, :2].sum(axis=1, keepdims=True)
    assert multiclass_metrics(two, labels[both]) == binary_metrics(two[:, 1], labels[both])
    hand = np.array([[0.85, 0.1, 0.05]] * 4)  # right in half of the cases, and sure to 0.85
    assert multiclass_metrics(hand, np.array([0, 0, 1, 2]))["calibration_error"] == pytest.approx(0.35)
