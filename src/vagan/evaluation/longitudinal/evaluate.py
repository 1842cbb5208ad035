"""Scores against follow-up scans: the paper's Table 2, with its noise ceiling."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vagan.data.cohort import Cohort
from vagan.evaluation.evaluate import EvaluationOptions, evaluate
from vagan.evaluation.evaluation import Evaluation
from vagan.evaluation.longitudinal.ground_truth import LongitudinalOptions, ObservedEffects
from vagan.evaluation.metrics.registry import find_metric
from vagan.evaluation.results import ResultsFolder
from vagan.evaluation.runs import RunSelection, load_methods
from vagan.evaluation.tables import MISSING, markdown_lines, score_text
from vagan.files import write_text
from vagan.training.engine.device import find_device

COLUMNS = ("ncc", "ncc_brain", "ncc_brain_by_subject")
"""Over the whole volume, as in the paper; within the brain of both scans; and that averaged by subject first, as in
later papers."""


def evaluate_longitudinal(
    cohort: Cohort,
    runs: Sequence[Path],
    out: Path,
    *,
    longitudinal: LongitudinalOptions | None = None,
    options: EvaluationOptions | None = None,
    selection: RunSelection | None = None,
) -> str:
    """Compare the maps of the later scans of subjects that changed their class with what changed in them.

    Returns Table 2. Leaves a results folder like `evaluate_runs`, and in it ``observed/`` and ``maps/`` as NIfTI,
    with log-Jacobians of generators that deform, ``pairs.csv`` with the subjects that give no pair and why, and
    ``table2.md``.

    Parameters
    ----------
    cohort, longitudinal
        See `ObservedEffects`.
    runs, out, options, selection
        See `evaluate_runs`; parts, severity and classifier do not apply.
    """
    longitudinal, selection = longitudinal or LongitudinalOptions(), selection or RunSelection()
    options = options or EvaluationOptions(device="auto")
    results, device = ResultsFolder(out), find_device(options.device)
    results.require_folder()
    loaded = load_methods(cohort, runs, selection, seed=options.seed, device=device)
    truth = ObservedEffects(cohort, loaded.label, results, longitudinal, limit=options.limit, seed=options.seed)
    options = replace(options, severity=None, classifier=None, device=str(device))
    evaluation = evaluate(loaded.methods, cohort, options, truth=truth, on_maps=truth.write_maps)
    results.write(evaluation, cohort, loaded.models)
    truth.write_pairs()
    text = longitudinal_table(evaluation, pairs=len(truth.converters), stable=len(truth.stable))
    write_text(results.table2, text)
    return text


def longitudinal_table(evaluation: Evaluation, *, pairs: int, stable: int) -> str:
    """Table 2 in Markdown: methods, best first within the brain, and the ceiling from ``stable`` subjects."""
    summary, ceiling = evaluation.summary, evaluation.ceiling
    lines = [["method", *(find_metric(name).label for name in COLUMNS)]]
    for method in sorted(summary, key=lambda name: -summary[name]["ncc_brain"]["mean"]):
        lines.append([method, *(_cell(summary[method], name, ceiling) for name in COLUMNS)])
    if ceiling:
        lines.append(["ceiling: the exact effect", *(_cell(ceiling, name, {}) for name in COLUMNS)])
    counted = f"from {stable} subject{'s' if stable > 1 else ''} whose class stayed the same"
    noise = counted if stable else "no subject kept its class over two scans, so that no ceiling is known"
    return (
        f"{markdown_lines(lines)}\nMean ± standard deviation over {pairs} pairs, 95 % interval of the mean by "
        "subject, and the ceiling: what the exact effect would score, given how scans differ without a change of "
        f"class; {noise}.\n"
    )


def _cell(scores: Mapping[str, Mapping[str, object]], name: str, ceiling: Mapping[str, Mapping[str, object]]) -> str:
    """``0.210 ± 0.100 [0.150, 0.270] of 0.45``."""
    text = score_text(scores.get(name), digits=3)
    return f"{text} of {ceiling[name]['mean']:.2f}" if name in ceiling and text != MISSING else text
