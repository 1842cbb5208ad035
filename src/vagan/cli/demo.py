"""`vagan demo`."""

from pathlib import Path
from typing import TYPE_CHECKING

from vagan.errors import CohortError

if TYPE_CHECKING:
    from vagan.evaluation.evaluation import Evaluation

# narrow classifiers separate these classes as well as the paper's wide ones, in a tenth of the time
NARROW = {"classifier.width": "8", "classifier.updates": "150"}
TRAININGS = {
    "run": {},
    "classifier": {"method": "classifier", **NARROW},
    "cam-classifier": {"method": "cam-classifier", **NARROW},
}
# images for the methods that need up to 1,500 passes through a classifier for a map
SUBSET = 5
COLUMNS = {"ncc": "NCC", "recall/off-centre": "off-centre recall", "baseline_response_ratio": "M(x0)/M(x1)"}


def demo(out: Path = Path("demo"), *, images: int = 10_000, seed: int = 0) -> None:
    """Run the paper's synthetic experiment: make the images, train, score all methods and write a report.

    10 minutes on two cores with bfloat16 instructions, up to 40 without. The same command again resumes.

    Parameters
    ----------
    out
        Folder for everything: cohort, run, the classifiers behind the compared methods, scores.csv, summary.json
        and report.html.
    images
        Number of images; the paper has 10,000.
    seed
        Seed of the images and of the training.
    """
    from vagan.data.cohort import Cohort
    from vagan.data.schema import MANIFEST
    from vagan.data.sources.synthetic import make_synthetic_cohort, square_regions
    from vagan.evaluation.evaluate import EvaluationOptions, evaluate_runs
    from vagan.evaluation.metrics.agreement import mean_ncc
    from vagan.reporting.progress import draw_progress
    from vagan.reporting.report import build_report
    from vagan.training.config import load_config
    from vagan.training.engine.loop import train

    folder = out / "cohort"
    exists = (folder / MANIFEST).is_file()
    cohort = Cohort(folder) if exists else make_synthetic_cohort(folder, n=images, seed=seed)
    if len(cohort.manifest) != images or f"seed {seed}," not in cohort.metadata.source:
        raise CohortError(
            f"{folder} holds {cohort.metadata.source}; give the same options to resume, or another folder"
        )
    runs = []
    for name, settings in TRAININGS.items():
        config = load_config("fast", {"training.seed": str(seed), **settings})
        runs.append(train(cohort, out / name, config, monitor=mean_ncc, after_validation=draw_progress).path)
    options = EvaluationOptions(subset=SUBSET, parts=square_regions, device="auto")
    print(_table(evaluate_runs(cohort, runs, out, options)))
    print(f"report: {build_report(out).resolve()}")


def _table(evaluation: "Evaluation") -> str:
    """The scores that tell the methods apart, in less than a hundred columns; the report has all."""
    from vagan.evaluation.evaluation import CEILING_LABEL

    table = evaluation.to_frame().reindex(columns=list(COLUMNS)).rename(columns=COLUMNS).rename_axis(None)
    scores = {**evaluation.summary, CEILING_LABEL: evaluation.ceiling}
    intervals = [scores[name]["ncc"]["ci95"] if "ncc" in scores[name] else (None, None) for name in table.index]
    texts = ["-" if low is None else f"{low:.3f} to {high:.3f}" for low, high in intervals]
    table.insert(1, "95 % interval", texts)
    return table.to_string(float_format="%.3f", na_rep="-")
