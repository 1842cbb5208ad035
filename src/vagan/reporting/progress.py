"""The picture of a training that grows while it runs."""

import pandas as pd

from vagan.files import replacing
from vagan.reporting.figures import training_curves
from vagan.training.run_folder import RunFolder


def draw_progress(run: RunFolder) -> None:
    """Draw ``progress.png`` from ``metrics.csv``."""
    figure = training_curves(pd.read_csv(run.metrics))
    with replacing(run.path / "progress.png") as temporary:
        figure.savefig(temporary, dpi=100)
