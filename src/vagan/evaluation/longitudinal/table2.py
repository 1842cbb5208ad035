"""Table 2 of the paper beside what was measured. Only formatting."""

import math
from collections.abc import Mapping
from typing import Any

from vagan.evaluation.evaluate import CEILING
from vagan.evaluation.tables import Scores

PAPER = {
    "guided backprop": "0.05 ± 0.03",
    "CAM": "0.09 ± 0.07",
    "integrated gradients": "0.13 ± 0.05",
    "additive perturbation": "0.11 ± 0.05",
    "VA-GAN": "0.27 ± 0.15",
}
"""Whole volume, 50 ADNI subjects."""

LATER = (
    ("VA-GAN, penalty on the whole gradient (published later)", "0.332"),
    ("generator of a deformation (published later)", "0.365"),
)
"""On ADNI, within the brain and subject-weighted."""

COLUMNS = {
    "ncc": "NCC, whole volume",
    "ncc_brain": "NCC, brain",
    "ncc_brain_by_subject": "NCC, brain, by subject",
}


def table2(summary: Mapping[str, Scores], *, pairs: int, stable: int) -> str:
    """Methods, best first within the brain; then the ceiling and what was published.

    Parameters
    ----------
    summary
        See `vagan.evaluation.statistics.summarise`.
    pairs, stable
        How many pairs the scores, and how many the ceiling come from.
    """
    methods = {name: scores for name, scores in summary.items() if name != CEILING}
    ordered = sorted(methods, key=lambda name: -methods[name]["ncc_brain"]["mean"])
    lines = [["method", *COLUMNS.values(), "paper, whole volume", "later, brain, by subject"]]
    ceiling = {metric: score["mean"] for metric, score in summary.get(CEILING, {}).items()}
    lines += [
        [
            name,
            *(_cell(methods[name].get(metric), ceiling.get(metric)) for metric in COLUMNS),
            PAPER.get(name.split(" (")[0], ""),
            "",
        ]
        for name in ordered
    ]
    if CEILING in summary:
        lines.append(
            ["ceiling: the exact effect", *(_cell(summary[CEILING].get(metric)) for metric in COLUMNS), "", ""]
        )
    lines += [[name, "", "", "", "", value] for name, value in LATER]
    lines.insert(1, ["---"] * len(lines[0]))
    table = "".join("| " + " | ".join(line) + " |\n" for line in lines)
    counted = f"from {stable} subject{'s' if stable > 1 else ''} whose class stayed the same"
    noise = counted if stable else "no subject kept its class over two scans, so that no ceiling is known"
    return (
        f"{table}\nMean ± standard deviation over {pairs} pairs, 95 % interval of the mean by subject, and the "
        "ceiling: what the exact effect would score, given how scans differ without a change of class; "
        f"{noise}.\n"
    )


def _cell(score: Mapping[str, Any] | None, ceiling: float | None = None) -> str:
    """``0.210 ± 0.100 [0.15, 0.27] of 0.45``."""
    if score is None:
        return "n/a"
    low, high = score["ci95"]
    interval = f" [{low:.2f}, {high:.2f}]" if not math.isnan(low) else ""
    limit = f" of {ceiling:.2f}" if ceiling is not None else ""
    return f"{score['mean']:z.3f} ± {score['std']:.3f}{interval}{limit}"
