"""Every metric by its name in the results. A new metric is one function and one record in its file."""

from dataclasses import replace

from vagan.evaluation.metrics import agreement, counterfactual, detection, regions
from vagan.evaluation.metrics.base import Metric

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (*agreement.METRICS, *detection.METRICS, *regions.METRICS, *counterfactual.METRICS)
}
"""In the order of the columns of tables."""

BY_SUBJECT = "_by_subject"
"""Ends the name of a metric whose cases are averaged for each subject first."""


def unknown(*_: object) -> None:
    """Not described in this version."""


def find_metric(name: str) -> Metric:
    """Description of a metric as it is called in results: of a part, by subject, or unknown to this version."""
    kind, _, part = name.partition("/")
    base = METRICS.get(kind.removesuffix(BY_SUBJECT), Metric(unknown, name, (), direction="neither"))
    suffix = f", {part.replace('_', ' ')}" if part else ", by subject" if kind.endswith(BY_SUBJECT) else ""
    return replace(base, label=base.label + suffix) if base.function is not unknown else base
