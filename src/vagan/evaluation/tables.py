"""Summaries as Markdown."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from vagan.evaluation.metrics.registry import find_metric

CEILING_LABEL = "exact effect (ceiling)"
MISSING = "n/a"

Scores = Mapping[str, Mapping[str, Any]]
"""``{metric: {"mean", "std", "ci95": [low, high], "n"}}``."""


def markdown_table(
    summary: Mapping[str, Scores],
    metrics: Sequence[str] | None = None,
    *,
    ceiling: Scores | None = None,
    order_by: str = "ncc",
    digits: int | None = None,
) -> str:
    """One row per method, best first; cells are ``mean ± std [low, high]``.

    Parameters
    ----------
    summary
        Method -> metric -> numbers; see `vagan.evaluation.statistics.summarise`.
    metrics
        Columns, in this order; by default all, in order of appearance.
    ceiling
        Scores of the exact effect, which no method can be asked to exceed; the last row.
    order_by
        Metric whose highest mean comes first; methods without it come last, in the order given.
    digits
        After the decimal point; default: what each metric's record says.

    Returns
    -------
    str
        The table, ending in a newline. A score that a method lacks is ``n/a``; an unknown standard deviation
        or interval is left out.
    """
    return markdown_lines(score_cells(summary, metrics, ceiling=ceiling, order_by=order_by, digits=digits))


def markdown_lines(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table of cells, whose first line is the head."""
    head, *rows = lines
    marked = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in marked)


def score_cells(
    summary: Mapping[str, Scores],
    metrics: Sequence[str] | None = None,
    *,
    ceiling: Scores | None = None,
    order_by: str = "ncc",
    digits: int | None = None,
) -> list[list[str]]:
    """Text of the cells of `markdown_table`: the names of the columns, then the rows."""
    metrics = _columns(summary) if metrics is None else metrics
    lines = [["method", *metrics]]
    for method, scores in _ordered(summary, order_by, ceiling):
        lines.append(
            [
                method,
                *(score_text(scores.get(m), find_metric(m).decimals if digits is None else digits) for m in metrics),
            ]
        )
    return lines


def _columns(summary: Mapping[str, Scores]) -> list[str]:
    return list(dict.fromkeys(metric for scores in summary.values() for metric in scores))


def _ordered(summary: Mapping[str, Scores], order_by: str, ceiling: Scores | None) -> list[tuple[str, Scores]]:
    def place(row: tuple[str, Scores]) -> float:
        mean = row[1][order_by]["mean"] if order_by in row[1] else None
        return -mean if _known(mean) else math.inf

    rows = sorted(summary.items(), key=place)
    return [*rows, (CEILING_LABEL, ceiling)] if ceiling else rows


def score_text(score: Mapping[str, Any] | None, digits: int) -> str:
    """``0.934 ± 0.036 [0.920, 0.945]``."""
    if score is None or not _known(score["mean"]):
        return MISSING
    text = _number(score["mean"], digits)
    if _known(score["std"]):
        text += f" ± {_number(score['std'], digits)}"
    low, high = score["ci95"]
    if _known(low) and _known(high):
        text += f" [{_number(low, digits)}, {_number(high, digits)}]"
    return text


def _number(value: float, digits: int) -> str:
    return f"{value:z.{digits}f}"  # z: no minus before a rounded zero


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and not math.isnan(value)
