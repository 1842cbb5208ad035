"""Summaries as Markdown. Only formatting: every number was computed elsewhere."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

CEILING = "exact effect (ceiling)"
MISSING = "n/a"

Scores = Mapping[str, Mapping[str, Any]]
"""``{metric: {"mean", "std", "ci95": [low, high], "n"}}``."""


def markdown_table(
    summary: Mapping[str, Scores],
    metrics: Sequence[str] | None = None,
    *,
    ceiling: Scores | None = None,
    order_by: str = "ncc",
    digits: int = 2,
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
        After the decimal point.

    Returns
    -------
    str
        The table, ending in a newline. A score that a method lacks is ``n/a``; an unknown standard deviation
        or interval is left out.
    """
    lines = score_cells(summary, metrics, ceiling=ceiling, order_by=order_by, digits=digits)
    lines.insert(1, ["---"] * len(lines[0]))
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in lines)


def score_cells(
    summary: Mapping[str, Scores],
    metrics: Sequence[str] | None = None,
    *,
    ceiling: Scores | None = None,
    order_by: str = "ncc",
    digits: int = 2,
) -> list[list[str]]:
    """Text of the cells of `markdown_table`: the names of the columns, then the rows."""
    metrics = _columns(summary) if metrics is None else metrics
    lines = [["method", *metrics]]
    for method, scores in _ordered(summary, order_by, ceiling):
        lines.append([method, *(_cell(scores.get(metric), digits) for metric in metrics)])
    return lines


def _columns(summary: Mapping[str, Scores]) -> list[str]:
    return list(dict.fromkeys(metric for scores in summary.values() for metric in scores))


def _ordered(summary: Mapping[str, Scores], order_by: str, ceiling: Scores | None) -> list[tuple[str, Scores]]:
    def place(row: tuple[str, Scores]) -> float:
        mean = row[1][order_by]["mean"] if order_by in row[1] else None
        return -mean if _known(mean) else math.inf

    rows = sorted(summary.items(), key=place)
    return [*rows, (CEILING, ceiling)] if ceiling else rows


def _cell(score: Mapping[str, Any] | None, digits: int) -> str:
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
