"""`vagan demo`."""

from pathlib import Path


def demo(out: Path = Path("demo"), *, images: int = 10_000, seed: int = 0) -> None:
    """Do the paper's synthetic experiment: make the images, train, score, and write a report.

    About ten minutes on two CPU cores. The same command again goes on where it stopped.

    Parameters
    ----------
    out
        Folder for everything: cohort, run, scores.csv, summary.json and report.html.
    images
        Number of images; the paper has 10,000.
    seed
        Seed of the images and of the training.
    """
    from vagan.data.cohort import MANIFEST, Cohort
    from vagan.data.sources.synthetic import make_cohort
    from vagan.evaluation.compare import compare_runs
    from vagan.evaluation.scores import mean_ncc
    from vagan.reporting.progress import draw_progress
    from vagan.reporting.report import build_report
    from vagan.training.config import load_config
    from vagan.training.loop import train

    folder = out / "cohort"
    exists = (folder / MANIFEST).is_file()
    cohort = Cohort(folder) if exists else make_cohort(folder, images=images, seed=seed)
    config = load_config("fast", {"training.seed": str(seed)})
    run = train(cohort, out / "run", config, monitor=mean_ncc, after_validation=draw_progress)
    print(compare_runs(cohort, [run.path], out))
    print(f"report: {build_report(out).resolve()}")
