import pandas as pd
import pytest

from trainings import TINY_SETTINGS, assert_resumes
from vagan.data.sources.synthetic import make_synthetic_cohort
from vagan.model.folder import load_model
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


def test_a_classifier_resumes_bit_equal(small_cohort, tmp_path, monkeypatch):
    config = load_config(settings=SETTINGS | {"method": "classifier", "training.checkpoint_seconds": "0"})
    whole = train(small_cohort, tmp_path / "whole", config)
    assert_resumes(small_cohort, tmp_path / "run", config, whole, monkeypatch, task=ClassifierTask)
