"""What every metric must do, whatever it measures."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import pytest

from shapes import SPACES
from vagan.errors import CohortError, ModelError
from vagan.evaluation.metrics.agreement import mean_abs
from vagan.evaluation.metrics.base import Need, score
from vagan.evaluation.metrics.detection import otsu_threshold
from vagan.evaluation.metrics.registry import METRICS, find_metric

PAIRS = {("maps", "effects"), ("maps", "known effects"), ("maps", "exact effects")}
AGREEMENT = [metric for metric in METRICS.values() if metric.needs in PAIRS]
DETECTION = [metric for metric in METRICS.values() if metric.needs == ("maps", "known effects", "threshold")]


class Scored(NamedTuple):
    """A metric as one function of maps and effects, and its best value."""

    name: str
    function: Callable
    best: float | None


EVERY_METRIC = [Scored(metric.name, metric.function, metric.best) for metric in AGREEMENT] + [
    Scored(metric.name, partial(metric.function, threshold=0.4), metric.best) for metric in DETECTION
]
OF_MAPS = [
    Scored("mean_abs", lambda maps, _: mean_abs(maps), None),
    Scored("otsu_threshold", lambda maps, _: otsu_threshold(maps), None),
]
# with the shapes in signatures executed, a wrong one is already caught there, as a TypeError
SHAPE_ERRORS = (ValueError, TypeError)
every_metric = pytest.mark.parametrize("metric", EVERY_METRIC, ids=lambda metric: metric.name)
every_space = pytest.mark.parametrize("space", SPACES, ids=["2-D", "3-D"])


@pytest.fixture
def cases():
    def make(space, count=4):
        rng = np.random.default_rng(3)
        effects = np.zeros((count, 2, *space), np.float32)
        effects[:, :, 1:4, 2:6] = rng.uniform(0.5, 2, (count, 1, *[1] * len(space)))
        maps = effects + rng.normal(0, 0.4, effects.shape).astype(np.float32)
        return maps, effects

    return make


@every_metric
@every_space
def test_one_finite_value_for_each_case_and_cases_do_not_influence_each_other(metric, space, cases):
    values = metric.function(*cases(space))
    assert values.shape == (4,)
    assert values.dtype == np.float64
    assert np.isfinite(values).all()
    maps, effects = cases(space)
    before = maps.copy(), effects.copy()
    alone = [metric.function(maps[i : i + 1], effects[i : i + 1])[0] for i in range(4)]
    np.testing.assert_allclose(metric.function(maps, effects), alone, rtol=1e-12)
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(metric.function(maps[order], effects[order]), np.array(alone)[order], rtol=1e-12)
    np.testing.assert_array_equal((maps, effects), before)


@every_metric
@every_space
def test_the_true_effect_scores_best(metric, space, cases):
    _, effects = cases(space)
    np.testing.assert_allclose(metric.function(effects, effects), metric.best, rtol=1e-6)


@pytest.mark.parametrize("metric", AGREEMENT, ids=lambda metric: metric.name)
@every_space
def test_noise_scores_less(metric, space, cases):
    _, effects = cases(space)
    noise = np.random.default_rng(5).normal(size=effects.shape).astype(np.float32)
    assert (metric.function(noise, effects) < 0.9).all()


@pytest.mark.parametrize("metric", DETECTION, ids=lambda metric: metric.name)
@every_space
def test_specks_of_noise_score_worse(metric, space, cases):
    """Sparse, for what dense noise marks is one component that covers every lesion."""
    _, effects = cases(space)
    rng = np.random.default_rng(5)
    noise = (rng.normal(size=effects.shape) * (rng.random(effects.shape) < 0.04)).astype(np.float32)
    assert (np.abs(metric.function(noise, effects, 0.4) - metric.best)).mean() > 0.1


@every_metric
def test_axes_of_space_are_alike(metric, cases):
    maps, effects = cases((7, 8))
    turned = np.swapaxes(maps, 2, 3), np.swapaxes(effects, 2, 3)
    np.testing.assert_allclose(metric.function(*turned), metric.function(maps, effects), rtol=1e-6)


@pytest.mark.parametrize("metric", [*EVERY_METRIC, *OF_MAPS], ids=lambda metric: metric.name)
@pytest.mark.parametrize("damage", [np.nan, np.inf])
def test_a_map_that_is_not_finite_is_refused(metric, damage, cases):
    maps, effects = cases((7, 8))
    maps[1, 0, 0, 0] = damage
    with pytest.raises(ModelError, match="case 1"):
        metric.function(maps, effects)


@every_metric
def test_what_is_not_finite_empty_or_of_two_shapes_is_refused(metric, cases):
    maps, effects = cases((7, 8))
    effects[2, 0, 0, 0] = np.nan
    with pytest.raises(CohortError, match="case 2"):
        metric.function(maps, effects)
    maps, effects = cases((7, 8))
    for other in (effects[:2], effects[:1], effects.reshape(4, 2, 8, 7)):  # a broadcast would hide the second
        with pytest.raises(SHAPE_ERRORS):
            metric.function(maps, other)


@every_metric
def test_an_empty_truth_is_refused_or_scored(metric, cases):
    maps, effects = cases((7, 8))
    effects[1] = 0
    if metric.name in {"ncc", "dice", "false_lesions"}:
        assert np.isfinite(metric.function(maps, effects)).all()
        return
    with pytest.raises(CohortError, match="case 1"):
        metric.function(maps, effects)


@pytest.mark.parametrize("metric", [*EVERY_METRIC, *OF_MAPS], ids=lambda metric: metric.name)
@pytest.mark.parametrize("shape", [(7, 8), (0, 1, 7, 8), (2, 1, 0, 8)])
def test_arrays_without_pixels_are_refused(metric, shape):
    with pytest.raises(SHAPE_ERRORS):
        metric.function(np.ones(shape), np.ones(shape))


@every_metric
@every_space
def test_single_and_double_precision_score_alike(metric, space, cases):
    maps, effects = cases(space)
    single, double = (metric.function(maps.astype(kind), effects.astype(kind)) for kind in (np.float32, np.float64))
    assert double.dtype == np.float64
    np.testing.assert_allclose(single, double, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_record_describes_its_metric(metric):
    assert metric.label
    assert metric.explanation
    assert metric.explanation.endswith("is better") == (metric.direction != "neither")
    assert set(metric.needs) <= set(get_args(Need))
    assert find_metric(metric.name) is not None


def test_only_metrics_whose_needs_are_met_are_computed(cases):
    maps, effects = cases((7, 8))
    found = score(METRICS.values(), {"raw maps": maps, "maps": maps, "effects": effects})
    assert list(found.cases) == ["mean_abs", "ncc"]
    assert found.cohort == {}


def test_every_metric_is_in_the_documentation():
    page = (Path(__file__).parents[2] / "docs" / "explanation" / "metrics.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`(\w+)(?:/REGION)?`", page))
    assert METRICS.keys() - documented == {"ncc_brain"}  # of the tutorial on follow-up scans
