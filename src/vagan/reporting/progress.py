"""Figures of learning curves and validation maps."""

from vagan.data.cohort import Cohort
from vagan.files import replacing
from vagan.inference.attributor import Attributor
from vagan.inference.overlay import save_overlay
from vagan.reporting.figures import training_curves
from vagan.training.engine.run_folder import RunFolder

EXAMPLES = 3


def draw_progress(run: RunFolder) -> None:
    """Draw ``progress.png`` from ``metrics.csv``."""
    figure = training_curves(run.read_metrics())
    with replacing(run.path / "progress.png") as temporary:
        figure.savefig(temporary, dpi=100)


def draw_examples(run: RunFolder, cohort: Cohort) -> None:
    """Draw ``example-0.png`` and so on: effects over the first validation images of a class of interest.

    Nothing for a classifier. These are images of people, which curves are not.
    """
    config = run.read_config()
    if config.method != "vagan":
        return
    interest = config.training.class_of_interest or cohort.manifest.classes[1]
    label = cohort.manifest.classes.index(interest)
    examples = cohort.select(split="validation", label=label)[:EXAMPLES]
    found = Attributor.load(run.path, class_of_interest=interest).attribute(examples)
    for number, (image, effect) in enumerate(zip(found.images, found.effect, strict=True)):
        save_overlay(run.path / f"example-{number}.png", image.numpy(), effect.numpy())
