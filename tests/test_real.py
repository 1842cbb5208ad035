"""Scores of the study of real pictures in ``benchmarks/real.py``."""

import runpy
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def means(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return runpy.run_path(str(BENCHMARKS / "real.py"))["_means"]


ENTRIES = {
    "flip_rate": 0.5, "flip_rate/classifier-1": 0.7, "flip_rate/classifier-2": 0.9,
    "flip_rate/cam-classifier": 0.2, "flip_rate/cam-classifier-1": 0.4,
    "baseline_response_ratio": 0.1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("classifiers", "expected"),
    [(1, (0.5, 0.2)), (2, (0.6, 0.3)), (3, (0.7, 0.3))],  # of the second architecture there are two
)
def test_scores_by_several_classifiers_are_means_over_those_of_one_architecture(means, classifiers, expected):
    found = means({name: {"mean": value} for name, value in ENTRIES.items()}, classifiers)
    assert (found["flip_rate"], found["flip_rate/cam-classifier"]) == pytest.approx(expected)
    assert found["baseline_response_ratio"] == 0.1
    assert "kernel_distance" not in found
