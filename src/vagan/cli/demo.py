"""`vagan demo`."""

from pathlib import Path

from vagan.errors import CohortError

# narrow classifiers separate these classes as well as the paper's wide ones, in a tenth of the time
NARROW = {"classifier.width": "8", "classifier.updates": "60", "training.batch_size": "16"}
TRAININGS = {
    "run": {},
    "classifier": {"method": "classifier", **NARROW},
    # half as wide and for fewer updates: with two poolings less, its convolutions see sixteen times as many pixels
    "cam-classifier": {"method": "cam-classifier", **NARROW, "classifier.width": "4", "classifier.updates": "40"},
}
MAX_PASSES = 300
"""For a map. Additive perturbation of 1,500 steps is left out, the version of 100 steps is in."""
PAPER = ("vagan", "additive-perturbation", "cam", "guided-backprop", "integrated-gradients")
"""Methods of the paper's Table 1, which are shown before the others."""
METHOD_SECONDS = 5
"""Of methods that need many passes."""
MEMORY_BYTES = 2**30
SCORED_IMAGES = 400
"""Test images of each class; the 95 % interval of VA-GAN's NCC is then about 0.001 wide to each side."""


def demo(out: Path = Path("demo"), *, images: int = 10_000, seed: int = 0) -> None:
    """Run the paper's synthetic experiment: make the images, train, score all methods and write a report.

    Five minutes on two cores with bfloat16 instructions, 11 without. The same command again resumes.

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
    import numpy as np

    from vagan.attribution.registry import METHODS
    from vagan.data.cohort import Cohort
    from vagan.data.schema import MANIFEST
    from vagan.data.sources.synthetic import make_synthetic_cohort, square_regions
    from vagan.evaluation.evaluate import EvaluationOptions, evaluate_runs
    from vagan.evaluation.metrics.agreement import mean_ncc
    from vagan.evaluation.runs import RunSelection
    from vagan.reporting.progress import draw_progress
    from vagan.reporting.report import build_report
    from vagan.training.config import load_config
    from vagan.training.engine.loop import train

    folder = out / "cohort"
    cohort = Cohort(folder) if (folder / MANIFEST).is_file() else make_synthetic_cohort(folder, n=images, seed=seed)
    if len(cohort.manifest) != images or f"seed {seed}," not in cohort.metadata.source:
        raise CohortError(f"{folder} holds {cohort.metadata.source}; resume with its options, or give another folder")
    cohort = cohort.in_memory(np.arange(len(cohort)), memory_bytes=MEMORY_BYTES)  # read once for all that follows
    runs = []
    for name, settings in TRAININGS.items():
        config = load_config("fast", {"training.seed": str(seed), **settings})
        runs.append(train(cohort, out / name, config, monitor=mean_ncc, after_validation=draw_progress).path)
    options = EvaluationOptions(
        limit=SCORED_IMAGES, method_seconds=METHOD_SECONDS, parts=square_regions, device="auto"
    )
    selection = RunSelection(methods=[slug for slug, entry in METHODS.items() if entry.cost <= MAX_PASSES])
    evaluation = evaluate_runs(cohort, runs, out, options, selection)
    print(evaluation.to_text(first=[METHODS[slug].label for slug in PAPER]))
    print(f"report: {build_report(out).resolve()}")
