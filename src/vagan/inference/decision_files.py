"""What is said of images whose class a classifier decided."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vagan.attribution.method import AttributionMethod
from vagan.data.image_file import name_of
from vagan.inference.class_gate import Decided
from vagan.types import Images

UNDECIDED = "undecided"
BASELINE = "decided to be of the baseline class: the map is zero"
INTEREST = "decided to be of this class: its map"
BETWEEN = "neither is probable enough: the map is of the most probable class of interest, if the image is of it"


def describe_decision(method: AttributionMethod, images: Images, classes: Sequence[str]) -> dict[str, Any]:
    """What the description of the map of one prepared image says of its class; nothing where somebody said it."""
    if not isinstance(method, Decided):
        return {}
    (decision,) = method.decisions(images)
    shown = decision.label or 1
    return {
        "class_of_interest": classes[shown],
        "label": {
            "decision": UNDECIDED if decision.undecided else classes[decision.label],
            "means": BETWEEN if decision.undecided else INTEREST if decision.label else BASELINE,
            "probabilities": dict(zip(classes, decision.probabilities, strict=True)),
            "undecided_between": list(method.band),
            "by": "a classifier in the run folder, its probabilities calibrated on validation images",
        },
    }


def count_decisions(images: Sequence[Path], out: Path) -> str:
    """How many images were decided to be of which class, by the descriptions beside their maps."""
    about = [json.loads((out / f"{name_of(path)}_effect.json").read_text(encoding="utf-8")) for path in images]
    counts = Counter(one["label"]["decision"] for one in about)
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
