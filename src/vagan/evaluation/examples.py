"""Which test images are shown: some at random, which flatter nobody, and the extremes, each with its reason."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

RANDOM = "random"
RANDOM_RULE = "the first test images of the class of interest in a random order that does not depend on any score"

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Examples:
    """A few test images of the class of interest with the maps of all methods that were asked for as many.

    Arrays are (case, channel, *space).
    """

    ids: list[str]
    images: Array
    effects: Array | None
    maps: dict[str, Array]
    roles: list[str] = field(default_factory=list)
    """Why each is shown: ``random``, or what it is the extreme of. Empty: all are random."""
    rule: str = RANDOM_RULE


@dataclass(frozen=True)
class Choice:
    """Positions among the scored images, in the order shown, and why each is there."""

    positions: list[int]
    roles: list[str]
    rule: str


def choose_examples(rows: pd.DataFrame, cases: list[Any], *, random: int) -> Choice:
    """Best, median and worst image by score, and then the first ones of the random order.

    Without known effects there is no best; then it is those with the largest, the median and the smallest map.

    Parameters
    ----------
    rows
        Score rows of images of the class of interest alone: case, method, metric, value.
    cases
        Ids of the scored images in the random order.
    random
        How many of the first ones are shown whatever their scores are.
    """
    scored = rows[rows["metric"] == "ncc"].dropna(subset="value")
    names, what = ("best", "median", "worst"), "NCC"
    if scored.empty:
        scored, names = rows[rows["metric"] == "energy"], ("largest map", "median map", "smallest map")
        what = "mean |map|"
    means = scored.groupby("method", sort=False)["value"].mean()
    method = str(means.index[0] if what != "NCC" else means.idxmax())
    order = scored[scored["method"] == method].sort_values("value", ascending=False, kind="stable")["case"]
    extremes = dict(zip(names, (order.iloc[0], order.iloc[len(order) // 2], order.iloc[-1]), strict=True))
    shown = list(dict.fromkeys([*extremes.values(), *cases[:random]]))
    reasons = [
        ", ".join([*(name for name, at in extremes.items() if at == case), *([RANDOM] * (case in cases[:random]))])
        for case in shown
    ]
    rule = f"{', '.join(names)}: by {what} of {method}, the {_which(what)}; random: {RANDOM_RULE}"
    return Choice([cases.index(case) for case in shown], reasons, rule)


def _which(what: str) -> str:
    return "method of the highest mean" if what == "NCC" else "first method"
