"""Score the models of run folders beside each other."""

from collections.abc import Sequence
from pathlib import Path

from vagan.attribution.generator import VAGAN
from vagan.attribution.method import AttributionMethod
from vagan.data.cohort import Cohort
from vagan.errors import ModelError
from vagan.evaluation.evaluate import evaluate
from vagan.evaluation.results import TABLE, write_results
from vagan.training.run_folder import RunFolder


def compare_runs(cohort: Cohort, runs: Sequence[Path], out: Path, *, limit: int | None = None, seed: int = 0) -> str:
    """Evaluate every run's model on the cohort's test images and write a results folder.

    Returns
    -------
    str
        The score table, in Markdown.

    Raises
    ------
    ModelError
        If a run was trained on images of another kind than the cohort's.
    """
    methods: dict[str, AttributionMethod] = {}
    rules = {}
    for run in runs:
        method, facts = VAGAN.load(run)
        if (facts.num_spatial_dims, facts.channels) != (len(cohort.shape), cohort.channels):
            raise ModelError(
                f"{run} was trained on {facts.num_spatial_dims}-D images of {facts.channels} channels, "
                f"{cohort.path} holds {len(cohort.shape)}-D images of {cohort.channels}; give a matching cohort"
            )
        name = method.name if len(runs) == 1 else f"{method.name} ({run.name})"
        methods[name] = method
        rules[name] = facts.rule
    evaluation = evaluate(methods, cohort, limit=limit, seed=seed)
    conventions = {name: method.convention for name, method in methods.items()}
    rules_text = {"selection": "; ".join(sorted(set(rules.values()))), "conventions": conventions}
    write_results(out, evaluation, cohort, [RunFolder(run) for run in runs], rules=rules_text)
    return (out / TABLE).read_text()
