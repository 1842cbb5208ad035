"""Figures of learning curves and validation maps."""

from vagan.files import replacing
from vagan.reporting.figures import training_curves
from vagan.training.engine.run_folder import RunFolder


def draw_progress(run: RunFolder) -> None:
    """Draw ``progress.png`` from ``metrics.csv``."""
    figure = training_curves(run.read_metrics())
    with replacing(run.path / "progress.png") as temporary:
        figure.savefig(temporary, dpi=100)
