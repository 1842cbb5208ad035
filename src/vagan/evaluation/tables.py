"""Summaries as Markdown."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from vagan.evaluation.metrics.registry import find_metric

HEADLINE = "ncc"
"""Metric that orders the methods and is named first, wherever it was computed."""
CEILING_LABEL = "exact effect (ceiling)"
MISSING = "n/a"

Scores = Mapping[str, Mapping[str, Any]]
"""``{metric: {"mean", "std", "ci95": [low, high], "n"}}``."""


def markdown_table(summary: Mapping[str, Scores], *, ceiling: Scores | None = None) -> str:
    """`score_cells` in Markdown, ending in a newline."""
    return markdown_lines(score_cells(summary, ceiling=ceiling))


def markdown_lines(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table of cells, whose first line is the head."""
    head, *rows = lines
    marked = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |\n" for line in marked)


def score_cells(summary: Mapping[str, Scores], *, ceiling: Scores | None = None) -> list[list[str]]:
    """Names of the columns; then a row for each method, best first, of cells ``mean ± std [low, high]``.

    Parameters
    ----------
    summary
        Method -> metric -> numbers; see `vagan.evaluation.statistics.summarise`. Methods without a headline score
        come last.
    ceiling
        Scores of the exact effect, which no method can be asked to exceed; the last row.
    """

    def rank(scores: Scores) -> float:
        mean = scores[HEADLINE]["mean"] if HEADLINE in scores else None
        return -mean if _known(mean) else math.inf

    metrics = list(dict.fromkeys(metric for scores in summary.values() for metric in scores))
    rows = sorted(summary.items(), key=lambda row: rank(row[1]))
    if ceiling:
        rows.append((CEILING_LABEL, ceiling))
    cells = [
        [name, *(score_text(scores.get(metric), find_metric(metric).decimals) for metric in metrics)]
        for name, scores in rows
    ]
    return [["method", *metrics], *cells]


def score_text(score: Mapping[str, Any] | None, digits: int) -> str:
    """``0.934 ± 0.036 [0.920, 0.945]``; what is unknown is left out, and all of it is ``n/a``."""
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
