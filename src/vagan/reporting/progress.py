"""Figures of a training in progress: learning curves, and validation images with their maps."""

import io

import imageio.v3 as imageio
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vagan.effect import effect_map
from vagan.files import replacing
from vagan.inference.attribution import Attribution
from vagan.reporting.figures import training_curves
from vagan.training.engine.run_folder import RunFolder

Pixels = NDArray[np.uint8]


def draw_progress(run: RunFolder) -> None:
    """Draw ``progress.png``: curves from ``metrics.csv``, and below them what the last validation showed.

    The validation images, their counterfactuals and effects go to TensorBoard as well.
    """
    from torch.utils.tensorboard import SummaryWriter

    metrics = run.read_metrics()
    parts = [_pixels(training_curves(metrics))]
    if (shown := run.read_examples()) is not None:
        images, without, classes = shown
        effect = effect_map(images, without)
        found = Attribution(images, effect, "", "intensity", "signed", "", counterfactual=without, names=classes)
        parts.append(_pixels(found.plot()))
        # a folder of its own: TensorBoard follows one file in each
        with SummaryWriter(str(run.tensorboard / "examples")) as writer:
            writer.add_image("validation/images", parts[-1], int(metrics["update"].iloc[-1]), dataformats="HWC")
    width = max(part.shape[1] for part in parts)
    padded = [np.pad(part, ((0, 0), (0, width - part.shape[1]), (0, 0)), constant_values=255) for part in parts]
    with replacing(run.path / "progress.png") as temporary:
        imageio.imwrite(temporary, np.concatenate(padded), extension=".png")


def _pixels(figure: Figure) -> Pixels:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return np.asarray(imageio.imread(buffer.getvalue())[..., :3], np.uint8)
