import numpy as np
import pandas as pd
import pytest

from trainings import TINY_SETTINGS, assert_resumes
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.model.folder import load_model
from vagan.nn.classification_metrics import binary_metrics
from vagan.training.config import load_config
from vagan.training.engine.loop import train
from vagan.training.tasks.classification import ClassifierTask

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


def _calibration_error(probabilities, labels):
    return binary_metrics(probabilities, labels)["calibration_error"]


def test_a_classifier_resumes_bit_equal(small_cohort, tmp_path, monkeypatch):
    config = load_config(settings=SETTINGS | {"method": "classifier", "training.checkpoint_seconds": "0"})
    whole = train(small_cohort, tmp_path / "whole", config)
    assert_resumes(small_cohort, tmp_path / "run", config, whole, monkeypatch, task=ClassifierTask)


def test_figures_and_calibration_of_hand_worked_cases():
    probabilities = np.array([0.9, 0.8, 0.4, 0.3, 0.6])
    labels = np.array([1, 1, 1, 0, 0])
    figures = binary_metrics(probabilities, labels)
    assert figures["accuracy"] == pytest.approx(3 / 5)
    assert figures["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert figures["auc"] == pytest.approx(5 / 6)  # of six pairs only (0.4, 0.6) is in the wrong order
    sure = np.full(10, 0.95)
    assert _calibration_error(sure, np.array([1] * 6 + [0] * 4)) == pytest.approx(0.35)
    assert _calibration_error(np.array([1.0, 0.0]), np.array([1, 0])) == pytest.approx(0)
    # two bins: 0.9 is right half of the time, 0.6 always; each holds half of the cases
    mixed = np.array([0.92, 0.92, 0.62, 0.62])
    assert _calibration_error(mixed, np.array([1, 0, 1, 1])) == pytest.approx((0.42 + 0.38) / 2)
