"""The result of an evaluation: scores, their summary, and example images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vagan.evaluation.statistics import Summary
from vagan.evaluation.tables import CEILING_LABEL, HEADLINE, Scores, markdown_table, score_cells
from vagan.inference.class_gate import ClassDecision
from vagan.notebook import table_html

RANDOM = "random"
RANDOM_RULE = "the first test images of the class of interest in a random order that does not depend on any score"

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Examples:
    """A few test images of the class of interest with the maps of all methods that were scored on as many.

    Attributes
    ----------
    ids
        One for each image.
    images
        ``(n, channel, *space)``, intensities in [-1, 1].
    effects
        Known or observed effects of the same shape: positive where the class made the image brighter.
    maps
        Effect maps of the same shape and sign, for each method.
    roles
        Why each is shown: ``random``, or what it is the extreme of. Empty: all are random.
    affine
        Of volumes: voxels to mm, if known.
    rule
        How they were chosen.
    """

    ids: tuple[str, ...]
    images: Array
    effects: Array | None
    maps: Mapping[str, Array]
    roles: tuple[str, ...] = ()
    affine: NDArray[np.float64] | None = None
    rule: str = RANDOM_RULE

    def random(self) -> "Examples":
        """Those alone that were not chosen by their scores."""
        rows = [row for row, role in enumerate(self.roles) if RANDOM in role]
        if not rows:
            return self
        return replace(
            self,
            ids=tuple(self.ids[row] for row in rows),
            images=self.images[rows],
            effects=None if self.effects is None else self.effects[rows],
            maps={name: maps[rows] for name, maps in self.maps.items()},
            roles=(),
        )


@dataclass(frozen=True)
class Evaluation:
    """Score rows, what follows from them, and examples to look at.

    Attributes
    ----------
    rows
        Columns case, subject, label, method, metric, value; the exact effect as the method ``ceiling``.
    summary
        By method and metric; see `vagan.evaluation.statistics.summarise`.
    ceiling
        The same of the exact effect, by metric; empty where it is not known.
    thresholds
        For each method the ``|map|`` above which a pixel counts as marked.
    map_seconds
        For each method the mean time of one map.
    conventions, units
        How the maps of each method are read, and what their values mean.
    decisions
        For each method with a class gate its decisions, of the baseline images and then of the cases.
    rules
        What a reader must know of how it was measured.
    """

    rows: pd.DataFrame
    summary: Summary
    ceiling: Scores
    examples: Examples
    thresholds: Mapping[str, float] = field(default_factory=dict)
    map_seconds: Mapping[str, float] = field(default_factory=dict)
    conventions: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    decisions: Mapping[str, Sequence[ClassDecision]] = field(default_factory=dict)
    rules: Mapping[str, Any] = field(default_factory=dict)

    def to_frame(self) -> pd.DataFrame:
        """Mean of every metric, a row for each method, the best first, and the ceiling last."""
        means = {name: _means(scores) for name, scores in self.summary.items()}
        table = pd.DataFrame.from_dict(means, orient="index")
        if HEADLINE in table:
            table = table.sort_values(HEADLINE, ascending=False, kind="stable")
        if self.ceiling:
            table.loc[CEILING_LABEL] = pd.Series(_means(self.ceiling))
        return table.rename_axis("method")

    def to_markdown(self) -> str:
        """Mean, deviation and interval of every metric, the best method first."""
        return markdown_table(self.summary, ceiling=self.ceiling)

    def __repr__(self) -> str:
        table = self.to_frame()
        head = f"Evaluation of {len(self.summary)} methods by {len(table.columns)} metrics"
        return f"{head}\n{table.to_string(float_format='%.3f')}"

    def _repr_html_(self) -> str:
        """Shown by notebooks: the table of `to_markdown`."""
        columns, *rows = score_cells(self.summary, ceiling=self.ceiling)
        return table_html(columns, rows)


def _means(scores: Scores) -> dict[str, float]:
    return {metric: score["mean"] for metric, score in scores.items()}
